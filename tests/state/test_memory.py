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
