"""Writes results as YAML 1.2: block style, with text in double quotes if it could be read as something else. No I/O."""

import re
from decimal import Decimal

from jsonrpcs_tx.client.documents import write

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*")
"""Text that needs no quotes, unless it is one of L{_WORDS}."""

_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
"""Words that YAML 1.1 or 1.2 does not read as text, in lower case."""

_EXPONENT = re.compile("[eE]")

_LONGEST_KEY = 128
"""Characters of the longest key without a question mark before it; YAML allows 1024 bytes."""

_MOST_INDENTED = 60
"""Most blanks before a line; deeper values are written on one line as JSON, which is YAML as well."""


def text(result: object) -> str:
    """A result as a YAML document, with the end of the last line."""
    lines: list[str] = []
    _add(lines, "", result)
    return "".join(f"{line}\n" for line in lines)


def _add(lines: list[str], indent: str, value: object) -> None:
    """Add the lines of a value to others."""
    if len(indent) > _MOST_INDENTED:
        lines.append(f"{indent}{_scalar(value) if isinstance(value, str) else ''.join(map(_escaped, write(value)))}")
    elif isinstance(value, dict) and value:
        for name, item in value.items():
            key = _scalar(name)
            mark = f"{indent}{key}:" if len(key) <= _LONGEST_KEY else f"{indent}? {key}\n{indent}:"
            if item and isinstance(item, dict | list):
                lines.append(mark)
                _add(lines, f"{indent}  ", item)
            else:
                lines.append(f"{mark} {_scalar(item)}")
    elif isinstance(value, list) and value:
        for item in value:
            at = len(lines)
            _add(lines, f"{indent}  ", item)
            lines[at] = f"{indent}- {lines[at][len(indent) + 2 :]}"
    else:
        lines.append(f"{indent}{_scalar(value)}")


def _scalar(value: object) -> str:
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if is_plain else "".join(map(_escaped, write(value)))
    written = write(value)
    if "." not in written and isinstance(value, float | Decimal):
        return _EXPONENT.sub(".0e", written)  # otherwise YAML 1.1 reads it as text
    return written


def _escaped(character: str) -> str:
    """A character in double quotes."""
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
