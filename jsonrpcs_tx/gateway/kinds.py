"""Which calls of a method change something, and with which others they need to take turns: by the catalogue."""

from functools import lru_cache
from typing import Final

from jsonrpcs_tx.catalogue import READ, SHARED, find

MAX_NAME: Final = 128
"""Characters of a name that is remembered. No command of Kamailio's has so many; whoever calls chooses the names."""


class Kind:
    """What is known of a method.

    @ivar reads: it changes nothing. A method that is not in the catalogue may change something.
    @ivar module: whose state it changes: the module of Kamailio's that has it, or what stands before the first dot.
    @ivar shared: one run does for all who wait for it: the catalogue says so, or it is not in the catalogue and has
        C{.reload} in its name.
    @ivar interval: its module may refuse it for some seconds after another one.
    @ivar delta: the server may, for some seconds after the same one.
    """

    __slots__ = ("delta", "interval", "module", "reads", "shared")

    def __init__(self, method: str) -> None:
        """@param method: Its name."""
        entry = find(method) if len(method) <= MAX_NAME else None
        if entry is None:
            self.reads = self.interval = self.delta = False
            self.module: str = method.partition(".")[0]
            self.shared: bool = ".reload" in method
        else:
            self.reads = entry.effect == READ
            self.module = entry.modules[0]
            self.shared = entry.runs == SHARED
            self.interval = entry.interval
            self.delta = entry.delta


_remembered = lru_cache(1024)(Kind)


def kind_of(method: str) -> Kind:
    """What is known of a method."""
    return _remembered(method) if len(method) <= MAX_NAME else Kind(method)
