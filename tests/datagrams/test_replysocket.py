"""Whom a datagram server sends to: never itself, and nobody whom its client could not have written to."""

import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from jsonrpcs_tx import Dispatcher, Registry
from jsonrpcs_tx.datagrams.datagrambatch import BatchReader
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.rpc.dispatcher import NO_REPLY, Origin
from jsonrpcs_tx.rpc.envelope import DIALECTS
from tests.support import DATAGRAM_TRANSPORTS, ECHO, ECHO_REPLY
from tests.support.datagrams import Commands, make_reader, received, side
from tests.support.documents import request
from tests.support.files import STRANGER, ordinary_user
from tests.support.logs import warnings

pytestmark = pytest.mark.usefixtures("steady_clock")

KINDS = (DatagramReader, BatchReader)
REPLIES = (
    ECHO_REPLY,
    b'{"jsonrpc":"2.0","error":{"code":500,"message":"x"},"id":null}',
    b'{"error":"x"}',
    b'{"result":null,"id":[1]}',
    b"[%b,%b]" % (ECHO_REPLY, ECHO_REPLY),
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[DatagramReader]:
    return request.param  # type: ignore[no-any-return] # pytest does not know its type


@pytest.mark.parametrize("family", DATAGRAM_TRANSPORTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_replies(kind: type[DatagramReader], family: str, dialect: str) -> None:
    """What is a reply is not answered, but counted and logged; a request beside it in a batch is answered."""
    transport = family.rstrip("46")
    with side(kind, family, dialect) as one, capturedLogs() as events:
        for reply in REPLIES:
            one.send(0, reply)
            one.reader.doRead()
        assert [*received(one.clients[0])] == []
        assert one.counts()["jsonrpc:replies_ignored"] == len(REPLIES) + 1  # two in the batch
        (warning,) = set(warnings(events))
        assert re.fullmatch(rf"{transport} \S.*: received a reply where requests are expected; ignored", warning)
        one.send(0, b"[%b,%b]" % (ECHO_REPLY, ECHO))
        one.reader.doRead()
        assert [*received(one.clients[0])] == [b"[%b]" % ECHO_REPLY]


@pytest.mark.parametrize("transport", ["http", "tcp", "exec"])
def test_replies_over_a_connection(transport: str) -> None:
    """Where the reply goes back over a connection of its own, a reply is an invalid request as ever."""
    reply: Any = Dispatcher(Registry(Commands()), MemoryReactorClock()).dispatch(ECHO_REPLY, Origin(transport))
    assert json.loads(reply.body)["error"]["code"] == -32600


def test_reply_over_the_fifo() -> None:
    """Over the FIFO a reply is not answered, since its reply_name may be any other's."""
    document = ECHO_REPLY.replace(b"{", b'{"reply_name":"x",', 1)
    assert Dispatcher(Registry(Commands()), MemoryReactorClock()).dispatch(document, Origin("fifo")) is NO_REPLY


@pytest.mark.parametrize("family", DATAGRAM_TRANSPORTS)
def test_two_servers(kind: type[DatagramReader], family: str) -> None:
    """Two servers of which each takes the other for a client fall silent after one round."""
    with side(kind, family) as one, side(kind, family) as other:
        one.server.sendto(b"{", other.server.getsockname())
        for _ in range(10):
            other.reader.doRead()
            one.reader.doRead()
        transport = family.rstrip("46")
        assert [side.counts()[f"{transport}:requests"] for side in (one, other)] == [1, 1]


@pytest.fixture
def unix(kind: type[DatagramReader], public: Path) -> Iterator[tuple[DatagramReader, socket.socket]]:
    """A reader of a Unix socket that anybody may write to."""
    clock = MemoryReactorClock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind(str(public / "server"))
        (public / "server").chmod(0o777)
        yield make_reader(kind, server, Dispatcher(Registry(Commands()), clock), "unix", 2, clock), server


def dropped(reader: Any) -> int:
    return int(reader.receiver.replies._dropped.value)


def test_relative_path(unix: Any, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a relative path, which the server would look for elsewhere, is not answered."""
    reader, server = unix
    monkeypatch.chdir(public)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, capturedLogs() as events:
        client.setblocking(False)
        client.bind("client")
        client.sendto(ECHO, server.getsockname())
        reader.doRead()
        assert [*received(client)] == []
    assert dropped(reader) == 1
    assert warnings(events) == [
        "unix: no reply to client: a relative path; allowed: an absolute one, or an abstract name"
    ]


def test_own_path(unix: Any, public: Path) -> None:
    """A client whose path leads to the server itself has it talk to itself once, not for ever."""
    reader, server = unix
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(str(public / "client"))
        client.sendto(b"x", server.getsockname())
    (public / "client").unlink()
    (public / "client").symlink_to(public / "server")
    for _ in range(5):
        reader.doRead()
    assert reader.receiver.dispatcher.traffic("unix").requests.value == 2
    reader.receiver.datagram_received(ECHO, server.getsockname(), 0)
    reader.doRead()
    assert reader.receiver.dispatcher.traffic("unix").requests.value == 3
    assert dropped(reader) == 1


@needs_root
def test_credentials(unix: Any, public: Path) -> None:
    """A reply has the server's credentials, not those that came with the request."""
    reader, server = unix
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        client.bind(str(public / "client"))
        credentials = struct.pack("3I", os.getppid(), 0, STRANGER)
        client.sendmsg([ECHO], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)], 0, server.getsockname())
        reader.doRead()
        reply, ancillary, _, _ = client.recvmsg(1000, 100)
        assert reply == ECHO_REPLY
        assert struct.unpack("3I", ancillary[0][2]) == (os.getpid(), os.getuid(), os.getgid())


@pytest.fixture
def stranger(public: Path) -> Iterator[socket.socket]:
    """A client of another user, in a directory of that user."""
    mine = public / "mine"
    mine.mkdir()
    os.chown(mine, STRANGER, STRANGER)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        with ordinary_user():
            client.bind(str(mine / "client"))
        yield client


def ask_as_stranger(client: socket.socket, server: socket.socket) -> None:
    """Send a request as the other user would."""
    credentials = struct.pack("3I", os.getpid(), STRANGER, STRANGER)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)]
    client.sendmsg([ECHO], ancillary, 0, server.getsockname())


@needs_root
@pytest.mark.parametrize("then", ["link", "link to the directory", "a socket of root"])
def test_private_socket(unix: Any, stranger: socket.socket, public: Path, then: str) -> None:
    """A client cannot have root write to a socket that it cannot reach, whatever it makes of its path."""
    reader, server = unix
    private, path = public / "private", Path(stranger.getsockname())
    private.mkdir(0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as target, capturedLogs() as events:
        target.setblocking(False)
        target.bind(str(private / "client"))
        path.unlink()
        if then == "link":
            path.symlink_to(private / "client")
        elif then == "link to the directory":
            path.parent.rmdir()
            path.parent.symlink_to(private)
        else:
            os.link(private / "client", path)
        ask_as_stranger(stranger, server)
        reader.doRead()
        assert [*received(target)] == []
    assert dropped(reader) == 1
    assert warnings(events) == [f"unix: no reply to {path}: it is not a socket of user {STRANGER}, who asked"]


@needs_root
def test_other_user(unix: Any, stranger: socket.socket) -> None:
    """A client of another user is answered at its own socket, connected or not."""
    reader, server = unix
    for _ in range(2):
        ask_as_stranger(stranger, server)
        reader.doRead()
        assert [*received(stranger)] == [ECHO_REPLY]
        stranger.connect(server.getsockname())
    assert dropped(reader) == 0


def udp(kind: type[DatagramReader], host: str, port: int = 0) -> tuple[Any, socket.socket]:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setblocking(False)
    server.bind((host, port))
    clock = MemoryReactorClock()
    return make_reader(kind, server, Dispatcher(Registry(Commands()), clock), "udp", 2, clock), server


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_own_udp_address(kind: type[DatagramReader], host: str) -> None:
    """A datagram with the server's own address for its source is not answered."""
    reader, server = udp(kind, host)
    with server:
        port = server.getsockname()[1]
        own = ["127.0.0.1"] if host == "127.0.0.1" else ["127.0.0.1", "127.0.0.9"]
        for address in own:
            server.sendto(ECHO, ("127.0.0.1", port))
            reader.doRead()
            reader.receiver.datagram_received(ECHO, (address, port))
        reader.doRead()
        assert dropped(reader) == 2 * len(own)
        assert reader.receiver.dispatcher.traffic("udp").replies.value == 2 * len(own)


@needs_root
def test_low_port(kind: type[DatagramReader]) -> None:
    """A service on a port below 1024 that sends what is not JSON, as chargen does, is not answered; a client is."""
    reader, server = udp(kind, "127.0.0.1")
    with server, ExitStack() as stack:
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.setblocking(False)
        try:
            client.bind(("127.0.0.77", 19))
        except OSError as error:
            pytest.skip(f"port 19: {error.strerror}")
        for document in (b"!\"#$%&'()*+", ECHO):
            client.sendto(document, server.getsockname())
        reader.doRead()
        assert [*received(client)] == [ECHO_REPLY]
        assert dropped(reader) == 1


@pytest.mark.parametrize("id", [1, "x" * 60])
def test_large_batch(kind: type[DatagramReader], id: object) -> None:
    """A batch for whose replies no datagram has room, not even for an error each, gets one error, which says so."""
    reader, server = udp(kind, "127.0.0.1")
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind(("127.0.0.1", 0))
        count = 900 if id == 1 else 450
        document = b"[" + b",".join([request("test.large", 70, id=id)] * count) + b"]"
        assert len(document) <= 65_507
        client.sendto(document, server.getsockname())
        reader.doRead()
        (reply,) = received(client)
        message = "Replies Too Large For A Datagram, But The Commands Were Run: use HTTP"
        assert json.loads(reply) == {"jsonrpc": "2.0", "error": {"code": 500, "message": message}, "id": None}


def test_large_id(kind: type[DatagramReader]) -> None:
    """A request whose id alone fills a datagram gets an error without it."""
    reader, server = udp(kind, "127.0.0.1")
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind(("127.0.0.1", 0))
        client.sendto(b'{"jsonrpc":"2.0","method":"x","id":"%b"}' % (b"x" * 65_460), server.getsockname())
        reader.doRead()
        (reply,) = received(client)
        assert json.loads(reply)["id"] is None
