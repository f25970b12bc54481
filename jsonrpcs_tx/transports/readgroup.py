"""Reads all connections of a port in one turn of the reactor.

The reactor takes some 2 µs for every descriptor that is ready, most of it to set up its log context. So the connections
of a TCP port have an epoll of their own, which is a single descriptor to the reactor. The reactor still does delayed
writes, closing after them, and everything on ports other than Twisted's own TCP ports.
"""

import select
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from twisted.internet import abstract, tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.reactor.atonce import SendsAtOnce
from jsonrpcs_tx.transports.persistentreader import TURN

_log = make_logger(__name__)

MAX_PER_WAKEUP: Final = 64
"""The most connections that are read before other transports get their turn: of those that are read first, and of those
that are read last.
"""

AHEAD: Final = 8
"""Connections whose data is received before the first of it is answered. So code and data of either step stay in the
processor's caches, where all steps together have no room. All that was received is answered, even if the time of the
turn is over.
"""

MAX_READY: Final = 1024
"""The most connections that are looked at in a turn, to find those that are read first."""

SLICE: Final = 0.002
"""Seconds of a turn for those that are read last."""

_DONE: Final = Failure(ConnectionDone())
_LOST: Final = Failure(ConnectionLost())


class Turns:
    """The turns in which a group reads.

    @ivar end: when the current turn ends at the latest, in seconds of C{time.monotonic}. It is different for each turn,
        so it also identifies the turn. 0.0: nothing is being read.
    @ivar closing: the connections that are closed when the current turn has ended.
    """

    end: float = 0.0

    def __init__(self) -> None:
        self.closing: list[_Connection] = []

    def finish(self) -> None:
        """End the current turn."""
        self.end = 0.0
        closing, self.closing = self.closing, []
        for connection in closing:
            try:
                connection.close()
            except Exception:
                _log.failure("{peer}: an error while the connection was closed", peer=connection.getPeer())


class ReadGroup(abstract.FileDescriptor):
    """Reads the connections that are ready.

    Connections that were read before go first. The first data of a new one may be a TLS handshake, which takes a
    hundred times as long as a request; new ones come in crowds, and so do those that close. Both get a slice of each
    turn.

    @param name: the name of the transport, for the log.
    @ivar turns: the turns in which connections are read.
    """

    def __init__(self, name: str, turns: Turns, reactor: Any) -> None:
        super().__init__(reactor)
        self.turns = turns
        self._name = name
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._new: set[int] = set()  # the descriptors of those that were not read yet
        self.startReading()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return self._name

    def add(self, connection: "_Connection") -> None:
        """Start reading a connection."""
        fd = connection.fileno()
        if fd not in self._connections:
            self._connections[fd] = connection
            if connection.is_new:
                self._new.add(fd)
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP)

    def remove(self, connection: "_Connection") -> None:
        """Stop reading a connection, if it is being read."""
        fd = connection.fileno()
        if self._connections.pop(fd, None) is not None:
            self._new.discard(fd)
            self._epoll.unregister(fd)

    def doRead(self) -> None:
        self.turns.end = monotonic() + TURN
        try:
            self._read_all()
        finally:
            self.turns.finish()

    def _read_all(self) -> None:
        ready = self._epoll.poll(0, MAX_READY)
        if len(ready) <= MAX_PER_WAKEUP and self._new.isdisjoint(fd for fd, _ in ready):
            self._read_ahead(ready)
            return
        first: list[tuple[int, int]] = []
        last: list[tuple[int, int]] = []
        for fd, event in ready:
            (last if event & select.EPOLLRDHUP or fd in self._new else first).append((fd, event))
        self._read_ahead(first[:MAX_PER_WAKEUP])
        self._read(last[:MAX_PER_WAKEUP], monotonic() + SLICE)

    def _read_ahead(self, ready: Sequence[tuple[int, int]]) -> None:
        """Read connections that were read before, L{AHEAD} at a time, until the turn ends.

        @param ready: their descriptors and events.
        """
        for begin in range(0, len(ready), AHEAD):
            if monotonic() >= self.turns.end:
                return
            for connection, data in self._received(ready[begin : begin + AHEAD]):
                if connection.disconnecting or connection.is_aborted:  # because of what another one has sent
                    continue
                if not data:
                    self._end(connection, _DONE)
                    continue
                try:
                    connection.protocol.dataReceived(data)
                except BaseException:
                    self._failed(connection)

    def _received(self, ready: Sequence[tuple[int, int]]) -> "list[tuple[_Connection, bytes]]":
        """What has come over connections; empty: the client has closed its sending side."""
        received = []
        for fd, _ in ready:
            connection = self._connections.get(fd)
            if connection is None:  # it was closed while an earlier one was read
                continue
            try:
                received.append((connection, connection.socket.recv(connection.bufferSize)))
            except BlockingIOError:
                pass
            except OSError:
                self._end(connection, _LOST)
        return received

    def _read(self, ready: Sequence[tuple[int, int]], end: float) -> None:
        """Read connections, each by itself.

        @param ready: their descriptors and events.
        @param end: when to leave the rest, which are still ready next time, in seconds of C{time.monotonic}.
        """
        for fd, _ in ready:
            if monotonic() >= end:
                return
            connection = self._connections.get(fd)
            if connection is None:  # it was closed while an earlier one was read
                continue
            if connection.is_new:
                connection.is_new = False
                self._new.discard(fd)
            try:
                ended = connection.doRead()
            except BaseException:
                self._failed(connection)
            else:
                if ended is not None:
                    self._end(connection, _DONE if isinstance(ended, ConnectionDone) else Failure(ended))

    def _failed(self, connection: "_Connection") -> None:
        """Close a connection whose protocol has raised an exception, as the reactor does."""
        failure = Failure()
        _log.failure("{name}: the connection of {peer} is closed", failure, name=self._name, peer=connection.getPeer())
        self._end(connection, failure)

    def _end(self, connection: "_Connection", reason: Failure) -> None:
        connection.stopReading()
        if reason is _DONE:
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


class _Connection(SendsAtOnce, tcp.Server):
    """A connection that a group reads.

    @ivar is_new: it was not read yet.
    @ivar is_aborted: what has come over it is not to be answered any more.
    @ivar _writes: the reactor tells it when it can write.
    """

    is_new: bool = True
    is_aborted: bool = False
    _writes = False

    def __init__(self, group: ReadGroup, *arguments: Any) -> None:
        self._group = group
        super().__init__(*arguments)

    def startReading(self) -> None:
        self._group.add(self)

    def stopReading(self) -> None:
        self._group.remove(self)

    def startWriting(self) -> None:
        self._writes = True
        super().startWriting()

    def stopWriting(self) -> None:
        if self._writes:
            self._writes = False
            super().stopWriting()

    def abortConnection(self) -> None:
        self.is_aborted = True
        super().abortConnection()

    def loseConnection(self, *arguments: Any) -> None:
        """Close the connection when all is written. If that is so, the reactor is not asked first whether one can
        write.
        """
        produces = self.producer is not None and (self.producerPaused or not self.streamingProducer)
        if not self.connected or self.disconnecting or produces or self._writes or self._is_unsent():
            super().loseConnection(*arguments)
            return
        self.disconnecting = True
        self.stopReading()
        if self._group.turns.end:
            self._group.turns.closing.append(self)
        else:
            reactor: Any = self.reactor
            reactor.callLater(0, self.close)

    def close(self) -> None:
        """Close the connection; but if something was written after it was to be closed, when that is sent."""
        if self._is_unsent():
            self.startWriting()
        elif self.connected:
            self.connectionLost(_DONE)

    def _is_unsent(self) -> bool:
        """Whether anything is left to be written, or that is unknown."""
        return bool(self.dataBuffer or getattr(self, "_tempDataBuffer", True))

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
