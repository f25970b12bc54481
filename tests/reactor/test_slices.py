"""Long work in slices."""

from collections.abc import Generator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from jsonrpcs_tx.reactor import slices
from jsonrpcs_tx.reactor.slices import SLICE, Slices


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that have passed: what is appended to it passes at once."""
    seconds: list[float] = []
    monkeypatch.setattr(slices, "perf_counter", lambda: sum(seconds))
    return seconds


def work(name: str, steps: int, passed: list[float], done: list[str]) -> Generator[None, None, str]:
    """Takes two steps in each slice."""
    for step in range(steps):
        done.append(f"{name}{step}")
        passed.append(SLICE * 0.6)
        yield
    return name


def outcome(later: Deferred[Any]) -> list[Any]:
    """What a Deferred fires with, as soon as it does."""
    found: list[Any] = []
    later.addBoth(found.append)
    return found


def test_at_once(passed: list[float]) -> None:
    """What fits into a slice is done at once, and nothing remains to be called."""
    clock = Clock()
    done: list[str] = []
    assert outcome(Slices(clock).run(work("a", 1, passed, done))) == ["a"]
    assert not clock.getDelayedCalls()


def test_turns(passed: list[float]) -> None:
    """In each turn of the reactor one of them goes on, for a slice; who comes later waits."""
    clock = Clock()
    runs = Slices(clock)
    done: list[str] = []
    found = [outcome(runs.run(work(name, steps, passed, done))) for name, steps in (("a", 5), ("b", 3), ("c", 1))]
    turns = ["".join(done)]
    while clock.calls:
        del done[:]
        due, clock.calls = clock.calls, []
        for call in due:
            call.func()
        turns.append("".join(done))
    assert turns == ["a0a1", "a2a3", "b0b1", "c0", "a4", "b2"]
    assert found == [["a"], ["b"], ["c"]]


def test_failure(passed: list[float]) -> None:
    """What a generator raises reaches who waits for it, and the others go on."""
    clock = Clock()
    runs = Slices(clock)
    done: list[str] = []

    def broken() -> Generator[None, None, None]:
        yield
        raise ZeroDivisionError

    first = outcome(runs.run(work("a", 3, passed, done)))
    second = outcome(runs.run(broken()))
    clock.pump([0] * 3)
    assert first == ["a"]
    assert second[0].check(ZeroDivisionError)
    assert outcome(runs.run(broken()))[0].check(ZeroDivisionError)


def test_cancelled(passed: list[float]) -> None:
    """A generator that is cancelled takes no further step, and its C{finally} is run; cancelled by itself as well."""
    clock = Clock()
    runs = Slices(clock)
    done: list[str] = []
    laters: list[Deferred[None]] = []

    def held(cancels: bool) -> Generator[None, None, None]:
        try:
            done.append("begun")
            passed.append(SLICE * 2)
            yield
            if cancels:
                laters[0].cancel()
            yield
            done.append("gone on")
        finally:
            done.append("closed")

    for cancels in (False, True):
        del done[:]
        laters[:] = [runs.run(held(cancels))]
        found = outcome(laters[0])
        if not cancels:
            laters[0].cancel()
        clock.advance(0)
        assert found[0].check(CancelledError)
        assert done == ["begun", "closed"]
        assert not clock.getDelayedCalls()


def test_within(passed: list[float]) -> None:
    """What is begun from within other work, or when that is done, waits for the next turn."""
    clock = Clock()
    runs = Slices(clock)
    done: list[str] = []
    found: list[list[str]] = []

    def outer() -> Generator[None, None, None]:
        found.append(outcome(runs.run(work("inner", 1, passed, done))))
        yield
        done.append("outer")

    runs.run(outer()).addCallback(lambda _: found.append(outcome(runs.run(work("after", 1, passed, done)))))
    assert done == ["outer"]
    clock.pump([0] * 2)
    assert done == ["outer", "inner0", "after0"]
    assert found == [["inner"], ["after"]]
