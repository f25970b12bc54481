"""Which of several targets of one server takes a call, and which is tried next. Does no I/O."""

from collections.abc import Generator, Sequence

from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, NotReachable, TimedOut
from jsonrpcs_tx.client.fifos import MAX_REQUEST
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.rpc.faults import Fault

MAX_UDP = 65_507
"""Bytes of the largest datagram over UDP."""

MAX_UNIX = 65_456
"""Bytes above which Kamailio cuts a datagram off."""

_CARRIES = {"udp": MAX_UDP, "unix": MAX_UNIX, "fifo": MAX_REQUEST}
"""Bytes of a request that a server of any kind takes."""

_TOO_LARGE = "too large for a datagram"
"""What a server of ours answers where the reply has no room in a datagram, in lower case."""

_READING = frozenset(("echo", "lookup", "methods", "ps", "psx", "uptime", "version", "who"))
_WORDS_THAT_READ = ("list", "dump", "get", "show", "stats", "info", "fetch")


def only_reads(method: str) -> bool:
    """Whether a method is called as those are that change nothing, so that it may be called twice."""
    name = method.rpartition(".")[2].lower()
    return name in _READING or name.startswith(_WORDS_THAT_READ) or name.endswith(("list", "dump", "info", "stats"))


def is_too_large(outcome: object) -> bool:
    """Whether a call was answered with the fault that its result has no room in a datagram."""
    return isinstance(outcome, Fault) and outcome.code == 500 and _TOO_LARGE in outcome.text.lower()


def tries(
    targets: Sequence[Target], size: int, timeout: float, may_repeat: bool
) -> Generator[tuple[int, float], "tuple[ClientError | Fault, float]", None]:
    """The targets to send a request to, one after the other, until one answers.

    Yields the index of a target and the seconds that it has. Is sent what came instead of a result, and the seconds
    that are left. Ends when that has to do.

    @param size: bytes of the request.
    @param timeout: seconds for all.
    @param may_repeat: whether the request may be run twice.
    """
    able = [index for index, one in enumerate(targets) if size <= _CARRIES.get(one.scheme, size)]
    order = able or [0]
    for place, index in enumerate(order):
        is_last = place + 1 == len(order)
        # A datagram that is too large is never sent, so a part of the time has to do.
        waits = is_last or targets[index].scheme not in ("unix", "udp") or not may_repeat
        failure, timeout = yield index, timeout if waits else timeout / 2
        if is_last or timeout <= 0 or not _is_next(failure, may_repeat):
            return


def _is_next(failure: ClientError | Fault, may_repeat: bool) -> bool:
    """Whether another target may do better."""
    if isinstance(failure, NotReachable | BadRequest):
        return True  # it has not been run
    return may_repeat and (isinstance(failure, TimedOut | BadReply) or is_too_large(failure))
