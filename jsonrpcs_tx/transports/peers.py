"""Who is at the other end of a connection."""

import socket
import struct
from typing import Any, Final

UCRED: Final = struct.Struct("iII")
"""Process, user and group of the other end of a Unix socket, as the kernel gives them (unix(7))."""


def credentials(transport: Any) -> tuple[int | None, int | None]:
    """The user and group of a client, as they were when it connected; None and None if it is not on a Unix socket.

    @param transport: of the connection, with or without TLS.
    """
    while hasattr(transport, "transport"):  # below TLS, and what else there is in between
        transport = transport.transport
    sock = transport.getHandle() if hasattr(transport, "getHandle") else None
    if sock is None or sock.family != socket.AF_UNIX:
        return None, None
    _, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return uid, gid


def client(transport: Any) -> str:
    """A text that says which client it is: its IP address; over a Unix socket, its user."""
    host = getattr(transport.getPeer(), "host", None)
    if host is not None:
        return str(host)
    uid, _ = credentials(transport)
    return "an unknown address" if uid is None else f"a Unix socket, uid {uid}"
