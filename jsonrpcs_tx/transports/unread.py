"""What clients leave unread: how much it is, and which client is cut off when it is too much."""

import fcntl
import select
import struct
import termios
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

MAX_UNREAD: Final = 67_108_864
"""Bytes of replies that may wait in this process for the clients of one listener, not counting the latest reply."""

LARGE: Final = 65_536
"""Bytes that may wait for a client before it is counted."""


def socket_transport(transport: Any) -> Any:
    """The transport that has the socket, below TLS and other wrappers."""
    while hasattr(transport, "wrappedProtocol"):
        transport = transport.transport
    return transport


def unsent_bytes(transport: Any) -> int:
    """Bytes that a transport, or the one below its wrappers, has not handed to the kernel yet."""
    transport = socket_transport(transport)
    queued = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    return queued + getattr(transport, "_tempDataLen", 0)


def has_news(transport: Any) -> bool:
    """Whether a client has sent something that has not been read yet, or has gone. While something blocks the reactor,
    requests wait in the kernel; timers that have come due meanwhile are called before these are read.
    """
    transport = socket_transport(transport)
    if not getattr(transport, "connected", False) or not hasattr(transport, "fileno"):
        return False
    poll = select.poll()
    poll.register(transport.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def forget_unsent(transport: Any) -> None:
    """Free what a transport that is closed will not send any more. It may stay in memory for long, since the transport
    and its protocol lead to each other, and garbage is collected rarely.
    """
    transport = socket_transport(transport)
    if hasattr(transport, "dataBuffer"):
        transport.dataBuffer, transport._tempDataBuffer, transport._tempDataLen = b"", [], 0  # noqa: SLF001 # Twisted's own


def is_drained(transport: Any) -> bool:
    """Whether the client's machine has confirmed everything that was written."""
    transport = socket_transport(transport)
    if unsent_bytes(transport):
        return False
    if not hasattr(transport, "fileno"):
        return True
    try:
        waiting = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return True
    return not struct.unpack("i", waiting)[0]


class UnreadReplies:
    """The connections whose clients leave more unread than the kernel takes.

    @param clock: tells the time.
    @ivar cut_off: how many clients were cut off because too much waited for them.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Any, tuple[int, float]] = {}  # the bytes for each, and when they last changed
        self.cut_off: int = 0

    def add(self, protocol: Any) -> None:
        """Note that replies wait for a client, if they are L{LARGE}. If all that wait exceed L{MAX_UNREAD}, the clients
        that have taken nothing for the longest time are cut off.
        """
        size = unsent_bytes(protocol.transport)
        if size <= LARGE:
            return
        self._waiting[protocol] = size, self._clock.seconds()
        self._look()
        others = sorted((one for one in self._waiting if one is not protocol), key=lambda one: self._waiting[one][1])
        waiting = sum(size for size, _ in self._waiting.values())
        for slowest in others:
            if waiting <= MAX_UNREAD:
                return
            waiting -= self._cut(slowest)

    def waiting(self) -> tuple[int, int]:
        """How many clients leave more than L{LARGE} unread, and how many bytes wait for them."""
        self._look()
        return len(self._waiting), sum(size for size, _ in self._waiting.values())

    def discard(self, protocol: Any) -> None:
        """Note that a client has taken its replies, or has gone."""
        self._waiting.pop(protocol, None)

    def _look(self) -> None:
        """See which clients have taken something."""
        now = self._clock.seconds()
        for protocol, (size, _) in list(self._waiting.items()):
            unsent = unsent_bytes(protocol.transport)
            if unsent != size:
                self._waiting[protocol] = unsent, now

    def _cut(self, protocol: Any) -> int:
        """Cut off a client.

        @return: the bytes that waited for it.
        """
        size, _ = self._waiting.pop(protocol)
        self.cut_off += 1
        _log.warn(
            "{peer} is cut off: {size} bytes wait for it, and more than {limit} for all clients",
            peer=protocol.transport.getPeer(),
            size=size,
            limit=MAX_UNREAD,
        )
        protocol.abort()
        return size
