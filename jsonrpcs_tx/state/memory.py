"""The memory of this process, in the terms that Kamailio uses for its own."""

import ctypes
import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import attrs

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Parameters of mallopt(3)."""

LARGE_BLOCK: Final = 1_048_576
"""Bytes from which a block is returned to the system as soon as it is freed."""


YOUNG_OBJECTS: Final = 10_000
"""Objects that are made, and stay, before the garbage collector looks for cycles among them. Python's own 700 are fewer
than some dozen asynchronous commands in progress have.
"""


def give_back_large_blocks() -> None:
    """Have the C library return the memory of large blocks to the system when they are freed.

    By default glibc keeps ever larger blocks in its heap once some were freed: after a few replies of megabytes the
    process would stay that large. This affects the whole process, so it is for programs, not for the library. With
    another C library nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE_BLOCK)  # by its default, 128 kB, each large datagram would cost two calls


@contextmanager
def loading() -> Iterator[None]:
    """Load a program that then runs for long, and spare Python's garbage collector what stays.

    It does not look for garbage while nearly everything is kept, nor ever again at what was loaded, and later it looks
    after L{YOUNG_OBJECTS}. Like L{give_back_large_blocks}, this is for programs.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        if collects:
            gc.enable()


@attrs.frozen
class Memory:
    """All in bytes except C{fragments}.

    @ivar total: of the machine.
    @ivar free: of the machine, except what this process has.
    @ivar used: what this process alone has in memory.
    @ivar real_used: what this process has in memory, with what it shares.
    @ivar max_used: the most that C{real_used} ever was.
    @ivar fragments: the number of mappings.
    """

    total: int
    free: int
    used: int
    real_used: int
    max_used: int
    fragments: int


def memory(pid: int | None = None) -> Memory:
    """The current use of memory, from C{/proc}.

    @param pid: of another process of the same user; for one that has ended, all but C{total} and C{free} are 0.
    """
    process = "self" if pid in (None, os.getpid()) else pid
    page = resource.getpagesize()
    resident = shared = mappings = 0
    with suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{process}/statm", "rb") as file:
            resident, shared = (int(field) * page for field in file.read().split()[1:3])
        with open(f"/proc/{process}/maps", "rb") as file:
            mappings = sum(1 for _ in file)
    total = os.sysconf("SC_PHYS_PAGES") * page
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if process == "self" else 0
    return Memory(
        total=total,
        free=total - resident,
        used=resident - shared,
        real_used=resident,
        max_used=max(most, resident),  # the kernel updates the maximum only now and then
        fragments=mappings,
    )
