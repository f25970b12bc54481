"""Prints results in the form that the options select.

Whatever a server sends, only printable characters reach a terminal.
"""

import sys

from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.cli.terminal import BOLD, END, colours
from jsonrpcs_tx.printable import printable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from jsonrpcs_tx.cli.parser import Arguments

    Writer: TypeAlias = Callable[[object], str]
    """Returns the lines of a result, including the end of the last one."""


def heading(name: str, arguments: "Arguments") -> None:
    """Print the name of the server that the next lines are from."""
    title = f"# {printable(name)}"
    is_painted = not (arguments.yaml or arguments.format) and colours(sys.stdout)
    sys.stdout.write(f"{BOLD}{title}{END}\n" if is_painted else f"{title}\n")


def writer(arguments: "Arguments") -> "Writer":
    """A function that formats results as the options say.

    @raise UsageError: several of the options are given, or the format is wrong.
    """
    chosen = [name for name in ("json", "yaml", "raw", "format") if getattr(arguments, name) not in (False, None)]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]}: only one of them is allowed")
    if not chosen:
        from jsonrpcs_tx.cli.people import People

        return People(colours(sys.stdout)).text
    if chosen == ["format"]:
        from jsonrpcs_tx.cli.formats import formatter

        assert arguments.format is not None
        return formatter(arguments.format)
    if chosen == ["yaml"]:
        from jsonrpcs_tx.cli import yaml

        return yaml.text
    from jsonrpcs_tx.cli.jsonlines import json_line

    return json_line


def write_raw(reply: bytes) -> None:
    """Write a reply unchanged; to a terminal, only its printable characters."""
    if sys.stdout.isatty():
        for line in reply.decode(errors="backslashreplace").split("\n"):
            sys.stdout.write(f"{printable(line.expandtabs())}\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(reply)
