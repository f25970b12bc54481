"""UDP and Unix datagram sockets: each datagram is one document, and is answered with one from the same socket."""

import os
import socket
from collections.abc import Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from jsonrpcs_tx.config.kinds import PASSED, network_address, passed_name
from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.datagrams import datagrambatch, sendroom
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.datagrams.datagramreplies import DatagramReplies
from jsonrpcs_tx.datagrams.replysocket import reply_socket
from jsonrpcs_tx.datagrams.responder import Responder
from jsonrpcs_tx.datagrams.workers import Pool
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.rpc.registry import Registry
from jsonrpcs_tx.transports.base import Listener, Transport
from jsonrpcs_tx.transports.files import FileKeeper, Ownership, bind_unix, check_unix
from jsonrpcs_tx.transports.inherited import HERE
from jsonrpcs_tx.transports.parts import Parts

_log = make_logger(__name__)

RECEIVE_BUFFER: Final = 4_194_304
"""Bytes asked of the kernel for the queue of requests; it gives less where the machine's limit is lower."""

SEND_BUFFER: Final = 1_048_576
"""Bytes asked of the kernel for replies over UDP; see L{sendroom.BUFFER} for Unix sockets."""


class DatagramService(Transport):
    """Opens a socket, answers what comes to it, and closes it."""

    setting = "dgram_socket"

    def __init__(self, settings: Settings, address: str, dispatcher: Dispatcher, reactor: Any) -> None:
        self._settings = settings
        self._address = address
        self._dispatcher = dispatcher
        self._reactor = reactor
        self._socket: socket.socket | None = None
        self._replies: DatagramReplies | None = None
        self._responder: Responder | None = None
        self._reader: DatagramReader | None = None
        self._pool: Pool | None = None

    def settings_changed(self, settings: Settings) -> None:
        """Apply C{dgram_timeout}."""
        self._settings = settings
        if self._replies is not None:
            self._replies.queue.timeout = settings.dgram_timeout / 1000
        if self._pool is not None:
            self._pool.settings_changed(settings)

    def rules_changed(self) -> None:
        if self._responder is not None:
            self._responder.rules_changed()
        if self._pool is not None:
            self._pool.rules_changed()

    def workers(self) -> list[int]:
        return [] if self._pool is None else self._pool.pids()

    def missing_workers(self) -> int:
        return 0 if self._pool is None else self._settings.dgram_workers - len(self._pool.pids())

    def waiting(self) -> tuple[int, int]:
        return (0, 0) if self._replies is None else self._replies.queue.waiting()

    def privilegedStartService(self) -> None:
        """Bind the socket, while the process may still do so.

        @raise StartError: it cannot be bound.
        """
        if self._socket is not None:
            return
        self.check(FIRST)
        sock = self._open()
        sock.setblocking(False)  # noqa: FBT003 # Python's own way
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if sock.family == socket.AF_UNIX:
            sendroom.widen(sock)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._socket = sock
        assert self.listener is not None
        _log.info("listening on {listener}", listener=self.listener)

    def startService(self) -> None:
        super().startService()
        sock, settings, dispatcher, reactor = self._socket, self._settings, self._dispatcher, self._reactor
        assert sock is not None
        timeout = settings.dgram_timeout / 1000
        self._replies = DatagramReplies(self.protocol, reply_socket(sock, reactor), dispatcher, timeout, reactor)
        self._responder = responder = Responder(dispatcher, self.protocol, self._replies)
        fast = settings.fast_paths and datagrambatch.AVAILABLE
        self._reader = (datagrambatch.BatchReader if fast else DatagramReader)(sock, responder, reactor)
        if settings.dgram_workers > 1:
            self._pool = Pool(settings, sock, self._reader, responder, reactor)
            self._pool.start()
        else:
            self._reader.startReading()

    def stopService(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when everything that came before is answered, and the socket is
        closed.
        """
        has_started = self.running
        super().stopService()
        pool, self._pool = self._pool, None
        stopped: Deferred[Any] = succeed(None) if pool is None else pool.stop()
        if has_started:
            stopped.addCallback(lambda _: None if self._reader is None else self._reader.finish())
            stopped.addCallback(lambda _: None if self._replies is None else self._replies.finish())
        return stopped.addCallback(lambda _: self._stop())

    def _stop(self) -> None:
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
        if self._replies is not None:
            self._replies.stop()
            self._replies = self._responder = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.listener: Listener | None = None
        self._close()

    def _open(self) -> socket.socket:
        """Make the socket, bind it, and set the listener."""
        raise NotImplementedError

    def _close(self) -> None:
        """Remove what L{_open} made besides the socket."""

    def _check_access(self, host: str) -> None:
        """@raise StartError: other machines can reach the address, and no rule says what they may call."""
        if not self._dispatcher.access.covers("udp", host):
            allowed = "a loopback address, or a rule for udp"
            raise StartError("dgram_socket", self._address, "reaches beyond this machine", allowed)


class UdpService(DatagramService):
    """Answers over UDP, C{udp:1.2.3.4:8090} or C{udp:[::1]:8090}."""

    protocol = "udp"

    def check(self, problems: Problems) -> None:
        with problems.noted():
            self._check_access(self._resolve()[4][0])

    def _resolve(self) -> tuple[Any, ...]:
        """The address as C{getaddrinfo} gives it.

        @raise StartError: it names a network interface that does not exist.
        """
        address = network_address("udp", self._address)
        assert address is not None
        try:
            return socket.getaddrinfo(*address, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
        except OSError as error:
            raise self._error(error) from None

    def _open(self) -> socket.socket:
        family, kind, protocol, _, resolved = self._resolve()
        sock = socket.socket(family, kind, protocol)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(resolved)
            self._check_access(sock.getsockname()[0])
        except OSError as error:
            sock.close()
            raise self._error(error) from None
        except StartError:
            sock.close()
            raise
        host, port = sock.getsockname()[:2]
        self.listener: Listener | None = Listener("udp", host, port)
        return sock

    def _error(self, error: OSError) -> StartError:
        return StartError("dgram_socket", self._address, error.strerror, "a free address of this machine")


class UnixDatagramService(DatagramService):
    """Answers over a Unix datagram socket, which is made again if somebody removes it."""

    protocol = "unix"
    path: str | None = None

    def __init__(self, settings: Settings, address: str, dispatcher: Dispatcher, reactor: Any) -> None:
        super().__init__(settings, address, dispatcher, reactor)
        self._keeper = FileKeeper(self, reactor)

    def startService(self) -> None:
        super().startService()
        assert self.file is not None
        self._keeper.keep(self.file)

    def stopService(self) -> Deferred[None]:
        self._keeper.stop()
        return super().stopService()

    def check(self, problems: Problems) -> None:
        self.path = self._path()
        check_unix("dgram_socket", self.path, self._ownership(), problems)

    def _path(self) -> str:
        # Clients see the path that was bound, and socat accepts replies only from the path that it was given.
        return os.path.abspath(self._settings.path(self._address))

    def _ownership(self) -> Ownership:
        settings = self._settings
        return Ownership("dgram", settings.dgram_mode, settings.dgram_user, settings.dgram_group)

    def _open(self) -> socket.socket:
        path = self._path()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # before the first datagram can come
        try:
            self.file = bind_unix("dgram_socket", path, sock, self._ownership())
        except StartError:
            sock.close()
            raise
        self.listener: Listener | None = Listener("unix", path)
        return sock

    def _close(self) -> None:
        if self.file is not None:
            self.file.remove()
            self.file = None


class PassedDatagramService(DatagramService):
    """Answers over a socket that systemd has opened, UDP or Unix: C{systemd:NAME}. Its file is systemd's.

    @param name: the socket's.
    """

    protocol: str = "udp"

    def __init__(self, settings: Settings, name: str, dispatcher: Dispatcher, reactor: Any) -> None:
        super().__init__(settings, f"{PASSED}{name}", dispatcher, reactor)
        self._name = name

    def check(self, problems: Problems) -> None:
        with problems.noted():
            HERE.check("dgram_socket", self._name)

    def _open(self) -> socket.socket:
        sock = HERE.socket("dgram_socket", self._name, socket.SOCK_DGRAM)
        if sock.family == socket.AF_UNIX:
            # Datagrams that came before have credentials only if the socket unit says PassCredentials=yes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.protocol = "unix"
            self.listener: Listener | None = Listener("unix", os.fsdecode(sock.getsockname()))
            return sock
        host, port = sock.getsockname()[:2]
        try:
            self._check_access(host)
        except StartError:
            sock.close()
            raise
        self.protocol = "udp"
        self.listener = Listener("udp", host, port)
        return sock


def make_transports(parts: Parts) -> Iterator[DatagramService]:
    """The services for the values of C{dgram_socket}."""
    if parts.settings.dgram_socket and parts.settings.dgram_workers > 1:
        _check_use_of_workers(parts.dispatcher.registry)
    for value in parts.settings.dgram_socket:
        address = os.fspath(value)
        name = passed_name(address)
        if name is not None:
            yield PassedDatagramService(parts.settings, name, parts.dispatcher, parts.reactor)
            continue
        kind = UnixDatagramService if network_address("udp", address) is None else UdpService
        yield kind(parts.settings, address, parts.dispatcher, parts.reactor)


def _check_use_of_workers(registry: Registry) -> None:
    """Warn if workers have nothing to do but what a single process does in less time."""
    if not any(one.options.stateless and not one.trusted for one in registry.table.values()):
        _log.warn("dgram_workers: one process is faster, since no command but the server's own light ones is stateless")
