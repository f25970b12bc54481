"""Who is at the other end of a connection."""

import socket
import struct
from typing import Any, Final

import attrs
from twisted.internet.address import IPv4Address, IPv6Address

_IP_ADDRESSES: Final = (IPv4Address, IPv6Address)

UCRED: Final = struct.Struct("iII")
"""Process, user and group of the other end of a Unix socket, as the kernel gives them (unix(7))."""


def ip_address(peer: object) -> str | None:
    """The IP address of a peer, such as C{getPeer} gives; None over a Unix socket."""
    return peer.host if isinstance(peer, _IP_ADDRESSES) else None


@attrs.frozen
class Credentials:
    """What the kernel tells of the other end of a Unix socket (unix(7)).

    @ivar pid: the process; None if unknown, as in the other two.
    @ivar uid: its user.
    @ivar gid: its group.
    """

    pid: int | None = None
    uid: int | None = None
    gid: int | None = None


def credentials(transport: Any) -> Credentials:
    """The client at the other end of a connection, as it was when it connected; all None over anything but a Unix
    socket.

    @param transport: of the connection, with or without TLS.
    """
    while hasattr(transport, "transport"):  # below TLS and other wrappers
        transport = transport.transport
    sock = transport.getHandle() if hasattr(transport, "getHandle") else None
    if sock is None or sock.family != socket.AF_UNIX:
        return Credentials()
    return Credentials(*UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)))


def client(transport: Any) -> str:
    """A text that tells clients apart: the IP address; over a Unix socket, the user."""
    host = getattr(transport.getPeer(), "host", None)
    if host is not None:
        return str(host)
    uid = credentials(transport).uid
    return "an unknown address" if uid is None else f"a Unix socket, uid {uid}"
