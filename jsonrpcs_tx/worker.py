"""A worker process: reads a datagram socket that the main process has bound, beside others.

It runs commands that are declared free of state, and passes every other request on to the main process, which answers
it from the same socket. It ends when the main process does. Started by L{jsonrpcs_tx.transports.workers}.
"""

import select
import signal
import socket
import sys
from math import inf
from time import monotonic
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

from jsonrpcs_tx import compose
from jsonrpcs_tx.config import settings
from jsonrpcs_tx.rpc import replystore
from jsonrpcs_tx.rpc.dispatcher import Origin
from jsonrpcs_tx.transports.datagramreader import DatagramReader
from jsonrpcs_tx.transports.link import MAX_MESSAGE, Link
from jsonrpcs_tx.transports.sharedcounts import SharedCounts, counted
from jsonrpcs_tx.transports.waiting import WaitingReply
from jsonrpcs_tx.transports.workers import COUNTS_FD, LINK_FD, READY, SOCKET_FD, STOP_TIME, encode_reply, encode_request
from jsonrpcs_tx.watchdog import Watchdog

reactor: Any = _reactor

_STOP_INTERVAL: Final = 0.02
"""Seconds between two looks at whether everything has been said."""


class WorkerReader(DatagramReader):
    """Answers what it may, and passes on the rest, as it does with replies that have to wait: so none is lost with it.

    @ivar link: leads to the main process.
    @ivar counts: shows what is counted to the main process.
    @ivar stores: replies are stored for those who ask, by the main process, which knows whose files are whose.
    """

    alone = False
    link: Link
    counts: SharedCounts
    stores: bool

    def datagram_received(self, document: bytes, peer: Any, uid: int | None = None, gid: int | None = None) -> None:
        request = self._dispatcher.decode(document)
        if self._dispatcher.stateless(request) and not (self.stores and replystore.MEMBER in document):
            self._answer_request(request, document, peer, uid, gid)
        else:
            self._pass_on(encode_request(document, peer, uid, gid))

    def doRead(self) -> None:
        super().doRead()
        self.counts.publish()

    def _answer(self, most: int, end: float = inf) -> None:
        for _ in range(most):
            if self.link.congested:
                return  # what comes next waits in the socket, for any worker
            super()._answer(1)
            if monotonic() >= end:
                return

    def send(self, reply: WaitingReply) -> None:
        self.counts.publish()  # first, so that whoever gets the reply finds it counted
        super().send(reply)

    def _wait(self, reply: WaitingReply) -> None:
        message = encode_reply(reply)
        if self.link.congested or len(message) > self.link.max_message:
            super()._wait(reply)
        else:
            self._pass_on(message)

    def _pass_on(self, message: bytes) -> None:
        self.link.send(message, self.startReading)
        if self.link.congested:
            self.stopReading()


class Worker:
    """One worker, from the first message of the main process to its end.

    @param setup: the settings, and the name of the transport.
    """

    def __init__(self, setup: bytes, sock: socket.socket, line: socket.socket) -> None:
        values, transport = msgspec.msgpack.decode(setup)
        parent = compose.make_stateless(settings.from_values(values), reactor)
        timeout = parent.settings.dgram_timeout / 1000
        self._reader = WorkerReader(sock, parent.dispatcher, Origin(transport), timeout, reactor)
        self._link = Link(line, self._settings_changed, self._stop, reactor)
        self._reader.link = self._link
        self._reader.stores = bool(values["store_path"])
        self._reader.counts = SharedCounts(COUNTS_FD, counted(parent.counters, parent.dispatcher, transport))
        if parent.settings.watchdog:
            Watchdog(parent.settings.watchdog / 1000, reactor).startService()
        self._reader.startReading()
        self._link.send(READY)
        self._rounds = int(STOP_TIME / _STOP_INTERVAL)

    def _settings_changed(self, setup: bytes) -> None:
        values, _ = msgspec.msgpack.decode(setup)
        self._reader.replies.timeout = settings.from_values(values).dgram_timeout / 1000

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
