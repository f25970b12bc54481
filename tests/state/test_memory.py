"""The memory of a process: what large replies leave behind."""

import subprocess
import sys

import pytest

from tests.support import environment

_USE = """
import sys
from jsonrpcs_tx.state.memory import give_back_large_blocks, memory
if sys.argv[1] == "given back":
    give_back_large_blocks()
for size in range(2, 17):
    b"x" * (size << 20)  # glibc keeps blocks up to this size from now on
before = memory().real_used
blocks = []
pins = []
for _ in range(20):
    blocks.append(b"x" * (4 << 20))
    pins.append(b"y" * 100_000)  # it stands behind the block in the heap
del blocks
print(memory().real_used - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["given back", "kept"])
def test_large_blocks(how: str) -> None:
    """Large blocks are given back to the system when they are free, which the C library by itself does not do."""
    done = subprocess.run([sys.executable, "-c", _USE, how], env=environment(), capture_output=True, text=True)
    left = int(done.stdout)
    assert (left < 20_000_000) == (how == "given back"), (left, done.stderr)


_LOADED = """
import gc
from jsonrpcs_tx.state.memory import YOUNG_OBJECTS, loading
with loading():
    assert not gc.isenabled()
    kept = [[] for _ in range(10_000)]
assert gc.isenabled()
assert gc.get_freeze_count() > 10_000
assert gc.get_threshold()[0] == YOUNG_OBJECTS
gc.disable()
try:
    with loading():
        raise ValueError
except ValueError:
    assert not gc.isenabled()
"""


def test_loading() -> None:
    """The garbage collector waits while a program loads, and leaves what was loaded alone; it is on only if it was."""
    subprocess.run([sys.executable, "-c", _LOADED], check=True)  # since it counts for a whole process
