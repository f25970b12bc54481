"""A server that answers nonsense."""

import socket
import threading
import time
from collections.abc import Iterable

OWN = b'{"jsonrpc":"2.0","result":"own","id":1}'

Answer = bytes | Iterable[bytes]


class Hostile:
    """A server over TCP in a thread, which answers each connection's first bytes with what it is told to.

    @param answer: the bytes, or pieces of which one is sent every 10 ms; afterwards the connection is closed.
    @ivar requests: what has come.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.requests.append(connection.recv(100_000))
                for piece in [self._answer] if isinstance(self._answer, bytes) else self._answer:
                    connection.sendall(piece)
                    if not isinstance(self._answer, bytes):
                        time.sleep(0.01)
            except OSError:
                pass  # the client has had enough


def http(body: bytes = OWN, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """A response with a Content-Length."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)
