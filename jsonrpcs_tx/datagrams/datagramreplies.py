"""The replies of a datagram socket: sent at once, or as soon as their clients take them."""

import errno
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.datagrams.replysocket import ReplySocket, Unanswerable
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Reply
from jsonrpcs_tx.rpc.envelope import Envelope
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.transports.waiting import WaitingReplies, WaitingReply

_log = make_logger(__name__)

SURE_TO_FIT: Final = 65_000
"""Bytes of a reply for which there is room in any datagram."""

_TOO_LARGE = Fault(500, "Reply Too Large For A Datagram: use HTTP")
_ALL_TOO_LARGE = Fault(500, "Replies Too Large For A Datagram, But The Commands Were Run: use HTTP")
_FULL = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EMFILE, errno.ENFILE))
"""Temporary errors: there is no room, or no file descriptor left to check a client's path with."""


class DatagramReplies:
    """Sends the replies of one socket.

    @param protocol: name of the transport.
    @param outgoing: sends a reply by the socket.
    @param dispatcher: makes the error in place of a reply that is too large.
    @param timeout: seconds to try to send a reply to a client whose queue is full.
    @param wait: takes a reply for which there is no room yet; default: it waits in L{queue}.
    @param before: called before each attempt to send a new reply.
    @ivar queue: the replies that wait for their clients.
    """

    def __init__(
        self,
        protocol: str,
        outgoing: ReplySocket,
        dispatcher: Dispatcher,
        timeout: float,
        clock: IReactorTime,
        wait: Callable[[WaitingReply], None] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self._protocol = protocol
        self.outgoing = outgoing
        self._refuse = dispatcher.refuse
        self._not_json = dispatcher.dialect.parse_error.code
        self._dropped = dispatcher.traffic(protocol).dropped
        self.queue: WaitingReplies[WaitingReply] = WaitingReplies(self._try, self.drop, timeout, clock)
        self._wait = self.queue.add if wait is None else wait
        self._before = before
        self._batches: set[Deferred[Any]] = set()
        self._batches_done: Deferred[None] | None = None

    @property
    def waiting(self) -> bool:
        """Whether replies wait for their clients, or clients for theirs."""
        return bool(self.queue or self._batches)

    def answer(self, reply: Reply, document: bytes, peer: Any, uid: int | None) -> None:
        """Send the reply to a document, unless it must not be answered.

        @param peer: the client's address.
        @param uid: its user, where that is known.
        """
        if reply.code == self._not_json and not self.outgoing.takes_nonsense(peer):
            self.drop(peer, "it is not JSON, and comes from a port below 1024")
            return
        self.send(WaitingReply(reply.body, peer, uid, document))

    def answer_later(self, later: Deferred[Reply], document: bytes, peer: Any, uid: int | None) -> None:
        """Send the reply to a batch that has given way, once it is complete."""

        def send(reply: Reply) -> None:
            if later not in self._batches:
                return  # it has been stopped
            self._batches.remove(later)
            if reply.body and peer:
                self.answer(reply, document, peer, uid)
            self._check_batches()

        self._batches.add(later)
        later.addCallback(send)

    def send(self, reply: WaitingReply) -> None:
        """Send a reply, at once or as soon as its client takes it."""
        if self._before is not None:
            self._before()
        if len(reply.body) > self.outgoing.max_reply:
            reply = self._replacement(reply)
        if reply.peer in self.queue or not self._try(reply):
            self._wait(reply)

    def dropped(self) -> None:
        """Count that a client gets no reply."""
        self._dropped.value += 1

    def drop(self, peer: Any, reason: str | None) -> None:
        """Count and log that a client gets no reply."""
        self.dropped()
        _log.warn("{transport}: no reply to {peer}: {reason}", transport=self._protocol, peer=peer, reason=reason)

    def finish(self) -> Deferred[None]:
        """@return: a Deferred that fires with None when no reply waits any longer."""
        self._batches_done = Deferred()
        self._check_batches()
        return self._batches_done.addCallback(lambda _: self.queue.finished())

    def stop(self) -> None:
        """Drop the replies that still wait, and cancel the batches in progress."""
        self.queue.stop()
        batches, self._batches = self._batches, set()
        for later in batches:
            later.cancel()

    def _check_batches(self) -> None:
        if self._batches_done is not None and not self._batches and not self._batches_done.called:
            self._batches_done.callback(None)

    def _try(self, reply: WaitingReply) -> bool:
        """Send a reply, or give it up.

        @return: False where it has to wait.
        """
        try:
            return self.outgoing.send(reply.body, reply.peer, reply.uid)
        except Unanswerable as error:
            self.drop(reply.peer, str(error))
        except OSError as error:
            if error.errno in _FULL:
                return False
            if error.errno == errno.EMSGSIZE and reply.document is not None:
                return self._try(self._replacement(reply))
            self.drop(reply.peer, error.strerror)
        return True

    def _replacement(self, reply: WaitingReply) -> WaitingReply:
        """An error in place of a reply that does not fit in a datagram: for each request, or one for all."""
        assert reply.document is not None
        body = self._refuse(reply.document, _TOO_LARGE).body
        if len(body) > SURE_TO_FIT:
            body = Envelope.error(_ALL_TOO_LARGE, None)
        return WaitingReply(body, reply.peer, reply.uid, None)
