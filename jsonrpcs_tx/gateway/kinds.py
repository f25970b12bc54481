"""Whether a method changes something, and with which others it must take turns, according to the catalogue."""

from functools import lru_cache
from typing import Final

from jsonrpcs_tx.catalogue import READ, SHARED, find

MAX_NAME: Final = 128
"""Characters of the longest name that is remembered: callers choose the names. Kamailio's are all shorter."""


class Kind:
    """What is known about a method.

    @ivar reads: whether it changes nothing. A method that is not in the catalogue may change something.
    @ivar module: the module whose state it changes: Kamailio's module that has it, or the name before the first dot.
    @ivar shared: whether one run serves all who wait for it: the catalogue says so, or the method is not in the
        catalogue and has C{.reload} in its name.
    @ivar interval: whether its module may refuse it for some seconds after another of its commands.
    @ivar delta: whether the server may refuse it for some seconds after the same command.
    """

    __slots__ = ("delta", "interval", "module", "reads", "shared")
    reads: bool
    interval: bool
    delta: bool

    def __init__(self, method: str) -> None:
        """@param method: its name."""
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
    """What is known about a method."""
    return _remembered(method) if len(method) <= MAX_NAME else Kind(method)
