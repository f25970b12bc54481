"""What a command raises to answer with an error."""


class Fault(Exception):
    """Raised by a command, it becomes the error reply, as C{fault(code, text)} does in Kamailio's RPC interface.

    @param code: any integer; over HTTP it is the status too where it is 400 to 599 (dialect C{kamailio}).
    @param text: the message; over HTTP the reason phrase too, cut at 127 bytes and freed of control characters. What
        UTF-8 cannot write in it (of a file name, for example) becomes a question mark.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = int(code)
        self.text = str(text).encode(errors="replace").decode()

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class InvalidParams(Exception):
    """Raised by a command for a parameter whose value is not allowed. The dialect says how it is answered: C{kamailio}
    with 500 "Invalid Parameters: " and the reason, C{jsonrpc2} with -32602 "Invalid params".

    @param reason: what is allowed; empty: the client is told no reason.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def sound(fault: Fault) -> Fault:
    """A fault as a reply can have it: with an int and a str that UTF-8 can write, and without a traceback, which would
    grow with each time that it is raised.

    @param fault: as it was raised: of a subclass, perhaps, or changed since it was made.
    @raise Exception: anything, where code and text are missing or are none.
    """
    fault.__traceback__ = None
    if type(fault) is Fault and type(fault.code) is int and type(fault.text) is str:
        return fault
    return Fault(fault.code, fault.text)
