"""POSIX extended regular expressions as the C library has them, which is what Kamailio uses.

Python's own match otherwise (C{a|ab}, C{[[:digit:]]}), and can take forever. Linux only, as the package is.
"""

import ctypes
import re
from functools import lru_cache
from typing import Final

IGNORE_CASE: Final = 2
"""Flag: C{REG_ICASE}."""

NEWLINE: Final = 4
"""Flag: C{REG_NEWLINE}, lines are matched one by one."""

LONGEST_PATTERN: Final = 1000
"""Characters of a pattern."""

MOST_REPETITIONS: Final = 1000
"""The product of all C{{n,m}} of a pattern, which the C library unrolls."""

LONGEST_TEXT: Final = 8192
"""Characters of a text, and of all texts between two compilations: the C library may keep a state for each."""

_EXTENDED: Final = 1
_NOT_BEGINNING: Final = 1
_NO_MATCH: Final = 1
_GROUPS: Final = 10


class _Match(ctypes.Structure):
    _fields_ = (("start", ctypes.c_int), ("end", ctypes.c_int))


@lru_cache(1)
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.regcomp.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)
    library.regexec.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int)
    library.regfree.argtypes = (ctypes.c_void_p,)
    library.regfree.restype = None
    return library


class Pattern:
    """A compiled pattern, for one text after another.

    @param pattern: characters up to U+00FF stand for bytes.
    @param flags: L{IGNORE_CASE}, L{NEWLINE}.
    @raise ValueError: it is no regular expression, it is beyond a limit, or it refers back to a group, which can take
        forever. The message says which.
    """

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._pattern = pattern.encode("latin-1")
        self._flags = flags | _EXTENDED
        _check_limits(pattern)
        self._compiled = ctypes.create_string_buffer(256)  # regex_t takes 64 bytes at most
        self._left = -1
        self._compile()

    def _compile(self) -> None:
        if _library().regcomp(self._compiled, self._pattern, self._flags):
            raise ValueError("is not a POSIX extended regular expression")
        self._left = LONGEST_TEXT

    def _release(self) -> None:
        _library().regfree(self._compiled)
        self._left = -1

    def __del__(self) -> None:
        if self.__dict__.get("_left", -1) >= 0:
            self._release()

    def spans(self, text: str, at_beginning: bool = True) -> list[tuple[int, int]] | None:
        """Where the leftmost, longest match is: the span of the whole, then those of up to nine groups, (-1, -1) for
        one that took no part; None without a match.

        @param text: characters up to U+00FF stand for bytes.
        @param at_beginning: C{^} matches at the start of C{text}.
        @raise ValueError: the text is too long.
        """
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"is matched against a text of more than {LONGEST_TEXT:,} characters")
        self._left -= len(text)
        if self._left < 0:
            self._release()
            self._compile()
            self._left -= len(text)
        matches = (_Match * _GROUPS)()
        how = 0 if at_beginning else _NOT_BEGINNING
        found = _library().regexec(self._compiled, text.encode("latin-1"), _GROUPS, matches, how)
        if found:
            return None
        return [(one.start, one.end) for one in matches]


def _check_limits(pattern: str) -> None:
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"has more than {LONGEST_PATTERN:,} characters")
    if re.search(r"(?<!\\)(?:\\\\)*\\[1-9]", pattern):
        raise ValueError("refers back to a group")
    repetitions = 1
    for least, most in re.findall(r"\{([0-9]*)(?:,([0-9]*))?", pattern):
        repetitions *= max(int(least or 1), int(most or 1), 1)
    if repetitions > MOST_REPETITIONS:
        raise ValueError(f"repeats something more than {MOST_REPETITIONS:,} times")
