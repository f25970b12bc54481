"""What a client is told of a call that a node has not answered."""

from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, Refused, TimedOut
from jsonrpcs_tx.rpc import delayed
from jsonrpcs_tx.rpc.faults import Fault

BAD_GATEWAY, UNAVAILABLE, TOO_LARGE, TIMED_OUT = 502, 503, 413, 504


class NodeTimedOut(delayed.TimedOut):
    """A node has not answered in time."""

    def __init__(self, text: str) -> None:
        Fault.__init__(self, TIMED_OUT, text)


def no_reply(name: str, seconds: float) -> NodeTimedOut:
    """The fault for a call that a node has not answered in time. It may have been run."""
    return NodeTimedOut(f"Node {name} Timed Out: no reply within {seconds:.3g} s")


def fault_of(name: str, error: ClientError, seconds: float) -> Fault:
    """The fault for a call that has not been answered. It says what has happened, but not where the node is.

    @param name: of the node.
    @param seconds: that the call had.
    """
    if isinstance(error, TimedOut):
        return no_reply(name, seconds)
    if isinstance(error, Refused):
        return Fault(BAD_GATEWAY, f"Node {name} Refuses This Server: {error.reason}")
    if isinstance(error, BadReply):
        return Fault(BAD_GATEWAY, f"Node {name} Gave No Valid Reply: {error.reason}")
    if isinstance(error, BadRequest):
        return Fault(TOO_LARGE, f"Node {name} Cannot Take The Request: {error.reason}")
    return Fault(UNAVAILABLE, f"Node {name} Cannot Be Reached: {error.reason}")
