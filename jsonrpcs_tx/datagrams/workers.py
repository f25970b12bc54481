"""The worker processes of a datagram socket, as the main process sees them: it starts them, and restarts them."""

import os
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeAlias

import attrs
import msgspec
from twisted.internet import error
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.datagrams import link, sharedcounts
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.datagrams.responder import Responder
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs.relay import Relay
from jsonrpcs_tx.protocols import own_of
from jsonrpcs_tx.rpc.measures import MAX_METHODS, Row
from jsonrpcs_tx.state.counters import Counter, Counters
from jsonrpcs_tx.transports.waiting import WaitingReply

_log = make_logger(__name__)

DESCRIPTION: Final = "JSONRPCS DATAGRAM"
"""What Kamailio's C{core.ps} calls such a process."""

FIRST_DELAY: Final = 0.1
"""Seconds after which a worker that has ended is started again; the delay doubles each time, up to L{MOST_DELAY}."""
MOST_DELAY: Final = 30.0
STEADY: Final = 10.0
"""Seconds after which a worker counts as healthy, and the delay is short again."""

STOP_TIME: Final = 2.0
"""Seconds that a worker's waiting replies have to go out when the server stops."""
KILL_TIME: Final = STOP_TIME + 1
"""Seconds after which a worker that does not stop is killed."""

SOCKET_FD: Final = 3
LINK_FD: Final = 4
COUNTS_FD: Final = 5
"""A worker's descriptors of the datagram socket, of its end of the link, and of the memory for its counts."""

READY: Final = msgspec.msgpack.encode(None)
"""A worker's first message."""

_REPLY: Final = 1
"""Marks a message as a reply."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode_request(document: bytes, peer: Any, uid: int | None, gid: int | None, pid: int | None) -> bytes:
    """The message with a request that a worker passes on."""
    return _encode((document, _pack_peer(peer), uid, gid, pid))


def encode_reply(reply: WaitingReply) -> bytes:
    """The message with a reply that a worker passes on, for which its client has no room yet."""
    return _encode((_REPLY, reply.body, _pack_peer(reply.peer), reply.uid, reply.document))


def _pack_peer(peer: Any) -> Any:
    """The address of a client as MessagePack can carry it: the path of a Unix socket need not be UTF-8."""
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


Request: TypeAlias = tuple[bytes, Any, int | None, int | None, int | None]
"""A document with its client's address, user, group and process."""

PassedOn: TypeAlias = WaitingReply | Request
"""What a worker passes on."""


def decode_passed_on(message: bytes) -> PassedOn:
    """What a worker passes on: a reply, or a request with its client's address, user, group and process.

    @raise ValueError: it is neither.
    """
    try:
        value = _decode(message)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    match value:
        case [bytes(document), peer, int() | None as uid, int() | None as gid, int() | None as pid]:
            return document, _unpack_peer(peer), uid, gid, pid
        case [1, bytes(body), peer, int() | None as uid, bytes() | None as document]:
            return WaitingReply(body, _unpack_peer(peer), uid, document)
    raise ValueError(f"a message {value!r:.100}")


def _encode_setup(
    settings: Settings,
    transport: str,
    retired: Collection[str],
    access: AccessControl,
    relays_all: bool,
    measured: Sequence[str],
) -> bytes:
    values = {**attrs.asdict(settings), "rule": [rule.text for rule in access.rules], "rule_file": ""}
    return _encode((values, transport, sorted(retired), relays_all, own_of(access.transports), measured))


@attrs.frozen
class Job:
    """What all workers of one socket are started with.

    @ivar protocol: name of the transport.
    @ivar socket: the socket, bound and non-blocking.
    @ivar counters: those of the main process.
    @ivar counted: those that a worker counts up.
    @ivar measured: the rows of measures that it adds to; empty: nothing is measured.
    """

    protocol: str
    socket: socket.socket
    counters: Counters
    counted: list[Counter]
    measured: list[Row]
    reactor: Any


class Pool:
    """The workers of one socket. While none of them is ready, the main process reads the socket itself.

    @param sock: the socket, bound and non-blocking.
    @param reader: reads the socket in the main process.
    @param responder: answers what the workers pass on.
    """

    def __init__(
        self, settings: Settings, sock: socket.socket, reader: DatagramReader, responder: Responder, reactor: Any
    ) -> None:
        self._reader = reader
        self._responder = responder
        dispatcher, self._protocol = responder.dispatcher, responder.protocol
        counted = dispatcher.counted(self._protocol)
        self._settings = settings
        self._registry = dispatcher.registry
        self._measured: list[str] = []  # the same for all processes that are ever started
        rows: list[Row] = []
        if dispatcher.measures is not None:
            self._measured = [name for name, one in self._registry.table.items() if one.options.stateless][:MAX_METHODS]
            rows = dispatcher.measures.shared(self._protocol, self._measured)
        job = Job(self._protocol, sock, dispatcher.counters, counted, rows, reactor)
        setup = self._setup()
        self._workers = [
            WorkerProcess(number, job, setup, self._passed_on, self._share) for number in range(settings.dgram_workers)
        ]

    def start(self) -> None:
        """Start all workers."""
        self._registry.observers.append(self._changed)
        self._reader.startReading()
        for one in self._workers:
            one.start()

    def stop(self) -> Deferred[Any]:
        """Stop all workers.

        @return: a Deferred that fires when they have ended, and all that they have passed on is answered.
        """
        self._registry.observers.remove(self._changed)
        return DeferredList([one.stop() for one in self._workers])

    def pids(self) -> list[int]:
        """The process ids of the workers that run."""
        return [one.pid for one in self._workers if one.pid]

    def settings_changed(self, settings: Settings) -> None:
        """Tell the workers, including those that are started later."""
        self._settings = settings
        self._changed()

    def rules_changed(self) -> None:
        """Tell the workers, including those that are started later."""
        self._changed()

    def _changed(self) -> None:
        setup = self._setup()
        for one in self._workers:
            one.set_up(setup)

    def _setup(self) -> bytes:
        dispatcher = self._responder.dispatcher
        access, relays_all = dispatcher.access, dispatcher.has_around  # what is around calls is in this process
        return _encode_setup(self._settings, self._protocol, self._registry.retired, access, relays_all, self._measured)

    def _passed_on(self, what: PassedOn) -> None:
        if isinstance(what, WaitingReply):
            self._responder.replies.send(what)
        else:
            self._responder.datagram_received(*what)

    def _share(self) -> None:
        """Have the main process read only while no worker does."""
        if any(one.ready for one in self._workers):
            self._reader.stopReading()
        else:
            self._reader.startReading()


class WorkerProcess(ProcessProtocol):
    """One worker: a process, and the next one when it has ended.

    @param number: its number, for the log.
    @param job: what it is started with.
    @param setup: its first message, and that of each further process.
    @param passed_on: called with each request and reply that it passes on.
    @param changed: called when L{ready} has changed.
    @ivar pid: of the process; 0 while there is none.
    @ivar ready: it reads the socket.
    """

    def __init__(
        self,
        number: int,
        job: Job,
        setup: bytes,
        passed_on: Callable[[PassedOn], None],
        changed: Callable[[], None],
    ) -> None:
        from twisted.application.internet import backoffPolicy  # slow to import, and only few servers have workers

        self.pid: int = 0
        self.ready: bool = False
        self._number = number
        self._job = job
        self._setup = setup
        self._passed_on = passed_on
        self._changed = changed
        self._reactor = job.reactor
        self._delays = backoffPolicy(FIRST_DELAY, MOST_DELAY, factor=2, jitter=lambda: 0)
        self._failures = 0
        self._started = 0.0
        self._restart: Any = None
        self._kill: Any = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start a process, which gets the settings at once."""
        self._restart = None
        self._started = self._reactor.seconds()
        self._says = Relay(self._number)
        own, its = link.pair()
        counts = sharedcounts.make(self._job.counted, len(self._job.measured))
        self._counts = sharedcounts.SharedCounts(counts, self._job.counted, self._job.measured)
        self._job.counters.sources.append(self._counts.collect)
        self._link = link.Link(own, self._received, self._no_more, self._reactor)
        fds = {0: "w", 1: "r", 2: "r", SOCKET_FD: self._job.socket.fileno()}
        fds |= {LINK_FD: its.fileno(), COUNTS_FD: counts}
        arguments = [sys.executable, "-m", "jsonrpcs_tx.worker"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            process = self._reactor.spawnProcess(self, sys.executable, arguments, environment, childFDs=fds)
        finally:
            its.close()
            os.close(counts)
        self.pid = process.pid
        self._link.send(self._setup)

    def set_up(self, setup: bytes) -> None:
        """Send other settings to the process, if there is one, and to each further one."""
        if setup == self._setup:
            return
        self._setup = setup
        if self.pid:
            self._link.send(setup)

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
        self._says.feed(data)

    def processEnded(self, reason: Failure) -> None:
        self.pid = 0
        self._says.end()
        self._link.drain()
        self._job.counters.sources.remove(self._counts.collect)
        self._counts.collect()
        self._link.close()
        self.ready = False
        if self._stopped is not None:
            if self._kill is not None and self._kill.active():
                self._kill.cancel()
            self._stopped.callback(None)
            return
        self._changed()
        if self._reactor.seconds() - self._started > STEADY:
            self._failures = 0
        delay = self._delays(self._failures)
        self._failures += 1
        how = "ended" if reason.check(error.ProcessDone) else f"ended: {_cause(reason.value)}"
        _log.warn(
            "worker {worker} {how}; the request that it had, if any, gets no reply; another starts in {delay:g} s",
            worker=self._number,
            how=how,
            delay=delay,
        )
        self._restart = self._reactor.callLater(delay, self.start)

    def _received(self, message: bytes) -> None:
        if message == READY:
            self.ready = True
            self._changed()
            _log.info("worker {worker} reads {transport}", worker=self._number, transport=self._job.protocol)
            return
        try:
            passed_on = decode_passed_on(message)
        except ValueError as error:
            _log.error(
                "worker {worker} passed on something that is not a request: {error}", worker=self._number, error=error
            )
            return
        self._passed_on(passed_on)

    def _no_more(self) -> None:
        """Nothing to do: L{processEnded} follows."""


def _cause(reason: BaseException | None) -> str:
    """Why a process has ended."""
    if isinstance(reason, error.ProcessTerminated) and reason.signal:
        return f"killed by signal {reason.signal}"
    return f"exit code {getattr(reason, 'exitCode', None)}"
