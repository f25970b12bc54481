"""Exit codes, and the exit code of each error."""

from jsonrpcs_tx.client.errors import BadRequest, NotReachable, Refused, TimedOut
from jsonrpcs_tx.errors import JsonRpcsError

DONE = 0
FAULT = 1
WRONG_USAGE = 2
NOT_REACHABLE = 3
TIMED_OUT = 4
FORBIDDEN = 5

MEANINGS = {
    DONE: "done",
    FAULT: "the server answered with a fault, or its answer is not a valid reply",
    WRONG_USAGE: "wrong usage: nothing was sent",
    NOT_REACHABLE: "not reachable: the command was not run",
    TIMED_OUT: "no reply in time: the command may have been run",
    FORBIDDEN: "forbidden by the server's rules, or a wrong user, password or certificate: the command was not run",
}
"""What each exit code means, for the help and the manual."""


class UsageError(JsonRpcsError):
    """The command line is wrong. The text is one line that says what is allowed."""


class NothingFound(JsonRpcsError):
    """No server was named, and none was found on this machine."""


class CallError(JsonRpcsError):
    """A call has failed. The text is one line: where, what, and what to do.

    @param error: the C{Fault} that the server answered with, or the C{ClientError} if there is no reply.
    @param message: the line.
    """

    def __init__(self, error: JsonRpcsError, message: str) -> None:
        super().__init__(message)
        self.error = error


def exit_code(error: JsonRpcsError) -> int:
    """The exit code for an error."""
    if isinstance(error, CallError):
        error = error.error
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return FAULT  # a Fault, or a BadReply


_CODES = (
    (NotReachable, NOT_REACHABLE),
    (NothingFound, NOT_REACHABLE),
    (TimedOut, TIMED_OUT),
    (Refused, FORBIDDEN),
    (BadRequest, WRONG_USAGE),
    (UsageError, WRONG_USAGE),
)
