"""Commands that misbehave in every way that Python allows: C{--commands=tests.support.misbehaving}.

A method's name ends in what it does: C{raises.KeyboardInterrupt}, C{returns.bytes}. L{METHODS} names them all.
"""

import asyncio
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NoReturn

import msgspec
from twisted.internet import defer, reactor, task
from twisted.internet.defer import Deferred

from jsonrpcs_tx import MISSING, Fault, command

HOLD: Final = 0.02
"""Seconds for which C{holds.up} lets nobody else have a turn."""

STUBBORN: Final = 10.0
"""Seconds for which C{is.stubborn} goes on, whatever it is told."""


class BareFault(Fault):
    """A fault that does not call the constructor of its base class."""

    def __init__(self) -> None:
        pass


class Unwritable(Fault):
    """A fault whose code and text raise."""

    def __init__(self) -> None:
        Exception.__init__(self, "x")

    @property
    def code(self) -> int:  # type: ignore[override] # wrong on purpose
        raise SystemExit(3)

    @property
    def text(self) -> str:  # type: ignore[override] # wrong on purpose
        raise KeyboardInterrupt

    def __str__(self) -> str:
        raise GeneratorExit


class Clinging(Fault):
    """A fault that does not give its traceback away."""

    def with_traceback(self, tb: object) -> NoReturn:
        raise GeneratorExit("mine")


class Mute(Exception):
    """An error that can be neither printed nor shown."""

    def __str__(self) -> str:
        raise ValueError("no text")

    def __repr__(self) -> str:
        raise KeyboardInterrupt("nor this")


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
    """A mapping that raises when its members are read."""

    def __iter__(self) -> Iterator[str]:
        raise asyncio.CancelledError

    def items(self) -> NoReturn:
        raise GeneratorExit


class Awaitable:
    """Something to await that is not a coroutine.

    @param error: what awaiting it raises; None: it gives 1, after a turn of the reactor.
    """

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __await__(self) -> Any:
        if self.error is not None:
            raise self.error
        yield from _pause(0).__await__()
        return 1


def changed(**attributes: object) -> Fault:
    """A fault whose attributes were set after it was made."""
    fault = Fault(400, "x")
    for name, value in attributes.items():
        setattr(fault, name, value)
    return fault


def cyclic() -> list[Any]:
    """A list that contains itself."""
    whole: list[Any] = []
    whole.append(whole)
    return whole


def _deep(depth: int) -> list[Any]:
    whole: list[Any] = []
    for _ in range(depth):
        whole = [whole]
    return whole


def _pause(seconds: float) -> Deferred[None]:
    return task.deferLater(reactor, seconds)


ERRORS: Final[Mapping[str, Callable[[], BaseException]]] = MappingProxyType(
    {
        **{
            kind.__name__: kind
            for kind in (
                *(Exception, ValueError, AssertionError, MemoryError, RecursionError),
                *(StopIteration, StopAsyncIteration, GeneratorExit),
                *(BaseException, KeyboardInterrupt, SystemExit),
                *(BareFault, Unwritable, Mute),
            )
        },
        "asyncio-cancelled": asyncio.CancelledError,
        "group": lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError("x")]),
        "chained": lambda: defer.FirstError(None, 0),  # type: ignore[arg-type] # its text cannot be made
        "huge-code": lambda: Fault(10**5000, "x"),
        "code-is-text": lambda: changed(code="x"),
        "code-is-none": lambda: changed(code=None),
        "surrogate": lambda: changed(text="a\ud800"),
    }
)
"""Errors that are answered with -32603, whatever the transport: C{raises.NAME} raises one, C{later.NAME} does after a
turn of the reactor, C{fails.NAME} returns a Deferred that has failed with it."""

FAULTS: Final[Mapping[str, Callable[[], BaseException]]] = MappingProxyType(
    {
        "text-is-list": lambda: changed(text=[]),
        "twisted-cancelled": defer.CancelledError,
        "clinging": lambda: Clinging(500, "x"),
    }
)
"""Errors that are answered as faults: C{raises.NAME}."""

VALUES: Final[Mapping[str, Callable[[], Any]]] = MappingProxyType(
    {
        "missing": lambda: MISSING,
        "missing-inside": lambda: [{"a": MISSING}],
        "raw": lambda: msgspec.Raw(b'1}, "x"'),
        "raw-inside": lambda: [msgspec.Raw(b"")],
        "nan": lambda: math.nan,
        "infinite-inside": lambda: {"a": [-math.inf]},
        "decimal": lambda: Decimal("sNaN"),
        "integer": lambda: 10**5000,
        "int-subclass": lambda: type("I", (int,), {})(1),
        "text": lambda: Text("x"),
        "surrogate": lambda: ["\ud800"],
        "bytes": lambda: b"\xff",
        "bytes-inside": lambda: {"a": (bytearray(b"x"),)},
        "bytes-key": lambda: {b"x": 1},
        "same-key": lambda: {1: 1, "1": 2},
        "none-key": lambda: {None: 1},
        "tuple-key": lambda: {(1, 2): 3},
        "cyclic": cyclic,
        "deep": lambda: _deep(5_000),
        "very-deep": lambda: _deep(100_000),
        "object": object,
        "elusive": Elusive,
        "function": lambda: print,
        "class": lambda: dict,
        "generator": lambda: (number for number in range(3)),
        "frame": sys._getframe,
    }
)
"""What JSON cannot express, which is answered with -32603: C{returns.NAME} returns it, C{returns-later.NAME} does after
a turn of the reactor."""


ODDITIES: Final[Mapping[str, Callable[[], Any]]] = MappingProxyType(
    {
        "keys": lambda: Keys(a=1),
        "set": lambda: {1, "x"},
        "future": lambda: asyncio.Future.__new__(asyncio.Future),
    }
)
"""What is answered with a result or a fault, as it comes: C{returns.NAME}."""


def _raiser(make: Callable[[], BaseException]) -> Callable[[], NoReturn]:
    def misbehave() -> NoReturn:
        """Raises."""
        raise make()

    return misbehave


def _returner(make: Callable[[], Any]) -> Callable[[], Any]:
    def misbehave() -> Any:
        """Returns what JSON cannot express."""
        return make()

    return misbehave


def _later(run: Callable[[], Any]) -> Callable[[], Any]:
    async def misbehave() -> Any:
        """Goes wrong after a turn of the reactor."""
        await _pause(0)
        return run()

    return misbehave


def _failer(make: Callable[[], BaseException]) -> Callable[[], Deferred[Any]]:
    def misbehave() -> Deferred[Any]:
        """Returns a Deferred that has failed."""
        return defer.fail(make())

    return misbehave


@functools.cache
def _used() -> Deferred[Any]:
    return defer.fail(ValueError("once"))


@functools.cache
def _closed() -> Any:
    coroutine = _later(lambda: None)()
    coroutine.close()
    return coroutine


@command("async.used-deferred")
def used_deferred() -> Any:
    """Returns the same Deferred each time."""
    return _used()


@command("async.closed-coroutine")
def closed_coroutine() -> Any:
    """Returns the same coroutine each time, which is over."""
    return _closed()


@command("async.awaitable")
def awaitable() -> Any:
    """Returns something to await that raises."""
    return Awaitable(KeyboardInterrupt())


@command("async.callback")
def callback() -> Any:
    """Returns a Deferred whose callback raises."""
    return _pause(0).addCallback(lambda _: _raiser(GeneratorExit)())


@command("async.canceller")
def canceller() -> Any:
    """Returns a Deferred that cannot be cancelled, and fails at once."""
    deferred: Deferred[Any] = Deferred(lambda _: _raiser(KeyboardInterrupt)())
    deferred.errback(asyncio.CancelledError())
    return deferred


@command("holds.up")
def hold() -> str:
    """Holds everything up."""
    time.sleep(HOLD)
    return "done"


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
    return Deferred(lambda _: _raiser(KeyboardInterrupt)())


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


@command("good.awaitable")
def good_awaitable() -> Any:
    """Returns 1, after a turn of the reactor, by something to await that is not a coroutine."""
    return Awaitable()


@command("good.later")
async def good_later(value: int) -> int:
    """Returns its parameter, a little later."""
    await _pause(0.005)
    return value


@command("good.size", stateless=True)
def good_size(size: int) -> str:
    """Returns that many characters."""
    return "x" * size


AT_ONCE: Final[Mapping[str, Callable[[], Any]]] = MappingProxyType(
    {
        **{f"raises.{name}": _raiser(error) for name, error in ERRORS.items()},
        **{f"returns.{name}": _returner(value) for name, value in VALUES.items()},
    }
)
"""Methods that are answered with -32603 whatever the transport, and their functions, which know no state."""

AFTERWARDS: Final[Mapping[str, Callable[[], Any]]] = MappingProxyType(
    {
        **{f"later.{name}": _later(_raiser(error)) for name, error in ERRORS.items()},
        **{f"fails.{name}": _failer(error) for name, error in ERRORS.items()},
        **{f"returns-later.{name}": _later(value) for name, value in VALUES.items()},
    }
)
"""Methods that are answered with -32603 over HTTP and HTTPS, where they may be asynchronous, and their functions."""

ASYNCHRONOUS: Final = (
    *AFTERWARDS,
    *(f"async.{name}" for name in ("used-deferred", "closed-coroutine", "awaitable", "callback", "canceller")),
)
"""All methods whose result comes later, or never should, and that are answered with -32603 over HTTP and HTTPS."""

METHODS: Final = (
    *(f"raises.{name}" for name in FAULTS),
    *(f"returns.{name}" for name in ODDITIES),
    *AT_ONCE,
    *ASYNCHRONOUS,
    *("holds.up", "is.stubborn", "never.ends", "never.fires", "fires.twice", "fires.itself"),
)
"""All that misbehave."""

for _name, _function in AT_ONCE.items():
    globals()[_name] = command(_name, stateless=True)(_function)
for _name, _function in AFTERWARDS.items():
    globals()[_name] = command(_name)(_function)
for _name, _error in FAULTS.items():
    globals()[f"raises.{_name}"] = command(f"raises.{_name}", stateless=True)(_raiser(_error))
for _name, _value in ODDITIES.items():
    globals()[f"returns.{_name}"] = command(f"returns.{_name}", stateless=True)(_returner(_value))
