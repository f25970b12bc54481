"""Who is at the other end of a connection."""

import socket
import struct
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.address import IPv4Address, IPv6Address

_IP_ADDRESSES: Final = (IPv4Address, IPv6Address)

UNKNOWN_ADDRESS: Final = IPv4Address("TCP", "0.0.0.0", 0)
"""Stands for the address of a client where the proxy does not give it. No client has it, so it is never local, and
C{http_allow} and rules can name it."""

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


def client_names(transport: Any) -> tuple[str, ...]:
    """The names in a client's verified certificate: its common name, DNS names and mail addresses.

    @param transport: the connection's.
    @return: empty without TLS, or without a certificate.
    """
    certificate = transport.getPeerCertificate() if hasattr(transport, "getPeerCertificate") else None
    if certificate is None:
        return ()
    decoded = certificate.to_cryptography()
    names = [str(name.value) for name in decoded.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    names += alternative_names(decoded, x509.DNSName, x509.RFC822Name)
    return tuple(dict.fromkeys(names))


def alternative_names(certificate: x509.Certificate, *kinds: type[x509.DNSName | x509.RFC822Name]) -> list[str]:
    """The alternative names of these kinds in a certificate."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name for kind in kinds for name in alternative.get_values_for_type(kind)]
