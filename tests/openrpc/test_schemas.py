"""What annotations say, as JSON Schema: values that fit one fit the other."""

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import json
import pathlib
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import attrs
import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx import JSONRPC2, KAMAILIO, MISSING, Call, Dispatcher, Fault, Registry, Text, command
from jsonrpcs_tx.openrpc.discovery import Discovery
from jsonrpcs_tx.slices import Slices
from tests.support.openrpc import fits, methods_of


@dataclasses.dataclass
class Item:
    """Something for sale."""

    name: str
    price: float = 0.0
    parts: "list[Item]" = dataclasses.field(default_factory=list)


@attrs.define
class Order:
    item: Item
    note: str | None = None


class Point(NamedTuple):
    x: int
    y: int = 0


class Row(TypedDict):
    key: str
    expires: NotRequired[int]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Tree(msgspec.Struct, tag="tree"):
    left: "Tree | None" = None


Number = NewType("Number", int)


class Odd:
    """What msgspec knows nothing of."""


CASES: tuple[tuple[Any, tuple[Any, ...], tuple[Any, ...]], ...] = (
    (str, ("", "a"), (1, None, [])),
    (int, (1, -(2**70)), ("1", 1.5, [])),
    (float, (1, 1.5), ("1", None)),
    (bool, (True, False), ("true", [])),
    (None, (None,), ("", [])),
    (Text, ("a", 1, 1.5), ([], None)),
    (int | str, (1, "a"), (None, [])),
    (float | None, (1.5, 2, None), ("", {})),
    (Number, (1,), ("a",)),
    (Literal["a", 1], ("a", 1), ("b", 2, None)),
    (Color, ("red", "blue"), ("RED", 1)),
    (Annotated[int, msgspec.Meta(ge=1, le=9)], (1, 9), (0, 10, "a")),
    (Annotated[str, msgspec.Meta(max_length=2)], ("ab",), ("abc",)),
    (list[int], ([], [1, 2]), (["a"], 1, {})),
    (list, ([], ["a", 1]), (1, "a")),
    (Sequence[str], (["a"],), ([1],)),
    (set[int], ([1, 2],), (["a"],)),
    (tuple[int, str], ([1, "a"],), ([1], ["a", 1], [1, "a", 2])),
    (tuple[int, ...], ([], [1, 2]), (["a"],)),
    (dict[str, int], ({}, {"a": 1}), ({"a": "b"}, [])),
    (dict[str, Any], ({"a": [None]},), ([], 1)),
    (Text | list[str], ("a", 5, ["b"]), ([1], {})),
    (Item, ({"name": "a"}, {"name": "a", "price": 1.5, "parts": [{"name": "b"}]}), ({}, {"name": "a", "parts": [1]})),
    (Order, ({"item": {"name": "a"}, "note": None},), ({"item": {}}, [])),
    (Point, ([1], [1, 2]), ([], [1, 2, 3], ["a"])),
    (Row, ({"key": "a"}, {"key": "a", "expires": 5}), ({}, {"key": "a", "expires": "b"})),
    (Tree, ({"type": "tree", "left": {"type": "tree"}},), ({"type": "bush"}, {"type": "tree", "left": 1})),
    (list[Item | None], ([None, {"name": "a"}],), ([1],)),
    (datetime.datetime, ("2026-02-03T04:05:06Z",), (1,)),
    (uuid.UUID, ("6ba7b810-9dad-11d1-80b4-00c04fd430c8",), (1,)),
    (decimal.Decimal, ("1.50",), ([],)),
    (bytes, ("YQ==",), (1,)),
    (pathlib.Path, ("/tmp",), (1,)),
    (ipaddress.IPv4Address, ("192.0.2.1",), (1,)),
    (object, (1, "a", None, [], {}), ()),
)
"""Annotations, with values that fit them and values that do not."""


def documented(*functions: Any, dialect: Any = KAMAILIO) -> Any:
    """The document of a server with these commands."""
    dispatcher = Dispatcher(Registry(), Clock(), dialect=dialect)
    for function in functions:
        dispatcher.registry.add(function)
    written = Discovery(dispatcher, Slices(Clock())).document(dispatcher.origin("exec"))
    assert isinstance(written, bytes)
    return json.loads(written)


@pytest.mark.parametrize(("annotation", "good", "bad"), CASES, ids=[str(case[0]) for case in CASES])
def test_annotations(annotation: Any, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    """The schemas of a parameter and of a result take what the server takes and gives, and refuse what it refuses."""

    @command("test.own")
    def own(value: annotation) -> annotation:
        return value

    document = documented(own)
    method = methods_of(document)["test.own"]
    (parameter,) = method["params"]
    binding = Registry(own)["test.own"].binding
    for value in good:
        binding.positional([value])
        assert fits(document, parameter["schema"], value), value
        if "NumberToo" not in str(annotation) or not isinstance(value, int | float):  # a Text is a string
            assert fits(document, method["result"]["schema"], value), value
    for value in bad:
        assert not fits(document, parameter["schema"], value), value


@pytest.mark.parametrize(
    "value",
    [Item("a", 1.5, [Item("b")]), Order(Item("a")), Point(1), {"key": "a"}, Color.RED, Tree(Tree()), {1, 2}, b"a", 1.5],
    ids=repr,
)
def test_results(value: Any) -> None:
    """What the server writes for a value fits the schema of its type."""
    kind: Any = Row if isinstance(value, dict) else set[int] if isinstance(value, set) else type(value)

    @command("test.own")
    def own() -> kind:
        return value

    document = documented(own)
    dispatcher = Dispatcher(Registry(own), Clock())
    reply: Any = dispatcher.dispatch(b'{"jsonrpc":"2.0","method":"test.own","id":1}', dispatcher.origin("exec"))
    assert fits(document, methods_of(document)["test.own"]["result"]["schema"], json.loads(reply.body)["result"])


def test_unknown_types() -> None:
    """A result of a type that nobody can describe is open, and so is one whose class fails when it is looked at."""

    class Broken(type):
        def __getattr__(cls, name: str) -> Any:
            raise RuntimeError(name)

    class Failing(metaclass=Broken):
        pass

    @command("test.odd")
    def odd() -> Odd: ...  # type: ignore[empty-body]

    @command("test.union")
    def union() -> bytes | str | Item: ...  # type: ignore[empty-body]

    @command("test.failing")
    def failing() -> Failing: ...  # type: ignore[empty-body]

    @command("test.bare")
    def bare(value): ...  # type: ignore[no-untyped-def]

    methods = methods_of(documented(odd, union, failing, bare))
    assert methods["test.odd"]["result"]["schema"] == {}
    assert methods["test.failing"]["result"]["schema"] == {}
    assert methods["test.bare"]["result"]["schema"] == {}
    assert {"$ref": "#/components/schemas/Item"} in methods["test.union"]["result"]["schema"]["anyOf"]
    assert [part["type"] for part in methods["test.bare"]["params"][0]["schema"]["anyOf"]] == [
        "boolean",
        "number",
        "string",
    ]


def test_same_names() -> None:
    """Different types of one name have names of their own, whatever else refers to them; equal ones share one."""

    def make(kind: Any) -> Any:
        inner = dataclasses.make_dataclass("Part", [("value", kind)])
        return dataclasses.make_dataclass(
            "Whole", [("part", inner), ("note", str, '"$ref":"#/components/schemas/Part"')]
        )

    functions = []
    for number, kind in enumerate((int, str, int, bool)):
        whole = make(kind)

        def own(value: whole) -> list[whole]: ...  # type: ignore[valid-type, empty-body]

        functions.append(command(f"test.{number}")(own))
    document = documented(*functions)
    methods = methods_of(document)
    assert sorted(document["components"]["schemas"]) == [
        *("Part", "Part_2", "Part_3"),
        *("Whole", "Whole_2", "Whole_3"),
    ]
    for number, (good, bad) in enumerate(((1, "a"), ("a", 1), (2, "a"), (True, 1))):
        schema = methods[f"test.{number}"]["params"][0]["schema"]
        assert fits(document, schema, {"part": {"value": good}})
        assert not fits(document, schema, {"part": {"value": bad}})
    assert methods["test.0"]["params"] == methods["test.2"]["params"]


@command("shop.order", interval=1, lock="shop", usage=Fault(400, "Item Expected"), faults=[Fault(404, "No Such Item")])
def order(call: Call, item: str, /, count: int = 1, limit: int = MISSING, *notes: str) -> Deferred[Order]:  # type: ignore[empty-body]
    """Orders an item.

    It comes later. <script>alert(1)</script>

    @param item: its name.
    """


@command("plain", changes=False)
def plain(item: str, password: str = "x", odd: float = float("nan")) -> None:
    """Does little."""


@command("shop.old", deprecated="use shop.order")
def old(first: str, /) -> None: ...


_LIMITS = "Command Executed Too Fast; or Command Locked; or Asynchronous: It Needs HTTP Or HTTPS"


def test_method() -> None:
    """All that is known of a command is said."""
    assert methods_of(documented(order))["shop.order"] == {
        "name": "shop.order",
        "summary": "Orders an item.",
        "description": "It comes later. <script>alert(1)</script>",
        "tags": [{"name": "shop"}],
        "paramStructure": "by-position",
        "params": [
            {"name": "item", "required": True, "schema": {"type": "string"}},
            {"name": "count", "required": False, "schema": {"type": "integer", "default": 1}},
            {"name": "limit", "required": False, "schema": {"type": "integer"}},
            {"name": "notes", "required": False, "schema": {"type": "string"}, "x-variadic": True},
        ],
        "result": {"name": "result", "schema": {"$ref": "#/components/schemas/Order"}},
        "errors": [
            {"code": 400, "message": "Item Expected"},
            {"code": 404, "message": "No Such Item"},
            {"code": 500, "message": f"Invalid Parameters; or {_LIMITS}"},
            {"code": 503, "message": "Too Many Asynchronous Commands"},
            {"code": 504, "message": "Timed Out"},
        ],
        "x-effect": "changes",
        "x-asynchronous": True,
        "x-module": "shop",
    }


def test_dialects() -> None:
    """Only dialect jsonrpc2 takes parameters by their names, and only those that have one; its errors are others."""
    methods = methods_of(documented(plain, old, dialect=JSONRPC2))
    assert methods["plain"]["paramStructure"] == "either"
    assert methods["plain"]["errors"] == [{"code": -32602, "message": "Invalid params"}]
    assert methods["shop.old"]["paramStructure"] == "by-position"
    assert methods_of(documented(plain))["plain"]["paramStructure"] == "by-position"


def test_defaults_that_are_not_shown() -> None:
    """A default that JSON cannot express, or that is secret, is not in the schema."""
    first, password, odd = methods_of(documented(plain))["plain"]["params"]
    assert not any("default" in parameter["schema"] for parameter in (first, password, odd))
    assert [parameter.get("x-secret") for parameter in (first, password, odd)] == [None, True, None]


def test_without_family() -> None:
    """A command whose name has no dot has no tag."""
    method = methods_of(documented(plain))["plain"]
    assert "tags" not in method
    assert method["x-effect"] == "reads"


@command("test.odd")
def odd_texts(text: str = "\udcff", number: int = 2**70, small: float = 1e-7) -> int:
    """Says \udcff."""
    return 1


def test_odd_texts() -> None:
    """A text that UTF-8 cannot write, or a very large number, does not keep the commands from being described."""
    methods = methods_of(documented(odd_texts, plain))
    assert methods["test.odd"]["summary"] == "Says ?."
    assert [one["schema"]["default"] for one in methods["test.odd"]["params"]] == ["?", 2**70, 1e-7]
    assert "plain" in methods


def test_deprecated() -> None:
    """A command that is deprecated says so."""
    method = methods_of(documented(old))["shop.old"]
    assert method["deprecated"] is True
    assert method["summary"] == "Deprecated: use shop.order."


@pytest.mark.parametrize("faults", [Fault(1, "a"), "a", [1], [None]])
def test_faults_refused(faults: Any) -> None:
    """Anything but faults is refused when the command is decorated."""
    with pytest.raises(TypeError, match="faults: allowed are Faults with a code and a text in a tuple, not"):
        command("test.own", faults=faults)(lambda: None)
