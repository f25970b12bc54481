"""The commands ``shm.*``: the memory of the machine and this process, in the words of Kamailio's kex module."""

from typing import Any

import attrs

from jsonrpcs_tx.commands.pkg import memory_manager
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.memory import memory


class Shm:
    @command("shm.info", changes=False)
    def info(self) -> dict[str, Any]:
        """Returns what manages the memory, and how much memory there is in bytes."""
        return memory_manager()

    @command("shm.stats", changes=False)
    def stats(self) -> dict[str, int]:
        """Returns the memory of the machine and of this process, in bytes."""
        return attrs.asdict(memory())
