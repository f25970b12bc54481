"""Nodes from a file: one on each line; empty lines, and lines that start with C{#}, are skipped."""

from collections.abc import Callable
from typing import Final

from jsonrpcs_tx.errors import NotAllowed, StartError
from jsonrpcs_tx.gateway.definitions import ALLOWED, Definition, read_definition
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.problems import FIRST, Problems
from jsonrpcs_tx.safefiles import open_regular, weak_place

_log = make_logger(__name__)

MAX_SIZE: Final = 1_048_576
"""Bytes of the largest file."""


def read_node_file(
    path: str, absolute: Callable[[str], str], problems: Problems = FIRST
) -> list[tuple[Definition, int]]:
    """Read a file of nodes.

    @param absolute: makes a path of one that may be relative.
    @param problems: takes the errors in lines.
    @return: the nodes, each with the number of its line.
    @raise StartError: of the setting C{node_file}: the file cannot be read, or a line is not a node; it says which.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_SIZE + 1)
        weakness = weak_place(path)
    except OSError as error:
        raise StartError("node_file", path, error.strerror, "a file that can be read") from None
    except NotAllowed as error:
        raise StartError("node_file", path, error.reason, error.allowed) from None
    if len(data) > MAX_SIZE:
        raise StartError("node_file", path, "it is too large", f"a file of up to {MAX_SIZE} bytes")
    if weakness is not None:
        _log.warn("others could replace {path}: {weakness}", path=path, weakness=weakness)
    found = []
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(b"#"):
            try:
                found.append((read_definition(line.decode(), absolute), number))
            except UnicodeDecodeError:
                problems.note(StartError("node_file", path, "it is not UTF-8", ALLOWED, number))
            except NotAllowed as error:
                problems.note(StartError("node_file", path, error.reason, error.allowed, number))
    return found
