"""HTTP and HTTPS: a twisted.web resource that answers JSON-RPC, and the site that the server puts it on."""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, resource, server

from jsonrpcs_tx.addresses import is_address, is_in
from jsonrpcs_tx.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.settings import Settings
from jsonrpcs_tx.transports import tls
from jsonrpcs_tx.transports.stream import Connections

_log = make_logger(__name__)

MAX_REASON: Final = 127
"""Bytes of a fault's text that become the reason phrase; Kamailio cuts it there, too."""

MAX_DISCARDED: Final = 16
"""How many times the body limit is read and thrown away after a 413, so that the client gets to read it."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ALLOWED_METHODS: Final = (b"POST", b"GET")


class JsonRpcResource(resource.Resource):
    """Answers JSON-RPC at its URL and at all below it. It can be mounted in any twisted.web site.

    POST, and GET with a body, of any content type. What is refused before the dispatcher sees it gets a line of
    plain text: 403 to a client outside the allowed networks or to a web page of a foreign origin, 405 to another
    method, 413 to a body over the limit.

    @param dispatcher: answers the documents.
    @param allow: networks whose clients may call.
    @param origins: origins of web pages that may call, besides the server's own.
    @param max_body: the most bytes of a document.
    @param checker: an ICredentialsChecker of names and passwords, which then every request needs (401 else).
    @ivar max_body: may be set at any time.
    @ivar http_status: status and reason tell of faults.
    """

    isLeaf = True

    def __init__(
        self,
        dispatcher: Dispatcher,
        allow: Sequence[str],
        origins: Sequence[str],
        max_body: int,
        checker: Any = None,
    ) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.http_status = dispatcher.dialect.http_status
        self._origins = frozenset(origins)
        self.max_body = max_body
        self._checker = checker
        self.allows = lru_cache(4096)(partial(is_in, networks=[*map(ipaddress.ip_network, allow)]))

    def render(self, request: server.Request) -> int:
        """Answer a request, now or when its commands are done; they are cancelled if the client goes away."""
        if self._refuse(request):
            return server.NOT_DONE_YET
        document = request.content.read()  # type: ignore[union-attr] # it has come
        if len(document) > self.max_body:
            refuse(request, http.REQUEST_ENTITY_TOO_LARGE, f"allowed: a body of {self.max_body} bytes")
            return server.NOT_DONE_YET
        if self._checker is None:
            self._dispatch(request, document, None)
        else:
            credentials = UsernamePassword(request.getUser(), request.getPassword())
            checked = maybeDeferred(self._checker.requestAvatarId, credentials)
            checked.addCallbacks(
                lambda name: self._dispatch(request, document, name.decode(errors="replace")),
                lambda failure: _unauthorized(request, failure),
            )
        return server.NOT_DONE_YET

    @property
    def authenticates(self) -> bool:
        """Whether requests need a name and a password."""
        return self._checker is not None

    def origin(self, channel: Any, user: str | None = None) -> Origin:
        """The origin of what comes over a connection.

        @param channel: the connection's, after the handshake of TLS.
        @param user: who has authenticated, if that is asked for.
        """
        names = tls.client_names(channel.transport) if "tls" in self.dispatcher.access.facts else ()
        address = getattr(channel.transport.getPeer(), "host", None)
        transport = "https" if channel.isSecure() else "http"
        return self.dispatcher.origin(transport, True, address=address, user=user, tls_names=names)

    def _dispatch(self, request: server.Request, document: bytes, user: str | None) -> None:
        if not request._disconnected:
            self.respond(request, self.dispatcher.dispatch(document, self.origin(request.channel, user)))

    def respond(self, request: server.Request, reply: Reply | Deferred[Reply]) -> None:
        """Answer a request with a reply, or with what becomes one, which is cancelled if the client goes away."""
        if isinstance(reply, Deferred):
            self._respond_later(request, reply)
        else:
            self._respond(request, reply)

    def _refuse(self, request: server.Request) -> bool:
        """Refuse a request that may not be answered.

        @return: whether that was so.
        """
        client = request.getClientAddress()
        if isinstance(client, IPv4Address | IPv6Address) and not self.allows(client.host):
            _log.warn("http: {client} is not allowed, see http_allow", client=client.host)
            refuse(request, http.FORBIDDEN, "clients of this network may not call")
        elif not self._is_own_origin(request):
            _log.warn("http: web page of a foreign origin refused: {origin}", origin=_header(request, b"origin"))
            refuse(request, http.FORBIDDEN, "web pages of this origin may not call")
        elif request.method not in _ALLOWED_METHODS:
            request.setHeader(b"Allow", b", ".join(_ALLOWED_METHODS))
            refuse(request, http.NOT_ALLOWED, "allowed: POST, GET with a body")
        else:
            return False
        return True

    def _is_own_origin(self, request: server.Request) -> bool:
        """Whether a request comes from no web page, or from one of an allowed origin.

        The server's own is one that names the same host as the request does, by an address or as localhost; of other
        names nobody knows who makes them point here.
        """
        origin = _header(request, b"origin")
        if origin is None or origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if not parts.netloc or parts.netloc != _header(request, b"host"):
            return False
        host = parts.hostname or ""
        return host == "localhost" or host.endswith(".localhost") or is_address(host)

    def _respond_later(self, request: server.Request, later: Deferred[Reply]) -> None:
        def client_gone(_: object) -> None:
            later.addCallback(lambda reply: None)
            later.cancel()

        def respond(reply: Reply) -> None:
            if not request._disconnected:
                self._respond(request, reply)

        request.notifyFinish().addErrback(client_gone)
        later.addCallback(respond)

    def _respond(self, request: server.Request, reply: Reply) -> None:
        if not reply.body:
            request.setResponseCode(http.NO_CONTENT)
        else:
            if self.http_status and reply.fault:
                request.setResponseCode(*status(reply))
            request.setHeader(b"Content-Type", b"application/json")
            request.setHeader(b"Content-Length", b"%d" % len(reply.body))
        request.write(reply.body)
        request.finish()


def status(reply: Reply) -> tuple[int, bytes]:
    """The HTTP status and reason phrase that tell of a fault (dialect C{kamailio})."""
    if reply.code in (-32700, -32600):
        code = http.BAD_REQUEST
    else:
        code = reply.code if 400 <= reply.code <= 599 else http.INTERNAL_SERVER_ERROR
    reason = _CONTROL.sub(" ", reply.text).encode()[:MAX_REASON]
    return code, reason.decode(errors="ignore").encode()


def refuse(request: server.Request, code: int, message: str) -> None:
    """Answer with an HTTP error and a line of text."""
    body = b"%d %s: %s\n" % (code, http.RESPONSES[code], message.encode())
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(b"" if request.method == b"HEAD" else body)
    request.finish()


def _unauthorized(request: server.Request, failure: Failure) -> None:
    if failure.check(UnauthorizedLogin) is None:
        _log.failure("http: credentials could not be checked", failure)
    if not request._disconnected:
        request.setHeader(b"WWW-Authenticate", b'Basic realm="jsonrpcs_tx", charset="UTF-8"')
        refuse(request, http.UNAUTHORIZED, "a name and a password are needed")


def _header(request: server.Request, name: bytes) -> str | None:
    """The value of a header in lower case, whatever bytes are in it."""
    value = request.getHeader(name)
    return None if value is None else value.decode("latin-1").lower()


class _Root(resource.Resource):
    """Finds the JSON-RPC resource: every path that starts with a prefix is its, as C{^/RPC} is in kamailio.cfg."""

    isLeaf = True

    def __init__(self, prefix: bytes, jsonrpc: JsonRpcResource) -> None:
        super().__init__()
        self._prefix = prefix
        self._jsonrpc = jsonrpc

    def render(self, request: "_Request") -> int:
        channel = request.channel
        begun, channel.begun = channel.begun, None
        if begun is not None:
            self._jsonrpc.respond(request, begun)
            return server.NOT_DONE_YET
        if request.path.startswith(self._prefix):
            return self._jsonrpc.render(request)
        refuse(request, http.NOT_FOUND, f"JSON-RPC is at {self._prefix.decode()}")
        return server.NOT_DONE_YET


class _Request(server.Request):
    """A request whose body is no larger than the site allows."""

    channel: "Channel"
    _discarded: int | None = None

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)
        if length is not None and length > self.channel.site.max_body:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED * self.channel.site.max_body:
                self.channel.transport.abortConnection()
            return
        super().handleContentChunk(data)
        if self.content.tell() > self.channel.site.max_body:  # type: ignore[union-attr] # gotLength made it
            self._refuse_body()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._discarded is None:
            super().requestReceived(command, path, version)
        else:
            self.channel.loseConnection()

    def _refuse_body(self) -> None:
        """Answer 413 at once, and throw the rest of the body away."""
        self._discarded = 0
        body = b"413 Request Entity Too Large: allowed: a body of %d bytes\n" % self.channel.site.max_body
        self.channel.transport.write(
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )
        self.requestHeaders.removeHeader(b"Expect")


class Channel(http.HTTPChannel):
    """A connection, known to its site while it is open.

    @ivar begun: what becomes the reply to the request that is parsed next, where its command was begun before.
    """

    site: "JsonRpcSite"
    transport: Any
    begun: Deferred[Reply] | None = None
    _arrives = False
    _closing = False

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._handlingRequest)

    def close(self) -> None:
        """Close the connection, after the reply to the request that is being answered."""
        if self.busy:
            self._closing = True
        else:
            self.loseConnection()

    def resetTimeout(self) -> None:
        """Start the time-out anew for a request that begins to arrive, but not with each piece of it."""
        if not self._arrives:
            self._arrives = True
            super().resetTimeout()

    def requestDone(self, request: http.Request) -> None:
        self._arrives = False
        self.site.connections.used(self)
        if self._closing:
            self.persistent = False
        super().requestDone(request)
        if self._waitingForTransport and self.persistent:
            # HTTPChannel itself would go on with what has come, however much the client leaves unread.
            self.paused = True
            self._networkProducer.pauseProducing()

    def lineLengthExceeded(self, line: bytes) -> None:
        """Answer a line of more than 16 kB with 400; HTTPChannel itself leaves such a connection open over TLS."""
        self._respondToBadRequestAndDisconnect()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self.paused:
            self.paused = False
            self.dataReceived(b"")

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connections.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.connections.discard(self)
        super().connectionLost(reason)


class JsonRpcSite(server.Site):
    """The site that the server listens with.

    @ivar prefix: with which the path of a request must start.
    @ivar connections: those that are open.
    """

    noisy = False
    protocol = Channel  # type: ignore[assignment] # without the choice between HTTP/1.1 and HTTP/2
    requestFactory = _Request

    def __init__(self, settings: Settings, jsonrpc: JsonRpcResource, reactor: IReactorTime) -> None:
        self.prefix = settings.http_path.encode()
        self.jsonrpc = jsonrpc
        root = _Root(self.prefix, jsonrpc)
        super().__init__(root, timeout=settings.http_timeout, reactor=reactor, parsePOSTFormSubmission=False)
        self.connections = Connections(settings.max_connections)

    @property
    def max_body(self) -> int:
        """The most bytes of a document."""
        return self.jsonrpc.max_body

    def settings_changed(self, settings: Settings) -> None:
        """Take on C{http_timeout} and C{max_connections}, for connections that are opened from now on."""
        self.timeOut = settings.http_timeout
        self.connections.limit = settings.max_connections

    def acceptableProtocols(self) -> list[bytes]:
        """No HTTP/2, however Twisted was installed. A client that offers only what is not here ends the handshake."""
        return [b"http/1.1", b"http/1.0"]

    def log(self, request: object) -> None:
        """No access log: this is no web server, and each line would cost more than the request."""
