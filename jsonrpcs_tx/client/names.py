"""The addresses of hosts, looked up within a time limit."""

import socket

from jsonrpcs_tx.client.polling import left
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Address: TypeAlias = tuple[int, Any]
    """A family with an address for its sockets."""


def look_up(target: Target, kind: int, flags: int = 0) -> "list[Address]":
    """Look up the addresses of a target, however long that takes. For datagrams, IPv4 addresses come first: only the
    first address is used, and Kamailio mostly listens on IPv4, even if the name (localhost) has both.

    @param kind: the type of the socket, such as C{SOCK_STREAM}.
    @raise OSError: the target has no address.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SocketKind(kind), flags=flags)
    addresses: list[Address] = [(family, address) for family, _, _, _, address in found]
    if kind == socket.SOCK_DGRAM:
        addresses.sort(key=lambda one: one[0] != socket.AF_INET)
    return addresses


def numeric(target: Target, kind: int) -> "list[Address]":
    """The address of a target that is not given by name; empty if it has a name."""
    try:
        return look_up(target, kind, socket.AI_NUMERICHOST)
    except socket.gaierror:
        return []


def resolve(target: Target, kind: int, deadline: float) -> "list[Address]":
    """The addresses of a target, looked up in time.

    @raise TimeoutError: the resolver has not answered in time.
    @raise OSError: the target has no address.
    """
    found = numeric(target, kind)
    if found:
        return found
    from threading import Thread  # the system's resolver has no time limit

    results: list[list[Address] | OSError] = []

    def look_up_now() -> None:
        try:
            results.append(look_up(target, kind))
        except OSError as error:
            results.append(error)

    thread = Thread(target=look_up_now, daemon=True)
    thread.start()
    thread.join(left(deadline))
    if not results:
        raise TimeoutError
    if isinstance(results[0], OSError):
        raise results[0]
    return results[0]
