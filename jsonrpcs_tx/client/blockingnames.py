"""Names of hosts, looked up within a time limit."""

import socket

from jsonrpcs_tx.client.polling import left
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any


def resolve(target: Target, kind: int, deadline: float) -> "list[tuple[int, Any]]":
    """The addresses of a target, each with its family.

    @param kind: of the socket, such as C{SOCK_STREAM}.
    @raise TimeoutError: they have not come in time.
    @raise OSError: there are none.
    """
    try:
        return _look_up(target, kind, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    from threading import Thread  # the system's resolver has no time limit

    found: list[list[tuple[int, Any]] | OSError] = []

    def look_up() -> None:
        try:
            found.append(_look_up(target, kind, 0))
        except OSError as error:
            found.append(error)

    thread = Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(left(deadline))
    if not found:
        raise TimeoutError
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _look_up(target: Target, kind: int, flags: int) -> "list[tuple[int, Any]]":
    found = socket.getaddrinfo(target.host, target.port, type=socket.SocketKind(kind), flags=flags)
    return [(family, address) for family, _, _, _, address in found]
