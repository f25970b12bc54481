"""Commands that misbehave in every way that Python allows, for a server and for a dispatcher.

Those of L{RAISED} and L{RETURNED} are answered with -32603 whatever the transport, those of L{FAULTS} with a fault.
"""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from twisted.internet import defer, reactor, task

from jsonrpcs_tx import MISSING, Fault, command


class NoSuper(Fault):
    """Does not call the constructor of Fault."""

    def __init__(self) -> None:
        pass


class Unwritable(Fault):
    """Has a code and a text that raise."""

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


class Unspeakable(Exception):
    """Raises whoever looks at it."""

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    __str__ = __repr__


def changed(**attributes: object) -> Fault:
    fault = Fault(400, "x")
    for name, value in attributes.items():
        setattr(fault, name, value)
    return fault


class Awaitable:
    """Something to await that is no coroutine."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __await__(self) -> Any:
        if self.error is not None:
            raise self.error
        yield from task.deferLater(reactor, 0).__await__()
        return 1


def cyclic() -> list[Any]:
    whole: list[Any] = []
    whole.append(whole)
    return whole


def deep() -> list[Any]:
    whole: list[Any] = []
    for _ in range(100_000):
        whole = [whole]
    return whole


RAISED: Final[Mapping[str, Callable[[], BaseException]]] = MappingProxyType(
    {
        "cancelled": asyncio.CancelledError,
        "generator_exit": GeneratorExit,
        "interrupt": KeyboardInterrupt,
        "stop": StopIteration,
        "exit": SystemExit,
        "group": lambda: BaseExceptionGroup("x", [KeyboardInterrupt()]),
        "no_super": NoSuper,
        "unwritable": Unwritable,
        "unspeakable": Unspeakable,
        "huge_code": lambda: Fault(10**5000, "x"),
        "code_is_text": lambda: changed(code="x"),
        "code_is_none": lambda: changed(code=None),
        "surrogate": lambda: changed(text="a\ud800"),
        "memory": MemoryError,
    }
)
"""What C{zoo.raise.NAME} raises, C{zoo.later.NAME} in a coroutine, and C{zoo.fail.NAME} in a Deferred."""

RETURNED: Final[Mapping[str, Callable[[], Any]]] = MappingProxyType(
    {
        "missing": lambda: MISSING,
        "missing_inside": lambda: [{"a": MISSING}],
        "raw": lambda: msgspec.Raw(b'1}, "x"'),
        "raw_inside": lambda: [msgspec.Raw(b"")],
        "nan": lambda: float("nan"),
        "infinite_inside": lambda: {"a": [-float("inf")]},
        "bytes": lambda: b"x",
        "bytes_inside": lambda: {"a": (bytearray(b"x"),)},
        "bytes_key": lambda: {b"x": 1},
        "same_key": lambda: {1: 1, "1": 2},
        "none_key": lambda: {None: 1},
        "surrogate": lambda: ["\ud800"],
        "cyclic": cyclic,
        "deep": deep,
        "huge": lambda: 10**5000,
        "object": lambda: print,
        "int_subclass": lambda: type("I", (int,), {})(1),
        "generator": lambda: iter(()),
    }
)
"""What C{zoo.return.NAME} returns; C{zoo.later.return.NAME} later."""

FAULTS: Final = MappingProxyType(
    {
        "zoo.raise.object": (400, "[]"),
        "zoo.raise.twisted": (500, "Command Cancelled"),
    }
)


def _raising(error: Any) -> Any:
    def run() -> None:
        raise error()

    return run


def _later(make: Any) -> Any:
    async def run() -> Any:
        await task.deferLater(reactor, 0)
        return make()

    return run


def _failing(error: Any) -> Any:
    def run() -> Any:
        return defer.fail(error())

    return run


_used: defer.Deferred[Any] = defer.fail(ValueError("once"))
_coroutine: Any = None


@command("zoo.async.twice")
def twice() -> Any:
    """Returns the same Deferred each time."""
    return _used


@command("zoo.async.coroutine")
def coroutine() -> Any:
    """Returns the same coroutine each time, which is over."""
    global _coroutine
    if _coroutine is None:
        _coroutine = _later(lambda: None)()
        _coroutine.close()
    return _coroutine


@command("zoo.async.awaitable")
def awaitable() -> Any:
    """Returns something to await that raises."""
    return Awaitable(KeyboardInterrupt())


@command("zoo.async.callback")
def callback() -> Any:
    """Returns a Deferred whose callback raises."""
    return task.deferLater(reactor, 0).addCallback(lambda _: (_ for _ in ()).throw(GeneratorExit()))


@command("zoo.async.canceller")
def canceller() -> Any:
    """Returns a Deferred that cannot be cancelled, and fails at once."""
    deferred: defer.Deferred[Any] = defer.Deferred(_raising(KeyboardInterrupt))
    deferred.errback(asyncio.CancelledError())
    return deferred


raised = [command(f"zoo.raise.{name}")(_raising(error)) for name, error in RAISED.items()]
returned = [command(f"zoo.return.{name}")(make) for name, make in RETURNED.items()]
later = [
    *(command(f"zoo.later.{name}")(_later(_raising(error))) for name, error in RAISED.items()),
    *(command(f"zoo.later.return.{name}")(_later(make)) for name, make in RETURNED.items()),
    *(command(f"zoo.fail.{name}")(_failing(error)) for name, error in RAISED.items()),
    *(twice, coroutine, awaitable, callback, canceller),
]
faults = [
    command("zoo.raise.object")(_raising(lambda: changed(text=[]))),
    command("zoo.raise.twisted")(_raising(defer.CancelledError)),
]


class Zoo:
    """All of them, as a source of commands for a server."""

    def __init__(self, service: Any) -> None:
        for function in (*raised, *returned, *later, *faults, good):
            service.registry.add(function)

    @command("zoo.open")
    def is_open(self) -> bool:
        """Whether the zoo is there."""
        return True


@command("zoo.good.awaitable")
def good() -> Any:
    """Returns something to await."""
    return Awaitable()
