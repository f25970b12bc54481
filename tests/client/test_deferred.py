"""The client with Deferreds, beside our server in both dialects and the real Kamailio."""

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.deferred import Client as DeferredClient
from jsonrpcs_tx.client.deferred import connect
from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, NotReachable, Refused, TimedOut
from jsonrpcs_tx.client.targets import Target, parse_target
from jsonrpcs_tx.rpc.faults import Fault
from tests.support import Server, environment
from tests.support.clients import TRANSPORTS, kamailio_targets, leftovers, our_target, same_ports
from tests.support.kamailio import Kamailio
from tests.support.programs import lacks
from tests.support.reactor import until

pytestmark = pytest.mark.slow

REAL = ("unix", "fifo", "http")
"""The transports of the real Kamailio."""

TEXT = "x\\\\\"'\\{}é\u2028\x01 \U0001f600"


class Case(TestCase):
    """Clients, which are closed in the end."""

    timeout = 60

    def client(self, target: Target | str, **options: Any) -> DeferredClient:
        client = connect(target, **options)
        self.addCleanup(client.close)
        return client

    async def fails(self, waiting: Deferred[Any], kind: type[Exception], pattern: str) -> Exception:
        """How a call fails."""
        with pytest.raises(kind, match=pattern) as failure:
            await waiting
        return failure.value


class Shared:
    """Servers that stay as they are, for all tests that ask them."""

    def __init__(self) -> None:
        stack = ExitStack()
        atexit.register(stack.close)
        directories = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(3)]
        self.ours = stack.enter_context(Server(directories[0]))
        self.strict = stack.enter_context(Server(directories[1], "--dialect=jsonrpc2"))
        self.kamailio = None if lacks("kamailio") else stack.enter_context(Kamailio(directories[2]))


shared = cache(Shared)  # trial calls no setUpClass


class Servers(Case):
    """Servers that stay as they are."""

    def setUp(self) -> None:
        self.ours, self.strict, self.kamailio = shared().ours, shared().strict, shared().kamailio

    async def check_calls(self, target: Target | str, unknown: str) -> None:
        """A client gets results, faults, and the replies to many calls."""
        client = self.client(target)
        assert await client.call("jsonrpc.echo", TEXT, 5) == [TEXT, 5]
        await self.fails(client.call("no.such"), Fault, unknown)
        await self.fails(client.call("jsonrpc.echo", float("nan")), BadRequest, "cannot be written as JSON")
        calls = [("jsonrpc.echo", (str(number),)) for number in range(250)]
        outcomes = await client.batch([*calls, ("no.such", {"a": 1}), ("jsonrpc.echo", [float("inf")])])
        assert outcomes[:250] == [[str(number)] for number in range(250)]
        assert isinstance(outcomes[250], Fault)
        assert isinstance(outcomes[251], BadRequest)
        await client.close()
        assert await client.call("jsonrpc.echo", "after") == ["after"]

    async def test_ours(self) -> None:
        """Each transport of our server in both dialects."""
        for transport in TRANSPORTS:
            await self.check_calls(our_target(self.ours, transport), "^500 Method Not Found$")
            await self.check_calls(our_target(self.strict, transport), "^-32601 Method not found$")

    async def test_real(self) -> None:
        """Each transport of the real Kamailio."""
        if self.kamailio is None:
            raise pytest.skip.Exception("Kamailio is missing")
        for transport in REAL:
            await self.check_calls(kamailio_targets(self.kamailio)[transport], "^500 Method Not Found$")

    async def check_many(self, target: Target | str) -> None:
        """10,000 calls, of which 64 are under way: each gets its own result."""
        client = self.client(target, timeout=30)
        numbers = iter(range(10_000))
        wrong: list[Any] = []

        async def caller() -> None:
            for number in numbers:
                result = await client.call("jsonrpc.echo", "x", number)
                if result != ["x", number]:
                    wrong.append((number, result))

        await gatherResults([Deferred.fromCoroutine(caller()) for _ in range(64)])
        assert wrong == []
        assert next(numbers, None) is None
        await client.close()

    async def test_many(self) -> None:
        """Over each transport of our server."""
        for transport in TRANSPORTS:
            await self.check_many(our_target(self.ours, transport))
        assert leftovers(self.ours.directory, self.ours.reply_dir) == []

    async def test_many_real(self) -> None:
        """Over each transport of the real Kamailio."""
        if self.kamailio is None:
            raise pytest.skip.Exception("Kamailio is missing")
        before = leftovers(Path("/tmp"))
        for transport in REAL:
            await self.check_many(kamailio_targets(self.kamailio)[transport])
        assert leftovers(Path("/tmp")) == before

    async def test_all_at_once(self) -> None:
        """Calls beyond those under way wait for their turn."""
        for transport in TRANSPORTS:
            client = self.client(our_target(self.ours, transport), under_way=3)
            results = await gatherResults([client.call("jsonrpc.echo", "x", number) for number in range(300)])
            assert results == [["x", number] for number in range(300)]

    async def test_cancelled(self) -> None:
        """A cancelled call is dropped, whether it is under way or waits for its turn; the others go on."""
        for transport in TRANSPORTS:
            client = self.client(our_target(self.ours, transport), under_way=2)
            calls = [client.call("jsonrpc.echo", "x", number) for number in range(10)]
            for call in calls[1::2]:
                call.cancel()
            results = await gatherResults(calls[::2])
            assert results == [["x", number] for number in range(0, 10, 2)]
            for call in calls[1::2]:
                with pytest.raises(CancelledError):
                    await call
            await client.close()
        assert leftovers(self.ours.directory, self.ours.reply_dir) == []

    async def test_closed(self) -> None:
        """Calls under way fail when the client is closed."""
        for transport in TRANSPORTS:
            client = self.client(our_target(self.ours, transport), under_way=2)
            calls = [client.call("jsonrpc.echo", "x", number) for number in range(10)]
            closed = client.close()
            for call in calls:
                await self.fails(call, ClientError, "jsonrpc.echo: the client was closed$")
            await closed
        assert leftovers(self.ours.directory, self.ours.reply_dir) == []

    async def test_large(self) -> None:
        """50 kB go both ways, and more than a client takes is given up."""
        text = "0123456789" * 5000
        for transport in TRANSPORTS:
            client = self.client(our_target(self.ours, transport), max_reply=60_000)
            assert await client.call("jsonrpc.echo", text) == [text]
            large = client.call("jsonrpc.echo", (text * 2)[:59_990])
            await self.fails(large, BadReply, "the reply is larger than 60000 bytes")
            assert await client.call("jsonrpc.echo", "y") == ["y"]

    async def test_request_too_large(self) -> None:
        """A request that no datagram holds is refused, or goes to another of the targets."""
        text = "x" * 1_000_000
        for transport in ("unix", "udp4"):
            target = our_target(self.ours, transport)
            await self.fails(self.client(target).call("jsonrpc.echo", text * 2), BadRequest, "too large for a datagram")
            client = self.client(f"{target},{our_target(self.ours, 'http')}")
            assert await client.call("jsonrpc.echo", text) == [text]

    async def test_name(self) -> None:
        """The server's host may have a name; one that does not exist is not reachable."""
        for scheme, transport in (("udp:", "udp4"), ("tcp:", "tcp"), ("http://", "http")):
            port = self.ours.addresses[transport][1]
            client = self.client(f"{scheme}localhost:{port}")
            assert await gatherResults([client.call("jsonrpc.echo", "x") for _ in range(3)]) == [["x"]] * 3
            client = self.client(f"{scheme}no.such.invalid:{port}", timeout=1)
            with pytest.raises((NotReachable, TimedOut)) as raised:
                await client.call("jsonrpc.echo", "x")
            assert raised.type is TimedOut or raised.value.advice == "check the name no.such.invalid"

    async def test_alternatives(self) -> None:
        """Where nobody takes a request, the next target gets it; also one by one after an array."""
        client = self.client(f"http://127.0.0.1:1,unix:/nowhere/x,{our_target(self.ours, 'http')}")
        assert await client.call("jsonrpc.echo", "x") == ["x"]
        assert await client.batch([("jsonrpc.echo", ["a"]), ("jsonrpc.echo", ())]) == [["a"], []]
        client = self.client("unix:/nowhere/x,tcp:127.0.0.1:1")
        await self.fails(client.call("core.uptime"), NotReachable, "^tcp:127.0.0.1:1: core.uptime: Connection refused")

    async def test_reply_too_large_for_a_datagram(self) -> None:
        """What our server or Kamailio cannot send by datagram comes over another target, if the method only reads."""
        if self.kamailio is None:
            raise pytest.skip.Exception("Kamailio is missing")
        targets = kamailio_targets(self.kamailio)
        calls = [("htable.sets", ["a", f"k{number}", "x" * 1000]) for number in range(300)]
        assert len(await self.client(targets["http"]).batch(calls)) == 300
        client = self.client(f"{targets['unix']},{targets['http']}", timeout=1)
        assert len(str(await client.call("htable.dump", "a"))) > 300_000
        client = self.client(f"{targets['unix']},{targets['http']}", timeout=0.2, reads=lambda method: False)
        await self.fails(client.call("htable.dump", "a"), TimedOut, "or unable to send so large a reply")


class Changing(Case):
    """Servers that come and go."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    async def test_restart(self) -> None:
        """A client survives a restart of the server, says where nobody is in between, and has no failed call after."""
        first = Server(self.directory)
        self.addCleanup(first.stop)
        clients = {transport: self.client(our_target(first, transport)) for transport in TRANSPORTS}
        idle = {transport: self.client(our_target(first, transport)) for transport in TRANSPORTS}
        for client in (*clients.values(), *idle.values()):
            assert await client.call("jsonrpc.echo", "x") == ["x"]
        first.process.terminate()
        await until(lambda: first.process.poll() is not None)
        for client in clients.values():
            await self.fails(client.call("jsonrpc.echo", "x"), NotReachable, "start the server")
        second = Server(self.directory, *same_ports(first))
        self.addCleanup(second.stop)
        for client in (*clients.values(), *idle.values()):
            assert await client.call("jsonrpc.echo", "x") == ["x"]
            await client.close()

    async def test_refused_by_rules(self) -> None:
        """What rules forbid is refused, over each transport."""
        server = Server(self.directory, "--rule=any allow * deny jsonrpc.echo")
        self.addCleanup(server.stop)
        for transport in TRANSPORTS:
            client = self.client(our_target(server, transport))
            await self.fails(client.call("jsonrpc.echo", "x"), Refused, "403 Forbidden; ask for a rule")
            outcomes = await client.batch([("jsonrpc.echo", ["x"]), ("core.uptime", ())])
            assert isinstance(outcomes[0], Refused)
            assert isinstance(outcomes[1], dict)
            await client.close()

    async def test_private_reply_socket(self) -> None:
        """With C{reply_dir} the reply socket is in a private directory there, which is removed."""
        server = Server(self.directory)
        self.addCleanup(server.stop)
        where = self.directory / "mine"
        where.mkdir()
        client = self.client(parse_target(our_target(server, "unix").url, reply_dir=str(where)))
        assert await client.call("jsonrpc.echo", "x") == ["x"]
        assert len(leftovers(where)) == 1
        await client.close()
        assert leftovers(where) == []

    async def test_frozen(self) -> None:
        """A server that is frozen costs no more than the time limit, and is used again when it goes on."""
        server = Server(self.directory)
        self.addCleanup(server.stop)
        self.addCleanup(server.process.send_signal, signal.SIGCONT)
        clients = {transport: self.client(our_target(server, transport)) for transport in TRANSPORTS}
        for client in clients.values():
            assert await client.call("jsonrpc.echo", "x") == ["x"]
        server.process.send_signal(signal.SIGSTOP)
        for transport, client in clients.items():
            calls = [client.call("jsonrpc.echo", "x" * 3000, timeout=0.2) for _ in range(50)]
            for call in calls:
                await self.fails(call, TimedOut, r"no reply within 0\.2 s")
            with Client(our_target(server, transport), timeout=0.1) as waiting:
                await self.fails(deferToThread(waiting.call, "jsonrpc.echo", "x"), TimedOut, r"no reply within 0\.1 s")
        assert leftovers(server.reply_dir) == []
        server.process.send_signal(signal.SIGCONT)
        for client in clients.values():
            assert await client.call("jsonrpc.echo", "y") == ["y"]
            await client.close()

    async def test_program_that_ends(self) -> None:
        """A program that ends while calls are under way leaves no reply FIFO."""
        os.mkfifo(self.directory / "rpc.fifo")
        reading = os.open(self.directory / "rpc.fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reading)
        program = """if True:
            import sys
            from twisted.internet import reactor
            from jsonrpcs_tx.client.deferred import connect
            from jsonrpcs_tx.client.targets import parse_target
            from twisted.python import log
            log.startLogging(sys.stderr, setStdout=False)
            client = connect(parse_target("fifo:rpc.fifo", reply_dir="."))
            calls = [client.call("a.b").addErrback(lambda failure: None) for _ in range(5)]
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
        """
        command = [sys.executable, "-c", program]
        done = await deferToThread(
            subprocess.run, command, cwd=self.directory, env=environment(), capture_output=True, check=True
        )
        assert b"Traceback" not in done.stderr
        assert os.read(reading, 100_000).count(b"a.b") == 5
        assert leftovers(self.directory) == []


class Answering(DatagramProtocol):
    """A server over UDP, of which a test says what it sends.

    @param answer: called with this, and where a request has come from.
    """

    def __init__(self, answer: Callable[[Any, Any], object]) -> None:
        self.answer = answer

    def datagramReceived(self, data: bytes, address: Any) -> None:
        self.answer(self, address)

    def send(self, address: Any, *documents: bytes) -> None:
        """Send documents."""
        transport: Any = self.transport
        for document in documents:
            transport.write(document, address)


class UnixServer(Case):
    """A server at a Unix socket, in whose place a test answers."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def bind(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(str(self.directory / "rpc.sock"))
        return server

    async def ask(self, client: DeferredClient, server: socket.socket, number: int) -> tuple[list[Deferred[Any]], Any]:
        """Make calls, which get to the server.

        @return: the calls, whose ids begin with 1, and where they have come from.
        """
        calls = [client.call("a.b", place) for place in range(number)]
        address = None
        for _ in calls:
            await until(lambda: select.select([server], [], [], 0)[0])
            _, address = server.recvfrom(1000)
        return calls, address


class Together(UnixServer):
    """A server whose replies are there at once."""

    async def test_cancelled_by_another(self) -> None:
        """A call that is cancelled because of the result of another one does not get its own, though it has come."""
        server = self.bind()
        client = self.client(f"unix:{self.directory}/rpc.sock", timeout=5)
        (first, second, third), address = await self.ask(client, server, 3)
        results: list[Any] = []
        first.addCallback(lambda _: second.cancel())
        second.addCallbacks(results.append, lambda failure: failure.trap(CancelledError))
        third.addCallback(results.append)
        for id in (1, 2, 3, 3):
            server.sendto(b'{"result":"r%d","id":%d}' % (id, id), address)
        await third
        assert await second is CancelledError
        assert results == ["r3"]

    async def test_nothing_more_is_asked_for(self) -> None:
        """Where no call is under way any more, the system is not asked for a further reply."""
        server = self.bind()
        client = self.client(f"unix:{self.directory}/rpc.sock", timeout=5)
        calls, address = await self.ask(client, server, 2)
        link: Any = client._links[0]
        receive, asked = link._socket.receive, count(1)
        self.patch(link._socket, "receive", lambda: (next(asked), receive())[1])
        for id in (1, 2):
            server.sendto(b'{"result":"r%d","id":%d}' % (id, id), address)
        assert [await call for call in calls] == ["r1", "r2"]
        assert next(asked) == 3

    async def test_reply_to_nobody(self) -> None:
        """A reply that nobody waits for is read at some time, and dropped: there is room for others then."""
        server = self.bind()
        client = self.client(f"unix:{self.directory}/rpc.sock", timeout=5)
        for turn in range(30):
            (call,), address = await self.ask(client, server, 1)
            id = turn + 1
            for answered in (id, id, 1_000_000):
                server.sendto(b'{"result":"r%d","id":%d}' % (id, answered), address)
            assert await call == f"r{id}"


class Gone(UnixServer):
    """A server at a Unix socket that goes while calls are under way."""

    async def test_what_may_have_run_is_not_sent_again(self) -> None:
        """Who has asked the server that is gone is told so; who asks then gets its successor."""
        first = self.bind()
        client = self.client(f"unix:{self.directory}/rpc.sock", timeout=2)
        calls = [client.call("a.b", number) for number in range(3)]
        await until(lambda: select.select([first], [], [], 0)[0])
        first.close()
        (self.directory / "rpc.sock").unlink()
        second = self.bind()
        calls.append(client.call("a.b", 3))
        for call in calls[:3]:
            await self.fails(call, BadReply, "closed before the reply was whole; the command may have been run")
        await until(lambda: select.select([second], [], [], 0)[0])
        document, address = second.recvfrom(1000)
        second.sendto(b'{"result":"second","id":4}', address)
        assert await calls[3] == "second"
        assert b"[3]" in document
        assert not select.select([second], [], [], 0)[0]

    async def test_what_has_not_been_sent_goes_to_the_next(self) -> None:
        """A server answers all calls that are under way, and goes: those that have waited get its successor, in their
        order, and none is told that it may have been run.
        """
        first = self.bind()
        client = self.client(f"unix:{self.directory}/rpc.sock", timeout=5)
        link: Any = client._links[0]
        waiting = 5
        calls = [client.call("a.b", place) for place in range(link._limit + waiting)]
        for id in range(1, link._limit + 1):
            await until(lambda: select.select([first], [], [], 0)[0])
            _, address = first.recvfrom(1000)
            first.sendto(b'{"result":"first","id":%d}' % id, address)
        first.close()
        (self.directory / "rpc.sock").unlink()
        second = self.bind()
        assert [await call for call in calls[:-waiting]] == ["first"] * link._limit
        for id in range(link._limit + 1, len(calls) + 1):
            await until(lambda: select.select([second], [], [], 0)[0])
            document, address = second.recvfrom(1000)
            assert json.loads(document)["id"] == id
            second.sendto(b'{"result":"second","id":%d}' % id, address)
        assert [await call for call in calls[-waiting:]] == ["second"] * waiting


class FifoServer(Case):
    """A server at a FIFO, of which a test says when it writes what to a reply FIFO."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        os.mkfifo(self.directory / "rpc.fifo")
        self.reading = os.open(self.directory / "rpc.fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, self.reading)
        self.asking = self.client(
            parse_target(f"fifo:{self.directory}/rpc.fifo", reply_dir=str(self.directory)), timeout=20
        )

    async def asked(self) -> tuple[Path, int]:
        """The reply FIFO of the next request, and its id."""
        await until(lambda: select.select([self.reading], [], [], 0)[0])
        request = json.loads(os.read(self.reading, 4096))
        return self.directory / request["reply_name"], request["id"]

    async def seen(self) -> None:
        """The client has seen what was written before: the reactor has looked."""
        for _ in range(3):
            await deferLater(reactor, 0)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    async def test_pieces(self) -> None:
        """A reply is whole when its writer has closed the FIFO, however it is cut, one after the other."""
        for size in (1, 65_536 - 24, 65_536, 200_000):
            call = self.asking.call("a.b")
            kept = self.asking.call("a.c")  # so that the reply FIFO is used again
            (path, id), (other, other_id) = await self.asked_twice()
            text = "x" * size
            reply = b'{"result":"%b","id":%d}' % (text.encode(), id)
            fd = self.open(path)
            written = os.write(fd, reply[:10])
            await self.seen()
            assert not call.called
            while written < len(reply):
                with contextlib.suppress(BlockingIOError):
                    written += os.write(fd, reply[written:])
                await self.seen()
                assert not call.called
            os.close(fd)
            assert await call == text
            again = self.asking.call("a.d")
            path_again, id = await self.asked()
            assert path_again == path
            path_again.write_bytes(b'{"result":1,"id":%d}' % id)
            assert await again == 1
            other.write_bytes(b'{"result":2,"id":%d}' % other_id)
            assert await kept == 2
        await self.asking.close()
        assert leftovers(self.directory) == []

    async def asked_twice(self) -> list[tuple[Path, int]]:
        """The reply FIFOs of two requests, which may have been written at once, and their ids."""
        found: list[tuple[Path, int]] = []
        pending = b""
        while len(found) < 2:
            await until(lambda: select.select([self.reading], [], [], 0)[0])
            pending += os.read(self.reading, 4096)
            while pending.endswith(b"}"):
                request, end = json.JSONDecoder().raw_decode(pending.decode())
                pending = pending[end:]
                found.append((self.directory / request["reply_name"], request["id"]))
        return found

    async def test_closed_without_a_word(self) -> None:
        """Who opens a reply FIFO and writes nothing has not answered."""
        call = self.asking.call("a.b")
        path, id = await self.asked()
        for _ in range(3):
            os.close(self.open(path))
            await self.seen()
        assert not call.called
        path.write_bytes(b'{"result":1,"id":%d}' % id)
        assert await call == 1

    async def test_foreign_words(self) -> None:
        """What is written to a reply FIFO that waits for no reply is not taken for the next one."""
        kept = self.asking.call("a.b")
        call = self.asking.call("a.c")
        (kept_path, kept_id), (path, id) = await self.asked_twice()
        path.write_bytes(b'{"result":1,"id":%d}' % id)
        assert await call == 1
        path.write_bytes(b'{"result":"foreign","id":3}')
        await self.seen()
        call = self.asking.call("a.d")
        other, id = await self.asked()
        assert other != path
        assert not path.exists()
        other.write_bytes(b'{"result":2,"id":%d}' % id)
        assert await call == 2
        kept_path.write_bytes(b'{"result":3,"id":%d}' % kept_id)
        assert await kept == 3

    async def test_full(self) -> None:
        """What has no room in the server's FIFO is written when there is, each request in one piece."""
        calls = [self.asking.call("a.b", "x" * 3000) for _ in range(60)]
        pending, answered = b"", 0
        while answered < len(calls):
            await until(lambda: select.select([self.reading], [], [], 0)[0])
            pending += os.read(self.reading, 65_536)
            text, place = pending.decode(), 0
            with contextlib.suppress(ValueError):  # the rest has not come yet
                while place < len(text):
                    request, place = json.JSONDecoder().raw_decode(text, place)
                    (self.directory / request["reply_name"]).write_bytes(
                        b'{"result":%d,"id":%d}' % ((request["id"],) * 2)
                    )
                    answered += 1
            pending = text[place:].encode()
        assert await gatherResults(calls) == list(range(1, 61))


class Strange(Case):
    """Servers that do not answer, or answer nonsense."""

    def listen(self, answer: Callable[[Any, Any], object]) -> tuple[Any, int]:
        """@return: a server over UDP, and its port."""
        listener: Any = reactor
        protocol = Answering(answer)
        port = listener.listenUDP(0, protocol, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return protocol, port.getHost().port

    async def test_time_limits(self) -> None:
        """Each call has its own time limit, whether it is under way or waits for its turn."""
        _, port = self.listen(lambda server, address: None)
        client = self.client(f"udp:127.0.0.1:{port}", under_way=2)
        over: list[float] = []

        async def call(seconds: float) -> None:
            await self.fails(
                client.call("a.b", timeout=seconds), TimedOut, f"^udp:127.0.0.1:{port}: a.b: no reply within"
            )
            over.append(seconds)

        await gatherResults([Deferred.fromCoroutine(call(seconds)) for seconds in (0.2, 0.8, 0.4, 0.02)])
        assert over == [0.02, 0.2, 0.4, 0.8]

    async def test_foreign_replies(self) -> None:
        """A datagram from another address is dropped, and so are replies to nothing that was asked."""
        other, _ = self.listen(lambda server, address: None)

        def answer(server: Any, address: Any) -> None:
            other.send(address, b'{"jsonrpc":"2.0","result":"foreign","id":1}')
            server.send(address, b'{"result":"late","id":7}', b'{"result":"true","id":true}', b'{"result":1}')
            reactor.callLater(0.02, server.send, address, b'{"jsonrpc":"2.0","result":"own","id":1}')

        _, port = self.listen(answer)
        client = self.client(f"udp:127.0.0.1:{port}")
        assert await client.call("a.b") == "own"

    async def test_any_order(self) -> None:
        """Replies come in any order; each goes to its call."""
        asked: list[int] = []

        def answer(server: Any, address: Any) -> None:
            asked.append(len(asked) + 1)
            if len(asked) == 20:
                server.send(address, *(b'{"result":%d,"id":%d}' % (id, id) for id in reversed(asked)))

        _, port = self.listen(answer)
        client = self.client(f"udp:127.0.0.1:{port}")
        results = await gatherResults([client.call("a.b") for _ in range(20)])
        assert results == list(range(1, 21))

    async def test_nonsense(self) -> None:
        """A document that is not a reply fails the one call that can be meant."""
        _, port = self.listen(lambda server, address: server.send(address, b"nonsense"))
        client = self.client(f"udp:127.0.0.1:{port}", timeout=0.1)
        await self.fails(client.call("a.b"), BadReply, "the reply is not JSON")
        both = [client.call("a.b"), client.call("a.c")]
        await self.fails(both[0], TimedOut, "a.b: no reply within")
        await self.fails(both[1], TimedOut, "a.c: no reply within")

    async def test_calling_again_at_once(self) -> None:
        """Who calls again as soon as a call has failed lets others have their turn."""
        client = self.client("unix:/nowhere/x")
        tries = 0

        async def again() -> None:
            nonlocal tries
            while tries < 3000:
                tries += 1
                await self.fails(client.call("a.b"), NotReachable, "No such file")

        await gatherResults([Deferred.fromCoroutine(again()) for _ in range(100)])
        assert tries == 3000
