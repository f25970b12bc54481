"""The commands ``fleet.*``: the nodes of the fleet that this server is in, and what they share."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred

from jsonrpcs_tx.commands.gateway import CALL_FAULTS
from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.gateway.faults import not_found
from jsonrpcs_tx.gateway.gateway import Gateway
from jsonrpcs_tx.gateway.nodeview import utc
from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.rpc.replies import Reply

_NULL: Final = msgspec.Raw(b"null")


class _Of(msgspec.Struct):
    """What a server, or one of many, has answered.

    @ivar result: null for a fault; no counters are ever null.
    """

    result: msgspec.Raw = _NULL


_read_outcome: Final = msgspec.json.Decoder(_Of).decode
_read_outcomes: Final = msgspec.json.Decoder(dict[str, _Of]).decode
_read_counters: Final = msgspec.json.Decoder(dict[str, int]).decode


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
            raise not_found(name)
        return [
            {
                "name": card.name,
                "address": card.address,
                "groups": card.groups,
                "version": card.version,
                "started": utc(card.started),
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

    @command("fleet.counters", changes=False)
    async def counters(self, call: Call, *which: str) -> dict[str, Any]:
        """Adds counters up over the nodes of the fleet, as stats.fetchn returns them: all, those of a group (core:) or
        by name. Says how many of the nodes have answered, and which have not.
        """
        fleet = self._fleet
        here, there = self._gateway.call_here_and_there(call, fleet.node, "stats.fetchn", which or ("all",))
        own = await here
        found = {fleet.node: _counters(_result(own))}
        if there is not None:
            found |= {name: _counters(result) for name, result in _results(await there)}
        answered = [counters for counters in found.values() if counters is not None]
        if own.fault and not answered:
            raise Fault(own.code, own.text)
        sums: dict[str, int] = {}
        for counters in answered:
            for name, value in counters.items():
                sums[name] = sums.get(name, 0) + value
        names = fleet.cards.keys() | found.keys()
        missing = sorted(name for name in names if found.get(name) is None)
        return {"nodes": len(names), "answered": len(answered), "missing": missing, "counters": sums}


def _result(reply: Reply) -> msgspec.Raw:
    """The result in a reply."""
    return _read_outcome(reply.body).result if reply.body else _NULL


def _results(reply: Reply) -> Iterable[tuple[str, msgspec.Raw]]:
    """The results of many nodes."""
    result = _result(reply)
    return () if result == _NULL else ((name, one.result) for name, one in _read_outcomes(result).items())


def _counters(result: msgspec.Raw) -> dict[str, int] | None:
    """What C{stats.fetchn} has returned; None: a node has returned a fault, or something else."""
    try:
        return _read_counters(result)
    except msgspec.MsgspecError:
        return None
