"""One node of a fleet, without I/O: what it sends, what it does with what it reads, and how it manages without Redis.

A node is I{together} with the others while it is connected and has read the stream to its end. Only then does it add
its changes to the stream. It makes them when it reads them there.

A node that is I{apart} refuses changes, or makes them on itself only and queues them. When it can read on, it first
undoes what it has queued. Once it is together again, it sends that, except for what others have changed meanwhile.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from jsonrpcs_tx.fleet.entries import BEGINNING, MAX_SIZE, Change, Entry, Forged, Id, Seals, UnknownVersion, encode
from jsonrpcs_tx.fleet.replica import EPOCH, FOUND, GO_ON, LOST, ContentsTooLarge, Outcome, Replica, StreamState, judge
from jsonrpcs_tx.fleet.streamtime import StreamTime
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.state.sharing import PendingChange, Shareable

_log = make_logger(__name__)

REFUSE: Final = "refuse"
QUEUE: Final = "queue"

MAX_WAITING: Final = 10_000
"""Changes that may wait: to be sent, for their place in the stream, or in the queue."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes that the arguments of the queued changes may have together."""

MAX_OVERTAKEN: Final = 100
"""Overtaken changes that are remembered, the last ones."""

FOUND_AGAIN: Final = 30.0
"""Seconds after which a founding that was too large is tried again."""

WAITS_FOR_SNAPSHOT: Final = "it waits for a snapshot"

UNAVAILABLE: Final = 503
TOO_LARGE: Final = 413
NOT_CONFIRMED: Final = 504


@attrs.define(eq=False)
class _Ticket:
    """A change on its way.

    @ivar changes: what is sent, in one entry.
    @ivar pending: whoever waits for it; None: nobody does.
    @ivar deadline: when the waiting ends, in seconds of the clock of whoever submitted it.
    @ivar number: of its entry; 0: it has not been sent yet.
    """

    changes: list[Change]
    pending: PendingChange[Any] | None
    deadline: float = inf
    number: int = 0

    def succeed(self, result: Any) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.callback(result)

    def fail(self, error: BaseException) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.errback(Failure(error))


class Core:
    """A node.

    @param node: its name.
    @param run: identifies this run of it.
    @param things: what it shares, by name.
    @param seals: signs entries, and checks them.
    @param time: the time of the stream.
    @param offline: what becomes of changes while the node is apart: L{REFUSE} or L{QUEUE}.
    @ivar run: what identifies this run of it.
    @ivar replica: its copy of what is shared.
    @ivar together: whether its changes go to the stream.
    @ivar reason: why not, in words; empty: they do.
    @ivar wants_snapshot: it cannot go on without a snapshot.
    @ivar losses: how often Redis was found to have lost entries.
    @ivar overtaken: the last queued changes that were not sent, since others had changed the same.
    """

    def __init__(
        self,
        node: str,
        run: str,
        things: Mapping[str, Shareable],
        seals: Seals,
        time: StreamTime,
        offline: str = REFUSE,
    ) -> None:
        self.replica: Replica = Replica(things, seals, time)
        self.together: bool = False
        self.reason: str = "it has not found Redis yet"
        self.wants_snapshot: bool = False
        self.losses: int = 0
        self.overtaken: deque[str] = deque(maxlen=MAX_OVERTAKEN)
        self._node = node
        self.run: str = run
        self._seals = seals
        self._time = time
        self._offline = offline
        self._number = 0
        self._new: deque[_Ticket] = deque()
        self._sent: dict[int, _Ticket] = {}
        self._queued: list[_Ticket] = []
        self._queued_bytes = 0
        self._before: dict[str, Any] = {}  # contents, by name, before the queued changes
        self._touched: set[tuple[str, str | None]] = set()
        self._founding: _Ticket | None = None
        self._founds_from = -inf  # in the time of the stream
        self._lost = False
        self._lost_epoch = 0
        self._lost_at: Id = BEGINNING

    @property
    def is_founding(self) -> bool:
        """Whether it waits for the contents that it has written."""
        return self._founding is not None

    # Changes of this node.

    def submit(self, thing: str, operation: str, arguments: list[Any], deadline: float = inf) -> PendingChange[Any]:
        """Have a change made by all; see L{Share.submit<jsonrpcs_tx.state.sharing.Share.submit>}.

        @param thing: the name of what is changed.
        @param deadline: how long somebody waits for it, for L{expire}; not earlier than that of the change before.
        """
        pending: PendingChange[Any] = PendingChange(lambda _: self._withdraw(ticket))
        ticket = _Ticket([Change(thing, operation, arguments)], pending, deadline)
        if self.waiting >= MAX_WAITING:
            ticket.fail(Fault(UNAVAILABLE, f"Too Many Changes Wait: at most {MAX_WAITING} may"))
        elif self.together:
            self._new.append(ticket)
        else:
            self._apart(ticket)
        return pending

    @property
    def waiting(self) -> int:
        """How many changes wait: to be sent, for their place in the stream, or in the queue."""
        return len(self._new) + len(self._sent) + len(self._queued)

    @property
    def queued(self) -> int:
        """How many changes have been made on this node only, so far."""
        return len(self._queued)

    def to_send(self) -> Iterator[tuple[int, list[bytes]]]:
        """The entries to add to the stream now, in this order: the number and the fields of each."""
        while self._new:
            ticket = self._new.popleft()
            if not ticket.number:
                self._number += 1
                ticket.number = self._number
            replica = self.replica
            entry = Entry(self._node, self.run, ticket.number, self._time.ms, replica.epoch, ticket.changes)
            try:
                fields = encode(entry, self._seals)
            except (OverflowError, TypeError, ValueError) as error:  # else whoever waits would never hear of it
                self._sent[ticket.number] = ticket
                self.not_added(ticket.number, f"the change cannot be written: {error}")
                continue
            size = len(fields[3])
            if ticket is self._founding:
                try:
                    replica.check_size(size)
                except ContentsTooLarge as error:
                    self._cannot_found(str(error))
                    continue
            elif size > MAX_SIZE:
                ticket.fail(Fault(TOO_LARGE, f"Change Too Large: it has {size} bytes; allowed: {MAX_SIZE}"))
                continue
            self._sent[ticket.number] = ticket
            yield ticket.number, fields

    def not_added(self, number: int, reason: str) -> None:
        """Redis has refused an entry, so its changes are made nowhere.

        @param number: of the entry.
        @param reason: why, in words.
        """
        ticket = self._sent.pop(number, None)
        if ticket is not None and ticket is self._founding:
            self._founding = None
            self.reason = f"its contents cannot be written: {reason}"
        if ticket is not None:
            ticket.fail(Fault(UNAVAILABLE, f"Fleet Unavailable: {reason}"))

    def _cannot_found(self, reason: str) -> None:
        self._founding = None
        self._founds_from = self._time.seconds() + FOUND_AGAIN
        self.reason = f"its contents cannot be written: {reason}"
        _log.error("fleet: this node stays apart, since {reason}", reason=self.reason)

    def expire(self, now: float) -> float:
        """Fail the changes that have waited until their deadlines. One that was sent may still be made.

        @param now: in seconds of the clock of the deadlines.
        @return: the next deadline; infinite if nobody waits.
        """
        late: list[_Ticket] = []
        following = self._late(self._new, now, late)
        for ticket in late:
            self._new.remove(ticket)
            ticket.fail(Fault(UNAVAILABLE, f"Fleet Unavailable: {self.reason or 'Redis does not answer'}"))
        late.clear()
        following = min(following, self._late(self._sent.values(), now, late))
        for ticket in late:
            del self._sent[ticket.number]
            ticket.fail(Fault(NOT_CONFIRMED, "Change Not Confirmed In Time: it may have been made, or still be made"))
        return following

    def _late(self, tickets: Iterable[_Ticket], now: float, late: list[_Ticket]) -> float:
        """Add the tickets that are late to a list.

        @return: the next deadline.
        """
        for ticket in tickets:
            if ticket.deadline == inf:
                continue
            if ticket.deadline > now:
                return ticket.deadline
            late.append(ticket)
        return inf

    # What comes from Redis.

    def disconnected(self, reason: str) -> None:
        """There is no connection any more, or none that can be used.

        @param reason: why, in words.
        """
        self.together, self.reason = False, reason
        self._founding = None
        unsent, self._new = self._new, deque()
        if self._offline == QUEUE:
            for number in sorted(self._sent):
                self._apart(self._sent[number])
            self._sent.clear()
        else:
            self._sent = {number: ticket for number, ticket in self._sent.items() if ticket.pending is not None}
        for ticket in unsent:
            self._apart(ticket)

    def connected(self, stream: StreamState, snapshot: bytes | None) -> None:
        """There is a connection, and the stream is about to be read on from C{replica.cursor}, which this may change.

        @param stream: what the stream is like now.
        @param snapshot: the one in Redis, if any.
        """
        replica = self.replica
        self.together, self.reason = False, "it is reading what has happened"
        self._take_back()
        self._touched.clear()
        verdict = judge(replica.cursor, stream)
        if verdict == GO_ON and not self.wants_snapshot:
            return
        if verdict == LOST:
            self.lose(stream)
            return
        if snapshot is not None:
            try:
                restored = replica.restore(snapshot)
            except (Forged, UnknownVersion, ValueError, KeyError, TypeError) as error:
                _log.error("fleet: the snapshot cannot be used: {reason}", reason=error)
                restored = False
            if restored and judge(replica.cursor, stream) == GO_ON:
                self.wants_snapshot = False
                return
            if restored and stream.first is not None and replica.cursor >= stream.first:
                self.lose(stream)
                return
        self.wants_snapshot, self.reason = True, WAITS_FOR_SNAPSHOT
        replica.detach(stream.last if stream.first is None else BEGINNING)

    def may_go_on(self, stream: StreamState, cursor: Id | None = None) -> bool:
        """Whether all that follows what was read last is in the stream; otherwise L{connected} is to be called.

        @param stream: what the stream is like.
        @param cursor: what had been read when it was like that; default: what has been read now.
        """
        cursor = self.replica.cursor if cursor is None else cursor
        return judge(cursor, stream) == GO_ON or (self.wants_snapshot and not self.replica.attached)

    def lose(self, stream: StreamState) -> None:
        """Redis has lost entries: read the stream from its beginning. What was applied before does not count again.

        @param stream: what it is like now.
        """
        replica = self.replica
        self.losses += 1
        self._lost_at = max(self.mark, replica.cursor)
        self._lost, self._lost_epoch = True, replica.epoch
        message = "fleet: Redis has lost entries: this node has read up to {cursor}, the stream ends at {last}"
        _log.error(message, cursor=str(replica.cursor), last=str(stream.last))
        replica.cursor = BEGINNING

    @property
    def lost_at(self) -> Id | None:
        """What this node had read of a stream that Redis has lost, as long as nobody has written it again."""
        return self._lost_at if self._lost else None

    @property
    def mark(self) -> Id:
        """How far this node knows the contents, be it of a stream that Redis has lost."""
        if self._lost:
            return self._lost_at
        return self.replica.cursor if self.replica.attached else BEGINNING

    def take(self, id: Id, fields: Mapping[bytes, bytes]) -> Outcome:
        """Apply the next entry of the stream, and give the result to whoever waits for it.

        @param id: its place in the stream.
        @param fields: as L{encode} has made them.
        """
        if self._before:  # queued after the connection was there again, before the stream was read to its end
            self._take_back()
        replica = self.replica
        epoch = replica.epoch
        outcome = replica.take(id, fields)
        entry = outcome.entry
        if entry is None:
            return outcome
        if replica.epoch != epoch and entry.run != self.run and epoch and self._lost:
            message = "fleet: node {node} has restored what Redis had lost; what that node did not have is lost"
            _log.error(message, node=entry.node)
        if entry.run == self.run:
            self._confirm(entry, outcome)
        elif self._queued:
            self._touch(entry)
        return outcome

    def at_end(self) -> bool:
        """The stream has been read to its end, or at least to where it ended when the connection was made.

        @return: whether the node is together with the others now. If not, there may be something to send.
        """
        replica = self.replica
        if self.together:
            return True
        if self._founding is not None:
            return False  # until that comes back
        if self._lost and replica.epoch > self._lost_epoch:
            self._lost = False
        if self.wants_snapshot and replica.attached:
            self.wants_snapshot = False
        if self.wants_snapshot:
            return False
        if replica.highest and not (replica.attached or self._lost):
            # Others have gone on since Redis has lost their founding, and know what this node does not.
            self.wants_snapshot, self.reason = True, WAITS_FOR_SNAPSHOT
            return False
        self._take_back()  # what is queued is sent later
        if self._lost or not replica.attached or replica.unfounded:
            if self._time.seconds() < self._founds_from:
                return False
            self._founding = _Ticket(replica.founding(again=self._lost), None)
            self._new.append(self._founding)
            return False
        self.together, self.reason = True, ""
        self._send_queued()
        return True

    def start_over(self) -> None:
        """No snapshot comes: found the fleet again with what this node has."""
        if self.wants_snapshot:
            self.wants_snapshot = False
            self._lost_at = self.replica.cursor
            self._lost, self._lost_epoch = True, max(self.replica.epoch, self.replica.highest)
            _log.error("fleet: there is no snapshot of what was removed from the stream; this node writes what it has")

    def _confirm(self, entry: Entry, outcome: Outcome) -> None:
        ticket = self._sent.pop(entry.number, None)
        if ticket is self._founding:
            self._founding = None
        if ticket is None:
            self._queued = [one for one in self._queued if one.number != entry.number]
            return
        if not outcome.counts or len(outcome.results) != len(ticket.changes):
            ticket.fail(Fault(UNAVAILABLE, "Fleet Unavailable: the change came too late, and was not made"))
            return
        result = outcome.results[-1]
        if isinstance(result, BaseException):
            ticket.fail(result)
        else:
            ticket.succeed(result)

    # Without Redis.

    def _apart(self, ticket: _Ticket) -> None:
        """Refuse a change, or make it here and queue it, while this node is apart."""
        if self._offline == REFUSE:
            ticket.fail(Fault(UNAVAILABLE, f"Fleet Unavailable: {self.reason}"))
            return
        change = ticket.changes[0]
        thing = self.replica.things.get(change.thing)
        if thing is None or change.operation in (EPOCH, FOUND):
            return  # a founding; it is repeated if it is still needed
        size = len(msgspec.msgpack.encode(change.arguments))
        if self._queued_bytes + size > MAX_BYTES:
            ticket.fail(Fault(UNAVAILABLE, f"Fleet Unavailable: {MAX_BYTES} bytes of changes are queued"))
            return
        if change.thing not in self._before:
            self._before[change.thing] = thing.contents()
        try:
            result = thing.apply(change.operation, change.arguments)
        except Exception as error:
            ticket.fail(error)
            return
        self._queued.append(ticket)
        self._queued_bytes += size
        ticket.succeed(result)

    def _take_back(self) -> None:
        """Undo the queued changes, so that entries of the stream apply to the same contents as on other nodes."""
        before, self._before = self._before, {}
        for name, contents in before.items():
            self.replica.things[name].apply("replace", [contents])

    def _touch(self, entry: Entry) -> None:
        for change in entry.changes:
            thing = self.replica.things.get(change.thing)
            if thing is not None and change.operation != FOUND:
                self._touched.add((change.thing, thing.touches(change.operation, change.arguments)))

    def _send_queued(self) -> None:
        """Send what was queued, except for what others have changed since."""
        queued, self._queued, self._queued_bytes = self._queued, [], 0
        for ticket in queued:
            change = ticket.changes[0]
            part = self.replica.things[change.thing].touches(change.operation, change.arguments)
            of_thing = [key for name, key in self._touched if name == change.thing]
            if of_thing and (part is None or part in of_thing or None in of_thing):
                shown = f"{change.thing} {change.operation} {change.arguments!r:.200}"
                self.overtaken.append(shown)
                message = "fleet: a queued change is dropped, since others have changed the same: {change}"
                _log.warn(message, change=shown)
            else:
                self._new.append(ticket)
        self._touched.clear()

    def _withdraw(self, ticket: _Ticket) -> None:
        """Nobody waits for a change any more. If it has not been sent yet, it never is."""
        if ticket in self._new:
            self._new.remove(ticket)
        ticket.fail(CancelledError())
