"""What processes use, from C{/proc} (proc(5))."""

import os
import resource
from contextlib import suppress
from functools import cache
from typing import Final

import attrs

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = resource.getpagesize()


@attrs.frozen
class Usage:
    """What a process uses.

    @ivar cpu_seconds: user and system time.
    @ivar virtual_bytes: virtual memory.
    @ivar resident_bytes: memory in use.
    @ivar started: when it was started, in seconds since 1970.
    """

    cpu_seconds: float
    virtual_bytes: int
    resident_bytes: int
    started: float


def usage(pid: int) -> Usage | None:
    """What a process of the same user uses; None if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()  # the name of the program, before it, may contain anything
        user, system, started = int(fields[11]), int(fields[12]), int(fields[19])
        virtual, resident = int(fields[20]), int(fields[21])
        return Usage((user + system) / _TICKS, virtual, resident * _PAGE, _boot_time() + started / _TICKS)
    return None


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1  # one belongs to the directory itself


def most_descriptors() -> int:
    """How many descriptors this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@cache
def _boot_time() -> int:
    with open("/proc/stat", "rb") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
