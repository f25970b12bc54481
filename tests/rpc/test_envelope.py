"""The envelope: what is JSON, what is a request, and what goes back, in both dialects."""

import json
import math
from decimal import Decimal
from time import process_time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET
from twisted.internet.task import Clock

from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import (
    DIALECTS,
    KAMAILIO,
    MAX_BATCH,
    MAX_VALUES,
    Dialect,
    Envelope,
    Malformed,
    Request,
    params_of,
    reply_name,
    store_path,
)
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import Registry, command
from tests.support.envelope import expected_code, read, rounded

PLAIN = b'{"jsonrpc":"2.0","method":"echo","params":["x",1],"id":1}'
DOCUMENTS = (
    PLAIN,
    b'{"jsonrpc":"2.0","method":"echo"}',
    '{"extra":"é漢🎉\\ud83c\\udf89","jsonrpc":"2.0","method":"echo","params":{"a":1.5e3,"b":null},"id":"ü"}'.encode(),
    b' [{"jsonrpc":"2.0","method":"echo","id":true},1,{"jsonrpc":"2.0","method":1,"id":[]},{"id":-0.5e-7}]',
)
PLACES = (
    b'{"jsonrpc":"2.0","method":"echo","params":[%s],"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","params":[%s],"id":null}',
    b'{"jsonrpc":"2.0","method":"echo","extra":%s,"id":1}',
    b'{"jsonrpc":"2.0","method":"echo","extra":%s,"id":null}',
    b'[{"jsonrpc":"2.0","method":"echo","id":1},%s]',
    b"%s",
)
"""In a member that is read or skipped, in a document that the fast decoder takes or not, in a batch, and alone."""

VALUES: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "integer": b"7",
    "large": b"123456789012345678901234567890",
    "fraction": b"2.5",
    "empty": b'""',
    "string": b'"s"',
    "version": b'"2.0"',
    "array": b"[1]",
    "object": b'{"a":1}',
}
NUMBERS = {"integer", "large", "fraction"}
STRINGS = {"empty", "string", "version"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda members: st.lists(members, max_size=4) | st.dictionaries(st.text(), members, max_size=4),
    max_leaves=12,
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A valid document in which a stretch is replaced."""
    document = draw(st.sampled_from(DOCUMENTS))
    start = draw(st.integers(0, len(document)))
    end = draw(st.integers(start, min(len(document), start + 12)))
    fragments = st.sampled_from([b"", b"\0", b'"', b"\\", b"\\ud800", b"\xff", b"NaN", b"1e999", b"[", b"}", b"null"])
    return document[:start] + draw(fragments | st.binary(max_size=8)) + document[end:]


any_document = st.binary() | st.text().map(str.encode) | json_values.map(json.dumps).map(str.encode) | spoiled()


@pytest.fixture(params=DIALECTS.values(), ids=[*DIALECTS])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    dialect: Dialect = request.param
    return dialect


def malformed(document: bytes, dialect: Dialect = KAMAILIO) -> tuple[Error, Any]:
    """The error and the id of an invalid request."""
    decoded = Envelope(dialect).read(document)
    assert isinstance(decoded, Malformed), decoded
    assert decoded.reason
    return decoded.error, decoded.id


@given(any_document)
@example(b"")
@example(b"[]")
def test_any_bytes(document: bytes) -> None:
    """Whatever bytes come, they are a request, something malformed, or a list of these."""
    for dialect in DIALECTS.values():
        decoded = Envelope(dialect).read(document)
        for member in decoded if isinstance(decoded, list) else [decoded]:
            assert isinstance(member, Request | Malformed)
        if not isinstance(decoded, list):
            code = decoded.error.code if isinstance(decoded, Malformed) else None
            value_is_batch = code == -32600 and read(document) == []
            assert value_is_batch or code == expected_code(document, dialect)


SCRAPS = (
    *(
        b'"',
        b"\\",
        b"\\n",
        b"\\x",
        b"\\u00",
        b"\\u0041",
        b"\\ud800",
        b"\n",
        b"\x01",
        b"\xff",
        b"\xc3\xa4",
        b"01",
        b"-",
        b"1.",
    ),
    *(b"1e", b"1.10", b"1e999", b"9" * 30, b"{", b"}", b"[", b"]", b",", b":", b" ", b"nul", b"null", b"NaN"),
    *(b'"a"', b'"a":', b"[1]", b'{"a":1}', b"[]", b"[" * 2000),
)
"""Parts of JSON, right and wrong."""


@given(st.lists(st.sampled_from(SCRAPS), max_size=5), st.sampled_from((b"[%b]", b'{"k":%b}', b"%b")), st.booleans())
@example([b"1e999"], b"[%b]", True)
@example([b"\\ud800"], b'["%b"]', True)
def test_passed_on(scraps: list[bytes], around: bytes, batch: bool) -> None:
    """What is passed on is read as all requests are, only that its params stay the JSON that has come."""
    params = around % b"".join(scraps)
    document = b'{"jsonrpc":"2.0","method":"echo","params":%b,"id":1}' % params
    if batch:
        document = b'[{"jsonrpc":"2.0","method":"echo"},%b]' % document
    for dialect in DIALECTS.values():
        envelope = Envelope(dialect)
        read, passed_on = envelope.read(document), envelope.read_to_pass_on(document)
        if not isinstance(read, list) or not isinstance(passed_on, list):
            read, passed_on = [read], [passed_on]  # type: ignore[list-item] # neither is a list
        assert len(read) == len(passed_on)
        for one, other in zip(read, passed_on, strict=True):
            assert type(one) is type(other)
            if isinstance(one, Malformed) or isinstance(other, Malformed):
                assert one == other
            else:
                assert (one.method, one.id, params_of(one)) == (other.method, other.id, params_of(other))
                assert other.params is UNSET or document.count(other.params)  # type: ignore[arg-type] # it is Raw


ALLOWED = {
    "jsonrpc": {"version"},
    "method": STRINGS,
    "params": {"array", "object"},
    "id": STRINGS | NUMBERS | {"null"},
    "reply_name": set(VALUES),
    "store_path": set(VALUES),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("member", ALLOWED)
def test_member_of_any_type(dialect: Dialect, member: str, value: str) -> None:
    """A member of a type that is not allowed makes an Invalid Request, with the id where that can be read."""
    members = {"jsonrpc": b'"2.0"', "method": b'"m"', "params": b"[]", "id": b"9", member: VALUES[value]}
    document = b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), literal) for name, literal in members.items())
    allowed = ALLOWED[member] | ({"true", "false"} if member == "id" and dialect is KAMAILIO else set())
    if value in allowed:
        request = Envelope(dialect).read(document)
        assert isinstance(request, Request)
        assert request.id == (json.loads(VALUES[value]) if member == "id" else 9)
    else:
        assert malformed(document, dialect) == (dialect.invalid_request, None if member == "id" else 9)


@pytest.mark.parametrize(
    ("document", "id"),
    [
        (b"{}", None),
        (b'{"id":1}', 1),
        (b'{"jsonrpc":"2.0","id":"a"}', "a"),
        (b'{"method":"m","id":1.5}', 1.5),
        (b'{"JSONRPC":"2.0","METHOD":"m","ID":1}', None),
        (b'{"jsonrpc":"2.0","result":1,"id":1}', 1),
        (b"1", None),
        (b"null", None),
        (b"true", None),
        (b'"jsonrpc"', None),
        (b"[]", None),
    ],
)
def test_no_request(dialect: Dialect, document: bytes, id: object) -> None:
    """JSON that lacks a member of a request, or is not an object, is an Invalid Request."""
    assert malformed(document, dialect) == (dialect.invalid_request, id)


def test_request(dialect: Dialect) -> None:
    """Members of a request may come in any order, with blanks and with others between them."""
    document = b' {"x":[{}], "id" :"i","params":{"b":1,"a":2},\r\n\t"method":"m", "jsonrpc":"2.0"} \n'
    assert Envelope(dialect).read(document) == Request("2.0", "m", {"b": 1, "a": 2}, "i")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_cut_anywhere(dialect: Dialect, document: bytes) -> None:
    """A valid document that is cut anywhere is a Parse error, with the id null."""
    for length in range(len(document)):
        assert malformed(document[:length], dialect) == (dialect.parse_error, None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "literal",
    [
        *(b"tru", b"NaN", b"Infinity", b"-Infinity", b"'x'", b"undefined", b"1 2", b"\x0b1", b"\xc2\xa01", b"\0"),
        *(b"01", b"1.", b".5", b"+1", b"-", b"1e", b"1e+", b"0x10", b"1_000", b"\xd9\xa1"),
        *(b'"\0"', b'"a\nb"', b'"\x1f"', b'"\\q"', b'"\\u00g0"', b'"\\U0001"', b'"\\'),
        *(b'"\\ud800"', b'"\\udf89"', b'"\\udf89\\ud83c"', b'{"\\ud800":1}'),
        *(b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b'{"\xff":1}'),
        *(b"[1,]", b"[,1]", b'{"a":1,}', b'{"a"}', b"{1:2}", b'{"a":1 "b":2}', b"[1}", b"/**/1"),
        b"\xef\xbb\xbf",
    ],
)
def test_no_json(dialect: Dialect, place: bytes, literal: bytes) -> None:
    """What is not JSON in UTF-8 is a Parse error wherever it is, even in members that are skipped."""
    assert malformed(place % literal, dialect) == (dialect.parse_error, None)


@pytest.mark.parametrize(
    "document",
    [b"", b" ", b"\n", b"\0", PLAIN + b"\0", b"\0" + PLAIN, PLAIN + PLAIN, PLAIN + b"x", b"x" + PLAIN, PLAIN[1:]],
)
def test_no_document(dialect: Dialect, document: bytes) -> None:
    """An empty document, and more than one value, are a Parse error."""
    assert malformed(document, dialect) == (dialect.parse_error, None)


@pytest.mark.parametrize("document", [PLAIN, PLAIN.replace(b'"id":1', b'"id":null')])
@pytest.mark.parametrize(
    "mark", [b"\xef\xbb\xbf", b"\xc3\xaf\xc2\xbb\xc2\xbf"], ids=["BOM", "text that looks like one"]
)
def test_byte_order_mark(dialect: Dialect, document: bytes, mark: bytes) -> None:
    """A byte order mark is not JSON, and neither is text that looks like one."""
    assert malformed(mark + document, dialect) == (dialect.parse_error, None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("nested", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_deep_nesting(dialect: Dialect, place: bytes, nested: bytes) -> None:
    """A document that is nested too deeply is a Parse error, whether it is closed or cut."""
    document = place % nested
    assert malformed(document, dialect) == (dialect.parse_error, None)
    assert malformed(document[: len(document) // 2], dialect) == (dialect.parse_error, None)


@pytest.mark.parametrize("place", PLACES[:4])
@pytest.mark.parametrize("literal", [b"1e400", b"-1e400", b"1e-400", b"1" + b"0" * 5000, b"-0." + b"7" * 5000])
def test_huge_number(place: bytes, literal: bytes) -> None:
    """A number is JSON whatever its size."""
    assert isinstance(Envelope().read(place % literal), Request)


@pytest.mark.parametrize(
    "place", [b'{"jsonrpc":"2.0","method":"m","%s":[%%s],"id":' % name for name in (b"params", b"x")]
)
@pytest.mark.parametrize("literal", [b"1e99999999999999999999", b"1e-99999999999999999999"])
def test_exponent_out_of_range(place: bytes, literal: bytes) -> None:
    """A number with an exponent beyond all bounds is taken or refused alike, whichever decoder reads it."""
    fast, slow = (Envelope().read(place % literal + id + b"}") for id in (b"1", b"null"))
    assert type(fast) is type(slow)


def reply_id(literal: str, dialect: Dialect = KAMAILIO) -> str:
    """The id of the reply to a request with an id, as it is written."""
    request = Envelope(dialect).read(b'{"jsonrpc":"2.0","method":"m","id":%s}' % literal.encode())
    assert isinstance(request, Request), request
    result, error = Envelope.result(0, request.id), Envelope.error(Fault(1, "x"), request.id)
    start, end = result.decode().split("0,", 1)
    assert start == '{"jsonrpc":"2.0","result":'
    assert error.decode() == '{"jsonrpc":"2.0","error":{"code":1,"message":"x"},' + end
    return end.removeprefix('"id":').removesuffix("}")


@given(st.integers() | st.integers(-(10**400), 10**400))
@example(2**63)
@example(-(2**63) - 1)
@example(2**64)
@example(9007199254740993)
def test_integer_id(number: int) -> None:
    """An integer as id comes back exact at any size."""
    for dialect in DIALECTS.values():
        assert reply_id(str(number), dialect) == str(number)


def test_integer_id_beyond_python(dialect: Dialect) -> None:
    """An integer with more digits than Python converts comes back exact as well."""
    for literal in ("1" + "0" * 5000, "-" + "7" * 60_000):
        assert reply_id(literal, dialect) == literal


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.floats(allow_nan=False, allow_infinity=False))
@example(Decimal("0.1234567890123456789"))
@example(Decimal("1E+400"))
@example(Decimal("1E-400"))
def test_decimal_id(number: Decimal | float) -> None:
    """A decimal as id comes back as the very same number, however many digits it has."""
    assert Decimal(reply_id(str(number))) == Decimal(str(number))


@given(st.text())
@example('a"b\\c/\0\x1f\x7f\u2028\n')
def test_string_id(text: str) -> None:
    """A string as id comes back as it was, in unescaped UTF-8 but for what JSON wants escaped."""
    literal = reply_id(json.dumps(text))
    assert json.loads(literal) == text
    assert not any(char < " " for char in literal)
    assert all(char in literal for char in text if char > "\x7f")


@pytest.mark.parametrize("literal", ["null", "true", "false", "0", "-7", "1.5", "0.1", '""', '"é漢"', "-0.0", "1e22"])
def test_id_as_written(literal: str) -> None:
    """An id comes back with its own type and spelling."""
    assert reply_id(literal) == literal


def test_no_id() -> None:
    """The reply to a request without an id has none."""
    request = Envelope().read(b'{"jsonrpc":"2.0","method":"m"}')
    assert isinstance(request, Request)
    assert Envelope.result([], request.id) == b'{"jsonrpc":"2.0","result":[]}'


@given(json_values)
def test_result(value: Any) -> None:
    """What JSON can express is written compactly, in unescaped UTF-8, and without loss."""
    body = Envelope.result(value, None)
    assert json.loads(body) == {"jsonrpc": "2.0", "result": value, "id": None}
    assert b"\n" not in body


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity")]
)
@pytest.mark.parametrize("wrap", [lambda number: number, lambda number: [{"a": number}]], ids=["alone", "inside"])
def test_no_nan(number: float | Decimal, wrap: Any) -> None:
    """NaN and the infinities are refused or written as null; they never leave."""
    try:
        body = Envelope.result(wrap(number), 1)
    except (TypeError, ValueError):
        return
    read(body)


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, object(), {None: 1}, {(1, 2): 3}, 1j])
def test_no_result(value: object) -> None:
    """What JSON cannot express is refused."""
    with pytest.raises((TypeError, ValueError)):
        Envelope.result(value, 1)


def test_cyclic_result() -> None:
    """A result that holds itself is refused."""
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    with pytest.raises(RecursionError):
        Envelope.result(cyclic, 1)


@given(st.lists(json_values) | st.dictionaries(st.text(), json_values), json_values, st.booleans())
def test_both_decoders(params: Any, extra: Any, escaped: bool) -> None:
    """A request is read in the same way by the fast decoder and by the slow one, which an id of true calls for."""
    request = {"extra": extra, "jsonrpc": "2.0", "method": "m", "params": params}
    fast, slow = (Envelope().read(json.dumps({**request, "id": id}, ensure_ascii=escaped).encode()) for id in (1, True))
    assert isinstance(fast, Request)
    assert isinstance(slow, Request)
    assert slow.id is True
    assert rounded(fast.params) == rounded(slow.params) == rounded(params)


def test_repeated_member(dialect: Dialect) -> None:
    """Of a member that is there twice the last one counts, for both decoders."""
    for last in (b"2", b"2.5"):
        request = Envelope(dialect).read(b'{"jsonrpc":"1","jsonrpc":"2.0","id":{},"method":"m","id":%s}' % last)
        assert isinstance(request, Request)
        assert request.id == float(last)


@pytest.mark.parametrize("id", [b"1", b"null"])
@pytest.mark.parametrize("count", [0, 1, 2, MAX_BATCH, MAX_BATCH + 1])
def test_batch_size(dialect: Dialect, count: int, id: bytes) -> None:
    """A batch holds 1 to MAX_BATCH requests; else it is an Invalid Request as a whole."""
    document = b"[%s]" % b",".join([b'{"jsonrpc":"2.0","method":"m","id":%s}' % id] * count)
    if 0 < count <= MAX_BATCH:
        assert Envelope(dialect).read(document) == [Request("2.0", "m", id=json.loads(id))] * count
    else:
        assert malformed(document, dialect) == (dialect.invalid_request, None)


def test_batch_members(dialect: Dialect) -> None:
    """Each member of a batch is judged by itself."""
    decoded = Envelope(dialect).read(b'[1,{"jsonrpc":"2.0","method":"m","id":1},{"jsonrpc":"2.0","id":"a"},[]]')
    assert isinstance(decoded, list)
    assert decoded[1] == Request("2.0", "m", id=1)
    wrong = [member for member in decoded if isinstance(member, Malformed)]
    assert [(member.error, member.id) for member in wrong] == [
        (dialect.invalid_request, id) for id in (None, "a", None)
    ]


@pytest.mark.parametrize(
    ("document", "name"),
    [
        (b'{"jsonrpc":"2.0","reply_name":"r","method":"m"}', "r"),
        (b'{"reply_name" : "a\\u0062\\"\\\\"}', 'ab"\\'),
        ('{"reply_name":"é"}'.encode(), "é"),
        (b'{"reply_name":""}', ""),
        (b'[{"reply_name":"a"},{"reply_name":"b"}]', "a"),
        (b'[{},{"reply_name":"b"}]', "b"),
        (b'[1,{"reply_name":"b"}]', "b"),
        (b'{"reply_name":"r","method":', "r"),
        (b'{"method":tru,"reply_name"\t:\n"r"', "r"),
        (b'{"x":"\xff","reply_name":"r"}', "r"),
        (b'\0{"reply_name":"r"}', "r"),
        (b'{"x":' + b"[" * 100_000 + b',"reply_name":"r"', "r"),
        (b'{"reply_name":"r"}}', "r"),
        (b'{"reply_name":"\\ud800","reply_name":"r"', "r"),
        (b'{"x":"\\"reply_name\\":\\"no\\"', None),
        (b'{"x":{"reply_name":"no"}}', None),
        (b'{"jsonrpc":"2.0","method":"m","id":null,"reply_name":"r"}', "r"),
        (b'{"jsonrpc":"2.0","method":"m","x":{"reply_name":"no"},"reply_name":"r","id":%s}' % (b"9" * 400), "r"),
        (b'{"params":[%s],"reply_name":"r","x":{"reply_name":"no"}}' % (b"0," * MAX_VALUES + b"0"), "r"),
        (b'{"params":[%s],"reply_name":"r","x":{"reply_name":"no"}' % (b"0," * MAX_VALUES + b"0"), "r"),
        (b'[{"x":{"reply_name":"no"}},{"reply_name":"r"}%s]' % (b",{}" * MAX_BATCH), "r"),
        (b'[{"x":{"reply_name":"no"}}%s]' % (b',{"jsonrpc":"2.0","method":"m"}' * MAX_BATCH), None),
        (b'[{"reply_name":5},{"reply_name":"b"}]', "b"),
        (b'{"reply_name":5}', None),
        (b'{"reply_name":null}', None),
        (b'{"reply_name":"cut', None),
        (b'{"reply_name":"\xff"}', None),
        (b'{"method":"m"}', None),
        (b'"reply_name"', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_reply_name(document: bytes, name: str | None) -> None:
    """The reply_name is found even in a broken document, if it can be read there."""
    assert reply_name(Envelope(KAMAILIO).read(document)) == name


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (b'{"jsonrpc":"2.0","method":"m","store_path":"p"}', "p"),
        (b'{"jsonrpc":"2.0","method":"m","id":null,"store_path":"p"}', "p"),
        (b'{"jsonrpc":"2.0","method":"m","store_path":""}', ""),
        (b'{"jsonrpc":"2.0","method":"m","store_path":5}', None),
        (b'{"jsonrpc":"2.0","method":"m","params":{"store_path":"no"}}', None),
        (b'{"jsonrpc":"2.0","store_path":"no"}', None),
        (b'[{"jsonrpc":"2.0","method":"m","store_path":"no"}]', None),
        (b'{"jsonrpc":"2.0","method":"m","store_path":"no"', None),
    ],
)
def test_store_path(document: bytes, path: str | None) -> None:
    """A single valid request may name a file for its reply."""
    assert store_path(Envelope(KAMAILIO).read(document)) == path


@given(any_document)
def test_reply_name_of_anything(document: bytes) -> None:
    """Whatever bytes come, there is a reply_name or there is not."""
    name = reply_name(Envelope(KAMAILIO).read(document))
    assert name is None or isinstance(name, str)


@pytest.mark.parametrize("unit", [b'"reply_name":', b'"reply_name" ', b'"reply_name":"\\', b'"reply_name":"', b'\\"'])
def test_reply_name_is_found_quickly(unit: bytes) -> None:
    """A broken document at the size limit does not make the search for the reply_name slow."""
    started = process_time()
    document = b"{" + unit * (65_456 // len(unit))
    reply_name(Envelope(KAMAILIO).read(document))
    assert process_time() - started < 1


@command("echo")
def echo(*values: int | float | str | bool | None) -> list[Any]:
    return list(values)


@given(any_document)
@example(b'{"jsonrpc":"2.0","method":1,"id":1}')
@example(b"[" * 100_000)
@example(b'{"jsonrpc":"2.0","method":"echo","params":[1e400],"id":1}')
@example(b'{"jsonrpc":"2.0","method":"echo","params":["\\ud800"],"id":1}')
def test_any_document_is_answered(document: bytes) -> None:
    """Whatever comes is answered with JSON that has the right error, and the next request is answered."""
    for dialect in DIALECTS.values():
        dispatcher = Dispatcher(Registry(echo), Clock(), dialect=dialect)
        reply = dispatcher.dispatch(document, Origin("test"))
        assert isinstance(reply, Reply)
        code = expected_code(document, dialect)
        if reply.body:
            answer = read(reply.body)
            for one in answer if isinstance(answer, list) else [answer]:
                assert one["jsonrpc"] == "2.0"
                assert ("result" in one) != ("error" in one)
            if isinstance(answer, list):
                assert isinstance(read(document), list)
            elif code is not None:
                assert answer["error"]["code"] == code == reply.code
                assert code != -32700 or answer["id"] is None
        else:
            assert dialect.notifications
            assert code is None or isinstance(read(document), list)
        following = dispatcher.dispatch(PLAIN, Origin("test"))
        assert isinstance(following, Reply)
        assert following.body == b'{"jsonrpc":"2.0","result":["x",1],"id":1}'
