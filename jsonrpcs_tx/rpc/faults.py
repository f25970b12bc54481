"""What a command raises in place of a result. Clients raise it as well, so this imports nothing slow."""

from jsonrpcs_tx.errors import JsonRpcsError

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any


class Fault(JsonRpcsError):
    """Raised by a command, it becomes the error reply, as C{fault(code, text)} does in Kamailio's RPC interface.

    @param code: any integer; over HTTP it is also the status where it is 400 to 599 (dialect C{kamailio}).
    @param text: the message; over HTTP also the reason phrase, cut at 127 bytes and without control characters. What
        UTF-8 cannot write in it (of a file name, for example) becomes a question mark.
    @param data: what programs need to know beyond that, the member C{data} of the error: anything that a command may
        return; None: there is no such member. If JSON cannot express it, the log says so, and the client gets the error
        without it.
    """

    def __init__(self, code: int, text: str, data: "Any" = None) -> None:
        super().__init__(code, text, *(() if data is None else (data,)))
        self.code: int = int(code)
        self.text: str = writable(text)
        self.data = data

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class NodeFault(Fault):
    """The fault of a call that a node of a gateway has not answered.

    @param sent: the node may have got the call, and run it.
    """

    def __init__(self, code: int, text: str, *, sent: bool) -> None:
        super().__init__(code, text)
        self.sent = sent


class InvalidParams(JsonRpcsError):
    """Raised by a command for a parameter whose value is not allowed. The dialect says how it is answered: C{kamailio}
    with 500 "Invalid Parameters: " and the reason, C{jsonrpc2} with -32602 "Invalid params" and the reason in the data.

    @param reason: what is allowed; empty: the client is told no reason.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def data(self) -> dict[str, str] | None:
        """What a client is told in dialect C{jsonrpc2}; None: nothing."""
        return {"reason": writable(self.reason)} if self.reason else None


def writable(text: object) -> str:
    """Text that UTF-8 can write: what it cannot becomes a question mark."""
    return str(text).encode(errors="replace").decode()
