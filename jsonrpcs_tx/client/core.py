"""Calls as documents: requests are written, replies are read, and each reply finds its call. Does no I/O."""

from collections.abc import Iterator, Mapping, Sequence
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

ARRAY_CALLS = 100
ARRAY_BYTES = 60_000
"""How much one array of requests has at most."""

PROBE_CALLS = 2
PROBE_BYTES = 4_000
"""How much the first array has, by which a server shows whether it takes arrays. Kamailio closes the connection without
a reply if it gets much more than it has room for."""


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

    def answers(self, id: int) -> bool:
        """Whether it belongs to a request, which it also does if it refuses the document as a whole."""
        own = self.id
        if own == id:
            return own is not True  # which is 1
        return own is None and isinstance(self.outcome, Fault) and self.outcome.code in ENVELOPE_ERRORS


def request(method: str, params: "Params", id: int) -> bytes:
    """A request as it is sent.

    @raise ValueError: JSON cannot say the method or a parameter.
    @raise TypeError: the same.
    """
    if isinstance(params, str | bytes):
        raise TypeError("parameters are a list or a dictionary, not text")
    if not params:
        return f'{_head(method)},"id":{id}}}'.encode()
    whole = encode(dict(params) if isinstance(params, Mapping) else list(params))
    return f'{_head(method)},"params":{whole},"id":{id}}}'.encode()


def over_fifo(document: bytes, reply_name: str) -> bytes:
    r"""A request as it goes over a FIFO: with the name of the reply FIFO, and in a form whose end Kamailio finds.
    Looking for the end of a string, it takes the second of two backslashes for the beginning of an escape, so C{\\}
    becomes C{\u005c}.

    @param document: with an object in it.
    """
    named = document.replace(b"{", b'{"reply_name":"%b",' % reply_name.encode(), 1)
    return named.replace(b"\\\\", b"\\u005c")


@lru_cache(1024)
def _head(method: str) -> str:
    if not isinstance(method, str):
        raise TypeError("the method is not text")
    return f'{{"jsonrpc":"2.0","method":{encode(method)}'


def read_reply(document: bytes) -> Reply:
    """The reply that a document is.

    @raise NotReply: it is none.
    """
    return _reply_of(_decoded(document))


def _decoded(document: bytes) -> object:
    try:
        return decode(document)
    except NotJson as error:
        if not document.strip():
            raise NotReply("the reply is empty") from None
        raise NotReply(f"the reply is not JSON: {error}") from None


def _reply_of(value: object) -> Reply:
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


def arrays(requests: Sequence[bytes], is_known: bool) -> Iterator[slice]:
    """Which requests go together in one array.

    @param is_known: whether the server is known to take arrays; if not, the first one is small.
    @return: slices, which cover all of them in their order.
    """
    start = size = 0
    for index, document in enumerate(requests):
        calls, bytes_ = (ARRAY_CALLS, ARRAY_BYTES) if is_known or start else (PROBE_CALLS, PROBE_BYTES)
        if index > start and (index - start >= calls or size + len(document) > bytes_):
            yield slice(start, index)
            start, size = index, 0
        size += len(document) + 1
    if start < len(requests):
        yield slice(start, len(requests))


def array(requests: Sequence[bytes]) -> bytes:
    """One document of several requests."""
    return b"[" + b",".join(requests) + b"]"


def array_outcomes(document: bytes, ids: Sequence[int]) -> list[object]:
    """What an array of requests was answered with.

    @param ids: of the requests.
    @return: for each of them the result, the fault, or L{NotReply} where the reply to it is missing. Empty: the server
        takes no arrays, and has run nothing of it. (Kamailio answers each with an empty result that has no id.)
    @raise NotReply: it is no answer to an array.
    """
    value = _decoded(document)
    if isinstance(value, list):
        replies = [_reply_of(one) for one in value]
        found = {reply.id: reply.outcome for reply in replies if type(reply.id) is int}
        return [found.get(id, NotReply("the reply to this request is missing")) for id in ids]
    reply = _reply_of(value)
    if reply.id is None and (reply.outcome == {} or reply.answers(ids[0])):
        return []
    raise NotReply("the reply to several requests is not an array")
