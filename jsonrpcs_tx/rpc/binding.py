"""How the params of a request become the arguments of a command: by the annotations of its parameters."""

import inspect
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from itertools import takewhile
from typing import Annotated, Any, Final, NewType, Union, get_args, get_origin, get_type_hints

import attrs
from msgspec import UNSET, Meta, UnsetType

from jsonrpcs_tx.rpc.callparameter import takes_call
from jsonrpcs_tx.rpc.faults import InvalidParams, writable
from jsonrpcs_tx.rpc.structures import ALLOWED, Structure

MISSING: Final[Any] = UNSET
"""The default of a parameter that tells a command that the parameter was not given, where None will not do."""


class _NumberToo:
    """Marks a text parameter that takes a number as text, the C{.} of Kamailio's C{scan}."""


Text = Annotated[str, _NumberToo]
"""The annotation of a parameter that is a string, and also takes a number, as text: 5 as "5"."""


class Mismatch(InvalidParams):
    """Parameters that do not fit the annotations of a command.

    @param parameter: its name, or its number where it has none.
    @param problem: what is wrong with it, as the rest of a sentence.
    @param allowed: what is allowed, in words.
    @ivar usage: a parameter is missing or is not the string that is wanted; a command may have its own text for that.
    """

    def __init__(self, parameter: str, problem: str, allowed: str, usage: bool = False) -> None:
        super().__init__(f"parameter {parameter}{problem}; allowed: {allowed}")
        self.parameter = parameter
        self.problem = problem
        self.allowed = allowed
        self.usage = usage

    def data(self) -> dict[str, str]:
        """What a client is told in dialect C{jsonrpc2}."""
        data = {"parameter": self.parameter, "reason": self.problem.lstrip(": "), "allowed": self.allowed}
        return {name: writable(text) for name, text in data.items()}


JSON_NAMES: Final[Mapping[type, str]] = {
    str: "string",
    int: "int",
    float: "double",
    bool: "boolean",
    type(None): "nil",
    list: "array",
    dict: "struct",
}
_SCALARS: Final = (str, int, float, bool)
_CONTAINERS: Final = (list, dict)
_EXACT: Final = 2**53
"""Up to here a float stands for exactly one integer."""


@attrs.frozen
class Parameter:
    """One parameter of a command.

    @ivar types: the types of values that are passed on unchanged.
    @ivar number_too: it also takes a number, as text.
    @ivar default: its value where it is not given, unless it is required.
    @ivar annotation: as the function has it.
    @ivar structure: what msgspec checks and converts; None: C{types} are enough.
    """

    name: str
    types: frozenset[type]
    number_too: bool
    required: bool
    default: object = None
    annotation: Any = Any
    structure: Structure | None = None

    def convert(self, value: object) -> object:
        """The argument for a value.

        True and False count as 1 and 0 where a number is wanted, a whole number as an integer.

        @raise Mismatch: the value does not fit.
        """
        if self.structure is None:
            return self._convert_scalar(value)
        if self.types and type(value) not in _CONTAINERS:
            with suppress(Mismatch):
                value = self._convert_scalar(value)
        try:
            return self.structure.convert(value)
        except ValueError as error:
            raise Mismatch(self.name, str(error), self.describe(), "string" in self.structure.json_types) from None

    def _convert_scalar(self, value: object) -> object:
        kind = type(value)
        if kind in self.types:
            return value
        if kind is Decimal:
            return self._convert_decimal(value)
        if kind is bool and not self.types.isdisjoint((int, float)):
            return int(value) if int in self.types else float(value)  # type: ignore[call-overload, arg-type]
        if kind is int:
            return self._convert_integer(value)  # type: ignore[arg-type]
        if kind is float:
            return self._convert_float(value)  # type: ignore[arg-type]
        raise self._mismatch(value)

    def _convert_integer(self, value: int) -> object:
        if float in self.types:
            return _finite(value, self)
        if bool in self.types:
            return bool(value)
        if self.number_too:
            return str(value)
        raise self._mismatch(value)

    def _convert_float(self, value: float) -> object:
        if int in self.types and value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        if self.number_too:
            return _text(value)
        raise self._mismatch(value)

    def _convert_decimal(self, value: Any) -> object:
        """A number that is neither an int nor exactly a float."""
        if float in self.types:
            return _finite(value, self)
        if self.number_too and value.is_finite():
            return str(value)
        raise self._mismatch(value)

    def _mismatch(self, value: object) -> Mismatch:
        # Kamailio itself refuses only what is not a string where it wants one; it converts to numbers what it can.
        return Mismatch(self.name, f" is {_shown(value)}", self.describe(), str in self.types)

    def describe(self) -> str:
        """The types that are accepted, for messages."""
        return " or ".join(self.json_types()) if self.structure is None else self.structure.allowed

    def json_types(self) -> list[str]:
        """The JSON types that are accepted, in XML-RPC's terms."""
        if self.structure is None:
            return sorted(JSON_NAMES[kind] for kind in self.types)
        return sorted(self.structure.json_types)


def _finite(value: Any, parameter: Parameter) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Mismatch(parameter.name, f" is {_shown(value)}, which is out of range", parameter.describe())
    return number


def _text(number: float) -> str:
    """A number as text: a whole one without a fraction, as Kamailio does."""
    return str(int(number)) if number.is_integer() and abs(number) <= _EXACT else repr(number)


def _shown(value: object) -> str:
    """A value for a message: of arrays and objects, which may be large, only the type."""
    if type(value) is list or type(value) is dict:
        return "an array" if type(value) is list else "a struct"
    if value is None:
        return "null"
    if type(value) is Decimal:
        return f"{value!s:.40}"
    try:
        return f"{value!r:.40}"
    except ValueError:  # sys.set_int_max_str_digits
        return "a number of very many digits"


class Binding:
    """How params become the arguments of a function; worked out once, when the command is added.

    @ivar parameters: the positional parameters in their order.
    @ivar rest: the parameter that takes all further ones, C{*args}; or None.
    """

    def __init__(self, function: Callable[..., Any], hints: Mapping[str, Any] | None = None) -> None:
        """@param hints: see L{hints_of}, where they are known.
        @raise TypeError: the function has a parameter that no JSON-RPC client could give.
        """
        if hints is None:
            hints = hints_of(function)
        self.parameters: list[Parameter] = []
        self.rest: Parameter | None = None
        for parameter in inspect.signature(function).parameters.values():
            if takes_call(hints.get(parameter.name)):
                continue  # the server gives it
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = _parameter(parameter.name, hints)
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self.parameters.append(_parameter(parameter.name, hints, parameter.default))
            else:
                stars = "**" if parameter.kind is parameter.VAR_KEYWORD else "*, "
                raise TypeError(
                    f"parameter {stars}{parameter.name}: no client could give it; allowed: positional parameters"
                )
        self._required = sum(parameter.required for parameter in self.parameters)
        self._most = len(self.parameters)
        # The ordinary case: the types of values that are passed on unchanged, for each number of parameters.
        plain = list(takewhile(lambda parameter: parameter.structure is None, self.parameters))
        self._as_they_are = frozenset(
            tuple(next(iter(parameter.types)) for parameter in plain[:count])
            for count in range(self._required, len(plain) + 1)
        )

    @property
    def counts(self) -> tuple[int, int | None]:
        """How many parameters it takes: the least and the most, None for any number."""
        return self._required, self._most if self.rest is None else None

    def positional(self, values: list[Any]) -> Iterable[Any]:
        """The arguments for values in their order; values beyond the last parameter are ignored, as Kamailio does.

        @raise Mismatch: there are too few values, or one does not fit.
        """
        if tuple(map(type, values)) in self._as_they_are:
            return values
        if len(values) < self._required:
            raise self._too_few(self.parameters[len(values)])
        arguments = [p.convert(value) for p, value in zip(self.parameters, values, strict=False)]
        if self.rest is not None:
            arguments += map(self.rest.convert, values[self._most :])
        return arguments

    def positional_exactly(self, values: list[Any]) -> Iterable[Any]:
        """The arguments for values in their order.

        @raise Mismatch: there are too few or too many values, or one does not fit.
        """
        if len(values) > self._most and self.rest is None:
            raise Mismatch(str(self._most + 1), " is one too many", self._names())
        return self.positional(values)

    def exactly(self, params: list[Any] | dict[str, Any]) -> Iterable[Any]:
        """The arguments for values in their order or by name, as many as the function takes.

        @raise Mismatch: there are too few or too many, or one does not fit or is not known.
        """
        return self.named(params) if isinstance(params, dict) else self.positional_exactly(params)

    def named(self, members: dict[str, Any]) -> Iterable[Any]:
        """The arguments for values by the names of parameters (specification, section 4.2).

        @raise Mismatch: a parameter is missing, not known or does not fit.
        """
        unknown = members.keys() - {p.name for p in self.parameters}
        if unknown:
            raise Mismatch(f"{min(unknown):.40}", " is not known", self._names())
        arguments: list[Any] = []
        for parameter in self.parameters:
            if parameter.name in members:
                arguments.append(parameter.convert(members[parameter.name]))
            elif parameter.required:
                raise self._too_few(parameter)
            else:
                arguments.append(parameter.default)
        return arguments

    def in_order(self, members: dict[str, Any]) -> list[Any] | dict[str, Any]:
        """Values by the names of parameters, in the order of these, with C{UNSET} for one that is left out before
        another; as they are if there are others.
        """
        names = [parameter.name for parameter in self.parameters]
        if not members.keys() <= {*names}:
            return members
        given = max((place for place, name in enumerate(names, 1) if name in members), default=0)
        return [members.get(name, UNSET) for name in names[:given]]

    def _names(self) -> str:
        return ", ".join(p.name for p in self.parameters) or "none"

    @staticmethod
    def _too_few(parameter: Parameter) -> Mismatch:
        return Mismatch(parameter.name, " is missing", parameter.describe(), usage=True)


def hints_of(function: Any) -> dict[str, Any]:
    """The annotations of a function.

    @raise TypeError: one refers to a name that does not exist at run time.
    """
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        place = next((f"parameter {name}: " for name in _unreadable(function)), "").replace(
            "parameter return", "result"
        )
        raise TypeError(
            f"{place}{error}; its annotation is read at run time: import what it names outside of "
            '"if TYPE_CHECKING", and define it on the level of the module'
        ) from None


def _unreadable(function: Any) -> Iterator[str]:
    """The names of the parameters whose annotations cannot be read."""
    function = inspect.unwrap(function)
    with suppress(NameError):  # which Python 3.14 raises here
        for name, annotation in function.__annotations__.items():
            try:
                get_type_hints(types.SimpleNamespace(__annotations__={name: annotation}), function.__globals__)
            except NameError:
                yield name


@attrs.define
class _Reading:
    """What was found in an annotation.

    @ivar kinds: the plain types that it takes.
    @ivar number_too: a number is taken as text.
    @ivar structured: it says more than that, which msgspec checks.
    @ivar members: the members of a union, or the annotation itself; for msgspec.
    """

    kinds: list[type] = attrs.field(factory=list)
    number_too: bool = False
    structured: bool = False
    members: list[Any] = attrs.field(factory=list)

    def read(self, hint: Any) -> None:
        """Read an annotation. Names (C{type X = ...}, NewType) are resolved where they may stand for a plain type."""
        if get_origin(hint) in (Union, types.UnionType):
            for member in get_args(hint):
                self.read(member)
        elif get_origin(hint) is Annotated:
            before = len(self.members)
            self.read(hint.__origin__)
            self.number_too |= _NumberToo in hint.__metadata__
            if any(isinstance(note, Meta) for note in hint.__metadata__):
                self.structured = True
                self.members[before:] = [hint]
        elif isinstance(hint, NewType):
            self.read(hint.__supertype__)
        elif type(hint).__name__ == "TypeAliasType":  # that of Python 3.12, or that of typing_extensions
            self.read(hint.__value__)
        elif hint is Any:
            self.kinds.extend(_SCALARS)
            self.members.append(Any)
        elif hint is not UnsetType:
            self.members.append(hint)
            if hint in _SCALARS or hint is type(None):
                self.kinds.append(hint)
            else:
                self.structured = True


def _parameter(name: str, hints: Mapping[str, Any], default: object = inspect.Parameter.empty) -> Parameter:
    """@raise TypeError: the annotation says nothing that could be checked."""
    hint = hints.get(name, Any)
    reading = _Reading()
    reading.read(hint)
    structure = None
    if reading.structured:
        try:
            structure = Structure(Union[tuple(reading.members)])  # noqa: UP007 # they are not known here
        except TypeError as error:
            raise TypeError(f"parameter {name}: annotation {hint!r}: {error}; allowed: {ALLOWED}") from None
    required = default is inspect.Parameter.empty
    return Parameter(name, frozenset(reading.kinds), reading.number_too, required, default, hint, structure)


def place_of(what: Any) -> str:
    """Where a function or class is defined, for messages: its name, file and line, as far as they are known."""
    if inspect.ismodule(what):
        return f"{what.__name__} ({getattr(what, '__file__', 'built in')})"
    what = inspect.unwrap(getattr(what, "fget", what))
    name = f"{what.__module__}.{what.__qualname__}" if hasattr(what, "__qualname__") else repr(what)
    code = getattr(what, "__code__", None)
    if code is not None:
        return f"{name} ({code.co_filename}:{code.co_firstlineno})"
    try:
        return f"{name} ({inspect.getsourcefile(what)}:{inspect.getsourcelines(what)[1]})"
    except (TypeError, OSError):
        return name
