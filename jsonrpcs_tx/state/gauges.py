"""Facts of this process that are given as statistics, in the groups in which Kamailio gives its own."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Protocol

import attrs

from jsonrpcs_tx.state.counters import Counters
from jsonrpcs_tx.state.memory import Memory, memory


class Connections(Protocol):
    """The connections of one listener.

    @ivar opened: how many are open.
    @ivar accepted: how many there were.
    """

    accepted: int

    @property
    def opened(self) -> int: ...


def add_gauges(counters: Counters, listeners: Callable[[], Iterable[Connections]]) -> None:
    """Add the groups C{shmem}, the memory, and C{tcp}, the connections.

    @param listeners: gives the connections of each listener that there is now.
    """
    for name in (field.name for field in attrs.fields(Memory)):
        shown, unit = (name, "number") if name == "fragments" else (f"{name}_size", "bytes")
        read = attrgetter(name)
        counters.gauge("shmem", shown, f"{name} of core.shmmem, {unit}", lambda read=read: read(memory()))  # type: ignore[misc]
    for name, fact, help in (
        ("current_opened_connections", attrgetter("opened"), "connections that are open"),
        ("passive_open", attrgetter("accepted"), "connections that were accepted"),
    ):
        counters.gauge("tcp", name, help, lambda fact=fact: sum(map(fact, listeners())))  # type: ignore[misc]
