"""What a worker counts, in memory that it shares with the main process."""

import mmap
import os
import struct
from collections.abc import Sequence

from jsonrpcs_tx.rpc.measures import TELLING, WIDTH, Row
from jsonrpcs_tx.state.counters import Counter


def make(counters: Sequence[Counter], rows: int) -> int:
    """Make the memory for some counters, and for so many rows of measures.

    @return: its descriptor, to be handed to the worker, and then closed.
    """
    fd = os.memfd_create("jsonrpcs_tx", os.MFD_CLOEXEC)
    os.ftruncate(fd, (len(counters) + rows * WIDTH) * 8)
    return fd


class SharedCounts:
    """The memory, as one of the two processes sees it.

    @param fd: a descriptor of the memory, which may be closed afterwards.
    @param counters: those of this process.
    @param rows: those of the main process, to which it adds what is measured in the worker; in the worker, as many.
    @ivar rows: the rows in the memory, in which the worker measures.
    """

    def __init__(self, fd: int, counters: Sequence[Counter], rows: Sequence[Row]) -> None:
        self._format = struct.Struct(f"{len(counters)}q")
        self._memory = mmap.mmap(fd, self._format.size + len(rows) * WIDTH * 8)
        cells = memoryview(self._memory).cast("q")[len(counters) :]
        self.rows: list[memoryview[int]] = [cells[place * WIDTH :][:WIDTH] for place in range(len(rows))]
        self._own_rows = [(own, shared, [0] * TELLING) for own, shared in zip(rows, self.rows, strict=True)]
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
        for own, shared, before in self._own_rows:
            cells = shared[:TELLING].tolist()
            if cells != before:
                for cell, (value, seen) in enumerate(zip(cells, before, strict=True)):
                    own[cell] += value - seen
                before[:] = cells
