"""Datagrams over UDP and Unix sockets: every client gets its reply, and none keeps another from its own."""

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from twisted.internet import abstract, reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.datagrams.datagram import DatagramService, UnixDatagramService, make_transports
from jsonrpcs_tx.datagrams.datagrambatch import BatchReader
from jsonrpcs_tx.datagrams.datagramreader import MAX_PER_WAKEUP, DatagramReader
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import BURST, throttle
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.state.counters import Counters
from jsonrpcs_tx.transports.parts import Parts
from jsonrpcs_tx.transports.waiting import MAX_WAITING, RETRY_DELAY
from tests.support import IPV6, PATIENCE
from tests.support.clocks import steady
from tests.support.datagrams import make_reader
from tests.support.documents import PARSE_ERROR, request, result
from tests.support.files import make_directory, ordinary_user
from tests.support.logs import warnings
from tests.support.transports import Commands, TransportCase, start_error

MAX_DOCUMENT = 65_456
"""Bytes of a document that must arrive whole."""

MORE_THAN_ANY_DATAGRAM = 10_000_000

QUEUE = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
"""How many datagrams the kernel keeps for a client that does not read."""


class Client(abstract.FileDescriptor):
    """A client with a socket of its own, which it starts to read when it first waits for a reply."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(reactor)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262_144)
        self.socket = sock
        self._received: DeferredQueue[bytes] = DeferredQueue()

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> None:
        self._received.put(self.socket.recv(MORE_THAN_ANY_DATAGRAM))

    def receive(self) -> Deferred[bytes]:
        """@return: a Deferred that fires with the next reply."""
        self.startReading()
        return self._received.get().addTimeout(PATIENCE, reactor)

    async def reply(self) -> Any:
        return json.loads(await self.receive())

    def waiting(self) -> list[bytes]:
        """The replies that are there, without waiting."""
        replies = []
        while True:
            try:
                replies.append(self.socket.recv(MORE_THAN_ANY_DATAGRAM))
            except BlockingIOError:
                return replies

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            self.stopReading()
            self.socket.close()


class DatagramCase(TransportCase):
    """A server on one socket.

    @cvar value: of C{dgram_socket}.
    @cvar settings: further ones.
    """

    value = "rpc.sock"
    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        super().setUp()
        self.service = self.start(self.value)
        assert self.service.listener is not None
        host, port = self.service.listener.host, self.service.listener.port
        self.address: Any = str(self.directory / "rpc.sock") if port is None else (host, port)

    def make_service(self, value: str) -> DatagramService:
        options = Settings(run_dir=str(self.directory), dgram_socket=value, **self.settings)
        none: Any = None
        (service,) = make_transports(Parts(options, self.dispatcher, none, none, reactor))
        return service

    def start(self, value: str) -> DatagramService:
        service = self.make_service(value)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def client(self, name: str = "client", bind: bool = True) -> Client:
        if isinstance(self.address, str):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            if bind:
                sock.bind(name if name.startswith("\0") else str(self.directory / name))
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        client = Client(sock)
        self.addCleanup(client.close)
        return client

    def send(self, client: Client, document: bytes) -> None:
        client.socket.sendto(document, self.address)

    async def send_all(self, client: Client, documents: list[bytes]) -> None:
        """Send documents as fast as the server takes them."""
        for document in documents:
            while True:
                try:
                    self.send(client, document)
                except BlockingIOError:
                    await self.turns()
                else:
                    break

    async def assert_answers(self, client: Client) -> None:
        """The server answers a client that waits for no other reply."""
        await self.send_all(client, [request("test.echo", "proof")])
        assert await client.reply() == result("proof")

    def heard(self, client: Client) -> bool:
        """Whether anybody has a socket at the server's address."""
        try:
            client.socket.connect(self.address)
            for _ in range(2):  # over UDP the first one brings the news
                client.socket.send(b"{}")
        except OSError:
            return False
        return True

    def dropped(self) -> int:
        return self.dispatcher.traffic(self.service.protocol).dropped.value


class EveryKind:
    """What holds for each kind of socket."""

    async def test_answered(self: Any) -> None:
        """A request is answered, and nothing is logged but the address."""
        await self.assert_answers(self.client())
        assert self.log == [f"listening on {self.service.listener}"]

    async def test_connected(self: Any) -> None:
        """A connected client, which takes datagrams from the server's own address only, is answered."""
        client = self.client()
        client.socket.connect(self.address)
        client.socket.send(request("test.echo", 1))
        assert await client.reply() == result(1)

    async def test_large(self: Any) -> None:
        """A document of 65,456 bytes arrives whole, and so does its reply."""
        client = self.client()
        text = "x" * (MAX_DOCUMENT - len(request("test.echo", "")))
        self.send(client, request("test.echo", text))
        assert await client.reply() == result(text)
        assert self.commands.calls == [text]

    async def test_reply_too_large(self: Any) -> None:
        """A reply that no datagram holds becomes an error that has the id and names HTTP; a batch gets one for each."""
        client = self.client()
        self.send(client, request("test.big", MORE_THAN_ANY_DATAGRAM, id="a"))
        error = {"code": 500, "message": "Reply Too Large For A Datagram: use HTTP"}
        assert await client.reply() == {"jsonrpc": "2.0", "error": error, "id": "a"}
        self.send(client, b"[%s,%s]" % (request("test.big", MORE_THAN_ANY_DATAGRAM, id=7), request("test.echo", 1)))
        assert [(reply["id"], reply["error"]) for reply in await client.reply()] == [(7, error), (1, error)]
        await self.assert_answers(client)

    async def test_bad_documents(self: Any) -> None:
        """An empty datagram, and any other that is no JSON, gets -32700, and the next request its reply."""
        client = self.client()
        for document in (b"", b" ", b"{", b"\0", b"\xff", b'{"jsonrpc":"2.0"', b"x" * MAX_DOCUMENT):
            self.send(client, document)
            assert await client.reply() == PARSE_ERROR
        await self.assert_answers(client)

    async def test_method_of_another_type(self: Any) -> None:
        """A method that is not a string, on which the reference dies, gets -32600."""
        client = self.client()
        self.send(client, b'{"jsonrpc":"2.0","method":1,"id":1}')
        assert (await client.reply())["error"]["code"] == -32600
        await self.assert_answers(client)

    async def test_many_clients(self: Any) -> None:
        """Requests of several clients in one wake-up each go back to the client that sent them."""
        clients = [self.client(f"client{number}") for number in range(8)]
        for number, client in enumerate(clients):
            self.send(client, request("test.echo", number))
        assert [await client.reply() for client in clients] == [result(number) for number in range(8)]

    async def test_fifty_before_reading(self: Any) -> None:
        """A client that sends 50 requests before it reads gets all replies, in order."""
        client = self.client()
        await self.send_all(client, [request("test.echo", number, id=number) for number in range(50)])
        assert [await client.reply() for _ in range(50)] == [result(number, number) for number in range(50)]
        assert self.dropped() == 0

    async def test_stop_and_start(self: Any) -> None:
        """The stop closes the socket, a second one does no harm, and the service can be started again."""
        await self.assert_answers(self.client())
        self.service.stopService()
        self.service.stopService()
        assert self.service.listener is None
        assert not self.heard(self.client("late"))
        again = self.start(self.value if isinstance(self.address, str) else self.named())
        assert str(again.listener).split()[0] == self.service.protocol
        await self.assert_answers(self.client("other"))

    async def test_two_servers(self: Any) -> None:
        """A second server is refused the address of a running one, in words, and that one goes on."""
        name = self.value if isinstance(self.address, str) else self.named()
        error = str(start_error(self.make_service(name)))
        assert error.startswith("dgram_socket: ")
        assert "in use" in error
        assert "; allowed: " in error
        await self.assert_answers(self.client())

    def named(self: Any) -> str:
        """The server's address as a value of the setting."""
        host, port = self.address
        return f"udp:[{host}]:{port}" if ":" in host else f"udp:{host}:{port}"


class Udp4Tests(EveryKind, DatagramCase):
    """UDP over IPv4."""

    value = "udp:127.0.0.1:0"

    def test_foreign_address(self) -> None:
        """An address that this machine does not have is refused in words."""
        self.dispatcher.access.replace([read_rule("udp 192.0.2.0/24 allow *")])
        error = str(start_error(self.make_service("udp:192.0.2.1:8090")))
        reason = f"{os.strerror(errno.EADDRNOTAVAIL)}; allowed: a free address of this machine"
        assert error == f"dgram_socket: udp:192.0.2.1:8090: {reason}"


class Udp6Tests(EveryKind, DatagramCase):
    """UDP over IPv6."""

    value = "udp:[::1]:0"

    def setUp(self) -> None:
        if not IPV6:
            raise SkipTest("this machine has no IPv6")
        super().setUp()


class UnixTests(EveryKind, DatagramCase):
    """Unix datagram sockets."""

    async def test_client_without_address(self) -> None:
        """The request of a client without an address is run, gets no reply, and harms nothing."""
        self.send(self.client(bind=False), request("test.echo", "unbound"))
        await self.assert_answers(self.client())
        assert self.commands.calls == ["unbound", "proof"]
        assert self.dropped() == 0
        assert len(self.log) == 1

    async def test_abstract_clients(self) -> None:
        """A client with a name in the abstract namespace, its own or the kernel's, is answered."""
        for name in (f"\0jsonrpcs_tx-{os.getpid()}", f"\0jsonrpcs_tx\0\n'\xe9-{os.getpid()}"):
            await self.assert_answers(self.client(name))
        unnamed = self.client(bind=False)
        unnamed.socket.bind("")
        await self.assert_answers(unnamed)

    async def test_odd_path(self) -> None:
        """A client is answered at a path with blanks, and with bytes that are no UTF-8."""
        await self.assert_answers(self.client("a b\n'"))
        await self.assert_answers(self.client(os.fsdecode(b"\xff\xfe")))

    async def test_unreachable_clients(self) -> None:
        """A reply that cannot be sent is dropped, counted and logged, and the next client gets its own."""

        def forbid(client: Client, path: Path) -> None:
            path.chmod(0)

        def vanish(client: Client, path: Path) -> None:
            path.unlink()

        def die(client: Client, path: Path) -> None:
            client.close()

        def connect_elsewhere(client: Client, path: Path) -> None:
            client.socket.connect(str(self.directory / "good"))

        def turn_into_stream(client: Client, path: Path) -> None:
            path.unlink()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.addCleanup(sock.close)
            sock.bind(str(path))
            path.chmod(0o777)
            sock.listen()

        for path in (self.directory.parent, self.directory):
            path.chmod(0o755)
        good = self.client("good")
        (self.directory / "good").chmod(0o777)
        reasons = {
            forbid: errno.EACCES,
            vanish: errno.ENOENT,
            die: errno.ECONNREFUSED,
            connect_elsewhere: errno.EPERM,
            turn_into_stream: errno.EPROTOTYPE,
        }
        for count, (spoil, number) in enumerate(reasons.items(), 1):
            self.service.stopService()  # a new reader, since only one line a second is logged
            self.service = self.start(self.value)
            bad = self.client(f"bad{count}")
            (self.directory / f"bad{count}").chmod(0o777)
            self.send(bad, request("test.echo", "bad"))
            self.send(good, request("test.echo", "good"))
            spoil(bad, self.directory / f"bad{count}")
            with ordinary_user():
                reply = await good.reply()
            assert reply == result("good")
            assert self.dropped() == count
            assert self.log[-1] == f"unix: no reply to {self.directory}/bad{count}: {os.strerror(number)}"

    @pytest.mark.slow
    async def test_full_client_delays_no_other(self) -> None:
        """While replies wait for a client whose queue is full, others are answered; then it gets its own, in order."""
        full, good = self.client("full"), self.client("good")
        await self.send_all(full, [request("test.echo", number) for number in range(QUEUE + 200)])
        for _ in range(5):
            await self.assert_answers(good)
        assert [await full.reply() for _ in range(QUEUE + 200)] == [result(number) for number in range(QUEUE + 200)]
        assert self.dropped() == 0

    async def test_too_large_behind_others(self) -> None:
        """A reply too large for a datagram also becomes an error when it has to wait for a full client."""
        full = self.client("full")
        requests = [request("test.echo", number, id=number) for number in range(QUEUE + 20)]
        await self.send_all(full, [*requests, request("test.big", MORE_THAN_ANY_DATAGRAM, id="big")])
        await self.assert_answers(self.client("good"))
        for number in range(QUEUE + 20):
            assert await full.reply() == result(number, number)
        assert (await full.reply())["error"]["message"] == "Reply Too Large For A Datagram: use HTTP"

    async def test_client_goes_away_with_replies_waiting(self) -> None:
        """When a client goes away for which replies wait, they are dropped, and others are answered."""
        full, good = self.client("full"), self.client("good")
        await self.send_all(full, [request("test.echo", number) for number in range(QUEUE + 20)])
        await self.assert_answers(good)
        full.close()
        await self.logged("no reply to .*/full: Connection refused")
        await self.assert_answers(good)

    async def test_stop_with_replies_waiting(self) -> None:
        """At the stop, replies that wait still go to a client that reads, and nothing is left running."""
        full, good = self.client("full"), self.client("good")
        await self.send_all(full, [request("test.echo", number) for number in range(QUEUE + 20)])
        await self.assert_answers(good)
        stopped = self.service.stopService()
        for number in range(QUEUE + 20):
            assert await full.reply() == result(number)
        await stopped
        assert [call for call in reactor.getDelayedCalls() if "_send_waiting" in str(call)] == []

    def test_file_gone_at_the_stop(self) -> None:
        """The socket's file is gone after the stop."""
        self.service.stopService()
        assert not os.path.lexists(self.address)

    def test_anothers_file_stays(self) -> None:
        """What another made in the place of the socket's file stays at the stop."""
        os.unlink(self.address)
        self.client("rpc.sock")
        inode = os.lstat(self.address).st_ino
        self.service.stopService()
        assert os.lstat(self.address).st_ino == inode

    async def test_dead_server(self) -> None:
        """The file of a server that died is replaced."""
        self.service.stopService()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(self.address)
        self.service = self.start(self.value)
        await self.assert_answers(self.client())

    def test_mode(self) -> None:
        """The file has mode 0660 unless set otherwise."""
        assert os.lstat(self.address).st_mode & 0o777 == 0o660


class UnixModeTests(DatagramCase):
    """The settings of a Unix socket's file."""

    settings = {"dgram_mode": 0o622, "dgram_user": os.geteuid(), "dgram_group": os.getegid()}

    def test_mode_and_owner(self) -> None:
        """The file has the mode, the user and the group of the settings."""
        status = os.lstat(self.address)
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o622, os.geteuid(), os.getegid())

    def test_unknown_user(self) -> None:
        """A user that does not exist keeps the server from starting, and no file stays."""
        options = Settings(run_dir=str(self.directory), dgram_user="no-such-user")
        error = start_error(UnixDatagramService(options, "other.sock", self.dispatcher, reactor))
        assert isinstance(error, StartError)
        assert str(error).startswith("dgram_user: 'no-such-user': does not exist here; allowed: ")
        assert not (self.directory / "other.sock").exists()


class TimeoutTests(DatagramCase):
    """The time that a client with a full queue has."""

    settings = {"dgram_timeout": 50}

    async def test_dropped(self) -> None:
        """Replies that their client does not take in time are dropped, counted and logged; it is answered later on."""
        full = self.client("full")
        await self.send_all(full, [request("test.echo", number, id=number) for number in range(QUEUE + 50)])
        await self.logged(f"unix: no reply to {self.directory}/full: ")
        while self.service._replies is not None and self.service._replies.waiting:
            await self.turns()
        taken = full.waiting()
        assert len(taken) + self.dropped() == QUEUE + 50
        assert [json.loads(reply) for reply in taken] == [result(number, number) for number in range(len(taken))]
        await self.assert_answers(full)


class ReaderTests(SynchronousTestCase):
    """The reader, by a clock that the tests set."""

    reader_class: type[DatagramReader] = DatagramReader
    TIMEOUT = 2

    def setUp(self) -> None:
        throttle.clear()  # trial has no fixtures
        self.enterContext(steady())
        self.directory = make_directory(self)
        self.clock = Clock()
        self.commands = Commands()
        self.counters = Counters()
        dispatcher = Dispatcher(Registry(self.commands), self.clock, counters=self.counters)
        self.server = self.bound("server")
        self.reader = make_reader(self.reader_class, self.server, dispatcher, "unix", self.TIMEOUT, self.clock)
        self.traffic = dispatcher.traffic("unix")

    def answer(self, document: bytes, peer: str) -> None:
        """Have the reader answer a document, as if the user of this process had sent it."""
        self.reader.receiver.datagram_received(document, peer, os.geteuid())

    def bound(self, name: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.setblocking(False)
        sock.bind(str(self.directory / name))
        return sock

    def fill(self, name: str) -> tuple[socket.socket, int]:
        """A client with a full queue for which one reply waits, and how many replies its queue holds."""
        client, count = self.bound(name), 0
        while not self.clock.getDelayedCalls():
            self.answer(request("test.echo", count), client.getsockname())
            count += 1
        return client, count - 1

    def test_one_wakeup(self) -> None:
        """A wake-up answers all datagrams that are there, but no more than 64, so that others have their turn."""
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for sock in (server, client):
            self.addCleanup(sock.close)
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        dispatcher = Dispatcher(Registry(self.commands), self.clock)
        reader = make_reader(self.reader_class, server, dispatcher, "udp", self.TIMEOUT, self.clock)
        assert MAX_PER_WAKEUP == 64
        for number in range(100):
            client.sendto(request("test.echo", number), server.getsockname())
        for count in (64, 100, 100):
            reader.doRead()
            assert self.commands.calls == list(range(count))
        assert [json.loads(client.recv(1000))["result"] for _ in range(100)] == list(range(100))

    def test_deadline(self) -> None:
        """A reply waits for its client as long as the setting says, and no longer."""
        client, _ = self.fill("client")
        self.clock.pump([RETRY_DELAY] * int(0.99 * self.TIMEOUT / RETRY_DELAY))
        assert self.traffic.dropped.value == 0
        assert self.reader.receiver.replies.waiting
        with capturedLogs() as events:
            self.clock.pump([RETRY_DELAY] * int(0.02 * self.TIMEOUT / RETRY_DELAY))
        assert self.traffic.dropped.value == 1
        assert warnings(events) == [f"unix: no reply to {client.getsockname()}: it does not read"]
        assert not self.reader.receiver.replies.waiting
        assert self.clock.getDelayedCalls() == []

    def test_taken_in_time(self) -> None:
        """A client that reads in time gets the reply that waited, and no clock is left running."""
        client, count = self.fill("client")
        self.clock.advance(0.9 * self.TIMEOUT)
        assert [json.loads(client.recv(1000))["result"] for _ in range(count)] == list(range(count))
        self.clock.advance(RETRY_DELAY)
        assert json.loads(client.recv(1000)) == result(count)
        assert self.clock.getDelayedCalls() == []
        assert self.traffic.dropped.value == 0

    def test_order(self) -> None:
        """A reply does not overtake those that wait, even if there is room for it again."""
        client, count = self.fill("client")
        client.recv(1000)
        self.answer(request("test.echo", count + 1), client.getsockname())
        for number in range(1, count + 2):
            self.clock.advance(RETRY_DELAY)
            assert json.loads(client.recv(1000))["result"] == number

    def test_most_that_wait(self) -> None:
        """No more than 1,000 replies wait for one client; further ones are dropped, and others are answered."""
        client, _ = self.fill("client")
        assert MAX_WAITING == 1000
        for _ in range(MAX_WAITING - 1):
            self.answer(request("test.echo", 1), client.getsockname())
        assert self.traffic.dropped.value == 0
        for count in range(1, 4):
            self.answer(request("test.echo", 1), client.getsockname())
            assert self.traffic.dropped.value == count
        other = self.bound("other")
        self.answer(request("test.echo", 2), other.getsockname())
        assert json.loads(other.recv(1000)) == result(2)
        self.reader.receiver.replies.stop()

    def test_large_replies_to_a_full_client(self) -> None:
        """Large replies that one client leaves unread do not keep another from its reply."""
        full, good = self.bound("full"), self.bound("good")
        for _ in range(20):
            self.answer(request("test.big", 60_000), full.getsockname())
        self.answer(request("test.echo", "good"), good.getsockname())
        self.clock.advance(RETRY_DELAY)
        assert json.loads(good.recv(1000)) == result("good")

    def test_log_held_back(self) -> None:
        """Of replies that cannot be sent, some are logged, and all are counted."""
        with capturedLogs() as events:
            for _ in range(BURST + 5):
                self.answer(request("test.echo", 1), str(self.directory / "nobody"))
        assert len(warnings(events)) == BURST
        assert self.traffic.dropped.value == BURST + 5


class FastReaderTests(ReaderTests):
    """The same of the reader that takes many datagrams at once."""

    reader_class = BatchReader


class GeneralUdp4Tests(Udp4Tests):
    """Without the fast paths."""

    settings = {"fast_paths": False}


class GeneralUdp6Tests(Udp6Tests):
    """Without the fast paths."""

    settings = {"fast_paths": False}


class GeneralUnixTests(UnixTests):
    """Without the fast paths."""

    settings = {"fast_paths": False}


class GeneralTimeoutTests(TimeoutTests):
    """Without the fast paths."""

    settings = {**TimeoutTests.settings, "fast_paths": False}
