"""The faults for calls that a node has not answered, and for nodes that are not known."""

from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, Refused, TimedOut
from jsonrpcs_tx.rpc.faults import Fault, NodeFault

BAD_GATEWAY, UNAVAILABLE, TOO_LARGE, TIMED_OUT = 502, 503, 413, 504


def not_found(name: str, known: object = None) -> Fault:
    """The fault for a name that no node has, nor a group where that is allowed.

    @param known: the names that there are, as data for programs; None: the caller is not told them.
    """
    return Fault(404, f"Node Not Found: {name[:100]}", known)


def not_asked(name: str, why: str) -> NodeFault:
    """The fault for a call that was not sent, because the node is not available."""
    return NodeFault(UNAVAILABLE, f"Node {name} {why}", sent=False)


def too_late(name: str, why: str) -> NodeFault:
    """The fault for a call whose deadline passed before it could be sent."""
    return NodeFault(TIMED_OUT, f"Node {name} Was Not Asked: {why}", sent=False)


def no_reply(name: str, seconds: float) -> NodeFault:
    """The fault for a call that a node has not answered in time. It may have been run."""
    return NodeFault(TIMED_OUT, f"Node {name} Timed Out: no reply within {seconds:.3g} s", sent=True)


def fault_of(name: str, error: ClientError, seconds: float) -> NodeFault:
    """The fault for a call that has not been answered. It says what went wrong, but not where the node is.

    @param name: of the node.
    @param seconds: how long the call could take.
    """
    if isinstance(error, TimedOut):
        return no_reply(name, seconds)
    if isinstance(error, Refused):
        return NodeFault(BAD_GATEWAY, f"Node {name} Refuses This Server: {error.reason}", sent=False)
    if isinstance(error, BadReply):
        return NodeFault(BAD_GATEWAY, f"Node {name} Gave No Valid Reply: {error.reason}", sent=True)
    if isinstance(error, BadRequest):
        return NodeFault(TOO_LARGE, f"Node {name} Cannot Take The Request: {error.reason}", sent=False)
    return not_asked(name, f"Cannot Be Reached: {error.reason}")
