"""Coroutines of commands are driven as Twisted drives its own, without a Deferred for their outcome."""

import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from jsonrpcs_tx.rpc.coroutines import Driver

VARIABLE: ContextVar[int] = ContextVar("VARIABLE", default=0)


class Ours(Driver):
    """Keeps the outcome of a coroutine."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.outcomes: list[Any] = []
        self.drive(coroutine, copy_context())

    def ended(self, outcome: Any) -> None:
        self.outcomes.append(outcome)


class Twisted:
    """The same as Twisted does it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.outcomes: list[Any] = []
        self._deferred = Deferred.fromCoroutine(coroutine)
        self._deferred.addBoth(self.outcomes.append)
        self.interrupt = self._deferred.cancel


@types.coroutine
def sent_back(value: object) -> Generator[object, object, object]:
    """Awaits something other than a Deferred."""
    return (yield value)


async def returns(_: Deferred[Any]) -> Any:
    return 1


async def raises(_: Deferred[Any]) -> Any:
    raise KeyError("x")


async def waits(event: Deferred[Any]) -> Any:
    return await event


async def waits_inside(event: Deferred[Any]) -> Any:
    return await waits(event) if await succeed(True) else None


async def waits_for_many(event: Deferred[Any]) -> Any:
    found = await event
    for _ in range(5_000):
        found = await succeed(found)
    return found


async def catches(event: Deferred[Any]) -> Any:
    try:
        return await event
    except Exception as error:
        return type(error).__name__


async def catches_again(event: Deferred[Any]) -> Any:
    try:
        await fail(ValueError("x"))
    except ValueError:
        return await catches(event), await catches(succeed(2))


async def never_ends(event: Deferred[Any]) -> Any:
    await catches(event)
    return await Deferred()


async def awaits_others(event: Deferred[Any]) -> Any:
    return await sent_back(None), await sent_back(1), await event


async def sets(event: Deferred[Any]) -> Any:
    VARIABLE.set(VARIABLE.get() + 1)
    await event
    VARIABLE.set(VARIABLE.get() + 1)
    return VARIABLE.get()


async def exits(event: Deferred[Any]) -> Any:
    await event
    raise SystemExit(3)


COMMANDS = (
    *(returns, raises, waits, waits_inside, waits_for_many, catches, catches_again, never_ends, awaits_others, sets),
    exits,
)
EVENTS: dict[str, Callable[[Any, Deferred[Any]], object]] = {
    "nothing": lambda run, event: None,
    "result": lambda run, event: event.callback("came"),
    "failure": lambda run, event: event.errback(ValueError("x")),
    "cancellation": lambda run, event: run.interrupt(),
}


def shown(outcomes: list[Any]) -> list[Any]:
    return [(type(one.value), str(one.value)) if isinstance(one, Failure) else one for one in outcomes]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("before", [True, False])
def test_as_twisted(command: Callable[[Deferred[Any]], Coroutine[Any, Any, Any]], event: str, before: bool) -> None:
    """A coroutine comes to the same end, whatever it awaits, and what comes of that before or while it waits."""
    ends = []
    for driver in (Ours, Twisted):
        awaited: Deferred[Any] = Deferred()
        if before and event in ("result", "failure"):
            EVENTS[event](None, awaited)
            run: Any = driver(command(awaited))
        else:
            run = driver(command(awaited))
            EVENTS[event](run, awaited)
        ends.append(shown(run.outcomes))
        awaited.addErrback(lambda _: None)
        assert VARIABLE.get() == 0
    assert ends[0] == ends[1]


def test_deferred_returned() -> None:
    """A coroutine that returns a Deferred ends when that fires, and is cancelled with it."""

    async def command(event: Deferred[Any]) -> Deferred[Any]:
        return event

    event: Deferred[Any] = Deferred()
    run = Ours(command(event))
    assert run.outcomes == []
    event.callback("came")
    assert run.outcomes == ["came"]
    run = Ours(command(Deferred()))
    run.interrupt()
    assert shown(run.outcomes) == [(CancelledError, "")]
