"""What the targets share."""

import os
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any, Final

Target = Callable[[bytes], None]

CUT: Final = b"\xfe"
"""An input for a stream is cut at this byte, which never occurs in UTF-8; the byte is not part of the stream."""


@cache
def _scratch_file() -> Any:
    """A file of this process, which is removed when it ends; in memory if possible."""
    return tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None, prefix="fuzz")


def scratch(content: bytes) -> str:
    """The path of a file with this content; the path is the same each time."""
    path: str = _scratch_file().name
    with open(path, "wb") as file:
        file.write(content)
    return path


def check_message(error: Exception, start: str = "") -> None:
    """A message says where it is, and what is allowed or was probably meant."""
    assert str(error).startswith(start), error
    assert "allowed" in str(error) or "did you mean" in str(error), error
