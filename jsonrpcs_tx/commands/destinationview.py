"""Destinations as C{dispatcher.list} shows them, in the form of each version of Kamailio."""

import os
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from jsonrpcs_tx.addresses import is_address
from jsonrpcs_tx.state.destinations import Attributes, Destination
from jsonrpcs_tx.state.latency import Latency

_PROTOCOLS: Final = {"udp": 1, "tcp": 2, "tls": 3, "sctp": 4, "ws": 5, "wss": 6}
"""Kamailio's numbers of protocols."""


class _BriefAttributes(msgspec.Struct, gc=False):
    """There may be many of these structures, so the garbage collector skips them."""

    BODY: str
    DUID: str | None
    MAXLOAD: int
    WEIGHT: int
    RWEIGHT: int
    SOCKET: str | None
    SOCKNAME: str | None
    OBPROXY: str | None


class _Attributes(msgspec.Struct, gc=False):
    BODY: str | None
    DUID: str | None
    PROBING_COUNT: int
    MAXLOAD: int
    WEIGHT: int
    RWEIGHT: int
    SOCKET: str | None
    SOCKNAME: str | None
    PING_SOCKET: str | None
    OBPROXY: str | None
    OCMIN: int
    OCMAX: int


class _Latency(msgspec.Struct, gc=False):
    AVG: float
    STD: float
    EST: float
    MAX: int
    TIMEOUT: int


class _Shown(msgspec.Struct, gc=False):
    """UNSET members are left out."""

    IDX: int | UnsetType = UNSET
    URI: str = ""
    FLAGS: str = ""
    PRIORITY: int = 0
    IUID: str | UnsetType = UNSET
    HOST: str | UnsetType = UNSET
    IPADDR: str | UnsetType = UNSET
    PORT: int | UnsetType = UNSET
    PROTOID: int | UnsetType = UNSET
    DNSTIME_SEC: int | UnsetType = UNSET
    DNSTIME_USEC: int | UnsetType = UNSET
    OCRATE: int | UnsetType = UNSET
    OCIDX: int | UnsetType = UNSET
    OCSEQ: int | UnsetType = UNSET
    OCTIME_SEC: int | UnsetType = UNSET
    OCTIME_USEC: int | UnsetType = UNSET
    ATTRS: _BriefAttributes | _Attributes | UnsetType = UNSET
    LATENCY: _Latency | UnsetType = UNSET


class Member(msgspec.Struct, gc=False):
    """A destination in the list of its set."""

    DEST: _Shown


class DestinationView:
    """Shows destinations.

    @param detailed: whether to show more members, as Kamailio does since version 6; see
        L{jsonrpcs_tx.catalogue.compatibility.Compatibility.destination_details}.
    @param latency: whether to show how long destinations take to answer probes.
    @param started: when the server was made, in seconds since 1970: a part of the identifiers.
    """

    def __init__(self, detailed: bool, latency: bool, started: float) -> None:
        self._detailed = detailed
        self._latency = latency
        self._prefix = f"dspt-{int(started):x}-{os.getpid():x}"

    def member(self, group: int, place: int, destination: Destination, how: str) -> Member:
        """Show a destination.

        @param group: the number of its set.
        @param place: its place in the set, from 0.
        @param how: C{short}: without attributes; C{full}: with addresses; anything else: with attributes only.
        """
        shown = _Shown(URI=destination.uri, FLAGS=destination.letters, PRIORITY=destination.priority)
        if self._detailed:
            shown.IDX = place
            shown.IUID = f"{self._prefix}-{destination.number:x}-{group}"
        full = how == "full"
        if full:
            self._add_addresses(shown, destination)
        attributes = destination.attributes
        if how != "short" and (attributes is not None or (full and self._detailed)):
            shown.ATTRS = (
                _detailed(attributes, destination) if self._detailed or attributes is None else _brief(attributes)
            )
        if self._latency:
            shown.LATENCY = _latency(destination.latency)
        return Member(shown)

    def _add_addresses(self, shown: _Shown, destination: Destination) -> None:
        shown.HOST = destination.host
        shown.IPADDR = destination.host if is_address(destination.host) else ""
        shown.PORT = destination.port
        shown.PROTOID = _PROTOCOLS.get(destination.protocol, 0)
        shown.DNSTIME_SEC = shown.DNSTIME_USEC = 0
        if self._detailed:
            shown.OCRATE = overload_of(destination).ocrate
            shown.OCIDX = shown.OCSEQ = shown.OCTIME_SEC = shown.OCTIME_USEC = 0


_NO_ATTRIBUTES: Final = Attributes("")


def overload_of(destination: Destination) -> Attributes:
    """The attributes for the overload control of a destination; the defaults if it has no attributes."""
    return destination.attributes or _NO_ATTRIBUTES


def _latency(of: Latency) -> _Latency:
    return _Latency(_decimal(of.average), _decimal(of.deviation), _decimal(of.estimate), of.most, of.timeouts)


def _decimal(value: float) -> float:
    """A number with the digits that Kamailio writes: six after the point, or none if it is whole."""
    return int(value) if value == int(value) else round(value, 6)


def _brief(of: Attributes) -> _BriefAttributes:
    return _BriefAttributes(of.body, of.duid, of.maxload, of.weight, of.rweight, of.socket, of.sockname, of.obproxy)


def _detailed(attributes: Attributes | None, destination: Destination) -> _Attributes:
    of = _NO_ATTRIBUTES if attributes is None else attributes
    return _Attributes(
        None if attributes is None else of.body,
        None if attributes is None else of.duid,
        destination.unanswered,
        of.maxload,
        of.weight,
        of.rweight,
        of.socket,
        of.sockname,
        of.ping_socket,
        of.obproxy,
        of.ocmin,
        of.ocmax,
    )
