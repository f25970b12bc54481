"""Reading all connections of a port in one turn of the reactor.

The reactor takes some 2 µs for every descriptor that is ready, most of it to set up its log context. Here, the
connections of a TCP port have an epoll of their own, which is a single descriptor to the reactor. Delayed writes and
closing remain the reactor's, and so does everything on ports other than Twisted's own TCP ports.
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
"""Connections that are read before other transports get their turn."""


class Turns:
    """The turns in which a group reads.

    @ivar end: when the present one is over at the latest, in the seconds of C{time.monotonic}, which no other turn has
        as well; 0.0: nothing is being read.
    """

    end = 0.0


class ReadGroup(abstract.FileDescriptor):
    """Reads the connections that are ready.

    @param name: the transport's, for the log.
    @ivar turns: those in which connections are read.
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
        """Stop reading a connection, if it is read."""
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
            if connection is None:  # reading an earlier one has ended it
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
        """Stop reading. All connections are closed by now."""
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

        The reactor may have an event for the same descriptor in this turn, if it writes the connection. Were the
        descriptor closed before, a connection accepted meanwhile could get its number, and with it the event: that of
        a client that has gone would close the connection of another.
        """
        if self._group.turns.end:
            self.stopReading()
            self.stopWriting()
            reactor: Any = self.reactor
            reactor.callLater(0, super().connectionLost, reason)
        else:
            super().connectionLost(reason)


def group_reads(port: IListeningPort, name: str, turns: Turns, reactor: Any) -> ReadGroup | None:
    """Have the connections that a port accepts from now on read by a group.

    @param name: the transport's, for the log.
    @param turns: told of the group's.
    @return: the group, which must be closed after its connections; None if the port is not Twisted's own TCP port.
    """
    if type(port) is not tcp.Port or port.transport is not tcp.Server:
        return None
    group = ReadGroup(name, turns, reactor)
    port.transport = partial(_Connection, group)  # type: ignore[assignment] # it is called to make one
    return group
