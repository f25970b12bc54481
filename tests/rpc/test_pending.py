"""Replies that come later, and the steps between a command's result and its client."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed

from jsonrpcs_tx.rpc.pending import Pending, take, then
from tests.support.logs import logged


def test_steps() -> None:
    """Steps are taken in their order, get what the one before has made or raised, and come before callbacks."""
    pending = Pending(lambda: None)
    seen: list[Any] = []

    def failing(value: object, more: object) -> None:
        seen.append((value, more))
        raise KeyError(more)

    then(pending, failing, 1)
    pending.addCallback(lambda value: seen.append(("callback", value)))
    then(pending, lambda outcome: outcome.check(KeyError))
    pending.deliver("x")
    assert seen == [("x", 1), ("callback", KeyError)]


def test_taken() -> None:
    """Who takes the outcome gets it in place of the callbacks."""
    pending, taken = Pending(lambda: None), list[Any]()
    pending.addCallback(taken.append)
    then(pending, str)
    take(pending, taken.append)
    pending.deliver(1)
    pending.cancel()
    assert taken == ["1"]
    assert not pending.called


def test_cancelled() -> None:
    """It is stopped once, and fires with what comes of that; then what it waits for is cancelled."""
    stopped: list[None] = []
    inner: Deferred[Any] = Deferred()

    def stop() -> None:
        stopped.append(None)
        pending.deliver("stopped")

    pending = Pending(stop)
    outcomes: list[Any] = []
    pending.addCallback(lambda value: inner).addBoth(outcomes.append)
    pending.cancel()
    assert (len(stopped), outcomes) == (1, [])
    pending.cancel()
    assert len(stopped) == 1
    assert outcomes[0].check(CancelledError)


def test_then_of_others() -> None:
    """Of any other Deferred, a step is a callback."""
    seen: list[Any] = []
    then(succeed(1), lambda value, more: seen.append((value, more)), 2)
    assert seen == [(1, 2)]


def test_taken_of_others() -> None:
    """Of any other Deferred, who takes the outcome is the last callback."""
    seen: list[Any] = []
    later = succeed(1)
    then(later, lambda value: value + 1)
    take(later, seen.append)
    assert seen == [2]


def test_taker_that_fails() -> None:
    """If whoever takes the outcome fails, that is logged; whoever delivers it, for others as well, can go on."""
    pending = Pending()

    def failing(outcome: object) -> None:
        raise ZeroDivisionError

    take(pending, failing)
    with logged() as lines:
        pending.deliver(1)
    assert "a reply that came later could not be sent" in "".join(lines)


def test_nothing_to_stop() -> None:
    """Without anything to stop, it is still waited for after it has been cancelled."""
    pending, taken = Pending(), list[Any]()
    take(pending, taken.append)
    pending.cancel()
    assert taken == []
    pending.deliver(1)
    assert taken == [1]
