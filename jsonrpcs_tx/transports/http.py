"""HTTP and HTTPS: a twisted.web resource that answers JSON-RPC, and the site that the server puts it on."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, resource, server
from zope.interface import implementer

from jsonrpcs_tx.access.authentication import Authenticator, Refused
from jsonrpcs_tx.addresses import is_in
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.transports import heads, peers, tls
from jsonrpcs_tx.transports.connections import Connections
from jsonrpcs_tx.transports.hosts import Hosts
from jsonrpcs_tx.transports.pages import Pages
from jsonrpcs_tx.transports.proxies import Proxies, UnknownClient

_log = make_logger(__name__)

MAX_REASON: Final = 127
"""Bytes of a fault's text that become the reason phrase; Kamailio cuts it there, too."""

ABORT_TIME: Final = 15.0
"""Seconds that the client of an idle connection has to close it, too."""

MAX_DISCARDED: Final = 16
"""How many times the body limit is read and thrown away after a 413, so that the client gets to read it."""

_STRANGER: Final = b"403 Forbidden: clients of this network may not call\n"
REFUSAL: Final = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_STRANGER), _STRANGER)
)
"""What a client outside C{http_allow} is sent before its connection is closed."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_IP_ADDRESSES: Final = (IPv4Address, IPv6Address)
_ALLOWED_METHODS: Final = (b"POST", b"GET")
_REASONS: Final = {**http.RESPONSES, 429: b"Too Many Requests"}


class JsonRpcResource(resource.Resource):
    """Answers JSON-RPC at its URL and at all below it. It can be mounted in any twisted.web site.

    POST, and GET with a body, of any content type. What is refused before the dispatcher sees it gets a line of
    plain text: 403 to a client outside the allowed networks, to a request for a foreign host or to a web page of a
    foreign origin, 405 to another method, 413 to a body over the limit, 415 to one that is compressed. Pages of listed
    origins may read all replies (CORS).

    @param dispatcher: answers the documents.
    @param allow: networks whose clients may call.
    @param origins: origins of web pages that may call, besides the server's own.
    @param max_body: the most bytes of a document.
    @param authenticator: finds out who a client is, by a name and a password that every request then needs.
    @param hosts: by which names the server may be called.
    @param proxies: those whose word on their clients counts.
    @param notification: HTTP status where there is no reply, 200 or 204.
    @ivar max_body: may be set at any time.
    @ivar http_status: status and reason tell of faults.
    @ivar pages: the web pages that may call.
    """

    isLeaf = True

    def __init__(
        self,
        dispatcher: Dispatcher,
        allow: Sequence[str],
        origins: Sequence[str],
        max_body: int,
        authenticator: Authenticator | None = None,
        hosts: Hosts | None = None,
        proxies: Proxies | None = None,
        notification: int = http.OK,
    ) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.http_status = dispatcher.dialect.http_status
        self.max_body = max_body
        self.hosts = Hosts() if hosts is None else hosts
        self.pages = Pages(origins, self.hosts, credentials=authenticator is not None)
        self.proxies = Proxies() if proxies is None else proxies
        self.notification = notification
        self._authenticator = authenticator
        self.allows = lru_cache(4096)(partial(is_in, networks=[*map(ipaddress.ip_network, allow)]))

    def render(self, request: server.Request) -> int:
        """Answer a request, now or when its commands are done; they are cancelled if the client goes away."""
        for name, value in self.pages.reply_headers(request.requestHeaders):
            request.setHeader(name, value)
        try:
            client = self.client(request)
        except UnknownClient as error:
            _log.warn("http: request of an unknown client refused: {error}, see http_proxy", error=error)
            refuse(request, http.FORBIDDEN, f"the address of the client is not known: {error}")
            return server.NOT_DONE_YET
        if self._refuse(request, client) or self._answer_preflight(request) or self._refuse_form(request):
            return server.NOT_DONE_YET
        document = request.content.read()  # type: ignore[union-attr] # it has come
        if len(document) > self.max_body:
            refuse(request, http.REQUEST_ENTITY_TOO_LARGE, f"allowed: a body of {self.max_body} bytes")
            return server.NOT_DONE_YET
        if self._authenticator is None:
            self._dispatch(request, document, client, None)
        else:
            self._authenticate(self._authenticator, request, document, client)
        return server.NOT_DONE_YET

    @property
    def authenticates(self) -> bool:
        """Whether requests need a name and a password."""
        return self._authenticator is not None

    def client(self, request: server.Request) -> str | None:
        """The IP address of who calls, behind proxies or not; None over a Unix socket.

        @raise UnknownClient: a proxy does not tell.
        """
        peer = ip_address(request.getClientAddress())
        if self.proxies.ignores(peer, request.requestHeaders):
            self.proxies.tell_once(request.site)
        return self.proxies.client(peer, request.requestHeaders)

    def origin(self, channel: Any, address: str | None, user: str | None = None) -> Origin:
        """The origin of what comes over a connection.

        @param channel: the connection's, after the handshake of TLS.
        @param address: of who calls, see L{client}.
        @param user: who has authenticated, if that is asked for.
        """
        facts = self.dispatcher.access.facts
        names = tls.client_names(channel.transport) if "tls" in facts else ()
        uid, gid = None, None
        if address is None and not facts.isdisjoint(("uid", "gid")):
            uid, gid = peers.credentials(channel.transport)
        transport = "https" if channel.isSecure() else "http"
        caller = {"address": address, "user": user, "tls_names": names, "uid": uid, "gid": gid}
        return self.dispatcher.origin(transport, True, id(channel), **caller)

    def _authenticate(
        self, authenticator: Authenticator, request: server.Request, document: bytes, client: str | None
    ) -> None:
        """Find out who a client is, and answer; if it goes away before that, nobody needs to know."""
        known_as = peers.client(request.channel.transport) if client is None else client
        asked = authenticator.check(request.getUser(), request.getPassword(), known_as)
        request.notifyFinish().addErrback(lambda _: asked.cancel())

        def refused(failure: Failure) -> None:
            refusal = failure.value
            if not isinstance(refusal, Refused):
                _log.failure("http: a request failed", failure)
                refusal = Refused(http.INTERNAL_SERVER_ERROR, "the request failed; the log says why")
            if not request._disconnected and not request.finished:
                _refuse_client(request, refusal)

        asked.addCallback(lambda user: self._dispatch(request, document, client, user)).addErrback(refused)

    def _dispatch(self, request: server.Request, document: bytes, client: str | None, user: str | None) -> None:
        if request._disconnected:
            return
        reply = self.dispatcher.dispatch(document, self.origin(request.channel, client, user))
        if isinstance(reply, Deferred):
            self._respond_later(request, reply)
        else:
            self._respond(request, reply)

    def _refuse(self, request: server.Request, client: str | None) -> bool:
        """Refuse a request that may not be answered.

        @return: whether that was so.
        """
        if client is not None and not self.allows(client):
            _log.warn("http: {client} is not allowed, see http_allow", client=client)
            refuse(request, http.FORBIDDEN, "clients of this network may not call")
        elif not self._is_own_host(request):
            host = request.getHeader(b"Host")
            _log.warn("http: {host!r:.300} is no name of this server, see http_host", host=host)
            refuse(
                request,
                http.FORBIDDEN,
                "the Host header is no name of this server; allowed: those of the setting http_host",
            )
        elif not self.pages.allows(request.requestHeaders):
            origin = request.getHeader(b"Origin") or request.getHeader(b"Sec-Fetch-Site")
            _log.warn("http: web page of a foreign origin refused, see http_origin: {origin!r:.300}", origin=origin)
            refuse(request, http.FORBIDDEN, "web pages of this origin may not call")
        else:
            return False
        return True

    def _answer_preflight(self, request: server.Request) -> bool:
        """Tell the browser of a page of a listed origin what the page may send, if it asks.

        @return: whether it did.
        """
        headers = self.pages.preflight_headers(request.method, request.requestHeaders)
        if headers:
            for name, value in headers:
                request.setHeader(name, value)
            request.setResponseCode(http.NO_CONTENT)
            request.finish()
        return bool(headers)

    def _refuse_form(self, request: server.Request) -> bool:
        """Refuse a request of whom may call, whose method or coding is not allowed.

        @return: whether that was so.
        """
        codings = request.requestHeaders.getRawHeaders(b"Content-Encoding", [])
        if request.method not in _ALLOWED_METHODS:
            request.setHeader(b"Allow", b", ".join(_ALLOWED_METHODS))
            refuse(request, http.NOT_ALLOWED, "allowed: POST, GET with a body")
        elif any(coding.lower() != b"identity" for coding in codings):
            request.setHeader(b"Accept-Encoding", b"identity")
            refuse(request, http.UNSUPPORTED_MEDIA_TYPE, "allowed: a body without Content-Encoding, or with identity")
        else:
            return False
        return True

    def _is_own_host(self, request: server.Request) -> bool:
        """Whether a request is for a name of this server. One without a name comes from no browser, and no name of the
        Internet leads a browser to a Unix socket.
        """
        hosts = request.requestHeaders.getRawHeaders(b"Host", [])
        return all(map(self.hosts.accepts, hosts)) or ip_address(request.getClientAddress()) is None

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
            request.setResponseCode(self.notification)
        elif self.http_status and reply.fault:
            request.setResponseCode(*status(reply))
        if reply.body:
            request.setHeader(b"Content-Type", b"application/json")
        if reply.body or self.notification != http.NO_CONTENT:
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
    body = _line(code, message)
    request.setResponseCode(code, _REASONS[code])
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(b"" if request.method == b"HEAD" else body)
    request.finish()


def last_words(code: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """The response to a request that is not read to its end, after which the connection is closed."""
    body = _line(code, message)
    further = b"".join(b"%b: %b\r\n" % header for header in headers)
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n"
        b"%b\r\n%b" % (code, _REASONS[code], len(body), further, body)
    )


def _line(code: int, message: str) -> bytes:
    return b"%d %b: %b\n" % (code, _REASONS[code], message.encode())


def ip_address(peer: object) -> str | None:
    """The IP address of a peer; None over a Unix socket."""
    return peer.host if isinstance(peer, _IP_ADDRESSES) else None


def _refuse_client(request: server.Request, refusal: Refused) -> None:
    """Refuse a request by a client that is not known."""
    if refusal.code == http.UNAUTHORIZED:
        request.setHeader(b"WWW-Authenticate", b'Basic realm="jsonrpcs_tx", charset="UTF-8"')
    if refusal.retry_after is not None:
        request.setHeader(b"Retry-After", b"%d" % refusal.retry_after)
    refuse(request, refusal.code, refusal.text)


class _Root(resource.Resource):
    """Finds the JSON-RPC resource: every path that starts with a prefix is its, as C{^/RPC} is in kamailio.cfg."""

    isLeaf = True

    def __init__(self, prefix: bytes, jsonrpc: JsonRpcResource) -> None:
        super().__init__()
        self._prefix = prefix
        self._jsonrpc = jsonrpc

    def render(self, request: "_Request") -> int:
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
        site = self.channel.site
        headers = site.jsonrpc.pages.reply_headers(self.requestHeaders)
        words = last_words(http.REQUEST_ENTITY_TOO_LARGE, f"allowed: a body of {site.max_body} bytes", headers)
        self.channel.transport.write(words)
        self.requestHeaders.removeHeader(b"Expect")


@implementer(IHalfCloseableProtocol)
class Channel(http.HTTPChannel):
    """A connection, known to its site while it is open.

    A client that closes its sending side gets the replies to what it has sent, and then the connection is closed. One
    that goes away has its command cancelled.

    @ivar half_closed: the client has closed its sending side.
    """

    site: "JsonRpcSite"
    transport: Any
    used_at = 0.0
    _arrives = False
    _closing = False
    _over = False
    half_closed = False
    _asked: frozenset[int] = frozenset()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._handlingRequest) and not self._over

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, and nothing of one has come."""
        return not (self._handlingRequest or self._arrives or self._buffer)

    def close(self) -> None:
        """Close the connection, after the reply to the request that is being answered."""
        if self.busy:
            self._closing = True
        else:
            self.loseConnection()

    def retire(self) -> None:
        """Close the connection, after the reply to what has come of a request."""
        if self.idle:
            self.loseConnection()
        else:
            self._closing = True

    def abort(self) -> None:
        """Close the connection at once."""
        self._over = True
        self.transport.abortConnection()

    @property
    def is_full(self) -> bool:
        """Whether so much has come behind the request that is being answered that no more is read."""
        return sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize

    def ask(self, sign: int | None) -> None:
        """Ask the client, which may have closed its sending side only, whether it is there: an interim response is
        skipped by one that waits, and comes back as a reset from one that has gone.

        @param sign: how it is known; for each sign the client is asked once. None: it is not known.
        """
        if sign not in self._asked and all(request.clientproto == b"HTTP/1.1" for request in self.requests[:1]):
            if sign is not None:
                self._asked |= {sign}
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def loseConnection(self) -> None:
        """Close the connection, when the client has taken what is written; it has as long for that as for a request.
        What comes from it is not looked at any more.
        """
        if not self._over:
            self._over = True
            self.setTimeout(self.site.timeOut)
        super().loseConnection()
        self.site.connections.unread.add(self)

    def timeoutConnection(self) -> None:
        if self._over:
            self.site.connections.cut_late(self)
        elif self.busy:
            self.setTimeout(self.site.timeOut)
        else:
            self.loseConnection()
            self.setTimeout(ABORT_TIME)

    def dataReceived(self, data: bytes) -> None:
        if not self._over:
            super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Start the time-out anew for a request that begins to arrive, but not with each piece of it."""
        if not self._arrives:
            self._arrives = True
            super().resetTimeout()

    def allContentReceived(self) -> None:
        if self._over:
            return
        super().allContentReceived()
        if self.busy:
            self.site.connections.departures.watch(self)

    def requestDone(self, request: http.Request) -> None:
        self._arrives = False
        self.site.connections.used(self)
        if self._closing:
            self.persistent = False
        super().requestDone(request)
        if self._waitingForTransport:
            self.site.connections.unread.add(self)
        if self._waitingForTransport and self.persistent:
            # HTTPChannel itself would go on with what has come, however much the client leaves unread.
            self.paused = True
            self._networkProducer.pauseProducing()
        self._end()

    def headerReceived(self, line: bytes) -> bool:
        try:
            heads.check_field(line)
        except heads.BadHead as bad:
            self._refuse(bad.code, bad.reason)
            return False
        return bool(super().headerReceived(line))

    def allHeadersReceived(self) -> None:
        headers = self.requests[-1].requestHeaders
        self._path = heads.origin_form(self._path, headers)
        if self._passes(heads.check_head, self._command, self._path, self._version, headers):
            super().allHeadersReceived()

    def _finishRequestBody(self, data: bytes) -> None:
        if self._passes(heads.check_trailers, getattr(self._transferDecoder, "_trailerHeaders", ())):
            super()._finishRequestBody(data)

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """Whether the connection stays open after the reply; the reply says so where that is not the usual thing."""
        options = heads.connection_options(request.requestHeaders)
        if b"close" in options:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        if version == b"HTTP/1.1":
            return True
        if b"keep-alive" in options:
            request.responseHeaders.setRawHeaders(b"Connection", [b"keep-alive"])
        return b"keep-alive" in options

    def _passes(self, check: Callable[..., object], *arguments: object) -> bool:
        """Whether a check of the head raises no L{heads.BadHead}; it is answered else."""
        try:
            check(*arguments)
        except heads.BadHead as bad:
            self._refuse(bad.code, bad.reason)
            return False
        return True

    def _refuse(self, code: int, reason: str) -> None:
        """Answer a request that cannot be read, close the connection, and read nothing more."""
        self.transport.write(last_words(code, reason))
        self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Say it in words, where HTTPChannel finds a request bad."""
        if not self._over:
            self._refuse(http.BAD_REQUEST, "malformed; allowed: HTTP/1.1 or 1.0, a head of up to 16 kB and 500 lines")

    def lineLengthExceeded(self, line: bytes) -> None:
        """Answer a line of more than 16 kB; HTTPChannel itself leaves such a connection open over TLS."""
        self._refuse(http.BAD_REQUEST, "allowed: lines of up to 16 kB")

    def pauseProducing(self) -> None:
        """The client does not take what is written: no request is begun until it does."""
        super().pauseProducing()
        if not self.busy:
            self.paused = True

    def resumeProducing(self) -> None:
        """The client has taken it."""
        self.site.connections.unread.discard(self)
        super().resumeProducing()
        self._go_on()

    def _go_on(self) -> None:
        """Look at what has come while the client did not take what was written."""
        if self.paused:
            self.paused = False
            self.dataReceived(b"")
        self._end()

    def readConnectionLost(self) -> None:
        """The client writes no more."""
        self.half_closed = True
        self._end()

    def writeConnectionLost(self) -> None:
        """Nobody asks for that."""

    def _end(self) -> None:
        """Close a connection whose client writes no more, if everything is answered."""
        if self.half_closed and not (self.busy or self.paused or self._busyReceiving or self._over):
            self.loseConnection()

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connections.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
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
        self.connections = Connections(settings.max_connections, reactor)

    @property
    def max_body(self) -> int:
        """The most bytes of a document."""
        return self.jsonrpc.max_body

    def settings_changed(self, settings: Settings) -> None:
        """Take on C{max_connections}, and C{http_timeout} for connections that are opened from now on."""
        self.timeOut = settings.http_timeout
        self.connections.limit = settings.max_connections

    def admits(self, address: object) -> bool:
        """Whether a connection from an address is taken."""
        peer = ip_address(address)
        return peer is None or bool(self.jsonrpc.allows(peer)) or self.jsonrpc.proxies.trusts(peer)

    def acceptableProtocols(self) -> list[bytes]:
        """No HTTP/2, however Twisted was installed."""
        return list(tls.PROTOCOLS)

    def log(self, request: object) -> None:
        """No access log: this is no web server, and each line would cost more than the request."""
