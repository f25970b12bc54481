"""The commands ``gateway.*``: the nodes behind this server, and calls of them."""

from typing import Any, Final

from twisted.internet.defer import Deferred

from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.gateway.faults import not_found
from jsonrpcs_tx.gateway.gateway import Gateway
from jsonrpcs_tx.gateway.nodeview import described
from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import command

CALL_FAULTS: Final = (
    Fault(404, "Node Not Found"),
    Fault(502, "Node Gave No Valid Reply"),
    Fault(503, "Node Is Down"),
    Fault(504, "Node Timed Out"),
)
"""How a call of a node may fail."""


class GatewayCommands:
    """
    @param gateway: has the nodes.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @command("gateway.nodes", changes=False, faults=[Fault(404, "Node Not Found")])
    def nodes(self, name: str = "") -> list[dict[str, Any]]:
        """Lists the nodes, all or one: where each is, whether it is up, and since when."""
        nodes = self._gateway.nodes
        if name and name not in nodes:
            raise not_found(name)
        return [described(node) for node in ([nodes[name]] if name else nodes.values())]

    @command("gateway.add")
    def add(self, node: str, *options: str) -> str:
        """Adds a node, in the syntax of the setting node, until the server stops."""
        try:
            name = self._gateway.add(" ".join((node, *options)))
        except NotAllowed as error:
            raise InvalidParams(str(error)) from None
        return f"Ok. Node {name} added."

    @command("gateway.remove", faults=[Fault(404, "Node Not Found")])
    def remove(self, name: str) -> str:
        """Removes a node; calls in progress end first."""
        try:
            self._gateway.remove(name)
        except KeyError:
            raise not_found(name) from None
        return f"Ok. Node {name} removed."

    @command(
        "gateway.call",
        changes=False,
        faults=CALL_FAULTS,
    )
    def call(self, call: Call, node: str, method: str, *params: object) -> Deferred[Any]:
        """Calls a command of a node, or of many nodes at once: a group or *."""
        return self._gateway.call(call, node, method, params)
