"""A node as C{gateway.nodes} and the console show it."""

import time
from typing import Any

from jsonrpcs_tx.gateway.node import Node


def described(node: Node) -> dict[str, Any]:
    """Where a node is, whether it is up and since when, and what it has told of itself."""
    watch = node.watch
    shown: dict[str, Any] = {
        "name": node.name,
        "target": str(node.definition.target),
        "groups": list(node.definition.groups),
        "state": watch.state,
        "since": utc(watch.since),
        "reason": watch.reason,
        "version": watch.version,
        "uptime": watch.uptime,
        "restarts": watch.restarts,
        "restarted": None if watch.restarted is None else utc(watch.restarted),
        "under_way": node.under_way,
    }
    return shown | node.peers.told(node)


def utc(seconds: float) -> str:
    """A time in UTC, such as C{2026-02-03T04:05:06Z}."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
