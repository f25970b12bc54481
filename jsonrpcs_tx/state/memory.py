"""The memory of this process, in the terms that Kamailio uses for its own."""

import os
import resource

import attrs


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


def memory() -> Memory:
    """The current use of memory, from C{/proc}."""
    page = resource.getpagesize()
    with open("/proc/self/statm", "rb") as file:
        resident, shared = (int(field) * page for field in file.read().split()[1:3])
    with open("/proc/self/maps", "rb") as file:
        mappings = sum(1 for _ in file)
    total = os.sysconf("SC_PHYS_PAGES") * page
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Memory(
        total=total,
        free=total - resident,
        used=resident - shared,
        real_used=resident,
        max_used=max(most, resident),  # the kernel notes the most only now and then
        fragments=mappings,
    )
