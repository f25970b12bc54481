"""Calls as documents: requests are written, replies are read, and each reply finds its call. Does no I/O."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from jsonrpcs_tx.client.documents import NotJson, decode, encode
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeAlias

    Params: TypeAlias = Sequence[object] | Mapping[str, object]
    """Parameters by place or by name."""

ENVELOPE_ERRORS = (-32700, -32600)
"""Codes of faults about a document as a whole, which may come without the id of a request: nothing of it was run."""


class NotReply(ValueError):
    """A document is not a reply; the message says why."""


class Reply:
    """A reply to one request.

    @ivar id: as the server gave it back; None: null, or it gave none.
    @ivar outcome: the result, or the fault that the server answered with.
    """

    __slots__ = ("id", "outcome")

    def __init__(self, id: object, outcome: object) -> None:
        self.id = id
        self.outcome = outcome

    @property
    def fault(self) -> Fault | None:
        """The fault; None: there is a result."""
        return self.outcome if isinstance(self.outcome, Fault) else None

    @property
    def refuses_document(self) -> bool:
        """Whether the document as a whole was refused, so that nothing of it was run."""
        return self.id is None and isinstance(self.outcome, Fault) and self.outcome.code in ENVELOPE_ERRORS


def request(method: str, params: "Params", id: int, reply_name: str = "") -> bytes:
    """A request as it is sent.

    @param reply_name: of the reply FIFO; empty: there is none.
    @raise ValueError: JSON cannot say the method or a parameter.
    @raise TypeError: the same.
    """
    tail = f',"reply_name":"{reply_name}","id":{id}}}' if reply_name else f',"id":{id}}}'
    if not params:
        return f"{_head(method)}{tail}".encode()
    if not isinstance(params, Mapping):
        params = list(params)
    elif type(params) is not dict:
        params = dict(params)
    return f'{_head(method)},"params":{encode(params)}{tail}'.encode()


@lru_cache(1024)
def _head(method: str) -> str:
    if not isinstance(method, str):
        raise TypeError("the method is not text")
    return f'{{"jsonrpc":"2.0","method":{encode(method)}'


def read_reply(document: bytes) -> Reply:
    """The reply that a document is.

    @raise NotReply: it is none.
    """
    return reply_of(_decoded(document))


def read_replies(document: bytes) -> "list[Reply] | Reply":
    """The replies to a batch; a single one where the server has answered the document as a whole.

    @raise NotReply: they are none.
    """
    value = _decoded(document)
    return list(map(reply_of, value)) if isinstance(value, list) else reply_of(value)


def _decoded(document: bytes) -> object:
    try:
        return decode(document)
    except NotJson as error:
        if not document.strip():
            raise NotReply("the reply is empty") from None
        raise NotReply(f"the reply is not JSON: {error}") from None


def reply_of(value: object) -> Reply:
    """The reply that a decoded document is.

    @raise NotReply: it is none.
    """
    if type(value) is dict:
        if "error" in value and value["error"] is not None:
            return Reply(value.get("id"), _fault(value["error"]))
        if "result" in value:
            return Reply(value.get("id"), value["result"])
    raise NotReply("the reply is JSON, but has neither a result nor an error")


def _fault(error: object) -> Fault:
    if type(error) is dict:
        code, text = error.get("code"), error.get("message")
        if type(code) is int and type(text) is str:
            return Fault(code, text)
    raise NotReply("the error of the reply lacks a code and a message")
