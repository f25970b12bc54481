"""Connections that are read together go their ways as those do that the reactor reads itself."""

import os
import select
import socket
import struct
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, ClassVar

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXServerEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.transports import readgroup
from jsonrpcs_tx.transports.readgroup import ReadGroup, Turns, group_reads
from tests.support import ECHO, ECHO_REPLY, PATIENCE, Server, http_call
from tests.support.reactor import until

reactor: Any = _reactor


class Echo(Protocol):
    """Says what it gets; ends at C{crash} with an exception."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        if data == b"crash":
            raise ZeroDivisionError
        self.transport.write(data)


@implementer(IHalfCloseableProtocol)
class Farewell(Echo):
    """Says goodbye to a client that writes no more."""

    def readConnectionLost(self) -> None:
        self.transport.write(b"goodbye")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


class Producing(Farewell):
    """The same, with a producer, and it ends when something comes.

    @cvar ended: why connections have ended.
    """

    ended: ClassVar[list[str]] = []
    fails = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.transport.loseConnection()

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.append(type(reason.value).__name__)
        if self.fails:
            raise ZeroDivisionError


class Failing(Producing):
    """The same; and its end fails."""

    fails = True


class Flood(Protocol):
    """Answers with more than a client's machine takes that does not read."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(bytes(20_000_000))  # type: ignore[union-attr]


class Ordered:
    """The reactor's poller, which reports some descriptors before all others; it may do so in any order.

    @param poller: the poller itself.
    """

    def __init__(self, poller: Any, *first: int) -> None:
        self._poller = poller
        self._first = first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *arguments: Any) -> list[tuple[int, int]]:
        events = dict(self._poller.poll(*arguments))
        first = [(fd, events.pop(fd)) for fd in self._first if fd in events]
        return first + list(events.items())


class Client(Protocol):
    """Takes what comes.

    @ivar received: all of it.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class ReadGroupTests(TestCase):
    async def listen(self, protocol: type[Protocol]) -> tuple[Any, ReadGroup]:
        port = reactor.listenTCP(0, Factory.forProtocol(protocol), interface="127.0.0.1")
        group = group_reads(port, "test", Turns(), reactor)
        assert group is not None
        self.addCleanup(lambda: Deferred.fromCoroutine(self.end(group)))
        self.addCleanup(port.stopListening)
        return port, group

    async def end(self, group: ReadGroup) -> None:
        """Close a group after its connections."""
        for connection in tuple(group._connections.values()):
            connection.abortConnection()
        await until(lambda: not group._connections)
        group.close()

    async def connect(self, port: Any) -> Client:
        client: Client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), Client())
        self.addCleanup(lambda: client.transport.abortConnection() if client.transport.connected else None)
        return client

    async def test_answers(self) -> None:
        """Several connections are read, and one that its client closes ends."""
        port, group = await self.listen(Echo)
        clients = [await self.connect(port) for _ in range(3)]
        for number, client in enumerate(clients):
            client.transport.write(b"%d" % number)
        await until(lambda: [client.received for client in clients] == [b"0", b"1", b"2"])
        assert len(group._connections) == 3
        for client in clients:
            client.transport.loseConnection()
        await until(lambda: not group._connections)
        assert all(client.reason for client in clients)

    async def test_exception(self) -> None:
        """An exception closes the connection that it came from, and no other; the log says which."""
        port, _ = await self.listen(Echo)
        bad, good = await self.connect(port), await self.connect(port)
        bad.transport.write(b"crash")
        await until(lambda: bad.reason)
        good.transport.write(b"hello")
        await until(lambda: good.received == b"hello")
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_reset_while_writing(self) -> None:
        """One that is reset while it is written does not harm one that is accepted in the same turn of the reactor.

        The reactor still has an event for the first one's descriptor then: the second must not get the same number.
        """
        port, group = await self.listen(Flood)
        others = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
        self.addCleanup(others.stopListening)
        reset = self.connect_socket(port)
        await until(lambda: group._connections)
        ((number, server),) = group._connections.items()
        reset.sendall(b"x")
        await until(lambda: server.dataBuffer)

        self.patch(reactor, "_poller", Ordered(reactor._poller, group.fileno(), others.fileno()))
        client = self.connect_socket(others)
        client.sendall(b"hello")
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        while (gap := os.dup(0)) < number:  # its number is to be the first that is free
            self.addCleanup(os.close, gap)
        os.close(gap)
        await until(lambda: select.select([client], [], [], 0)[0])
        assert client.recv(100) == b"hello"
        await until(lambda: server.disconnected)

    def connect_socket(self, port: Any) -> socket.socket:
        """A connection whose client's end the reactor does not know."""
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        return client

    async def test_half_closed(self) -> None:
        """A protocol that knows half-closed connections may still write on one."""
        port, group = await self.listen(Farewell)
        client = await self.connect(port)
        client.transport.loseWriteConnection()
        await until(lambda: client.reason)
        assert client.received == b"goodbye"
        await until(lambda: not group._connections)

    async def test_paused(self) -> None:
        """What is paused is not read until it is resumed."""
        port, group = await self.listen(Echo)
        client = await self.connect(port)
        await until(lambda: group._connections)
        (server,) = group._connections.values()
        server.pauseProducing()
        client.transport.write(b"hello")
        for _ in range(10):
            await deferLater(reactor, 0)
        assert len(client.received) == 0
        server.resumeProducing()
        server.resumeProducing()
        await until(lambda: client.received == b"hello")

    async def make_ready(
        self, port: Any, group: Any, count: int, take: Callable[[bytes], None], old: Sequence[Client] = ()
    ) -> None:
        """Open connections that a group has, each with something to read.

        @param take: called with what is read of one.
        @param old: connections that are there already, and get something to read after the new ones.
        """
        clients = [await self.connect(port) for _ in range(count)]
        await until(lambda: len(group._connections) == count + len(old))
        for server in group._connections.values():
            self.patch(server.protocol, "dataReceived", take)
        group.stopReading()
        for client in clients:
            client.transport.write(b"x")
        await until(lambda: len(group._epoll.poll(0)) == count)
        for client in old:
            client.transport.write(b"y")
        await until(lambda: len(group._epoll.poll(0)) == count + len(old))

    async def test_turns(self) -> None:
        """In one turn no more than so many connections are read, and all have theirs."""
        self.patch(readgroup, "MAX_PER_WAKEUP", 2)
        self.patch(readgroup, "TURN", inf)
        port, group = await self.listen(Echo)
        read: list[bytes] = []
        await self.make_ready(port, group, 5, read.append)
        for count in (2, 4, 5):
            group.doRead()
            assert len(read) == count

    def pass_time(self) -> tuple[list[bytes], Callable[[bytes], None]]:
        """Let the time of a turn be over with the first piece of data that is read.

        @return: what was read, and the function to read with.
        """
        now = 0.0
        self.patch(readgroup, "TURN", 1)
        self.patch(readgroup, "monotonic", lambda: now)
        read: list[bytes] = []

        def take(data: bytes) -> None:
            nonlocal now
            read.append(data)
            now += 1

        return read, take

    async def test_time(self) -> None:
        """When the time of a turn is over, the connections that are left have the next ones."""
        read, take = self.pass_time()
        port, group = await self.listen(Echo)
        await self.make_ready(port, group, 3, take)
        for count in (1, 2, 3):
            group.doRead()
            assert len(read) == count

    async def make_old(self, port: Any, group: Any, count: int) -> list[tuple[Client, Any]]:
        """Open connections that were read before, each with something more to read.

        @return: the client of each, and the server's side of its connection, in the order in which they are read.
        """
        clients = [await self.connect(port) for _ in range(count)]
        for client in clients:
            client.transport.write(b"old")
        await until(lambda: all(client.received == b"old" for client in clients))
        group.stopReading()
        for number, client in enumerate(clients):
            client.transport.write(b"%d" % number)
            while len(group._epoll.poll(0)) <= number:
                await deferLater(reactor, 0)
        by_port = {client.transport.getHost().port: client for client in clients}
        servers = [group._connections[fd] for fd, _ in group._epoll.poll(0)]
        return [(by_port[server.getPeer().port], server) for server in servers]

    async def test_ahead(self) -> None:
        """What several connections have is received before the first of it is answered, each by its own."""
        port, group = await self.listen(Echo)
        pairs = await self.make_old(port, group, 3)
        received: list[int] = []

        def take(data: bytes) -> None:
            ready = {fd for fd, _ in group._epoll.poll(0)}
            received.append(sum(server.fileno() in ready for _, server in pairs))

        for _, server in pairs:
            self.patch(server.protocol, "dataReceived", take)
        group.doRead()
        assert received == [0, 0, 0]

    async def test_time_ahead(self) -> None:
        """When the time of a turn is over, only so many connections are read as have been received together."""
        self.patch(readgroup, "AHEAD", 2)
        read, take = self.pass_time()
        port, group = await self.listen(Echo)
        for _, server in await self.make_old(port, group, 5):
            self.patch(server.protocol, "dataReceived", take)
        for count in (2, 4, 5):
            group.doRead()
            assert len(read) == count

    async def test_ended_by_another(self) -> None:
        """What has been received of a connection is not answered if another one has closed or aborted it."""
        for end in ("abortConnection", "loseConnection"):
            port, group = await self.listen(Echo)
            (first, server), (second, other) = await self.make_old(port, group, 2)
            self.patch(server.protocol, "dataReceived", partial(self.call, other, end))
            group.doRead()
            while second.reason is None:
                await deferLater(reactor, 0)
            assert second.received == b"old"
            group.startReading()
            first.transport.abortConnection()

    def call(self, connection: Any, method: str, data: bytes) -> None:
        """Call a method of a connection because of what has come over another one."""
        getattr(connection, method)()

    async def test_paused_by_another(self) -> None:
        """What has been received of a connection is not lost if another one has paused it."""
        port, group = await self.listen(Echo)
        (_, server), (second, other) = await self.make_old(port, group, 2)
        self.patch(server.protocol, "dataReceived", lambda data: other.pauseProducing())
        group.doRead()
        await until(lambda: len(second.received) == 4)
        other.resumeProducing()

    async def test_broken_ahead(self) -> None:
        """One that is reset, and one whose protocol raises an exception, keep no other one from its answer."""
        port, group = await self.listen(Echo)
        (second, _), (third, _) = await self.make_old(port, group, 2)
        client = self.connect_socket(port)
        group.startReading()
        client.sendall(b"x")
        await until(lambda: select.select([client], [], [], 0)[0])
        await until(lambda: len(second.received) == 4)
        group.stopReading()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        second.transport.write(b"crash")
        third.transport.write(b"!")
        await until(lambda: len(group._epoll.poll(0)) == 3)
        group.doRead()
        await until(lambda: third.received.endswith(b"!") and second.reason)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        group.startReading()

    async def test_order(self) -> None:
        """Those that were read before go first, whoever came first; the new ones have a slice of each turn."""
        port, group = await self.listen(Echo)
        read: list[bytes] = []
        old = [await self.connect(port) for _ in range(2)]
        for client in old:
            client.transport.write(b"old")
        await until(lambda: all(client.received == b"old" for client in old))
        now = 0.0
        self.patch(readgroup, "monotonic", lambda: now)

        def take(data: bytes) -> None:
            nonlocal now
            read.append(data)
            now += readgroup.SLICE

        await self.make_ready(port, group, 3, take, old)
        group.doRead()
        assert read == [b"y", b"y", b"x"]  # the new ones were ready first
        group.doRead()
        assert read == [b"y", b"y", b"x", b"x"]

    async def test_those_that_close_go_last(self) -> None:
        """Connections that their clients have closed have the slice of the new ones."""
        port, group = await self.listen(Echo)
        clients = [await self.connect(port) for _ in range(4)]
        for client in clients:
            client.transport.write(b"old")
        await until(lambda: all(client.received == b"old" for client in clients))
        self.patch(readgroup, "MAX_PER_WAKEUP", 2)
        group.stopReading()
        for client in clients[:3]:
            client.transport.loseConnection()
        await until(lambda: len(group._epoll.poll(0)) == 3)
        clients[3].transport.write(b"!")
        await until(lambda: len(group._epoll.poll(0)) == 4)
        group.doRead()
        await until(lambda: clients[3].received == b"old!")
        assert len(group._connections) == 2  # the one that is left, and one that is closed in the next turn
        group.startReading()
        await until(lambda: len(group._connections) == 1)

    async def test_written_after_the_end(self) -> None:
        """What is written to a connection that is to be closed, and had nothing left to write, is sent before."""
        port, group = await self.listen(Echo)
        client = await self.connect(port)
        await until(lambda: len(group._connections) == 1)
        (server,) = group._connections.values()
        server.loseConnection()
        server.write(b"goodbye")
        await until(lambda: client.received == b"goodbye")
        await until(lambda: not client.transport.connected)

    async def test_closed_in_the_same_turn(self) -> None:
        """A connection with nothing left to write is closed as soon as all have been read, also with a producer that
        is not paused, and if others fail when they are closed.
        """
        self.patch(readgroup, "SLICE", PATIENCE)
        await self.close_three(Producing)
        await self.close_three(Failing)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 3

    async def close_three(self, protocol: type[Producing]) -> None:
        protocol.ended.clear()
        port, group = await self.listen(protocol)
        clients = [await self.connect(port) for _ in range(3)]
        await until(lambda: len(group._connections) == 3)
        group.stopReading()
        for client in clients:
            client.transport.write(b"x")
        await until(lambda: len(group._epoll.poll(0)) == 3)
        group.doRead()
        assert protocol.ended == ["ConnectionDone"] * 3
        group.startReading()

    async def test_left_to_the_reactor(self) -> None:
        """A connection whose producer is paused, or that the reactor is to write to, is closed by the reactor."""
        await self.close_one("producerPaused")
        await self.close_one("_writes")

    async def close_one(self, state: str) -> None:
        port, group = await self.listen(Producing)
        client = await self.connect(port)
        await until(lambda: len(group._connections) == 1)
        (server,) = group._connections.values()
        setattr(server, state, True)
        group.stopReading()
        client.transport.write(b"x")
        await until(lambda: len(group._epoll.poll(0)) == 1)
        group.doRead()
        assert server.connected
        assert server in reactor.getWriters()
        group.startReading()
        await until(lambda: not server._writes)
        server.abortConnection()
        await until(lambda: client.reason is not None)

    async def test_other_ports(self) -> None:
        """A port other than TCP is left alone."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        port = await UNIXServerEndpoint(reactor, f"{directory.name}/socket").listen(Factory.forProtocol(Echo))
        assert group_reads(port, "test", Turns(), reactor) is None
        stopped: Deferred[None] = port.stopListening()
        await stopped

    async def test_nothing_is_left(self) -> None:
        """A service that stops leaves no descriptor open."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        settings = Settings(run_dir=directory.name, load="jsonrpc", http_listen=["tcp:0:interface=127.0.0.1"])
        counts = []
        for _ in range(3):
            service = makeService(settings)
            service.startService()
            (listener,) = [one.listener for one in service.streams()]
            assert listener is not None
            assert listener.port is not None
            reply = await deferToThread(http_call, "http", (listener.host, listener.port), ECHO)
            assert reply.body == ECHO_REPLY
            await service.stopService()
            counts.append(len(os.listdir("/proc/self/fd")))
        assert counts[0] == counts[1] == counts[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poll", "select", "asyncio"])
def test_reactors(tmp_path: Path, name: str) -> None:
    """Reactors other than the usual one can read a group as well."""
    listens = ("--http-listen=tcp:0:interface=127.0.0.1", "--https-listen=tcp:0:interface=127.0.0.1")
    command = ("-n", f"--reactor={name}", "jsonrpcs", "--transport=1", "--fifo-name=", "--tls-self-signed", *listens)
    with Server(tmp_path, command=command) as server:
        for transport in ("http", "https"):
            assert server.call(transport, ECHO) == ECHO_REPLY
        server.stop()
