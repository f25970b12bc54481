"""Reads a datagram socket, one datagram at a time: the general way.

L{jsonrpcs_tx.datagrams.datagrambatch} is the direct way.
"""

import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed

from jsonrpcs_tx.access.peers import UCRED
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.transports.persistentreader import PersistentReader

_log = make_logger(__name__)

MAX_DATAGRAM: Final = 262_144
"""Bytes of one datagram that are read. A UDP datagram has at most 65,507; one over a Unix socket has what the sender's
buffer holds, 212,992 by default.
"""

MAX_PER_WAKEUP: Final = 64
"""Datagrams that are answered before other transports have their turn."""

MAX_AT_STOP: Final = 10_000
"""Datagrams that are still answered when the server stops; an endless stream of them must not keep it from stopping."""

NOBODY: Final = 2**32 - 1
"""The user and the group of a Unix client that the kernel does not identify: no user has this number."""

_NONE_THERE = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))


class Receiver(Protocol):
    """Takes what a L{DatagramReader} reads.

    @ivar protocol: name of the transport.
    """

    protocol: str

    def datagram_received(
        self, document: bytes, peer: Any, uid: int | None = None, gid: int | None = None, pid: int | None = None
    ) -> None:
        """Take one datagram: its bytes, the client's address, and the user, group and process of a Unix client."""


class DatagramReader(PersistentReader):
    """Reads the datagrams that come to one bound socket.

    @param sock: bound and non-blocking; whoever gives it closes it.
    @param receiver: takes the datagrams.
    @param after: called after each wakeup, when the datagrams have been taken.
    """

    def __init__(
        self, sock: socket.socket, receiver: Receiver, reactor: Any, after: Callable[[], None] | None = None
    ) -> None:
        super().__init__(reactor)
        self._socket = sock
        self.receiver = receiver
        self._after = after
        self._paused = False
        self._receive: Callable[[], tuple[Any, ...]] = partial(sock.recvfrom, MAX_DATAGRAM)
        if sock.family == socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._receive = self._receive_with_credentials

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return self.receiver.protocol

    def doRead(self) -> None:
        self.read(MAX_PER_WAKEUP, monotonic() + self.turn)
        if self._after is not None:
            self._after()

    def read(self, most: int, end: float = inf) -> None:
        """Read up to C{most} datagrams that have come, and none after L{pause} is called.

        @param end: when to leave the rest for later, by C{monotonic}.
        """
        receive, datagram_received = self._receive, self.receiver.datagram_received
        for _ in range(most):
            if self._paused:
                return
            try:
                received = receive()
            except OSError as error:
                self._not_received(error.errno)
                return
            datagram_received(*received)
            if monotonic() >= end:
                return

    def pause(self) -> None:
        """Leave what comes in the socket until L{resume} is called."""
        self._paused = True
        self.stopReading()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self.startReading()

    def stop(self) -> None:
        """Read no more."""
        self.stopReading()

    def finish(self) -> Deferred[None]:
        """Read no more except what has come before, at most L{MAX_AT_STOP} datagrams.

        @return: a Deferred that fires with None when these have been taken.
        """
        self.stopReading()
        self.read(MAX_AT_STOP)
        return succeed(None)

    def _not_received(self, number: int | None) -> None:
        """Log why no datagram could be read, unless there was none."""
        if number not in _NONE_THERE:
            reason = os.strerror(number or 0)
            _log.warn("{transport}: cannot read: {reason}", transport=self.receiver.protocol, reason=reason)

    def _receive_with_credentials(self) -> tuple[Any, ...]:
        """Receive a datagram from a Unix socket, with the client's user, group and process.

        @raise OSError: there is none, or an error.
        """
        document, ancillary, _, peer = self._socket.recvmsg(MAX_DATAGRAM, socket.CMSG_SPACE(UCRED.size))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                pid, uid, gid = UCRED.unpack(data[: UCRED.size])
                return document, peer, uid, gid, pid
        return document, peer, NOBODY, NOBODY
