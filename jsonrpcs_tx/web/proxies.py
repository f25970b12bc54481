"""Who the client behind a trusted proxy is, from its headers C{Forwarded} (RFC 7239) and C{X-Forwarded-For}."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final
from weakref import WeakSet

from twisted.web.http_headers import Headers

from jsonrpcs_tx.addresses import is_in
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

FORWARDING: Final = frozenset((b"forwarded", b"x-forwarded-for"))
"""The headers, in lower case."""

UNIX: Final = "unix"
"""Stands for every peer over a Unix socket in the networks of proxies."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*([,;]|\Z)')
_PORT = r"(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?"
_NODE = re.compile(rf"\[([0-9A-Fa-f:.]+)\]{_PORT}|([0-9.]+){_PORT}|([0-9A-Fa-f:.]+)")


class UnknownClient(ValueError):
    """The headers of a trusted proxy do not say who its client is; the argument says why."""


class Proxies:
    """The trusted proxies.

    @param networks: the networks they are in; L{UNIX} for proxies that call over a Unix socket.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._unix = UNIX in networks
        self._networks = [ipaddress.ip_network(network) for network in networks if network != UNIX]
        self._told: WeakSet[object] = WeakSet()

    def __bool__(self) -> bool:
        """Whether any proxy is trusted."""
        return self._unix or bool(self._networks)

    def trusts(self, peer: str | None) -> bool:
        """Whether a peer is one of the proxies.

        @param peer: its IP address; None over a Unix socket.
        """
        return self._unix if peer is None else is_in(peer, self._networks)

    def client(self, peer: str | None, headers: Headers) -> str | None:
        """The client of a request: the last address in the header that does not belong to a trusted proxy.

        The client may have made up everything before it. If both headers are present, they must agree: a proxy sets one
        and may pass on the other as the client sent it.

        @param peer: IP address of the sender of the request; None over a Unix socket.
        @return: an IP address; the peer's, if it is not a trusted proxy or names no client.
        @raise UnknownClient: the headers are malformed, disagree or hide the address.
        """
        if not self or not self.trusts(peer):
            return peer
        clients = set()
        for name, read in ((b"Forwarded", _forwarded), (b"X-Forwarded-For", _forwarded_for)):
            values = headers.getRawHeaders(name)
            if values is not None:
                clients.add(self._last(name.decode(), read(",".join(value.decode("latin-1") for value in values))))
        if len(clients) > 1:
            raise UnknownClient("Forwarded and X-Forwarded-For name different clients")
        return clients.pop() if clients else peer

    def ignores(self, peer: str | None, headers: Headers) -> bool:
        """Whether a request has a proxy's headers that are ignored, because the peer is not a trusted proxy."""
        forwarded = headers.hasHeader(b"Forwarded") or headers.hasHeader(b"X-Forwarded-For")
        return forwarded and not (self and self.trusts(peer))

    def tell_once(self, listener: object) -> None:
        """Log that a proxy's headers are ignored, once for each listener."""
        if listener not in self._told:
            self._told.add(listener)
            _log.warn(
                "http: Forwarded or X-Forwarded-For is ignored: rules and http_allow see the address of the proxy, "
                "not of its client; see http_proxy"
            )

    def _last(self, header: str, nodes: Sequence[str]) -> str:
        address = ""
        for node in reversed(nodes):
            address = _address(header, node)
            if not is_in(address, self._networks):
                break
        return address


def _forwarded_for(value: str) -> list[str]:
    return value.split(",")


def _forwarded(value: str) -> list[str]:
    """The nodes of C{for=}, in order.

    @raise UnknownClient: the value does not follow RFC 7239, or an element has no C{for=} or more than one.
    """
    nodes: list[str] = []
    count, position = 0, 0
    while True:
        pair = _PAIR.match(value, position)
        if pair is None:
            raise UnknownClient("Forwarded is malformed")
        if pair[1].lower() == "for":
            nodes.append(re.sub(r"\\(.)", r"\1", pair[2][1:-1]) if pair[2].startswith('"') else pair[2])
        if pair[3] != ";":
            count += 1
            if len(nodes) != count:
                raise UnknownClient("an element of Forwarded has no for=, or more than one")
        if not pair[3]:
            return nodes
        position = pair.end()


def _address(header: str, node: str) -> str:
    """The IP address of a node, which may have a port; an IPv4 address mapped to IPv6 becomes IPv4."""
    match = _NODE.fullmatch(node.strip(" \t"))
    try:
        if match is None:
            raise ValueError
        address = ipaddress.ip_address(match[1] or match[2] or match[3])
    except ValueError:
        raise UnknownClient(f"{header} does not give the address of the client: {node!a:.60}") from None
    return str(getattr(address, "ipv4_mapped", None) or address)
