"""Reads all connections of a port in one turn of the reactor.

The reactor takes some 2 µs for every descriptor that is ready, most of it to set up its log context. So the connections
of a TCP port have an epoll of their own, which is a single descriptor to the reactor. The reactor still does delayed
writes and closing, and everything on ports other than Twisted's own TCP ports.
"""

import select
from functools import partial
from time import monotonic
from typing import Any, Final

from twisted.internet import abstract, tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.transports.persistentreader import TURN

_log = make_logger(__name__)

MAX_PER_WAKEUP: Final = 64
"""The most connections that are read before other transports get their turn."""


class Turns:
    """The turns in which a group reads.

    @ivar end: when the current turn ends at the latest, in seconds of C{time.monotonic}. It is different for each turn,
        so it also identifies the turn. 0.0: nothing is being read.
    """

    end: float = 0.0


class ReadGroup(abstract.FileDescriptor):
    """Reads the connections that are ready.

    @param name: the name of the transport, for the log.
    @ivar turns: the turns in which connections are read.
    """

    def __init__(self, name: str, turns: Turns, reactor: Any) -> None:
        super().__init__(reactor)
        self.turns = turns
        self._name = name
        self._epoll = select.epoll()
        self._connections: dict[int, tcp.Connection] = {}
        self.startReading()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return self._name

    def add(self, connection: tcp.Connection) -> None:
        """Start reading a connection."""
        fd = connection.fileno()
        if fd not in self._connections:
            self._connections[fd] = connection
            self._epoll.register(fd, select.EPOLLIN)

    def remove(self, connection: tcp.Connection) -> None:
        """Stop reading a connection, if it is being read."""
        if self._connections.pop(connection.fileno(), None) is not None:
            self._epoll.unregister(connection.fileno())

    def doRead(self) -> None:
        self.turns.end = monotonic() + TURN
        try:
            self._read_all()
        finally:
            self.turns.end = 0.0

    def _read_all(self) -> None:
        end = self.turns.end
        for fd, _ in self._epoll.poll(0, MAX_PER_WAKEUP):
            if monotonic() >= end:  # the others are still ready next time
                return
            connection = self._connections.get(fd)
            if connection is None:  # it was closed while an earlier one was read
                continue
            try:
                ended = connection.doRead()
            except BaseException:  # as the reactor does
                failure = Failure()
                _log.failure(
                    "{name}: the connection of {peer} is closed", failure, name=self._name, peer=connection.getPeer()
                )
                self._end(connection, failure)
            else:
                if ended is not None:
                    self._end(connection, Failure(ended))

    def _end(self, connection: tcp.Connection, reason: Failure) -> None:
        connection.stopReading()
        if reason.check(ConnectionDone):
            connection.readConnectionLost(reason)
        else:
            connection.stopWriting()
            connection.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has stopped."""
        for connection in list(self._connections.values()):
            connection.connectionLost(reason)
        self.close()

    def close(self) -> None:
        """Stop reading. All connections must have been closed."""
        self.stopReading()
        self._epoll.close()


class _Connection(tcp.Server):
    """A connection that a group reads."""

    def __init__(self, group: ReadGroup, *arguments: Any) -> None:
        self._group = group
        super().__init__(*arguments)

    def startReading(self) -> None:
        self._group.add(self)

    def stopReading(self) -> None:
        self._group.remove(self)

    def connectionLost(self, reason: Failure) -> None:
        """Close the connection, but not while the group is being read.

        If the reactor writes to the connection, it may have an event for the same descriptor in this turn. If the
        descriptor were closed before that, a new connection could get the same number, and the event with it: then a
        client that has left would close the connection of another.
        """
        if self._group.turns.end:
            self.stopReading()
            self.stopWriting()
            reactor: Any = self.reactor
            reactor.callLater(0, super().connectionLost, reason)
        else:
            super().connectionLost(reason)


def group_reads(port: IListeningPort, name: str, turns: Turns, reactor: Any) -> ReadGroup | None:
    """Make a group that reads the connections that a port accepts from now on.

    @param name: the name of the transport, for the log.
    @param turns: updated with the turns of the group.
    @return: the group, which must be closed after its connections; None if the port is not Twisted's own TCP port.
    """
    if type(port) is not tcp.Port or port.transport is not tcp.Server:
        return None
    group = ReadGroup(name, turns, reactor)
    port.transport = partial(_Connection, group)  # type: ignore[assignment] # it is called to make one
    return group
