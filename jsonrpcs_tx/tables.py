"""Hash tables: named tables of strings and integers whose items may expire, as Kamailio's htable module has them."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from struct import unpack_from
from typing import Final, Protocol

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.settings import SettingError

_log = make_logger(__name__)

Value = int | str
"""What an item holds: text that can be written in UTF-8, or an integer of 64 bits, L{LEAST} to L{MOST}."""

LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1

MOST_SECONDS: Final = 2**31 - 1
"""The longest time, in seconds, after which an item can expire."""

_SLACK: Final = 1024
"""Entries of the queue of expiries that are not worth clearing it up."""

_ATTRIBUTES: Final[Mapping[str, tuple[int, int]]] = {
    "size": (0, MOST_SECONDS),
    "autoexpire": (0, MOST_SECONDS),
    "initval": (LEAST, MOST),
    "updateexpire": (0, 1),
}
_ELSEWHERE: Final = frozenset(("dbtable", "dbmode", "cols", "dmqreplicate"))
"""Kamailio's attributes of databases and clusters: taken, so that a line of its configuration can be kept, but void."""


@attrs.frozen
class Definition:
    """What a table is like.

    @ivar name: by which it is called.
    @ivar size: the table counts as having 2 to the power of this many slots. Like Kamailio, which documents 2 to 31,
        we take less as 3 and more as 14.
    @ivar autoexpire: seconds after which an item expires that is set without a time of its own; 0: never.
    @ivar initval: what a program gets for a key that is not there.
    @ivar updateexpire: setting an item that is there begins the time until it expires anew.
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

    @param text: C{a=>size=4;autoexpire=60;initval=0;updateexpire=0;}; every attribute may be left out, and with all
        of them the arrow. Kamailio's C{dbtable}, C{dbmode}, C{cols} and C{dmqreplicate} mean nothing here.
    @raise SettingError: an attribute is not known, given twice or out of its range, or the name is none.
    """
    name, _, attributes = text.partition("=>")
    if not re.fullmatch(r"[^\s=>;]+", name.strip()):
        raise SettingError("htable", text, "a name without blanks, '=', '>' and ';', then =>")
    found: dict[str, int] = {}
    for part in attributes.strip().removesuffix(";").split(";") if attributes.strip(" ;") else ():
        attribute, _, value = (side.strip() for side in part.partition("="))
        if attribute in _ELSEWHERE:
            _log.warn("htable: {name}: {attribute} means nothing here", name=name.strip(), attribute=attribute)
            continue
        if attribute not in _ATTRIBUTES:
            raise SettingError("htable", text, f"the attributes {', '.join(_ATTRIBUTES)}, of which {part!r} is none")
        if attribute in found:
            raise SettingError("htable", text, f"each attribute once, {attribute} too")
        least, most = _ATTRIBUTES[attribute]
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", value) or not least <= int(value) <= most:
            raise SettingError("htable", text, f"{attribute} from {least} to {most}, not {value!r}")
        found[attribute] = int(value)
    return Definition(name.strip(), **found)


class Item(msgspec.Struct, frozen=True, gc=False):
    """An item of a table. The garbage collector passes it by, however many there are.

    @ivar deadline: when it expires, in seconds of the table's clock; None: never.
    """

    key: str
    value: Value
    deadline: float | None

    def lives(self, now: float) -> bool:
        """Whether it has not expired.

        @param now: in seconds of the table's clock.
        """
        return self.deadline is None or self.deadline > now


Row = tuple[str, Value, float | None]
"""An item as it is kept: its key, its value, and when it expires, in seconds since 1970; None: never."""


class Table:
    """Strings and integers by key. An expired item is gone at once, and removed by L{remove_expired}.

    Made by L{Tables.define}.

    @ivar definition: what it is like.
    """

    def __init__(self, definition: Definition, clock: IReactorTime, wall: Callable[[], float]) -> None:
        """
        @param clock: tells the time that expiries are counted in.
        @param wall: tells the time of day that they are shown and kept in, in seconds since 1970.
        """
        self.definition = definition
        self._clock = clock
        self._wall = wall
        self._items: dict[str, Item] = {}
        # When items expire, the next first. Setting an item again leaves its old entry, which then counts for nothing.
        self._queue: list[tuple[float, str]] = []

    def get(self, key: str) -> Value | None:
        """The value of a key; where there is none, the C{initval} of the table, or None."""
        item = self.find(key)
        return self.definition.initval if item is None else item.value

    def find(self, key: str) -> Item | None:
        """The item of a key, or None."""
        item = self._items.get(key)
        return item if item is not None and item.lives(self._clock.seconds()) else None

    def items(self) -> list[Item]:
        """All items, in the order in which their keys came."""
        now = self._clock.seconds()
        return [item for item in self._items.values() if item.lives(now)]

    def set(self, key: str, value: Value, expires: float = 0) -> None:
        """Set an item.

        @param expires: in how many seconds it expires, up to L{MOST_SECONDS}; 0 or less: as the table is defined. That
            is after C{autoexpire}; but an item that is there keeps its time if C{updateexpire} is off.
        @raise ValueError: the key, the value or the time is not allowed; nothing is changed.
        """
        _check_key(key)
        _check_value(value)
        _check_seconds(expires)
        now = self._clock.seconds()
        deadline: float | None
        if expires > 0:
            deadline = now + expires
        else:
            deadline = now + self.definition.autoexpire if self.definition.autoexpire else None
            if not self.definition.updateexpire:
                old = self._items.get(key)
                if old is not None and old.lives(now):
                    deadline = old.deadline
        self._put(Item(key, value, deadline))

    def expire(self, key: str, seconds: float) -> bool:
        """Set when an item expires.

        @param seconds: in how many, up to L{MOST_SECONDS}; 0 or less: never.
        @return: whether there is such an item.
        @raise ValueError: the time is not allowed.
        """
        _check_seconds(seconds)
        item = self.find(key)
        if item is None:
            return False
        self._put(msgspec.structs.replace(item, deadline=self._clock.seconds() + seconds if seconds > 0 else None))
        return True

    def delete(self, key: str) -> bool:
        """Remove an item.

        @return: whether there was one.
        """
        item = self._items.pop(key, None)
        return item is not None and item.lives(self._clock.seconds())

    def flush(self) -> None:
        """Remove all items."""
        self._items = {}
        self._queue = []

    def slot(self, key: str) -> int:
        """The slot of a key, the same as in Kamailio."""
        return _hash(key) & self.definition.slots - 1

    def slots(self) -> dict[int, list[Item]]:
        """The items of each slot that has any; slots in their order, and the items of one in that of Kamailio."""
        mask = self.definition.slots - 1
        found: dict[int, list[Item]] = {}
        for hashed, item in sorted(((_hash(item.key), item) for item in self.items()), key=lambda pair: pair[0]):
            found.setdefault(hashed & mask, []).append(item)
        return dict(sorted(found.items()))

    def expires_at(self, item: Item) -> float | None:
        """When an item expires, in seconds since 1970; None: never."""
        return None if item.deadline is None else self._wall() + (item.deadline - self._clock.seconds())

    def rows(self) -> list[Row]:
        """All items, to be kept."""
        offset = self._wall() - self._clock.seconds()
        return [
            (item.key, item.value, None if item.deadline is None else item.deadline + offset) for item in self.items()
        ]

    def restore(self, rows: Iterable[Row]) -> None:
        """Set all items to what was kept; those that have expired since are left out.

        @raise ValueError: a row is not allowed; nothing is changed.
        """
        now = self._clock.seconds()
        offset = now - self._wall()
        items: dict[str, Item] = {}
        for key, value, expires in rows:
            _check_key(key)
            _check_value(value)
            if expires is not None and not isinstance(expires, int | float):
                raise ValueError(f"key {key!r:.40}: expiry {expires!r:.40}; allowed is a number of seconds since 1970")
            item = Item(key, value, None if expires is None else expires + offset)
            if item.lives(now):
                items[key] = item
        self._items = items
        self._rebuild_queue()

    def remove_expired(self, most: int = 1000) -> bool:
        """Free the memory of items that have expired. Nobody else sees a difference.

        @param most: how many to look at, so that it takes a millisecond or two.
        @return: whether there may be more.
        """
        if len(self._queue) > 2 * len(self._items) + _SLACK:
            self._rebuild_queue()
        now = self._clock.seconds()
        for _ in range(most):
            if not self._queue or self._queue[0][0] > now:
                return False
            _, key = heappop(self._queue)
            item = self._items.get(key)
            if item is not None and not item.lives(now):
                del self._items[key]
        return True

    def _put(self, item: Item) -> None:
        self._items[item.key] = item
        if item.deadline is not None:
            heappush(self._queue, (item.deadline, item.key))

    def _rebuild_queue(self) -> None:
        self._queue = [(item.deadline, item.key) for item in self._items.values() if item.deadline is not None]
        heapify(self._queue)


class StorageError(Exception):
    """A table could not be stored or read back; the message says why."""


class Storage(Protocol):
    """Keeps tables from one run of a program to the next."""

    def store(self, table: Table) -> None:
        """Keep a table. When this returns, no crash can undo it.

        @raise StorageError: it failed; what was stored before is still there.
        """

    def reload(self, table: Table) -> None:
        """Set a table to what was stored of it, to nothing where that is nothing.

        @raise StorageError: it failed; the table is as it was.
        """


class Tables(Mapping[str, Table]):
    """All tables by name, in the order of their definition.

    @ivar storage: keeps them; None: nothing does.
    """

    def __init__(self, clock: IReactorTime, wall: Callable[[], float] = time.time) -> None:
        """
        @param clock: tells the time that expiries are counted in: the reactor.
        @param wall: tells the time of day, in seconds since 1970.
        """
        self.storage: Storage | None = None
        self._clock = clock
        self._wall = wall
        self._tables: dict[str, Table] = {}

    def define(self, definition: str | Definition) -> Table:
        """Make a table.

        @param definition: as L{read_definition} takes it, or what that returns.
        @raise SettingError: the definition is not allowed, or there is a table of that name.
        """
        parsed = read_definition(definition) if isinstance(definition, str) else definition
        if parsed.name in self._tables:
            raise SettingError("htable", definition, f"each name once, {parsed.name} too")
        table = self._tables[parsed.name] = Table(parsed, self._clock, self._wall)
        return table

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def _check_key(key: str) -> None:
    if not isinstance(key, str) or not _is_utf8(key):
        raise ValueError(f"key {key!r:.40}: allowed is text that UTF-8 can write")


def _check_value(value: Value) -> None:
    if isinstance(value, str):
        if not _is_utf8(value):
            raise ValueError(f"value {value!r:.40}: allowed is text that UTF-8 can write")
    elif type(value) is not int or not LEAST <= value <= MOST:
        raise ValueError(f"value {value!r:.40}: allowed is text, or an integer from {LEAST} to {MOST}")


def _check_seconds(seconds: float) -> None:
    if not seconds <= MOST_SECONDS:
        raise ValueError(f"expiry {seconds!r:.40}: allowed is up to {MOST_SECONDS} seconds; 0 or less for none")


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hash(key: str) -> int:
    """Kamailio's hash of a string, 32 bits, in which the case of ASCII letters does not count.

    The bytes are added up in big-endian groups of four, and then those that are left, as one group. They have a sign,
    as C{char} has on x86: one above 127 takes 1 from the byte before it.
    """
    data = key.encode().lower()
    count, left = divmod(len(data), 4)
    total = 0
    for word in (*unpack_from(f">{count}I", data), int.from_bytes(data[len(data) - left :], "big")):
        word = (word - ((word >> 7 & 0x01010101) << 8)) & 0xFFFFFFFF
        total += word ^ word >> 3
    total &= 0xFFFFFFFF
    return (total + (total >> 11) + (total >> 13) + (total >> 23)) & 0xFFFFFFFF
