"""Connections of plain TCP and of proxies: who is let in, whose reply waits, and how they end."""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from jsonrpcs_tx.access.peers import UNKNOWN_ADDRESS
from jsonrpcs_tx.transports.proxyprotocol import InvalidProxyHeader, read_header
from tests.support import ECHO, ECHO_REPLY, PATIENCE, Server, http_request
from tests.support.documents import request as document
from tests.support.http import HttpCase
from tests.support.reactor import until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([0x20 | command, family]) + len(body).to_bytes(2, "big") + body


HEADERS = {
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n": "192.0.2.1",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n": "2001:db8::1",
    b"PROXY UNKNOWN\r\n": UNKNOWN_ADDRESS.host,
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": UNKNOWN_ADDRESS.host,
    v2(1, 0x11, b"\xc0\0\2\1\xc0\0\2\2\0\1\0\2"): "192.0.2.1",
    v2(1, 0x11, b"\xc0\0\2\1\xc0\0\2\2\0\1\0\2" + b"\4\0\1x"): "192.0.2.1",
    v2(0, 0, b""): UNKNOWN_ADDRESS.host,
    v2(1, 0, b""): UNKNOWN_ADDRESS.host,
    v2(1, 0x31, b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")): UNKNOWN_ADDRESS.host,
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers(header: bytes) -> None:
    """A header gives the client's address, or the unknown one, wherever it is cut."""
    for end in range(len(header)):
        assert read_header(header[:end]) is None
    found = read_header(header + b"rest")
    assert found is not None
    assert (getattr(found[0], "host", None), found[1]) == (HEADERS[header], b"rest")


@pytest.mark.parametrize(
    "header",
    [
        *(b"GET / HTTP/1.1\r\n", b"PROXY \r\n", b"PROXY TCP4\r\n", b"PROXY TCP4 a b 1 2\r\n", b"PROXY UNKNOWNX\r\n"),
        *(b"PROXY TCP4 1.2.3.4 1.2.3.4 x 2\r\n", b"PROXY TCP4 " + b"1" * 200, v2(5, 0x11, b""), v2(1, 0x11, b"\0" * 3)),
        *(v2(1, 0x1F, b"\0" * 12), v2(1, 0xF1, b"\0" * 12), v2(1, 0x21, b"\0" * 12), v2(1, 0x31, b"\0" * 36)),
        *(
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        ),
    ],
)
def test_no_headers(header: bytes) -> None:
    """Anything but a header is an error."""
    with pytest.raises(InvalidProxyHeader):
        read_header(header)


@pytest.fixture(scope="module", params=["yes", "no"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server behind a proxy, with the fast paths and without."""
    listens = ("--http-listen=haproxy:tcp:0:interface=127.0.0.1", "--http-allow=192.0.2.0/24")
    command = ("-n", "jsonrpcs", "--transport=1", *listens, f"--fast-paths={request.param}")
    with Server(tmp_path_factory.mktemp("server"), command=command) as running:
        yield running


def exchange(address: Any, *pieces: bytes) -> bytes:
    with socket.create_connection(address, PATIENCE) as client:
        with contextlib.suppress(OSError):
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            return b"".join(iter(lambda: client.recv(65_536), b""))
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("header", HEADERS)
def test_proxy(server: Server, header: bytes) -> None:
    """The client's address decides who is let in; an unknown address is not a known one, not even a local one."""
    status = b"200" if HEADERS[header] == "192.0.2.1" else b"403"
    assert exchange(server.addresses["http"], header + http_request(ECHO))[:12] == b"HTTP/1.1 " + status
    assert exchange(server.addresses["http"], header, http_request(ECHO))[:12] == b"HTTP/1.1 " + status
    assert not exchange(server.addresses["http"], http_request(ECHO))


@pytest.mark.slow
def test_unknown_is_allowed(tmp_path: Path) -> None:
    """A client without an address, as a proxy's health check is, is let in where http_allow has the unknown address."""
    listens = ("--http-listen=haproxy:tcp:0:interface=127.0.0.1", "--http-allow=0.0.0.0/32")
    rule = "--rule=http 0.0.0.0/32 allow jsonrpc.echo"
    with Server(tmp_path, command=("-n", "jsonrpcs", "--transport=1", *listens, rule)) as server:
        reply = exchange(server.addresses["http"], b"PROXY UNKNOWN\r\n" + http_request(ECHO))
        assert reply.endswith(ECHO_REPLY)
        other = ECHO.replace(b"jsonrpc.echo", b"core.version")
        assert exchange(server.addresses["http"], b"PROXY UNKNOWN\r\n" + http_request(other)).startswith(
            b"HTTP/1.1 403 "
        )


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), "--max-connections=2") as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(("end", "expected"), [(b"", b""), (b"\n", b"\n"), (b"\r\n", b"\n")])
def test_line(narrow: Server, end: bytes, expected: bytes) -> None:
    """A request that ends a line gets a reply that does: clients that send lines wait for one."""
    assert exchange(narrow.addresses["tcp"], ECHO + end) == ECHO_REPLY + expected


@pytest.mark.slow
def test_backlog(narrow: Server) -> None:
    """More connections than there may be wait, and are served in their turn."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(narrow.addresses["http"], PATIENCE)) for _ in range(20)]
        for client in clients:
            client.sendall(http_request(ECHO, "Connection: close"))
        for client in clients:
            assert b"".join(iter(partial(client.recv, 65_536), b"")).endswith(ECHO_REPLY)


class TcpTests(HttpCase):
    """Plain TCP in this process."""

    @pytest.mark.slow
    async def test_never_reads(self) -> None:
        """A client that does not take its reply in time is cut off, and makes room for others."""
        self.serve(transport=8, tcp_socket="tcp:127.0.0.1:0", http_timeout=0.3, max_connections=1)
        (stream,) = self.service.streams()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert stream.listener is not None
            address = stream.listener.host, stream.listener.port
            client.connect(address)
            client.sendall(document("test.big", 20_000_000))
            await until(lambda: stream.connections.unread._waiting)
            reply: bytes = await deferToThread(exchange, address, ECHO)
            assert reply == ECHO_REPLY
            assert (stream.connections.late, stream.connections.unread._waiting) == (1, {})


@pytest.mark.slow
def test_unsent_replies_are_freed(tmp_path: Path) -> None:
    """What clients that leave have not read takes no memory any more, over and over."""
    large = document("good.size", 4_000_000)

    with Server(tmp_path, "--commands=tests.support.misbehaving") as leaky:

        def memory() -> int:
            status = Path(f"/proc/{leaky.process.pid}/status").read_text()
            return int(status.partition("VmRSS:")[2].split()[0])

        for name, data in (("tcp", large), ("http", http_request(large))):
            before = memory()
            for _ in range(25):
                with socket.create_connection(leaky.addresses[name]) as client:
                    client.sendall(data)
                    assert client.recv(1)
            leaky.call("unix", ECHO)
            deadline = time.monotonic() + PATIENCE
            while memory() - before > 30_000:  # kB; replies took 100,000
                assert time.monotonic() < deadline, (name, memory() - before)
                time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("users", [[], ["--http-allow=127.0.0.1"]])
def test_request_that_waits_is_not_cut_off(tmp_path: Path, users: list[str]) -> None:
    """A connection is not idle if a request has come while something kept the server from reading: the request is
    answered, although the time for idle connections is over.
    """
    options = ("--commands=tests.support.misbehaving", "--http-timeout=1", "--watchdog=0", *users)
    with Server(tmp_path, *options) as server:
        clients = {name: socket.create_connection(server.addresses[name]) for name in ("http", "tcp")}
        with contextlib.ExitStack() as stack:
            for client in clients.values():
                stack.enter_context(client).settimeout(PATIENCE)
            clients["http"].sendall(http_request(ECHO))
            assert clients["http"].recv(1000)
            clients["tcp"].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with socket.create_connection(server.addresses["tcp"]) as blocking:
                server.process.send_signal(signal.SIGSTOP)
                clients["http"].sendall(http_request(ECHO))
                clients["tcp"].sendall(ECHO)
                time.sleep(2)
                blocking.sendall(ECHO)
                server.process.send_signal(signal.SIGCONT)
            assert clients["http"].recv(1000).endswith(ECHO_REPLY)
            assert clients["tcp"].recv(1000) == ECHO_REPLY
