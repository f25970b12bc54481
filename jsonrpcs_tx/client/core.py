"""Writes requests, reads replies, and matches replies to requests. Does no I/O."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from jsonrpcs_tx.client.documents import NotJson, decode, encode, write
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeAlias

    Params: TypeAlias = Sequence[object] | Mapping[str, object]
    """Parameters by position or by name."""

ENVELOPE_ERRORS = (-32700, -32600)
"""Codes of faults that refuse a whole document, so may come without the id of a request. Nothing in it was run."""


class NotReply(ValueError):
    """A document is not a reply; the message says why."""


class Reply:
    """A reply to one request.

    @ivar id: the id that the server returned; None if that is null or missing.
    @ivar outcome: the result, or the fault that the server answered with.
    """

    __slots__ = ("id", "outcome")

    def __init__(self, id: object, outcome: object) -> None:
        self.id: object = id
        self.outcome: object = outcome

    @property
    def fault(self) -> Fault | None:
        """The fault; None if there is a result."""
        return self.outcome if isinstance(self.outcome, Fault) else None

    def answers(self, id: int) -> bool:
        """Whether it belongs to a request, which it also does if it refuses the document as a whole."""
        return answers(self.id, self.fault, id)


def answers(own: object, fault: Fault | None, id: int) -> bool:
    """Whether a reply with an id and perhaps a fault belongs to a request, see L{Reply.answers}."""
    if own == id:
        return own is not True  # which is 1
    return own is None and fault is not None and fault.code in ENVELOPE_ERRORS


def request(method: str, params: "Params", id: int) -> bytes:
    """Write a request.

    @raise ValueError: JSON cannot express the method or a parameter.
    @raise TypeError: the same.
    """
    kind = type(params)
    if kind is not tuple and kind is not list:
        params = _plain(params)
    if not params:
        return f'{_head(method)},"id":{id}}}'.encode()
    return f'{_head(method)},"params":{write(params)},"id":{id}}}'.encode()  # raises for a lone surrogate


def request_of(method: str, params: bytes, id: int) -> bytes:
    """Write a request whose parameters are already JSON.

    @param params: an array or an object; empty: no parameters.
    """
    if params:
        return b'%b,"params":%b,"id":%d}' % (_head_bytes(method), params, id)
    return b'%b,"id":%d}' % (_head_bytes(method), id)


def over_fifo(document: bytes, reply_name: str) -> bytes:
    r"""A request for a FIFO: with the name of the reply FIFO, and escaped so that Kamailio finds the end of it. When
    Kamailio looks for the end of a string, it reads the second of two backslashes as the start of an escape, so C{\\}
    becomes C{\u005c}.

    @param document: contains an object.
    """
    named = document.replace(b"{", b'{"reply_name":"%b",' % reply_name.encode(), 1)
    return named.replace(b"\\\\", b"\\u005c") if b"\\" in named else named


def _plain(params: "Params") -> "Params":
    """Parameters in a type that the encoder takes."""
    if isinstance(params, str | bytes):
        raise TypeError("parameters are a list or a dictionary, not text")
    return dict(params) if isinstance(params, Mapping) else list(params)


@lru_cache(1024)
def _head(method: str) -> str:
    if not isinstance(method, str):
        raise TypeError("the method is not text")
    return f'{{"jsonrpc":"2.0","method":{encode(method)}'


@lru_cache(1024)
def _head_bytes(method: str) -> bytes:
    return _head(method).encode()


def read_reply(document: bytes, decode: Callable[[bytes], object] = decode) -> Reply:
    """Read a reply.

    @param decode: decodes JSON, or raises C{NotJson}.
    @raise NotReply: it is not a reply.
    """
    return reply_of(decoded(document, decode))


def reply_to(id: int, document: bytes, read: Callable[[bytes], Reply] = read_reply) -> Reply | None:
    """Read the reply to a request; None if the document is the reply to another one.

    @param read: see L{read_reply}.
    @raise NotReply: the document is not a reply.
    """
    reply = read(document)
    return reply if reply.answers(id) else None


def decoded(document: bytes, decode: Callable[[bytes], object] = decode) -> object:
    """Decode a document that should be one reply or several.

    @raise NotReply: it is not JSON.
    """
    try:
        return decode(document)
    except NotJson as error:
        if not document.strip():
            raise NotReply("the reply is empty") from None
        raise NotReply(f"the reply is not JSON: {error}") from None


def reply_of(value: object) -> Reply:
    """The reply in a decoded document.

    @raise NotReply: it is not a reply.
    """
    if isinstance(value, dict):
        if "error" in value and value["error"] is not None:
            return Reply(value.get("id"), fault_of(value["error"]))
        if "result" in value:
            return Reply(value.get("id"), value["result"])
    raise NotReply("the reply is JSON, but has neither a result nor an error")


def fault_of(error: object) -> Fault:
    """The fault that a decoded member C{error} is.

    @raise NotReply: it has no code and message.
    """
    if isinstance(error, dict):
        code, text = error.get("code"), error.get("message")
        if type(code) is int and type(text) is str:
            return Fault(code, text, error.get("data"))
    raise NotReply("the error of the reply lacks a code and a message")
