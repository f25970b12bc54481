"""A worker process: one of several that read a datagram socket, which the main process has bound.

It runs commands that are declared free of state, and passes every other request on to the main process, which answers
it from the same socket. It ends when the main process does. Started by L{jsonrpcs_tx.datagrams.workers}.
"""

import gc
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from twisted.internet import reactor as _reactor
from twisted.logger import globalLogBeginner

from jsonrpcs_tx import compose
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.config import settings
from jsonrpcs_tx.datagrams.datagramreader import DatagramReader
from jsonrpcs_tx.datagrams.datagramreplies import DatagramReplies
from jsonrpcs_tx.datagrams.link import MAX_MESSAGE, Link
from jsonrpcs_tx.datagrams.replysocket import reply_socket
from jsonrpcs_tx.datagrams.responder import Responder
from jsonrpcs_tx.datagrams.sharedcounts import SharedCounts
from jsonrpcs_tx.datagrams.workers import COUNTS_FD, LINK_FD, READY, SOCKET_FD, STOP_TIME, encode_reply, encode_request
from jsonrpcs_tx.log import set_debug
from jsonrpcs_tx.logs.entries import Entry
from jsonrpcs_tx.logs.observer import Observer
from jsonrpcs_tx.logs.relay import pass_on
from jsonrpcs_tx.protocols import with_own
from jsonrpcs_tx.rpc.dispatcher import Dispatcher
from jsonrpcs_tx.state.memory import give_back_large_blocks
from jsonrpcs_tx.transports.waiting import WaitingReply
from jsonrpcs_tx.watchdog import Watchdog

reactor: Any = _reactor

_STOP_INTERVAL: Final = 0.02
"""Seconds between two checks of whether everything has been sent."""


class Relay:
    """Answers the datagrams that a worker may answer, and passes on the others, as well as replies that have to wait:
    so none is lost with the worker.

    @param protocol: name of the transport.
    @param timeout: seconds to try to send a reply to a client whose queue is full.
    @param link: leads to the main process.
    @param publish: shows what is counted to the main process.
    @ivar reader: reads the socket.
    @ivar replies: sends the replies.
    @ivar relays_all: every request is passed on, because the main process has a function around every call.
    """

    relays_all = False

    def __init__(
        self,
        sock: socket.socket,
        dispatcher: Dispatcher,
        protocol: str,
        timeout: float,
        link: Link,
        publish: Callable[[], None],
        reactor: Any,
    ) -> None:
        self.protocol = protocol
        self._dispatcher = dispatcher
        self._link = link
        outgoing = reply_socket(sock, reactor, alone=False)
        # Counts are published first, so that whoever gets a reply finds its request counted.
        self.replies: DatagramReplies = DatagramReplies(
            protocol, outgoing, dispatcher, timeout, reactor, self._wait, publish
        )
        self._responder = Responder(dispatcher, protocol, self.replies)
        self.reader: DatagramReader = DatagramReader(sock, self, reactor, after=publish)

    def datagram_received(
        self, document: bytes, peer: Any, uid: int | None = None, gid: int | None = None, pid: int | None = None
    ) -> None:
        """Answer a datagram, or pass it on; one whose client may call nothing is dropped, here or, if there is an audit
        log, in the main process.
        """
        origin = self._responder.admit(peer, uid, gid, pid)
        if origin is None and not self._dispatcher.audits:
            self._responder.drop(document)
            return
        if origin is not None and not self.relays_all:
            request = self._dispatcher.read(document)
            if self._dispatcher.stateless(request, origin):
                self._responder.answer(document, origin, peer, uid, request)
                return
        self._pass_on(encode_request(document, peer, uid, gid, pid))

    def rules_changed(self) -> None:
        """Forget who was admitted."""
        self._responder.rules_changed()

    def _wait(self, reply: WaitingReply) -> None:
        message = encode_reply(reply)
        if self._link.congested or len(message) > self._link.max_message:
            self.replies.queue.add(reply)
        else:
            self._pass_on(message)

    def _pass_on(self, message: bytes) -> None:
        self._link.send(message, self.reader.resume)
        if self._link.congested:
            self.reader.pause()  # later datagrams wait in the socket, for any worker


class Worker:
    """One worker, from the first message of the main process to its end.

    @param setup: the settings, the name of the transport, the commands that must no longer be run here, whether none
        may, the program's own transports, and the methods that are measured by themselves.
    @param line: this end of the link to the main process.
    """

    def __init__(self, setup: bytes, sock: socket.socket, line: socket.socket) -> None:
        values, protocol, retired, relays_all, own, measured = msgspec.msgpack.decode(setup)
        server = compose.make_stateless(settings.from_values(values), reactor)
        self._dispatcher = server.dispatcher
        self._registry = server.registry
        self._set_rules(server.settings.rule, own)
        self._retire(retired)
        measures = server.dispatcher.measures
        rows = [] if measures is None else measures.shared(protocol, measured)
        counts = SharedCounts(COUNTS_FD, server.dispatcher.counted(protocol), rows)
        if measures is not None:
            measures.share(protocol, measured, counts.rows)
        self._rounds = int(STOP_TIME / _STOP_INTERVAL)
        self._link = Link(line, self._settings_changed, self._stop, reactor)
        self._relay = Relay(
            sock,
            server.dispatcher,
            protocol,
            server.settings.dgram_timeout / 1000,
            self._link,
            counts.publish,
            reactor,
        )
        self._relay.relays_all = relays_all
        if server.settings.watchdog:
            Watchdog(server.settings.watchdog / 1000, reactor, server.dispatcher.slow).startService()
        self._relay.reader.startReading()
        self._link.send(READY)

    def _settings_changed(self, setup: bytes) -> None:
        values, _, retired, self._relay.relays_all, own, _ = msgspec.msgpack.decode(setup)
        changed = settings.from_values(values)
        set_debug(changed.debug)
        self._relay.replies.queue.timeout = changed.dgram_timeout / 1000
        self._set_rules(changed.rule, own)
        self._relay.rules_changed()
        self._retire(retired)

    def _set_rules(self, rules: Iterable[str], own: Mapping[str, Sequence[str]]) -> None:
        access = self._dispatcher.access
        access.transports = with_own(own)
        access.replace(read_rule(text, access.transports) for text in rules)

    def _retire(self, names: Iterable[str]) -> None:
        """Pass on requests for commands that were removed or replaced in the main process."""
        for name in names:
            if name in self._registry:
                self._registry.remove(name)

    def _stop(self) -> None:
        """The main process is stopping, or is gone: end when everything has been sent, or the time is up."""
        self._relay.reader.stopReading()
        self._rounds -= 1
        if self._rounds > 0 and (self._link.congested or self._relay.replies.waiting):
            reactor.callLater(_STOP_INTERVAL, self._stop)
            return
        self._link.close()
        reactor.stop()


def _log_to_main_process(entry: Entry) -> None:
    sys.stderr.buffer.write(pass_on(entry))
    sys.stderr.buffer.flush()


def main() -> None:
    """Run a worker with the descriptors that the main process has handed over."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the main process, which also ends this one
    globalLogBeginner.beginLoggingTo([Observer(_log_to_main_process)], redirectStandardIO=False)
    sock, line = socket.socket(fileno=SOCKET_FD), socket.socket(fileno=LINK_FD)
    select.select([line], [], [])
    give_back_large_blocks()
    setup = line.recv(MAX_MESSAGE)
    if setup:
        worker = Worker(setup, sock, line)
        reactor.run(installSignalHandlers=False)
        del worker
    gc.freeze()  # else Python would look for garbage among all that it has, for 0.1 s, before it ends


if __name__ == "__main__":
    main()
