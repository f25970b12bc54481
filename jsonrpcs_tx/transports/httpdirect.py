"""The direct path of HTTP: an ordinary POST is answered straight from the channel, without twisted.web's parser.

It takes a request whose head is plain (L{ordinary_size}) and whose body is complete, with nothing behind it. Heads that
were seen before are looked up, since a client sends the same one again and again. While a command is in progress,
whatever arrives behind it is held.

Everything else goes unchanged to twisted.web's parser and the resource (C{httpsite.py}, C{httpresource.py}), and so
does what follows on the connection until that request is answered. A head is plain only if twisted.web would read it in
the same way, and the reply has the same bytes, so that clients cannot tell the two paths apart.
"""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from twisted.web import http, server

from jsonrpcs_tx.rpc.dispatcher import Origin, Reply
from jsonrpcs_tx.rpc.replies import SOME
from jsonrpcs_tx.transports.httpresource import status
from jsonrpcs_tx.transports.httpsite import Channel, JsonRpcSite, below
from jsonrpcs_tx.transports.peers import ip_address
from jsonrpcs_tx.transports.proxies import FORWARDING
from jsonrpcs_tx.transports.tlsdirect import send_at_once

MAX_HEAD: Final = 2048
"""Bytes of the longest head that may be plain."""

MAX_HEADS: Final = 1024
"""Size of the cache of heads."""

MAX_HELD: Final = 65_536
"""Bytes of an unfinished request that are kept here; a larger request goes to twisted.web from the start."""

_HEAD = re.compile(rb"POST (/[!-~]*) HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[\t -~]*\r\n)*)\r\n")
_UNUSUAL: Final = FORWARDING | {
    *(b"transfer-encoding", b"expect", b"origin", b"sec-fetch-site", b"upgrade", b"cookie", b"trailer", b"te"),
    b"content-encoding",
}


def ordinary_size(
    head: bytes, prefix: bytes, is_own: Callable[[bytes], bool], usual: frozenset[bytes] = frozenset()
) -> int:
    """Read a head, from the request line to the empty line.

    @param prefix: what the path must start with.
    @param is_own: tells whether the value of a Host header is a name of the server.
    @param usual: headers, in lower case, that have no effect on this server and so leave a head plain.
    @return: the size of the body in bytes; -1 where the head is not plain: not a POST over HTTP/1.1 to such a path, not
        exactly one Content-Length and one Host, a foreign host, or a header that asks for more than a reply.
    """
    match = _HEAD.fullmatch(head) if len(head) <= MAX_HEAD else None
    if match is None or not match[1].partition(b"?")[0].startswith(prefix):
        return -1
    size, hosts = -1, 0
    for line in match[2].split(b"\r\n")[:-1]:
        name, _, value = line.lower().partition(b":")
        value = value.strip(b" \t")
        if name == b"content-length":
            if size >= 0 or not value.isdigit() or len(value) > 9:
                return -1
            size = int(value)
        elif name == b"host":
            hosts += 1
            if not is_own(value):
                return -1
        elif (name in _UNUSUAL and name not in usual) or (name == b"connection" and value != b"keep-alive"):
            return -1
    return size if hosts == 1 else -1


class DirectChannel(Channel):
    """A connection that answers ordinary requests itself.

    @ivar _shut_out: the client is not allowed; the resource tells it so, each time.
    @ivar _general: what arrives goes to twisted.web.
    @ivar _diverted: what arrives is not answered here and now: it goes to twisted.web, or is held until a command is
        done or the client has taken what is written.
    @ivar _held: the beginning of a request, or data that is held for later.
    @ivar _later: fires with the reply to the request in progress.
    """

    site: "DirectSite"
    _shut_out = False
    _general = False
    _diverted = False
    _held = b""
    _later: Deferred[Reply] | None = None
    _lost = False
    _origin: Origin | None = None
    _send: Callable[[bytes], None]

    def connectionMade(self) -> None:
        super().connectionMade()
        self._send = getattr(self.transport, "send_at_once", None) or partial(send_at_once, self.transport)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, and no part of one has arrived."""
        return super().idle and not self._held

    @property
    def is_full(self) -> bool:
        """Whether so much has arrived behind the request that is being answered that reading is paused."""
        return len(self._held) > self._optimisticEagerReadSize or super().is_full

    def dataReceived(self, data: bytes) -> None:
        if self._diverted:
            self._divert(data)
            return
        if self._held:
            data = self._held + data
            self._held = b""
        end = data.find(b"\r\n\r\n") + 4
        head = data[:end]
        size = self.site.heads.get(head)
        if size is None:
            size = self.site.examine(head)
        if size < 0 or size > self.site.jsonrpc.max_body or len(data) > end + size:
            self._leave(data)
        elif len(data) == end + size:
            self._answer(data, end)
        elif end + size <= MAX_HELD:
            self.resetTimeout()
            self._held = data
        else:
            self._leave(data)

    def _divert(self, data: bytes) -> None:
        if self._general:
            super().dataReceived(data)
        elif not self._over:
            self._held += data
            if len(self._held) > self._optimisticEagerReadSize:
                self._networkProducer.pauseProducing()

    def _leave(self, data: bytes) -> None:
        """Pass this and what follows to twisted.web, until it has answered."""
        self._general = self._diverted = True
        super().dataReceived(data)

    def requestDone(self, request: http.Request) -> None:
        super().requestDone(request)
        if not self.requests and not self._buffer and self.persistent and not self._over:
            self._general = self._shut_out
            self._diverted = self._general or self._waitingForTransport

    def _answer(self, data: bytes, end: int) -> None:
        jsonrpc = self.site.jsonrpc
        if self._origin is None:
            # Not earlier: the names in the client's certificate are known after the TLS handshake.
            peer = ip_address(self.transport.getPeer())
            self._shut_out = peer is not None and not jsonrpc.allows(peer)
            if self._shut_out:
                self._leave(data)
                return
            self._origin = jsonrpc.origin(self, self._is_connected, peer)
        self._handlingRequest = True
        reply = jsonrpc.dispatcher.dispatch(data[end:], self._origin)
        if type(reply) is Reply:
            self._respond(reply)
        else:
            self._later = reply
            self._diverted = True
            self.site.connections.departures.watch(self)
            reply.addCallback(self._respond_late)

    def forget_caller(self) -> None:
        self._origin = None

    def _is_connected(self) -> bool:
        return not self._lost

    def _respond(self, reply: Reply) -> None:
        self._handlingRequest = self._arrives = False
        TimeoutMixin.resetTimeout(self)
        self.site.connections.used(self)
        self._send(self.site.response(reply))
        if self._waitingForTransport:
            self.site.connections.unread.add(self)
        if self._closing:
            self.loseConnection()

    def _respond_late(self, reply: Reply) -> None:
        if self._later is not None:  # the client has not gone
            self._later = None
            self._respond(reply)
            if not self._waitingForTransport:
                self._networkProducer.resumeProducing()
            self._go_on()

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
            if held:
                self.dataReceived(held)
        super()._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        later, self._later = self._later, None
        self._diverted, self._held = True, b""
        self._lost, self._origin = True, None  # the origin leads back here
        super().connectionLost(reason)
        if later is not None:
            later.cancel()


class DirectSite(JsonRpcSite):
    """The site of direct channels. Its resource must not require authentication.

    @ivar heads: the size of the body by head, for heads that were seen before; see L{ordinary_size}.
    """

    protocol: Any = DirectChannel

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.heads: dict[bytes, int] = {}
        self._second = 0
        self._empty = self._headers = self._ok = b""

    def examine(self, head: bytes) -> int:
        """Read a head that was not seen before, and remember it.

        @return: see L{ordinary_size}.
        """
        jsonrpc = self.jsonrpc
        if jsonrpc.proxies:
            size = ordinary_size(head, self.prefix, jsonrpc.hosts.accepts)
        else:
            size = ordinary_size(head, self.prefix, jsonrpc.hosts.accepts, usual=FORWARDING)
            if size >= 0 and any(b"\n%b:" % name in head.lower() for name in FORWARDING):
                jsonrpc.proxies.tell_once(self)
        if jsonrpc.callees is not None and size >= 0:
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            if any(below(path, self.prefix)):  # it is for another server, which the resource asks
                size = -1
        if len(head) <= MAX_HEAD:
            if len(self.heads) >= MAX_HEADS:
                self.heads.clear()
            self.heads[head] = size
        return size

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
