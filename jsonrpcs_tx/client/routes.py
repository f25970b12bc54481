"""Which of several targets of one server takes a call, and which is tried next. Does no I/O."""

from collections.abc import Callable, Sequence

from jsonrpcs_tx.client.errors import BadReply, BadRequest, NotReachable, TimedOut
from jsonrpcs_tx.client.fifos import MAX_REQUEST
from jsonrpcs_tx.client.targets import Target
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.client.steps import Steps

MAX_UDP = 65_507
"""Bytes of the largest datagram over UDP."""

MAX_UNIX = 65_456
"""Bytes above which Kamailio cuts a datagram off."""

REPLY_NAME = 48
"""Bytes of the name of a reply FIFO in a request, with room to spare."""

_CARRIES = {"udp": MAX_UDP, "unix": MAX_UNIX, "fifo": MAX_REQUEST}
"""Bytes of a request that a server of any kind takes."""

SMALL = 2048
"""Bytes of a request that every server takes, whatever is in it."""

_TOO_LARGE = "too large for a datagram"
"""What a server of ours answers where the reply has no room in a datagram, in lower case."""


def carried(targets: Sequence[Target], document: bytes) -> int | None:
    """The bytes of a request by which L{asking} can choose among targets.

    Kamailio reads no more from a FIFO for ever once it has got a request that is too large, so a request whose size
    others decide must not get there.

    @return: as over a FIFO, if one of them is that, where two backslashes are written as six; None: no target carries
        it.
    """
    size = len(document)
    if any(one.scheme == "fifo" for one in targets):
        size += REPLY_NAME + 4 * document.count(b"\\\\")
    return size if any(size <= _CARRIES.get(one.scheme, size) for one in targets) else None


def only_reads(method: str) -> bool:
    """Whether a method changes nothing, so that it may be run twice, by the catalogue of commands."""
    from jsonrpcs_tx.catalogue import READ, find  # only few calls need it

    entry = find(method)
    return entry is not None and entry.effect == READ


def asking(
    targets: Sequence[Target], size: int, timeout: float, may_repeat: bool, seconds: Callable[[], float]
) -> "Steps[tuple[int, float]]":
    """Ask one target after the other until one answers.

    Yields the index of a target and the seconds that it has; is sent the result, the fault or the L{ClientError} that
    came of it. Returns the last of these.

    @param size: bytes of the request.
    @param timeout: seconds for all.
    @param may_repeat: whether the request may be run twice.
    @param seconds: the time.
    """
    deadline = seconds() + timeout
    able = [index for index, one in enumerate(targets) if size <= _CARRIES.get(one.scheme, size)] or [0]
    for index in able[:-1]:
        # Kamailio never sends a datagram that is too large, so only a part of the time is for it.
        part = 2 if may_repeat and targets[index].scheme in ("unix", "udp") else 1
        outcome = yield index, (deadline - seconds()) / part
        if seconds() >= deadline or not _may_do_better(outcome, may_repeat):
            return outcome
    return (yield able[-1], deadline - seconds())


def _may_do_better(outcome: object, may_repeat: bool) -> bool:
    """Whether another target may, after what came of one."""
    if isinstance(outcome, NotReachable | BadRequest):
        return True  # it has not been run
    return may_repeat and (isinstance(outcome, TimedOut | BadReply) or _is_too_large(outcome))


def _is_too_large(outcome: object) -> bool:
    """Whether a server of ours says that the result has no room in a datagram."""
    fault = getattr(outcome, "fault", outcome)  # that of an answer which is passed on
    return isinstance(fault, Fault) and fault.code == 500 and _TOO_LARGE in fault.text.lower()
