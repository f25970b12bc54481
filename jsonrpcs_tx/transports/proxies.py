"""Who the client behind a proxy is: C{Forwarded} (RFC 7239) and C{X-Forwarded-For}, where a trusted proxy sets them."""

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
"""Stands among the networks of proxies for all who call over a Unix socket."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*([,;]|\Z)')
_PORT = r"(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?"
_NODE = re.compile(rf"\[([0-9A-Fa-f:.]+)\]{_PORT}|([0-9.]+){_PORT}|([0-9A-Fa-f:.]+)")


class UnknownClient(ValueError):
    """The headers of a trusted proxy do not tell who its client is; the argument says why."""


class Proxies:
    """The proxies whose word counts.

    @param networks: theirs; L{UNIX} for those that call over a Unix socket.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._unix = UNIX in networks
        self._networks = [ipaddress.ip_network(network) for network in networks if network != UNIX]
        self._told: WeakSet[object] = WeakSet()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._unix or bool(self._networks)

    def trusts(self, peer: str | None) -> bool:
        """Whether a peer is one of the proxies.

        @param peer: its IP address; None over a Unix socket.
        """
        return self._unix if peer is None else is_in(peer, self._networks)

    def client(self, peer: str | None, headers: Headers) -> str | None:
        """The client of a request: the last address, seen from the server, that is none of the proxies'.

        What stands before it, the client may have made up. Where both headers are there they must agree, as a proxy
        sets one, and passes the other on as the client has sent it.

        @param peer: IP address of who has sent the request; None over a Unix socket.
        @return: an IP address; the peer where that is no proxy, or says nothing of a client.
        @raise UnknownClient: the headers are malformed, do not agree or hide the address.
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
        """Whether a request has headers of a proxy that do not count, since the peer is none of the proxies."""
        forwarded = headers.hasHeader(b"Forwarded") or headers.hasHeader(b"X-Forwarded-For")
        return forwarded and not (self and self.trusts(peer))

    def tell_once(self, listener: object) -> None:
        """Log that the headers came and do not count, the first time over a listener."""
        if listener not in self._told:
            self._told.add(listener)
            _log.warn(
                "http: Forwarded or X-Forwarded-For came and does not count: rules and http_allow see the address of "
                "the proxy, not of its client; see http_proxy"
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

    @raise UnknownClient: it is not as RFC 7239 has it, or an element has no C{for=}, or two.
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
    """The IP address of a node, which may have a port; one of IPv4 within IPv6 becomes IPv4."""
    match = _NODE.fullmatch(node.strip(" \t"))
    try:
        if match is None:
            raise ValueError
        address = ipaddress.ip_address(match[1] or match[2] or match[3])
    except ValueError:
        raise UnknownClient(f"{header} gives no address of the client: {node!a:.60}") from None
    return str(getattr(address, "ipv4_mapped", None) or address)
