"""Sends the calls that only read: at once, and equal calls at the same time as one."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from jsonrpcs_tx.client.errors import TimedOut
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.cache import Cache
from jsonrpcs_tx.gateway.refusals import Refusals
from jsonrpcs_tx.gateway.room import Room
from jsonrpcs_tx.gateway.waiters import Waiter
from jsonrpcs_tx.interfaces import Reactor


class Reads:
    """The reads of one node that are in progress.

    The first of several equal calls is sent, and its caller gets the Deferred of that, which costs next to nothing. The
    others wait for the same answer. If the first call is cancelled or times out, it is sent once more for the others.

    @param send: see L{Turns<jsonrpcs_tx.gateway.turns.Turns>}.
    @ivar cache: keeps answers; None: no answers are kept.
    @ivar flights: the calls that have been sent, and that others may join.
    """

    def __init__(
        self,
        clock: Reactor,
        send: Callable[[str, bytes, float], Deferred[Answer]],
        room: Room,
        refusals: Refusals,
        cache: Cache | None,
    ) -> None:
        self._clock: Any = clock
        self._seconds = clock.seconds
        self._send = send
        self._room = room
        self._refusals = refusals
        self.cache = cache
        self.flights: dict[tuple[str, bytes], _Flight] = {}

    def call(self, method: str, params: bytes, deadline: float, then: Callable[[Any], Any]) -> Deferred[Any]:
        """Make a call that only reads; see L{Turns.call<jsonrpcs_tx.gateway.turns.Turns.call>}."""
        key = (method, params)
        flight = self.flights.get(key)
        if flight is not None:
            return self._join(flight, deadline).addBoth(then)
        if self.cache is not None:
            kept = self.cache.get(key)
            if kept is not None:
                return succeed(kept).addBoth(then)
        now = self._seconds()
        if deadline <= now:
            return fail(self._refusals.over()).addBoth(then)
        asked = self._send(method, params, deadline - now)
        self.flights[key] = flight = _Flight(self, key, deadline, now, then)
        return asked.addBoth(flight.land)

    def changed(self) -> None:
        """Something may have changed: later calls do not get answers that were requested before."""
        self.flights.clear()
        if self.cache is not None:
            self.cache.clear()

    def close(self) -> None:
        """Stop caching, and forget all answers."""
        self.changed()
        self.cache = None

    def tell(self, flight: "_Flight", outcome: Answer | Failure) -> None:
        """Give the outcome to those who have joined."""
        everyone, flight.joined = flight.joined or {}, None
        if isinstance(outcome, Failure) and outcome.check(CancelledError, TimedOut):
            self._ask_again(flight, everyone)
            return
        for joined in everyone:
            self._release(joined)
        for joined in everyone:
            joined.tell(outcome if isinstance(outcome, Answer) else outcome.value)

    def _join(self, flight: "_Flight", deadline: float) -> Deferred[Answer]:
        """Wait for the answer to a call that has been sent."""
        seconds = deadline - self._seconds()
        if seconds <= 0:
            return fail(self._refusals.over())
        if not self._room.take(0):
            return fail(self._refusals.not_asked(self._room.full))
        joined = Waiter(flight, seconds, deadline, self._leave)
        if flight.joined is None:
            flight.joined = {}
        flight.joined[joined] = None
        if deadline < flight.deadline:
            self._limit(joined)
        return joined.waiting

    def _ask_again(self, flight: "_Flight", everyone: "dict[Waiter[_Flight], None]") -> None:
        """Send a call again that ended without an answer, for those who have joined it and have time left."""
        now = self._seconds()
        rest = {joined: None for joined in everyone if joined.deadline > now}
        if rest:
            deadline = max(joined.deadline for joined in rest)
            again = _Flight(self, flight.key, deadline, now, _nobody)
            again.joined = rest
            for joined in rest:
                joined.of = again
                if joined.timer is None and joined.deadline < deadline:
                    self._limit(joined)
            self.flights.setdefault(flight.key, again)
            asked = self._send(*flight.key, deadline - now)
            again.asking = asked
            asked.addBoth(again.land)
        for joined in everyone:
            if joined not in rest:
                self._release(joined)
                joined.tell(self._refusals.unanswered(joined.seconds))

    def _limit(self, joined: "Waiter[_Flight]") -> None:
        joined.timer = self._clock.callLater(max(0.0, joined.deadline - self._seconds()), self._late, joined)

    def _late(self, joined: "Waiter[_Flight]") -> None:
        self._leave(joined)
        joined.tell(self._refusals.unanswered(joined.seconds))

    def _leave(self, joined: "Waiter[_Flight]") -> None:
        """Somebody who has joined no longer waits."""
        flight = joined.of
        if flight.joined is None or joined not in flight.joined:
            return  # it is getting its answer
        del flight.joined[joined]
        self._release(joined)
        if not flight.joined and flight.asking is not None:
            flight.asking.cancel()

    def _release(self, joined: "Waiter[_Flight]") -> None:
        self._room.leave()
        joined.untimed()


def _nobody(outcome: Answer | Failure) -> None:
    """Takes the outcome of a call whose caller is gone."""


class _Flight:
    """A call that has been sent.

    @ivar then: takes the outcome for its caller.
    @ivar joined: those who wait in addition to its caller.
    @ivar asking: the Deferred of the call, if it has only joined callers.
    """

    __slots__ = ("asked", "asking", "deadline", "joined", "key", "reads", "then")

    def __init__(
        self, reads: Reads, key: tuple[str, bytes], deadline: float, asked: float, then: Callable[[Any], Any]
    ) -> None:
        self.reads: Reads = reads
        self.key: tuple[str, bytes] = key
        self.deadline: float = deadline
        self.asked: float = asked
        self.then: Callable[[Any], Any] = then
        self.joined: dict[Waiter[_Flight], None] | None = None
        self.asking: Deferred[Answer] | None = None

    def land(self, outcome: Answer | Failure) -> Any:
        """The call has ended.

        @return: what its caller makes of the outcome.
        """
        reads, key = self.reads, self.key
        if reads.flights.get(key) is self:
            del reads.flights[key]
            if reads.cache is not None and isinstance(outcome, Answer):
                reads.cache.keep(key, outcome, self.asked)
        if self.joined is not None:
            reads.tell(self, outcome)
        return self.then(outcome)
