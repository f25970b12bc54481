"""Reads a datagram socket and answers what comes, one datagram after the other: the general way.

L{jsonrpcs_tx.transports.datagrambatch} has the ordinary one.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable
from functools import lru_cache, partial
from math import inf
from time import monotonic
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import Decoded, Envelope
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.transports.persistentreader import PersistentReader
from jsonrpcs_tx.transports.replysocket import Unanswerable, reply_socket
from jsonrpcs_tx.transports.waiting import WaitingReplies, WaitingReply

_log = make_logger(__name__)

MAX_DATAGRAM: Final = 262_144
"""Bytes of one datagram that are read. A UDP datagram has at most 65,507, one over a Unix socket what the sender's
buffer takes, 212,992 unless the machine is set otherwise."""

MAX_PER_WAKEUP: Final = 64
"""Datagrams that are answered before other transports have their turn."""

MAX_AT_STOP: Final = 10_000
"""Datagrams that are still answered when the server stops; without end they would keep it from stopping."""

MAX_CALLERS: Final = 1024
"""Clients whose origin is remembered where there are rules."""

_UCRED: Final = struct.Struct("3I")
"""Process, user and group of a Unix client, as the kernel gives them (unix(7), SCM_CREDENTIALS)."""

NOBODY: Final = 2**32 - 1
"""The user and the group of a Unix client of whom the kernel says nothing: no user has this number."""

SURE_TO_FIT: Final = 65_000
"""Bytes of a reply for which there is room in any datagram."""

_TOO_LARGE = Fault(500, "Reply Too Large For A Datagram: use HTTP")
_ALL_TOO_LARGE = Fault(500, "Replies Too Large For A Datagram, But The Commands Were Run: use HTTP")
_NONE_THERE = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))
_FULL = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EMFILE, errno.ENFILE))
"""What passes: there is no room, or no descriptor to look at a client's path with."""


class DatagramReader(PersistentReader):
    """Answers the datagrams that come to one bound socket.

    @param sock: bound and non-blocking; whoever gives it closes it.
    @param dispatcher: answers the documents.
    @param origin: what to tell the dispatcher of where they come from.
    @param timeout: seconds to try to send a reply to a client whose queue is full.
    @ivar replies: those that wait for their clients.
    @cvar alone: it decides who may have the last room in a Unix socket's buffer.
    """

    alone = True

    def __init__(
        self, sock: socket.socket, dispatcher: Dispatcher, origin: Origin, timeout: float, reactor: Any
    ) -> None:
        super().__init__(reactor)
        self._socket = sock
        self._dispatcher = dispatcher
        self._origin = origin
        self._open_to_all = dispatcher.access.trivial
        self._receive: Callable[[], tuple[Any, ...]] = partial(sock.recvfrom, MAX_DATAGRAM)
        if sock.family == socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._receive = self._receive_with_credentials
        self._origin_of = lru_cache(MAX_CALLERS)(self._find_origin)
        clock: IReactorTime = reactor
        self._outgoing = reply_socket(sock, clock, self.alone)
        self.replies = WaitingReplies(self._try, self._drop, timeout, clock)
        self._not_json = dispatcher.dialect.parse_error.code
        self._batches: set[Deferred[Any]] = set()
        self._batches_done: Deferred[None] | None = None
        self._dropped = dispatcher.traffic(origin.transport).dropped

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return self._origin.transport

    def startReading(self) -> None:
        self._outgoing.user_changed()  # the socket was bound before the process gave up its privileges
        super().startReading()

    def doRead(self) -> None:
        self._answer(MAX_PER_WAKEUP, monotonic() + self.turn)

    def finish(self) -> Deferred[None]:
        """Read no more, but for what has come before, at most L{MAX_AT_STOP} datagrams.

        @return: a Deferred that fires with None when no reply waits any more.
        """
        self.stopReading()
        self._answer(MAX_AT_STOP)
        self._batches_done = Deferred()
        self._check_batches()
        return self._batches_done.addCallback(lambda _: self.replies.finished())

    def _check_batches(self) -> None:
        if self._batches_done is not None and not self._batches and not self._batches_done.called:
            self._batches_done.callback(None)

    def _answer(self, most: int, end: float = inf) -> None:
        """Answer what has come, at most so many datagrams.

        @param end: when to leave the rest for later, by L{monotonic}.
        """
        receive = self._receive
        for _ in range(most):
            try:
                received = receive()
            except OSError as error:
                self._not_received(error.errno)
                return
            self.datagram_received(*received)
            if monotonic() >= end:
                return

    def _not_received(self, number: int | None) -> None:
        """Log what keeps datagrams from being read, but for that there is none."""
        if number not in _NONE_THERE:
            self._warn("cannot read: {reason}", reason=os.strerror(number or 0))

    def _receive_with_credentials(self) -> tuple[Any, ...]:
        """Receive a datagram: the document, the client's address, and of a Unix client its user and group.

        @raise OSError: there is none, or an error.
        """
        document, ancillary, _, peer = self._socket.recvmsg(MAX_DATAGRAM, socket.CMSG_SPACE(_UCRED.size))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                _, uid, gid = _UCRED.unpack(data[: _UCRED.size])
                return document, peer, uid, gid
        return document, peer, NOBODY, NOBODY

    def datagram_received(self, document: bytes, peer: Any, uid: int | None = None, gid: int | None = None) -> None:
        """Answer one datagram. A Unix client without an address of its own gets no reply, for want of where to.

        Nor does one that may not call anything.

        @param uid: the user of a Unix client, where it is known; so with the group.
        """
        self._answer_request(self._dispatcher.decode(document), document, peer, uid, gid)

    def _answer_request(self, request: Decoded, document: bytes, peer: Any, uid: int | None, gid: int | None) -> None:
        """Answer what was read of a datagram."""
        origin = self._origin
        if not self._open_to_all:
            origin = self._origin_of(peer[0] if isinstance(peer, tuple) else None, uid, gid)
            assert origin.caller is not None  # there are rules
            if not self._dispatcher.access.admits(origin.caller):
                self._drop(peer, f"{origin.caller} may not call anything")
                return
        reply = self._dispatcher.dispatch(document, origin, request)
        if type(reply) is not Reply:
            self._reply_later(reply, document, peer, uid)
        elif reply.body and peer:
            self._reply(reply, document, peer, uid)

    def _reply(self, reply: Reply, document: bytes, peer: Any, uid: int | None) -> None:
        """Send what a document is answered with, unless it must not be answered."""
        if reply.code == self._not_json and not self._outgoing.takes_nonsense(peer):
            self._drop(peer, "it is not JSON, and comes from a port below 1024")
            return
        self.send(WaitingReply(reply.body, peer, uid, document))

    def _reply_later(self, later: Deferred[Reply], document: bytes, peer: Any, uid: int | None) -> None:
        """Send the reply to a batch that has given way, when it is there."""

        def send(reply: Reply) -> None:
            if later not in self._batches:
                return  # it has been stopped
            self._batches.remove(later)
            if reply.body and peer:
                self._reply(reply, document, peer, uid)
            self._check_batches()

        self._batches.add(later)
        later.addCallback(send)

    def _find_origin(self, address: str | None, uid: int | None, gid: int | None) -> Origin:
        return self._dispatcher.origin(self._origin.transport, address=address, uid=uid, gid=gid)

    def send(self, reply: WaitingReply) -> None:
        """Send a reply, at once or as soon as its client takes it."""
        if len(reply.body) > self._outgoing.max_reply:
            reply = self._replacement(reply)
        if reply.peer in self.replies or not self._try(reply):
            self._wait(reply)

    def _wait(self, reply: WaitingReply) -> None:
        self.replies.add(reply)

    def _try(self, reply: WaitingReply) -> bool:
        """Send a reply, or give it up.

        @return: False where it has to wait.
        """
        try:
            return self._outgoing.send(reply.body, reply.peer, reply.uid)
        except Unanswerable as error:
            self._drop(reply.peer, str(error))
        except OSError as error:
            if error.errno in _FULL:
                return False
            if error.errno == errno.EMSGSIZE and reply.document is not None:
                return self._try(self._replacement(reply))
            self._drop(reply.peer, error.strerror)
        return True

    def _replacement(self, reply: WaitingReply) -> WaitingReply:
        """An error in place of a reply that no datagram holds: for each request, or one for all."""
        assert reply.document is not None
        body = self._dispatcher.refuse(reply.document, _TOO_LARGE).body
        if len(body) > SURE_TO_FIT:
            body = Envelope.error(_ALL_TOO_LARGE, None)
        return WaitingReply(body, reply.peer, reply.uid, None)

    @property
    def waiting(self) -> bool:
        """Whether replies wait for their clients, or clients for theirs."""
        return bool(self.replies or self._batches)

    def stop(self) -> None:
        """Read no more; replies that still wait are dropped."""
        self.stopReading()
        self.replies.stop()
        batches, self._batches = self._batches, set()
        for later in batches:
            later.cancel()

    def _drop(self, peer: Any, reason: str | None) -> None:
        self._dropped.value += 1
        self._warn("no reply to {peer}: {reason}", peer=peer, reason=reason)

    def _warn(self, message: str, **values: object) -> None:
        _log.warn("{transport}: " + message, transport=self._origin.transport, **values)
