"""A worker process: reads a datagram socket that the main process has bound, beside others.

It runs commands that are declared free of state, and passes every other request on to the main process, which answers
it from the same socket. It ends when the main process does. Started by L{jsonrpcs_tx.transports.workers}.
"""

import select
import signal
import socket
import sys
from typing import Any, Final

import msgspec
from twisted.internet import reactor as _reactor
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)
from zope.interface import provider

from jsonrpcs_tx import service, settings, store
from jsonrpcs_tx.dispatcher import Origin
from jsonrpcs_tx.transports.datagramreader import DatagramReader
from jsonrpcs_tx.transports.link import MAX_MESSAGE, Link
from jsonrpcs_tx.transports.sharedcounts import SharedCounts, counted
from jsonrpcs_tx.transports.workers import COUNTS_FD, LINK_FD, SOCKET_FD, STOP_TIME, pack_peer
from jsonrpcs_tx.watchdog import Watchdog

reactor: Any = _reactor

_STOP_INTERVAL: Final = 0.02
"""Seconds between two looks at whether everything has been said."""

_encode = msgspec.msgpack.Encoder().encode


class WorkerReader(DatagramReader):
    """Answers what it may, and passes on the rest.

    @ivar link: leads to the main process.
    @ivar counts: shows what is counted to the main process.
    @ivar stores: replies are stored for those who ask, by the main process, which knows whose files are whose.
    """

    link: Link
    counts: SharedCounts
    stores: bool

    def datagram_received(self, document: bytes, peer: Any, uid: int | None = None, gid: int | None = None) -> None:
        request = self._dispatcher.decode(document)
        if self._dispatcher.stateless(request) and not (self.stores and store.MEMBER in document):
            self._answer_request(request, document, peer, uid, gid)
            return
        self.link.send(_encode((document, pack_peer(peer), uid, gid)), self.startReading)
        if self.link.congested:
            self.stopReading()  # what comes next waits in the socket, for any worker

    def doRead(self) -> None:
        super().doRead()
        self.counts.publish()

    def _send(self, body: bytes, peer: Any, document: bytes | None) -> None:
        self.counts.publish()  # first, so that whoever gets the reply finds it counted
        super()._send(body, peer, document)


class Worker:
    """One worker, from the first message of the main process to its end.

    @param setup: the settings, and the name of the transport.
    """

    def __init__(self, setup: bytes, sock: socket.socket, line: socket.socket) -> None:
        values, transport = msgspec.msgpack.decode(setup)
        parent = service.make_stateless(settings.from_values(values), reactor)
        timeout = parent.settings.dgram_timeout / 1000
        self._reader = WorkerReader(sock, parent.dispatcher, Origin(transport), timeout, reactor)
        self._link = Link(line, self._settings_changed, self._stop, reactor)
        self._reader.link = self._link
        self._reader.stores = bool(values["store_path"])
        self._reader.counts = SharedCounts(COUNTS_FD, counted(parent.counters, parent.dispatcher, transport))
        if parent.settings.watchdog:
            Watchdog(parent.settings.watchdog / 1000, reactor).startService()
        self._reader.startReading()
        self._link.send(_encode(None))  # ready
        self._rounds = int(STOP_TIME / _STOP_INTERVAL)

    def _settings_changed(self, setup: bytes) -> None:
        values, _ = msgspec.msgpack.decode(setup)
        self._reader.timeout = settings.from_values(values).dgram_timeout / 1000

    def _stop(self) -> None:
        """The main process stops, or is gone: end when everything has been said, or the time is up."""
        self._reader.stopReading()
        self._rounds -= 1
        if self._rounds > 0 and (self._link.congested or self._reader.waiting):
            reactor.callLater(_STOP_INTERVAL, self._stop)
            return
        self._link.close()
        reactor.stop()


@provider(ILogObserver)
def _log_to_main_process(event: LogEvent) -> None:
    sys.stderr.write(eventAsText(event, includeTimestamp=False, includeSystem=False) + "\n")
    sys.stderr.flush()


def main() -> None:
    """Run a worker with the descriptors that the main process has handed over."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are for the main process, which then ends this one
    grave = FilteringLogObserver(_log_to_main_process, [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogBeginner.beginLoggingTo([grave], redirectStandardIO=False)
    sock, line = socket.socket(fileno=SOCKET_FD), socket.socket(fileno=LINK_FD)
    select.select([line], [], [])
    setup = line.recv(MAX_MESSAGE)
    if setup:
        worker = Worker(setup, sock, line)
        reactor.run(installSignalHandlers=False)
        del worker


if __name__ == "__main__":
    main()
