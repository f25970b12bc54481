"""Datagrams with many calls under way."""

import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from jsonrpcs_tx.client import advice
from jsonrpcs_tx.client.core import NotReply
from jsonrpcs_tx.client.datagrams import DatagramSocket, room
from jsonrpcs_tx.client.names import look_up, numeric
from jsonrpcs_tx.client.replies import AnyReply
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.client.underway import Call, Link

if TYPE_CHECKING:
    from jsonrpcs_tx.client.names import Address

AT_ONCE: Final = 64
"""Datagrams that are read before other descriptors get their turn."""


@implementer(IReadDescriptor, IWriteDescriptor)
class DatagramLink(Link):
    """Sends requests from one connected socket. What cannot be sent yet waits in order.

    Over UDP, so do calls that are made while replies are read: sent together they wake the server once, which costs as
    much as the rest of a call. Over a Unix socket few are under way, and the server had better begin at once.

    @ivar _held: what is to be sent waits.
    """

    _held = False

    def __init__(self, target: Target, reactor: Any, max_reply: int, limit: int) -> None:
        super().__init__(target, reactor, max_reply, room(target, limit))
        self._socket: DatagramSocket | None = None
        self._unsent: deque[Call] = deque()
        self._lookup: Deferred[list[Address]] | None = None

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "jsonrpcs client"

    def transmit(self, call: Call) -> None:
        if self._held:
            self._unsent.append(call)
            return
        sock = self._socket
        if sock is not None and not self._unsent:  # the ordinary case, without another call of a function
            try:
                sock.write(call.document)
                return
            except OSError as error:
                if self._refused(call, sock.refusal(call.method, call.document, error)):
                    return
            self._unsent.appendleft(call)  # before those that have come meanwhile
        else:
            self._unsent.append(call)
        self._continue()

    def forget(self, call: Call) -> None:
        if call in self._unsent:
            self._unsent.remove(call)

    def is_sent(self, call: Call) -> bool:
        return super().is_sent(call) and call not in self._unsent

    def shut(self) -> None:
        self._close()
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.cancel()

    def doRead(self) -> None:
        self._held = self.target.scheme == "udp"
        try:
            self._read()
        finally:
            self._held = False
        if self._unsent:
            self.doWrite()

    def _read(self) -> None:
        """Receive what has come, send what there is room for then, and tell those whose replies have come."""
        try:
            self._receive()
            self._send_next()
        finally:
            self.tell()

    def _receive(self) -> None:
        sock, calls = self._socket, self.calls
        for _ in range(AT_ONCE):
            if sock is None or sock is not self._socket:
                return
            if not calls and (self._held or not self._send_next()):
                return  # there is nothing that could have come, so the system is not asked
            try:
                data = sock.receive()
            except BlockingIOError:
                if not self._held and self._send_next():
                    continue  # a server on the same processor has answered already
                return
            except OSError as error:
                self._lost(error)
                self._continue()
                return
            if data is None:
                self._answer_only(advice.too_large_reply, sock.max_reply)
            else:
                self._take(data)

    def _take(self, data: bytes) -> None:
        """Note whose reply has come."""
        calls = self.calls
        try:
            reply = self.read(data)
        except NotReply as error:
            self._answer_only(advice.wrong_reply, error)
            return
        id = reply.id
        if type(id) is not int:
            self._nameless(reply)
        elif id in calls:
            self.note_answer(calls[id], reply.outcome)

    def doWrite(self) -> None:
        while self._unsent:
            call = self._unsent[0]
            if call.id in self.calls and not self._try(call):  # otherwise it is over
                break
            if self._unsent and self._unsent[0] is call:
                self._unsent.popleft()
        if self._unsent:
            self._continue()
        elif self._socket is not None:
            self.reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has seen an error of the socket: nobody is there, for example."""
        if self._socket is not None:
            self._lost(self._socket.error())
            self._continue()

    def _nameless(self, reply: AnyReply) -> None:
        """A reply has come without the id of a request; it may be about the document as a whole."""
        if len(self.calls) == 1:
            (call,) = self.calls.values()
            if reply.answers(call.id):
                self.finish(call, reply.outcome)

    def _answer_only(self, error: Any, reason: object) -> None:
        """What has come answers no call in particular: it is for the only call under way, or else dropped."""
        if len(self.calls) == 1:
            (call,) = self.calls.values()
            self.finish(call, error(self.target, call.method, reason))

    def _try(self, call: Call) -> bool:
        """Send a call.

        @return: False: it has to wait, perhaps for another socket, since the server that this one knows is gone.
        """
        sock = self._socket
        if sock is None:
            return False
        try:
            sock.write(call.document)
        except OSError as error:
            return self._refused(call, sock.refusal(call.method, call.document, error))
        return True

    def _refused(self, call: Call, error: Exception) -> bool:
        """Handle the error of a call that has not been sent.

        @return: as L{_try} does.
        """
        if isinstance(error, BlockingIOError):
            return False
        if isinstance(error, ConnectionError):
            held, self._held = self._held, True  # nothing more is sent to that server
            try:
                self._read()  # what the server has said before; of a Unix socket the kernel has dropped it
            finally:
                self._held = held
            self._lost(error, call)
            return False
        if isinstance(error, OSError):
            error = advice.not_reachable(self.target, call.method, error)
        self.give_up(call, error)
        return True

    def _lost(self, error: OSError, unsent: Call | None = None) -> None:
        """The server is gone: the calls that were sent to it get no reply.

        @param unsent: a call that was not sent, as those that wait were not.
        """
        self._close()
        waiting = {unsent, *self._unsent}
        for call in list(self.calls.values()):
            if call not in waiting:
                failed = advice.not_reachable(self.target, call.method, error)
                self.finish(call, failed if self.target.scheme == "udp" else advice.cut_off(self.target, call.method))

    def _continue(self) -> None:
        """Send what waits as soon as that is possible."""
        if self._socket is not None:
            self.reactor.addWriter(self)
        elif self._unsent:
            self._open()

    def _open(self) -> None:
        """Get a socket, and send what waits."""
        if self._lookup is not None:
            return
        if self.target.scheme == "unix":
            self._connect(None)
            return
        known = numeric(self.target, socket.SOCK_DGRAM)
        if known:
            self._connect(known[0])
            return
        pool = self.reactor.getThreadPool()
        self._lookup = deferToThreadPool(self.reactor, pool, look_up, self.target, socket.SOCK_DGRAM)
        self._lookup.addCallbacks(self._looked_up, self._not_found)

    def _looked_up(self, found: "list[Address]") -> None:
        self._lookup = None
        self._connect(found[0])

    def _not_found(self, failure: Failure) -> None:
        if self._lookup is not None:
            self._lookup = None
            self._fail_unsent(failure.value)

    def _connect(self, address: "Address | None") -> None:
        try:
            self._socket = DatagramSocket(self.target, address, self.max_reply)
        except OSError as error:
            self._fail_unsent(error)
            return
        self.reactor.addReader(self)
        self.reactor.addWriter(self)

    def _fail_unsent(self, error: Any) -> None:
        unsent, self._unsent = self._unsent, deque()
        for call in unsent:
            self.give_up(call, advice.not_reachable(self.target, call.method, error))

    def _close(self) -> None:
        sock = self._socket
        if sock is not None:
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)
            self._socket = None
            sock.close()
