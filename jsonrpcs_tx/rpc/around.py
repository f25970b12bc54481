"""The functions that a program puts around every call, to refuse, time or log it, or to change its result."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, maybeDeferred

from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.delayed import as_deferred, is_delayed

Proceed: TypeAlias = Callable[[], Any]
"""Continues a call: returns its result, or a Deferred of that, and raises what the command raises."""

Around: TypeAlias = Callable[[Call, Proceed], Any]
"""A function around calls. What it returns, or raises, is the outcome of the call."""


class Arounds:
    """The functions around every call, nested: the one that was added first is the outermost.

    @ivar functions: each with whether it is an C{async def}.
    """

    def __init__(self) -> None:
        self.functions: tuple[tuple[Around, bool], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.functions)

    def add(self, function: Around) -> None:
        """Put a function around every call, inside those already added.

        @raise TypeError: it cannot be called.
        @raise ValueError: it is there already.
        """
        if not callable(function):
            raise TypeError(f"around {function!r:.100}: must be a function that takes a call and proceed")
        if any(function == other for other, _ in self.functions):
            raise ValueError(f"around {function!r:.100} is already around every call; allowed: once")
        self.functions = (*self.functions, (function, _is_coroutine_function(function)))

    def remove(self, function: Around) -> None:
        """Remove a function, for calls that begin from now on.

        @raise ValueError: it is not there.
        """
        left = tuple(pair for pair in self.functions if pair[0] != function)
        if len(left) == len(self.functions):
            raise ValueError(f"around {function!r:.100} is not around any call")
        self.functions = left

    def run(self, call: Call, command: Proceed) -> Any:
        """Run a command with the functions around it.

        @param command: runs the command, and returns its result or something to await.
        @return: what the outermost function returns.
        """
        proceed: Proceed = command
        for function, waits in reversed(self.functions):
            proceed = partial(function, call, (_Awaited if waits else _Once)(call, proceed))
        return proceed()


def _is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 # it may be an object


class _Once:
    """What an ordinary function gets as C{proceed}: it returns the result, or a Deferred if that comes later."""

    __slots__ = ("_call", "_proceed", "_used")

    def __init__(self, call: Call, proceed: Proceed) -> None:
        self._call = call
        self._proceed = proceed
        self._used = False

    def __call__(self) -> Any:
        """Go on with the call.

        @raise RuntimeError: it was called before, or the call has been answered.
        """
        if self._used:
            raise RuntimeError(f"proceed() of {self._call.method} was called twice; allowed: once per call")
        if self._call.is_over:
            raise RuntimeError(f"proceed() of {self._call.method} was called when the call had been answered")
        self._used = True
        result = self._proceed()
        return as_deferred(result) if is_delayed(result) else result


class _Awaited(_Once):
    """What an C{async def} gets as C{proceed}: it always returns a Deferred, to be awaited."""

    __slots__ = ()

    def __call__(self) -> Deferred[Any]:
        return maybeDeferred(super().__call__)
