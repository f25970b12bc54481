"""Kamailio's layout of JSON for people (its setting ``pretty_format`` 1), made from compact JSON.

Each member of an object stands on a line of its own, indented with tabs and with a tab after the colon. Since version
6 the same goes for the elements of an array; before, they stood on one line, which is the layout that kamctl reads with
grep and awk.
"""

import re
from itertools import islice
from typing import Final

MAX_LENGTH: Final = 350_000
"""Bytes of the longest document that is laid out."""

MAX_TOKENS: Final = 80_000
"""Tokens that it may have: brackets, commas, colons and values. As many take up to 50 ms; of a long document of short
values alone there are several times more.
"""

MAX_INDENT: Final = 4 * 1024 * 1024
"""Tabs that a document may take. Nested deeply, a small one would take hundreds of times its size."""

_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*"|[\[\]{},:]|[^\[\]{},:"]+')


class Layout:
    """How documents are laid out.

    @param elements_on_lines: each element of an array is on a line of its own, else all are on one.
    """

    def __init__(self, elements_on_lines: bool) -> None:
        self._elements_on_lines = elements_on_lines

    def document(self, compact_json: bytes) -> bytes:
        """Lay out a document; one that exceeds L{MAX_LENGTH}, L{MAX_TOKENS} or L{MAX_INDENT} stays compact.

        @param compact_json: valid JSON without blanks between its tokens.
        """
        return self._lay_out(compact_json, [])

    def element(self, compact_json: bytes) -> bytes:
        """Lay out a value for L{array}, see L{document}."""
        return self._lay_out(compact_json, [self._elements_on_lines])

    def array(self, elements: list[bytes]) -> bytes:
        """Lay out an array of values that L{element} has laid out."""
        if self._elements_on_lines:
            return b"[\n\t" + b",\n\t".join(elements) + b"\n]"
        return b"[" + b", ".join(elements) + b"]"

    def _lay_out(self, compact_json: bytes, lines: list[bool]) -> bytes:
        """@param lines: of each open bracket, whether what is in it stands on lines of its own."""
        if len(compact_json) > MAX_LENGTH or _has_too_many_tokens(compact_json):
            return compact_json
        out: list[bytes] = []
        opened = False  # the token before was a bracket that begins a line
        indent = 0
        for token in _TOKEN.findall(compact_json):
            if token in b"]},":  # each tab follows one of them, or a bracket that one of them closes
                indent += len(lines)
                if indent > MAX_INDENT:
                    return compact_json
            if token in b"]}":
                if lines.pop():
                    if not opened:
                        out.append(b"\n")
                    out.append(b"\t" * len(lines))
                out.append(token)
                opened = False
                continue
            if opened:
                out.append(b"\t" * len(lines))
                opened = False
            out.append(token)
            if token in b"{[":
                opened = token == b"{" or self._elements_on_lines
                lines.append(opened)
                if opened:
                    out.append(b"\n")
            elif token == b",":
                out.append(b"\n" + b"\t" * len(lines) if lines[-1] else b" ")
            elif token == b":":
                out.append(b"\t")
        return b"".join(out)


def _has_too_many_tokens(compact_json: bytes) -> bool:
    """Whether a document has more than L{MAX_TOKENS}. Of most that is known without finding them: each character that
    is counted stands for two, itself and a value, or the bracket that closes it.
    """
    if 2 * sum(map(compact_json.count, (b",", b":", b"[", b"{"))) < MAX_TOKENS:
        return False
    return next(islice(_TOKEN.finditer(compact_json), MAX_TOKENS, None), None) is not None
