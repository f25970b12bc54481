"""Structures as parameters and results: msgspec converts and checks what is more than a string or a number."""

import base64
import dataclasses
import enum
import ipaddress
import json
import math
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Annotated, Any, Literal, NewType, TypeAlias, TypedDict, get_type_hints

import attrs
import msgspec
import pytest
from msgspec import Meta
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx import MISSING, Text
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import DIALECTS, JSONRPC2, KAMAILIO, Dialect
from jsonrpcs_tx.rpc.registry import Registry, command
from jsonrpcs_tx.rpc.structures import MAX_DEPTH, MAX_HASHED
from tests.support.logs import observed

both = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Options(TypedDict, total=False):
    quiet: bool


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Order:
    item: str
    count: int = attrs.field(default=1, validator=attrs.validators.ge(1))


class Tree(msgspec.Struct, frozen=True):
    name: str
    children: list["Tree"] = []


class Named(msgspec.Struct, forbid_unknown_fields=True):
    path: Path
    key: bytes = b""


Names: TypeAlias = list[str]
UserId = NewType("UserId", int)
Positive = Annotated[int, Meta(ge=1)]
KEY = uuid.UUID("12345678-1234-5678-1234-567812345678")


def taking(annotation: Any, into: list[object] | None = None) -> Callable[..., Any]:
    """A command with one parameter of that annotation, which puts what it is given into a list."""
    given = [] if into is None else into

    @command("m")
    def method(value):  # type: ignore[no-untyped-def] # annotated below
        given.append(value)

    method.__annotations__ = {"value": annotation}
    return method


def giving(value: object, annotation: Any = Any) -> Callable[..., Any]:
    """A command that returns that value, under that annotation."""

    @command("m")
    def method() -> Any:
        return value

    method.__annotations__ = {"return": annotation}
    return method


def answer(method: Callable[..., Any], params: str = "[]", dialect: Dialect = KAMAILIO, id: str = "1") -> Any:
    """The reply to a request with these params."""
    document = '{"jsonrpc":"2.0","method":"m","params":' + params + ',"id":' + id + "}"
    reply = Dispatcher(Registry(method), Clock(), dialect=dialect).dispatch(document.encode(), Origin("test"))
    assert isinstance(reply, Reply)
    return json.loads(reply.body)


@both
@pytest.mark.parametrize(
    ("annotation", "given", "argument"),
    [
        (list[int], "[1,2]", [1, 2]),
        (list[int], f"[{2**70}]", [2**70]),
        (list, '[1,"a",null,[{}]]', [1, "a", None, [{}]]),
        (dict[str, float], '{"a":1,"b":0.5}', {"a": 1.0, "b": 0.5}),
        (dict[int, str], '{"1":"a"}', {1: "a"}),
        (tuple[int, str], '[1,"a"]', (1, "a")),
        (set[str], '["a","a"]', {"a"}),
        (Literal["a", "b"], '"b"', "b"),
        (Color, '"red"', Color.RED),
        (Options, '{"quiet":true}', {"quiet": True}),
        (Point, '{"x":1}', Point(1)),
        (list[Point], '[{"x":1,"y":2}]', [Point(1, 2)]),
        (Order, '{"item":"a","count":2}', Order("a", 2)),
        (Tree, '{"name":"a","children":[{"name":"b"}]}', Tree("a", [Tree("b")])),
        (datetime, '"2026-01-02T03:04:05Z"', datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (date, '"2026-01-02"', date(2026, 1, 2)),
        (Decimal, '"0.10"', Decimal("0.10")),
        (Decimal, "0.1", Decimal("0.1")),
        (Decimal, "5", Decimal(5)),
        (uuid.UUID, f'"{KEY}"', KEY),
        (bytes, '"aGk="', b"hi"),
        (Path, '"/tmp/x"', Path("/tmp/x")),
        (ipaddress.IPv4Address, '"192.0.2.1"', ipaddress.IPv4Address("192.0.2.1")),
        (Positive, "1", 1),
        (Positive, "true", 1),
        (Positive, "2.0", 2),
        (Annotated[int, "note"], "2.0", 2),
        (Positive | None, "null", None),
        (list[int] | None, "null", None),
        (list[int] | int, "5.0", 5),
        (list[int] | int, "[5]", [5]),
        (Text | list[str], "5", "5"),
        (Text | list[str], '["5"]', ["5"]),
        (Names, '["a"]', ["a"]),
        (UserId, "5.0", 5),
        (list[UserId], "[5]", [5]),
        (object, "null", None),
        (object, '{"a":[1]}', {"a": [1]}),
        (Any, "5", 5),
    ],
)
def test_parameter(dialect: Dialect, annotation: Any, given: str, argument: object) -> None:
    """A parameter gets the value that its annotation describes, by position, by name and among the rest."""
    taken: list[object] = []
    method = taking(annotation, taken)
    for params in (f"[{given}]", f'{{"value":{given}}}'):
        assert "result" in answer(method, params, dialect)
    assert [*map(repr, taken)] == [repr(argument)] * 2

    @command("m")
    def rest(*values):  # type: ignore[no-untyped-def] # annotated below
        taken.extend(values)

    rest.__annotations__ = {"values": annotation}
    assert "result" in answer(rest, f"[{given},{given}]", dialect)
    assert [*map(repr, taken)] == [repr(argument)] * 4


@both
@pytest.mark.parametrize(
    ("annotation", "given", "reason", "allowed"),
    [
        (list[int], '[1,"a"]', "[1]: expected int, got str", "array of int"),
        (list[int], "5", "expected array, got int", "array of int"),
        (list[int], "[0.5]", "[0]: expected int, got float", "array of int"),
        (dict[str, float], '{"a":"b"}', "[...]: expected float, got str", "struct of double"),
        (dict[int, str], '{"a":"b"}', "(a key): expected int, got str", "struct of string"),
        (Literal["a", "b"], '"c"', "invalid enum value 'c'", "'a' or 'b'"),
        (Color, "5", "expected str, got int", "'red' or 'green'"),
        (Point, '{"y":1}', "object missing required field x", "struct with x, [y]"),
        (list[Point], '[{"x":[]}]', "[0].x: expected int, got array", "array of struct"),
        (Order, '{"item":"a","count":0}', "'count' must be >= 1: 0", "struct with item, [count]"),
        (datetime, '"soon"', "invalid RFC3339 encoded datetime", "string (date and time as in RFC 3339)"),
        (Decimal, '"x"', "invalid decimal string", "string (decimal number)"),
        (bytes, '"a"', "invalid base64 encoded string", "string (Base64)"),
        (Path, "5", "expected str", "string"),
        (Positive, "0", "expected int >= 1", "int >= 1"),
        (Positive, "[]", "expected int, got array", "int >= 1"),
        (Positive, '"1"', "expected int, got str", "int >= 1"),
        (Positive | None, "0", "expected int >= 1", "int >= 1 or nil"),
        (Named, '{"path":"a","k":1}', "object contains unknown field k", "struct with path, [key]"),
    ],
)
def test_refused_parameter(dialect: Dialect, annotation: Any, given: str, reason: str, allowed: str) -> None:
    """A value that does not fit is refused before the command runs; jsonrpc2 tells where it is and what is allowed."""
    taken: list[object] = []
    method = taking(annotation, taken)
    error = answer(method, f"[{given}]", dialect)["error"]
    told = {"parameter": "value", "reason": reason, "allowed": allowed}
    code, text = dialect.invalid_params.code, dialect.invalid_params.text
    assert error == {"code": code, "message": text, **({"data": told} if dialect is JSONRPC2 else {})}
    assert taken == []


@both
@pytest.mark.parametrize("annotation", [int, str, Text, float, bool, Any, int | None, Positive])
@pytest.mark.parametrize("given", ["[]", "{}", "[[]]", '{"a":1}'])
def test_scalar_takes_no_structure(dialect: Dialect, annotation: Any, given: str) -> None:
    """A parameter of scalars takes no array and no object, as ever."""
    assert answer(taking(annotation), f"[{given}]", dialect)["error"]["code"] == dialect.invalid_params.code


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_alias() -> None:
    """An alias made with C{type} means what it stands for, plain or not."""
    namespace: dict[str, Any] = {"Annotated": Annotated, "Meta": Meta}
    exec("type Count = int\ntype Some = list[Count]\ntype Least = Annotated[int, Meta(ge=1)]", namespace)
    for name, given, argument in (("Count", "2.0", 2), ("Some", "[1]", [1]), ("Least", "true", 1)):
        taken: list[object] = []
        method = taking(namespace[name], taken)
        assert "result" in answer(method, f"[{given}]")
        assert taken == [argument]
    assert "error" in answer(taking(namespace["Count"]), "[[]]")
    assert "error" in answer(taking(namespace["Least"]), "[0]")


def test_defaults() -> None:
    """Structures may be left out, and mixed with plain parameters."""

    @command("m")
    def method(name: str, points: list[Point] = MISSING, *more: Positive) -> list[Any]:
        return [name, points is MISSING or points, *more]

    assert answer(method, '["a"]')["result"] == ["a", True]
    assert answer(method, '["a",[{"x":1,"y":0}],2,3.0]')["result"] == ["a", [{"x": 1, "y": 0}], 2, 3]
    assert "error" in answer(method, '["a",[{"x":1}],0]')


def test_unusual_document() -> None:
    """Numbers within a structure are the same whatever else stands in the document, such as an id with a fraction."""
    taken: list[object] = []
    method = taking(object, taken)
    for id in ("1", "1.5", "0.12345678901234567890"):
        answer(method, '[{"a":[0.12345678901234567890,1]}]', id=id)
    assert [*map(repr, taken)] == [repr({"a": [0.12345678901234567890, 1]})] * 3


@both
@pytest.mark.parametrize("annotation", [list, object, Tree, dict[str, Any]])
def test_depth(dialect: Dialect, annotation: Any) -> None:
    """What is nested too deeply is refused like any other misfit, and never reaches the command."""
    inside = {Tree: ('{"name":"","children":[', "]}"), dict[str, Any]: ('{"a":', "}")}.get(annotation, ("[", "]"))

    def nested(depth: int) -> str:
        middle = "0" if annotation in (list, object) else "" if annotation is Tree else "0"
        return "[" + inside[0] * depth + middle + inside[1] * depth + "]"

    taken: list[object] = []
    method = taking(annotation, taken)
    assert "result" in answer(method, nested(MAX_DEPTH // 2), dialect)
    for depth in (MAX_DEPTH + 1, 400):
        assert answer(method, nested(depth), dialect)["error"]["code"] == dialect.invalid_params.code
    assert len(taken) == 1
    for depth in (101, 900):  # a scalar says no more of it than that it is an array
        assert answer(taking(int), "[" * depth + "]" * depth, dialect)["error"]["code"] == dialect.invalid_params.code


@pytest.mark.parametrize(
    ("annotation", "make"),
    [
        (set[int], lambda number: str(number)),
        (set[uuid.UUID], lambda number: f'"{uuid.UUID(int=number)}"'),
        (list[frozenset[Decimal]], lambda number: f'["{number}"]'),
        (dict[int, int], lambda number: f'"{number}":1'),
        (set[tuple[int, str]], lambda number: f'[{number},""]'),
        (set[int | str], lambda number: str(number)),
    ],
)
def test_values_with_equal_hashes(annotation: Any, make: Callable[[int], str]) -> None:
    """Values chosen so that their hashes are equal hold nobody up: a set of such takes a limited number."""
    taken: list[object] = []
    method = taking(annotation, taken)
    brackets = ("[{", "}]") if get_type_hints(method)["value"] == dict[int, int] else ("[[", "]]")

    def params(count: int) -> str:
        return brackets[0] + ",".join(make(number * (2**61 - 1)) for number in range(count)) + brackets[1]

    assert "result" in answer(method, params(MAX_HASHED // 3))
    begun = process_time()
    assert "error" in answer(method, params(14_000))
    assert process_time() - begun < 1


def test_many_values() -> None:
    """A large structure takes little longer than reading the document."""
    taken: list[object] = []
    method = taking(list[int], taken)
    begun = process_time()
    assert "result" in answer(method, "[[" + ",".join(map(str, range(29_000))) + "]]")
    assert process_time() - begun < 1


@both
@pytest.mark.parametrize(
    ("value", "annotation", "result"),
    [
        ([1, 2], list[int], [1, 2]),
        (Point(1), Point, {"x": 1, "y": 0}),
        ([Order("a")], list[Order], [{"item": "a", "count": 1}]),
        (Tree("a"), Tree, {"name": "a", "children": []}),
        ({"quiet": True}, Options, {"quiet": True}),
        (Color.RED, Color, "red"),
        ({"a": Color.RED}, Any, {"a": "red"}),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime, "2026-01-02T03:04:05Z"),
        (Decimal("0.10"), Decimal, "0.10"),
        (KEY, uuid.UUID, str(KEY)),
        (Path("/tmp/x"), Path, "/tmp/x"),
        ([Path("/tmp/x")], Any, ["/tmp/x"]),
        (ipaddress.IPv6Address("::1"), Any, "::1"),
        (b"hi", bytes, "aGk="),
        (b"hi", bytes | str, "aGk="),
        ("hi", bytes | str, "hi"),
        ({"a": [b"hi"]}, dict[str, list[bytes]], {"a": ["aGk="]}),
        (Named(Path("a"), b"hi"), Named, {"path": "a", "key": "aGk="}),
        ([2**70, -(2**63) - 1], list[int], [2**70, -(2**63) - 1]),
        ({"a": {"b": [2**70]}}, Any, {"a": {"b": [2**70]}}),
        ({2**70: 1}, dict[int, int], {str(2**70): 1}),
    ],
)
def test_result(dialect: Dialect, value: object, annotation: Any, result: object) -> None:
    """A result is written as msgspec does; bytes as Base64 where the annotation tells of them."""
    assert answer(giving(value, annotation), dialect=dialect)["result"] == result


class Unknown:
    """What JSON cannot express."""


class Holder(msgspec.Struct):
    value: Any


@both
@pytest.mark.parametrize(
    ("value", "word"),
    [
        (Unknown(), "test_structures.Unknown"),
        ({"a": [Unknown()]}, "test_structures.Unknown"),
        (Holder(Unknown()), "test_structures.Unknown"),
        ((number for number in [1]), "generator"),
        (b"hi", "bytes"),
        (Named(Path("a"), b"hi"), "bytes"),
        (Holder([bytearray(b"hi")]), "bytearray"),
        (math.nan, "nan"),
        ({"a": [1, {"b": -math.inf}]}, "-inf"),
        (Holder({"a": math.inf}), "inf"),
        ([Holder(Decimal("NaN"))], "Decimal NaN"),
        (MISSING, "UnsetType"),
        ([{"a": MISSING}], "UnsetType"),
        ({"a": msgspec.Raw(b"}")}, "Raw"),
    ],
)
def test_refused_result(dialect: Dialect, value: object, word: str) -> None:
    """A result that JSON cannot express is an internal error, however deeply it lies; the log names its type or
    value."""
    events: list[LogEvent] = []
    with observed(events.append):
        error = answer(giving(value), dialect=dialect)["error"]
    assert error == {"code": -32603, "message": dialect.internal_error.text}
    (event,) = events
    assert formatEvent(event).endswith(": command m failed")
    assert word in event["log_failure"].getErrorMessage()


def test_deep_result() -> None:
    """A result that is nested too deeply, or holds itself, is an internal error."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in (deep, cyclic, Holder(deep), {"a": Holder(cyclic)}):
        assert answer(giving(value))["error"]["code"] == -32603
    while deep:  # so that it is not taken apart in one piece
        deep = deep.pop()


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (list[int], "array"),
        (Point, "struct"),
        (tuple[int, ...], "array"),
        (Color, "string"),
        (Literal[1, "a", None], "int or nil or string"),
        (Positive, "int"),
        (list[int] | str, "array or string"),
        (object, "any"),
        (Path, "string"),
    ],
)
def test_signature(annotation: Any, name: str) -> None:
    """system.methodSignature tells the JSON types of a structure."""
    assert Registry(taking(annotation))["m"].signatures() == [["any", name]]


def test_base64_both_ways() -> None:
    """Bytes go in and out as Base64, whatever they hold."""

    @command("m")
    def method(data: bytes) -> bytes:
        return data[::-1]

    data = bytes(range(256))
    sent = base64.b64encode(data).decode()
    assert base64.b64decode(answer(method, f'["{sent}"]')["result"]) == data[::-1]
