"""What a worker counts, in memory that it shares with the main process."""

import mmap
import os
import struct
from collections.abc import Sequence

from jsonrpcs_tx.state.counters import Counter


def make(counters: Sequence[Counter]) -> int:
    """Make the memory.

    @return: its descriptor, to be handed to the worker, and then closed.
    """
    fd = os.memfd_create("jsonrpcs_tx", os.MFD_CLOEXEC)
    os.ftruncate(fd, len(counters) * 8)
    return fd


class SharedCounts:
    """The memory, as one of the two processes sees it.

    @param fd: a descriptor of the memory, which may be closed afterwards.
    @param counters: those of this process.
    """

    def __init__(self, fd: int, counters: Sequence[Counter]) -> None:
        self._format = struct.Struct(f"{len(counters)}q")
        self._memory = mmap.mmap(fd, self._format.size)
        self._counters = counters
        self._seen: tuple[int, ...] = (0,) * len(counters)

    def publish(self) -> None:
        """In the worker: show what it has counted."""
        self._format.pack_into(self._memory, 0, *[counter.value for counter in self._counters])

    def collect(self) -> None:
        """In the main process: add what the worker has counted since the last time."""
        now = self._format.unpack_from(self._memory)
        for counter, value, seen in zip(self._counters, now, self._seen, strict=True):
            counter.value += value - seen
        self._seen = now
