"""Sends the calls that only read: at once, and equal calls at the same time as one."""

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from jsonrpcs_tx.client.errors import TimedOut
from jsonrpcs_tx.client.underway import Call
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.cache import Cache
from jsonrpcs_tx.gateway.refusals import Refusals
from jsonrpcs_tx.gateway.room import Room
from jsonrpcs_tx.gateway.waiters import Waiter, told
from jsonrpcs_tx.reactor.interfaces import Reactor
from jsonrpcs_tx.rpc.callee import Cancellable


class Reads:
    """The reads of one node that are in progress.

    The first of several equal calls is sent, and is itself what takes the answer from the link, without a Deferred. The
    others wait for the same answer. If the first call is cancelled or times out, it is sent once more for the others.

    @param carry: see L{Turns<jsonrpcs_tx.gateway.turns.Turns>}.
    @ivar cache: keeps answers; None: no answers are kept.
    @ivar flights: the calls that have been sent, and that others may join.
    """

    def __init__(
        self,
        clock: Reactor,
        carry: Callable[[Call, bytes], None],
        room: Room,
        refusals: Refusals,
        cache: Cache | None,
    ) -> None:
        self._clock: Any = clock
        self._seconds = clock.seconds
        self._carry = carry
        self._room = room
        self._refusals = refusals
        self.cache = cache
        self.flights: dict[tuple[str, bytes], _Flight] = {}

    def call(
        self,
        method: str,
        params: bytes,
        deadline: float,
        client: Hashable,
        then: Callable[[Answer | BaseException], None],
        now: float | None = None,
    ) -> Cancellable:
        """Make a call that only reads; see L{Turns.call<jsonrpcs_tx.gateway.turns.Turns.call>}."""
        key = (method, params)
        flight = self.flights.get(key)
        if flight is not None:
            return told(self._join(flight, deadline, client), then)
        if self.cache is not None:
            kept = self.cache.get(key)
            if kept is not None:
                return told(succeed(kept), then)
        if now is None:
            now = self._seconds()
        if deadline <= now:
            return told(fail(self._refusals.over()), then)
        self.flights[key] = flight = _Flight(self, key, deadline, now, client, then)
        self._carry(flight, params)
        return flight

    def changed(self) -> None:
        """Something may have changed: later calls do not get answers that were requested before."""
        self.flights.clear()
        if self.cache is not None:
            self.cache.clear()

    def close(self) -> None:
        """Stop caching, and forget all answers."""
        self.changed()
        self.cache = None

    def tell(self, flight: "_Flight", outcome: Answer | BaseException) -> None:
        """Give the outcome to those who have joined."""
        everyone, flight.joined = flight.joined or {}, None
        if isinstance(outcome, CancelledError | TimedOut):
            self._ask_again(flight, everyone)
            return
        for joined in everyone:
            self._release(joined)
        for joined in everyone:
            joined.tell(outcome)

    def _join(self, flight: "_Flight", deadline: float, client: Hashable) -> Deferred[Answer]:
        """Wait for the answer to a call that has been sent."""
        seconds = deadline - self._seconds()
        if seconds <= 0:
            return fail(self._refusals.over())
        full = self._room.refusal(0, client)
        if full:
            return fail(self._refusals.not_asked(full))
        self._room.take(0, client)
        joined = Waiter(flight, seconds, deadline, self._leave, client)
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
            again = _Flight(self, flight.key, deadline, now, next(iter(rest)).client, _nobody)
            again.joined = rest
            for joined in rest:
                joined.of = again
                if joined.timer is None and joined.deadline < deadline:
                    self._limit(joined)
            self.flights.setdefault(flight.key, again)
            self._carry(again, flight.key[1])
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
        if not flight.joined and flight.then is _nobody:
            flight.cancel()

    def _release(self, joined: "Waiter[_Flight]") -> None:
        self._room.leave(joined.client)
        joined.untimed()


def _nobody(outcome: Answer | BaseException) -> None:
    """Takes the outcome of a call whose caller is gone."""


class _Flight(Call):
    """A call that has been sent.

    @ivar then: takes the outcome for its caller.
    @ivar joined: those who wait in addition to its caller.
    """

    __slots__ = ("_is_over", "asked", "joined", "key", "reads", "then")

    def __init__(
        self,
        reads: Reads,
        key: tuple[str, bytes],
        deadline: float,
        asked: float,
        client: Hashable,
        then: Callable[[Answer | BaseException], None],
    ) -> None:
        self.method: str = key[0]
        self.seconds: float = deadline - asked
        self.deadline: float = deadline
        self.raises: bool = True
        self.client: Hashable = client
        self.array: Any = None
        self.reads: Reads = reads
        self.key: tuple[str, bytes] = key
        self.asked: float = asked
        self.then: Callable[[Answer | BaseException], None] = then
        self.joined: dict[Waiter[_Flight], None] | None = None
        self._is_over = False

    def callback(self, result: Answer | BaseException) -> None:
        """The call has ended, with an answer or an error."""
        if self._is_over:
            return
        self._is_over = True
        reads, key = self.reads, self.key
        if reads.flights.get(key) is self:
            del reads.flights[key]
            if reads.cache is not None and isinstance(result, Answer):
                reads.cache.keep(key, result, self.asked)
        if self.joined is not None:
            reads.tell(self, result)
        self.then(result)

    def errback(self, fail: Any = None) -> None:
        """The same."""
        self.callback(fail)

    def cancel(self) -> None:
        """Let go of the answer."""
        if not self._is_over:
            self.link.drop(self)
            self.callback(CancelledError())
