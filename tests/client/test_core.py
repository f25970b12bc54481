"""Requests, replies, arrays and routes, without a server."""

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from jsonrpcs_tx.client.batches import ARRAY_BYTES, ARRAY_CALLS, Array, batching
from jsonrpcs_tx.client.core import NotReply, over_fifo, read_reply, reply_to, request
from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, NotReachable, Refused, TimedOut
from jsonrpcs_tx.client.routes import asking, only_reads
from jsonrpcs_tx.client.steps import run
from jsonrpcs_tx.client.targets import parse_target
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin
from jsonrpcs_tx.rpc.envelope import DIALECTS
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import Registry, command
from jsonrpcs_tx.transports.framing import Framer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.none() | st.booleans() | st.integers() | TEXTS
PARAMS = st.lists(VALUES) | st.dictionaries(TEXTS, VALUES)


@command("echo")
def echo(*values: Any) -> list[Any]:
    """Returns its parameters."""
    return list(values)


@command("fail")
def fail(code: int, text: str) -> None:
    """Raises a fault."""
    raise Fault(code, text, {"more": 1})


def answer(document: bytes, dialect: str = "kamailio") -> bytes:
    """What a dispatcher of ours answers."""
    dispatcher = Dispatcher(Registry(echo, fail), Clock(), dialect=DIALECTS[dialect])
    reply: Any = dispatcher.dispatch(document, Origin("test"))
    return bytes(reply.body)


@given(TEXTS, PARAMS, st.integers(1))
def test_request(method: str, params: Any, id: int) -> None:
    """A request says what it was made of."""
    said = json.loads(request(method, params, id))
    assert said == {"jsonrpc": "2.0", "method": method, "id": id, **({"params": params} if params else {})}


@given(st.lists(st.integers() | TEXTS), st.integers(1), st.sampled_from(["kamailio", "jsonrpc2"]))
def test_call(params: list[Any], id: int, dialect: str) -> None:
    """The dispatcher answers a request with the reply to it, which answers no other."""
    reply = answer(request("echo", params, id), dialect)
    found = reply_to(id, reply)
    assert found is not None
    assert found.outcome == params
    assert reply_to(id + 1, reply) is None


@given(st.integers(-(2**40), 2**40), TEXTS)
def test_fault(code: int, text: str) -> None:
    """A fault comes back as it was raised, with its data."""
    found = read_reply(answer(request("fail", [code, text], 1)))
    assert isinstance(found.outcome, Fault)
    assert (found.outcome.code, found.outcome.text, found.outcome.data) == (code, text, {"more": 1})


@pytest.mark.parametrize("id", [True, 1.5, "1", None, [1], {}, 2])
def test_other_ids(id: object) -> None:
    """A result is for a request only if it has its very id."""
    assert reply_to(1, json.dumps({"result": 5, "id": id}).encode()) is None


@pytest.mark.parametrize("code", [-32700, -32600])
def test_refused_as_a_whole(code: int) -> None:
    """A fault about the document, without an id, is for whatever request it was."""
    found = reply_to(5, json.dumps({"error": {"code": code, "message": "x"}, "id": None}).encode())
    assert found is not None
    assert isinstance(found.outcome, Fault)
    assert reply_to(5, json.dumps({"error": {"code": 500, "message": "x"}, "id": None}).encode()) is None


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "the reply is empty"),
        (b" \n", "the reply is empty"),
        (b"nonsense", "the reply is not JSON: "),
        (b"[" * 100_000, "the reply is not JSON: it is nested too deeply"),
        (b"[]", "has neither a result nor an error"),
        (b"{}", "has neither a result nor an error"),
        (b'{"error":null}', "has neither a result nor an error"),
        (b'{"error":"x"}', "the error of the reply lacks a code and a message"),
        (b'{"error":{"code":"1","message":"x"}}', "the error of the reply lacks a code and a message"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_not_a_reply(document: bytes, reason: str) -> None:
    """A document that is not a reply is refused with the reason."""
    with pytest.raises(NotReply, match=re.escape(reason)):
        read_reply(document)


MEMBERS = st.sampled_from(["id", "result", "error", "code", "message"])
ALMOST_REPLIES = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(MEMBERS, inner))


@given(st.binary() | ALMOST_REPLIES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(document: bytes) -> None:
    """Any bytes are a reply or refused."""
    with contextlib.suppress(NotReply):
        read_reply(document)


def end_as_kamailio_finds_it(document: bytes) -> int:
    """Where Kamailio's FIFO server takes the document to end: an escape is told by one byte before only."""
    depth, quote, before = 0, b"", b""
    for place in range(len(document)):
        byte = document[place : place + 1]
        if quote:
            if byte == quote and before != b"\\":
                quote = b""
        elif byte in b"\"'":
            quote = byte
        elif byte in b"{}":
            depth += 1 if byte == b"{" else -1
            if not depth:
                return place + 1
        before = byte
    return -1


@given(TEXTS, st.lists(st.text("\\\"'{}[]a") | VALUES))
def test_over_fifo(method: str, params: list[Any]) -> None:
    """Over a FIFO a request says the same, and both our server and Kamailio find its end."""
    document = request(method, params, 1)
    sent = over_fifo(document, "reply")
    assert json.loads(sent) == {**json.loads(document), "reply_name": "reply"}
    assert end_as_kamailio_finds_it(sent) == len(sent)
    assert Framer(len(sent)).feed(sent) == [sent]


METHODS = st.sampled_from(["echo", "fail", "none"])
CALLS = st.lists(st.tuples(METHODS, st.lists(st.text("ab", max_size=3000), max_size=2)))


@given(CALLS, st.sampled_from(["arrays", "none", "down"]), st.sampled_from([None, True]))
def test_batching(calls: Any, server: str, known: bool | None) -> None:
    """Each call of a batch has its outcome, whether the server takes arrays, takes none, or is away just then."""
    arrays: list[Array] = []
    ids = iter(range(1, 10_000))

    def write(method: str, params: Any) -> tuple[int, bytes]:
        if params == ["b"]:
            raise BadRequest("here", method, "no b")
        id = next(ids)
        return id, request(method, params, id)

    def single(method: str, params: Any) -> object:
        return read_reply(answer(request(method, params, 1))).outcome

    def do(step: Any) -> list[object]:
        if not isinstance(step, Array):
            return [single(method, params) for method, params in step]
        arrays.append(step)
        if server == "down":
            return []
        document = answer(step.document) if server == "arrays" else b'{"jsonrpc":"2.0","result":{}}'
        return step.outcomes(document)

    outcomes = run(batching(calls, write, known), do)
    assert len(outcomes) == len(calls)
    for (method, params), outcome in zip(calls, outcomes, strict=True):
        if params == ["b"]:
            assert isinstance(outcome, BadRequest)
        else:
            assert repr(outcome) == repr(single(method, params))
    for array in arrays:
        assert 2 <= len(array.ids) <= ARRAY_CALLS
        assert len(array.document) <= ARRAY_BYTES + 100
    assert len(arrays) <= 1 or server == "arrays"


def test_array_without_some() -> None:
    """What a server leaves out of the replies to an array is missing; what is foreign is dropped."""
    array = Array([1, 2, 3], [b"{}"] * 3)
    document = b'[{"result":"c","id":3},{"result":"x","id":9},{"result":"t","id":true},{"result":"a","id":1}]'
    first, second, third = array.outcomes(document)
    assert (first, third) == ("a", "c")
    assert isinstance(second, NotReply)
    for wrong in (b'{"result":{},"id":1}', b'{"result":1}', b"5", b"[5]", b"nonsense"):
        with pytest.raises(NotReply):
            array.outcomes(wrong)


UNIX, UDP, FIFO, HTTP = (parse_target(text) for text in ("unix:/a", "udp:b:1", "fifo:/c", "http://d"))


@pytest.mark.parametrize(
    ("outcome", "reads", "next_is_asked"),
    [
        ("result", True, False),
        (Fault(500, "Method Not Found"), True, False),
        (Fault(500, "Reply Too Large For A Datagram: use HTTP"), True, True),
        (Fault(500, "Reply Too Large For A Datagram: use HTTP"), False, False),
        (NotReachable("a", "b", "c"), False, True),
        (BadRequest("a", "b", "too large"), False, True),
        (TimedOut("a", "b", "c"), True, True),
        (TimedOut("a", "b", "c"), False, False),
        (BadReply("a", "b", "c"), True, True),
        (BadReply("a", "b", "c"), False, False),
        (Refused("a", "b", "c"), True, False),
    ],
)
def test_routes(outcome: object, reads: bool, next_is_asked: bool) -> None:
    """Another target is asked if the first has not run the request, or may run it twice."""
    asked: list[int] = []

    def do(step: tuple[int, float]) -> object:
        asked.append(step[0])
        return outcome if len(asked) == 1 else "other"

    found = run(asking((UNIX, HTTP), 10, 5, reads, lambda: 0.0), do)
    assert asked == ([0, 1] if next_is_asked else [0])
    assert found is (outcome if not next_is_asked else found)


@pytest.mark.parametrize(("size", "able"), [(10, [0, 1, 2, 3]), (9000, [0, 1, 3]), (65_500, [1, 3]), (100_000, [3])])
def test_what_targets_carry(size: int, able: list[int]) -> None:
    """A request goes only to targets that can carry it; each has the time that is left."""
    steps = []

    def do(step: tuple[int, float]) -> ClientError:
        steps.append(step)
        return NotReachable("a", "b", "c")

    run(asking((UNIX, UDP, FIFO, HTTP), size, 6, False, lambda: 2.0 * len(steps) if len(steps) < 3 else 5.0), do)
    assert [index for index, _ in steps] == able[: len(steps)]
    assert steps[0][1] == 6


def test_only_datagrams_that_are_too_small() -> None:
    """If no target can carry a request, the first one says so."""
    assert next(asking((UDP, UNIX), 100_000, 5, True, lambda: 0.0))[0] == 0


def test_what_only_reads() -> None:
    """The catalogue knows it; what it does not know may change something."""
    methods = ("htable.dump", "htable.sets", "core.kill", "no.such")
    assert [method for method in methods if only_reads(method)] == ["htable.dump"]
