"""The FIFO with many calls under way."""

import os
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.client import advice
from jsonrpcs_tx.client.core import over_fifo
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.client.fifos import READ_SIZE, ReplyFifo, ServerFifo
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.client.underway import Call, Link


class FifoLink(Link):
    """Writes requests to a server's FIFO. While there are calls under way, their reply FIFOs are used again."""

    def __init__(self, target: Target, reactor: Any, max_reply: int, limit: int) -> None:
        super().__init__(target, reactor, max_reply, limit)
        self._writer: _Writer | None = None
        self._readers: dict[int, _Reader] = {}
        self._idle: list[ReplyFifo] = []
        self._exit: Any = None

    def transmit(self, call: Call) -> None:
        if b"{" not in call.document:
            self.give_up(call, advice.no_object(self.target, call.method))
            return
        try:
            fifo = self._reply_fifo()
            self._readers[call.id] = _Reader(self, call, fifo)
            self._write(call, over_fifo(call.document, fifo.name))
        except OSError as error:
            self.forget(call)
            self.give_up(call, advice.not_reachable(self.target, call.method, error))

    def forget(self, call: Call) -> None:
        """Remove its reply FIFO, to which a reply may be written yet."""
        reader = self._readers.pop(call.id, None)
        if reader is not None:
            reader.stop().close()
        self._tidy()

    def shut(self) -> None:
        self._tidy()
        self._forget_server()

    def answered(self, call: Call, data: bytes | None) -> None:
        """A reply FIFO was closed by a server.

        @param data: what was written; None: more than it may be.
        """
        reader = self._readers.pop(call.id)
        outcome: object
        if data is None:
            outcome = advice.too_large_reply(self.target, call.method, self.max_reply)
        else:
            outcome = self.outcome(call, data)
        fifo = reader.stop()
        if isinstance(outcome, ClientError):  # perhaps the server still writes
            fifo.close()
        else:
            self._idle.append(fifo)
        self.finish(call, outcome)
        self._tidy()

    def _reply_fifo(self) -> ReplyFifo:
        if not self._idle:
            if self._exit is None:  # a program that ends without closing the client leaves no FIFO
                self._exit = self.reactor.addSystemEventTrigger("after", "shutdown", self.close)
            return ReplyFifo(self.target)
        fifo = self._idle.pop()
        fifo.open()
        return fifo

    def _tidy(self) -> None:
        """Remove the reply FIFOs once no call is under way."""
        if not self._readers:
            idle, self._idle = self._idle, []
            for fifo in idle:
                fifo.close()
            if self._exit is not None:
                self.reactor.removeSystemEventTrigger(self._exit)
                self._exit = None

    def _write(self, call: Call, document: bytes) -> None:
        if self._writer is not None:
            try:
                self._writer.write(document)
            except BrokenPipeError:
                self._server_gone(call)
            else:
                return
        self._writer = _Writer(self, ServerFifo(self.target))
        self._writer.write(document)

    def _server_gone(self, but: Call | None = None) -> None:
        """Those who have asked the server that read the FIFO get no reply.

        @param but: has not asked it.
        """
        self._forget_server()
        for call in list(self.calls.values()):
            if call is not but:
                self.forget(call)
                self.finish(call, advice.cut_off(self.target, call.method))

    def _forget_server(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def broken(self) -> None:
        """The server has gone while documents were being written to it."""
        self._server_gone()


@implementer(IWriteDescriptor)
class _Writer:
    """The server's FIFO with what has no room in it yet."""

    def __init__(self, link: FifoLink, fifo: ServerFifo) -> None:
        self._link = link
        self._fifo = fifo
        self._rest = b""

    def fileno(self) -> int:
        return self._fifo.fd

    def logPrefix(self) -> str:
        return "jsonrpcs client"

    def write(self, document: bytes) -> None:
        """Write a document after those that came before.

        @raise BrokenPipeError: nobody reads; nothing of it was written.
        """
        if self._rest:
            self._rest += document
            return
        self._rest = self._written(document)
        if self._rest:
            self._link.reactor.addWriter(self)

    def doWrite(self) -> None:
        try:
            self._rest = self._written(self._rest)
        except OSError:
            self._link.broken()
            return
        if not self._rest:
            self._link.reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives up on the FIFO."""
        self._link.broken()

    def close(self) -> None:
        """Close it. May be called again."""
        if self._fifo.fd >= 0:
            self._link.reactor.removeWriter(self)
            self._fifo.close()

    def _written(self, data: bytes) -> bytes:
        """@return: what has no room yet."""
        try:
            return data[os.write(self._fifo.fd, data) :]
        except BlockingIOError:
            return data


@implementer(IReadDescriptor)
class _Reader:
    """Reads the reply to one call."""

    def __init__(self, link: FifoLink, call: Call, fifo: ReplyFifo) -> None:
        self._link = link
        self._call = call
        self._fifo = fifo
        self._parts: list[bytes] = []
        self._size = 0
        link.reactor.addReader(self)

    def fileno(self) -> int:
        return self._fifo.fd

    def logPrefix(self) -> str:
        return "jsonrpcs client"

    def stop(self) -> ReplyFifo:
        """Read no more.

        @return: the FIFO.
        """
        self._link.reactor.removeReader(self)
        return self._fifo

    def doRead(self) -> None:
        try:
            data = os.read(self._fifo.fd, READ_SIZE)
        except BlockingIOError:
            return
        if data:
            self._parts.append(data)
            self._size += len(data)
            if self._size > self._link.max_reply:
                self._link.answered(self._call, None)
        elif self._parts:
            self._link.answered(self._call, b"".join(self._parts))
        else:  # it was closed again without a word
            self.stop().open()
            self._link.reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives up on the FIFO."""
        self._link.answered(self._call, b"".join(self._parts))
