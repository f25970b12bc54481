"""Commands for measuring growth: as many as the environment says, and one that picks a destination."""

import os
from typing import Any

from jsonrpcs_tx import command


class Many:
    """BENCH_COMMANDS commands, many.command0 and so on."""

    def __init__(self, service: Any) -> None:
        for number in range(int(os.environ["BENCH_COMMANDS"])):
            service.registry.add(_make(number))

    @command("many.none")
    def none(self) -> None:
        """Does nothing."""


def _make(number: int) -> Any:
    @command(f"many.command{number}")
    def many() -> int:
        """Returns its number."""
        return number

    return many


class Pick:
    """What a program does to pick a destination for each of its calls."""

    def __init__(self, service: Any) -> None:
        self._destinations = service.destinations

    @command("pick.destination")
    def destination(self, key: str) -> str:
        """Returns the destination for a key."""
        return str(self._destinations[1].by_hash(key).uri)
