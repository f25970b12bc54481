"""Answers the datagrams of a socket, whichever process has read them: admission first, then the dispatcher."""

from functools import lru_cache
from typing import Any, Final

from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import Decoded
from jsonrpcs_tx.transports.datagramreplies import DatagramReplies

MAX_CALLERS: Final = 1024
"""Size of the cache from clients to their origins, which is used where there are rules."""


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
        self.origin = Origin(protocol)
        self.admits_all = dispatcher.access.trivial
        self._known = lru_cache(MAX_CALLERS)(self._decide)

    def admit(self, peer: Any, uid: int | None, gid: int | None) -> Origin | None:
        """Decide whether a client may call anything at all, before any of its document is looked at.

        @param peer: its address.
        @param uid: the user of a Unix client, where it is known; C{gid} is its group.
        @return: the origin of its documents; None if it may call nothing: then the datagram is dropped, and counted.
        """
        if self.admits_all:
            return self.origin
        origin, admitted = self._known(peer[0] if isinstance(peer, tuple) else None, uid, gid)
        if admitted:
            return origin
        self.replies.drop(peer, f"{origin.caller} may not call anything")
        return None

    def rules_changed(self) -> None:
        """Forget who was admitted."""
        self.admits_all = self.dispatcher.access.trivial
        self._known.cache_clear()

    def datagram_received(self, document: bytes, peer: Any, uid: int | None = None, gid: int | None = None) -> None:
        """Answer a datagram, unless its client may call nothing; see L{admit} for the parameters.

        A Unix client without an address gets no reply, since there is nowhere to send it.
        """
        origin = self.admit(peer, uid, gid)
        if origin is not None:
            self.answer(document, origin, peer, uid)

    def answer(
        self, document: bytes, origin: Origin, peer: Any, uid: int | None, request: Decoded | None = None
    ) -> None:
        """Answer the document of a client that was admitted.

        @param request: what L{Dispatcher.read} has made of it, where somebody wanted to see that first.
        """
        reply = self.dispatcher.dispatch(document, origin, request)
        if type(reply) is not Reply:
            self.replies.answer_later(reply, document, peer, uid)
        elif reply.body and peer:
            self.replies.answer(reply, document, peer, uid)

    def _decide(self, address: str | None, uid: int | None, gid: int | None) -> tuple[Origin, bool]:
        origin = self.dispatcher.origin(self.protocol, address=address, uid=uid, gid=gid)
        assert origin.caller is not None  # there are rules
        return origin, self.dispatcher.access.admits(origin.caller)
