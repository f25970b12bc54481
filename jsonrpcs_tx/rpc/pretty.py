"""Kamailio's layout of JSON for people (its setting ``pretty_format`` 1), made from compact JSON.

Each member of an object stands on a line of its own, indented with tabs and with a tab after the colon; the values of
an array stand on one line. kamctl reads that layout with grep and awk.
"""

import re
from typing import Final

MAX_LENGTH: Final = 350_000
"""Bytes of the longest document that is laid out, which takes up to 50 ms."""

_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*"|[\[\]{},:]|[^\[\]{},:"]+')


def layout(compact_json: bytes, in_array: bool = False) -> bytes:
    """Lay out a document; one longer than L{MAX_LENGTH} stays compact.

    @param compact_json: valid JSON without blanks between its tokens.
    @param in_array: it is a value of an array, for L{layout_array}.
    """
    if len(compact_json) > MAX_LENGTH:
        return compact_json
    out: list[bytes] = []
    inside: list[bool] = [False] if in_array else []  # of each open bracket, whether it is an object's
    opened = False
    for token in _TOKEN.findall(compact_json):
        if opened and token != b"}":
            out.append(b"\t" * len(inside))
        opened = token == b"{"
        if opened:
            out.append(b"{\n")
            inside.append(True)
        elif token == b"[":
            out.append(token)
            inside.append(False)
        elif token == b"}":
            inside.pop()
            if out[-1] != b"{\n":
                out.append(b"\n")
            out.append(b"\t" * len(inside) + token)
        elif token == b"]":
            inside.pop()
            out.append(token)
        elif token == b",":
            out.append(b",\n" + b"\t" * len(inside) if inside[-1] else b", ")
        elif token == b":":
            out.append(b":\t")
        else:
            out.append(token)
    return b"".join(out)


def layout_array(values: list[bytes]) -> bytes:
    """Lay out an array of values that L{layout} has laid out."""
    return b"[" + b", ".join(values) + b"]"
