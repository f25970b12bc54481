"""How results are printed: in the form that was asked for.

Whatever a server sends, nothing but printable characters gets to a terminal.
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
    """Makes lines of a result, with the end of the last one."""


def heading(name: str, arguments: "Arguments") -> None:
    """Print which of several servers the next lines are of."""
    title = f"# {printable(name)}"
    is_painted = not (arguments.yaml or arguments.format) and colours(sys.stdout)
    sys.stdout.write(f"{BOLD}{title}{END}\n" if is_painted else f"{title}\n")


def writer(arguments: "Arguments") -> "Writer":
    """How results are to be printed.

    @raise UsageError: in several ways at once, or the format cannot be followed.
    """
    chosen = [name for name in ("json", "yaml", "raw", "format") if getattr(arguments, name) not in (False, None)]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]}: only one of them can be followed")
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
    """Write a reply as it came; to a terminal without what is not printable."""
    if sys.stdout.isatty():
        for line in reply.decode(errors="backslashreplace").split("\n"):
            sys.stdout.write(f"{printable(line.expandtabs())}\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(reply)
