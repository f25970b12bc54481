"""Datagram sockets for clients."""

import errno
import mmap
import os
import socket

from jsonrpcs_tx.client.replysockets import ReplySocket
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonrpcs_tx.client.names import Address

MAX_DATAGRAM = 1_048_576
"""Bytes of the largest datagram that is received."""


_QUEUE_LENGTH = "/proc/sys/net/unix/max_dgram_qlen"


def room(target: Target, limit: int) -> int:
    """How many calls may be in progress so that all replies have room in the socket's queue. If a Unix socket has no
    room, servers wait before they send to it again.

    @param limit: the upper limit.
    """
    if target.scheme != "unix":
        return limit
    try:
        with open(_QUEUE_LENGTH) as file:
            return max(1, min(limit, int(file.read())))
    except (OSError, ValueError):
        return 1


class DatagramSocket:
    """A non-blocking socket, connected to the server's, so that the kernel drops datagrams from anywhere else.

    @param address: the address of the server for C{udp:}; None for C{unix:}.
    @param max_reply: bytes of the largest datagram that is received; at most L{MAX_DATAGRAM}.
    @ivar max_reply: the same, with that limit.
    @ivar write: sends a document, and raises the system's own errors; see L{refusal}.
    @raise OSError: the socket cannot be made, or there is no such server.
    """

    def __init__(self, target: Target, address: "Address | None", max_reply: int) -> None:
        self._target = target
        self.max_reply: int = min(max_reply, MAX_DATAGRAM)
        self._buffer = mmap.mmap(-1, self.max_reply)  # only the pages that are used take memory
        self._reply_socket: ReplySocket | None = None
        if address is None:
            self._reply_socket = ReplySocket(target.path, target.reply_dir)
            self._socket = self._reply_socket.socket
        else:
            self._socket = socket.socket(address[0], socket.SOCK_DGRAM)
            self._socket.connect(address[1])
        self._socket.setblocking(False)  # noqa: FBT003 # Python's own way
        self.fileno: Callable[[], int] = self._socket.fileno
        self.write: Callable[[bytes], int] = self._socket.send

    def close(self) -> None:
        """Close it, and remove its files."""
        self._socket.close()
        if self._reply_socket is not None:
            self._reply_socket.close()

    def error(self) -> OSError:
        """The system's error of the socket."""
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNREFUSED
        return OSError(number, os.strerror(number))

    def send(self, method: str, document: bytes) -> None:
        """Send a request.

        @raise BlockingIOError: the server's queue is full.
        @raise BadRequest: it is too large for a datagram.
        @raise OSError: it cannot be sent. C{ConnectionError}: the server is gone; over UDP, an earlier datagram may
            not have arrived.
        """
        try:
            self.write(document)
        except OSError as error:
            raise self.refusal(method, document, error) from None

    def refusal(self, method: str, document: bytes, error: OSError) -> Exception:
        """The error that L{send} raises after C{write} has raised one."""
        if error.errno == errno.EMSGSIZE:
            from jsonrpcs_tx.client.advice import too_large_request

            return too_large_request(self._target, method, len(document))
        return BlockingIOError() if error.errno == errno.ENOBUFS else error

    def receive(self) -> bytes | None:
        """Receive a datagram; None if it is too large.

        @raise BlockingIOError: nothing has come.
        @raise OSError: the server is gone.
        """
        size = self._socket.recv_into(self._buffer, 0, socket.MSG_TRUNC)
        return self._buffer[:size] if size <= self.max_reply else None
