"""Sends replies from a datagram socket, only to clients that may receive them.

Anybody may put any address on a datagram, so the server must check whom it sends to: never itself, and over a Unix
socket nobody to whom the client could not have written, since the server may have more rights.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, TypeAlias

from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.datagrams.sendroom import SendRoom

RESERVED_PORTS: Final = 1024
"""Ports below this one belong to services, some of which answer whatever they get (chargen, daytime, quote): they and a
server that answers everything would talk for ever. From these ports only JSON is answered."""

_KNOWN_ADDRESSES: Final = 256
"""Size of the cache that says which addresses are this machine's."""


class Unanswerable(Exception):
    """A client that must not be sent anything; the message says why."""


class UdpReplySocket:
    """Replies over UDP.

    @param sock: bound.
    @ivar special_ports: datagrams from these ports need a closer look before they are answered.
    @cvar max_reply: bytes of the largest reply that a datagram can hold.
    """

    max_reply = 65_527

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._own = sock.getsockname()[:2]
        self._family = sock.family
        self.special_ports: frozenset[Any] = frozenset((*range(RESERVED_PORTS), self._own[1]))
        self._is_of_this_machine = lru_cache(_KNOWN_ADDRESSES)(self._find_whether_local)

    def send(self, body: bytes, peer: Any, uid: int | None) -> bool:
        """Send a reply.

        @param peer: the client's address.
        @param uid: its user, where that is known.
        @return: whether it was sent; if not, there is no room for it just now.
        @raise Unanswerable: the client must not be sent anything.
        @raise OSError: it cannot be sent; EMSGSIZE: no datagram holds it.
        """
        if peer[1] == self._own[1] and self._is_own(peer[0]):
            raise Unanswerable("it is the server's own address")
        self._socket.sendto(body, peer)
        return True

    def takes_nonsense(self, peer: Any) -> bool:
        """Whether a client may be told that what it sent is not JSON."""
        return bool(peer[1] >= RESERVED_PORTS)

    def _is_own(self, host: str) -> bool:
        wildcard = self._own[0] in ("0.0.0.0", "::")
        return host == self._own[0] or (wildcard and self._is_of_this_machine(host))

    def _find_whether_local(self, host: str) -> bool:
        with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host, 0))
            except OSError:
                return False
        return True


class UnixReplySocket:
    """Replies over a Unix socket.

    @param sock: bound.
    @param alone: it decides who gets the last room in the socket's buffer; a worker leaves that to the main process.
    @ivar room: what is left of that buffer.
    @ivar trusted: users whose clients may have a reply sent to any path: root and the server's own, who can write
        wherever the server can.
    @cvar max_reply: bytes of a reply above which the kernel may say that there is no room just now, rather than that
        the reply is too large.
    """

    max_reply = 1_048_576

    def __init__(self, sock: socket.socket, clock: IReactorTime, alone: bool) -> None:
        self._socket = sock
        self._own = sock.getsockname()
        self._alone = alone
        self.room: SendRoom = SendRoom(sock, clock)
        self.trusted: frozenset[int] = frozenset((0, os.geteuid()))

    def send(self, body: bytes, peer: Any, uid: int | None) -> bool:
        """See L{UdpReplySocket.send}."""
        if peer == self._own:
            raise Unanswerable("it is the server's own address")
        if isinstance(peer, str) and not peer.startswith("/"):
            raise Unanswerable("a relative path; allowed: an absolute one, or an abstract name")
        size = len(body)
        is_plenty = self.room.is_plenty(size)
        if not is_plenty and not (self._alone and self.room.admits(peer, uid, size)):
            return False
        if uid in self.trusted or not isinstance(peer, str):  # anybody may write to an abstract name
            self._socket.sendto(body, peer)
        else:
            with _socket_of(peer, uid) as path:
                self._socket.sendto(body, path)
        if not is_plenty:
            self.room.sent(peer, uid, size)
        return True

    def takes_nonsense(self, peer: Any) -> bool:
        """See L{UdpReplySocket.takes_nonsense}."""
        return True


@contextlib.contextmanager
def _socket_of(path: str, uid: int | None) -> Iterator[str]:
    """A path that leads to the socket that a user has made at another path, and to no other file.

    The user may put links there at any time, and lead the server to where the user may not go. A socket belongs to
    whoever made it, and only root can give it away.

    @raise Unanswerable: it is not a socket of that user.
    @raise OSError: it cannot be reached.
    """
    file = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != uid:
            raise Unanswerable(f"it is not a socket of user {uid}, who asked")
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


ReplySocket: TypeAlias = UdpReplySocket | UnixReplySocket


def reply_socket(sock: socket.socket, clock: IReactorTime, alone: bool = True) -> ReplySocket:
    """Make the sender of replies for a bound datagram socket, once the process has its final user; see
    L{UnixReplySocket} for the parameters.
    """
    return UnixReplySocket(sock, clock, alone) if sock.family == socket.AF_UNIX else UdpReplySocket(sock)
