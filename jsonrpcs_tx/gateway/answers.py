"""The answers of nodes, byte for byte."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from jsonrpcs_tx.client.core import NotReply, answers
from jsonrpcs_tx.rpc.faults import Fault


class Answer(msgspec.Struct, gc=False):
    """What a node answers to a call: a result or an error. It is the outcome of its own reply
    (L{jsonrpcs_tx.client.core.Reply}), so that one object does for both.

    @ivar id: as the node gave it back; None: null, or it gave none.
    @ivar result: its JSON, as the node has written it; None: there is an error.
    @ivar error: the JSON of the error object, as it came; None: there is a result.
    @ivar fault: what the error says; None: there is a result.
    """

    result: bytes | None
    error: bytes | None = None
    fault: Fault | None = None
    id: Any = None

    @property
    def outcome(self) -> "Answer":
        """The answer itself."""
        return self

    def answers(self, id: int) -> bool:
        """Whether it belongs to a request, see L{jsonrpcs_tx.client.core.Reply.answers}."""
        return answers(self.id, self.fault, id)


class _Reply(msgspec.Struct, gc=False):
    id: Any = None
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _Error(msgspec.Struct, gc=False):
    code: int
    message: str
    data: Any = None


_decode: Final = msgspec.json.Decoder(_Reply).decode
_decode_error: Final = msgspec.json.Decoder(_Error).decode


def read_answer(document: bytes) -> Answer:
    """Read a reply of a node, see L{jsonrpcs_tx.client.core.read_reply}.

    @raise NotReply: it is not a reply in JSON and UTF-8.
    """
    try:
        if not document.isascii():
            document.decode()  # msgspec does not check the bytes that it skips
        reply = _decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise NotReply(f"the reply is not JSON: {wrong}" if document.strip() else "the reply is empty") from None
    error, result = reply.error, reply.result
    if error is UNSET and result is not UNSET:  # the ordinary case
        return Answer(bytes(result), None, None, reply.id)
    if error is not UNSET and bytes(error) != b"null":
        return Answer(None, bytes(error), _fault(error), reply.id)
    if result is not UNSET:
        return Answer(bytes(result), None, None, reply.id)
    raise NotReply("the reply is JSON, but has neither a result nor an error")


def _fault(error: Raw) -> Fault:
    try:
        found = _decode_error(error)
    except (msgspec.DecodeError, RecursionError):
        raise NotReply("the error of the reply lacks a code and a message") from None
    return Fault(found.code, found.message, found.data)
