"""Why a call failed and what to do, worded once for every client."""

import errno
import os

from jsonrpcs_tx.client.errors import BadReply, BadRequest, NotReachable, TimedOut
from jsonrpcs_tx.client.targets import Target

_OPENING = {
    errno.ENOENT: "start the server, or look for its path",
    errno.ECONNREFUSED: "start the server: nobody listens there",
    errno.ENXIO: "start the server: nobody reads there",
    errno.EACCES: "become a member of the group that may write there",
    errno.EPERM: "become a member of the group that may write there",
    errno.ENOTSOCK: "look for the path of its datagram socket",
    errno.EPROTOTYPE: "it is a socket of another kind: look for the path of its datagram socket",
}

_SILENCE = {
    "unix": "the server may be busy, or unable to send so large a reply: try fifo: or http:",
    "udp": "the datagram may be lost, or the reply too large for one: try http:",
    "fifo": "see that reply_dir is the server's fifo_reply_dir; Kamailio drops requests of more than 8190 bytes: "
    "try http:",
    "tcp": "the server may be busy with another client",
    "http": "the server may be busy",
    "https": "the server may be busy",
}


def not_reachable(target: Target, method: str, error: OSError) -> NotReachable:
    """The system says that nobody takes the request."""
    reason = error.strerror or os.strerror(error.errno) if error.errno else str(error)
    return NotReachable(target.url, method, reason, _OPENING.get(error.errno or 0, "see that the server runs there"))


def timed_out(target: Target, method: str, seconds: float) -> TimedOut:
    """Nothing has come for as long as a call may take."""
    return TimedOut(target.url, method, f"no reply within {seconds:g} s", _SILENCE[target.scheme])


def too_large_reply(target: Target, method: str, limit: int) -> BadReply:
    """More has come than a reply may have."""
    return BadReply(target.url, method, f"the reply is larger than {limit} bytes", "ask for less, or allow more")


def too_large_request(target: Target, method: str, size: int) -> BadRequest:
    """The target cannot carry so large a request."""
    reason = f"a request of {size} bytes is too large for a datagram"
    return BadRequest(target.url, method, reason, "use fifo: or http:")
