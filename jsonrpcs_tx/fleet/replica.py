"""One node's copy of what a fleet shares: applies the entries of the stream, one after the other. It does no I/O.

What an entry does depends only on the entries before it, so all nodes end up with the same contents.

A fleet is founded by the first node that finds an empty stream: it writes its own contents there. If Redis has lost
data, a node that still has it founds the fleet again. Each founding begins an epoch. If several nodes found the same
epoch, the first counts.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec

from jsonrpcs_tx.errors import JsonRpcsError
from jsonrpcs_tx.fleet.entries import (
    BEGINNING,
    Change,
    Entry,
    Forged,
    Id,
    Seals,
    UnknownVersion,
    decode,
)
from jsonrpcs_tx.fleet.streamtime import StreamTime
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.redis.connection import MAX_BYTES
from jsonrpcs_tx.state.sharing import Shareable, UnknownOperation

_log = make_logger(__name__)

FLEET: Final = ""
"""The name that stands for the fleet itself in L{Change.thing<jsonrpcs_tx.fleet.entries.Change>}."""

EPOCH: Final = "epoch"
"""The operation that begins an epoch; its argument is the number of the epoch."""

FOUND: Final = "found"
"""The operation that gives its first contents in an epoch to something that is shared."""

WINDOW: Final = 600_000
"""Milliseconds that may lie between the times at which an entry was made and added; otherwise it does not count."""

MAX_SENDERS: Final = 1024
"""Runs of nodes that are remembered; more only if all are recent."""

MAX_CONTENTS: Final = MAX_BYTES - 64 * 1024
"""Bytes that all contents may have in a snapshot or a founding, each of which is one command of Redis."""


class ContentsTooLarge(JsonRpcsError):
    """What is shared has more than L{MAX_CONTENTS} bytes."""


class Outcome(msgspec.Struct, frozen=True):
    """What an entry did.

    @ivar entry: the entry; None: it could not be read.
    @ivar results: what each of its changes returned, or the exception that it raised.
    @ivar counts: whether it was applied at all.
    """

    entry: Entry | None
    results: tuple[Any, ...] = ()
    counts: bool = False


@attrs.define
class Reports:
    """What was noticed in the stream.

    @ivar forged: entries with a wrong HMAC.
    @ivar unreadable: entries of an unknown version, or with an unknown operation. They are still in the stream.
    @ivar first_unreadable: the place of the first of these.
    @ivar stale: entries that came too late, were sent again by somebody long after, or are of an earlier epoch.
    @ivar doubled: entries that came twice.
    @ivar failed: changes that raised an error, on this node at least.
    """

    forged: int = 0
    unreadable: int = 0
    first_unreadable: str = ""
    stale: int = 0
    doubled: int = 0
    failed: int = 0


class _Snapshot(msgspec.Struct, array_like=True, frozen=True):
    """@ivar senders: each run with the number of its last entry, and the time of that."""

    id: tuple[int, int]
    epoch: int
    founded: list[str]
    senders: dict[str, tuple[int, int]]
    contents: dict[str, Any]


class Replica:
    """A copy of what is shared.

    @param things: what this node shares, by name.
    @param seals: checks entries and snapshots, and signs snapshots.
    @param time: is set to the time of each entry while it is applied.
    @ivar cursor: the place of the last entry that was read.
    @ivar epoch: the number of the last founding; 0: the fleet was never founded, as far as is known.
    @ivar highest: the highest epoch that any entry has named.
    @ivar founded: the names of what has contents in this epoch, whether it is shared here or not.
    @ivar attached: whether all entries since the founding have been applied, so that changes may be.
    @ivar reports: what was noticed.
    """

    def __init__(self, things: Mapping[str, Shareable], seals: Seals, time: StreamTime) -> None:
        self.things = things
        self.cursor: Id = BEGINNING
        self.epoch: int = 0
        self.highest: int = 0
        self.founded: set[str] = set()
        self.attached: bool = False
        self.reports: Reports = Reports()
        self._seals = seals
        self._time = time
        self._senders: dict[str, tuple[int, int]] = {}

    @property
    def unfounded(self) -> list[str]:
        """What this node shares, and nobody has given contents to."""
        return [name for name in self.things if name not in self.founded]

    def take(self, id: Id, fields: Mapping[bytes, bytes]) -> Outcome:
        """Apply the next entry of the stream. One that was taken before does not count again."""
        if id <= self.cursor:
            return Outcome(None)
        self.cursor = id
        try:
            entry = decode(fields, self._seals)
        except UnknownVersion as error:
            self._unreadable(id, error)
            return Outcome(None)
        except Forged as error:
            self.reports.forged += 1
            _log.warn("fleet: entry {id} is ignored: {reason}", id=str(id), reason=error)
            return Outcome(None)
        if abs(id.ms - entry.at) > WINDOW:
            self.reports.stale += 1
            return Outcome(entry)
        last, _ = self._senders.get(entry.run, (0, 0))
        if entry.number <= last:
            self.reports.doubled += 1
            return Outcome(entry)
        self._senders.pop(entry.run, None)
        self._senders[entry.run] = entry.number, id.ms
        if len(self._senders) > MAX_SENDERS:
            self._forget_senders(id.ms)
        if entry.epoch > self.highest:
            self.highest = entry.epoch
        founds = bool(entry.changes) and entry.changes[0].thing == FLEET
        if entry.epoch < self.epoch and not founds:  # nodes that joined later cannot know whether it counted
            self.reports.stale += 1
            return Outcome(entry)
        self._time.be_at(id.ms)
        try:
            return self._apply(id, entry)
        finally:
            self._time.be_at(None)

    def founding(self, again: bool = False) -> list[Change]:
        """The changes that give contents to what has none.

        @param again: whether to give them to everything, in a new epoch, since Redis has lost data.
        """
        if self.epoch and not again and self.attached:
            return [self._found(name) for name in self.unfounded]
        epoch = max(self.epoch, self.highest) + 1
        return [Change(FLEET, EPOCH, [epoch]), *(self._found(name) for name in self.things)]

    @property
    def untold(self) -> str:
        """Why this node cannot make a snapshot, in words; empty: it can."""
        if not self.attached:
            return "this node does not know the contents yet"
        if self.reports.unreadable:
            return f"this node cannot read entries from {self.reports.first_unreadable}"
        unshared = sorted(self.founded - self.things.keys())
        return f"this node does not share {', '.join(unshared)}" if unshared else ""

    def snapshot(self) -> bytes | None:
        """All that a node needs to go on after the entry that was read last; None: this node lacks some of it, see
        L{untold}.

        @raise ContentsTooLarge: a snapshot may not have as much.
        """
        if self.untold:
            return None
        contents = {name: self.things[name].contents() for name in self.founded}
        cursor = self.cursor.ms, self.cursor.number
        data = msgspec.msgpack.encode(_Snapshot(cursor, self.epoch, sorted(self.founded), self._senders, contents))
        self.check_size(len(data))
        return self._seals.wrap("snapshot", data)

    def check_size(self, size: int) -> None:
        """
        @param size: bytes of a snapshot or a founding.
        @raise ContentsTooLarge: it may not have as many. The message says what has the most.
        """
        if size <= MAX_CONTENTS:
            return
        sizes = {name: len(msgspec.msgpack.encode(thing.contents())) for name, thing in self.things.items()}
        largest = max(sizes, key=sizes.__getitem__)
        raise ContentsTooLarge(
            f"what is shared has {size} bytes, {sizes[largest]} of them in {largest}; allowed: {MAX_CONTENTS}"
        )

    def restore(self, data: bytes) -> bool:
        """Replace everything by a snapshot, if that is newer than what has been read.

        @return: whether it is newer.
        @raise Forged: it is not signed, or not a snapshot.
        @raise UnknownVersion: it is of another version.
        """
        try:
            snapshot = msgspec.msgpack.decode(self._seals.unwrap("snapshot", data), type=_Snapshot)
        except msgspec.MsgspecError as error:
            raise Forged(f"it is not a snapshot: {error}") from None
        id = Id(*snapshot.id)
        if self.attached and id <= self.cursor:
            return False
        for name, contents in snapshot.contents.items():
            if name in self.things:
                self.things[name].apply("replace", [contents])
        self.cursor, self.epoch, self.founded = id, snapshot.epoch, set(snapshot.founded)
        self.highest = max(self.highest, snapshot.epoch)
        self._senders = dict(snapshot.senders)
        self.attached = True
        self.reports.unreadable, self.reports.first_unreadable = 0, ""
        return True

    def detach(self, cursor: Id) -> None:
        """Read on from another place. Changes are not applied until a founding or a snapshot says what they change."""
        self.cursor = cursor
        self.attached = False

    def _found(self, name: str) -> Change:
        return Change(name, FOUND, [self.things[name].contents()])

    def _apply(self, id: Id, entry: Entry) -> Outcome:
        results: list[Any] = []
        for change in entry.changes:
            if change.thing == FLEET:
                if not self._begin_epoch(change, id):
                    return Outcome(entry, tuple(results))
                results.append(None)
                continue
            if not self.attached:
                return Outcome(entry)
            try:
                results.append(self._change(change))
            except UnknownOperation as error:
                self._unreadable(id, error)
                results.append(error)
            except Exception as error:
                self.reports.failed += 1
                _log.debug("fleet: entry {id}: {error!r}", id=str(id), error=error)
                results.append(error)
        return Outcome(entry, tuple(results), counts=True)

    def _begin_epoch(self, change: Change, id: Id) -> bool:
        """Whether a change of the fleet itself counts: it begins an epoch that is higher than the present one."""
        epoch = change.arguments[0] if change.operation == EPOCH and len(change.arguments) == 1 else None
        if type(epoch) is not int:
            self._unreadable(id, UnknownOperation(f"{change.operation!r:.60} of the fleet"))
            return False
        if epoch <= self.epoch:
            return False
        self.epoch, self.founded, self.attached = epoch, set(), True
        self.highest = max(self.highest, epoch)
        self.reports.unreadable, self.reports.first_unreadable = 0, ""
        return True

    def _change(self, change: Change) -> Any:
        thing = self.things.get(change.thing)
        if change.operation == FOUND:
            if change.thing in self.founded:
                return None
            self.founded.add(change.thing)
            return None if thing is None else thing.apply("replace", change.arguments)
        if thing is None:
            return None  # it is not shared here
        if change.thing not in self.founded:
            raise ValueError(f"{change.thing} has no contents yet")
        return thing.apply(change.operation, change.arguments)

    def _unreadable(self, id: Id, error: Exception) -> None:
        self.reports.unreadable += 1
        if not self.reports.first_unreadable:
            self.reports.first_unreadable = str(id)
        message = "fleet: entry {id} cannot be read: {reason}; another version of jsonrpcs_tx may be able to"
        _log.warn(message, id=str(id), reason=error)

    def _forget_senders(self, now: int) -> None:
        """Forget runs whose entries are too old to count again."""
        while len(self._senders) > MAX_SENDERS:
            run, (_, ms) = next(iter(self._senders.items()))
            if now - ms <= 2 * WINDOW:
                return
            del self._senders[run]


class StreamState(msgspec.Struct, frozen=True):
    """The stream, as Redis describes it.

    @ivar first: the place of its first entry; None: it has no entries.
    @ivar last: the place of the last entry that was ever added; L{BEGINNING}: there is no stream.
    @ivar at_cursor: whether the entry that was read last is there.
    @ivar whole: whether no entry was ever removed.
    @ivar at_anchor: whether an entry is there that was read earlier.
    """

    first: Id | None
    last: Id
    at_cursor: bool
    whole: bool
    at_anchor: bool = True


GO_ON: Final = "go on"
"""Everything since the cursor is there."""

SNAPSHOT: Final = "snapshot"
"""Entries since the cursor have been removed, so a snapshot is needed."""

LOST: Final = "lost"
"""Redis has lost entries that this node has read."""


def judge(cursor: Id, stream: StreamState) -> str:
    """What a node must do if it has read as far as a cursor: L{GO_ON}, L{SNAPSHOT} or L{LOST}."""
    if stream.last < cursor:
        return LOST
    if stream.at_cursor or stream.last == cursor:
        return GO_ON
    if cursor == BEGINNING:
        return GO_ON if stream.whole else SNAPSHOT
    if not stream.whole and (stream.first is None or cursor < stream.first):
        return SNAPSHOT
    return LOST


def is_lost(anchor: Id, stream: StreamState) -> bool:
    """Whether Redis does not have any more what was read, though it has the entry that was read last: that may have
    been added to another stream since.

    @param anchor: the place of an entry that was read earlier.
    """
    return judge(anchor, msgspec.structs.replace(stream, at_cursor=stream.at_anchor)) == LOST
