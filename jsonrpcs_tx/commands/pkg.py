"""The commands ``pkg.*``: the memory of each process, as Kamailio's kex module gives it."""

import platform
from collections.abc import Callable
from typing import Any

from jsonrpcs_tx.rpc.binding import MISSING
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.memory import memory


class Pkg:
    """
    @param processes: returns the processes of the server, with what each does.
    """

    def __init__(self, processes: Callable[[], list[tuple[int, str]]]) -> None:
        self._processes = processes

    @command("pkg.info", changes=False)
    def info(self) -> dict[str, Any]:
        """Returns what manages the memory of the processes, and how much memory there is in bytes."""
        return memory_manager()

    @command(
        "pkg.stats",
        changes=False,
        faults=[
            Fault(500, "Invalid filter type"),
            Fault(500, "One more parameter expected"),
            Fault(500, "No such pid"),
        ],
    )
    def stats(self, selector: str = MISSING, value: int = MISSING) -> list[dict[str, Any]]:
        """Lists the memory of the processes, in bytes; of one by pid, index or rank."""
        shown = [_process(index, pid, what) for index, (pid, what) in enumerate(self._processes())]
        if selector is MISSING:
            return shown
        key = {"pid": "pid", "index": "entry", "rank": "rank"}.get(selector.lower())
        if key is None:
            raise Fault(500, "Invalid filter type")
        if value is MISSING:
            raise Fault(500, "One more parameter expected")
        found = [process for process in shown if process[key] == value]
        if key == "pid" and not found:
            raise Fault(500, "No such pid")
        return found


def memory_manager() -> dict[str, Any]:
    """The C library, which manages the memory, and the machine's memory in bytes."""
    return {"name": platform.libc_ver()[0] or "malloc", "size": memory().total}


def _process(index: int, pid: int, what: str) -> dict[str, Any]:
    used = memory(pid)
    return {
        "entry": index,
        "pid": pid,
        "rank": index,
        "used": used.used,
        "free": used.free,
        "real_used": used.real_used,
        "total_size": used.total,
        "total_frags": used.fragments,
        "desc": what,
    }
