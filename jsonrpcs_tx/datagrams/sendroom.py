"""Shares the send buffer of a Unix datagram socket among its clients, so that none can deprive others of their replies.

Over a Unix socket a reply takes up room in the server's send buffer until its client reads it, and cannot be taken
back. So some room is reserved: anybody may be sent anything until half of the buffer is taken. Beyond that, what is
sent to each client and each user is added up, and forgotten when the kernel says that the client has read everything. A
user, with however many sockets, may then take no more than stays free for others, and a client an eighth of what its
user may still take.
"""

import fcntl
import os
import socket
import sys
import termios
from collections import Counter
from time import perf_counter
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.datagrams import sockdiag

BUFFER: Final = 8_388_608
"""Bytes asked of the kernel, which gives twice as many. Root gets them; others what C{net.core.wmem_max} allows."""

LOOK_INTERVAL: Final = 0.02
"""Minimum number of seconds between two questions to the kernel about who has read everything; more where answers take
long, so that asking takes at most a tenth of the time."""

SMALL: Final = 4_096
"""Bytes that a client which has read everything may take of the last eighth of the buffer."""

CLIENT_SHARE: Final = 8
"""A client may take this part of what its user may still take."""

_SO_SNDBUFFORCE: Final = 32
_OVERHEAD: Final = 4_096
"""The most bytes that a datagram takes up besides twice its size."""


def widen(sock: socket.socket) -> None:
    """Make the send buffer of a Unix socket as large as the kernel allows, up to L{BUFFER}."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)


class SendRoom:
    """The send buffer of one Unix datagram socket.

    @param sock: bound; its buffer keeps its size from now on.
    @param clock: tells the time.
    """

    def __init__(self, sock: socket.socket, clock: IReactorTime) -> None:
        self._socket = sock
        self._clock = clock
        self._size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._credit = 0
        self._unaccounted = 0
        self._clients: dict[Any, tuple[int | None, int]] = {}
        self._users: Counter[int | None] = Counter()
        self._last_look = 0.0
        self._look_interval = 0.0

    def unread(self) -> int:
        """Bytes of the buffer that are taken up by what clients have not read."""
        return int.from_bytes(fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def is_plenty(self, size: int, count: int = 1) -> bool:
        """Whether anybody may be sent this, since less than half of the buffer is taken afterwards.

        It asks the kernel only when what was sent since the last time may have changed the answer.

        @param size: of all datagrams together, in bytes.
        @param count: how many datagrams there are.
        """
        cost = 2 * size + _OVERHEAD * count
        self._credit -= cost
        if self._credit >= 0:
            return True
        unread = self.unread()
        left = self._size // 2 - unread - cost
        self._credit = max(0, min(left, self._size // 16))
        if left >= 0:
            if self._clients:
                self._clients.clear()
                self._users.clear()
            return True
        if not self._clients:
            self._unaccounted = unread
        return False

    def admits(self, peer: Any, uid: int | None, size: int) -> bool:
        """Whether a client may be sent something while there is not plenty.

        @param peer: its address.
        @param uid: its user, where that is known.
        @param size: of the datagram, in bytes.
        """
        if self._fits(peer, uid, size):
            return True
        now = self._clock.seconds()
        if self._last_look <= now < self._last_look + self._look_interval:  # earlier, if the clock was set back
            return False
        began = perf_counter()
        self._look()
        self._last_look = now
        self._look_interval = max(LOOK_INTERVAL, 9 * (perf_counter() - began))
        return self._fits(peer, uid, size)

    def sent(self, peer: Any, uid: int | None, size: int) -> None:
        """Note what a client was sent while there was not plenty."""
        cost = _cost(size)
        _, before = self._clients.get(peer, (uid, 0))
        self._clients[peer] = uid, before + cost
        self._users[uid] += cost

    def _fits(self, peer: Any, uid: int | None, size: int) -> bool:
        cost = _cost(size)
        free = self._size - self.unread()
        _, client = self._clients.get(peer, (uid, 0))
        user = self._users[uid]
        if not client and cost <= SMALL:
            return user + cost <= free
        return client + cost <= (free - self._size // 8 - user) // CLIENT_SHARE

    def _look(self) -> None:
        """Forget what was sent to clients that have read everything.

        The kernel tells only of the first datagram that a client has not read, which an empty one may hide, or it does
        not tell at all. So what is taken up beyond the shares of the others is charged to those that were sent most.
        """
        names = sockdiag.sockets_with_unread()
        idle = [peer for peer in self._clients if os.fsencode(peer) not in names]
        unread = self.unread()
        self._unaccounted = min(self._unaccounted, unread)
        hidden = unread - self._unaccounted - self._users.total() + sum(self._clients[peer][1] for peer in idle)
        for peer in sorted(idle, key=lambda peer: self._clients[peer][1], reverse=True):
            uid, size = self._clients[peer]
            if hidden > 0:
                hidden -= size
                continue
            del self._clients[peer]
            self._users[uid] -= size


def _cost(size: int) -> int:
    """Bytes of the buffer that a datagram takes up, about as the kernel counts them."""
    return size + min(size, 16_384) + 768
