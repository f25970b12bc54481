"""Limits for expensive work that anybody may ask for: turns by lane, and recently seen keys."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure


class Recent:
    """Keys that were seen recently.

    @param most: how many are remembered; the oldest is forgotten first.
    @param seconds: how long each is remembered.
    @param clock: tells the time.
    """

    def __init__(self, most: int, seconds: float, clock: IReactorTime) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._seen: dict[Hashable, float] = {}  # when, by key; the oldest first

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, key: Hashable) -> None:
        """Remember a key from now on."""
        self._seen.pop(key, None)
        while self._seen:
            oldest = next(iter(self._seen))
            if len(self._seen) < self._most and self.has(oldest):
                break
            del self._seen[oldest]
        self._seen[key] = self._clock.seconds()

    def has(self, key: Hashable, seconds: float | None = None) -> bool:
        """Whether a key was seen.

        @param seconds: how long ago at most; default: for as long as it is remembered.
        """
        seen = self._seen.get(key)
        if seen is None:
            return False
        # Below 0 the clock was set back.
        return 0 <= self._clock.seconds() - seen < (self._seconds if seconds is None else seconds)


class TurnLost(Exception):
    """Too many wait for a turn, most of them in this lane."""


@attrs.define(eq=False)
class _Turn:
    task: Callable[[], Any]
    answer: Deferred[Any]


class Turns:
    """Runs tasks, a few at a time. The others wait in lanes, which have their turns one after the other, so that a long
    lane does not hold up a short one.

    @param at_once: how many run at the same time.
    @param most: how many may wait in all lanes together. When there is one more, the longest lane loses its last turn;
        among lanes of equal length, the one whose turn comes last.
    """

    def __init__(self, at_once: int, most: int) -> None:
        self._at_once = at_once
        self._most = most
        self._running = 0
        self._starting = False
        self._lanes: dict[Hashable, deque[_Turn]] = {}  # without empty lanes; the next one first
        self.waiting: int = 0

    def run(self, lane: Hashable, task: Callable[[], Any], first: bool = False) -> Deferred[Any]:
        """Run a task when it is its turn.

        @param task: returns a result, or a Deferred of one.
        @param first: go before all that wait, with the lane.
        @return: a Deferred of the result, which fails with what the task raises, or with L{TurnLost}. Cancelling it
            before the turn gives up the turn; later it only gives up the result.
        """
        turn = _Turn(task, Deferred(lambda _: self._leave(lane, turn)))
        if first:
            self._lanes = {lane: deque((turn, *self._lanes.pop(lane, ()))), **self._lanes}
        else:
            self._lanes.setdefault(lane, deque()).append(turn)
        self.waiting += 1
        self._start()
        if self.waiting > self._most:
            longest = max(reversed(self._lanes), key=lambda lane: len(self._lanes[lane]))
            last = self._lanes[longest][-1]
            self._leave(longest, last)
            last.answer.errback(TurnLost())
        return turn.answer

    def _start(self) -> None:
        """Start tasks while there is room; a task that ends at once does not start others recursively."""
        if self._starting:
            return
        self._starting = True
        while self._lanes and self._running < self._at_once:
            lane = next(iter(self._lanes))
            turns = self._lanes.pop(lane)
            turn = turns.popleft()
            if turns:
                self._lanes[lane] = turns
            self.waiting -= 1
            self._running += 1
            maybeDeferred(turn.task).addBoth(self._done, turn)
        self._starting = False

    def _done(self, outcome: Any, turn: _Turn) -> None:
        self._running -= 1
        if not turn.answer.called:
            turn.answer.errback(outcome) if isinstance(outcome, Failure) else turn.answer.callback(outcome)
        self._start()

    def _leave(self, lane: Hashable, turn: _Turn) -> None:
        """Take a turn out of its lane, if it is still there."""
        turns = self._lanes.get(lane, ())
        if turn in turns:
            turns.remove(turn)  # type: ignore[union-attr] # it is not the empty tuple
            self.waiting -= 1
            if not turns:
                del self._lanes[lane]
