"""Errors: the value that a client is answered with, and what a command raises for it."""

import msgspec

from jsonrpcs_tx.errors import JsonRpcsError


class Error(msgspec.Struct, frozen=True, gc=False, rename={"text": "message"}):
    """An error as a client gets it: the member C{error} of a reply.

    @ivar code: any integer.
    @ivar text: its message, which UTF-8 can write.
    """

    code: int
    text: str


class Fault(JsonRpcsError):
    """Raised by a command, it becomes the error reply, as C{fault(code, text)} does in Kamailio's RPC interface.

    @param code: any integer; over HTTP it is also the status where it is 400 to 599 (dialect C{kamailio}).
    @param text: the message; over HTTP also the reason phrase, cut at 127 bytes and freed of control characters. What
        UTF-8 cannot write in it (of a file name, for example) becomes a question mark.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = int(code)
        self.text = _writable(text)

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class InvalidParams(JsonRpcsError):
    """Raised by a command for a parameter whose value is not allowed. The dialect says how it is answered: C{kamailio}
    with 500 "Invalid Parameters: " and the reason, C{jsonrpc2} with -32602 "Invalid params".

    @param reason: what is allowed; empty: the client is told no reason.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def error_of(fault: Fault) -> Error:
    """The error that a fault stands for.

    @param fault: as it was raised: perhaps of a subclass, or changed since it was made.
    @raise Exception: anything, where its code and text are missing or not valid.
    """
    code, text = fault.code, fault.text
    if type(fault) is Fault and type(code) is int and type(text) is str:
        return Error(code, text)
    return Error(int(code), _writable(text))


def explained(error: Error, reason: str) -> Error:
    """An error with a reason after its text."""
    return Error(error.code, f"{error.text}: {_writable(reason)}")


def _writable(text: object) -> str:
    """Text that UTF-8 can write."""
    return str(text).encode(errors="replace").decode()
