"""Hash tables: named tables of strings and integers whose items may expire, as Kamailio's htable module has them."""

import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from math import inf
from typing import Any, ClassVar, Final, Protocol

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.errors import JsonRpcsError, SettingError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.state.sharing import Shareable
from jsonrpcs_tx.state.strings import hash_words, is_utf8, words_of

_log = make_logger(__name__)

Value = int | str
"""What an item holds: text that can be written in UTF-8, or an integer of 64 bits, L{LEAST} to L{MOST}."""

LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1

MOST_SECONDS: Final = 2**31 - 1
"""The longest time, in seconds, after which an item can expire."""

_SLACK: Final = 1024
"""Outdated entries in the queue of expiries up to which it is not cleaned up."""

_HASH_SHIFT: Final = 40
"""Bits to the right of the hash in an item's order."""

_PLACES: Final = (1 << _HASH_SHIFT) - 1
"""The other bits: the number of items that came before it."""

_ATTRIBUTES: Final[Mapping[str, tuple[int, int]]] = {
    "size": (0, MOST_SECONDS),
    "autoexpire": (0, MOST_SECONDS),
    "initval": (LEAST, MOST),
    "updateexpire": (0, 1),
}
_ELSEWHERE: Final = frozenset(("dbtable", "dbmode", "cols", "coldelim", "colnull", "dmqreplicate"))
"""Kamailio's attributes for databases and clusters: accepted, so that lines of its configuration work, but ignored."""


@attrs.frozen
class Definition:
    """The definition of a table.

    @ivar name: its name.
    @ivar size: the table counts as having 2 to the power of this many slots. Like Kamailio, which documents 2 to 31,
        we treat less as 3 and more as 14.
    @ivar autoexpire: seconds after which an item expires if it is set without an expiry of its own; 0: never.
    @ivar initval: what a program gets for a missing key.
    @ivar updateexpire: whether setting an existing item restarts the time until it expires.
    """

    name: str
    size: int = 4
    autoexpire: int = 0
    initval: int | None = None
    updateexpire: bool = attrs.field(default=True, converter=bool)

    @property
    def slots(self) -> int:
        """The number of slots."""
        return 1 << (3 if self.size < 2 else 14 if self.size > 31 else self.size)


def read_definition(text: str) -> Definition:
    """Read the definition of a table, as C{modparam("htable", "htable", ...)} of Kamailio has it.

    @param text: C{a=>size=4;autoexpire=60;initval=0;updateexpire=0;}; every attribute may be left out, and if all are,
        so may the arrow. Kamailio's attributes for databases and clusters are ignored, and so are unknown ones, since
        each version of Kamailio adds some; the log says which.
    @raise SettingError: an attribute has no name, is given twice or out of range, or the name is invalid.
    """
    name, _, attributes = text.partition("=>")
    if not re.fullmatch(r"[^\s=>;]+", name.strip()):
        raise SettingError("htable", text, "a name without blanks, '=', '>' and ';', then =>")
    found: dict[str, int] = {}
    for part in attributes.strip().removesuffix(";").split(";") if attributes.strip(" ;") else ():
        attribute, _, value = (side.strip() for side in part.partition("="))
        if attribute in _ELSEWHERE:
            _log.warn("htable: {name}: {attribute} is ignored here", name=name.strip(), attribute=attribute)
            continue
        if not attribute:
            raise SettingError("htable", text, f"the attributes {', '.join(_ATTRIBUTES)}, not {part!r}")
        if attribute not in _ATTRIBUTES:
            message = "htable: {name}: unknown attribute {attribute} is ignored; known: {known}"
            _log.warn(message, name=name.strip(), attribute=attribute, known=", ".join(_ATTRIBUTES))
            continue
        if attribute in found:
            raise SettingError("htable", text, f"each attribute once, not {attribute} again")
        least, most = _ATTRIBUTES[attribute]
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", value) or not least <= int(value) <= most:
            raise SettingError("htable", text, f"{attribute} from {least} to {most}, not {value!r}")
        found[attribute] = int(value)
    return Definition(name.strip(), **found)


@attrs.frozen
class Item:
    """An item of a table.

    @ivar deadline: when it expires, in seconds of the table's clock; None: never.
    """

    key: str
    value: Value
    deadline: float | None


class Entry(msgspec.Struct, gc=False, rename={"key": "name"}):
    """An item as a table holds it. As JSON it is what Kamailio shows, so that a dump needs no work for each item, and
    the garbage collector skips it.

    @ivar type: C{str} or C{int}, the type of the value.
    """

    key: str
    value: Value
    type: str


Row = tuple[str, Value, float | None]
"""An item as it is kept: its key, its value, and when it expires, in seconds since 1970; None: never."""


class Kept(msgspec.Struct, gc=False):
    """What a table knows about an item.

    @ivar order: its place among those of its slot: the hash of the key, then the number of items that came before it.
    @ivar deadline: when it expires, in seconds of the table's clock; None: never.
    """

    entry: Entry
    order: int
    deadline: float | None

    def lives(self, now: float) -> bool:
        """Whether it has not expired."""
        return self.deadline is None or self.deadline > now


class Contents:
    """The items of a table, expired or not.

    @ivar kept: the items by key, in the order in which the keys came.
    """

    def __init__(self, slots: int) -> None:
        """@param slots: how many there are, a power of 2."""
        self.kept: dict[str, Kept] = {}
        self._mask = slots - 1
        self._came = 0
        # For each slot with items: their orders, sorted, and their entries in the same order.
        self._slots: dict[int, tuple[list[int], list[Entry]]] = {}
        # When items expire, the next first. Setting an item again leaves an outdated entry here.
        self._queue: list[tuple[float, str]] = []

    def put(self, key: str, value: Value, deadline: float | None) -> None:
        """Set an item."""
        kind = "str" if isinstance(value, str) else "int"
        kept = self.kept.get(key)
        if kept is None:
            hashed = _hash(key)
            self._came += 1
            kept = self.kept[key] = Kept(Entry(key, value, kind), hashed << _HASH_SHIFT | self._came, None)
            orders, entries = self._slots.setdefault(hashed & self._mask, ([], []))
            place = bisect_right(orders, kept.order)
            orders.insert(place, kept.order)
            entries.insert(place, kept.entry)
        else:
            kept.entry.value, kept.entry.type = value, kind
        self.set_deadline(kept, deadline)

    def set_deadline(self, kept: Kept, deadline: float | None) -> None:
        """Set when an item expires."""
        kept.deadline = deadline
        if deadline is not None:
            heappush(self._queue, (deadline, kept.entry.key))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove items, which must exist."""
        gone: dict[int, set[int]] = {}
        for key in keys:
            order = self.kept.pop(key).order
            gone.setdefault(order >> _HASH_SHIFT & self._mask, set()).add(order)
        for slot, those in gone.items():
            orders, entries = self._slots[slot]
            if len(those) == len(orders):
                del self._slots[slot]
            elif len(those) == 1:
                place = bisect_left(orders, those.pop())
                del orders[place], entries[place]
            else:
                entries[:] = [entry for order, entry in zip(orders, entries, strict=True) if order not in those]
                orders[:] = [order for order in orders if order not in those]

    def living(self, now: float) -> list[Kept]:
        """The items that have not expired, in the order in which their keys came."""
        return [kept for kept in self.kept.values() if kept.lives(now)] if self._expires(now) else [*self.kept.values()]

    def slots(self, now: float) -> Iterator[tuple[int, list[Entry]]]:
        """Each slot with items that have not expired, in order, with these items in Kamailio's order."""
        expired = {key for key, kept in self.kept.items() if not kept.lives(now)} if self._expires(now) else None
        for slot in sorted(self._slots):
            entries = self._slots[slot][1]
            if expired:
                entries = [entry for entry in entries if entry.key not in expired]
            if entries:
                yield slot, entries

    def remove_expired(self, now: float, most: int) -> bool:
        """Remove items that have expired.

        @param most: how many to look at.
        @return: whether there may be more.
        """
        if len(self._queue) > 2 * len(self.kept) + _SLACK:
            self._queue = [(kept.deadline, key) for key, kept in self.kept.items() if kept.deadline is not None]
            heapify(self._queue)
        expired: dict[str, None] = {}
        for _ in range(most):
            if not self._expires(now):
                break
            _, key = heappop(self._queue)
            kept = self.kept.get(key)
            if kept is not None and not kept.lives(now):
                expired[key] = None
        self.remove(expired)
        return self._expires(now)

    @property
    def next_deadline(self) -> float:
        """A time before which no item expires; infinite if none does."""
        return self._queue[0][0] if self._queue else inf

    def _expires(self, now: float) -> bool:
        """Whether there may be an item that has expired."""
        return self.next_deadline <= now


class Table(Shareable):
    """Strings and integers by key. An expired item is gone at once, and removed by L{remove_expired}.

    Made by L{Tables.define}. Where it is shared, what changes it returns a Deferred of what it returns otherwise; see
    L{Shareable}.

    @ivar definition: of the table.
    @ivar changes: how many times it was changed. Expiries do not count.
    """

    OPERATIONS: ClassVar[dict[str, int]] = {"set": 3, "expire": 2, "delete": 1, "flush": 0, "replace": 1}

    def __init__(
        self, definition: Definition, clock: IReactorTime, wall: Callable[[], float], expiring: "Expiring"
    ) -> None:
        """
        @param clock: tells the time that expiries are measured with.
        @param wall: tells the time of day that they are shown and stored with, in seconds since 1970.
        @param expiring: is told when items expire.
        """
        self.definition = definition
        self.changes: int = 0
        self._clock = clock
        self._wall = wall
        self._expiring = expiring
        self._lasting: Callable[[], float] | None = None
        self._contents = Contents(definition.slots)

    @property
    def size(self) -> int:
        """How many items it has; those that have just expired may still be counted."""
        return len(self._contents.kept)

    def get(self, key: str) -> Value | None:
        """The value of a key; if it is missing, the C{initval} of the table, or None."""
        kept = self._find(key)
        return self.definition.initval if kept is None else kept.entry.value

    def find(self, key: str) -> Item | None:
        """The item of a key, or None."""
        kept = self._find(key)
        return None if kept is None else _item(kept)

    def items(self) -> list[Item]:
        """All items, in the order in which their keys came."""
        return [*map(_item, self._contents.living(self._clock.seconds()))]

    def after(self, place: int) -> Iterator[tuple[int, Item]]:
        """The items that came after a place, each with its own place, in the order in which their keys came. The table
        may change meanwhile: what is removed is left out, and what comes is not in it.

        @param place: 0 for all; or that of an item. L{restore} makes other places.
        """
        kept = [*self._contents.kept.values()]
        for one in islice(kept, bisect_right(kept, place, key=_place), None):
            if self._find(one.entry.key) is one:
                yield _place(one), _item(one)

    def set(self, key: str, value: Value, expires: float = 0) -> Deferred[None] | None:
        """Set an item.

        @param expires: in how many seconds it expires, up to L{MOST_SECONDS}; 0 or less: as the table is defined, which
            means after C{autoexpire}, except that an existing item keeps its expiry if C{updateexpire} is off.
        @raise ValueError: the key, the value or the time is not allowed; nothing is changed.
        """
        _check_key(key)
        _check_value(value)
        _check_seconds(expires)
        if self.share is not None:
            return self.share.submit("set", key, value, expires)
        now = self._clock.seconds()
        deadline = now + self.definition.autoexpire if self.definition.autoexpire else None
        if expires > 0:
            deadline = now + expires
        elif not self.definition.updateexpire:
            kept = self._find(key)
            if kept is not None:
                deadline = kept.deadline
        self._contents.put(key, value, deadline)
        self._changed(deadline)
        return None

    def expire(self, key: str, seconds: float) -> Deferred[bool] | bool:
        """Set when an item expires.

        @param seconds: in how many, up to L{MOST_SECONDS}; 0 or less: never.
        @return: whether there is such an item.
        @raise ValueError: the time is not allowed.
        """
        _check_seconds(seconds)
        if self.share is not None:
            return self.share.submit("expire", key, seconds)
        kept = self._find(key)
        if kept is None:
            return False
        deadline = self._clock.seconds() + seconds if seconds > 0 else None
        self._contents.set_deadline(kept, deadline)
        self._changed(deadline)
        return True

    def delete(self, key: str) -> Deferred[bool] | bool:
        """Remove an item.

        @return: whether there was one.
        """
        if self.share is not None:
            return self.share.submit("delete", key)
        lived = self._find(key) is not None
        if key in self._contents.kept:
            self._contents.remove([key])
            self.changes += 1
        return lived

    def flush(self) -> Deferred[None] | None:
        """Remove all items."""
        if self.share is not None:
            return self.share.submit("flush")
        self._contents = Contents(self.definition.slots)
        self.changes += 1
        return None

    def slot(self, key: str) -> int:
        """The slot of a key, the same as in Kamailio."""
        return _hash(key) & self.definition.slots - 1

    def slots(self) -> dict[int, list[Entry]]:
        """The items of each slot with items: slots in order, and the items of each in Kamailio's order.

        They belong to the table: read them at once, and do not change them. For 100,000 items this takes some 5 ms.
        """
        return dict(self._contents.slots(self._clock.seconds()))

    def expires_at(self, item: Item) -> float | None:
        """When an item expires, in seconds since 1970; None: never."""
        return None if item.deadline is None else self._wall() + (item.deadline - self._clock.seconds())

    def rows(self) -> list[Row]:
        """All items, to be stored. For 100,000 items this takes some 20 ms."""
        now = self._clock.seconds()
        offset = self._wall() - now
        return [
            (kept.entry.key, kept.entry.value, None if kept.deadline is None else kept.deadline + offset)
            for kept in self._contents.living(now)
        ]

    def read(self, rows: Iterable[Row]) -> Contents:
        """Convert stored rows to what L{restore} takes, without those that have expired since. This does not change
        the table, and may run in another thread.

        @raise ValueError: a row is not allowed.
        """
        now = self._clock.seconds()
        offset = now - self._wall()
        contents = Contents(self.definition.slots)
        for key, value, expires in map(_checked, rows):
            deadline = None if expires is None else expires + offset
            if deadline is None or deadline > now:
                contents.put(key, value, deadline)
        return contents

    def restore(self, contents: Contents) -> Deferred[None] | None:
        """Replace all items by what L{read} has returned."""
        if self.share is not None:
            return self.share.submit("replace", _kept_rows(contents))
        self._contents = contents
        self._changed(contents.next_deadline)
        return None

    def contents(self) -> list[list[Any]]:
        """The key, the value and the deadline of each item, expired or not."""
        return _kept_rows(self._contents)

    def replace(self, contents: list[list[Any]]) -> None:
        """Replace all items by those that L{contents} has returned.

        @raise ValueError: one is not allowed; then nothing is changed.
        """
        found = Contents(self.definition.slots)
        for key, value, deadline in map(_checked, contents):
            found.put(key, value, deadline)
        self.restore(found)

    def touches(self, operation: str, arguments: Sequence[Any]) -> str | None:
        """The key that a change is about."""
        return arguments[0] if operation in ("set", "expire", "delete") else None

    def follow(self, clock: IReactorTime, lasting: Callable[[], float]) -> None:
        """Measure expiries by the time of the order in which all who share the table change it.

        @param clock: tells that time.
        @param lasting: tells a time before which no change can come any more: what had expired then may be freed.
        """
        self._clock, self._lasting = clock, lasting

    def remove_expired(self, most: int = 1000) -> bool:
        """Free the memory of items that have expired. Nothing else changes.

        @param most: how many to look at, so that it takes a millisecond or two.
        @return: whether there may be more.
        """
        now = self._clock.seconds() if self._lasting is None else self._lasting()
        return self._contents.remove_expired(now, most)

    @property
    def next_deadline(self) -> float:
        """A time before which no item expires, in seconds of the table's clock; infinite if none does."""
        return self._contents.next_deadline

    def _changed(self, deadline: float | None) -> None:
        """Count a change, and announce when the changed item expires."""
        self.changes += 1
        if deadline is not None and deadline < self._expiring.looked_for_at:
            self._expiring.look_at(deadline)

    def _find(self, key: str) -> Kept | None:
        kept = self._contents.kept.get(key)
        return kept if kept is not None and kept.lives(self._clock.seconds()) else None


def _kept_rows(contents: Contents) -> list[list[Any]]:
    return [[kept.entry.key, kept.entry.value, kept.deadline] for kept in contents.kept.values()]


def _item(kept: Kept) -> Item:
    return Item(kept.entry.key, kept.entry.value, kept.deadline)


def _place(kept: Kept) -> int:
    """Where an item is among those of its table, in the order in which their keys came."""
    return kept.order & _PLACES


class StorageError(JsonRpcsError):
    """A table could not be stored or read back; the message says why."""


class Storage(Protocol):
    """Keeps tables from one run of a program to the next."""

    def store(self, table: Table) -> bool:
        """Store a table as it is now.

        @return: True: it is stored, and no crash can undo that. False: storing is in progress; the log says how it
            ends.
        @raise StorageError: it failed; what was stored before is still there.
        """

    def reload(self, table: Table) -> bool:
        """Replace the items of a table by its stored ones; it becomes empty if there are none.

        @return: True: it is done. False: it is in progress, and the table changes when it ends; the log says how it
            ends.
        @raise StorageError: it failed; the table is unchanged.
        """


@attrs.define
class Expiring:
    """When expired items will be looked for next, for all tables.

    @ivar looked_for_at: that time, by the clock of the tables. Items that expire earlier are announced.
    @ivar look_at: called with the time at which such an item expires.
    """

    looked_for_at: float = -inf
    look_at: Callable[[float], object] = bool


class Tables(Mapping[str, Table]):
    """All tables by name, in the order of their definition.

    @ivar storage: stores them; None: they are not stored.
    @ivar expiring: tells whoever removes expired items when to do so.
    """

    def __init__(self, clock: IReactorTime, wall: Callable[[], float] = time.time) -> None:
        """
        @param clock: tells the time that expiries are measured with: the reactor.
        @param wall: tells the time of day, in seconds since 1970.
        """
        self.storage: Storage | None = None
        self.expiring: Expiring = Expiring()
        self._clock = clock
        self._wall = wall
        self._tables: dict[str, Table] = {}

    def define(self, definition: str | Definition) -> Table:
        """Make a table.

        @param definition: as L{read_definition} takes it, or what that returns.
        @raise SettingError: the definition is not allowed, or the name is taken.
        """
        parsed = read_definition(definition) if isinstance(definition, str) else definition
        if parsed.name in self._tables:
            raise SettingError("htable", definition, f"each table once, not {parsed.name} again")
        table = self._tables[parsed.name] = Table(parsed, self._clock, self._wall, self.expiring)
        return table

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def _checked(row: Sequence[Any]) -> Row:
    """A row from elsewhere.

    @raise ValueError: it is not allowed.
    """
    key, value, expires = row
    _check_key(key)
    _check_value(value)
    if expires is not None and not isinstance(expires, int | float):
        raise ValueError(f"key {key!r:.40}: expiry {expires!r:.40}: must be a number of seconds since 1970")
    return key, value, expires


def _check_key(key: str) -> None:
    if not isinstance(key, str) or not is_utf8(key):
        raise ValueError(f"key {key!r:.40}: must be text that UTF-8 can write")


def _check_value(value: Value) -> None:
    if isinstance(value, str):
        if not is_utf8(value):
            raise ValueError(f"value {value!r:.40}: must be text that UTF-8 can write")
    elif type(value) is not int or not LEAST <= value <= MOST:
        raise ValueError(f"value {value!r:.40}: must be text, or an integer from {LEAST} to {MOST}")


def _check_seconds(seconds: float) -> None:
    if not seconds <= MOST_SECONDS:
        raise ValueError(f"expiry {seconds!r:.40}: must be at most {MOST_SECONDS} seconds; 0 or less for never")


def _hash(key: str) -> int:
    """Kamailio's hash of a key, which ignores the case of ASCII letters.

    Its bytes have a sign, as C{char} has on x86: one above 127 takes 1 from the byte before it.
    """
    data = key.encode().lower()
    words: Iterable[int] = words_of(data)
    if not data.isascii():
        words = [(word - ((word >> 7 & 0x01010101) << 8)) & 0xFFFFFFFF for word in words]
    return hash_words(words)
