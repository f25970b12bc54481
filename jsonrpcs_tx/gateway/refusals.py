"""What a caller is told of a call that waits in vain: whether the node has been asked, and why not."""

from typing import Final

from jsonrpcs_tx.gateway.faults import UNAVAILABLE, NodeTimedOut, no_reply
from jsonrpcs_tx.rpc.faults import Fault

CLOSED: Final = "it has been removed, or this server is stopping"
"""Why a node is asked no more."""


class Refusals:
    """The faults of calls to one node.

    @param name: of the node.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def not_asked(self, reason: str) -> Fault:
        """The node is not there to be asked, or not for this call."""
        return Fault(UNAVAILABLE, f"Node {self._name} Was Not Asked: {reason}")

    def over(self) -> Fault:
        """The deadline of a call had come before the call."""
        return NodeTimedOut(f"Node {self._name} Was Not Asked: the time for that was over already")

    def no_turn(self, seconds: float) -> Fault:
        """The deadline of a call has come before its turn.

        @param seconds: that it has waited.
        """
        return NodeTimedOut(f"Node {self._name} Was Not Asked: the call waited {seconds:.3g} s for its turn")

    def unanswered(self, seconds: float) -> Fault:
        """The deadline of a call has come before the answer."""
        return no_reply(self._name, seconds)
