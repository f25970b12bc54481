"""Connections with many calls under way: plain JSON over TCP, and HTTP(S)."""

import contextlib
import os
import select
from socket import EAI_NONAME
from typing import Any

from OpenSSL.SSL import Error
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone, DNSLookupError
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.client import advice, deferredtls
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.client.httpmessages import CutOff, NotHttp, Response, TooLarge, post, post_head
from jsonrpcs_tx.client.readers import Readers
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.client.underway import Call, Link


class StreamLink(Link):
    """Has a connection for each call under way.

    @ivar connections: those that are open.
    """

    def __init__(self, target: Target, reactor: Any, max_reply: int, limit: int) -> None:
        super().__init__(target, reactor, max_reply, limit)
        self.connections: set[Any] = set()
        self._factory = Factory.forProtocol(lambda: self._protocol(self))
        self._factory.noisy = False
        self._connecting: dict[int, Deferred[Any]] = {}
        self._asked: dict[int, Any] = {}
        self._shut: Deferred[None] | None = None
        self._known_endpoint: Any = None

    _protocol: Any

    def transmit(self, call: Call) -> None:
        connection = self._kept()
        if connection is not None:
            self._ask(connection, call)
            return
        try:
            connecting = self._endpoint().connect(self._factory)
        except OSError as error:
            self.give_up(call, advice.untrusted(self.target, call.method, error))
            return
        self._connecting[call.id] = connecting
        connecting.addCallbacks(self._connected, self._failed, callbackArgs=(call,), errbackArgs=(call,))

    def forget(self, call: Call) -> None:
        connecting = self._connecting.pop(call.id, None)
        if connecting is not None:
            connecting.cancel()
        connection = self._asked.pop(call.id, None)
        if connection is not None:
            connection.call = None
            connection.transport.abortConnection()

    def is_sent(self, call: Call) -> bool:
        return call.id in self._asked

    def replace(self, call: Call, other: Call) -> None:
        self._asked[call.id].call = other

    def shut(self) -> Deferred[None] | None:
        if not self.connections:
            return None
        if self._shut is None:
            self._shut = Deferred()
        for connection in list(self.connections):
            connection.transport.abortConnection()
        return self._shut

    def answered(self, call: Call, outcome: object) -> None:
        """A connection has done with a call."""
        self._asked.pop(call.id, None)
        self.finish(call, outcome)

    def lost(self, connection: object) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if self._shut is not None and not self.connections:
            shut, self._shut = self._shut, None
            shut.callback(None)

    def _kept(self) -> Any:
        """A connection that is open and has nothing to do; None: there is none."""
        return None

    def _ask(self, connection: Any, call: Call) -> None:
        self._asked[call.id] = connection
        connection.ask(call)

    def _connected(self, connection: Any, call: Call) -> None:
        if self._connecting.pop(call.id, None) is None:
            connection.transport.abortConnection()
        else:
            self._ask(connection, call)

    def _failed(self, failure: Failure, call: Call) -> None:
        if self._connecting.pop(call.id, None) is not None:
            number = getattr(failure.value, "osError", None)
            words = os.strerror(number) if number else failure.getErrorMessage()
            if failure.check(DNSLookupError):
                number = EAI_NONAME
            self.finish(call, advice.not_reachable(self.target, call.method, OSError(number or 0, words)))

    def _endpoint(self) -> Any:
        """@raise OSError: a file for TLS is not what it should be."""
        if self._known_endpoint is None:
            self._known_endpoint = _endpoint(self.target, self.reactor)
        return self._known_endpoint


class _Asking(Protocol):
    """A connection that carries one call at a time.

    @ivar call: that it carries; None: it carries no call, or nobody waits for the reply any more.
    """

    def __init__(self, link: Any) -> None:
        self.link = link
        self.call: Call | None = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        self.link.connections.add(self)

    def finish(self, outcome: object) -> None:
        """Say what came of the call, if there is one."""
        call, self.call = self.call, None
        if call is not None:
            self.link.answered(call, outcome)

    def fail(self, error: ClientError) -> None:
        """Close the connection, since what it brings is of no use."""
        transport: Any = self.transport
        transport.abortConnection()
        self.finish(error)


class _Plain(_Asking):
    """A request and its reply, without anything around."""

    def ask(self, call: Call) -> None:
        """Send a call, and nothing after it."""
        self.call = call
        self._parts: list[bytes] = []
        self._size = 0
        transport: Any = self.transport
        transport.write(call.document)
        transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.call is None:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > self.link.max_reply:
            self.fail(advice.too_large_reply(self.link.target, self.call.method, self.link.max_reply))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.link.lost(self)
        if self.call is not None:
            if reason.check(ConnectionDone) and self._parts:
                self.finish(self.link.outcome(self.call, b"".join(self._parts)))
            else:
                self.finish(advice.cut_off(self.link.target, self.call.method))


@implementer(IHandshakeListener)
class _Posting(_Asking):
    """Requests and responses of HTTP, one after the other."""

    link: "HttpLink"
    _fd = -1
    _poll: Any = None
    _response: Response | None = None
    _secure = False

    def connectionMade(self) -> None:
        super().connectionMade()
        transport: Any = self.transport
        self._stream: Any = transport if self.link.target.scheme == "http" else transport.transport
        self._stream.stopReading()
        self._fd = self._stream.fileno()
        self.link.readers.add(self._fd, self)

    def ready(self, events: int) -> None:
        """Read what has come."""
        ended = self._stream.doRead()
        if ended is not None:  # closed later, since the reactor may have an event for its descriptor in this turn
            self.link.readers.remove(self._fd)
            self._stream.stopWriting()
            self.link.reactor.callLater(0, self._stream.connectionLost, Failure(ended))

    def lost(self, reason: Failure) -> None:
        """The reactor has stopped."""
        self._stream.connectionLost(reason)

    def has_news(self) -> bool:
        """Whether the server has closed it, or said something unasked."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
        return bool(self._poll.poll(0))

    def handshakeCompleted(self) -> None:
        self._secure = True

    def ask(self, call: Call) -> None:
        """Post a call."""
        self.call: Call | None = call
        self._response = Response(self.link.max_reply)
        self._send(post(self.link.head, call.document))

    def _send(self, request: bytes) -> None:
        """Send a request at once, as far as there is room for it; Twisted would do so in its next turn only."""
        transport: Any = self.transport
        if self.link.target.scheme == "http":
            with contextlib.suppress(OSError):  # there is no room, or what is wrong is seen once more
                request = request[transport.getHandle().send(request) :]
        if request:
            transport.write(request)

    def dataReceived(self, data: bytes) -> None:
        call, response = self.call, self._response
        if call is None or response is None:  # nobody has asked for it
            self.link.discard(self)
            return
        target = self.link.target
        try:
            complete = response.feed(data)
        except TooLarge:
            self.fail(advice.too_large_reply(target, call.method, self.link.max_reply))
        except NotHttp as error:
            self.fail(advice.wrong_reply(target, call.method, error))
        else:
            if complete:
                self._complete(call, response)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.link.readers.remove(self._fd)
        self.link.lost(self)
        call, response = self.call, self._response
        if call is None or response is None:
            return
        target = self.link.target
        if target.scheme == "https" and not self._secure:
            self.finish(advice.untrusted(target, call.method, deferredtls.reason(reason.value)))
        elif reason.check(Error, VerificationError):  # an alert; with TLS 1.3 it may come after the request
            self.finish(advice.unknown_client(target, call.method, deferredtls.reason(reason.value)))
        else:
            try:
                response.end()
            except CutOff:
                self.finish(advice.cut_off(target, call.method))
            else:
                self.finish(self._outcome(call, response))

    def _complete(self, call: Call, response: Response) -> None:
        self._response = None
        if response.reusable:
            self.link.keep(self)
        else:
            transport: Any = self.transport
            transport.loseConnection()
        self.finish(self._outcome(call, response))

    def _outcome(self, call: Call, response: Response) -> object:
        try:
            return self.link.outcome(call, advice.reply_in(self.link.target, call.method, response))
        except ClientError as error:
            return error


class TcpLink(StreamLink):
    """Sends each request over a connection of its own, which the server closes after the reply."""

    _protocol = _Plain


class HttpLink(StreamLink):
    """Posts each request over a connection that is kept for others, while the server keeps it.

    @ivar readers: of the connections.
    """

    _protocol = _Posting

    def __init__(self, target: Target, reactor: Any, max_reply: int, limit: int) -> None:
        super().__init__(target, reactor, max_reply, limit)
        self.head: bytes = post_head(target)
        self.readers: Readers = Readers(reactor)
        self._idle: list[_Posting] = []

    def keep(self, connection: _Posting) -> None:
        """A connection takes another request."""
        self._idle.append(connection)

    def discard(self, connection: _Posting) -> None:
        """Close a connection, and use it no more."""
        if connection in self._idle:
            self._idle.remove(connection)
        transport: Any = connection.transport
        transport.abortConnection()

    def lost(self, connection: Any) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        super().lost(connection)

    def _kept(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_news():
                return connection
            transport: Any = connection.transport
            transport.abortConnection()
        return None


def tcp_endpoint(host: str, port: int, reactor: Any) -> Any:
    """How connections to a host are made. Where that is an address, they can be cancelled at once."""
    if ":" in host:
        return TCP6ClientEndpoint(reactor, host, port)
    if host.replace(".", "").isdigit():
        return TCP4ClientEndpoint(reactor, host, port)
    return HostnameEndpoint(reactor, host, port)


def _endpoint(target: Target, reactor: Any) -> Any:
    """How connections to a target are made."""
    plain = tcp_endpoint(target.host, target.port, reactor)
    return plain if target.scheme != "https" else wrapClientTLS(deferredtls.options(target), plain)
