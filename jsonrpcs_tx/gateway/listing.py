"""Which methods a node has, as it says itself."""

from typing import Final

import attrs
import msgspec
from twisted.internet.defer import Deferred

from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.callees import MAX_METHOD
from jsonrpcs_tx.gateway.faults import BAD_GATEWAY
from jsonrpcs_tx.gateway.node import Node
from jsonrpcs_tx.rpc.faults import Fault

LIST: Final = "system.listMethods"
"""The command that lists the methods of a server."""

TIMEOUT: Final = 10.0
"""Seconds that the answer may take, if the node has no limit of its own."""

MAX_SIZE: Final = 4 * 1024 * 1024
"""Bytes of the longest list."""

MAX_LISTED: Final = 20_000
"""Methods that a node may have: each becomes a hundred times as much in a description of them."""


@attrs.frozen
class Listing:
    """The methods of a node.

    @ivar name: the node's.
    @ivar names: that name, and those of its groups.
    @ivar version: what it calls its version; empty: it does not say.
    @ivar methods: their names, sorted, each once.
    """

    name: str
    names: frozenset[str]
    version: str
    methods: list[str]


def ask_listing(node: Node) -> Deferred[Listing]:
    """Ask a node for its methods. Those who ask meanwhile share the answer.

    @return: fires with them. Fails with L{Fault} if the node does not answer, or not with a list of names.
    """
    asked = node.call(LIST, b"", min(node.definition.timeout or TIMEOUT, TIMEOUT))
    return asked.addCallback(_read, node)


def _read(answer: Answer, node: Node) -> Listing:
    if answer.fault is not None:
        raise answer.fault
    assert answer.result is not None
    if len(answer.result) > MAX_SIZE:
        raise Fault(BAD_GATEWAY, f"Node {node.name} answers {LIST} with more than {MAX_SIZE} bytes")
    try:
        names = msgspec.json.decode(answer.result, type=list[str])
    except msgspec.MsgspecError:
        raise Fault(BAD_GATEWAY, f"Node {node.name} does not answer {LIST} with a list of names") from None
    if len(names) > MAX_LISTED:
        raise Fault(BAD_GATEWAY, f"Node {node.name} answers {LIST} with more than {MAX_LISTED} names")
    methods = sorted({name for name in names if 0 < len(name) <= MAX_METHOD})
    return Listing(node.name, node.names, node.watch.version, methods)
