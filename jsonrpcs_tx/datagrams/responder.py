"""Answers the datagrams of a socket, whichever process has read them: admission first, then the dispatcher."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.datagrams.datagramreader import NOBODY
from jsonrpcs_tx.datagrams.datagramreplies import DatagramReplies
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import Decoded
from jsonrpcs_tx.rpc.origin import Peer

FORBIDDEN: Final = 403
"""What a client that may call nothing would be told, if it were answered."""

MAX_CALLERS: Final = 1024
"""Size of a cache from clients to their origins, which is used where there are rules."""


@lru_cache(MAX_CALLERS)
def datagram_peer(protocol: str, address: Any, uid: int | None, gid: int | None, pid: int | None) -> Peer:
    """What commands are told of the client that has sent a datagram.

    @param address: as the socket gives it: host and port over UDP.
    @param uid: the user of a Unix client, where it is known; C{gid} is its group, C{pid} its process.
    """
    host, port = address[:2] if isinstance(address, tuple) else (None, None)
    if uid == NOBODY:
        uid, gid, pid = None, None, None
    return Peer(Caller(protocol, host, uid=uid, gid=gid), port, pid or None)  # 0 is one that this process cannot see


class Responder:
    """Answers datagrams.

    @param dispatcher: answers the documents.
    @param protocol: name of the transport.
    @param replies: takes the replies.
    @ivar origin: where all documents come from while there are no rules.
    @ivar admits_all: there are no rules.
    """

    def __init__(self, dispatcher: Dispatcher, protocol: str, replies: DatagramReplies) -> None:
        self.dispatcher = dispatcher
        self.protocol = protocol
        self.replies = replies
        self.origin: Origin = Origin(protocol, find_peer=self._find_peer)
        self._sender: tuple[Any, int | None, int | None, int | None] = (None, None, None, None)
        self.admits_all: bool = dispatcher.access.trivial
        self._forgets: list[Callable[[], None]] = []
        self._known = self.remember(lambda address, uid, gid: self.admitted(self._find_peer))

    def admit(self, peer: Any, uid: int | None, gid: int | None, pid: int | None) -> Origin | None:
        """Decide whether a client may call anything at all, before any of its document is looked at.

        @param peer: its address.
        @param uid: the user of a Unix client, where it is known; C{gid} is its group, C{pid} its process.
        @return: the origin of its document, to be answered before another one is admitted; None if it may call nothing:
            then the datagram is to be dropped, see L{drop}.
        """
        self._sender = peer, uid, gid, pid
        if self.admits_all:
            return self.origin
        return self._known(peer[0] if isinstance(peer, tuple) else None, uid, gid)

    def admitted(self, find_peer: Callable[[], Peer]) -> Origin | None:
        """Decide on the sender of a document by the rules. There must be rules.

        @param find_peer: tells who has sent the document that is being dispatched, now and later.
        @return: the origin of the sender's documents; None if it may call nothing.
        """
        sender = find_peer().caller
        origin = self.dispatcher.origin(
            self.protocol, find_peer=find_peer, address=sender.address, uid=sender.uid, gid=sender.gid
        )
        assert origin.caller is not None  # there are rules
        return origin if self.dispatcher.access.admits(origin.caller) else None

    def remember(self, decide: Callable[..., Origin | None]) -> Callable[..., Origin | None]:
        """A function whose decisions on senders are remembered until the rules change.

        @param decide: its parameters are all that its decision depends on, besides the rules.
        """
        known = lru_cache(MAX_CALLERS)(decide)
        self._forgets.append(known.cache_clear)
        return known

    def drop(self, document: bytes, peer: Peer | None = None) -> None:
        """Count and log that a client that is not admitted gets no reply.

        @param peer: the client; default: the one on which L{admit} has decided just now.
        """
        self.replies.dropped()
        peer = self._find_peer() if peer is None else peer
        self.dispatcher.turned_away(peer, FORBIDDEN, "nothing is allowed", document)

    def rules_changed(self) -> None:
        """Forget who was admitted."""
        self.admits_all = self.dispatcher.access.trivial
        for forget in self._forgets:
            forget()

    def datagram_received(
        self, document: bytes, peer: Any, uid: int | None = None, gid: int | None = None, pid: int | None = None
    ) -> None:
        """Answer a datagram, unless its client may call nothing; see L{admit} for the parameters.

        A Unix client without an address gets no reply, since there is nowhere to send it.
        """
        origin = self.admit(peer, uid, gid, pid)
        if origin is None:
            self.drop(document)
        else:
            self.answer(document, origin, peer, uid)

    def answer(
        self, document: bytes, origin: Origin, peer: Any, uid: int | None, request: Decoded | None = None
    ) -> None:
        """Answer the document of a client that was admitted.

        @param request: what L{Dispatcher.read} made of it, if somebody had to look at that first.
        """
        reply = self.dispatcher.dispatch(document, origin, request)
        if type(reply) is not Reply:
            self.replies.answer_later(reply, document, peer, uid)
        elif reply.body and peer:
            self.replies.answer(reply, document, peer, uid)

    def _find_peer(self) -> Peer:
        return datagram_peer(self.protocol, *self._sender)
