"""Facts of this process that are given as statistics, in the groups in which Kamailio gives its own."""

from operator import attrgetter
from typing import TYPE_CHECKING

import attrs

from jsonrpcs_tx.log import throttle
from jsonrpcs_tx.memory import Memory, memory

if TYPE_CHECKING:
    from jsonrpcs_tx.service import JsonRpcService


def add_gauges(service: "JsonRpcService") -> None:
    """Add the groups C{shmem}, the memory, C{tcp}, the connections, and C{log} to the counters of a server."""
    gauge = service.counters.gauge
    for name in (field.name for field in attrs.fields(Memory)):
        shown, unit = (name, "number") if name == "fragments" else (f"{name}_size", "bytes")
        read = attrgetter(name)
        gauge("shmem", shown, f"{name} of core.shmmem, {unit}", lambda read=read: read(memory()))  # type: ignore[misc]
    gauge("log", "held_back", "warnings and errors that were not logged, as too many of one kind", _held_back)
    gauge("tcp", "current_opened_connections", "connections that are open", lambda: _sum(service, "opened"))
    gauge("tcp", "passive_open", "connections that were accepted", lambda: _sum(service, "accepted"))
    gauge("tcp", "local_reject", "connections that were closed when they came", lambda: _sum(service, "rejected"))
    gauge("tcp", "send_timeout", "clients that did not take a reply in time", lambda: _sum(service, "late"))
    gauge("tcp", "sendq_full", "clients cut off since too much waited for all", lambda: _sum(service, "unread.cut_off"))


def _held_back() -> int:
    return throttle.held_back


def _sum(service: "JsonRpcService", fact: str) -> int:
    """A fact of all listeners' connections taken together."""
    return sum(map(attrgetter(fact), (stream.connections for stream in service.streams())))
