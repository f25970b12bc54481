"""Commands: the decorator, the binding of params, signatures and the table."""

import inspect
import json
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from functools import cached_property, wraps
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.rpc import registry
from jsonrpcs_tx.rpc.binding import MISSING, Binding, Mismatch, Text
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import DIALECTS, JSONRPC2, KAMAILIO
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import CommandOptions, Registry, command, commands_of

NO = object()
"""In the tables: the value is refused."""

LONG = Decimal("0.1234567890123456789")
BEYOND = Decimal("1E+400")
VALUES: list[Any] = ["s", "5", 5, 0, 2**70, 2.0, 2.7, True, False, None, LONG, BEYOND, [], {}]
TABLE: list[tuple[Any, list[Any]]] = [
    (str, ["s", "5", NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO]),
    (Text, ["s", "5", "5", "0", str(2**70), "2", "2.7", NO, NO, NO, str(LONG), "1E+400", NO, NO]),
    (int, [NO, NO, 5, 0, 2**70, 2, NO, 1, 0, NO, NO, NO, NO, NO]),
    (float, [NO, NO, 5.0, 0.0, float(2**70), 2.0, 2.7, 1.0, 0.0, NO, float(LONG), NO, NO, NO]),
    (bool, [NO, NO, True, False, True, NO, NO, True, False, NO, NO, NO, NO, NO]),
    (Any, ["s", "5", 5, 0, 2**70, 2.0, 2.7, True, False, NO, float(LONG), NO, NO, NO]),
    (None, [NO, NO, NO, NO, NO, NO, NO, NO, NO, None, NO, NO, NO, NO]),
    (Optional[int], [NO, NO, 5, 0, 2**70, 2, NO, 1, 0, None, NO, NO, NO, NO]),  # noqa: UP045 # the old spelling
    (int | str, ["s", "5", 5, 0, 2**70, 2, NO, 1, 0, NO, NO, NO, NO, NO]),
    (int | Text, ["s", "5", 5, 0, 2**70, 2, "2.7", 1, 0, NO, str(LONG), "1E+400", NO, NO]),
    (int | float, [NO, NO, 5, 0, 2**70, 2.0, 2.7, 1, 0, NO, float(LONG), NO, NO, NO]),
    (str | None, ["s", "5", NO, NO, NO, NO, NO, NO, NO, None, NO, NO, NO, NO]),
    (bool | int, [NO, NO, 5, 0, 2**70, 2, NO, True, False, NO, NO, NO, NO, NO]),
]


def taking(annotation: Any) -> Callable[..., Any]:
    """A function with one parameter of that annotation."""

    def function(value):  # type: ignore[no-untyped-def] # commands may have no annotations
        return value

    function.__annotations__ = {"value": annotation}
    return function


def bind(function: Callable[..., Any], *values: Any) -> list[Any]:
    return list(Binding(function).positional(list(values)))


@pytest.mark.parametrize(
    ("annotation", "value", "argument"),
    [
        pytest.param(annotation, value, argument, id=f"{getattr(annotation, '__name__', annotation)}-{value!r}")
        for annotation, row in TABLE
        for value, argument in zip(VALUES, row, strict=True)
    ],
)
@pytest.mark.parametrize("rest", [False, True], ids=["parameter", "rest"])
def test_value_for_annotation(annotation: Any, value: Any, argument: Any, rest: bool) -> None:
    """A value of each JSON type is taken, converted or refused as the annotation says."""
    if rest:

        def function(*values):  # type: ignore[no-untyped-def] # commands may have no annotations
            return values

        function.__annotations__ = {"values": annotation}
    else:
        function = taking(annotation)
    if argument is NO:
        with pytest.raises(Mismatch, match="value"):
            bind(function, value)
    else:
        (bound,) = bind(function, value)
        assert (type(bound), bound) == (type(argument), argument)


@given(st.integers())
def test_integer_is_exact(number: int) -> None:
    """An integer arrives as it was, for int and as Text."""
    assert bind(taking(int), number) == [number]
    assert bind(taking(Text), number) == [str(number)]


def test_integer_beyond_float() -> None:
    """An integer that no float holds is refused where a float is wanted."""
    with pytest.raises(Mismatch, match="out of range"):
        bind(taking(float), 10**400)


def test_no_annotation() -> None:
    """Without an annotation a parameter takes anything but null."""

    def function(value, *more):  # type: ignore[no-untyped-def] # commands may have no annotations
        return value, more

    assert bind(function, "a", 1, 2.5, True) == ["a", 1, 2.5, True]
    wrong: list[list[object]] = [[None], ["a", None], [[]], ["a", {}]]
    for values in wrong:
        with pytest.raises(Mismatch):
            bind(function, *values)


def order(first: str, second: int = 2, third: Text = MISSING) -> list[Any]:
    return [first, second, third]


def rest(first: str, *others: int) -> list[Any]:
    return [first, *others]


def _nothing_taken() -> list[Any]:
    return []


@pytest.mark.parametrize(
    ("function", "values", "arguments"),
    [
        (order, ["a"], ["a", 2, MISSING]),
        (order, ["a", 1], ["a", 1, MISSING]),
        (order, ["a", True, 3], ["a", 1, "3"]),
        (order, ["a", 1, "c", None, [], {}], ["a", 1, "c"]),
        (rest, ["a"], ["a"]),
        (rest, ["a", 1, True, 2.0], ["a", 1, 1, 2]),
        (_nothing_taken, [], []),
        (_nothing_taken, [1, "x", None], []),
    ],
)
def test_positional(function: Callable[..., Any], values: list[Any], arguments: list[Any]) -> None:
    """Defaults stand in for what is not given, *args takes the rest, and what is beyond the last is ignored."""
    assert function(*Binding(function).positional(values)) == arguments


@pytest.mark.parametrize(
    ("function", "values", "usage"),
    [
        (order, [], True),
        (order, [1], True),
        (order, [None], True),
        (order, ["a", "b"], False),
        (order, ["a", None], False),
        (order, ["a", 1, None], True),
        (rest, [], True),
        (rest, ["a", 1, "b"], False),
        (rest, ["a", 1, [2]], False),
    ],
)
def test_mismatch(function: Callable[..., Any], values: list[Any], usage: bool) -> None:
    """Too few parameters, or one that does not fit, are a mismatch; of usage if it is missing or a string is wanted."""
    with pytest.raises(Mismatch) as caught:
        Binding(function).positional(values)
    assert caught.value.usage is usage


@pytest.mark.parametrize(
    ("members", "arguments"),
    [
        ({"first": "a"}, ["a", 2, MISSING]),
        ({"second": 1.0, "first": "a"}, ["a", 1, MISSING]),
        ({"third": 3, "second": 1, "first": "a"}, ["a", 1, "3"]),
        ({"first": "a", "third": "c"}, ["a", 2, "c"]),
    ],
)
def test_named(members: dict[str, Any], arguments: list[Any]) -> None:
    """By name the order is free, and a parameter with a default may be left out."""
    assert order(*Binding(order).named(members)) == arguments


@pytest.mark.parametrize(
    "members",
    [{}, {"second": 1}, {"first": "a", "other": 1}, {"First": "a"}, {"first": 1}, {"first": "a", "second": "b"}],
)
def test_named_mismatch(members: dict[str, Any]) -> None:
    """By name a parameter that is missing, not known, or of the wrong type is a mismatch."""
    with pytest.raises(Mismatch):
        Binding(order).named(members)


def answer(method: Callable[..., Any], params: str, dialect: Any = KAMAILIO) -> str:
    """The reply to a request with these params, from its result or error on."""
    document = '{"jsonrpc":"2.0","method":"m","params":' + params + ',"id":1}'
    reply = Dispatcher(Registry(method), Clock(), dialect=dialect).dispatch(document.encode(), Origin("test"))
    assert isinstance(reply, Reply)
    return reply.body.decode().removeprefix('{"jsonrpc":"2.0",').removesuffix(',"id":1}')


def test_object_in_kamailio() -> None:
    """In the kamailio dialect the values of an object are taken in their order, whatever their names."""

    @command("m")
    def method(first: str, *others: int) -> list[Any]:
        return [first, *others]

    assert answer(method, '{"others":"a","first":1}') == '"result":["a",1]'


def test_object_in_jsonrpc2() -> None:
    """In the jsonrpc2 dialect the members of an object are taken by name."""

    @command("m")
    def subtract(subtrahend: int, minuend: int) -> int:
        return minuend - subtrahend

    assert answer(subtract, '{"minuend":42,"subtrahend":23}', JSONRPC2) == '"result":19'
    for params in ('{"minuend":42}', '{"minuend":42,"subtrahend":23,"x":1}'):
        assert answer(subtract, params, JSONRPC2).startswith(
            '"error":{"code":-32602,"message":"Invalid params","data":{'
        )


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize(
    ("params", "own"), [("[]", True), ("[1]", True), ("[null]", True), ('["a","b"]', False), ('["a",null]', False)]
)
def test_usage_fault(dialect: Any, params: str, own: bool) -> None:
    """A command's own fault answers for a missing parameter or no string; the dialect's for any other misfit."""

    @command("m", usage=Fault(400, "Name Expected"))
    def method(name: str, number: int = 0) -> str:
        raise AssertionError("it must not run")

    fault = Fault(400, "Name Expected") if own else dialect.invalid_params
    error = json.loads("{" + answer(method, params, dialect) + "}")["error"]
    assert (error["code"], error["message"]) == (fault.code, fault.text)
    assert ("data" in error) == (dialect is JSONRPC2)


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "é", "a\0", "\x7f"])
def test_bad_name(name: str) -> None:
    """A name that clients could not type is refused, and the message says what is allowed."""
    place = r"test_registry \(.*test_registry\.py:\d+\)"
    with pytest.raises(ValueError, match=rf"command name .*{place}: must be printable ASCII without blanks"):
        command(name)


@pytest.mark.parametrize("name", [None, 5, b"m", taking(int)], ids=["None", "number", "bytes", "no parentheses"])
def test_name_is_not_a_string(name: Any) -> None:
    """A decorator without parentheses, or whose name is not a string, is refused with a message that says so."""
    with pytest.raises((TypeError, ValueError), match=r"(?s)command.* name.*test_registry\.py:\d+\)|without a name"):
        command(name)


def _keyword_only(*, a: int) -> None: ...
def _keyword_with_default(*, a: int = 2) -> None: ...
def _keywords(**a: int) -> None: ...
def _object(a: types.ModuleType) -> None: ...
def _nested(a: list[Clock]) -> None: ...
def _two_texts(a: str | bytes) -> None: ...
def _only_for_checks(a: "Nowhere") -> None: ...  # type: ignore[name-defined] # noqa: F821 # wrong on purpose
def _result_only_for_checks(a: int) -> "Nowhere": ...  # type: ignore[name-defined] # noqa: F821 # wrong on purpose
def _yields() -> Iterator[int]:
    yield 1


async def _yields_later() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_keyword_only, r"parameter \*, a: no client could give it; allowed: positional parameters"),
        (_keyword_with_default, r"parameter \*, a: no client could give it"),
        (_keywords, r"parameter \*\*a: no client could give it"),
        (_object, r"parameter a: annotation <class 'module'>: <class 'module'> is not known; allowed: str, Text, "),
        (_nested, r"parameter a: annotation list\[.*Clock\]: <class '.*Clock'> is not known; allowed: "),
        (_two_texts, r"parameter a: annotation str \| bytes: Type unions may not contain more than one str-like type"),
        (_only_for_checks, r"parameter a: name 'Nowhere' is not defined; .*TYPE_CHECKING"),
        (_result_only_for_checks, r"result: name 'Nowhere' is not defined; .*TYPE_CHECKING"),
        (_yields, r"it yields; a command returns its result"),
        (_yields_later, r"it yields; a command returns its result"),
    ],
)
def test_bad_function(function: Callable[..., Any], reason: str) -> None:
    """A function that no client could call is refused when it is added: by its command, name, file and line."""
    line = function.__code__.co_firstlineno
    place = rf"test_registry\.{function.__name__} \(.*test_registry\.py:{line}\)"
    with pytest.raises(TypeError, match=rf"command m: .*{place}: {reason}"):
        Registry(command("m")(function))


def test_class_in_place_of_instance() -> None:
    """A class is refused with a message that asks for an instance of it."""
    place = r"Family \(.*test_registry\.py:\d+\)"
    held = r" that holds family\.next, family\.a, family\.b"
    with pytest.raises(TypeError, match=rf"{place} is a class{held}; allowed: an instance of it, Family\("):
        Registry(Family)


def test_no_parentheses() -> None:
    """A decorator without its name says so, and where the function is."""
    with pytest.raises(TypeError, match=r"test_no_parentheses.*test_registry\.py:\d+\): @command without a name"):

        @command  # type: ignore[arg-type]
        def function() -> None: ...


class _Odd:
    def __init__(self) -> None:
        raise AssertionError("nobody makes one")

    @property
    @command("odd.property")
    def value(self) -> int:
        return 1

    @cached_property
    @command("odd.cached")
    def cached(self) -> int:
        return 1

    @command("odd.self")
    def without_self() -> int:  # type: ignore[misc]
        return 1


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("value", r"command odd\.property: .*_Odd\.value \(.*test_registry\.py:\d+\): a property is not a command"),
        ("cached", r"command odd\.cached: .*_Odd\.cached \(.*test_registry\.py:\d+\): a property is not a command"),
        ("without_self", r"command odd\.self: .*without_self \(.*test_registry\.py:\d+\): invalid method signature"),
    ],
)
def test_members_that_are_no_methods(member: str, reason: str) -> None:
    """A property that a command was made of is refused, and not left out; so is a method that takes no C{self}."""
    source = type("Odd", (), {member: vars(_Odd)[member]})()
    with pytest.raises(TypeError, match=reason):
        Registry(source)


def test_decorated_property() -> None:
    """A property under the decorator is refused at once."""
    with pytest.raises(TypeError, match=r"command odd: .*test_registry\.py:\d+\): a property is not a command"):
        command("odd")(vars(_Odd)["value"])


def test_nothing_to_add() -> None:
    """What holds no command is named with its file."""
    for source, place in (
        (names, r"names \(.*test_registry\.py:\d+\)"),
        (types, r"types \(.*types\.py\)"),
        ("x", "'x'"),
    ):
        with pytest.raises(TypeError, match=place + " holds no commands"):
            Registry(source)


class Family:
    def __init__(self, start: int) -> None:
        self.count = start

    @command("family.next")
    def next(self) -> int:
        """Counts.

        This is not told.
        """
        self.count += 1
        return self.count

    @command("family.a")
    @command("family.b")
    def named_twice(self, a: int) -> int:
        """Has
        two names."""
        return a

    def undecorated(self) -> None: ...


def names(source: object) -> list[str]:
    return [found.name for found in commands_of(source)]


def test_commands_of_instance() -> None:
    """The commands of an instance are its decorated methods, bound to it, in the order of their definition."""
    family = Family(41)
    assert names(family) == ["family.next", "family.a", "family.b"]
    table = Registry(family)
    assert (table["family.next"].function(), family.count) == (42, 42)
    assert [table[name].help for name in table] == ["Counts.", "Has two names.", "Has two names."]


def test_commands_of_subclass() -> None:
    """A subclass has the commands of its base, and its own after them."""

    class More(Family):
        @command("family.more")
        def more(self) -> None: ...

    assert names(More(0)) == [*names(Family(0)), "family.more"]


def test_function_under_two_names() -> None:
    """A function that a module or class holds under two names is one command."""
    module = types.ModuleType("module")
    module.one = module.two = command("m")(lambda: 1)  # type: ignore[attr-defined] # a module gets them here
    assert names(module) == ["m"]

    class Aliased(Family):
        also = Family.next

    assert names(Aliased(0)) == ["family.next", "family.a", "family.b"]


def test_commands_of_overriding_subclass() -> None:
    """A method that overrides a command, without a decorator of its own, is that command."""

    class Other(Family):
        def next(self) -> int:
            return -1

    assert Registry(Other(0))["family.next"].function() == -1


class Outer:
    @staticmethod
    @command("m")
    def method() -> int:
        return 1


class Inner:
    @command("m")
    @staticmethod
    def method() -> int:
        return 1


@pytest.mark.parametrize("family", [Outer, Inner])
def test_static_method(family: Any) -> None:
    """A static method is a command as any other, whichever decorator comes first."""
    assert Registry(family())["m"].function() == 1


def test_commands_of_module() -> None:
    """The commands of a module are its decorated functions, in the order of their definition."""
    module = types.ModuleType("module")
    module.second, module.first, module.other = command("m.2")(lambda: 2), command("m.1")(lambda: 1), order  # type: ignore[attr-defined] # a module gets them here
    assert names(module) == ["m.2", "m.1"]


@pytest.mark.parametrize("source", [types.ModuleType("empty"), lambda: None, object(), 5, "name"])
def test_no_commands(source: object) -> None:
    """A source without commands is refused with a message that says what is missing."""
    with pytest.raises(TypeError, match=r"holds no commands: .*@command\(NAME\)"):
        commands_of(source)


def test_duplicate() -> None:
    """A name that is taken is refused with both functions named, and nothing of that source is added."""

    @command("new")
    @command("family.next")
    def again() -> None: ...

    table = Registry(Family(0))
    with pytest.raises(ValueError, match=r"command family\.next: .*again .* takes the name of .*Family\.next"):
        table.add(again)
    assert list(table) == names(Family(0))


def test_duplicate_in_one_source() -> None:
    """Two functions of one source that claim the same name are refused."""

    class Twice:
        @command("same")
        def one(self) -> int:
            return 1

        @command("same")
        def two(self) -> int:
            return 2

    with pytest.raises(ValueError, match="command same"):
        Registry(Twice())


def test_registry_is_a_mapping() -> None:
    """The table gives commands by name, and more may be added while it is used."""
    table = Registry()
    assert (len(table), "family.a" in table, table.get("family.a")) == (0, False, None)
    dispatcher = Dispatcher(table, Clock())
    table.add(Family(0))
    assert (len(table), table["family.a"].name) == (3, "family.a")
    reply = dispatcher.dispatch(b'{"jsonrpc":"2.0","method":"family.next","id":1}', Origin("test"))
    assert isinstance(reply, Reply)
    assert reply.body == b'{"jsonrpc":"2.0","result":1,"id":1}'


def _nothing() -> None: ...
def _scalars(a: str, b: int, c: float = 0, d: bool = False) -> str: ...  # type: ignore[empty-body] # only its signature counts
def _many(a: Text, *more: int | None) -> list[int]: ...  # type: ignore[empty-body] # only its signature counts
def _unannotated(a): ...  # type: ignore[no-untyped-def] # commands may have no annotations
def _deferred(a: int) -> Deferred[dict[str, int]]: ...  # type: ignore[empty-body] # only its signature counts
async def _coroutine() -> bool: ...  # type: ignore[empty-body] # only its signature counts
def _awaitable() -> Awaitable[int]: ...  # type: ignore[empty-body] # only its signature counts


def test_definition_of_a_wrapper() -> None:
    """A wrapper is what it is itself, also where the function in it has been a command before."""

    @command("own.later")
    async def later(text: str) -> str:
        return text

    [before] = commands_of(later)

    @wraps(later)
    def now(text: str) -> str:
        return text

    [after] = commands_of(now)
    assert (before.asynchronous, after.asynchronous) == (True, False)
    assert (before.function, after.function) == (later, now)


def test_definition_of_a_method() -> None:
    """A function takes a parameter more than the method that it is in an object, whichever of the two comes first."""

    class Shop:
        @command("own.price")
        def price(self, item: str) -> int:
            return len(item)

    for _ in range(2):
        [method], [function] = commands_of(Shop()), commands_of(Shop.price)
        assert [parameter.name for parameter in method.binding.parameters] == ["item"]
        assert [parameter.name for parameter in function.binding.parameters] == ["self", "item"]


@pytest.mark.parametrize(
    ("function", "signatures", "asynchronous"),
    [
        (_nothing, [["nil"]], False),
        (
            _scalars,
            [
                ["string", "string", "int"],
                ["string", "string", "int", "double"],
                ["string", "string", "int", "double", "boolean"],
            ],
            False,
        ),
        (_many, [["array", "string"], ["array", "string", "int or nil"]], False),
        (_unannotated, [["any", "boolean or double or int or string"]], False),
        (_deferred, [["struct", "int"]], True),
        (_coroutine, [["boolean"]], True),
        (_awaitable, [["int"]], True),
    ],
)
def test_definition(function: Callable[..., Any], signatures: list[list[str]], asynchronous: bool) -> None:
    """Signatures and whether a command is asynchronous follow from its annotations."""
    (found,) = commands_of(command("m")(function))
    assert found.signatures() == signatures
    assert found.asynchronous is asynchronous
    assert found.plain is not asynchronous


def test_options() -> None:
    """The decorator leaves the function as it is, and what it says stands with the command."""
    usage, function = Fault(400, "x"), taking(int)
    assert command("m", usage=usage, interval=2, lock="l", timeout=3)(function) is function
    assert function(5) == 5
    (found,) = commands_of(function)
    options = found.options
    assert options == CommandOptions("m", Error(400, "x"), 2, "l", 3, stateless=False)
    assert not found.plain


def test_bound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call looks at no signature and no annotation: that was done when the command was added."""
    dispatchers = [Dispatcher(Registry(Family(0)), Clock(), dialect=dialect) for dialect in DIALECTS.values()]

    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("inspected in a call")

    monkeypatch.setattr(inspect, "signature", fail)
    monkeypatch.setattr(registry, "hints_of", fail)
    monkeypatch.setattr(registry, "Binding", fail)
    for dispatcher in dispatchers:
        for params in (b"[2]", b"[2.0]", b'{"a":true}', b'["x"]', b"[]"):
            document = b'{"jsonrpc":"2.0","method":"family.a","params":%s,"id":1}' % params
            reply = dispatcher.dispatch(document, Origin("test"))
            assert isinstance(reply, Reply)
            assert (b"result" in reply.body) == (params not in (b'["x"]', b"[]"))
            assert b"-32603" not in reply.body
