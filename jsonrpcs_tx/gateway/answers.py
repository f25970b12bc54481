"""What a node has answered to a call."""

from jsonrpcs_tx.rpc.faults import Fault


class Answer:
    """The result of a call, or the fault, in the node's own bytes. One of C{result} and C{error} is set.

    @ivar result: the result, JSON as the node wrote it: numbers, the order of members and text stay what they were.
    @ivar error: the error object, in the same way.
    @ivar fault: what is in the error object.
    """

    __slots__ = ("error", "fault", "result")

    def __init__(self, result: bytes | None = None, error: bytes | None = None, fault: Fault | None = None) -> None:
        self.result = result
        self.error = error
        self.fault = fault
