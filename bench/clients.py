"""Clients that keep their sockets and FIFOs open: one for each transport, all with the same two methods."""

import os
import select
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from jsonrpcs_tx.client.errors import ClientError
from tests.support import PATIENCE, call, datagram_client, http_request, is_json, unverified, with_reply_name


class Lost(Exception):
    """A request was not answered, or answered incorrectly."""


class Client(Protocol):
    """The interface of all clients."""

    def carries(self, document: bytes) -> bool:
        """Whether the client's transport can carry a document, and tell its reply from those of others."""

    def ask(self, documents: Sequence[bytes]) -> list[bytes]:
        """Send documents; where the transport allows it, all before the first reply is read.

        @return: the replies, in the order of the documents.
        @raise Lost: one is not answered.
        @raise OSError: the transport failed.
        """


class Datagrams:
    """A client over UDP or a Unix socket."""

    def __init__(self, stack: ExitStack, address: str | tuple[str, int]) -> None:
        self._socket = stack.enter_context(datagram_client(address))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)

    def carries(self, document: bytes) -> bool:
        return True

    def ask(self, documents: Sequence[bytes]) -> list[bytes]:
        for document in documents:
            self._socket.send(document)
        return [self._socket.recv(1_000_000) for _ in documents]


class Tcp:
    """A client over plain TCP, with a connection for each document."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def carries(self, document: bytes) -> bool:
        return bool(document)

    def ask(self, documents: Sequence[bytes]) -> list[bytes]:
        try:
            return [call("tcp", self._address, document) for document in documents]
        except ClientError as error:
            raise Lost(str(error)) from None


class Posts:
    """A client over HTTP or HTTPS that keeps its connection.

    @param headers: further lines of each request's head.
    """

    def __init__(self, stack: ExitStack, address: tuple[str, int], secure: bool, *headers: str) -> None:
        connection = socket.create_connection(address, PATIENCE)
        if secure:
            connection = unverified().wrap_socket(connection)
        self._connection = stack.enter_context(connection)
        self._headers = headers
        self._received = b""

    def carries(self, document: bytes) -> bool:
        return True

    def ask(self, documents: Sequence[bytes]) -> list[bytes]:
        self._connection.sendall(b"".join(http_request(document, *self._headers) for document in documents))
        return [self._reply() for _ in documents]

    def _reply(self) -> bytes:
        while b"\r\n\r\n" not in self._received:
            self._read()
        top, _, self._received = self._received.partition(b"\r\n\r\n")
        size = int(top.lower().partition(b"content-length:")[2].split()[0])
        while len(self._received) < size:
            self._read()
        body, self._received = self._received[:size], self._received[size:]
        return body

    def _read(self) -> None:
        data = self._connection.recv(262_144)
        if not data:
            raise Lost("the connection was closed")
        self._received += data


class Fifo:
    """A client that holds its FIFO open, and sends one request after the other."""

    def __init__(self, stack: ExitStack, path: str, directory: Path) -> None:
        self._own = directory / f"client{id(self)}"
        os.mkfifo(self._own)
        self._reading = os.open(self._own, os.O_RDWR | os.O_NONBLOCK)
        self._writing = os.open(path, os.O_WRONLY)
        stack.callback(os.close, self._reading)
        stack.callback(os.close, self._writing)

    def carries(self, document: bytes) -> bool:
        """The document must have room for a reply_name, and must end where its JSON ends."""
        return document.startswith(b'{"jsonrpc"') and document.endswith(b"}")

    def ask(self, documents: Sequence[bytes]) -> list[bytes]:
        return [self._ask(document) for document in documents]

    def _ask(self, document: bytes) -> bytes:
        os.write(self._writing, with_reply_name(document, self._own.name) + b"\n")
        reply = b""
        while not reply.endswith(b"}") or not is_json(reply):
            if not select.select([self._reading], [], [], PATIENCE)[0]:
                raise Lost(f"{document[:100]!r} over the FIFO has no reply")
            reply += os.read(self._reading, 262_144)
        return reply


def make_client(stack: ExitStack, transport: str, address: Any, reply_dir: Path, *headers: str) -> Client:
    """A client of a server over one of its transports.

    @param stack: closes what the client opens.
    @param address: the address that the transport listens on.
    @param reply_dir: the directory of reply FIFOs.
    @param headers: further lines of the head of HTTP requests.
    """
    if transport == "fifo":
        return Fifo(stack, address, reply_dir)
    if transport == "tcp":
        return Tcp(address)
    if transport in ("http", "https"):
        return Posts(stack, address, transport == "https", *headers)
    return Datagrams(stack, address)
