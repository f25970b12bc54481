"""What passing calls on takes in Python without any server: the system calls, in a bare loop.

python forwarding_loop.py HTTP_PORT HTTPS_PORT PEM NODE

It takes each read for one whole request, looks for nothing but the end of its head, and numbers the calls by the places
of their clients. So many calls are under way as a Unix socket has room for; the others wait.
"""

import select
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

ROOM: Final = 10
"""Datagrams that a Unix socket holds (C{net.unix.max_dgram_qlen})."""

HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
PARAMS: Final = b'"params":'
CALL: Final = b'{"jsonrpc":"2.0","method":"core.echo","params":%b,"id":%d}'


class Loop:
    """Clients, and the node that their calls are passed on to."""

    def __init__(self, http: int, https: int, pem: str, node: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._poll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        for number, tls in ((http, None), (https, context)):
            port = socket.create_server(("127.0.0.1", number))
            self._read(port, partial(self._accept, port, tls))
        self._node = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._node.bind(b"")
        self._node.connect(node)
        self._node.setblocking(False)
        self._read(self._node, self._answer)
        self._clients: dict[int, Any] = {}
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._room = ROOM

    def run(self) -> None:
        """Pass calls on until the process is killed."""
        while True:
            for fd, _ in self._poll.poll():
                self._readers[fd]()

    def _read(self, source: socket.socket, reader: Callable[[], None]) -> None:
        self._poll.register(source, select.EPOLLIN)
        self._readers[source.fileno()] = reader

    def _accept(self, port: socket.socket, context: ssl.SSLContext | None) -> None:
        client, _ = port.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(10)
        if context is not None:
            try:
                client = context.wrap_socket(client, server_side=True)
            except OSError:  # wrk looks whether anybody is there
                return
        client.setblocking(False)
        self._clients[client.fileno()] = client
        self._read(client, partial(self._ask, client))
        self._ask(client)  # what came with the end of the handshake

    def _ask(self, client: socket.socket) -> None:
        try:
            data = client.recv(65_536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(client)
            del self._clients[client.fileno()]
            client.close()
            return
        params = data[data.index(PARAMS) + len(PARAMS) : data.rindex(b',"id":')]
        if self._room:
            self._room -= 1
            self._node.send(CALL % (params, client.fileno()))
        else:
            self._waiting.append((params, client.fileno()))

    def _answer(self) -> None:
        answers = []
        with suppress(BlockingIOError):
            while self._room < ROOM:
                answers.append(self._node.recv(65_536))
                self._room += 1
        while self._waiting and self._room:
            self._room -= 1
            self._node.send(CALL % self._waiting.popleft())
        for answer in answers:
            outcome, _, place = answer.rpartition(b',"id":')
            client = self._clients.get(int(place.rstrip(b"}\n")))
            if client is not None:
                body = b'%b,"id":1}' % outcome
                client.send(HEAD % (len(body), body))


if __name__ == "__main__":
    Loop(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]).run()
