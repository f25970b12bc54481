"""The error that a client is answered with."""

import msgspec
from msgspec import UNSET, UnsetType

from jsonrpcs_tx.rpc.faults import Fault, writable
from jsonrpcs_tx.rpc.results import write


class Error(msgspec.Struct, frozen=True, gc=False, rename={"text": "message"}):
    """An error as a client gets it: the member C{error} of a reply.

    @ivar code: any integer.
    @ivar text: its message, which UTF-8 can write.
    @ivar data: more about it, as JSON.
    """

    code: int
    text: str
    data: msgspec.Raw | UnsetType = UNSET


def error_of(fault: Fault) -> Error:
    """The error that a fault stands for, without its data.

    @param fault: as it was raised: perhaps of a subclass, or changed since it was made.
    @raise Exception: anything, where its code and text are missing or not valid.
    """
    code, text = fault.code, fault.text
    if type(fault) is Fault and type(code) is int and type(text) is str:
        return Error(code, text)
    return Error(int(code), writable(text))


def with_data(error: Error, data: object) -> Error:
    """An error with data.

    @param data: anything that a command may return; None: there is none.
    @raise Exception: JSON cannot express it.
    """
    return error if data is None else Error(error.code, error.text, msgspec.Raw(write(data)))


def explained(error: Error, reason: str) -> Error:
    """An error with a reason after its text."""
    return Error(error.code, f"{error.text}: {writable(reason)}")
