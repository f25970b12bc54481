"""Prints results in a format that the user gives, as with kamcmd's C{-f}. No I/O."""

import re

from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.client.documents import write
from jsonrpcs_tx.printable import printable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_PART = re.compile(r"%%v|%v|\\.", re.DOTALL)


def formatter(form: str) -> "Callable[[object], str]":
    r"""A function that formats a result. The format is repeated until all values are used.

    Each C{%v} in it stands for the next plain value, C{%%v} for C{%v}, C{\n} for a new line, C{\t} for a tab. Other
    escapes stay as they are.

    kamcmd works in the same way, but its values include the names and the braces of structures.

    @raise UsageError: the format has no C{%v}.
    """
    parts: list[str | None] = []  # None: a value
    at = 0
    for found in _PART.finditer(form):
        parts += [form[at : found.start()], _part(found[0])]
        at = found.end()
    parts.append(form[at:])
    if None not in parts:
        raise UsageError(f"--format: there is no %v in {form!r}; allowed: %v where a value goes")

    def text(result: object) -> str:
        values = plain_values(result)
        written: list[str] = []
        while values:
            for part in parts:
                written.append(part if part is not None else values.pop() if values else "")
        return "".join(written)

    return text


def plain_values(result: object) -> list[str]:
    """The plain values in a result as printable text, the last one first."""
    values: list[str] = []
    waiting = [result]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        else:
            values.append(printable(value) if isinstance(value, str) else write(value))
    return values


def _part(found: str) -> str | None:
    if found[0] == "%":
        return None if found == "%v" else "%v"
    return _ESCAPES.get(found[1], found)
