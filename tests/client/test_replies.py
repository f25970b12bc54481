"""Ordinary replies are read the fast way, and mean what they mean the other way."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.client import core, replies
from jsonrpcs_tx.client.core import NotReply
from jsonrpcs_tx.rpc.faults import Fault

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
ESCAPES = st.lists(
    st.sampled_from(["a", "é", "\\n", "\\/", "\\u0000", "\\ud83d", "\\ude00", "\\u0041", '\\"', "\x01", "\x7f", "\\x"]),
    max_size=6,
).map(lambda parts: f'"{"".join(parts)}"')
WORDS = st.sampled_from(
    ["null", "true", "false", "NaN", "Infinity", "-", "01", "1.", "", " ", "[1,]", "{}", "{,}", "nul"]
)
VALUES = st.recursive(
    NUMBERS | ESCAPES | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(ESCAPES, inner), max_size=3).map(
            lambda items: "{" + " , ".join(f"{key}: {value}" for key, value in items) + "}"
        )
    ),
    max_leaves=8,
)
MEMBERS = st.sampled_from(["jsonrpc", "result", "error", "id", "more"])
DOCUMENTS = st.lists(st.tuples(MEMBERS, VALUES), max_size=5).map(
    lambda members: "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"
)


def found(read: Any, document: bytes) -> Any:
    """What a document says, with the types of what is in it."""
    try:
        reply = read(document)
    except NotReply as error:
        return str(error)
    outcome = reply.outcome
    if isinstance(outcome, Fault):
        return repr(reply.id), outcome.code, outcome.text, repr(outcome.data)
    return repr(reply.id), repr(outcome), reply.answers(1)


@given(DOCUMENTS.map(str.encode) | st.binary())
def test_any_document(document: bytes) -> None:
    """Any document is the same reply, or the same error."""
    assert found(replies.read_reply, document) == found(core.read_reply, document)


@pytest.mark.parametrize(
    "value", ["9" * 40, "-0", "-0.0", "1e400", "0.1234567890123456789", '"\\ud800"', '"\\ud83d\\ude00"', "[[{}]]"]
)
def test_values(value: str) -> None:
    """Numbers are exact; what the fast way does not take is read nevertheless."""
    document = f'{{"jsonrpc":"2.0","result":{value},"id":1}}'.encode()
    assert found(replies.read_reply, document) == found(core.read_reply, document)
    assert replies.read_reply(document).answers(1)


def test_ordinary() -> None:
    """What servers answer is read the fast way, whatever its layout; a fault and what has more is not."""
    value = {"jsonrpc": "2.0", "result": ["x", 1], "id": 1}
    for indent in (None, 2, "\t"):
        assert type(replies.read_reply(json.dumps(value, indent=indent).encode())) is replies.Result
    for other in ({**value, "more": 1}, {"error": {"code": 500, "message": "x"}, "id": 1}):
        assert type(replies.read_reply(json.dumps(other).encode())) is core.Reply


@pytest.mark.parametrize("id", [True, 1.5, "1", None, [1], {}, 2])
def test_other_ids(id: object) -> None:
    """A result is for a request only if it has its very id."""
    assert not replies.read_reply(json.dumps({"result": 5, "id": id}).encode()).answers(1)
