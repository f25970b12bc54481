"""The worker processes of a datagram socket, as the main process sees them: it starts them, and starts them again."""

import os
import socket
import sys
from typing import Any, Final

import attrs
import msgspec
from twisted.application.internet import backoffPolicy
from twisted.internet import error
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.state.counters import Counters
from jsonrpcs_tx.transports import link, sharedcounts
from jsonrpcs_tx.transports.datagramreader import DatagramReader
from jsonrpcs_tx.transports.waiting import WaitingReply

_log = make_logger(__name__)

DESCRIPTION: Final = "JSONRPCS DATAGRAM"
"""What Kamailio's C{core.ps} calls such a process."""

FIRST_DELAY: Final = 0.1
"""Seconds after which a worker that has ended is started again; each time twice as many, up to L{MOST_DELAY}."""
MOST_DELAY: Final = 30.0
STEADY: Final = 10.0
"""Seconds after which a worker counts as well, and the delay begins anew."""

STOP_TIME: Final = 2.0
"""Seconds in which a worker's replies that wait for their clients may still go out when the server stops."""
KILL_TIME: Final = STOP_TIME + 1
"""Seconds after which a worker that does not stop is killed."""

SOCKET_FD: Final = 3
LINK_FD: Final = 4
COUNTS_FD: Final = 5
"""The descriptors by which a worker knows the datagram socket, its end of the line, and the memory of its counts."""

READY: Final = msgspec.msgpack.encode(None)
"""What a worker says first."""

_REPLY: Final = 1
"""What stands in front of a reply that a worker passes on."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode_request(document: bytes, peer: Any, uid: int | None, gid: int | None) -> bytes:
    """A request that a worker passes on."""
    return _encode((document, _pack_peer(peer), uid, gid))


def encode_reply(reply: WaitingReply) -> bytes:
    """A reply that a worker passes on, for which its client has no room yet."""
    return _encode((_REPLY, reply.body, _pack_peer(reply.peer), reply.uid, reply.document))


def _pack_peer(peer: Any) -> Any:
    """The address of a client as MessagePack can have it: the path of a Unix socket need not be UTF-8."""
    return [os.fsencode(peer)] if isinstance(peer, str) else peer


def _unpack_peer(peer: Any) -> Any:
    """What L{_pack_peer} packed, as a socket gives and takes it.

    @raise ValueError: it is not an address.
    """
    match peer:
        case None | bytes():
            return peer
        case [bytes(path)]:
            return os.fsdecode(path)
        case [str(), int()] | [str(), int(), int(), int()]:
            return tuple(peer)
    raise ValueError(f"an address {peer!r:.100}")


def decode_passed_on(message: bytes) -> WaitingReply | tuple[bytes, Any, int | None, int | None]:
    """What a worker passes on: a reply, or a request with its client's address, user and group.

    @raise ValueError: it is neither.
    """
    try:
        value = _decode(message)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    match value:
        case [bytes(document), peer, int() | None as uid, int() | None as gid]:
            return document, _unpack_peer(peer), uid, gid
        case [1, bytes(body), peer, int() | None as uid, bytes() | None as document]:
            return WaitingReply(body, _unpack_peer(peer), uid, document)
    raise ValueError(f"a message {value!r:.100}")


def _encode_setup(settings: Settings, transport: str) -> bytes:
    return _encode((attrs.asdict(settings), transport))


class Pool:
    """The workers of one socket. While none is at work, the main process reads the socket itself.

    @param sock: the socket, bound and non-blocking.
    @param transport: its name.
    @param reader: reads the socket in the main process, and answers what the workers pass on.
    """

    def __init__(
        self,
        settings: Settings,
        sock: socket.socket,
        transport: str,
        reader: DatagramReader,
        dispatcher: Dispatcher,
        reactor: Any,
    ) -> None:
        self.setup = _encode_setup(settings, transport)
        self.socket = sock
        self.transport = transport
        self.reader = reader
        self.counters: Counters = dispatcher.counters
        self.counted = sharedcounts.counted(self.counters, dispatcher, transport)
        self.reactor = reactor
        self._workers = [_Worker(self, number) for number in range(settings.dgram_workers)]

    def start(self) -> None:
        """Start all workers."""
        self.reader.startReading()
        for one in self._workers:
            one.start()

    def stop(self) -> Deferred[Any]:
        """Stop all workers.

        @return: a Deferred that fires when they have ended, and all that they have passed on is answered.
        """
        return DeferredList([one.stop() for one in self._workers])

    def pids(self) -> list[int]:
        """The process ids of the workers that run."""
        return [one.pid for one in self._workers if one.pid]

    def settings_changed(self, settings: Settings) -> None:
        """Tell the workers, those that are started later, too."""
        self.setup = _encode_setup(settings, self.transport)
        for one in self._workers:
            one.tell_settings()

    def share(self) -> None:
        """Have the main process read only while no worker does."""
        if any(one.ready for one in self._workers):
            self.reader.stopReading()
        else:
            self.reader.startReading()


class _Worker(ProcessProtocol):
    """One worker: a process, and the next one when it has ended.

    @ivar pid: of the process; 0 while there is none.
    @ivar ready: it reads the socket.
    """

    def __init__(self, pool: Pool, number: int) -> None:
        self.pid = 0
        self.ready = False
        self._pool = pool
        self._number = number
        self._reactor = pool.reactor
        self._delays = backoffPolicy(FIRST_DELAY, MOST_DELAY, factor=2, jitter=lambda: 0)
        self._failures = 0
        self._started = 0.0
        self._restart: Any = None
        self._kill: Any = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        self._restart = None
        self._started = self._reactor.seconds()
        own, its = link.pair()
        counts = sharedcounts.make(self._pool.counted)
        self._counts = sharedcounts.SharedCounts(counts, self._pool.counted)
        self._pool.counters.sources.append(self._counts.collect)
        self._link = link.Link(own, self._received, self._no_more, self._reactor)
        self._ended = False
        fds = {0: "w", 1: "r", 2: "r", SOCKET_FD: self._pool.socket.fileno()}
        fds |= {LINK_FD: its.fileno(), COUNTS_FD: counts}
        arguments = [sys.executable, "-m", "jsonrpcs_tx.worker"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            process = self._reactor.spawnProcess(self, sys.executable, arguments, environment, childFDs=fds)
        finally:
            its.close()
            os.close(counts)
        self.pid = process.pid
        self.tell_settings()

    def tell_settings(self) -> None:
        """Send the settings to the process, if there is one."""
        if self.pid:
            self._link.send(self._pool.setup)

    def stop(self) -> Deferred[None]:
        """@return: a Deferred that fires when the process has ended and its last message is answered."""
        self._stopped = Deferred()
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self.pid:
            self._link.end()
            self._kill = self._reactor.callLater(KILL_TIME, self.transport.signalProcess, "KILL")  # type: ignore[union-attr]
        else:
            self._stopped.callback(None)
        return self._stopped

    def outReceived(self, data: bytes) -> None:
        self.errReceived(data)

    def errReceived(self, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines():
            _log.warn("worker {number}: {line}", number=self._number, line=line, log_throttled=False)  # the worker has

    def processEnded(self, reason: Failure) -> None:
        self.pid = 0
        self._link.drain()
        self._pool.counters.sources.remove(self._counts.collect)
        self._counts.collect()
        self._link.close()
        self.ready = False
        if self._stopped is not None:
            if self._kill is not None and self._kill.active():
                self._kill.cancel()
            self._stopped.callback(None)
            return
        self._pool.share()
        if self._reactor.seconds() - self._started > STEADY:
            self._failures = 0
        delay = self._delays(self._failures)
        self._failures += 1
        how = "ended" if reason.check(error.ProcessDone) else f"ended: {reason.getErrorMessage()}"
        _log.warn(
            "worker {number} {how}; the request in its hands, if any, has no reply; another is started in {delay:g} s",
            number=self._number,
            how=how,
            delay=delay,
        )
        self._restart = self._reactor.callLater(delay, self.start)

    def _received(self, message: bytes) -> None:
        if message == READY:
            self.ready = True
            self._pool.share()
            _log.info("worker {number} reads {transport}", number=self._number, transport=self._pool.transport)
            return
        try:
            passed_on = decode_passed_on(message)
        except ValueError as error:
            _log.error("worker {number} passed on what is not a request: {error}", number=self._number, error=error)
            return
        if isinstance(passed_on, WaitingReply):
            self._pool.reader.send(passed_on)
        else:
            self._pool.reader.datagram_received(*passed_on)

    def _no_more(self) -> None:
        """Nothing to do: L{processEnded} follows."""
