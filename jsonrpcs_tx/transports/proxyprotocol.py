"""Endpoints behind a proxy, C{haproxy:...}: a header of the PROXY protocol tells the client's address first.

Twisted's own wrapper tells the protocol of a new connection the proxy's address, closes a connection with
C{PROXY UNKNOWN}, and takes the proxy's address where the header has none. Here the connection begins when the header is
there, and a client without an IP address is L{UNKNOWN}.
"""

import ipaddress
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.haproxy._exceptions import InvalidProxyHeader
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser
from twisted.protocols.policies import ProtocolWrapper, TimeoutMixin, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

PREFIX: Final = "haproxy:"
"""What an endpoint string starts with whose connections begin with a header."""

UNKNOWN: Final = IPv4Address("TCP", "0.0.0.0", 0)
"""The address of a client that the proxy does not tell: no client has it, so it is never local, and C{http_allow} and
rules can name it."""

_MAX_LINE: Final = 107
_V2_START: Final = 16


def read_header(data: bytes) -> tuple[IAddress, bytes] | None:
    """Read a header, version 1 or 2.

    @return: the client's address, and what follows the header; None where more is to come.
    @raise InvalidProxyHeader: there is none.
    """
    try:
        return _read_header(data)
    except InvalidProxyHeader:
        raise
    except Exception as error:  # the parsers have many for a header that is none
        raise InvalidProxyHeader from error


def _read_header(data: bytes) -> tuple[IAddress, bytes] | None:
    start = data[: len(V2Parser.PREFIX)]
    if V2Parser.PREFIX.startswith(start):
        if len(data) < _V2_START:
            return None
        size = _V2_START + int.from_bytes(data[14:16], "big")
        return None if len(data) < size else (_address(V2Parser.parse(data[:size]).source), data[size:])
    if not b"PROXY ".startswith(data[:6]):
        raise InvalidProxyHeader
    line, end, rest = data.partition(b"\r\n")
    if not end and len(data) <= _MAX_LINE:
        return None
    if not end or len(line) > _MAX_LINE:
        raise InvalidProxyHeader
    if line.split(b" ")[1] == V1Parser.UNKNOWN_PROTO:
        return UNKNOWN, rest
    return _address(V1Parser.parse(line).source), rest


def _address(source: IAddress | None) -> IAddress:
    """@raise InvalidProxyHeader: it is no address."""
    if not isinstance(source, IPv4Address | IPv6Address):
        return UNKNOWN
    try:
        ipaddress.ip_address(source.host)
    except ValueError:
        raise InvalidProxyHeader from None
    return source


@implementer(IHalfCloseableProtocol)
class ProxiedConnection(ProtocolWrapper, TimeoutMixin):
    """A connection from a proxy, which becomes its client's when the header has come.

    @ivar factory: the L{ProxyFactory} that made it.
    """

    factory: "ProxyFactory"
    wrappedProtocol: Any
    busy = False
    used_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing of the header has come."""
        return not self._header

    def __init__(self, factory: "ProxyFactory") -> None:
        super().__init__(factory, None)  # type: ignore[arg-type] # it comes later
        self._header = b""
        self._client: IAddress | None = None

    def makeConnection(self, transport: Any) -> None:
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self.factory.connections.add(self)
        self.callLater = self.factory.reactor.callLater  # type: ignore[method-assign] # TimeoutMixin asks for it
        self.setTimeout(self.factory.site.timeOut)

    def dataReceived(self, data: bytes) -> None:
        if self._client is not None:
            self.wrappedProtocol.dataReceived(data)
            return
        self._header += data
        try:
            found = read_header(self._header)
        except InvalidProxyHeader:
            self.abort()
            return
        if found is not None:
            self._begin(*found)

    def _begin(self, client: IAddress, rest: bytes) -> None:
        self._client, self._header = client, b""
        self.setTimeout(None)
        self.factory.connections.discard(self)
        self.wrappedProtocol = self.factory.wrappedFactory.buildProtocol(client)
        if self.wrappedProtocol is None:
            self.transport.abortConnection()  # type: ignore[union-attr] # it is one over TCP
            return
        self.wrappedProtocol.makeConnection(self)
        if rest:
            self.wrappedProtocol.dataReceived(rest)

    def getPeer(self) -> IAddress:
        """The client's address, as the proxy tells it."""
        return self._client if self._client is not None else super().getPeer()

    def timeoutConnection(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close a connection whose header has not come."""
        self.transport.abortConnection()  # type: ignore[union-attr] # it is one over TCP

    close = retire = abort

    def readConnectionLost(self) -> None:
        """The client writes no more."""
        protocol = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if protocol is None:
            self.transport.loseConnection()
        else:
            protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Nobody asks for that."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)
        self.factory.connections.discard(self)
        self.factory.unregisterProtocol(self)
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.connectionLost(reason)


class ProxyFactory(WrappingFactory):
    """Makes the connections of a port that only proxies connect to.

    @param wrapped: makes the protocols of the clients' connections.
    @param site: what it makes them for; of it C{connections} and C{timeOut} count.
    """

    noisy = False

    def __init__(self, wrapped: Any, site: Any, reactor: Any) -> None:
        super().__init__(wrapped)
        self.site = site
        self.connections = site.connections
        self.reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> ProxiedConnection:
        return ProxiedConnection(self)
