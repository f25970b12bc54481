"""The direct path of HTTP: an ordinary request is answered straight from the channel, without twisted.web's parser.

It takes requests for this server or a node behind it that are ordinary (L{jsonrpcs_tx.web.ordinary}) and have
arrived whole, one after the other. While a command is in progress, whatever arrives behind it is held.

Everything else goes unchanged to twisted.web's parser and the resource (C{httpsite.py}, C{httpresource.py}), and so
does what follows on the connection until that request is answered. A request is ordinary only if twisted.web would read
it in the same way, and the reply has the same bytes, so that clients cannot tell the two paths apart.

Where users are needed, only those whose password was right and is still valid are answered here
(L{jsonrpcs_tx.transports.knownheads}). Passwords are checked, and clients refused, on the general path alone.
"""

import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, server

from jsonrpcs_tx.access.peers import ip_address
from jsonrpcs_tx.reactor.atonce import sender
from jsonrpcs_tx.rpc.dispatcher import Origin, Reply
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.pending import take
from jsonrpcs_tx.rpc.replies import SOME
from jsonrpcs_tx.transports.httpsite import Channel, JsonRpcSite
from jsonrpcs_tx.transports.knownheads import KnownHead, OpenHeads, UsersHeads
from jsonrpcs_tx.web.httpresource import status
from jsonrpcs_tx.web.ordinary import CHUNKED, OWN, Place, read_chunks, read_head
from jsonrpcs_tx.web.proxies import FORWARDING

MAX_HELD: Final = 65_536
"""Bytes of an unfinished request that are kept here; a larger request goes to twisted.web from the start."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LEFT: Final = b"", -1


class DirectChannel(Channel):
    """A connection that answers ordinary requests itself.

    @ivar _shut_out: the client is not allowed; the resource tells it so, each time.
    @ivar _general: what arrives goes to twisted.web.
    @ivar _diverted: what arrives is not answered here and now: it goes to twisted.web, or is held until a command is
        done or the client has taken what is written.
    @ivar _held: the beginning of a request, or data that is held for later.
    @ivar _full: reading is paused, since so much is held.
    @ivar _continued: the client has been told to send the body of the request that is held.
    @ivar _answered_at: when the last request was answered here, by the clock of the connections. The time-out is not
        restarted then: that would take longer than to look here when its timer has run down.
    @ivar _later: fires with the reply to the request in progress.
    @ivar _origin: of the requests of C{_user}; None: it has to be made.
    @ivar _passing: the same, for the node or nodes that were last asked for.
    """

    site: "DirectSite"
    _shut_out = False
    _general = False
    _diverted = False
    _held = b""
    _full = False
    _continued = False
    _answered_at = -inf
    _later: Deferred[Reply] | None = None
    _lost = False
    _origin: Origin | None = None
    _passing: Origin | None = None
    _user: str | None = None
    _send: Callable[[bytes], None]

    def connectionMade(self) -> None:
        super().connectionMade()
        self._send = sender(self.transport)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, and no part of one has arrived."""
        return super().idle and not self._held

    @property
    def is_full(self) -> bool:
        """Whether so much has arrived behind the request that is being answered that reading is paused."""
        return len(self._held) > self._optimisticEagerReadSize or super().is_full

    def dataReceived(self, data: bytes) -> None:
        if self._held and not self._diverted:
            data = self._held + data
            self._held = b""
        begin = 0
        while begin < len(data) and not self._diverted:
            begin = self._take(data, begin)
        if begin < len(data):
            self._divert(data[begin:])

    def _take(self, data: bytes, begin: int) -> int:
        """Answer a request, leave it to twisted.web, or hold it if it has not arrived whole.

        @param begin: where it begins.
        @return: where the next one begins.
        """
        site = self.site
        body = data.find(b"\r\n\r\n", begin) + 4
        text = data[begin:body]
        head = site.heads.get(text) or site.examine(text)
        size, limit = head.size, site.jsonrpc.max_body
        if size >= 0:
            end = body + size
            document = data[body:end]
        else:
            document, end = (read_chunks(data, body, limit) if size == CHUNKED else None) or _LEFT
        unfinished = end > len(data)
        known = self._origin is not None and head.user == self._user
        if (
            end < 0
            or size > limit
            or (unfinished and end - begin > MAX_HELD)
            or not (known or self._lets_in(head.user))
        ):
            self._leave(data[begin:])
            return len(data)
        origin = self._origin if head.place is OWN else self._origin_at(head.place)
        if origin is None:
            self._leave(data[begin:])
            return len(data)
        if head.expects and not self._continued:
            self._continued = True
            self._send(_CONTINUE)
            unfinished = unfinished or self._diverted
        if unfinished:
            self.resetTimeout()
            self._held = data[begin:]
            return len(data)
        self._continued = False
        self._answer(document, origin)
        return end

    def _divert(self, data: bytes) -> None:
        if self._general:
            super().dataReceived(data)
        elif not self._over:
            self._held += data
            if len(self._held) > self._optimisticEagerReadSize:
                self._full = True
                self._networkProducer.pauseProducing()

    def _leave(self, data: bytes) -> None:
        """Pass this and what follows to twisted.web, until it has answered."""
        self._general = self._diverted = True
        self._continued = False
        super().dataReceived(data)

    def requestDone(self, request: http.Request) -> None:
        super().requestDone(request)
        if not self.requests and not self._buffer and self.persistent and not self._over:
            self._general = self._shut_out
            self._diverted = self._general or self._waitingForTransport

    def _lets_in(self, user: str | None) -> bool:
        """Find out where the requests of a user on this connection come from.

        @return: whether the client is allowed.
        """
        # Not earlier: the names in the client's certificate are known after the TLS handshake.
        jsonrpc = self.site.jsonrpc
        peer = ip_address(self.transport.getPeer())
        self._shut_out = peer is not None and not jsonrpc.allows(peer)
        self._passing = None
        if not self._shut_out:
            self._user, self._origin = user, jsonrpc.origin(self, self._is_connected, peer, user)
        return not self._shut_out

    def _origin_at(self, place: Place) -> Origin | None:
        """Where the requests of the client for nodes come from; None if nobody is found there."""
        assert self._origin is not None  # the client was let in
        find = self.site.jsonrpc.callees
        callee = None if find is None else find(*place, self._origin)
        if isinstance(callee, Error):
            return None
        if self._passing is None or callee is not self._passing.callee:
            self._passing = self._origin if callee is None else callee.origin(self._origin)
        return self._passing

    def _answer(self, document: bytes, origin: Origin) -> None:
        self._handlingRequest = True
        reply = self.site.jsonrpc.dispatcher.dispatch(document, origin)
        if type(reply) is Reply:
            self._respond(reply)
        else:
            self._later = reply
            self._diverted = True
            self.site.connections.departures.watch(self)
            take(reply, self._respond_late)

    def _time_left(self) -> float:
        whole: float = self.timeOut or 0.0
        return whole - (self.site.connections.now() - self._answered_at)

    def forget_caller(self) -> None:
        self._origin = None

    def _is_connected(self) -> bool:
        return not self._lost

    def _respond(self, reply: Reply) -> None:
        self._handlingRequest = self._arrives = False
        self.site.connections.used(self)
        self._answered_at = self.used_at
        self._send(self.site.response(reply))
        if self._waitingForTransport:
            self.site.connections.unread.add(self)
        if self._closing:
            self.loseConnection()

    def _respond_late(self, reply: Reply) -> None:
        if self._later is not None:  # the client has not gone
            self._later = None
            self._respond(reply)
            if self._held:
                self._go_on_soon()
            elif self.half_closed or self._over or self._waitingForTransport or self.paused:
                self._go_on()
            else:
                self._diverted = False  # which is all that is left to do, ordinarily

    def pauseProducing(self) -> None:
        """The client does not take what is written: start no further request until it does."""
        super().pauseProducing()
        self._diverted = True

    def loseConnection(self) -> None:
        """Close the connection, see L{Channel.loseConnection}."""
        self._diverted = True
        super().loseConnection()

    def _go_on(self) -> None:
        """Answer what was held."""
        if not (self._general or self._handlingRequest or self._waitingForTransport or self._over):
            self.paused = self._diverted = False
            held, self._held = self._held, b""
            full, self._full = self._full, False
            if held:
                self.dataReceived(held)
            if full and not (self._full or self._waitingForTransport):
                self._networkProducer.resumeProducing()
        super()._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        later, self._later = self._later, None
        self._diverted, self._held = True, b""
        self._lost = True
        self._origin = self._passing = None  # they lead back here
        super().connectionLost(reason)
        if later is not None:
            later.cancel()


class DirectSite(JsonRpcSite):
    """The site of direct channels. If its resource requires authentication, that must be by a file of users.

    @ivar heads: those that were read before.
    """

    protocol: Any = DirectChannel

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        users = self.jsonrpc.users_file
        self.heads: OpenHeads | UsersHeads = OpenHeads() if users is None else UsersHeads(users, self.turns)
        self._second = 0
        self._empty = self._headers = self._ok = b""

    def examine(self, text: bytes) -> KnownHead:
        """Read a head that is not known, or not any more."""
        jsonrpc = self.jsonrpc
        head = read_head(text, self.place, jsonrpc.hosts.accepts, usual=frozenset() if jsonrpc.proxies else FORWARDING)
        if head is not None and not jsonrpc.proxies and any(b"\n%b:" % name in text.lower() for name in FORWARDING):
            jsonrpc.proxies.tell_once(self)
        return self.heads.learn(text, head)

    def response(self, reply: Reply) -> bytes:
        """The bytes of the response that the resource would give for a reply."""
        if int(time.time()) != self._second:
            self._second = int(time.time())
            general = b"Server: %b\r\nDate: %b\r\n" % (server.version, http.datetimeToString(self._second))
            self._empty = b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\n\r\n" % general
            if self.jsonrpc.notification == http.NO_CONTENT:
                self._empty = b"HTTP/1.1 204 No Content\r\n%b\r\n" % general
            self._headers = b"\r\n%bContent-Type: application/json\r\nContent-Length: " % general
            self._ok = b"HTTP/1.1 200 OK" + self._headers
        body = reply.body
        if not body:
            return self._empty
        if (not reply.fault and reply.code != SOME) or not self.jsonrpc.http_status:
            return b"%b%d\r\n\r\n%b" % (self._ok, len(body), body)
        return b"HTTP/1.1 %d %b%b%d\r\n\r\n%b" % (*status(reply), self._headers, len(body), body)
