"""The result of a call of several nodes by a gateway: an object with the outcome of each node, by its name."""

from jsonrpcs_tx.client.core import NotReply, fault_of
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeGuard

    Outcomes = dict[str, dict[str, object]]


def are_outcomes(result: object) -> "TypeGuard[Outcomes]":
    """Whether a result is the outcomes of nodes."""
    return type(result) is dict and bool(result) and all(map(_is_outcome, result.values()))


def faults(result: object) -> dict[str, Fault]:
    """The faults among the outcomes of nodes, by node; empty: there are no faults, or it is another kind of result."""
    if not are_outcomes(result):
        return {}
    return {node: fault for node, outcome in result.items() if (fault := _fault(outcome)) is not None}


def any_result(result: object) -> object:
    """The result of the first node that has one, if a result is the outcomes of nodes; otherwise the result itself."""
    if not are_outcomes(result):
        return result
    return next((outcome["result"] for outcome in result.values() if "result" in outcome), None)


def _is_outcome(value: object) -> bool:
    return type(value) is dict and len(value) == 1 and ("result" in value or _fault(value) is not None)


def _fault(outcome: dict[str, object]) -> Fault | None:
    try:
        return fault_of(outcome.get("error"))
    except NotReply:
        return None
