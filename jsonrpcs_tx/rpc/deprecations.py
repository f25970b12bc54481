"""Logs who still calls deprecated commands, each caller once."""

from collections import OrderedDict
from typing import Final

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

MAX_CALLERS: Final = 1024
"""Size of the cache of callers and the commands that they called; the least recent caller is forgotten."""


class Deprecations:
    """Logs the callers of deprecated commands, each once for each command."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, Caller], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def tell(self, command: str, instead: str, caller: Caller) -> None:
        """Log a call, unless it is known.

        @param command: its name.
        @param instead: what to do in place of calling it.
        @param caller: who calls.
        """
        key = command, caller
        if key in self._known:
            self._known.move_to_end(key)
            return
        if len(self._known) >= MAX_CALLERS:
            self._known.popitem(last=False)
        self._known[key] = None
        _log.warn(
            "{caller} calls {command}, which is deprecated: {instead}", caller=caller, command=command, instead=instead
        )
