"""Facts about this process as statistics, in the groups in which Kamailio has its own."""

from collections.abc import Callable, Iterable
from operator import attrgetter

import attrs

from jsonrpcs_tx.log import lost, throttle
from jsonrpcs_tx.state.counters import Counters
from jsonrpcs_tx.state.memory import Memory, memory


def add_gauges(counters: Counters, connections: Callable[[], Iterable[object]]) -> None:
    """Add the groups C{shmem}, the memory, C{tcp}, the connections, and C{log}.

    @param connections: returns the C{Connections} of each current listener (L{jsonrpcs_tx.transports}).
    """
    gauge = counters.gauge
    for name in (field.name for field in attrs.fields(Memory)):
        shown, unit = (name, "number") if name == "fragments" else (f"{name}_size", "bytes")
        read = attrgetter(name)
        gauge("shmem", shown, f"{name} of core.shmmem, {unit}", lambda read=read: read(memory()))  # type: ignore[misc]
    gauge("log", "held_back", "warnings and errors not logged, as there were too many of one kind", _held_back)
    gauge("log", "lost", "lines that could not be written to the log, for example because the disk is full", lost)
    for name, fact, help in (
        ("current_opened_connections", "opened", "connections that are open"),
        ("passive_open", "accepted", "connections that were accepted"),
        ("local_reject", "rejected", "connections that were closed on arrival"),
        ("send_timeout", "late", "clients that did not take a reply in time"),
        ("sendq_full", "unread.cut_off", "clients cut off because too much data was waiting for all of them"),
    ):
        read = attrgetter(fact)
        gauge("tcp", name, help, lambda read=read: sum(map(read, connections())))  # type: ignore[misc]


def _held_back() -> int:
    return throttle.held_back
