"""The commands ``cnt.*``: counters, as Kamailio's counters module gives them."""

from typing import Final

from jsonrpcs_tx.rpc.binding import MISSING
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.counters import Counter, Counters, Gauge

_NO_COUNTER: Final = "non-existent counter"


class Cnt:
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    @command("cnt.list_groups", changes=False)
    @command("cnt.grps_list", changes=False)
    def list_groups(self) -> list[str]:
        """Lists the groups of counters."""
        return self._counters.groups()

    @command("cnt.list_vars", changes=False)
    @command("cnt.var_list", changes=False)
    def list_vars(self, group: str) -> list[str]:
        """Lists the counters of a group."""
        return [counter.name for counter in self._counters.group(group)]

    @command("cnt.get", changes=False, faults=[Fault(400, _NO_COUNTER)])
    def get(self, group: str, name: str = MISSING) -> int | dict[str, int]:
        """Returns a counter, or all of a group by name."""
        return self.get_vars(group) if name is MISSING else self._find(group, name).read()

    @command("cnt.get_raw", changes=False, faults=[Fault(400, _NO_COUNTER)])
    def get_raw(self, group: str, name: str) -> int:
        """Returns a counter as it is stored, which is the same number here."""
        return self._find(group, name).read()

    @command("cnt.get_vars", changes=False)
    @command("cnt.grp_get_all", changes=False)
    def get_vars(self, group: str) -> dict[str, int]:
        """Returns the counters of a group by name."""
        return {counter.name: counter.read() for counter in self._counters.group(group)}

    @command("cnt.reset", faults=[Fault(400, _NO_COUNTER)])
    def reset(self, group: str, name: str) -> dict[str, int]:
        """Sets a counter to 0."""
        self._find(group, name).reset()
        return {}

    @command("cnt.help", changes=False, faults=[Fault(400, _NO_COUNTER)])
    def help(self, group: str, name: str) -> str:
        """Returns what a counter counts."""
        return self._find(group, name).help or "(no description)"

    def _find(self, group: str, name: str) -> Counter | Gauge:
        counter = self._counters.get(group, name)
        if counter is None:
            raise Fault(400, f"{_NO_COUNTER} {group}.{name}")
        return counter
