"""Reads replies as L{core<jsonrpcs_tx.client.core>} does, but ordinary ones in a quarter of the time.

It takes msgspec, which is slow to import.
"""

from typing import Any, Protocol

from msgspec import UNSET, Struct, json

from jsonrpcs_tx.client import core
from jsonrpcs_tx.client.core import Reply
from jsonrpcs_tx.client.documents import number


class AnyReply(Protocol):
    """What a reader of replies gives, such as L{Result} and L{core.Reply<jsonrpcs_tx.client.core.Reply>}."""

    @property
    def id(self) -> object:
        """As the server gave it back; None: null, or it gave none."""

    @property
    def outcome(self) -> Any:
        """What the call fires with."""

    def answers(self, id: int) -> bool:
        """Whether it belongs to a request."""


class Result(Struct, gc=False, forbid_unknown_fields=True, rename={"outcome": "result"}):
    """A reply with a result. It has the members that replies have, and no others, which would be skipped unread.

    @ivar id: as the server gave it back; None: null, or it gave none.
    @ivar outcome: the result.
    @ivar error: null, or there is none.
    @ivar jsonrpc: the version, whatever it is.
    """

    jsonrpc: Any = None
    outcome: Any = UNSET
    error: Any = None
    id: Any = None

    def answers(self, id: int) -> bool:
        """Whether it belongs to a request."""
        return self.id == id and self.id is not True  # which is 1


_decode = json.Decoder(Result, float_hook=number).decode


def read_reply(document: bytes) -> Result | Reply:
    """The reply that a document is.

    @raise NotReply: it is not a reply.
    """
    try:
        found = _decode(document)
        if found.outcome is not UNSET and found.error is None:
            return found
    except (ValueError, RecursionError):  # it may be a reply nevertheless: one with a lone surrogate, for example
        pass
    return core.read_reply(document)
