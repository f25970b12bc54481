"""What goes wrong with a call, other than that the server answers with a fault.

A fault is raised as L{Fault<jsonrpcs_tx.rpc.faults.Fault>}, the error that commands raise.
"""

from jsonrpcs_tx.errors import JsonRpcsError


class ClientError(JsonRpcsError):
    """A call has no result, and no fault either. Its text says where, what, why, and what to do.

    @param target: where the call was to go, in words without a password.
    @param method: that was called; empty: no particular one.
    @param reason: what went wrong, in words.
    @param advice: what to do, in words; empty: nothing is known to help.
    """

    def __init__(self, target: object, method: str, reason: object, advice: str = "") -> None:
        self.target: str = str(target)
        self.method = method
        self.reason: str = str(reason)
        self.advice = advice
        super().__init__(self.target, method, self.reason, advice)

    def __str__(self) -> str:
        where = f"{self.target}: {self.method}" if self.method else self.target
        return f"{where}: {self.reason}; {self.advice}" if self.advice else f"{where}: {self.reason}"


class BadRequest(ClientError, ValueError):
    """The request cannot be sent: JSON cannot express a parameter, or the target cannot carry that much."""


class NotReachable(ClientError):
    """Nobody takes the request: it has not been run."""


class TimedOut(ClientError):
    """No reply has come in time: the command may have been run, may be running, or may never run."""


class BadReply(ClientError):
    """What came back is no reply: no JSON, cut off, too large, or the answer to something else. The command may have
    been run.
    """


class Refused(ClientError):
    """The server does not take the call from this client: its rules, the user or the password."""
