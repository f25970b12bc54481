"""The blocking client over connections: plain JSON over TCP, and HTTP(S)."""

import socket
from collections.abc import Callable
from time import monotonic

from jsonrpcs_tx.client.advice import (
    cut_off,
    not_reachable,
    reply_in,
    timed_out,
    too_large_reply,
    unknown_client,
    untrusted,
    wrong_reply,
)
from jsonrpcs_tx.client.httpmessages import CutOff, NotHttp, Response, TooLarge, post, post_head
from jsonrpcs_tx.client.names import resolve
from jsonrpcs_tx.client.polling import is_readable, left
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    import ssl
    from typing import TypeVar

    T = TypeVar("T")

READ_SIZE = 262_144
"""Bytes that are read at once."""


class TcpLink:
    """Sends each request over a connection of its own, which the server closes after the reply.

    @param max_reply: bytes of the largest reply.
    """

    def __init__(self, target: Target, max_reply: int) -> None:
        self._target = target
        self._max_reply = max_reply

    def exchange(self, method: str, document: bytes, timeout: float, accept: "Callable[[bytes], T | None]") -> "T":
        """Send a document and wait for its reply; see L{DatagramLink<blockingdatagrams.DatagramLink>}."""
        deadline = monotonic() + timeout
        try:
            with _open(self._target, method, deadline) as sock:
                body = self._ask(method, sock, document, deadline)
        except TimeoutError:
            raise timed_out(self._target, method, timeout) from None
        except OSError:
            raise cut_off(self._target, method) from None
        if not body:
            raise cut_off(self._target, method)
        found = accept(body)
        if found is None:
            raise wrong_reply(self._target, method, "the reply is to another request")
        return found

    def close(self) -> None:
        """Nothing is open between two calls."""

    def _ask(self, method: str, sock: socket.socket, document: bytes, deadline: float) -> bytes:
        sock.sendall(document)
        sock.shutdown(socket.SHUT_WR)
        parts: list[bytes] = []
        size = 0
        while True:
            sock.settimeout(left(deadline))
            data = sock.recv(READ_SIZE)
            if not data:
                return b"".join(parts)
            parts.append(data)
            size += len(data)
            if size > self._max_reply:
                raise too_large_reply(self._target, method, self._max_reply)


class HttpLink:
    """Posts requests, one after the other, over a connection that is kept open as long as the server keeps it.

    @param max_reply: bytes of the largest reply.
    """

    def __init__(self, target: Target, max_reply: int) -> None:
        self._target = target
        self._max_reply = max_reply
        self._head = post_head(target)
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLContext | None = None

    def exchange(self, method: str, document: bytes, timeout: float, accept: "Callable[[bytes], T | None]") -> "T":
        """Post a document and wait for its reply; see L{DatagramLink<blockingdatagrams.DatagramLink>}."""
        deadline = monotonic() + timeout
        try:
            response = self._post(method, post(self._head, document), deadline)
        except BaseException as error:
            self.close()  # the rest of the response may still arrive
            raise self._named(error, method, timeout) from None
        if not response.reusable:
            self.close()
        found = accept(reply_in(self._target, method, response))
        if found is None:
            raise wrong_reply(self._target, method, "the reply is to another request")
        return found

    def _named(self, error: BaseException, method: str, timeout: float) -> BaseException:
        """The error to raise for one that has happened."""
        if isinstance(error, TimeoutError):
            return timed_out(self._target, method, timeout)
        if isinstance(error, TooLarge):
            return too_large_reply(self._target, method, self._max_reply)
        if isinstance(error, CutOff):
            return cut_off(self._target, method)
        if isinstance(error, NotHttp):
            return wrong_reply(self._target, method, error)
        return error

    def close(self) -> None:
        """Close the connection. A later call makes another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _post(self, method: str, request: bytes, deadline: float) -> Response:
        """Send a request. If the kept connection is gone, and so has not taken the whole request, send it again."""
        sock = self._socket
        if sock is not None and not is_readable(sock) and self._send(sock, request, deadline):
            return self._read(method, sock, deadline)
        self.close()
        self._socket = sock = self._open(method, deadline)
        self._send(sock, request, deadline)  # if the server stops reading, it may have said why
        return self._read(method, sock, deadline)

    def _send(self, sock: socket.socket, request: bytes, deadline: float) -> bool:
        """@return: whether the whole request has been sent."""
        sock.settimeout(left(deadline))
        try:
            sock.sendall(request)
        except TimeoutError:
            raise
        except OSError:
            return False
        return True

    def _open(self, method: str, deadline: float) -> socket.socket:
        if self._target.scheme == "http":
            return _open(self._target, method, deadline)
        from jsonrpcs_tx.client import blockingtls  # few targets need it, and ssl takes 5 ms

        try:
            self._tls = self._tls or blockingtls.context(self._target)
        except OSError as error:
            raise untrusted(self._target, method, error) from None
        sock = _open(self._target, method, deadline)
        try:
            sock.settimeout(left(deadline))
            return self._tls.wrap_socket(sock, server_hostname=self._target.host)
        except TimeoutError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            raise untrusted(self._target, method, blockingtls.reason(error)) from None

    def _read(self, method: str, sock: socket.socket, deadline: float) -> Response:
        response = Response(self._max_reply)
        while not response.complete:
            sock.settimeout(left(deadline))
            try:
                data = sock.recv(READ_SIZE)
            except TimeoutError:
                raise
            except OSError as error:
                self.close()
                if type(error).__name__ == "SSLError":  # an alert; with TLS 1.3 it may come after the request
                    raise unknown_client(self._target, method, error.reason) from None  # type: ignore[attr-defined]
                raise cut_off(self._target, method) from None
            if data:
                response.feed(data)
            else:
                response.end()
        return response


def _open(target: Target, method: str, deadline: float) -> socket.socket:
    """A connection.

    @raise TimeoutError: it has not been made in time.
    @raise NotReachable: it cannot be made.
    """
    try:
        return _connect(target, deadline)
    except TimeoutError:
        raise
    except OSError as error:
        raise not_reachable(target, method, error) from None


def _connect(target: Target, deadline: float) -> socket.socket:
    """A connection to the first address that accepts one."""
    failed: OSError | None = None
    for family, address in resolve(target, socket.SOCK_STREAM, deadline):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(left(deadline))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failed = error
        else:
            return sock
    assert failed is not None
    raise failed
