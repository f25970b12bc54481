"""The standard streams, and the capabilities of a terminal."""

import os
import sys

from jsonrpcs_tx.cli.descriptions import PROGRAM
from jsonrpcs_tx.printable import printable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TextIO

BOLD, NAME, CHANGED, END = "\x1b[1m", "\x1b[36m", "\x1b[1;33m", "\x1b[0m"
"""The escape sequences for titles, names, and changed values, and to reset them."""


def prepare() -> None:
    """Prepare the standard streams: closed ones discard output, and characters that the terminal's encoding lacks are
    escaped.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 # for the life of the process
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr] # as the words of a command line
    for stream in (sys.stdout, sys.stderr):
        if stream.encoding.lower() != "utf-8" or stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # they are TextIOWrappers


def complain(error: object) -> None:
    """Print an error as one line on standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"{PROGRAM}: {printable(str(error))}\n")


def colours(stream: "TextIO") -> bool:
    """Whether output to a stream may have colours: it is a terminal that supports them, and C{NO_COLOR} is not set
    (U{https://no-color.org}).
    """
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
