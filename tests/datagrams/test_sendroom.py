"""The send buffer of a Unix datagram socket: what some clients leave unread keeps no other from its reply."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest
from twisted.internet.testing import MemoryReactorClock

from jsonrpcs_tx import Dispatcher, Registry
from jsonrpcs_tx.datagrams import sockdiag
from jsonrpcs_tx.datagrams.datagrambatch import BatchReader
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.datagrams.sendroom import BUFFER, LOOK_INTERVAL, SendRoom, widen
from jsonrpcs_tx.transports.waiting import RETRY_DELAY
from tests.support.datagrams import Commands, make_reader, received
from tests.support.documents import request

pytestmark = pytest.mark.usefixtures("steady_clock")

SMALL_BUFFER = 212_992
"""What a process that is not root asks of a machine of default settings; the kernel gives twice as much."""

ONE, OTHER = 1001, 1002
"""Users."""

Bound = Callable[[str], socket.socket]


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[Bound]:
    """Makes sockets that are bound to a name."""
    with ExitStack() as stack:

        def make(name: str) -> socket.socket:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            sock.setblocking(False)
            sock.bind(f"\0{name}-{os.getpid()}" if name.startswith("@") else str(tmp_path / name))
            return sock

        yield make


@pytest.fixture
def server(bound: Bound) -> socket.socket:
    sock = bound("server")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    return sock


class Sender:
    """Sends where there is room, as replies are sent."""

    def __init__(self, server: socket.socket) -> None:
        self.clock = MemoryReactorClock()
        self.room = SendRoom(server, self.clock)
        self._server = server

    def send(self, client: socket.socket, size: int, uid: int = ONE) -> bool:
        peer = client.getsockname()
        plenty = self.room.is_plenty(size)
        if not plenty and not self.room.admits(peer, uid, size):
            return False
        try:
            self._server.sendto(bytes(size), peer)
        except BlockingIOError:  # the client's queue is full
            return False
        if not plenty:
            self.room.sent(peer, uid, size)
        return True

    def fill(self, client: socket.socket, size: int, uid: int = ONE) -> None:
        """Send until no more is taken."""
        while self.send(client, size, uid):
            pass


@pytest.mark.parametrize("kind", [DatagramReader, BatchReader])
@pytest.mark.parametrize(("clients", "size"), [(6, 60_000), (20, 60_000), (6, 3_000), (40, 3_000), (60, 600)])
def test_idle_clients(kind: type[DatagramReader], clients: int, size: int, bound: Bound, server: socket.socket) -> None:
    """While clients leave many replies unread, one that reads is answered again and again, and so are new ones."""
    clock = MemoryReactorClock()
    reader = make_reader(kind, server, Dispatcher(Registry(Commands()), clock), "unix", 2, clock)

    def answer(client: socket.socket) -> bool:
        client.sendto(request("jsonrpc.echo", "good"), server.getsockname())
        reader.doRead()
        for _ in range(100):
            if any(json.loads(reply)["result"] == ["good"] for reply in received(client)):
                return True
            clock.advance(RETRY_DELAY)
        return False

    for number in range(clients):
        idle = bound(f"idle{number}")
        for _ in range(10):
            idle.sendto(request("test.large", size), server.getsockname())
            reader.doRead()
    assert reader.receiver.replies.waiting
    good = bound("good")
    for number in range(20):
        assert answer(good)
        assert answer(bound(f"new{number}"))
    reader.receiver.replies.stop()


@pytest.mark.slow
@pytest.mark.parametrize(("wide", "sizes"), [(False, (10, 500, 2_000)), (True, (10, 5_000, 60_000))])
def test_other_users(bound: Bound, server: socket.socket, wide: bool, sizes: tuple[int, ...]) -> None:
    """However many sockets of one user are not read, others get their replies, in a large buffer large ones."""
    if wide:
        widen(server)
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < BUFFER:
            pytest.skip("the machine gives no large buffer to who is not root")
    sender = Sender(server)
    for number in range(600):
        client = bound(f"idle{number}")
        for size in (60_000, 6_000, 1_000, 10):
            sender.fill(client, size)
    good = bound("good")
    for size in sizes * 5:
        if not sender.send(good, size, OTHER):
            sender.clock.advance(LOOK_INTERVAL * 50)
            assert sender.send(good, size, OTHER)
        assert len(good.recv(100_000)) == size


def test_read_again(bound: Bound, server: socket.socket) -> None:
    """A client that reads after all has as much room as before."""
    sender = Sender(server)
    clients = [bound(f"idle{number}") for number in range(10)]
    for client in clients:
        sender.fill(client, 60_000)
    assert sender.room.unread() > SMALL_BUFFER // 2
    assert not sender.send(clients[0], 60_000)
    assert sum(len([*received(client)]) for client in clients)
    assert sender.room.unread() < 2_000
    assert sender.send(clients[0], 60_000)


def test_hidden(bound: Bound, server: socket.socket) -> None:
    """A client that hides what it has not read behind an empty datagram gets no more room for it."""
    sender = Sender(server)
    sender.fill(bound("first"), 60_000)
    for number in range(60):
        sly = bound(f"sly{number}")
        sly.sendto(b"", sly.getsockname())
        for _ in range(10):
            sender.clock.advance(LOOK_INTERVAL * 50)
            sender.fill(sly, 4_000)
    good = bound("good")
    for _ in range(20):
        sender.clock.advance(LOOK_INTERVAL * 50)
        assert sender.send(good, 500)
        good.recv(1000)


def test_kernel_asked_seldom(bound: Bound, server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """For ordinary replies the kernel is asked once for many of them."""
    sender = Sender(server)
    unread = Mock(wraps=sender.room.unread)
    monkeypatch.setattr(sender.room, "unread", unread)
    client = bound("good")
    for _ in range(100):
        assert sender.send(client, 100)
        client.recv(1000)
    assert unread.call_count < 25


def test_sockets_with_unread(bound: Bound) -> None:
    """The kernel tells which sockets have something to read, by their names."""
    names = ("plain", "@abstract", "ä b\udcff")
    clients = [bound(name) for name in names]
    addresses = [os.fsencode(client.getsockname()) for client in clients]
    assert not sockdiag.sockets_with_unread() & {*addresses}
    for client in clients:
        client.sendto(b"x", client.getsockname())
    assert sockdiag.sockets_with_unread() >= {*addresses}
    clients[0].recv(1)
    assert addresses[0] not in sockdiag.sockets_with_unread()
