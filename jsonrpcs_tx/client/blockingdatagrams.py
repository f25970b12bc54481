"""The blocking client over datagrams."""

import socket
from collections.abc import Callable
from time import monotonic

from jsonrpcs_tx.client.datagrams import DatagramSocket
from jsonrpcs_tx.client.polling import READ, WRITE, wait
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeVar

    from jsonrpcs_tx.client.names import Address

    T = TypeVar("T")


class DatagramLink:
    """Sends requests one after the other.

    @param max_reply: bytes of the largest reply.
    """

    def __init__(self, target: Target, max_reply: int) -> None:
        self._target = target
        self._max_reply = max_reply
        self._socket: DatagramSocket | None = None

    def exchange(self, method: str, document: bytes, timeout: float, accept: "Callable[[bytes], T | None]") -> "T":
        """Send a document and wait for its reply.

        @param accept: turns a document into the value to return; returns None if it is not the reply, and is dropped.
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
            self.close()  # so that a late reply is not received
            raise self._named(error, method, timeout) from None

    def _named(self, error: BaseException, method: str, timeout: float) -> BaseException:
        """The error to raise for one that has happened."""
        from jsonrpcs_tx.client.advice import not_reachable, timed_out  # after a failure only

        if isinstance(error, TimeoutError):
            return timed_out(self._target, method, timeout)
        if isinstance(error, OSError):
            return not_reachable(self._target, method, error)
        return error

    def close(self) -> None:
        """Close the socket, and remove its files."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, method: str, document: bytes, deadline: float) -> DatagramSocket:
        """Send; if the server that the socket is connected to is gone, send again from a new socket."""
        if self._socket is not None:
            try:
                return _send(self._socket, method, document, deadline)
            except ConnectionError:
                self.close()
        self._socket = DatagramSocket(self._target, self._address(deadline), self._max_reply)
        return _send(self._socket, method, document, deadline)

    def _address(self, deadline: float) -> "Address | None":
        """The address to send to over UDP; None: the path of the target is used."""
        if self._target.scheme == "unix":
            return None
        from jsonrpcs_tx.client.names import resolve

        return resolve(self._target, socket.SOCK_DGRAM, deadline)[0]

    def _receive(self, sock: DatagramSocket, method: str, deadline: float) -> bytes:
        while True:
            wait(sock, READ, deadline)
            try:
                data = sock.receive()
            except BlockingIOError:
                continue
            if data is None:
                from jsonrpcs_tx.client.advice import too_large_reply

                raise too_large_reply(self._target, method, sock.max_reply)
            return data


def _send(sock: DatagramSocket, method: str, document: bytes, deadline: float) -> DatagramSocket:
    """Send as soon as the server's queue has room."""
    while True:
        try:
            sock.send(method, document)
        except BlockingIOError:
            wait(sock, WRITE, deadline)
        else:
            return sock
