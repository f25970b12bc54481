"""Reads many descriptors of one link in one turn of the reactor.

The reactor takes some 2 µs for every descriptor that is ready, most of it to set up its log context. So the descriptors
of a link have an epoll of their own, which is a single descriptor to the reactor.
"""

import select
from contextlib import suppress
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

READ: Final = select.EPOLLIN
READ_CHANGES: Final = select.EPOLLIN | select.EPOLLET
"""When a reader is called: while there is data to read (level-triggered), or when data has come (edge-triggered)."""

AT_ONCE: Final = 64
"""Descriptors that are read in one turn, before others get theirs."""


class Reader(Protocol):
    """Reads a descriptor."""

    def ready(self, events: int) -> None:
        """Data has come, or the descriptor has ended.

        @param events: epoll's events.
        """

    def lost(self, reason: Failure) -> None:
        """The reactor has stopped: the descriptor is no longer read."""


@implementer(IReadDescriptor)
class Readers:
    """Has descriptors read. It uses a descriptor of its own only while there are any."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._readers: dict[int, Reader] = {}
        self._epoll: Any = None

    def fileno(self) -> int:
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        return "jsonrpcs client"

    def add(self, fd: int, reader: Reader, events: int = READ) -> None:
        """Start reading a descriptor.

        @param events: L{READ} or L{READ_CHANGES}.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        self._epoll.register(fd, events)
        self._readers[fd] = reader

    def remove(self, fd: int) -> None:
        """Stop reading a descriptor, which may be closed already. May be called again."""
        if self._readers.pop(fd, None) is None:
            return
        with suppress(OSError):  # it is closed
            self._epoll.unregister(fd)
        if not self._readers:
            self._close()

    def doRead(self) -> None:
        for fd, events in self._epoll.poll(0, AT_ONCE):
            reader = self._readers.get(fd)
            if reader is not None:  # reading an earlier one has ended it
                reader.ready(events)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has stopped."""
        readers, self._readers = self._readers, {}
        if readers:
            self._close()
        for reader in readers.values():
            reader.lost(reason)

    def _close(self) -> None:
        self._reactor.removeReader(self)
        self._epoll.close()
        self._epoll = None
