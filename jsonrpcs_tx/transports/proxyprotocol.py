"""Endpoints behind a proxy, C{haproxy:...}: a header of the PROXY protocol tells the client's address first.

Twisted's own wrapper tells the protocol of a new connection the proxy's address, closes a connection with
C{PROXY UNKNOWN}, and takes the proxy's address where the header has none. Here the connection begins once the header
has arrived, and a client without an IP address is L{UNKNOWN_ADDRESS}.
"""

import ipaddress
import re
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, TimeoutMixin, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from jsonrpcs_tx.access.peers import UNKNOWN_ADDRESS
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

PREFIX: Final = "haproxy:"
"""What an endpoint string starts with if its connections begin with a header."""

_MAX_LINE: Final = 107
_LINE = re.compile(rb"PROXY (?:(UNKNOWN)(?: .*)?|(TCP4|TCP6) ([0-9a-fA-F:.]+) [0-9a-fA-F:.]+ ([0-9]{1,5}) [0-9]{1,5})")
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_BINARY_START: Final = 16
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _UNIX = 0, 3
_MIN_SIZES: Final = {1: 12, 2: 36, _UNIX: 216}
"""Bytes of both addresses and ports by their family: IPv4, IPv6 and Unix."""


class InvalidProxyHeader(Exception):
    """What a connection begins with is not a header of the PROXY protocol."""


def read_header(data: bytes) -> tuple[IAddress, bytes] | None:
    """Read a header, version 1 or 2.

    @return: the client's address, and what follows the header; None while the header is incomplete.
    @raise InvalidProxyHeader: the data does not begin with a header.
    """
    try:
        return _read_binary(data) if _SIGNATURE.startswith(data[: len(_SIGNATURE)]) else _read_line(data)
    except ValueError as error:
        raise InvalidProxyHeader from error


def _read_line(data: bytes) -> tuple[IAddress, bytes] | None:
    """Read version 1: C{PROXY TCP4 source destination port port}.

    @raise ValueError: see L{read_header}.
    """
    line, end, rest = data.partition(b"\r\n")
    if not end and len(data) <= _MAX_LINE and b"PROXY ".startswith(data[:6]):
        return None
    match = _LINE.fullmatch(line) if end and len(line) <= _MAX_LINE else None
    if match is None:
        raise ValueError
    unknown, family, source, port = match.groups()
    if unknown:
        return UNKNOWN_ADDRESS, rest
    return _address(4 if family == b"TCP4" else 6, source.decode(), int(port)), rest


def _read_binary(data: bytes) -> tuple[IAddress, bytes] | None:
    """Read version 2: the signature, command, family and protocol, size, addresses and ports.

    @raise ValueError: see L{read_header}.
    """
    if len(data) < _BINARY_START:
        return None
    end = _BINARY_START + int.from_bytes(data[14:16], "big")
    if len(data) < end:
        return None
    command, (family, protocol) = data[12], divmod(data[13], 16)
    if command not in (_LOCAL, _PROXY):
        raise ValueError
    if command == _LOCAL:
        return UNKNOWN_ADDRESS, data[end:]
    if family > _UNIX or protocol > 2:
        raise ValueError
    if _UNSPECIFIED in (family, protocol):
        return UNKNOWN_ADDRESS, data[end:]
    addresses = data[_BINARY_START:end]
    if len(addresses) < _MIN_SIZES[family]:
        raise ValueError
    if family == _UNIX:
        return UNKNOWN_ADDRESS, data[end:]
    size = 4 if family == 1 else 16
    source = ipaddress.ip_address(addresses[:size])
    return _address(source.version, str(source), int.from_bytes(addresses[2 * size : 2 * size + 2], "big")), data[end:]


def _address(version: int, host: str, port: int) -> IAddress:
    """@raise ValueError: the host is not an IP address of that version."""
    if ipaddress.ip_address(host).version != version:
        raise ValueError
    return IPv4Address("TCP", host, port) if version == 4 else IPv6Address("TCP", host, port)


@implementer(IHalfCloseableProtocol)
class ProxiedConnection(ProtocolWrapper, TimeoutMixin):
    """A connection from a proxy, which becomes its client's once the header has arrived.

    @ivar factory: the L{ProxyFactory} that made it.
    """

    factory: "ProxyFactory"
    wrappedProtocol: Any
    busy = False
    used_at: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether no part of the header has arrived."""
        return not self._header

    def __init__(self, factory: "ProxyFactory") -> None:
        super().__init__(factory, None)  # type: ignore[arg-type] # it is made later
        self._header = b""
        self._client: IAddress | None = None

    def makeConnection(self, transport: Any) -> None:
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        self.factory.connections.add(self)
        self.callLater: Any = self.factory.reactor.callLater  # TimeoutMixin asks for it
        self.setTimeout(self.factory.site.timeOut)

    def dataReceived(self, data: bytes) -> None:
        if self._client is not None:
            self.wrappedProtocol.dataReceived(data)
            return
        self._header += data
        try:
            found = read_header(self._header)
        except InvalidProxyHeader:
            _log.warn("haproxy: {peer} is cut off: it sends no header of the PROXY protocol", peer=super().getPeer())
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
        """Close the connection at once."""
        self.transport.abortConnection()  # type: ignore[union-attr] # it is one over TCP

    def close(self) -> None:
        self.abort()

    def retire(self) -> None:
        self.abort()

    def readConnectionLost(self) -> None:
        """The client has closed its sending side."""
        protocol = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if protocol is None:
            self.transport.loseConnection()
        else:
            protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Never happens: the server does not close its sending side alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)
        self.factory.connections.discard(self)
        self.factory.unregisterProtocol(self)
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.connectionLost(reason)


class ProxyFactory(WrappingFactory):
    """Makes the connections of a port that only proxies connect to.

    @param wrapped: makes the protocols of the clients' connections.
    @param site: the factory behind it, whose C{connections} and C{timeOut} are used.
    """

    noisy = False

    def __init__(self, wrapped: Any, site: Any, reactor: Any) -> None:
        super().__init__(wrapped)
        self.site = site
        self.connections: Any = site.connections
        self.reactor = reactor

    def buildProtocol(self, addr: IAddress | None) -> ProxiedConnection:
        return ProxiedConnection(self)
