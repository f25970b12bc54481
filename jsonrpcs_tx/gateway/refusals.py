"""The faults for calls that waited in vain: whether the node was asked, and if not, why."""

from typing import Final

from jsonrpcs_tx.gateway.faults import no_reply, not_asked, too_late
from jsonrpcs_tx.rpc.faults import NodeFault

CLOSED: Final = "it has been removed, or this server is stopping"
"""Why a node is no longer asked."""


class Refusals:
    """The faults of calls to one node.

    @param name: of the node.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def not_asked(self, reason: str) -> NodeFault:
        """The node is not available, or cannot take this call."""
        return not_asked(self._name, f"Was Not Asked: {reason}")

    def over(self) -> NodeFault:
        """The deadline of a call had passed when it came."""
        return too_late(self._name, "the deadline had already passed")

    def no_turn(self, seconds: float) -> NodeFault:
        """The deadline of a call has passed before its turn.

        @param seconds: how long it has waited.
        """
        return too_late(self._name, f"the call waited {seconds:.3g} s for its turn")

    def unanswered(self, seconds: float) -> NodeFault:
        """The deadline of a call has passed before the answer."""
        return no_reply(self._name, seconds)
