"""The commands ``stats.*``: counters, as Kamailio's kex module gives them."""

from typing import Final

from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.counters import Counter, Counters, Gauge

_WHICH_EXPECTED: Final = Error(400, "Please provide which stats to retrieve")
_NAME_EXPECTED: Final = Error(400, "Please provide stats name")


class Stats:
    """Each parameter is C{all}, a group (C{core:}) or a name. Unknown ones are left out; a counter that several of
    them name appears once.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    @command("stats.get_statistics", usage=_WHICH_EXPECTED, changes=False)
    def get_statistics(self, first: str, *others: str) -> list[str]:
        """Lists counters: all, those of a group (core:) or by name, each as group:name = value."""
        return [_line(counter) for counter in self._counters.select(first, *others)]

    @command("stats.fetch", usage=_WHICH_EXPECTED, changes=False)
    def fetch(self, first: str, *others: str) -> dict[str, str]:
        """Returns counters by group.name, the values as strings."""
        return {name: str(value) for name, value in self.fetchn(first, *others).items()}

    @command("stats.fetchn", usage=_WHICH_EXPECTED, changes=False)
    def fetchn(self, first: str, *others: str) -> dict[str, int]:
        """Returns counters by group.name, the values as numbers."""
        return {f"{counter.group}.{counter.name}": counter.read() for counter in self._counters.select(first, *others)}

    @command("stats.reset_statistics", usage=_NAME_EXPECTED)
    def reset_statistics(self, first: str, *others: str) -> dict[str, str]:
        """Sets counters to 0."""
        for counter in self._counters.select(first, *others):
            counter.reset()
        return {}

    @command("stats.clear_statistics", usage=_NAME_EXPECTED)
    def clear_statistics(self, first: str, *others: str) -> str | dict[str, str]:
        """Sets counters to 0, and returns what the last of them was before."""
        line: str | dict[str, str] = {}
        for counter in self._counters.select(first, *others):
            line = _line(counter)
            counter.reset()
        return line


def _line(counter: Counter | Gauge) -> str:
    return f"{counter.group}:{counter.name} = {counter.read()}"
