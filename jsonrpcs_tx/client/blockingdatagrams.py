"""Datagrams, waiting for each reply."""

import socket
from collections.abc import Callable
from time import monotonic

from jsonrpcs_tx.client.advice import not_reachable, timed_out, too_large_reply
from jsonrpcs_tx.client.datagrams import DatagramSocket
from jsonrpcs_tx.client.names import resolve
from jsonrpcs_tx.client.polling import READ, WRITE, wait
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class DatagramLink:
    """Sends requests one after the other.

    @param max_reply: bytes of a reply above which it is given up.
    """

    def __init__(self, target: Target, max_reply: int) -> None:
        self._target = target
        self._max_reply = max_reply
        self._socket: DatagramSocket | None = None

    def exchange(self, method: str, document: bytes, timeout: float, accept: "Callable[[bytes], T | None]") -> "T":
        """Send a document and wait for its reply.

        @param accept: makes of a datagram what is returned; None: it is not the reply, and is dropped.
        @raise ClientError: there is no reply.
        """
        deadline = monotonic() + timeout
        try:
            sock = self._send(method, document, deadline)
            while True:
                found = accept(self._receive(sock, method, deadline))
                if found is not None:
                    return found
        except BaseException as error:
            self.close()  # so that a late reply finds nobody
            if isinstance(error, TimeoutError):
                raise timed_out(self._target, method, timeout) from None
            if isinstance(error, OSError):
                raise not_reachable(self._target, method, error) from None
            raise

    def close(self) -> None:
        """Close the socket, and remove what was made for it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, method: str, document: bytes, deadline: float) -> DatagramSocket:
        """Send, once more from a new socket if the server that the old one knew is gone."""
        if self._socket is not None:
            try:
                return _send(self._socket, method, document, deadline)
            except ConnectionError:
                self.close()
        address = None if self._target.scheme == "unix" else resolve(self._target, socket.SOCK_DGRAM, deadline)[0]
        self._socket = DatagramSocket(self._target, address, self._max_reply)
        return _send(self._socket, method, document, deadline)

    def _receive(self, sock: DatagramSocket, method: str, deadline: float) -> bytes:
        while True:
            wait(sock, READ, deadline)
            try:
                data = sock.receive()
            except BlockingIOError:
                continue
            if data is None:
                raise too_large_reply(self._target, method, sock.max_reply)
            return data


def _send(sock: DatagramSocket, method: str, document: bytes, deadline: float) -> DatagramSocket:
    """Send as soon as the server's queue takes it."""
    while True:
        try:
            sock.send(method, document)
        except BlockingIOError:
            wait(sock, WRITE, deadline)
        else:
            return sock
