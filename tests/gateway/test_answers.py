"""What nodes answer stays as they have written it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.client.core import NotReply
from jsonrpcs_tx.gateway.answers import Answer, read_answer

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def answer_of(document: bytes) -> Answer:
    answer = read_answer(document).outcome
    assert isinstance(answer, Answer)
    return answer


@given(_VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_result_is_exact(value: object, escaped: bool, indent: int | str | None) -> None:
    """Any result is found to the byte, with its blanks and escapes."""
    try:
        written = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
        written.decode().encode()
    except UnicodeEncodeError:
        return
    if b"\\ud8" in written or b"\\udc" in written or b"\\udd" in written:
        return  # a lone surrogate
    reply = read_answer(b'{ "jsonrpc": "2.0", "result" : %b , "id":7}' % written)
    assert reply.id == 7
    assert answer_of(b'{ "jsonrpc": "2.0", "result" : %b , "id":7}' % written).result == written
    assert reply.fault is None


@pytest.mark.parametrize("number", ["1.10", "1e400", "-0", "-0.0", "123456789012345678901234567890", "1E+2", "0.1e-7"])
def test_numbers_are_exact(number: str) -> None:
    """Numbers that a float or 64 bits do not hold stay as they are written."""
    assert answer_of(b'{"result":[%b],"id":1}' % number.encode()).result == f"[{number}]".encode()


def test_members_stay_in_order_and_twice() -> None:
    """The order of members, and two of one name, are the node's own."""
    result = b'{"b":1,"a":2,"b":3}'
    assert answer_of(b'{"result":%b,"id":1}' % result).result == result


def test_fault() -> None:
    """An error is passed on whole, and its code and text are known."""
    error = b'{"code": 500, "message": "no \\u00e9", "data": [1.10], "more": {}}'
    answer = answer_of(b'{"id":1,"error":%b,"result":null}' % error)
    assert (answer.result, answer.error) == (None, error)
    assert answer.fault is not None
    assert (answer.fault.code, answer.fault.text) == (500, "no é")
    assert read_answer(b'{"error":%b}' % error).id is None
    assert answer_of(b'{"result":1,"error":null,"id":1}').result == b"1"


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b" ", b"null", b"[]", b"{}", b'{"id":1}', b'{"result":1', b'{"result":1}x', b'{"result":nan}', b"\xff"),
        *(
            b'{"result":"\xff","id":1}',
            b'{"result":[1 2]}',
            b'{"result":{"a":1,}}',
            b'{"result":"\n"}',
            b'{"result":01}',
        ),
        *(b'{"error":1}', b'{"error":{}}', b'{"error":{"code":"1","message":""}}', b'{"error":{"code":1}}'),
        *(b'{"error":null,"id":1}', b'[{"result":1,"id":1}]', b'{"result":' + b"[" * 100_000, b'{"result":"\\ud800"}'),
    ],
)
def test_garbage(document: bytes) -> None:
    """Only JSON in UTF-8 is taken for a reply, whatever a node sends."""
    with pytest.raises(NotReply):
        read_answer(document)
