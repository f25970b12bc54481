"""Long work, done in slices: others have their turn in between."""

from collections import deque
from collections.abc import Generator
from time import perf_counter
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

SLICE: Final = 0.005
"""Seconds of work in one turn of the reactor."""

_Result = TypeVar("_Result")


class Slices:
    """Runs generators, which yield where they may be interrupted: in each turn of the reactor one of them, for
    L{SLICE}. So many of them keep others waiting no longer than one does.

    C{twisted.internet.task.Cooperator} does not begin before the next turn of the reactor.

    @param clock: the reactor, which calls back in its next turn.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[tuple[Generator[None, None, Any], Deferred[Any]]] = deque()
        self._is_busy = False

    def run(self, work: Generator[None, None, _Result]) -> Deferred[_Result]:
        """Run a generator: at once, unless others are in progress; then after them.

        @return: fires with what the generator returns, or fails with what it raises. Cancelling it ends the generator
            where it has last yielded.
        """
        done: Deferred[_Result] = Deferred()
        self._waiting.append((work, done))
        if not self._is_busy:
            self._run_next()
        return done

    def _run_next(self) -> None:
        """Run the generator that has waited longest."""
        self._is_busy = True
        work, done = self._waiting.popleft()
        if _run_slice(work, done):
            self._waiting.append((work, done))
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            self._clock.callLater(0, self._run_next)


def _run_slice(work: Generator[None, None, Any], done: Deferred[Any]) -> bool:
    """Run a generator for L{SLICE}, or to its end.

    @return: whether it has to go on.
    """
    end = perf_counter() + SLICE
    try:
        while not done.called:
            next(work)
            if perf_counter() > end:
                return True
        work.close()  # it was cancelled
    except StopIteration as stop:
        outcome = stop.value
    except BaseException:
        outcome = Failure()
    else:
        return False
    if not done.called:
        done.callback(outcome)
    return False
