"""UDP and Unix datagram sockets: a document a datagram, answered with one datagram from the same socket."""

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

from twisted.application.service import Service
from twisted.internet import abstract
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.envelope import Decoded
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.faults import Fault
from jsonrpcs_tx.log import Throttle, make_logger
from jsonrpcs_tx.settings import Settings, network_address
from jsonrpcs_tx.transports import Listener
from jsonrpcs_tx.transports.files import Access, FileKeeper, OwnFile, bind_unix
from jsonrpcs_tx.transports.workers import Pool

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

RECEIVE_BUFFER: Final = 4_194_304
"""Bytes asked of the kernel for the queue of requests; it gives less where the machine's limit is lower."""

SEND_BUFFER: Final = 1_048_576
"""Bytes asked of the kernel for replies. With much more it would say of a large one that there is no room just now, in
place of that it is too large."""

MAX_CALLERS: Final = 1024
"""Clients whose origin is remembered where there are rules."""

_UCRED: Final = struct.Struct("3i")
"""Process, user and group of a Unix client, as the kernel gives them (unix(7), SCM_CREDENTIALS)."""

_TOO_LARGE = Fault(500, "Reply Too Large For A Datagram: use HTTP")
_FULL = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS))


class DatagramReader(abstract.FileDescriptor):
    """Answers the datagrams that come to one bound socket.

    @param sock: bound and non-blocking; whoever gives it closes it.
    @param dispatcher: answers the documents.
    @param origin: what to tell the dispatcher of where they come from.
    @param timeout: seconds to try to send a reply to a client whose queue is full.
    @ivar timeout: may be set at any time.
    @cvar straight: a datagram need not go through L{datagram_received} where everybody may call.
    """

    straight = True

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
        self._throttle = Throttle(reactor)

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
        """Answer what has come, at most so many datagrams; the ordinary one without a detour over other methods."""
        receive, dispatch, send = self._receive, self._dispatcher.dispatch, self._socket.sendto
        straight, origin = self.straight and self._open_to_all, self._origin
        for _ in range(most):
            try:
                received = receive()
            except BlockingIOError:
                return
            except OSError as error:
                self._warn("cannot read: {reason}", reason=error.strerror)
                return
            if not straight:
                self.datagram_received(*received)
                continue
            document, peer = received
            body = dispatch(document, origin).body  # type: ignore[union-attr] # the origin is not asynchronous
            if not body or not peer:
                continue
            if self._waiting or len(body) > self._large:
                self._send(body, peer, document)
                continue
            try:
                send(body, peer)
            except OSError:
                self._send(body, peer, document)

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

    def datagram_received(
        self,
        document: bytes,
        peer: Any,
        uid: int | None = None,
        gid: int | None = None,
        request: Decoded | None = None,
    ) -> None:
        """Answer one datagram. A Unix client without an address of its own gets no reply, for want of where to.

        Nor does one that may not call anything.

        @param uid: the user of a Unix client, where it is known; so with the group.
        @param request: what was read of the document, if it was.
        """
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
        if self._throttle.passes():
            _log.warn("{transport}: " + message, transport=self._origin.transport, **values)


class DatagramService(Service):
    """Opens a socket, answers what comes to it, and closes it.

    @ivar listener: the address that is listened on; None while it is not.
    """

    transport_name: str
    listener: Listener | None = None

    def __init__(self, settings: Settings, address: str, dispatcher: Dispatcher, reactor: Any) -> None:
        self._settings = settings
        self._address = address
        self._dispatcher = dispatcher
        self._reactor = reactor
        self._socket: socket.socket | None = None
        self._reader: DatagramReader | None = None
        self._pool: Pool | None = None

    def settings_changed(self, settings: Settings) -> None:
        """Take on what a change of settings means for a running server: C{dgram_timeout}."""
        self._settings = settings
        if self._reader is not None:
            self._reader.timeout = settings.dgram_timeout / 1000
        if self._pool is not None:
            self._pool.settings_changed(settings)

    def workers(self) -> list[int]:
        """The process ids of the workers, if there are any."""
        return [] if self._pool is None else self._pool.pids()

    def privilegedStartService(self) -> None:
        """Bind the socket, while the process may still do so.

        @raise StartError: it cannot be bound.
        """
        if self._socket is not None:
            return
        sock = self._open()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._socket = sock
        timeout = self._settings.dgram_timeout / 1000
        origin = Origin(self.transport_name)
        self._reader = DatagramReader(sock, self._dispatcher, origin, timeout, self._reactor)
        assert self.listener is not None
        _log.info("listening on {listener}", listener=self.listener)

    def startService(self) -> None:
        self.privilegedStartService()
        super().startService()
        assert self._reader is not None
        assert self._socket is not None
        if self._settings.dgram_workers > 1:
            self._pool = Pool(
                self._settings, self._socket, self.transport_name, self._reader, self._dispatcher, self._reactor
            )
            self._pool.start()
        else:
            self._reader.startReading()

    def stopService(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when all that came before is answered, and the socket is closed."""
        has_started = self.running
        super().stopService()
        pool, self._pool = self._pool, None
        stopped: Deferred[Any] = succeed(None) if pool is None else pool.stop()
        if has_started:
            stopped.addCallback(lambda _: None if self._reader is None else self._reader.finish())
        return stopped.addCallback(lambda _: self._stop())

    def _stop(self) -> None:
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.listener = None
        self._close()

    def _open(self) -> socket.socket:
        """Make the socket, bind it, and set the listener."""
        raise NotImplementedError

    def _close(self) -> None:
        """Remove what L{_open} made besides the socket."""


class UdpService(DatagramService):
    """Answers over UDP, C{udp:1.2.3.4:8090} or C{udp:[::1]:8090}."""

    transport_name = "udp"

    def _open(self) -> socket.socket:
        address = network_address("udp", self._address)
        assert address is not None
        family, kind, protocol, _, resolved = socket.getaddrinfo(
            *address, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(resolved)
            self._check_access(sock.getsockname()[0])
        except OSError as error:
            sock.close()
            reason = f"{error.strerror}; allowed: a free address of this machine"
            raise StartError(f"dgram_socket: {self._address}: {reason}") from None
        except StartError:
            sock.close()
            raise
        host, port = sock.getsockname()[:2]
        self.listener = Listener("udp", host, port)
        return sock

    def _check_access(self, host: str) -> None:
        """@raise StartError: others than this machine reach the address, and no rule says what they may call."""
        if not self._dispatcher.access.covers(self.transport_name, host):
            reason = "reaches beyond this machine; allowed: a loopback address, or a setting rule for udp"
            raise StartError(f"dgram_socket: {self._address}: {reason}")


class UnixDatagramService(DatagramService):
    """Answers over a Unix datagram socket, which is made again if it is removed."""

    transport_name = "unix"
    _file: OwnFile | None = None

    def __init__(self, settings: Settings, address: str, dispatcher: Dispatcher, reactor: Any) -> None:
        super().__init__(settings, address, dispatcher, reactor)
        self._keeper = FileKeeper(self, reactor)

    def startService(self) -> None:
        super().startService()
        assert self._file is not None
        self._keeper.keep(self._file)

    def stopService(self) -> Deferred[None]:
        self._keeper.stop()
        return super().stopService()

    def _open(self) -> socket.socket:
        settings = self._settings
        # A client sees the path that was bound, and socat takes replies from the path only that it was given.
        path = os.path.abspath(settings.path(self._address))
        access = Access("dgram", settings.dgram_mode, settings.dgram_user, settings.dgram_group)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._file = bind_unix("dgram_socket", path, sock, access)
        except StartError:
            sock.close()
            raise
        self.listener = Listener("unix", path)
        return sock

    def _close(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file = None


def datagram_service(settings: Settings, address: str, dispatcher: Dispatcher, reactor: Any) -> DatagramService:
    """The service for one value of C{dgram_socket}."""
    kind = UnixDatagramService if network_address("udp", address) is None else UdpService
    return kind(settings, address, dispatcher, reactor)
