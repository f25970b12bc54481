"""How the params of a request become the arguments of a command: by the annotations of its parameters."""

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import attrs
from msgspec import UNSET, UnsetType

from jsonrpcs_tx.rpc.faults import InvalidParams

MISSING: Final[Any] = UNSET
"""The default of a parameter that tells a command that the parameter was not given, where None will not do."""


class _NumberToo:
    """Marks a text parameter that takes a number as text, the C{.} of Kamailio's C{scan}."""


Text = Annotated[str, _NumberToo]
"""The annotation of a parameter that is a string, and also takes a number, as text: 5 as "5"."""


class Mismatch(InvalidParams):
    """Parameters that do not fit the annotations of a command.

    @param reason: which parameter, and what it takes; for the log alone, since Kamailio does not tell its clients.
    @ivar usage: a parameter is missing or is not the string that is wanted; a command may have its own text for that.
    """

    def __init__(self, reason: str, usage: bool = False) -> None:
        super().__init__(reason)
        self.usage = usage


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
_EXACT: Final = 2**53
"""Up to here a float stands for exactly one integer."""


@attrs.frozen
class Parameter:
    """One parameter of a command.

    @ivar types: the types of values that are passed on unchanged.
    @ivar number_too: it also takes a number, as text.
    @ivar default: its value where it is not given, unless it is required.
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
        # Kamailio itself refuses only what is not a string where it wants one; it converts to numbers what it can.
        return Mismatch(f"parameter {self.name}: {self.describe()} is wanted, not {value!r:.40}", str in self.types)

    def describe(self) -> str:
        """The JSON types that are taken, for messages."""
        return " or ".join(sorted(JSON_NAMES[kind] for kind in self.types))


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
    """How params become the arguments of a function; worked out once, when the command is added.

    @ivar parameters: the positional parameters in their order.
    @ivar rest: the parameter that takes all further ones, C{*args}; or None.
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
                raise TypeError(f"{place_of(function)}: parameter {parameter.name}: only positional ones are allowed")
        self._required = sum(parameter.required for parameter in self.parameters)
        self._most = len(self.parameters)
        # The ordinary case: the types of values that are passed on unchanged, for each number of parameters.
        self._as_they_are = frozenset(
            tuple(next(iter(parameter.types)) for parameter in self.parameters[:count])
            for count in range(self._required, self._most + 1)
        )

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

    def named(self, members: dict[str, Any]) -> Iterable[Any]:
        """The arguments for values by the names of parameters (specification, section 4.2).

        @raise Mismatch: a parameter is missing, not known or does not fit.
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
                f"{place_of(function)}: parameter {name}: annotation {part!r}; allowed are str, Text, int, float, "
                "bool, None and unions of them"
            )
    return Parameter(name, frozenset(kinds), number_too, default is inspect.Parameter.empty, default)


def place_of(function: Any) -> str:
    """Where a function is defined, for messages."""
    return f"{function.__module__}.{function.__qualname__}"
