"""Commands that misbehave in every way that Python allows, for the chaos test; C{--commands=bench.misbehaving}.

A method's name ends in what it does: C{raises.KeyboardInterrupt}, C{returns.bytes}. L{METHODS} names them all.
"""

import asyncio
import math
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, NoReturn

from twisted.internet import defer, reactor, task
from twisted.internet.defer import Deferred

from jsonrpcs_tx import Fault, command
from jsonrpcs_tx.rpc.binding import MISSING

HOLD: Final = 0.02
"""Seconds for which C{holds.up} lets nobody else have a turn."""

STUBBORN: Final = 10.0
"""Seconds for which C{is.stubborn} goes on, whatever it is told."""


class BareFault(Fault):
    """A fault that never became one."""

    def __init__(self) -> None:
        """Do not call the base class."""


class Mute(Exception):
    """An error that can neither be printed nor shown."""

    def __str__(self) -> str:
        raise ValueError("no text")

    def __repr__(self) -> str:
        raise KeyboardInterrupt("nor this")


class Clinging(Fault):
    """A fault that does not give its traceback away."""

    def with_traceback(self, tb: object) -> NoReturn:
        raise GeneratorExit("mine")


class Elusive:
    """A value that raises as soon as anybody asks what it is."""

    @property
    def __class__(self) -> type:
        raise KeyboardInterrupt("who asks?")

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise KeyboardInterrupt("who sets?")


class Text(str):
    """A text that cannot be encoded."""

    def encode(self, *arguments: Any) -> NoReturn:
        raise SystemExit("no")


class Keys(dict[str, Any]):
    """A mapping that raises when it is gone through."""

    def __iter__(self) -> Iterator[str]:
        raise asyncio.CancelledError

    def items(self) -> NoReturn:
        raise GeneratorExit


def _recursive() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    **{
        kind.__name__: kind
        for kind in (
            Exception,
            ValueError,
            MemoryError,
            RecursionError,
            StopIteration,
            StopAsyncIteration,
            AssertionError,
            BaseException,
            KeyboardInterrupt,
            SystemExit,
            GeneratorExit,
            BareFault,
            Mute,
        )
    },
    "asyncio": asyncio.CancelledError,
    "twisted": defer.CancelledError,
    "group": lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError("x")]),
    "no-code": lambda: Fault(None, None),  # type: ignore[arg-type] # that is the point
    "surrogate": lambda: Fault(500, "\ud800"),
    "clinging": lambda: Clinging(500, "x"),
    "chained": lambda: defer.FirstError(None, 0),  # type: ignore[arg-type] # its text cannot be made
}
"""What can be raised, by the name of the method after C{raises.}"""

VALUES: Final[dict[str, Callable[[], Any]]] = {
    "object": object,
    "elusive": Elusive,
    "text": lambda: Text("x"),
    "keys": lambda: Keys(a=1),
    "set": lambda: {1, "x"},
    "bytes": lambda: b"\xff",
    "nan": lambda: [math.nan, math.inf],
    "decimal": lambda: Decimal("sNaN"),
    "surrogate": lambda: "\ud800",
    "recursive": _recursive,
    "deep": _deep,
    "integer": lambda: 10**5000,
    "missing": lambda: MISSING,
    "inside": lambda: {"a": MISSING},
    "generator": lambda: (number for number in range(3)),
    "class": lambda: dict,
    "tuple-keys": lambda: {(1, 2): 3},
    "future": lambda: asyncio.Future.__new__(asyncio.Future),
    "frame": sys._getframe,
}
"""What can be returned, by the name of the method after C{returns.}"""


def _raiser(make: Callable[[], BaseException]) -> Callable[[], NoReturn]:
    def misbehave() -> NoReturn:
        """Raises."""
        raise make()

    return misbehave


def _returner(make: Callable[[], Any]) -> Callable[[], Any]:
    def misbehave() -> Any:
        """Returns what is no JSON."""
        return make()

    return misbehave


def _later(make: Callable[[], BaseException]) -> Callable[[], Any]:
    async def misbehave() -> NoReturn:
        """Raises, after a turn of the reactor."""
        await _pause(0)
        raise make()

    return misbehave


def _pause(seconds: float) -> Deferred[None]:
    return task.deferLater(reactor, seconds, lambda: None)


@command("holds.up")
def hold() -> str:
    """Holds everything up."""
    time.sleep(HOLD)
    return "done"


@command("returns.much", stateless=True)
def much(size: int) -> str:
    """Returns that many characters."""
    return "x" * size


@command("answers.later")
async def answer(value: int) -> int:
    """Returns its parameter, a little later."""
    await _pause(0.005)
    return value


@command("is.stubborn")
async def stubborn() -> str:
    """Catches whatever it can, and goes on."""
    end = time.monotonic() + STUBBORN
    while time.monotonic() < end:
        try:
            await _pause(0.5)
        except BaseException as error:
            if isinstance(error, GeneratorExit):
                raise
    return "done"


@command("never.ends")
async def never() -> None:
    """Waits for what never comes."""
    await Deferred()


@command("never.fires")
def never_fires() -> Deferred[None]:
    """Returns a Deferred that never fires, and that raises when it is cancelled."""

    def cancel(_: Deferred[None]) -> None:
        raise KeyboardInterrupt("no")

    return Deferred(cancel)


@command("fires.twice")
def twice() -> Deferred[int]:
    """Returns a Deferred that fires, and then fires again."""
    deferred: Deferred[int] = Deferred()
    deferred.callback(1)
    reactor.callLater(0, deferred.callback, 2)
    return deferred


@command("fires.itself")
def itself() -> Deferred[Any]:
    """Returns a Deferred whose result is another that never fires."""
    deferred: Deferred[Any] = Deferred()
    deferred.addCallback(lambda _: Deferred())
    deferred.callback(None)
    return deferred


for _name, _error in ERRORS.items():
    globals()[f"raises_{_name}"] = command(f"raises.{_name}", stateless=True)(_raiser(_error))
    globals()[f"later_{_name}"] = command(f"later.{_name}")(_later(_error))
for _name, _value in VALUES.items():
    globals()[f"returns_{_name}"] = command(f"returns.{_name}", stateless=True)(_returner(_value))

METHODS: Final = (
    *(f"raises.{name}" for name in ERRORS),
    *(f"later.{name}" for name in ERRORS),
    *(f"returns.{name}" for name in VALUES),
    *("holds.up", "is.stubborn", "never.ends", "never.fires", "fires.twice", "fires.itself"),
)
"""All of them that misbehave."""
