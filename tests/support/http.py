"""A server over HTTP or HTTPS within the process, and a client that sends it any bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from jsonrpcs_tx import Fault, Settings, command, makeService
from jsonrpcs_tx.log import debug, set_debug, throttle
from jsonrpcs_tx.transports.unread import socket_transport
from tests.support import ECHO, ECHO_REPLY, PATIENCE, http_request
from tests.support.files import make_directory


@attrs.frozen
class Response:
    status: int
    reason: bytes
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def result(self) -> Any:
        return json.loads(self.body)["result"]

    @property
    def error(self) -> tuple[int, str]:
        """Code and message."""
        error = json.loads(self.body)["error"]
        return error["code"], error["message"]


@implementer(IHalfCloseableProtocol)
class Client(Protocol):
    """A connection that sends any bytes, and parses responses itself.

    @ivar received: what has arrived and has not been asked for yet.
    """

    transport: Any

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self.closed = False
        self._news: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    @property
    def received(self) -> bytes:
        self._received = [b"".join(self._received)]
        return self._received[0]

    @received.setter
    def received(self, data: bytes) -> None:
        self._received = [data]

    def dataReceived(self, data: bytes) -> None:
        self._received.append(data)
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self._tell()

    def write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    async def response(self, has_body: bool = True) -> Response:
        """The next response; that to HEAD has no body."""
        while b"\r\n\r\n" not in self.received:
            await self._more()
        head, _, rest = self.received.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        version, status, reason = first.split(b" ", 2)
        assert version in (b"HTTP/1.1", b"HTTP/1.0")
        assert len(headers) == len(lines)
        size = int(headers.get(b"content-length", 0)) if has_body else 0
        self.received = rest
        while sum(map(len, self._received)) < size:
            await self._more()
        body, self.received = self.received[:size], self.received[size:]
        return Response(int(status), reason, headers, body)

    async def end(self) -> bytes:
        """What arrives until the server closes the connection."""
        while not self.closed:
            await self._more()
        return self.received

    async def close(self, abort: bool = True) -> None:
        if not self.closed:
            assert self.transport is not None
            if abort:
                self.transport.abortConnection()
            else:
                self.transport.loseConnection()
                socket_transport(self.transport).loseConnection()  # TLS itself would wait for the server's close_notify
            await self.end()

    def close_sending_side(self) -> None:
        """Close the sending side of the connection; over TLS that is a close_notify."""
        transport: Any = self.transport
        if hasattr(transport, "_tlsConnection"):
            transport._aggregator.flush()
            transport._tlsConnection.shutdown()
            transport._flushSendBIO()
        else:
            transport.loseWriteConnection()

    def readConnectionLost(self) -> None:
        """Close the connection when the server has closed its sending side."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    async def _more(self) -> None:
        assert not self.closed, f"the connection was closed after {self.received!r}"
        news: Deferred[None] = Deferred()
        self._news.append(news)
        await news.addTimeout(PATIENCE, reactor)

    def _tell(self) -> None:
        news, self._news = self._news, []
        for one in news:
            one.callback(None)


class Commands:
    """Commands that fail in every way, and some that a test ends.

    @ivar started: the Deferred of each C{test.wait} that has begun.
    @ivar cancelled: the name of each that was cancelled.
    @ivar stop: what C{test.stop} calls.
    """

    stop: Callable[[], object]

    def __init__(self) -> None:
        self.started: DeferredQueue[Deferred[str]] = DeferredQueue()
        self.cancelled: DeferredQueue[str] = DeferredQueue()

    async def cancellation(self) -> str:
        """The next command that was cancelled."""
        return await self.cancelled.get().addTimeout(PATIENCE, reactor)

    @command("test.fault")
    def fault(self, code: int, text: str) -> None:
        raise Fault(code, text)

    @command("test.big")
    def big(self, size: int) -> str:
        return "x" * size

    @command("test.wait")
    def wait(self) -> Deferred[str]:
        waiting: Deferred[str] = Deferred(lambda _: self.cancelled.put("test.wait"))
        self._begin(waiting)
        return waiting

    @command("test.stop")
    def stop_and_wait(self) -> Deferred[str]:
        self.stop()
        return self.wait()

    @command("test.coroutine")
    async def coroutine(self) -> list[str]:
        waiting: Deferred[str] = Deferred()
        self._begin(waiting)
        try:
            return ["awaited", await waiting]
        except CancelledError:
            self.cancelled.put("test.coroutine")
            raise

    @command("test.limited", timeout=0.02)
    def limited(self) -> Deferred[str]:
        return self.wait()

    @command("test.async_fault")
    async def async_fault(self) -> None:
        raise Fault(409, "Not Now")

    @command("test.async_bug")
    async def async_bug(self) -> None:
        raise RuntimeError("a secret")

    def _begin(self, waiting: Deferred[str]) -> None:
        """Tell the test, once the server has returned from this call."""
        reactor.callLater(0, self.started.put, waiting)


class HttpCase(TestCase):
    """A server with L{Commands}.

    @cvar options: settings of it.
    """

    options: dict[str, Any] = {}

    @property
    def protocol(self) -> str:
        """The address of L{connect}."""
        return "https" if self.options.get("tls_self_signed") else "http"

    def setUp(self) -> None:
        throttle.clear()  # trial has no fixtures
        self.directory: Path = make_directory(self)
        self.addCleanup(set_debug, debug())
        self.commands = Commands()

    def serve(self, **options: Any) -> None:
        """Start the server, with further settings."""
        usual = {"http_listen": "tcp:0:interface=127.0.0.1", "https_listen": "tcp:0:interface=127.0.0.1"}
        settings = Settings(
            **{"transport": 1, "run_dir": str(self.directory), "load": "jsonrpc", **usual, **self.options, **options}
        )
        self.service = makeService(settings, reactor, [self.commands])
        self.addCleanup(self.service.stopService)
        self.service.startService()

    async def connect(self, host: str = "127.0.0.1") -> Client:
        """Connect from an address of this machine; the server is started if it is not."""
        if not hasattr(self, "service"):
            self.serve()
        port = next(listener.port for listener in self.service.listeners() if listener.protocol == self.protocol)
        assert port is not None
        if self.protocol == "https":
            endpoint: Any = SSL4ClientEndpoint(reactor, "127.0.0.1", port, CertificateOptions(), bindAddress=(host, 0))
        else:
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port, bindAddress=(host, 0))
        client: Client = await connectProtocol(endpoint, Client())
        self.addCleanup(lambda: Deferred.fromCoroutine(client.close()))
        return client

    async def ask(self, data: bytes, has_body: bool = True, host: str = "127.0.0.1") -> Response:
        """The response to a request on a connection of its own."""
        client = await self.connect(host)
        client.write(data)
        response = await client.response(has_body)
        assert client.received == b""
        await client.close()
        return response

    async def assert_answers(self, client: Client) -> None:
        client.write(http_request(ECHO))
        assert (await client.response()).body == ECHO_REPLY


def repeat_everywhere(module: dict[str, Any], *cases: type[HttpCase]) -> None:
    """Run test cases again on the general path and over HTTPS, as further classes of their module."""
    for name, options in (
        ("GeneralPath", {"fast_paths": False}),
        ("Https", {"tls_self_signed": True}),
        ("HttpsGeneralPath", {"tls_self_signed": True, "fast_paths": False}),
    ):
        for case in cases:
            renamed = name + case.__name__
            module[renamed] = pytest.mark.slow(
                type(renamed, (case,), {"options": {**case.options, **options}, "__module__": case.__module__})
            )
