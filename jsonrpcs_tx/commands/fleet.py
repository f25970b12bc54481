"""The commands ``fleet.*``: the nodes of the fleet that this server is in, and what they share."""

import time
from typing import Any

from twisted.internet.defer import Deferred

from jsonrpcs_tx.commands.gateway import CALL_FAULTS
from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.gateway.gateway import Gateway
from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command


class FleetCommands:
    """
    @param fleet: the node.
    @param gateway: calls the others.
    """

    def __init__(self, fleet: Fleet, gateway: Gateway) -> None:
        self._fleet = fleet
        self._gateway = gateway

    @command("fleet.nodes", changes=False, faults=[Fault(404, "Node Not Found")])
    def nodes(self, name: str = "") -> list[dict[str, Any]]:
        """Lists the nodes that are there, all or one: where each is called, its groups, version and start."""
        cards = self._fleet.cards
        if name and name not in cards:
            raise Fault(404, "Node Not Found")
        return [
            {
                "name": card.name,
                "address": card.address,
                "groups": card.groups,
                "version": card.version,
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(card.started)),
                "shares": card.shares,
                "this": card.name == self._fleet.node,
            }
            for card in ([cards[name]] if name else cards.values())
        ]

    @command("fleet.status", changes=False)
    def status(self) -> dict[str, Any]:
        """Returns how this node is with the others: whether together, its last entry, lag and queue."""
        return self._fleet.status()

    @command(
        "fleet.call",
        changes=False,
        faults=CALL_FAULTS,
    )
    def call(self, call: Call, node: str, method: str, *params: object) -> Deferred[Any]:
        """Calls a command of a node, or of many nodes at once: a group or *."""
        return self._gateway.call(call, node, method, params)
