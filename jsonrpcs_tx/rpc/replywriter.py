"""What is done with a reply before its client gets it: its layout, and where it is stored."""

from collections.abc import Callable

from jsonrpcs_tx.protocols import STORING
from jsonrpcs_tx.rpc.envelope import Decoded, Envelope, Request, store_path
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.pretty import Layout
from jsonrpcs_tx.rpc.replies import NO_REPLY, Reply
from jsonrpcs_tx.rpc.replystore import ReplyStore


class ReplyWriter:
    """Lays replies out, and stores those whose requests ask for that.

    @param layout: how replies are laid out for people; None: they stay compact.
    @param store: where replies are stored; None: nowhere.
    @ivar idle: all replies go out unchanged, so that L{write} need not be called.
    """

    def __init__(self, layout: Layout | None, store: ReplyStore | None) -> None:
        self._layout = layout
        self._store = store
        self.idle: bool = layout is None and store is None

    def write(self, reply: Reply, request: Decoded, origin: Origin) -> Reply:
        """Lay a reply out, unless it is that of a batch, and store it if its request asks for that.

        @return: what the client gets.
        """
        if self._layout is not None and type(request) is not list:
            reply = Reply(self._layout.document(reply.body), reply.code, reply.text, reply.fault)
        if self._store is None or not reply.body or reply.fault or origin.transport not in STORING:
            return reply
        path = store_path(request)
        if path is None:
            return reply
        assert type(request) is Request  # only that has a path
        told, stored = self._store.put(path, request.id, reply.body, origin.caller, origin)
        return Reply(told) if stored else Reply(told, 500, "Storing failed", fault=True)

    @property
    def member_layout(self) -> Callable[[Reply], Reply] | None:
        """Lays out a reply of a batch: each by itself, since all at once would take long. None: it stays as it is."""
        return None if self._layout is None else self._write_member

    def _write_member(self, reply: Reply) -> Reply:
        assert self._layout is not None
        return Reply(self._layout.element(reply.body)) if reply.body else reply

    def join_members(self, replies: list[Reply]) -> Reply:
        """Join replies that L{member_layout} has laid out."""
        if self._layout is None:
            return join(replies)
        bodies = [reply.body for reply in replies if reply.body]
        return Reply(self._layout.array(bodies)) if bodies else NO_REPLY


def join(replies: list[Reply]) -> Reply:
    """The reply to a batch, compactly."""
    bodies = [reply.body for reply in replies if reply.body]
    return Reply(Envelope.batch(bodies)) if bodies else NO_REPLY
