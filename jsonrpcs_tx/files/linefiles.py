"""Files of settings with an entry on each line; empty lines, and lines that start with C{#}, are skipped."""

from typing import Final

from jsonrpcs_tx.errors import NotAllowed, StartError
from jsonrpcs_tx.files.safefiles import open_regular, weak_place
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

MAX_SIZE: Final = 1_048_576
"""Bytes of the largest file."""


def read_lines(setting: str, path: str) -> list[tuple[int, bytes]]:
    """Read a file. The log has a warning if others could replace it.

    @param setting: that names it.
    @return: the lines that have something in them, each with its number.
    @raise StartError: of the setting: the file cannot be read, or is too large.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_SIZE + 1)
        weakness = weak_place(path)
    except OSError as error:
        raise StartError(setting, path, error.strerror, "a file that can be read") from None
    except NotAllowed as error:
        raise StartError(setting, path, error.reason, error.allowed) from None
    if len(data) > MAX_SIZE:
        raise StartError(setting, path, "it is too large", f"a file of up to {MAX_SIZE} bytes")
    if weakness is not None:
        _log.warn("others could replace {path}: {weakness}", path=path, weakness=weakness)
    lines = enumerate(data.splitlines(), 1)
    return [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith(b"#")]
