"""A queue in which clients take turns, so that one with many entries does not hold up the others."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from itertools import chain
from math import inf
from types import MappingProxyType
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_NOTHING: Final[Mapping[Hashable, int]] = MappingProxyType({})

_AHEAD: Final = object()
"""Stands for the client of what was put back."""


class FairQueue(Generic[T]):
    """Entries that wait. Those of one client keep their order, and each client in turn has one taken out.

    Most clients have one entry, which is then kept as it is: to make an C{OrderedDict} for it would take longer than
    all the rest.

    A client is anything that tells clients apart. Entries of None, that is of no client in particular, count as those
    of one more client. No operation takes longer where one client has more entries.
    """

    __slots__ = ("_clients",)

    def __init__(self) -> None:
        self._clients: OrderedDict[Hashable, T | OrderedDict[T, None]] = OrderedDict()  # the next one's turn first

    def __bool__(self) -> bool:
        return bool(self._clients)

    def __len__(self) -> int:
        return sum(len(entries) if isinstance(entries, OrderedDict) else 1 for entries in self._clients.values())

    def __iter__(self) -> Iterator[T]:
        """All entries, those of a client in their order."""
        return chain.from_iterable(
            entries if isinstance(entries, OrderedDict) else (entries,) for entries in self._clients.values()
        )

    def append(self, client: Hashable, entry: T) -> None:
        """Add the last entry of a client."""
        entries = self._clients.get(client)
        if entries is None:
            self._clients[client] = entry
        elif isinstance(entries, OrderedDict):
            entries[entry] = None
        else:
            self._clients[client] = OrderedDict(((entries, None), (entry, None)))

    def put_back(self, entry: T) -> None:
        """Add an entry whose turn is next. It takes nobody's turn."""
        self.append(_AHEAD, entry)
        entries = self._clients[_AHEAD]
        if isinstance(entries, OrderedDict):
            entries.move_to_end(entry, last=False)
        self._clients.move_to_end(_AHEAD, last=False)

    def remove(self, client: Hashable, entry: T) -> bool:
        """Take an entry out.

        @return: whether it was there.
        """
        for whose in (client, _AHEAD):
            entries = self._clients.get(whose)
            if entries is None:
                continue
            if not isinstance(entries, OrderedDict):
                if entries == entry:
                    del self._clients[whose]
                    return True
            elif entry in entries:
                del entries[entry]
                if not entries:
                    del self._clients[whose]
                return True
        return False

    def first(self, client: Hashable) -> T | None:
        """The first entry of a client, without those that were put back; None: it has no entries."""
        entries = self._clients.get(client)
        return next(iter(entries)) if isinstance(entries, OrderedDict) else entries

    def next(self) -> T | None:
        """The entry whose turn is next; None: the queue is empty."""
        return next(iter(self), None)

    def take(self, under_way: Mapping[Hashable, int] = _NOTHING, most: float = inf) -> T | None:
        """Take out the entry whose turn is next. The client's next turn comes after one of each other client.

        @param under_way: how many entries of each client have been taken out and are not done with.
        @param most: a client that has so many may not have its turn now, and keeps it.
        @return: None: there is no entry of a client that may.
        """
        for client, entries in self._clients.items():
            if under_way.get(client, 0) < most:
                if not isinstance(entries, OrderedDict):
                    del self._clients[client]
                    return entries
                entry, _ = entries.popitem(last=False)
                if entries:
                    self._clients.move_to_end(client)
                else:
                    del self._clients[client]
                return entry
        return None
