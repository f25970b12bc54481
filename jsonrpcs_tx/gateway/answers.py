"""The answers of nodes, byte for byte."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from jsonrpcs_tx.client.core import NotReply, Reply
from jsonrpcs_tx.rpc.faults import Fault


class Answer:
    """A node's answer to a call: a result or an error.

    @ivar result: its JSON, as the node wrote it; None if there is an error.
    @ivar error: the JSON of the error object, as the node wrote it; None if there is a result.
    @ivar fault: the error, decoded; None if there is a result.
    """

    __slots__ = ("error", "fault", "result")

    def __init__(self, result: bytes | None, error: bytes | None = None, fault: Fault | None = None) -> None:
        self.result: bytes | None = result
        self.error: bytes | None = error
        self.fault: Fault | None = fault


class _AnswerReply(Reply):
    """A reply whose outcome is an L{Answer}."""

    __slots__ = ()

    @property
    def fault(self) -> Fault | None:
        answer = self.outcome
        assert isinstance(answer, Answer)
        return answer.fault


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


def read_answer(document: bytes) -> Reply:
    """Read a node's reply, see L{jsonrpcs_tx.client.core.read_reply}.

    @return: a reply whose outcome is an L{Answer}.
    @raise NotReply: it is not a reply in JSON and UTF-8.
    """
    try:
        if not document.isascii():
            document.decode()  # msgspec does not check the bytes that it skips
        reply = _decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise NotReply(f"the reply is not JSON: {wrong}" if document.strip() else "the reply is empty") from None
    error, result = reply.error, reply.result
    if error is not UNSET and bytes(error) != b"null":
        return _AnswerReply(reply.id, Answer(None, bytes(error), _fault(error)))
    if result is not UNSET:
        return _AnswerReply(reply.id, Answer(bytes(result)))
    raise NotReply("the reply is JSON, but has neither a result nor an error")


def _fault(error: Raw) -> Fault:
    try:
        found = _decode_error(error)
    except (msgspec.DecodeError, RecursionError):
        raise NotReply("the error of the reply lacks a code and a message") from None
    return Fault(found.code, found.message, found.data)
