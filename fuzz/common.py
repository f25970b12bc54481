"""What the targets share."""

import os
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any, Final

Target = Callable[[bytes], None]

CUT: Final = b"\xfe"
"""Where an input for a stream has this byte, which UTF-8 never has, the stream is cut; it is not part of it."""


@cache
def _scratch_file() -> Any:
    """A file of this process, which goes when it ends; where that can be, in memory."""
    return tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None, prefix="fuzz")


def scratch(content: bytes) -> str:
    """The path of a file with a content, the same one each time."""
    path: str = _scratch_file().name
    with open(path, "wb") as file:
        file.write(content)
    return path


def check_message(error: Exception, start: str = "") -> None:
    """A message says where it is, and what is allowed or was probably meant."""
    assert str(error).startswith(start), error
    assert "allowed" in str(error) or "did you mean" in str(error), error
