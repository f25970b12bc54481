"""The FIFO with many calls under way."""

import os
import select
from collections import OrderedDict
from typing import Any

from twisted.internet.interfaces import IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.client import advice
from jsonrpcs_tx.client.core import over_fifo
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.client.fifos import READ_SIZE, ReplyFifo, ServerFifo
from jsonrpcs_tx.client.readers import READ_CHANGES, Readers
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.client.underway import Call, Link


class FifoLink(Link):
    """Writes requests to a server's FIFO. While there are calls under way, their reply FIFOs are used again.

    @ivar readers: of the reply FIFOs.
    """

    def __init__(self, target: Target, reactor: Any, max_reply: int, limit: int) -> None:
        super().__init__(target, reactor, max_reply, limit)
        self.readers: Readers = Readers(reactor)
        self._writer: _Writer | None = None
        self._asked: dict[int, _Reply] = {}
        self._idle: list[_Reply] = []
        self._exit: Any = None

    def transmit(self, call: Call) -> None:
        if b"{" not in call.document:
            self.give_up(call, advice.no_object(self.target, call.method))
            return
        try:
            self._asked[call.id] = reply = self._reply()
            reply.call = call
            self._write(call, over_fifo(call.document, reply.name))
        except OSError as error:
            self.forget(call)
            self.give_up(call, advice.not_reachable(self.target, call.method, error))

    def forget(self, call: Call) -> None:
        """Remove its reply FIFO, to which a reply may be written yet."""
        reply = self._asked.pop(call.id, None)
        if reply is not None:
            reply.close()
        if self._writer is not None:
            self._writer.withdraw(call.id)
        self._tidy()

    def is_sent(self, call: Call) -> bool:
        return super().is_sent(call) and not (self._writer is not None and self._writer.holds_back(call.id))

    def replace(self, call: Call, other: Call) -> None:
        self._asked[call.id].call = other

    def shut(self) -> None:
        self._tidy()
        self._forget_server()

    def answered(self, reply: "_Reply", call: Call | None, data: bytes | None) -> None:
        """A reply FIFO was closed by a server.

        @param call: whose reply is expected; None: nobody's.
        @param data: what was written; None: more than it may be.
        """
        if call is None:
            self._idle.remove(reply)
            reply.close()
            return
        del self._asked[call.id]
        outcome: object
        if data is None:
            outcome = advice.too_large_reply(self.target, call.method, self.max_reply)
        else:
            outcome = self.outcome(call, data)
        if isinstance(outcome, ClientError):  # perhaps the server still writes
            reply.close()
        else:
            self._idle.append(reply)
        self.finish(call, outcome)
        if not self._asked:
            self._tidy()

    def _reply(self) -> "_Reply":
        if self._idle:
            return self._idle.pop()
        if self._exit is None:  # a program that ends without closing the client leaves no FIFO
            self._exit = self.reactor.addSystemEventTrigger("after", "shutdown", self.close)
        return _Reply(self)

    def _tidy(self) -> None:
        """Remove the reply FIFOs once no call is under way."""
        if not self._asked:
            idle, self._idle = self._idle, []
            for reply in idle:
                reply.close()
            if self._exit is not None:
                self.reactor.removeSystemEventTrigger(self._exit)
                self._exit = None

    def _write(self, call: Call, document: bytes) -> None:
        if self._writer is not None:
            try:
                self._writer.write(call.id, document)
            except BrokenPipeError:
                self._server_gone(call)
            else:
                return
        self._writer = _Writer(self, ServerFifo(self.target))
        self._writer.write(call.id, document)

    def _server_gone(self, but: Call | None = None) -> None:
        """The calls that were sent to the server that read the FIFO get no reply.

        @param but: a call that was not sent to it.
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
    """The server's FIFO with the documents that have no room in it yet."""

    def __init__(self, link: FifoLink, fifo: ServerFifo) -> None:
        self._link = link
        self._fifo = fifo
        self._waiting: OrderedDict[int, bytes] = OrderedDict()  # by the id of the call
        self._begun: int | None = None  # the id of the one that has been written in part

    def fileno(self) -> int:
        return self._fifo.fd

    def logPrefix(self) -> str:
        return "jsonrpcs client"

    def write(self, id: int, document: bytes) -> None:
        """Write a document after those that came before.

        @param id: of its call.
        @raise BrokenPipeError: nobody reads; nothing of it was written.
        """
        if not self._waiting:
            document = self._written(id, document)
            if not document:
                return
            self._link.reactor.addWriter(self)
        self._waiting[id] = document

    def holds_back(self, id: int) -> bool:
        """Whether nothing of the document of a call has been written yet."""
        return id in self._waiting and id != self._begun

    def withdraw(self, id: int) -> None:
        """Write nothing of the document of a call, unless it has been begun: then its end belongs to it."""
        if self.holds_back(id):
            del self._waiting[id]

    def doWrite(self) -> None:
        try:
            while self._waiting:
                id, document = next(iter(self._waiting.items()))
                rest = self._written(id, document)
                if rest:
                    self._waiting[id] = rest
                    return
                del self._waiting[id]
        except OSError:
            self._link.broken()
            return
        self._link.reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gives up on the FIFO."""
        self._link.broken()

    def close(self) -> None:
        """Close it. May be called again."""
        if self._fifo.fd >= 0:
            self._link.reactor.removeWriter(self)
            self._fifo.close()

    def _written(self, id: int, data: bytes) -> bytes:
        """@return: what has no room yet."""
        try:
            rest = data[os.write(self._fifo.fd, data) :]
        except BlockingIOError:
            return data
        self._begun = id if rest else None
        return rest


class _Reply(ReplyFifo):
    """A reply FIFO, which stays open from one reply to the next.

    @ivar call: whose reply is expected; None: nobody's.
    """

    def __init__(self, link: FifoLink) -> None:
        self.call: Call | None = None
        self._link = link
        self._parts: list[bytes] = []
        self._size = 0
        super().__init__(link.target)
        link.readers.add(self.fd, self, READ_CHANGES)

    def close(self) -> None:
        self._link.readers.remove(self.fd)
        super().close()

    def ready(self, events: int) -> None:
        """Read what has come. The reply is whole when its writer has closed the FIFO, which is told once."""
        if events & select.EPOLLIN and not self._read():
            return
        if events & select.EPOLLHUP and self._parts:
            self._answer(b"".join(self._parts))

    def lost(self, reason: Failure) -> None:
        """The reactor has stopped."""
        self._answer(b"".join(self._parts))

    def _read(self) -> bool:
        """@return: whether more may come."""
        size = READ_SIZE
        while size == READ_SIZE:
            try:
                data = os.read(self.fd, READ_SIZE)
            except BlockingIOError:
                return True
            size = len(data)
            if data:
                self._parts.append(data)
                self._size += size
            if self.call is None or self._size > self._link.max_reply:
                self._answer(None)
                return False
        return True

    def _answer(self, data: bytes | None) -> None:
        call, self.call = self.call, None
        self._parts, self._size = [], 0
        self._link.answered(self, call, data)
