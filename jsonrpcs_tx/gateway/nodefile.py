"""Reads nodes from a file: one on each line, see L{jsonrpcs_tx.files.linefiles}."""

from collections.abc import Callable

from jsonrpcs_tx.config.problems import FIRST, Problems
from jsonrpcs_tx.errors import NotAllowed, StartError
from jsonrpcs_tx.files.linefiles import read_lines
from jsonrpcs_tx.gateway.definitions import ALLOWED, Definition, read_definition


def read_node_file(
    path: str, absolute: Callable[[str], str], problems: Problems = FIRST
) -> list[tuple[Definition, int]]:
    """Read a file of nodes.

    @param absolute: makes a relative path absolute.
    @param problems: takes the errors in lines.
    @return: the nodes, each with the number of its line.
    @raise StartError: the file cannot be read, or a line is not a node; the error names C{node_file} and the line.
    """
    found = []
    for number, line in read_lines("node_file", path):
        try:
            found.append((read_definition(line.decode(), absolute), number))
        except UnicodeDecodeError:
            problems.note(StartError("node_file", path, "it is not UTF-8", ALLOWED, number))
        except NotAllowed as error:
            problems.note(StartError("node_file", path, error.reason, error.allowed, number))
    return found
