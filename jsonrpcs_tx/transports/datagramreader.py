"""Reads a datagram socket and answers what comes, one datagram after the other: the general way.

L{jsonrpcs_tx.transports.fastdatagram} has the ordinary one.
"""

import errno
import fcntl
import math
import os
import socket
import struct
import sys
import termios
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Final

from twisted.internet import abstract
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.envelope import Decoded
from jsonrpcs_tx.faults import Fault
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

MAX_DATAGRAM: Final = 262_144
"""Bytes of one datagram that are read. A UDP datagram has at most 65,507, one over a Unix socket what the sender's
buffer takes, 212,992 unless the machine is set otherwise."""

MAX_PER_WAKEUP: Final = 64
"""Datagrams that are answered before other transports have their turn."""

MAX_AT_STOP: Final = 10_000
"""Datagrams that are still answered when the server stops; without end they would keep it from stopping."""

MAX_WAITING: Final = 1000
"""Replies that wait for one client whose queue is full; more are dropped."""

RETRY_DELAY: Final = 0.01
"""Seconds between two tries to send to a client whose queue is full."""

MAX_CALLERS: Final = 1024
"""Clients whose origin is remembered where there are rules."""

_UCRED: Final = struct.Struct("3i")
"""Process, user and group of a Unix client, as the kernel gives them (unix(7), SCM_CREDENTIALS)."""

_TOO_LARGE = Fault(500, "Reply Too Large For A Datagram: use HTTP")
_NONE_THERE = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))
_FULL = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS))


class DatagramReader(abstract.FileDescriptor):
    """Answers the datagrams that come to one bound socket.

    @param sock: bound and non-blocking; whoever gives it closes it.
    @param dispatcher: answers the documents.
    @param origin: what to tell the dispatcher of where they come from.
    @param timeout: seconds to try to send a reply to a client whose queue is full.
    @ivar timeout: may be set at any time.
    """

    def __init__(
        self, sock: socket.socket, dispatcher: Dispatcher, origin: Origin, timeout: float, reactor: Any
    ) -> None:
        super().__init__(reactor)
        self._socket = sock
        self._dispatcher = dispatcher
        self._origin = origin
        self.timeout = timeout
        self._clock: IReactorTime = reactor
        self._open_to_all = dispatcher.access.trivial
        self._receive: Callable[[], tuple[Any, ...]] = partial(sock.recvfrom, MAX_DATAGRAM)
        if sock.family == socket.AF_UNIX and dispatcher.access.facts & {"uid", "gid"}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._receive = self._receive_with_credentials
        self._origin_of = lru_cache(MAX_CALLERS)(self._find_origin)
        self._waiting: dict[Any, deque[tuple[float, bytes, bytes | None]]] = {}
        # Over a Unix socket what a client leaves unread takes up the room of the server's own queue.
        self._room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self._large = self._room // 32 if sock.family == socket.AF_UNIX else math.inf
        self._retry: Any = None
        self._finished: Deferred[None] | None = None
        self._dropped = dispatcher.traffic(origin.transport).dropped

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return self._origin.transport

    def doRead(self) -> None:
        self._answer(MAX_PER_WAKEUP)

    def finish(self) -> Deferred[None]:
        """Read no more, but for what has come before, at most L{MAX_AT_STOP} datagrams.

        @return: a Deferred that fires with None when no reply waits any more.
        """
        self.stopReading()
        self._answer(MAX_AT_STOP)
        self._finished = Deferred()
        if not self._waiting:
            self._finished.callback(None)
        return self._finished

    def _answer(self, most: int) -> None:
        """Answer what has come, at most so many datagrams."""
        receive = self._receive
        for _ in range(most):
            try:
                received = receive()
            except OSError as error:
                self._not_received(error.errno)
                return
            self.datagram_received(*received)

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
        return document, peer

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
        assert type(reply) is Reply  # the origin is not asynchronous
        if reply.body and peer:
            self._send(reply.body, peer, document)

    def _find_origin(self, address: str | None, uid: int | None, gid: int | None) -> Origin:
        return self._dispatcher.origin(self._origin.transport, address=address, uid=uid, gid=gid)

    def _send(self, body: bytes, peer: Any, document: bytes | None) -> None:
        """Send a reply, at once or as soon as its client takes it.

        @param document: what it answers, for the error that replaces a reply too large; None: it is that error.
        """
        if peer in self._waiting or not self._try(body, peer, document):
            self._wait(body, peer, document)

    def _try(self, body: bytes, peer: Any, document: bytes | None) -> bool:
        """Send a reply, or give it up.

        @return: False where it has to wait.
        """
        if len(body) > self._large and self._is_crowded(len(body)):
            return False
        try:
            self._socket.sendto(body, peer)
        except OSError as error:
            if error.errno in _FULL:
                return False
            if error.errno == errno.EMSGSIZE and document is not None:
                return self._try(self._dispatcher.refuse(document, _TOO_LARGE).body, peer, None)
            self._drop(peer, error.strerror)
        return True

    def _is_crowded(self, size: int) -> bool:
        """Whether replies that clients have not read yet leave too little room for a large one and then others."""
        unread = int.from_bytes(fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return bool(unread) and unread + size > self._room // 2

    def _wait(self, body: bytes, peer: Any, document: bytes | None) -> None:
        waiting = self._waiting.setdefault(peer, deque())
        if len(waiting) >= MAX_WAITING:
            self._drop(peer, f"{len(waiting)} others wait for it to read")
            return
        waiting.append((self._clock.seconds() + self.timeout, body, document))
        if self._retry is None:
            self._retry = self._clock.callLater(RETRY_DELAY, self._send_waiting)

    def _send_waiting(self) -> None:
        self._retry = None
        now = self._clock.seconds()
        for peer, waiting in list(self._waiting.items()):
            while waiting:
                deadline, body, document = waiting[0]
                if not self._try(body, peer, document):
                    if deadline - self.timeout <= now < deadline:  # earlier, if the clock was set back
                        break
                    self._drop(peer, "it does not read")
                waiting.popleft()
            if not waiting:
                del self._waiting[peer]
        if self._waiting:
            self._retry = self._clock.callLater(RETRY_DELAY, self._send_waiting)
        elif self._finished is not None:
            self._finished.callback(None)

    @property
    def waiting(self) -> bool:
        """Whether replies wait for their clients."""
        return bool(self._waiting)

    def stop(self) -> None:
        """Read no more; replies that still wait are dropped."""
        self.stopReading()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._waiting.clear()

    def _drop(self, peer: Any, reason: str | None) -> None:
        self._dropped.value += 1
        self._warn("no reply to {peer}: {reason}", peer=peer, reason=reason)

    def _warn(self, message: str, **values: object) -> None:
        _log.warn("{transport}: " + message, transport=self._origin.transport, **values)
