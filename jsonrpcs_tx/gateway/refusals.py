"""What a caller is told of a call that waits in vain: whether the node has been asked, and why not."""

from typing import Final

from jsonrpcs_tx.gateway.faults import no_reply, not_asked, too_late
from jsonrpcs_tx.rpc.faults import NodeFault

CLOSED: Final = "it has been removed, or this server is stopping"
"""Why a node is asked no more."""


class Refusals:
    """The faults of calls to one node.

    @param name: of the node.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def not_asked(self, reason: str) -> NodeFault:
        """The node is not there to be asked, or not for this call."""
        return not_asked(self._name, f"Was Not Asked: {reason}")

    def over(self) -> NodeFault:
        """The deadline of a call had come before the call."""
        return too_late(self._name, "the time for that was over already")

    def no_turn(self, seconds: float) -> NodeFault:
        """The deadline of a call has come before its turn.

        @param seconds: that it has waited.
        """
        return too_late(self._name, f"the call waited {seconds:.3g} s for its turn")

    def unanswered(self, seconds: float) -> NodeFault:
        """The deadline of a call has come before the answer."""
        return no_reply(self._name, seconds)
