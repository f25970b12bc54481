"""Datagrams, waiting for each reply."""

import errno
import socket
from collections.abc import Callable
from time import monotonic

from jsonrpcs_tx.client.advice import not_reachable, timed_out, too_large_reply, too_large_request
from jsonrpcs_tx.client.blockingnames import resolve
from jsonrpcs_tx.client.polling import READ, WRITE, wait
from jsonrpcs_tx.client.replysockets import ReplySocket
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

MAX_DATAGRAM = 1_048_576
"""Bytes of the largest datagram that is taken."""


class DatagramLink:
    """Sends requests from a connected socket, to which the kernel lets no datagrams but the server's.

    @param max_reply: bytes of a reply above which it is given up.
    """

    def __init__(self, target: Target, max_reply: int) -> None:
        self._target = target
        self._buffer = memoryview(bytearray(min(max_reply, MAX_DATAGRAM)))
        self._socket: socket.socket | None = None
        self._reply_socket: ReplySocket | None = None

    def exchange(self, method: str, document: bytes, timeout: float, accept: "Callable[[bytes], T | None]") -> "T":
        """Send a document and wait for its reply.

        @param accept: makes of a datagram what is returned; None: it is not the reply, and is dropped.
        @raise ClientError: there is no reply.
        """
        deadline = monotonic() + timeout
        try:
            self._send(method, document, deadline)
            while True:
                found = accept(self._receive(method, deadline))
                if found is not None:
                    return found
        except TimeoutError:
            self.close()  # so that a late reply finds nobody
            raise timed_out(self._target, method, timeout) from None
        except OSError as error:
            self.close()
            raise not_reachable(self._target, method, error) from None

    def close(self) -> None:
        """Close the socket, and remove what was made for it."""
        if self._socket is not None:
            self._socket.close()
        if self._reply_socket is not None:
            self._reply_socket.close()
        self._socket = self._reply_socket = None

    def _send(self, method: str, document: bytes, deadline: float) -> None:
        """Send, once more from a new socket if the server that the old one knew is gone."""
        was_open = self._socket is not None
        while True:
            sock = self._socket or self._open(deadline)
            try:
                while True:
                    try:
                        sock.send(document)
                    except BlockingIOError:  # the server's queue is full
                        wait(sock, WRITE, deadline)
                    else:
                        return
            except ConnectionError:
                if not was_open:
                    raise
                self.close()
                was_open = False
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    raise too_large_request(self._target, method, len(document)) from None
                raise

    def _receive(self, method: str, deadline: float) -> bytes:
        assert self._socket is not None
        while True:
            wait(self._socket, READ, deadline)
            try:
                size = self._socket.recv_into(self._buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                continue
            if size > len(self._buffer):
                raise too_large_reply(self._target, method, len(self._buffer))
            return bytes(self._buffer[:size])

    def _open(self, deadline: float) -> socket.socket:
        if self._target.scheme == "unix":
            self._reply_socket = ReplySocket(self._target.path, self._target.reply_dir)
            self._socket = self._reply_socket.socket
        else:
            family, address = resolve(self._target, socket.SOCK_DGRAM, deadline)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.connect(address)
        self._socket.setblocking(False)
        return self._socket
