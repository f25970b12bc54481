"""A server that answers nonsense."""

import os
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support import target_text

OWN = b'{"jsonrpc":"2.0","result":"own","id":1}'

Answer = bytes | Iterable[bytes]


class Hostile:
    """A server over TCP in a thread, which answers each connection's first bytes with a given answer.

    @param answer: the bytes, or pieces that are sent every 10 ms; afterwards the connection is closed.
    @ivar requests: what has been received.
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


def frozen(scheme: str, directory: Path) -> tuple[str, Any]:
    """A server that takes requests and never answers."""
    if scheme == "fifo":
        path = directory / "fifo"
        os.mkfifo(path)
        return f"fifo:{path}", os.fdopen(os.open(path, os.O_RDWR), "rb")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    kind = socket.SOCK_DGRAM if scheme in ("unix", "udp") else socket.SOCK_STREAM
    server = socket.socket(family, kind)
    server.bind(str(directory / "s") if scheme == "unix" else ("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        server.listen()
    return target_text(scheme, server.getsockname()), server
