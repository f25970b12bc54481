"""Commands: the decorator that names a function as one, the binding of its parameters, and the table of all."""

import inspect
import math
import types
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
from msgspec import UNSET, UnsetType
from twisted.internet.defer import Deferred

from jsonrpcs_tx.rpc.faults import Fault, sound

MISSING: Final[Any] = UNSET
"""The default of a parameter that tells a command that the parameter was not given, where None will not do."""


class _NumberToo:
    """Marks a text parameter that takes a number as text, the C{.} of Kamailio's C{scan}."""


Text = Annotated[str, _NumberToo]
"""The annotation of a parameter that is a string, and takes a number as text: 5 as "5"."""

_TRUSTED: Final = frozenset(f"jsonrpcs_tx.commands.{family}" for family in ("core", "jsonrpc", "system"))
"""Modules with commands that return nothing but what they have made themselves, or what came as JSON."""

_F = TypeVar("_F", bound=Callable[..., Any])
_ATTRIBUTE = "__jsonrpcs_commands__"


@attrs.frozen
class Options:
    """What the decorator says of a command; see L{command}."""

    name: str
    usage: Fault | None
    interval: float
    lock: str | None
    timeout: float | None
    stateless: bool


def command(
    name: str,
    *,
    usage: Fault | None = None,
    interval: float = 0,
    lock: str | None = None,
    timeout: float | None = None,
    stateless: bool = False,
) -> Callable[[_F], _F]:
    """Make a function or a method a command.

    The function has positional parameters, annotated with C{str}, L{Text}, C{int}, C{float}, C{bool}, C{None} or a
    union of them; without an annotation any of them but null is taken. A default makes a parameter optional,
    C{*args} takes the rest. It returns what JSON can say (str, int, float, bool, None, list, dict), or raises
    L{Fault}. It is asynchronous if it is an C{async def} or its return annotation is a Deferred. The first
    paragraph of its docstring is what C{system.methodHelp} answers.

    The decorator can be stacked, to give a command several names.

    @param name: as clients call it, for example C{dispatcher.set_state}; case counts.
    @param usage: the fault for a parameter that is missing or is not the string that is wanted, where the command
        has words of its own for it; else the dialect's Invalid Parameters.
    @param interval: the least time in seconds between two runs; a call that comes earlier is answered with 500
        "Command Executed Too Fast" (Kamailio's C{RPC_EXEC_DELTA}).
    @param lock: commands with the same lock never overlap: one that comes while another is still at work waits for
        it over HTTP(S), and is refused with 500 elsewhere.
    @param timeout: the most time in seconds that an asynchronous command may take, in place of the server's setting.
    @param stateless: it needs nothing of the process that it runs in but its parameters, so that any worker process
        may run it (setting C{dgram_workers}).
    @raise ValueError: the name is no string, empty or not printable ASCII without blanks.
    @raise TypeError: another option is not what it must be.
    """
    if not isinstance(name, str) or not name or not all("!" <= char <= "~" for char in name):
        raise ValueError(f"command name {name!r}: allowed is printable ASCII without blanks")
    options = Options(name, usage, interval, lock, timeout, stateless)
    _check_options(options)

    def decorate(function: _F) -> _F:
        setattr(function, _ATTRIBUTE, (options, *getattr(function, _ATTRIBUTE, ())))
        return function

    return decorate


def _check_options(options: Options) -> None:
    """@raise TypeError: one is not what it must be."""
    for name, allowed, fits in (
        ("usage", "a Fault with a code and a text", options.usage is None or _is_sound(options.usage)),
        ("interval", "a number of seconds, 0 or more", _is_number(options.interval) and options.interval >= 0),
        ("lock", "a string", options.lock is None or isinstance(options.lock, str)),
        (
            "timeout",
            "a number of seconds above 0",
            options.timeout is None or (_is_number(options.timeout) and options.timeout > 0),
        ),
        ("stateless", "True or False", isinstance(options.stateless, bool)),
    ):
        if not fits:
            raise TypeError(f"command {options.name}: {name}: allowed is {allowed}, not {getattr(options, name)!r:.60}")


def _is_sound(fault: object) -> bool:
    try:
        return isinstance(fault, Fault) and bool(sound(fault))
    except Exception:  # of a subclass, anything
        return False


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type] # it is one


class Mismatch(Exception):
    """Parameters that do not fit a command.

    @ivar usage: a parameter is missing or is not the string that is wanted, for which a command may have its own text.
    @ivar reason: which parameter, and what it takes; for the log.
    """

    def __init__(self, reason: str, usage: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.usage = usage


_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    int: "int",
    float: "double",
    bool: "boolean",
    type(None): "nil",
    list: "array",
    dict: "struct",
}
_SCALARS: Final = (str, int, float, bool)
_EXACT: Final = 2**53
"""Up to which a float is one integer only."""


@attrs.frozen
class Parameter:
    """One parameter of a command.

    @ivar types: those of values that it takes as they are.
    @ivar number_too: it takes a number as text.
    @ivar default: what it is where it is not given, if it is not required.
    """

    name: str
    types: frozenset[type]
    number_too: bool
    required: bool
    default: object = None

    def convert(self, value: object) -> object:
        """The argument for a value.

        True and False count as 1 and 0 where a number is wanted, a whole number as an integer.

        @raise Mismatch: the value does not fit.
        """
        kind = type(value)
        if kind in self.types:
            return value
        if kind is Decimal:
            return self._convert_decimal(value)
        if kind is bool:
            if int in self.types:
                return int(value)  # type: ignore[call-overload]
            if float in self.types:
                return float(value)  # type: ignore[arg-type]
        elif kind is int:
            if float in self.types:
                return _finite(value, self)
            if bool in self.types:
                return bool(value)
            if self.number_too:
                return str(value)
        elif kind is float:
            if int in self.types and value.is_integer() and abs(value) <= _EXACT:  # type: ignore[attr-defined, arg-type]
                return int(value)  # type: ignore[call-overload]
            if self.number_too:
                return _text(value)  # type: ignore[arg-type]
        raise self._mismatch(value)

    def _convert_decimal(self, value: Any) -> object:
        """A number that is neither an int nor exactly a float."""
        if float in self.types:
            return _finite(value, self)
        if self.number_too and value.is_finite():
            return str(value)
        raise self._mismatch(value)

    def _mismatch(self, value: object) -> Mismatch:
        # Kamailio itself refuses only what is no string where it wants one; of a number it makes what it can.
        return Mismatch(f"parameter {self.name}: {self.describe()} is wanted, not {value!r:.40}", str in self.types)

    def describe(self) -> str:
        """The JSON types that are taken, for messages."""
        return " or ".join(sorted(_JSON_NAMES[kind] for kind in self.types))


def _finite(value: Any, parameter: Parameter) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Mismatch(f"parameter {parameter.name}: {value!r:.40} is out of range")
    return number


def _text(number: float) -> str:
    """A number as text: a whole one without a fraction, as Kamailio does."""
    return str(int(number)) if number.is_integer() and abs(number) <= _EXACT else repr(number)


class Binding:
    """How params become the arguments of a function, worked out once.

    @ivar parameters: the positional parameters in their order.
    @ivar rest: the parameter that takes all further ones, C{*args}; None where there is none.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """@raise TypeError: the function has a parameter that no JSON-RPC client could give."""
        hints = get_type_hints(function, include_extras=True)
        self.parameters: list[Parameter] = []
        self.rest: Parameter | None = None
        for parameter in inspect.signature(function).parameters.values():
            required = parameter.default is parameter.empty
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = _parameter(function, parameter.name, hints)
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self.parameters.append(_parameter(function, parameter.name, hints, parameter.default))
            elif required or parameter.kind is parameter.VAR_KEYWORD:
                raise TypeError(f"{_place(function)}: parameter {parameter.name}: only positional ones are allowed")
        self._required = sum(parameter.required for parameter in self.parameters)
        self._most = len(self.parameters)
        # The types of values that are passed on as they are, for each number of parameters: the ordinary case.
        self._as_they_are = frozenset(
            tuple(next(iter(parameter.types)) for parameter in self.parameters[:count])
            for count in range(self._required, self._most + 1)
        )

    def positional(self, values: list[Any]) -> Iterable[Any]:
        """The arguments for values in their order; values beyond the last parameter are ignored, as Kamailio does.

        @raise Mismatch: too few, or one does not fit.
        """
        if tuple(map(type, values)) in self._as_they_are:
            return values
        if len(values) < self._required:
            raise self._too_few(self.parameters[len(values)])
        arguments = [p.convert(value) for p, value in zip(self.parameters, values, strict=False)]
        if self.rest is not None:
            arguments += map(self.rest.convert, values[self._most :])
        return arguments

    def named(self, members: dict[str, Any]) -> Iterable[Any]:
        """The arguments for values by the names of parameters (specification, section 4.2).

        @raise Mismatch: one is missing, not known or does not fit.
        """
        unknown = members.keys() - {p.name for p in self.parameters}
        if unknown:
            allowed = ", ".join(p.name for p in self.parameters) or "none"
            raise Mismatch(f"parameter {min(unknown)!r:.40} is not known; allowed: {allowed}")
        arguments: list[Any] = []
        for parameter in self.parameters:
            if parameter.name in members:
                arguments.append(parameter.convert(members[parameter.name]))
            elif parameter.required:
                raise self._too_few(parameter)
            else:
                arguments.append(parameter.default)
        return arguments

    @staticmethod
    def _too_few(parameter: Parameter) -> Mismatch:
        return Mismatch(f"parameter {parameter.name} is missing: {parameter.describe()} is wanted", usage=True)


def _parameter(
    function: object, name: str, hints: Mapping[str, Any], default: object = inspect.Parameter.empty
) -> Parameter:
    hint = hints.get(name, Any)
    number_too = False
    kinds: list[type] = []
    for part in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else [hint]:
        if get_origin(part) is Annotated and _NumberToo in part.__metadata__:
            number_too = True
            kinds.append(str)
        elif part is Any:
            kinds.extend(_SCALARS)
        elif part in _SCALARS or part is type(None):
            kinds.append(part)
        elif part is not UnsetType:
            raise TypeError(
                f"{_place(function)}: parameter {name}: annotation {part!r}; allowed are str, Text, int, float, "
                "bool, None and unions of them"
            )
    return Parameter(name, frozenset(kinds), number_too, default is inspect.Parameter.empty, default)


def _place(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


@attrs.frozen(eq=False)
class Command:
    """A function under the name by which clients call it.

    @ivar help: the first paragraph of its docstring, on one line.
    @ivar asynchronous: its definition says that it answers later.
    @ivar plain: neither that, nor has it a least interval or a lock.
    @ivar trusted: its result need not be looked at, see L{jsonrpcs_tx.rpc.results.check_result}.
    """

    name: str
    function: Callable[..., Any]
    binding: Binding
    help: str
    asynchronous: bool
    options: Options
    plain: bool
    trusted: bool

    def signatures(self) -> list[list[str]]:
        """The type of the result and of each parameter, for each number of parameters, in XML-RPC's words."""
        names = [parameter.describe() for parameter in self.binding.parameters]
        if self.binding.rest is not None:
            names.append(self.binding.rest.describe())
        returned = _result_name(get_type_hints(self.function).get("return", Any))
        least = sum(parameter.required for parameter in self.binding.parameters)
        return [[returned, *names[:count]] for count in range(least, len(names) + 1)]


def _result_name(hint: Any) -> str:
    if get_origin(hint) is Deferred:
        return _result_name(get_args(hint)[0])
    kind = get_origin(hint) or hint
    return _JSON_NAMES.get(kind, "any")


def _make(function: Callable[..., Any], options: Options) -> Command:
    hint = get_type_hints(function).get("return")
    asynchronous = inspect.iscoroutinefunction(function) or (get_origin(hint) or hint) in (Deferred, Awaitable)
    return Command(
        name=options.name,
        function=function,
        binding=Binding(function),
        help=" ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split()),
        asynchronous=asynchronous,
        options=options,
        plain=not asynchronous and not options.interval and options.lock is None,
        trusted=function.__module__ in _TRUSTED,
    )


def _options(value: object) -> tuple[Options, ...]:
    """What the decorators say of a function, be it a static method; nothing where there are none."""
    function = getattr(value, "__func__", value)
    found: tuple[Options, ...] = getattr(value, _ATTRIBUTE, ()) or getattr(function, _ATTRIBUTE, ())
    return found


def _declared(holders: Iterable[object]) -> dict[str, tuple[Options, ...]]:
    """The names of the commands' functions that modules or classes hold, later ones over earlier ones."""
    return {name: _options(value) for holder in holders for name, value in vars(holder).items() if _options(value)}


def declares_stateless(source: object) -> bool:
    """Whether a function, module, class or instance holds a command that is declared free of state."""
    if inspect.ismodule(source):
        holders: Iterable[object] = [source]
    else:
        holders = source.__mro__ if inspect.isclass(source) else type(source).__mro__
    declared = [_options(source), *_declared(holders).values()]
    return any(option.stateless for options in declared for option in options)


def commands_of(source: object) -> list[Command]:
    """The commands that a source holds, in the order of their definition.

    @param source: a decorated function, or a module, class instance or other object with such functions or methods. A
        method that overrides a decorated one is that command.
    @raise TypeError: there is none, or one has a parameter that no client could give.
    """
    if _options(source):
        functions: list[tuple[Any, tuple[Options, ...]]] = [(source, _options(source))]
    else:
        holders = [source] if inspect.ismodule(source) else reversed(type(source).__mro__)
        functions = [(getattr(source, name), options) for name, options in _declared(holders).items()]
    found = [_make(function, option) for function, options in functions for option in options]
    if not found:
        raise TypeError(f"{source!r} holds no commands: no function in it is decorated with @command(NAME)")
    return found


class Registry(Mapping[str, Command]):
    """The table of all commands, by name."""

    def __init__(self, *sources: object) -> None:
        self.table: dict[str, Command] = {}
        for source in sources:
            self.add(source)

    def add(self, source: object) -> None:
        """Add the commands of a source; see L{commands_of}.

        @raise ValueError: a name is already taken; then none is added.
        """
        found: dict[str, Command] = {}
        for new in commands_of(source):
            other = self.table.get(new.name) or found.get(new.name)
            if other is not None:
                place, taken = _place(new.function), _place(other.function)
                raise ValueError(f"command {new.name}: {place} takes the name of {taken}")
            found[new.name] = new
        self.table.update(found)

    def __getitem__(self, name: str) -> Command:
        return self.table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)
