"""The direct path of TLS, with OpenSSL's functions and with pyOpenSSL's, beside the general one: whatever a client
sends, the same happens.
"""

import contextlib
import gc
import itertools
import json
import os
import random
import re
import ssl
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import Mock, patch

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.protocols import tls as twisted_tls
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.state.memory import memory
from jsonrpcs_tx.transports import tlsdirect, tlsrecords
from jsonrpcs_tx.transports.httpdirect import DirectSite
from jsonrpcs_tx.transports.tls import CurrentContext
from jsonrpcs_tx.transports.tlsdirect import DirectTlsTransport
from jsonrpcs_tx.transports.tlstransport import TlsTransport
from tests.support import http_request
from tests.support.examples import examples
from tests.support.files import make_directory
from tests.support.httpmemory import Connection
from tests.support.tls import make_identity

VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
WAYS: Final = {
    "general": (TlsTransport, tlsrecords.by_openssl()),
    "OpenSSL": (DirectTlsTransport, tlsrecords.by_openssl()),
    "pyOpenSSL": (DirectTlsTransport, tlsrecords.by_pyopenssl()),
}
OPENSSL: Any = SSL
APPLICATION_DATA, ALERT, HANDSHAKE, CHANGE_CIPHER_SPEC = 23, 21, 22, 20


@cache
def server_context() -> CurrentContext:
    identity = make_identity("localhost")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "tls.pem").write_bytes(identity.pem + identity.key_pem())
        return CurrentContext(Settings(tls_certificate=f"{directory}/tls.pem"))


@cache
def client_context(version: str) -> SSL.Context:
    """A client's side, which checks no certificate."""
    context = SSL.Context(SSL.TLS_METHOD)
    number = SSL.TLS1_2_VERSION if version == "TLSv1.2" else SSL.TLS1_3_VERSION
    context.set_min_proto_version(number)
    context.set_max_proto_version(number)
    return context


def echo(value: str) -> bytes:
    """A call that returns a value."""
    return http_request(json.dumps({"jsonrpc": "2.0", "method": "jsonrpc.echo", "params": [value], "id": 1}).encode())


def record(kind: int, content: bytes) -> bytes:
    """A record as anybody can make it."""
    return bytes((kind, 3, 3)) + len(content).to_bytes(2, "big") + content


class Wire(StringTransport):
    """The server's end of a connection in memory."""

    disconnected = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do."""

    def take(self) -> bytes:
        data: bytes = self.value()
        self.clear()
        return data


@attrs.frozen
class Fate:
    """What became of a connection: what the client got, what it was told by TLS, how the server ended it, why it did
    for HTTP, and what it has answered.
    """

    received: bytes
    error: str
    reason: str
    closed: bool
    aborted: bool
    counters: dict[str, int]


class Pair:
    """A client and a server in memory, with a connection of TLS.

    @param way: of L{WAYS}.
    @param begins: the handshake is done at once.
    """

    def __init__(self, way: str, version: str, begins: bool = True) -> None:
        self._plain = Connection(DirectSite)
        self.commands = self._plain.commands
        self._plain.channel.site.scheme = "https"
        transport, functions = WAYS[way]
        self._functions: dict[str, Any] = functions._asdict()
        factory = TLSMemoryBIOFactory(server_context(), False, self._plain.channel.site, self._plain.clock)
        factory.protocol = transport
        address = IPv4Address("TCP", "127.0.0.1", 5)
        self.wire = Wire(peerAddress=address)
        self.server: Any = factory.buildProtocol(address)
        self.server.makeConnection(self.wire)
        channel: Any = self.server.wrappedProtocol
        channel.callLater = self._plain.clock.callLater
        self._channel = channel
        self.client = SSL.Connection(client_context(version))
        self.client.set_connect_state()
        self.received = b""
        self._error = ""
        for _ in range(4 if begins else 0):
            self.arrive(self.handshake())

    def handshake(self) -> bytes:
        """What the client sends next in the handshake."""
        with contextlib.suppress(SSL.Error):  # among them the one that it waits for the server
            self.client.do_handshake()
        return self.taken()

    def taken(self) -> bytes:
        """What the client has to send."""
        try:
            return self.client.bio_read(1_000_000)
        except SSL.WantReadError:
            return b""

    def sealed(self, data: bytes) -> bytes:
        """Data as the client sends it; empty: the connection is closed for it."""
        try:
            self.client.sendall(data)
        except SSL.Error:
            return b""
        return self.taken()

    def renegotiation(self) -> bytes:
        """What a client of TLS 1.2 sends to begin another handshake; empty: TLS 1.3 has none."""
        try:
            self.client.renegotiate()
        except SSL.Error:
            return b""
        return self.handshake()

    def goodbye(self) -> bytes:
        """What the client sends when it closes its sending side."""
        self.client.shutdown()
        return self.taken()

    def arrive(self, *pieces: bytes) -> None:
        """Bytes that arrive at the server, which answers."""
        with patch.multiple(tlsdirect, **self._functions):
            for piece in filter(None, pieces):
                if not self.wire.disconnected:
                    self.server.dataReceived(piece)
            self._plain.clock.advance(0)
        assert OPENSSL._lib.ERR_peek_error() == 0
        self._read(self.wire.take())

    def _read(self, data: bytes) -> None:
        if data and not self._error:
            self.client.bio_write(data)
        while not self._error:
            try:
                self.received += self.client.recv(65_536)
            except SSL.WantReadError:
                return
            except SSL.ZeroReturnError:
                self._error = "closed"
            except SSL.Error as error:
                self._error = repr(error)

    def end(self) -> Fate:
        """What has become of it; then the client leaves."""
        counters = {f"{c.group}:{c.name}": c.read() for c in self._plain.dispatcher.counters.select("all")}
        closed, aborted = self.wire.disconnecting, self.wire.disconnected
        with patch.object(self._channel, "connectionLost", wraps=self._channel.connectionLost) as lost:
            self.server.connectionLost(Failure(ConnectionDone()))
        (reason,) = lost.call_args.args
        received = re.sub(rb"Date: [^\r]*", b"Date: now", self.received)
        return Fate(received, self._error, repr(reason.value), closed, aborted, counters)


def damaged(data: bytes) -> bytes:
    """The same with another last byte: the record cannot be authenticated."""
    return data[:-1] + bytes(byte ^ 1 for byte in data[-1:])


def bytewise(data: bytes) -> tuple[bytes, ...]:
    """The same in pieces of one byte."""
    return tuple(data[place : place + 1] for place in range(len(data)))


STEPS: Final[dict[str, Callable[[Pair], tuple[bytes, ...]]]] = {
    "call": lambda pair: (pair.sealed(echo("one")),),
    "two calls in a record": lambda pair: (pair.sealed(echo("one") + echo("two")),),
    "two records at once": lambda pair: (pair.sealed(echo("one")) + pair.sealed(echo("two")),),
    "call in two records": lambda pair: tuple(map(pair.sealed, (echo("one")[:60], echo("one")[60:]))),
    "call of 1.5 kB": lambda pair: (pair.sealed(echo("x" * 1500)),),
    "record of 16 kB": lambda pair: (pair.sealed(echo("one") * 200),),
    "other request": lambda pair: (pair.sealed(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),),
    "last request": lambda pair: (pair.sealed(echo("one").replace(b"\r\n", b"\r\nConnection: close\r\n", 1)),),
    "refused request": lambda pair: (pair.sealed(b"POST /RPC HTTP/1.1\r\nHost : a\r\n\r\n"),),
    "record in pieces": lambda pair: bytewise(pair.sealed(echo("one"))),
    "goodbye": lambda pair: (pair.goodbye(),),
    "goodbye with a call": lambda pair: (pair.sealed(echo("one")) + pair.goodbye(),),
    "goodbye in pieces": lambda pair: bytewise(pair.goodbye()),
    "renegotiation": lambda pair: (pair.renegotiation(),),
    "damaged record": lambda pair: (damaged(pair.sealed(echo("one"))),),
    "damaged record behind one": lambda pair: (pair.sealed(echo("one")) + damaged(pair.sealed(echo("two"))),),
    "record cut off": lambda pair: (pair.sealed(echo("one"))[:-3],),
    "record of the wrong length": lambda pair: (pair.sealed(echo("one")) + b"x",),
    "record twice": lambda pair: (pair.sealed(echo("one")),) * 2,
    "records in the wrong order": lambda pair: tuple(reversed([pair.sealed(echo("one")), pair.sealed(echo("two"))])),
    "record of another connection": lambda pair: (Pair("general", "TLSv1.3").sealed(echo("one")),),
    "data in the clear": lambda pair: (record(APPLICATION_DATA, echo("one")),),
    "HTTP without TLS": lambda pair: (echo("one"),),
    "empty record": lambda pair: (record(APPLICATION_DATA, b""),),
    "record of 18 kB": lambda pair: (record(APPLICATION_DATA, bytes(16_384 + 2048)),),
    "record of 64 kB": lambda pair: (record(APPLICATION_DATA, bytes(65_535)),),
    "record of TLS 1.0": lambda pair: (pair.sealed(echo("one")).replace(b"\x17\x03\x03", b"\x17\x03\x01", 1),),
    "call as an alert": lambda pair: (bytes((ALERT,)) + pair.sealed(echo("one"))[1:],),
    "alert in the clear": lambda pair: (record(ALERT, b"\x02\x28"),),
    "warning in the clear": lambda pair: (record(ALERT, b"\x01\x5a"),),
    "ClientHello": lambda pair: (record(HANDSHAKE, b"\x01\x00\x00\x04\x03\x03\x00\x00"),),
    "HelloRequest": lambda pair: (record(HANDSHAKE, bytes(4)),),
    "change of cipher": lambda pair: (record(CHANGE_CIPHER_SPEC, b"\x01"),),
    "unknown record": lambda pair: (record(99, b"12"),),
}
"""What a client may send, in pieces."""


def fate(way: str, version: str, steps: list[str], places: list[int]) -> Fate:
    """What becomes of a connection whose client does these steps, a call first, and with what is sent cut anywhere."""
    pair = Pair(way, version)
    for step in ["call", *steps]:
        for piece in STEPS[step](pair):
            pair.arrive(*cut(piece, places))
    return pair.end()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Data in pieces."""
    bounds = [0, *sorted(place % (len(data) or 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(bounds)]


def begun(way: str, version: str, places: list[int], behind: list[str], wrong: tuple[int, int] | None) -> Fate:
    """What becomes of a connection whose handshake arrives cut anywhere, with something behind it at once.

    @param behind: the steps of which that consists.
    @param wrong: which of the client's flights has a wrong byte, and where: in the header, or at the end; None: all
        are right.
    """
    pair = Pair(way, version, begins=False)
    for number in range(3):
        flight = bytearray(pair.handshake())
        if wrong is not None and number == wrong[0] and flight:
            flight[wrong[1] % len(flight)] ^= 1
        if number == 1:
            flight += b"".join(b"".join(STEPS[step](pair)) for step in behind)
        pair.arrive(*cut(bytes(flight), places))
    pair.arrive(pair.sealed(echo("last")))
    return pair.end()


def check(version: str, steps: list[str], places: list[int]) -> Fate:
    """A connection must end the same on all paths."""
    return same(*(fate(way, version, steps, places) for way in WAYS))


def same(general: Fate, *direct: Fate) -> Fate:
    """What has become of a connection on all paths must be the same. If it ends with an error, the general path may not
    have sent the last replies, since it sends none before the reactor's next turn; and on the direct path the reason is
    that the connection is lost.
    """
    if general.error:
        assert direct[0].received.startswith(general.received)
        general = attrs.evolve(general, received=direct[0].received, reason=direct[0].reason)
    assert direct == (general, general)
    return general


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("step", STEPS)
def test_each_step(step: str, version: str) -> None:
    """Each thing that a client may send ends the same on all paths; so does a call behind it."""
    assert check(version, [step, "call"] if "goodbye" not in step else [step], []).received


@pytest.mark.slow
@given(
    st.sampled_from(list(VERSIONS)),
    st.lists(st.sampled_from([step for step in STEPS if "goodbye" not in step]), max_size=5),
    st.lists(st.integers(0, 20_000), max_size=3),
)
@example("TLSv1.3", ["call in two records"] * 4 + ["damaged record"], [5])
@examples(300)
def test_any_connection(version: str, steps: list[str], places: list[int]) -> None:
    """Any of these one after the other, cut anywhere, end the same on all paths."""
    check(version, steps, places)


@pytest.mark.parametrize("behind", [[], ["call"], ["call", "two records at once"], ["data in the clear"], ["goodbye"]])
def test_behind_the_handshake(behind: list[str]) -> None:
    """What comes with the end of a handshake ends the same on all paths; a call with it is answered."""
    outcome = same(*(begun(way, "TLSv1.3", [], behind, None) for way in WAYS))
    assert outcome.received.count(b'["one"]') == behind.count("call") + behind.count("two records at once")
    assert outcome.received.endswith(b'["last"],"id":1}') == bool(not outcome.error and "goodbye" not in behind)


@pytest.mark.slow
@given(
    st.sampled_from(list(VERSIONS)),
    st.lists(st.integers(0, 1000), max_size=4),
    st.lists(st.sampled_from(["call", "two records at once", "call in two records", "alert in the clear"]), max_size=2),
    st.none() | st.tuples(st.integers(0, 1), st.integers(-1, 8)),
)
@examples(300)
def test_any_handshake(version: str, places: list[int], behind: list[str], wrong: tuple[int, int] | None) -> None:
    """A handshake that is cut anywhere, has something behind it or a wrong byte, ends the same on all paths."""
    same(*(begun(way, version, places, behind, wrong) for way in WAYS))


@pytest.mark.skipif(not hasattr(twisted_tls, "_NullAggregator"), reason="Twisted itself leaves a cycle")
def test_freed_at_once() -> None:
    """A connection that has ended leaves nothing to the garbage collector, which would find it late."""
    pair = Pair("OpenSSL", "TLSv1.3")
    pair.arrive(pair.sealed(echo("one")))
    server = weakref.ref(pair.server)
    gc.disable()
    try:
        pair.wire.producer = None  # as any transport does that is closed
        pair.server.connectionLost(Failure(ConnectionDone()))
        del pair
        assert server() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_refused(version: str, way: str) -> None:
    """A record that is damaged, or was sent before, is refused with the alert for it, and ends the connection."""
    for step in ("damaged record", "record twice", "records in the wrong order", "data in the clear"):
        outcome = fate(way, version, [step], [])
        assert ("bad record mac" in outcome.error, outcome.closed) == (True, True), (step, outcome)
        assert outcome.counters["https:requests"] == (2 if step == "record twice" else 1)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_many_connections(way: str) -> None:
    """However the pieces of many connections come between each other, each client gets the replies to its own calls,
    and nothing else; also while others send invalid records, and are cut off.
    """
    dice = random.Random(1)
    pairs = [Pair(way, dice.choice(list(VERSIONS))) for _ in range(30)]
    waiting: list[list[bytes]] = [[] for _ in pairs]
    wanted: list[list[str]] = [[] for _ in pairs]
    for turn in range(2000):
        place = dice.randrange(len(pairs))
        pair, pieces = pairs[place], waiting[place]
        if pieces:
            pair.arrive(pieces.pop(0))
        elif place < 3 and turn > 1000:
            pair.arrive(damaged(pair.sealed(echo("damaged"))))
        else:
            value = f"{place}-{turn}-" + "x" * dice.choice((1, 10, 1000, 1800))
            wanted[place].append(value)
            data = pair.sealed(echo(value))
            cut = dice.choice((len(data), len(data), dice.randrange(1, len(data))))
            pieces += filter(None, (data[:cut], data[cut:]))
    for place, pair in enumerate(pairs):
        if place >= 3:
            pair.arrive(*waiting[place])
        values = re.findall(rb'"result":\["([^"]*)"\]', pair.received)
        assert [value.decode() for value in values] == wanted[place][: len(values)]
        assert len(values) == len(wanted[place]) or place < 3
        assert pair.received.count(b"HTTP/1.1 200") == len(values)
        pair.end()


def test_short_records() -> None:
    """What one call does not take out of OpenSSL's memory is sent as well, and in order: records of a client that asks
    for short ones, for example.
    """
    for way in ("OpenSSL", "pyOpenSSL"):
        pair = Pair(way, "TLSv1.3")
        pair.arrive(pair.sealed(echo("one")))
        for _ in range(3):
            pair.server._tlsConnection.send(b"y" * 9000)  # stays in memory
        pair.arrive(pair.sealed(echo("two")))
        body = pair.received.partition(b'["one"],"id":1}')[2]
        assert body.startswith(b"y" * 27_000 + b"HTTP/1.1 200 OK")
        assert body.endswith(b'["two"],"id":1}')


@pytest.mark.parametrize("way", WAYS)
def test_data_behind_the_end(way: str) -> None:
    """What a client sends behind its C{close_notify}, while it waits for a reply, is not kept in memory."""
    pair = Pair(way, "TLSv1.3")
    pair.arrive(pair.sealed(http_request(b'{"jsonrpc":"2.0","method":"test.later","id":1}')) + pair.goodbye())
    before = memory().real_used
    pair.arrive(*[record(APPLICATION_DATA, bytes(16_384))] * 2000)
    assert memory().real_used - before < 10_000_000
    (later,) = pair.commands.later
    later.callback("at last")
    pair.arrive()
    assert pair.received.endswith(b'"result":"at last","id":1}')
    assert pair.wire.disconnecting


def test_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record for which OpenSSL has no memory ends the connection, rather than being skipped."""
    cleared = []
    calls = dict.fromkeys(set(tlsrecords.NAMES["OpenSSL.SSL._lib"]) - {"BIO_write", "ERR_clear_error"})
    library = SimpleNamespace(BIO_write=lambda *_: -1, ERR_clear_error=lambda: cleared.append(True), **calls)
    monkeypatch.setattr(OPENSSL, "_lib", library)
    functions = tlsrecords.by_openssl()
    for take in (functions.decrypt, functions.shake_hands):
        cleared.clear()
        with pytest.raises(MemoryError):
            take(Mock(), b"x")
        assert cleared


@pytest.mark.parametrize("name", ["_ffi", "_lib"])
def test_fallback(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Where pyOpenSSL lacks one of its private names, its methods are called."""
    assert tlsrecords.fastest().decrypt.__qualname__.startswith("by_openssl")
    monkeypatch.delattr(SSL, name)
    assert tlsrecords.fastest().decrypt.__qualname__.startswith("by_pyopenssl")


def test_errors_are_cleared() -> None:
    """What is left behind by the failure of one connection does not make another fail."""
    for step in ("damaged record", "record of 64 kB", "unknown record", "HTTP without TLS"):
        good, bad = Pair("OpenSSL", "TLSv1.3"), Pair("OpenSSL", "TLSv1.3")
        good.arrive(good.sealed(echo("one")))
        bad.arrive(bad.sealed(echo("one")))
        bad.arrive(*STEPS[step](bad))
        good.arrive(good.sealed(echo("two")))
        assert good.end().received.endswith(b'["two"],"id":1}')
        assert bad.end().error


@pytest.mark.slow
class ClientTests(TestCase):
    """OpenSSL's own client, over a socket."""

    def setUp(self) -> None:
        directory = make_directory(self)
        identity = make_identity("localhost")
        (directory / "tls.pem").write_bytes(identity.pem + identity.key_pem())
        settings = Settings(
            transport=1,
            load="jsonrpc",
            http_listen="",
            https_listen="tcp:0:interface=127.0.0.1",
            tls_certificate="tls.pem",
            run_dir=str(directory),
        )
        service = makeService(settings, reactor)
        self.addCleanup(service.stopService)
        service.startService()
        (listener,) = service.listeners()
        assert listener.port is not None
        self.port = listener.port

    async def talk(self, version: str, command: bytes, done: bytes) -> bytes:
        """What the client prints that makes a call, does what a command says, and makes another call.

        @param done: what it prints of the command.
        """

        def run() -> bytes:
            program = ["openssl", "s_client", f"-{version}", "-connect", f"127.0.0.1:{self.port}"]
            with subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as client:
                assert client.stdin is not None
                assert client.stdout is not None
                printed = b""
                for data, reply in ((echo("one"), b'["one"]'), (command, done), (echo("two"), b'["two"]')):
                    with contextlib.suppress(BrokenPipeError):
                        client.stdin.write(data)
                        client.stdin.flush()
                    while reply not in printed:
                        piece = os.read(client.stdout.fileno(), 65_536)
                        if not piece:
                            return printed
                        printed += piece
                client.kill()
                return printed

        printed: bytes = await deferToThread(run)
        return printed

    async def test_new_keys(self) -> None:
        """A client of TLS 1.3 may change its keys, and ask the server to change its own."""
        for command in (b"k\n", b"K\n"):
            assert b'["two"]' in await self.talk("tls1_3", command, b"KEYUPDATE")

    async def test_renegotiation(self) -> None:
        """A client of TLS 1.2 may not shake hands again."""
        printed = await self.talk("tls1_2", b"R\n", b"RENEGOTIATING")
        assert b'["two"]' not in printed
        assert b"no renegotiation" in printed
