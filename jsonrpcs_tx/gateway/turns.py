"""Decides when the calls to one node are sent: changes take turns, and equal reads share one call. It does no I/O."""

from collections.abc import Callable, Hashable
from typing import Final

from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.client.underway import Call
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.cache import MAX_SIZE, Cache
from jsonrpcs_tx.gateway.changes import HOLD, PATIENCE, Changes, IsSent, Send
from jsonrpcs_tx.gateway.kinds import kind_of
from jsonrpcs_tx.gateway.reads import Reads
from jsonrpcs_tx.gateway.refusals import CLOSED, Refusals
from jsonrpcs_tx.gateway.room import MAX_BYTES, MAX_CALLS, Room
from jsonrpcs_tx.gateway.waiters import told
from jsonrpcs_tx.reactor.interfaces import Reactor
from jsonrpcs_tx.rpc.callee import Cancellable


class _Over:
    """A call that is over before it can be cancelled."""

    def cancel(self) -> None:
        """Do nothing."""


OVER: Final = _Over()


class Turns:
    """The calls to one node.

    A call that only reads is sent at once. An equal call that comes before the answer shares it; so do equal calls for
    C{cache} seconds, unless something is changed in the meantime.

    A call that changes something, or of which nothing is known, waits until the change of the same module before it has
    been answered, even if nobody waits for that one any more; L{jsonrpcs_tx.gateway.changes} says for how long. The
    order of each client's changes is kept; the clients take turns. A reload is run once for all who ask before that run
    begins; nobody gets the answer of a run that had begun before. If a module demands an interval between two commands,
    the call waits for it.

    What has not been sent, and nobody waits for any more, is never sent. No call is sent twice, except for one that the
    node has refused because it came too soon: that has not been run. (A read that others share is sent again for them
    if the first caller leaves, or its time is over.)

    @param clock: tells the time, and sets timers.
    @param send: sends a call, or has it wait until the node has room for it: the method, its parameters, the seconds
        that it may take, and for whom it is. The Deferred fires with the L{Answer}, whether a result or a fault, or
        fails with L{ClientError<jsonrpcs_tx.client.errors.ClientError>}. If it is cancelled, the call is never sent, or
        the answer is ignored.
    @param carry: the same for a L{Call<jsonrpcs_tx.client.underway.Call>} that takes its outcome itself: sends it, with
        its parameters.
    @param is_sent: says of a Deferred of C{send} that has not fired whether anything of the call may have been sent.
    @param name: the name of the node, for messages.
    @param cache: seconds for which the results of reads are kept; 0: they are not. (Setting C{node_cache}, option
        C{cache} of a node.)
    @param patience: seconds that a change may take at the node even if its callers' deadlines come earlier, before its
        answer is overdue.
    @param hold: seconds that changes wait for one whose answer is overdue.
    @param most_calls: how many calls may wait: changes until they have been answered, and reads that share an answer.
    @param most_bytes: bytes that their methods and parameters may take together.
    @param cache_bytes: bytes that the cached results may take.
    """

    def __init__(
        self,
        clock: Reactor,
        send: Send,
        carry: Callable[[Call, bytes], None],
        is_sent: IsSent = lambda asked: True,
        *,
        name: str = "",
        cache: float = 0.0,
        patience: float = PATIENCE,
        hold: float = HOLD,
        most_calls: int = MAX_CALLS,
        most_bytes: int = MAX_BYTES,
        cache_bytes: int = MAX_SIZE,
    ) -> None:
        self._room = Room(most_calls, most_bytes)
        self._refusals = Refusals(name)
        kept = Cache(clock, cache, cache_bytes) if cache else None
        self._reads = Reads(clock, carry, self._room, self._refusals, kept)
        self._changes = Changes(
            clock, send, is_sent, name, patience, hold, self._room, self._refusals, self._reads.changed
        )
        self._closed = False
        self._read = self._reads.call

    def call(
        self,
        method: str,
        params: bytes,
        deadline: float,
        client: Hashable,
        then: Callable[[Answer | BaseException], None],
        now: float | None = None,
    ) -> Cancellable:
        """Make a call when its turn comes.

        @param params: a JSON array or object, which is sent as it is; empty: no parameters.
        @param deadline: the time, in C{clock.seconds()}, until which the caller waits.
        @param client: anything that tells the client from others, for whom room is kept; None: nobody in particular.
        @param then: called once, perhaps before this returns: with the answer of the node, or with
            L{Fault<jsonrpcs_tx.rpc.faults.Fault>} 503 if too many wait, 504 if the deadline comes before its turn or
            before the answer, whose text says whether it was sent; or with the
            L{ClientError<jsonrpcs_tx.client.errors.ClientError>} that C{send} fails with.
        @param now: the time, in C{clock.seconds()}; None: it is found out.
        @return: cancelling it drops a call that has not been sent, unless others share it, and ignores the answer to
            one that has. Then C{then} is called at once, with C{CancelledError}.
        """
        if self._closed:
            then(self._refusals.not_asked(CLOSED))
            return OVER
        kind = kind_of(method)
        if kind.reads:
            return self._read(method, params, deadline, client, then, now)
        return told(self._changes.call(kind, method, params, deadline, client), then)

    @property
    def waiting(self) -> int:
        """How many calls wait: changes until they have been answered, and reads that share an answer."""
        return self._room.calls

    def refuse(self, reason: str) -> None:
        """Refuse calls that have not been sent with 503: the node does not answer. Those that have been sent go on."""
        self._changes.refuse(reason)

    def lose(self, error: ClientError) -> None:
        """Fail the changes that have been sent, and forget cached answers: the node is another process now."""
        self._reads.changed()
        self._changes.lose(error)

    def settle(self, before: float, error: ClientError) -> None:
        """Wait no longer for changes whose answers are overdue: the node is done with all that was sent before a time.

        @param error: for those who still wait.
        """
        self._changes.settle(before, error)

    def close(self) -> None:
        """Take no more calls, and refuse those that have not been sent with 503. Those that have are still answered."""
        self._closed = True
        self._changes.refuse(CLOSED)
        self._reads.close()
