"""Targets for data that is cut in transit: TLS records, and the messages between a worker and the main process."""

import itertools
import os
import re
import socket
import ssl
from collections import deque
from contextlib import ExitStack
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import Certificate, CertificateOptions, KeyPair, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from fuzz.common import CUT
from jsonrpcs_tx import Dispatcher, Registry
from jsonrpcs_tx.datagrams import link as lines
from jsonrpcs_tx.datagrams.workers import PassedOn, WorkerProcess
from jsonrpcs_tx.transports.httpdirect import DirectSite
from jsonrpcs_tx.transports.httpsite import JsonRpcSite
from jsonrpcs_tx.transports.tlsdirect import DirectTlsTransport
from jsonrpcs_tx.transports.waiting import WaitingReply
from jsonrpcs_tx.worker import Relay
from tests.support import unverified
from tests.support.httpmemory import Commands, Connection
from tests.support.tls import make_identity

PAUSE: Final = 0x80
"""A byte of the plan with this bit: the client reads nothing until the next piece has arrived."""

MOST_CHUNKS: Final = 200
"""The most pieces in which a stream arrives: more would take long, and show little more."""

ROOM: Final = 1000
"""Bytes unread by a client from which on the server is told to wait."""


@cache
def _context() -> IOpenSSLContextFactory:
    """The server's side of TLS, with a certificate of its own."""
    identity = make_identity("localhost")
    certificate = Certificate.loadPEM(identity.pem)
    options: CertificateOptions = PrivateCertificate.fromCertificateAndKeyPair(
        certificate, KeyPair.load(identity.key_pem(), 1)
    ).options()
    context = options.getContext()

    @implementer(IOpenSSLContextFactory)
    class Context:
        def getContext(self) -> SSL.Context:
            return context

    return Context()


@cache
def _client_context() -> ssl.SSLContext:
    """The client's side, which is slow to make."""
    return unverified()


class _Wire(StringTransport):
    """A transport in memory that acts like a TCP connection, and whose client need not read.

    @ivar read: whether the client reads. If not, the server's producer pauses as soon as L{ROOM} is taken.
    """

    producer: Any
    disconnected = False
    read = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if not self.read and self.streaming and len(self.value()) > ROOM:
            self.producer.pauseProducing()

    def take(self) -> bytes:
        """What the client reads now; the producer goes on when there is room again."""
        if not self.read:
            return b""
        data: bytes = self.value()
        self.clear()
        if self.streaming and len(data) > ROOM:
            self.producer.resumeProducing()
        return data


class TlsConnection(Connection):
    """A connection in memory over TLS; everything that its client's end gets is shown decrypted.

    @param site: L{DirectSite} or L{JsonRpcSite}; the direct one goes over the direct transport.
    """

    transport: _Wire

    def __init__(self, site: type[JsonRpcSite]) -> None:
        super().__init__(site)
        factory = TLSMemoryBIOFactory(_context(), False, self.channel.site, self.clock)
        if site is DirectSite:
            factory.protocol = DirectTlsTransport
        self.transport = _Wire(peerAddress=IPv4Address("TCP", "127.0.0.1", 5))
        self.server: Any = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5))
        self.server.makeConnection(self.transport)
        # Replies of 1 kB have the same effect as those of 64 kB.
        self.server._aggregator.MAX_BUFFER_SIZE = self.server._aggregator._bufferLeft = ROOM
        self.channel = self.server.wrappedProtocol
        self.channel.callLater = self.clock.callLater
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = _client_context().wrap_bio(self._incoming, self._outgoing)
        self._arriving: deque[bytes] = deque()
        self.received = b""
        self._shake_hands()

    def _shake_hands(self) -> None:
        for _ in range(5):
            try:
                self._client.do_handshake()
            except ssl.SSLWantReadError:
                self.arrive(self._outgoing.read())
            else:
                self.arrive(self._outgoing.read())
                return
        raise AssertionError("the handshake does not end")

    def records(self, pieces: list[bytes]) -> bytes:
        """Pieces as they go over the wire, each in a record of its own."""
        for piece in filter(None, pieces):
            self._client.write(piece)
        return self._outgoing.read()

    def arrive(self, *wire: bytes) -> None:
        """Bytes that arrive at the server as soon as it reads; what it sends meanwhile is collected."""
        self._arriving.extend(filter(None, wire))
        while self._arriving and self.transport.producerState == "producing" and not self.transport.disconnected:
            self.server.dataReceived(self._arriving.popleft())
        self.clock.advance(0)
        self._incoming.write(self.transport.take())
        try:
            while data := self._client.read(65_536):
                self.received += data
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass


def tls(data: bytes) -> None:
    """However TLS records are cut, a connection gets the same replies as without TLS, on the direct and the general
    path.

    Asynchronous commands are begun once each, in order, and answered once everything has come. Before the first cut
    there is a plan: the sizes of the pieces in which the bytes arrive, and where the client reads nothing for a while.
    """
    plan, *pieces = data.split(CUT)
    if not plan or not pieces:
        return
    with capturedLogs() as events:
        clear = Connection(JsonRpcSite).feed(*pieces)
        wanted = _answer_all(clear, lambda: None), clear.end()[0]
        for site in (JsonRpcSite, DirectSite):
            connection = TlsConnection(site)
            wire = connection.records(pieces)
            for size, chunk in _chunks(wire, plan):
                connection.transport.read = not size & PAUSE
                connection.arrive(chunk)
            connection.transport.read = True
            for _ in pieces:
                connection.arrive()
            begun = _answer_all(connection, connection.arrive)
            assert (begun, _without_date(connection.received)) == wanted, site
            connection.server.connectionLost(ConnectionError())
    failures = [event["log_failure"] for event in events if "log_failure" in event]
    assert not failures, failures[0]


def _chunks(wire: bytes, plan: bytes) -> list[tuple[int, bytes]]:
    """The bytes on the wire in pieces, each with its byte of the plan."""
    found: list[tuple[int, bytes]] = []
    position = 0
    for size in itertools.cycle(plan):
        if position >= len(wire):
            return found
        end = position + max(1 + (size & ~PAUSE) ** 2, len(wire) // MOST_CHUNKS)
        found.append((size, wire[position:end]))
        position = end
    raise AssertionError("unreachable")


def _answer_all(connection: Connection, arrive: Any) -> int:
    """Answer each command that waits, and those that begin when it is answered.

    @return: how many there were.
    """
    later = connection.commands.later
    answered = 0
    while answered < len(later):
        if not later[answered].called:
            later[answered].callback(f"answer {answered}")
            connection.turn()
        answered += 1
        arrive()
    return answered


def _without_date(written: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*", b"Date: now", written)


class _Main:
    """The main process, which notes what workers pass on."""

    def __init__(self) -> None:
        self.passed_on: list[tuple[Any, ...]] = []

    def take(self, what: PassedOn) -> None:
        if isinstance(what, WaitingReply):
            assert type(what.body) is bytes, what
            _check_peer(what.peer)
            return
        document, peer, uid, gid, pid = what
        assert type(document) is bytes, document
        assert all(number is None or isinstance(number, int) for number in (uid, gid, pid)), (uid, gid, pid)
        _check_peer(peer)
        self.passed_on.append((document, peer, uid, gid))


def _check_peer(peer: Any) -> None:
    """Check that this is an address that a datagram socket gives: a path, an abstract name, a host with numbers, or
    None.
    """
    if type(peer) is tuple:
        assert list(map(type, peer)) in ([str, int], [str, int, int, int]), peer
    else:
        assert type(peer) in (str, bytes, type(None)), peer


def link(data: bytes) -> None:
    """Messages between a worker and the main process arrive whole and in order, and their replies return to where they
    came from.

    Any message may be cut or invalid: it is then skipped, and raises nothing.
    """
    pieces = [piece for piece in data.split(CUT)[:20] if piece]
    _check_line(pieces)
    main = _Main()
    worker = _worker(main)
    with capturedLogs():
        for piece in pieces:
            worker._received(piece)
    for piece in pieces:
        _check_passed_on(worker, main, piece)


def _worker(main: _Main) -> Any:
    """A worker as the main process sees it."""
    job: Any = SimpleNamespace(reactor=Clock(), protocol="udp")
    return WorkerProcess(0, job, b"", main.take, lambda: None)


def _check_line(pieces: list[bytes]) -> None:
    """What goes into one end of a line comes out of the other, unless it is larger than a message may be."""
    received: list[bytes] = []
    ended: list[bool] = []
    with ExitStack() as stack:
        its_socket, own_socket = lines.pair()
        its = lines.Link(its_socket, lambda message: None, lambda: None, MemoryReactorClock())
        stack.callback(its.close)
        own = lines.Link(own_socket, received.append, lambda: ended.append(True), MemoryReactorClock())
        stack.callback(own.close)
        for piece in pieces:
            its.send(piece)
        own.drain()
        assert received == pieces
        its.end()
        own.drain()
        assert ended == [True]


@cache
def _dispatcher() -> Dispatcher:
    dispatcher = Dispatcher(Registry(Commands()), Clock())
    dispatcher.stateless = lambda request, origin: False  # type: ignore[method-assign] # everything is passed on
    return dispatcher


def _check_passed_on(worker: Any, main: _Main, piece: bytes) -> None:
    """What a worker passes on is what it got, from peers of any shape; if it is cut or changed, it does not become
    another client's request.
    """
    sent: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        line: Any = SimpleNamespace(send=lambda message, drained=None: sent.append(message), congested=False)
        relay = Relay(sock, _dispatcher(), "udp", 1, line, lambda: None, MemoryReactorClock())
        text = piece.replace(b"\0", b"/")
        number = int.from_bytes(piece[:2])
        for peer, uid, gid in (
            (os.fsdecode(b"/" + text), number, 2**32 - 1 - number),
            (b"\0" + piece, None, None),
            (None, number, number),
            (("127.0.0.1", number), None, None),
            (("::1", number, 0, number), None, None),
        ):
            del main.passed_on[:]
            del sent[:]
            relay.datagram_received(piece, peer, uid, gid)
            for message in sent:
                worker._received(message)
            ((document, arrived, *owner),) = main.passed_on
            assert (document, *owner) == (piece, uid, gid)
            assert _as_socket_takes_it(arrived) == _as_socket_takes_it(peer), (arrived, peer)


def _as_socket_takes_it(peer: Any) -> Any:
    return os.fsencode(peer) if isinstance(peer, str) else peer
