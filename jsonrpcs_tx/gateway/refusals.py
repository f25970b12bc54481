"""What a caller is told of a call that has no answer from the node: 503 and 504, and whether it has been sent."""

from jsonrpcs_tx.gateway.room import Room
from jsonrpcs_tx.rpc.faults import Fault


def too_many(room: Room) -> Fault:
    """There is no room for a call."""
    return Fault(503, f"Not Sent: {room.calls} calls with {room.size} bytes wait for this node already")


def closed() -> Fault:
    """The node is no longer called."""
    return Fault(503, "Not Sent: this node has been removed, or the server is stopping")


def over() -> Fault:
    """The deadline of a call had come before the call."""
    return Fault(504, "Not Sent: its time was over before")


def not_sent(seconds: float) -> Fault:
    """The deadline of a call has come before its turn."""
    return Fault(504, f"Not Sent: it waited {seconds:.3g} s for its turn")


def unanswered(seconds: float) -> Fault:
    """The deadline of a call has come before the answer."""
    return Fault(504, f"Sent, But Not Answered Within {seconds:.3g} s: it may have been run, or may be yet")
