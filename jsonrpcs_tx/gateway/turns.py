"""Decides when the calls to one node are sent: changes take turns, and equal reads share one call. It does no I/O."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.cache import MAX_SIZE, Cache
from jsonrpcs_tx.gateway.changes import PATIENCE, Changes
from jsonrpcs_tx.gateway.kinds import kind_of
from jsonrpcs_tx.gateway.reads import Reads
from jsonrpcs_tx.gateway.refusals import CLOSED, Refusals
from jsonrpcs_tx.gateway.room import MAX_BYTES, MAX_CALLS, Room
from jsonrpcs_tx.interfaces import Reactor


def _itself(outcome: Answer | Failure) -> Answer | Failure:
    return outcome


class Turns:
    """The calls to one node.

    A call that only reads is sent at once. An equal call that comes before the answer shares it; so do equal calls for
    C{cache} seconds, unless something is changed in the meantime.

    A call that changes something, or of which nothing is known, waits until the change of the same module before it has
    been answered (or C{patience} is over), even if nobody waits for that one any more. The order is kept. A reload is
    run once for all who ask before that run begins; nobody gets the answer of a run that had begun before. If a module
    demands an interval between two commands, the call waits for it.

    No call is sent twice, except for one that the node has refused because it came too soon: that has not been run. (A
    read that others share is sent again for them if the first caller leaves, or its time is over.)

    @param clock: tells the time, and sets timers.
    @param send: sends a call: the method, its parameters, and the seconds that it may take. The Deferred fires with the
        L{Answer}, whether a result or a fault, or fails with
        L{ClientError<jsonrpcs_tx.client.errors.ClientError>}. If it is cancelled, the answer is ignored.
    @param name: the name of the node, for messages.
    @param cache: seconds for which the results of reads are kept; 0: they are not. (Setting C{node_cache}, option
        C{cache} of a node.)
    @param patience: seconds that a change may take at the node even if its callers' deadlines come earlier.
    @param most_calls: how many calls may wait: changes until they have been answered, and reads that share an answer.
    @param most_bytes: bytes that their methods and parameters may take together.
    @param cache_bytes: bytes that the cached results may take.
    """

    def __init__(
        self,
        clock: Reactor,
        send: Callable[[str, bytes, float], Deferred[Answer]],
        *,
        name: str = "",
        cache: float = 0.0,
        patience: float = PATIENCE,
        most_calls: int = MAX_CALLS,
        most_bytes: int = MAX_BYTES,
        cache_bytes: int = MAX_SIZE,
    ) -> None:
        self._room = Room(most_calls, most_bytes)
        self._refusals = Refusals(name)
        kept = Cache(clock, cache, cache_bytes) if cache else None
        self._reads = Reads(clock, send, self._room, self._refusals, kept)
        self._changes = Changes(clock, send, patience, self._room, self._refusals, self._reads.changed)
        self._closed = False
        self._read = self._reads.call

    def call(
        self,
        method: str,
        params: bytes,
        deadline: float,
        then: Callable[[Any], Any] = _itself,
    ) -> Deferred[Any]:
        """Make a call when its turn comes.

        @param params: a JSON array or object, which is sent as it is; empty: no parameters.
        @param deadline: the time, in C{clock.seconds()}, until which the caller waits.
        @param then: called with the L{Answer} or the L{Failure}, perhaps before this returns.
        @return: fires with what C{then} returns; default: with the answer of the node. Fails with L{Fault<jsonrpcs_tx.rpc.faults.Fault>} 503 if too many
            wait, 504 if the deadline comes before its turn or before the answer; the text says whether it was sent.
            Fails with the L{ClientError<jsonrpcs_tx.client.errors.ClientError>} that C{send} fails with. Cancelling it
            drops a call that has not been sent, unless others share it, and ignores the answer to one that has.
        """
        if self._closed:
            return fail(self._refusals.not_asked(CLOSED)).addBoth(then)
        kind = kind_of(method)
        if kind.reads:
            return self._read(method, params, deadline, then)
        return self._changes.call(kind, method, params, deadline).addBoth(then)

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

    def close(self) -> None:
        """Take no more calls, and refuse those that have not been sent with 503. Those that have are still answered."""
        self._closed = True
        self._changes.refuse(CLOSED)
        self._reads.close()
