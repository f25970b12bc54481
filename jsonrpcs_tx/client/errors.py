"""The errors of calls, apart from the faults that a server answers with.

A fault is raised as L{Fault<jsonrpcs_tx.rpc.faults.Fault>}, the error that commands raise.
"""

from jsonrpcs_tx.errors import JsonRpcsError


class ClientError(JsonRpcsError):
    """A call has neither a result nor a fault. The text says where, what, why, and what to do.

    @param target: the target of the call; as text it has no password.
    @param method: the method that was called; empty: no particular one.
    @param reason: what went wrong, for messages.
    @param advice: what to do, for messages; empty: no advice is known.
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
    """The request did not reach the server, so it has not been run."""


class TimedOut(ClientError):
    """No reply has come in time: the command may have been run, may be running, or may never run."""


class BadReply(ClientError):
    """The reply cannot be used: it is not JSON, incomplete, too large, or the reply to something else. The command may
    have been run.
    """


class Refused(ClientError):
    """The server refuses the call because of its rules, the user or the password."""
