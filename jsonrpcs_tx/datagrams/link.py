"""A private line between two processes of the server: whole messages over a pair of Unix sockets."""

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from jsonrpcs_tx.transports.persistentreader import PersistentReader

MAX_MESSAGE: Final = 1_048_576
"""The largest message that is read, in bytes."""

MAX_PER_WAKEUP: Final = 64
"""Messages that are read before other readers have their turn."""

_BUFFER: Final = 4_194_304
"""Bytes asked of the kernel for the queue between the two; it gives less where the machine's limit is lower."""

_OVERHEAD: Final = 1_024
"""The most bytes that a message takes up in that queue besides its own."""

_FULL: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS)


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a line. Messages stay whole and in order; none is lost while both ends live."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)  # noqa: FBT003 # Python's own way
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return ends


class Link(PersistentReader):
    """One end of a line, as the reactor knows it.

    @param sock: the end, which L{close} closes.
    @param received: called with each message, which is not empty.
    @param lost: called once when no more messages come, since the other end is gone or has said so.
    @ivar congested: messages wait here for the other end to read.
    @ivar max_message: bytes of a message that can be sent.
    """

    def __init__(
        self, sock: socket.socket, received: Callable[[bytes], None], lost: Callable[[], None], reactor: Any
    ) -> None:
        super().__init__(reactor)
        self._socket = sock
        self._received = received
        self._lost = lost
        self._queue: deque[bytes] = deque()
        self._drained: Callable[[], None] | None = None
        self._over = False
        self.max_message: int = min(MAX_MESSAGE, sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _OVERHEAD)
        self.startReading()

    @property
    def congested(self) -> bool:
        return bool(self._queue)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "worker link"

    def send(self, message: bytes, drained: Callable[[], None] | None = None) -> None:
        """Send a message, now or as soon as the other end has room.

        @param drained: called when no message waits any longer, if this one has to wait.
        """
        self._queue.append(message)
        if len(self._queue) == 1:
            self.doWrite()
        if self._queue:
            self._drained = drained
            self.startWriting()

    def doRead(self) -> None:
        for _ in range(MAX_PER_WAKEUP):
            if not self._read():
                return

    def drain(self) -> None:
        """Receive all messages that have come."""
        while self._read():
            pass

    def _read(self) -> bool:
        """Receive one message.

        @return: whether there may be another.
        """
        if self._over:
            return False
        try:
            message = self._socket.recv(MAX_MESSAGE)
        except BlockingIOError:
            return False
        except OSError:
            message = b""
        if message:
            self._received(message)
            return True
        self._over = True
        self.stopReading()
        self._lost()
        return False

    def doWrite(self) -> None:
        while self._queue:
            try:
                self._socket.send(self._queue[0])
            except OSError as error:
                if error.errno in _FULL:
                    return
                # The other end is gone, which reading finds out.
                self._queue.clear()
                break
            self._queue.popleft()
        self.stopWriting()
        drained, self._drained = self._drained, None
        if drained is not None:
            drained()

    def end(self) -> None:
        """Tell the other end that no more messages come; those of its own are still received."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end."""
        self.stopReading()
        self.stopWriting()
        self._socket.close()
