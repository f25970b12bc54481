"""The commands ``mod.*``: the memory of each family of commands, as Kamailio's kex module gives that of modules."""

import sys
import tracemalloc
from collections.abc import Callable
from os.path import dirname, join
from typing import Any, Final

from jsonrpcs_tx.rpc.binding import MISSING
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import command

_PACKAGE: Final = dirname(dirname(__file__))


class Mod:
    """
    @param families: returns the names of the families that are loaded.
    """

    def __init__(self, families: Callable[[], list[str]]) -> None:
        self._families = families

    @command(
        "mod.stats",
        changes=False,
        faults=[
            Fault(500, 'Module name or "all" needed'),
            Fault(500, '"pkg" or "shm" or "all" needed'),
            Fault(500, "Not Available"),
        ],
    )
    def stats(self, module: str | int | float = MISSING, kind: str | int | float = MISSING) -> list[Any]:
        """Lists the memory that a family of commands, core or all have allocated, by file and line, in bytes: pkg,
        shm (there is none) or all. Python counts it only if the server is started with PYTHONTRACEMALLOC=1.
        """
        if not isinstance(module, str):
            raise Fault(500, 'Module name or "all" needed')
        if not isinstance(kind, str):
            raise Fault(500, '"pkg" or "shm" or "all" needed')
        everything = module.lower() == "all"
        counts_pkg = kind.lower() in ("pkg", "all")
        lines = _lines() if counts_pkg else []
        listed: list[Any] = []
        for name in dict.fromkeys([*self._families(), "core"]) if everything else [module]:
            listed.append(f"Module: {name}")
            if counts_pkg:
                listed.append(_allocated(name, lines))
            if kind.lower() in ("shm", "all"):
                listed.append({"Total": 0})
            listed.append("")
        return listed


def _lines() -> list[tracemalloc.Statistic]:
    """What each line of Python has allocated. This takes a second for a million objects, so it is done once a call."""
    if not tracemalloc.is_tracing():
        raise Fault(500, "Not Available: start the server with PYTHONTRACEMALLOC=1 to count memory by module")
    return tracemalloc.take_snapshot().statistics("lineno")


def _allocated(name: str, lines: list[tracemalloc.Statistic]) -> dict[str, int]:
    """What the module of a family has allocated; of C{core}, the package."""
    path = join(_PACKAGE, "") if name == "core" else join(_PACKAGE, "commands", f"{name}.py")
    module = sys.modules.get(name)
    if module is not None and not name.startswith("jsonrpcs_tx"):
        path = getattr(module, "__file__", None) or path
    shown: dict[str, int] = {}
    for line in lines:
        frame = line.traceback[0]
        if frame.filename == path or (name == "core" and frame.filename.startswith(path)):
            shown[f"{frame.filename.rpartition('/')[2]}({frame.lineno})"] = line.size
    return {**shown, "Total": sum(shown.values())}
