"""The twisted.web site of a server that listens for HTTP or HTTPS: its connections, requests and their limits."""

from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, resource, server
from zope.interface import implementer, implementer_only

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.peers import UNKNOWN_ADDRESS, Credentials, ip_address
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.origin import Peer
from jsonrpcs_tx.transports.connections import Connections
from jsonrpcs_tx.transports.readgroup import Turns
from jsonrpcs_tx.transports.unread import has_news
from jsonrpcs_tx.web import heads
from jsonrpcs_tx.web.httpresource import JsonRpcResource
from jsonrpcs_tx.web.ordinary import Place
from jsonrpcs_tx.web.pageresource import Page
from jsonrpcs_tx.web.refusals import closing_response, log_refusal, refuse

_log = make_logger(__name__)

ABORT_TIME: Final = 15.0
"""Seconds in which the client of an idle connection that is being closed has to close its side."""

MAX_DISCARDED: Final = 16
"""How many times the body limit is read and thrown away after a 413, so that the client gets to read it."""


def below(path: bytes, prefix: bytes) -> list[bytes]:
    """What a path has below a prefix, as C{twisted.web} gives it to resources; empty: nothing, as for C{/RPC2}.

    @param path: it starts with the prefix.
    """
    rest = path[len(prefix.rstrip(b"/")) :]
    return [unquote_to_bytes(part) for part in rest[1:].split(b"/")] if rest.startswith(b"/") else []


class _Root(resource.Resource):
    """Decides by the path who answers. The direct path asks only L{place}, and leaves all other paths to this.

    @param prefix: every path that starts with it is that of the JSON-RPC resource, as C{^/RPC} does in kamailio.cfg.
    @param pages: the pages by path, which take precedence over the prefix, most of them for requests without a body.
    """

    isLeaf = True

    def __init__(self, prefix: bytes, jsonrpc: JsonRpcResource, pages: Mapping[bytes, Page]) -> None:
        super().__init__()
        self._prefix = prefix
        self._jsonrpc = jsonrpc
        self._pages = pages
        self._trees = tuple(path for path, page in pages.items() if page.has_below)

    def place(self, url: bytes) -> Place | None:
        """Whom a request with a body is for; None: not for JSON-RPC.

        @param url: its path, with the query.
        """
        path, _, query = url.partition(b"?")
        if not path.startswith(self._prefix) or self._tree(path) is not None:
            return None
        return self._jsonrpc.place(below(path, self._prefix), query)

    def _tree(self, path: bytes) -> bytes | None:
        """The path of the page that answers at a path, with all that is below its own."""
        return next((tree for tree in self._trees if path == tree or path.startswith(tree + b"/")), None)

    def render(self, request: "_Request") -> int:
        tree = self._tree(request.path)
        if tree is not None:
            request.postpath = below(request.path, tree)
            return int(self._pages[tree].render(request))
        is_below = request.path.startswith(self._prefix)
        page = self._pages.get(request.path)
        if page is not None and (not is_below or page.accepts(request)):
            return int(page.render(request))
        if is_below:
            request.postpath = below(request.path, self._prefix)
            return self._jsonrpc.render(request)
        refuse(request, http.NOT_FOUND, f"JSON-RPC is at {self._prefix.decode()}")
        return server.NOT_DONE_YET


class _Request(server.Request):
    """A request whose body is limited to the size that the site allows."""

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
        """Answer 413 at once, and discard the rest of the body."""
        self._discarded = 0
        site = self.channel.site
        headers = site.jsonrpc.pages.reply_headers(self.requestHeaders)
        reason = f"allowed: a body of {site.max_body} bytes"
        log_refusal(self.getClientAddress(), http.REQUEST_ENTITY_TOO_LARGE, reason)
        words = closing_response(http.REQUEST_ENTITY_TOO_LARGE, reason, headers)
        self.channel.transport.write(words)
        self.requestHeaders.removeHeader(b"Expect")


@implementer(IHalfCloseableProtocol)
class Channel(http.HTTPChannel):
    """A connection, known to its site while it is open.

    A client that closes its sending side still gets the replies to what it has sent; then the connection is closed. The
    command of a client that goes away is cancelled.

    @ivar half_closed: the client has closed its sending side.
    """

    site: "JsonRpcSite"
    transport: Any
    used_at: float = 0.0
    _arrives = False
    _closing = False
    _over = False
    half_closed: bool = False
    _asked: frozenset[int] = frozenset()

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._handlingRequest) and not self._over

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, and no part of one has arrived."""
        return not (self._handlingRequest or self._arrives or self._buffer)

    def close(self) -> None:
        """Close the connection, after the reply to the request that is being answered."""
        if self.busy:
            self._closing = True
        else:
            self.loseConnection()

    def retire(self) -> None:
        """Close the connection, after the reply to a request that has begun to arrive."""
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
        """Whether so much has arrived behind the request that is being answered that reading is paused."""
        return sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize

    def ask(self, sign: int | None) -> None:
        """Probe a client that may have left or may only have closed its sending side: one that still waits skips an
        interim response, and one that has left answers it with a reset.

        @param sign: what hints at its leaving; the client is probed once for each sign. None: nothing does, so it is
            probed each time.
        """
        request = self.requests[0] if self.requests else None
        if request is not None and (request.clientproto != b"HTTP/1.1" or request.startedWriting):
            return  # it knows no interim response, or what is written would be a part of its reply
        if sign not in self._asked:
            if sign is not None:
                self._asked |= {sign}
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def loseConnection(self) -> None:
        """Close the connection, once the client has taken what is written; it has as much time for that as for a
        request. Nothing further that it sends is read.
        """
        if not self._over:
            self._over = True
            self.setTimeout(self.site.timeOut)
        super().loseConnection()
        self.site.connections.unread.add(self)

    def timeoutConnection(self) -> None:
        if self._over:
            self.site.connections.cut_late(self)
        elif self.busy or (self.idle and has_news(self.transport)):
            self.setTimeout(self.site.timeOut)
        elif self.idle and (left := self._time_left()) > 0:
            whole = self.timeOut
            self.setTimeout(left)
            self.timeOut = whole
        else:
            _log.debug(
                "http: {peer} was idle for {seconds:g} s; closed",
                peer=self.transport.getPeer(),
                seconds=self.site.timeOut,
            )
            self.loseConnection()
            self.setTimeout(ABORT_TIME)

    def _time_left(self) -> float:
        """Seconds that an idle connection still has when the timer of its time-out has run down."""
        return 0.0

    def dataReceived(self, data: bytes) -> None:
        if not self._over:
            super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Restart the time-out when a request begins to arrive, but not with each piece of it."""
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
        is_behind = any(self._dataBuffer) and not self._busyReceiving
        if (self._waitingForTransport or is_behind) and self.persistent:
            # HTTPChannel itself would go on to the next request, however much the client leaves unread.
            self.paused: bool = True
        super().requestDone(request)
        if self._waitingForTransport:
            self.site.connections.unread.add(self)
        if self._waitingForTransport and self.persistent:
            self._networkProducer.pauseProducing()
        elif is_behind:
            self._go_on_soon()
        self._end()

    def lineReceived(self, line: bytes) -> None:
        if self._passes(heads.check_fold, line):
            super().lineReceived(line)

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
        """Whether the connection stays open after the reply. The reply says so where that is not the default."""
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
        """Whether a request passes a check of its head; if it does not, it is refused.

        @param check: raises L{heads.BadHead} for a head that is refused.
        """
        try:
            check(*arguments)
        except heads.BadHead as bad:
            self._refuse(bad.code, bad.reason)
            return False
        return True

    def _refuse(self, code: int, reason: str) -> None:
        """Answer a request that cannot be read, and close the connection."""
        log_refusal(self.transport.getPeer(), code, reason)
        self.transport.write(closing_response(code, reason))
        self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Answer in words where HTTPChannel finds a request malformed."""
        if not self._over:
            self._refuse(http.BAD_REQUEST, "malformed; allowed: HTTP/1.1 or 1.0, a head of up to 16 kB and 500 lines")

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line of more than 16 kB; HTTPChannel itself leaves such a connection open over TLS."""
        self._refuse(http.BAD_REQUEST, "allowed: lines of up to 16 kB")

    def pauseProducing(self) -> None:
        """The client does not take what is written: start no further request until it does."""
        super().pauseProducing()
        if not self.busy:
            self.paused = True

    def resumeProducing(self) -> None:
        """The client has taken what was written."""
        self.site.connections.unread.discard(self)
        super().resumeProducing()
        self._go_on()

    def _go_on_soon(self) -> None:
        """Go on with the requests that have arrived behind one whose reply came later.

        A command of another client may have ended what that one waited for. It goes on first, and the next command
        runs neither further down its call stack nor in its context.
        """
        self.paused = True
        self.callLater(0, lambda: self._context.run(self._go_on))

    def _go_on(self) -> None:
        """Read what arrived while the client did not take what was written, or waited for a reply."""
        if self.paused and not self._waitingForTransport:
            self.paused = False
            if self._buffer:
                Channel.dataReceived(self, b"")
        self._end()

    def readConnectionLost(self) -> None:
        """The client has closed its sending side."""
        self.half_closed = True
        self._end()

    def writeConnectionLost(self) -> None:
        """Never happens: the server does not close its sending side alone."""

    def _end(self) -> None:
        """Close the connection if its client has closed its sending side and everything is answered."""
        if self.half_closed and not (self.busy or self.paused or self._busyReceiving or self._over):
            self.loseConnection()

    def isSecure(self) -> bool:
        """Whether the connection has TLS."""
        return self.site.scheme == "https"

    def forget_caller(self) -> None:
        """Nothing to do: each request finds out who calls."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self._context: Context = copy_context()
        self.site.connections.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self.site.connections.lost(self)
        super().connectionLost(reason)


@implementer_only(IProtocolFactory)  # and not IProtocolNegotiationFactory: the TLS context chooses the protocol
class JsonRpcSite(server.Site):
    """The site behind a port of the server.

    @param settings: C{http_path}, C{health}, C{http_timeout} and C{max_connections} are used.
    @param jsonrpc: answers the requests.
    @param pages: what answers at paths of its own, for example health checks.
    @param scheme: C{http} or C{https}.
    @ivar place: see L{_Root.place}.
    @ivar connections: the open ones.
    @ivar turns: those in which they are read.
    """

    noisy = False
    protocol: Any = Channel  # always HTTP/1.1, so there is nothing to negotiate
    requestFactory = _Request

    def __init__(
        self,
        settings: Settings,
        jsonrpc: JsonRpcResource,
        reactor: IReactorTime,
        pages: Mapping[bytes, Page],
        scheme: str = "http",
    ) -> None:
        self.scheme: str = scheme
        self.jsonrpc = jsonrpc
        self._tells_health = bool(settings.health)
        root = _Root(settings.http_path.encode(), jsonrpc, pages)
        self.place: Callable[[bytes], Place | None] = root.place
        super().__init__(root, timeout=settings.http_timeout, reactor=reactor, parsePOSTFormSubmission=False)
        self.connections: Connections = Connections(settings.max_connections, reactor)
        self.turns: Turns = Turns()

    @property
    def max_body(self) -> int:
        """The largest document, in bytes."""
        return self.jsonrpc.max_body

    def settings_changed(self, settings: Settings) -> None:
        """Apply C{max_connections} at once, and C{http_timeout} to new connections."""
        self.timeOut: float = settings.http_timeout
        self.connections.limit = settings.max_connections

    def admits(self, address: object) -> bool:
        """Whether a connection from an address is accepted. A proxy that asks for itself gets the result of the health
        check, and may otherwise call only if C{http_allow} allows it.
        """
        if address is UNKNOWN_ADDRESS and self._tells_health:
            return True
        peer = ip_address(address)
        return peer is None or bool(self.jsonrpc.allows(peer)) or self.jsonrpc.proxies.trusts(peer)

    def turned_away(self, address: object, why: str, unix: Credentials = Credentials()) -> None:  # noqa: B008 # frozen
        """Note that a connection is refused; see L{jsonrpcs_tx.rpc.dispatcher.Dispatcher.turned_away}.

        @param address: the client's.
        @param unix: the client's over a Unix socket.
        """
        caller = Caller(self.scheme, ip_address(address), uid=unix.uid, gid=unix.gid)
        peer = Peer(caller, getattr(address, "port", None), unix.pid)
        self.jsonrpc.dispatcher.turned_away(peer, http.FORBIDDEN, why)

    def log(self, request: object) -> None:
        """Write no access log: each line would cost more than the request."""

    def _updateLogDateTime(self) -> None:
        """Keep no time for the access log, for which Twisted would wake up every second."""
