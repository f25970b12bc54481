"""The parameter of a command that is annotated with L{Call}: the server gives it, and clients do not see it."""

import inspect
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Union, get_args, get_origin

import attrs

from jsonrpcs_tx.rpc.call import Call

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def takes_call(hint: object) -> bool:
    """Whether a parameter with an annotation takes the call: C{Call}, or C{Call | None}."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return Call in parts and all(part in (Call, type(None)) for part in parts)


@attrs.frozen
class CallParameter:
    """The parameter of a function that takes the call.

    @ivar name: its name.
    @ivar place: how many positional parameters stand before it; None: it is passed by its name.
    @ivar defaults: the defaults of these.
    """

    name: str
    place: int | None
    defaults: tuple[Any, ...] = ()

    def passing(self, function: Callable[..., Any], call: Call) -> Callable[..., Any]:
        """The function without this parameter, which takes the values of the others in their order."""
        place, defaults = self.place, self.defaults
        if place is None:
            return partial(function, **{self.name: call})

        def run(*arguments: Any) -> Any:
            before = (*arguments[:place], *defaults[len(arguments) :])
            return function(*before, call, *arguments[place:])

        return run


def call_parameter(function: Callable[..., Any], hints: Mapping[str, Any]) -> CallParameter | None:
    """The parameter of a function that takes the call; None if no parameter does.

    @param hints: the annotations of its parameters.
    @raise TypeError: there are two, or it would have to take any number of values.
    """
    if not any(map(takes_call, hints.values())):  # most have none, and a signature takes its time
        return None
    parameters = list(inspect.signature(function).parameters.values())
    found = [parameter for parameter in parameters if takes_call(hints.get(parameter.name))]
    if not found:
        return None
    parameter = found[0]
    if len(found) > 1:
        names = " and ".join(one.name for one in found)
        raise TypeError(f"parameters {names}: only one may be annotated with Call")
    if parameter.kind is parameter.KEYWORD_ONLY:
        return CallParameter(parameter.name, None)
    if parameter.kind not in _POSITIONAL:
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
        raise TypeError(f"parameter {stars}{parameter.name}: only a single parameter may be annotated with Call")
    place = parameters.index(parameter)
    return CallParameter(parameter.name, place, tuple(one.default for one in parameters[:place]))
