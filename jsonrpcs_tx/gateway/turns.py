"""Decides when the calls to one node are sent: changes by turns, what is asked for twice once. It does no I/O."""

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail

from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.cache import MAX_SIZE, Cache
from jsonrpcs_tx.gateway.changes import PATIENCE, Changes
from jsonrpcs_tx.gateway.kinds import kind_of
from jsonrpcs_tx.gateway.reads import Reads
from jsonrpcs_tx.gateway.refusals import CLOSED, Refusals
from jsonrpcs_tx.gateway.room import MAX_BYTES, MAX_CALLS, Room
from jsonrpcs_tx.interfaces import Reactor


class Turns:
    """The calls to one node.

    What only reads is sent at once. If the same is asked for while the answer is awaited, the answer is for both; so it
    is for C{cache} seconds, unless something is changed in the meantime.

    What changes something, and what is unknown, waits until the change of the same module before it has been answered
    (or C{patience} is over), also if nobody waits for that any more. The order is kept. Commands that load something
    again are run once for all who ask before that run begins; nobody is answered by a run that had begun before. If a
    module demands an interval between two commands, it is waited for.

    No call is sent twice, except for one that the node has refused because it came too soon: that has not been run. (A
    read that others share is sent again for them if the first caller leaves, or its time is over.)

    @param clock: tells the time, and calls later.
    @param send: sends a call: the method, its parameters, and the seconds that it may take. The Deferred fires with the
        L{Answer}, whether a result or a fault, or fails with
        L{ClientError<jsonrpcs_tx.client.errors.ClientError>}. Cancelling it lets go of the answer.
    @param name: of the node, for messages.
    @param cache: seconds for which results of what reads are kept; 0: they are not. (Setting C{node_cache}, option
        C{cache} of a node.)
    @param patience: seconds that a change may take at the node, if its callers' deadlines come before.
    @param most_calls: how many calls may wait: changes until they have been answered, and reads that share an answer.
    @param most_bytes: of their methods and parameters together.
    @param cache_bytes: that the kept results may have.
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

    def call(self, method: str, params: bytes, deadline: float) -> Deferred[Answer]:
        """Make a call when its turn comes.

        @param params: a JSON array or object as it is to be sent; empty: there are none.
        @param deadline: the time, in C{clock.seconds()}, at which the caller no longer waits.
        @return: fires with the answer of the node. Fails with L{Fault<jsonrpcs_tx.rpc.faults.Fault>} 503 if too many
            wait, 504 if the deadline comes before its turn or before the answer; the text says whether it was sent.
            Fails with the L{ClientError<jsonrpcs_tx.client.errors.ClientError>} that C{send} fails with. Cancelling it
            calls off what has not been sent, unless others share it; what has been sent is let go of.
        """
        if self._closed:
            return fail(self._refusals.not_asked(CLOSED))
        kind = kind_of(method)
        if kind.reads:
            return self._read(method, params, deadline)
        return self._changes.call(kind, method, params, deadline)

    @property
    def waiting(self) -> int:
        """How many calls wait: changes until they have been answered, and reads that share an answer."""
        return self._room.calls

    def refuse(self, reason: str) -> None:
        """Refuse with 503 what has not been sent: the node does not answer. What has been is still waited for."""
        self._changes.refuse(reason)

    def lose(self, error: ClientError) -> None:
        """Fail changes that have been sent, and forget what is known: the node is another process now."""
        self._reads.changed()
        self._changes.lose(error)

    def close(self) -> None:
        """Take no more calls, and refuse with 503 what has not been sent. What has been is still answered."""
        self._closed = True
        self._changes.refuse(CLOSED)
        self._reads.close()
