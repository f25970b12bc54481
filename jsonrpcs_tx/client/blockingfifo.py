"""The blocking client over a FIFO."""

import os
from collections.abc import Callable
from time import monotonic

from jsonrpcs_tx.client.advice import no_object, not_reachable, timed_out, too_large_reply
from jsonrpcs_tx.client.core import over_fifo
from jsonrpcs_tx.client.fifos import READ_SIZE, ReplyFifo, ServerFifo
from jsonrpcs_tx.client.polling import READ, WRITE, wait
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class FifoLink:
    """Writes requests to a server's FIFO, each with the name of a FIFO for the reply.

    @param max_reply: bytes of the largest reply.
    """

    def __init__(self, target: Target, max_reply: int) -> None:
        self._target = target
        self._max_reply = max_reply

    def exchange(self, method: str, document: bytes, timeout: float, accept: "Callable[[bytes], T | None]") -> "T":
        """Write a document and wait for its reply; see L{DatagramLink<blockingdatagrams.DatagramLink>}."""
        deadline = monotonic() + timeout
        if b"{" not in document:
            raise no_object(self._target, method)
        try:
            with ServerFifo(self._target) as server, ReplyFifo(self._target) as fifo:
                _write(server.fd, over_fifo(document, fifo.name), deadline)
                while True:
                    found = accept(self._read(method, fifo, deadline))
                    if found is not None:
                        return found
                    fifo.open()
        except TimeoutError:
            raise timed_out(self._target, method, timeout) from None
        except OSError as error:
            raise not_reachable(self._target, method, error) from None

    def close(self) -> None:
        """Nothing is open between two calls."""

    def _read(self, method: str, fifo: ReplyFifo, deadline: float) -> bytes:
        """Read the FIFO until its writer closes it."""
        parts: list[bytes] = []
        size = 0
        while True:
            wait(fifo.fd, READ, deadline)
            try:
                data = os.read(fifo.fd, READ_SIZE)
            except BlockingIOError:
                continue
            size += len(data)
            if size > self._max_reply:
                raise too_large_reply(self._target, method, self._max_reply)
            if data:
                parts.append(data)
            elif parts:
                return b"".join(parts)
            else:
                fifo.open()  # it was closed before anything was written


def _write(fd: int, data: bytes, deadline: float) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            wait(fd, WRITE, deadline)
