"""Patterns of names and values, as rules have them."""

import re
from collections.abc import Sequence
from functools import lru_cache


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of some patterns matches a name. In a pattern, C{*} stands for any number of characters."""
    return _compiled(patterns).fullmatch(name) is not None


def compiled(parts: Sequence[str]) -> re.Pattern[str]:
    """An expression for what a pattern matches (C{fullmatch}).

    @param parts: the texts of the pattern, between which there may be any characters, or none.
    """
    return re.compile(_expression(parts), re.DOTALL)


@lru_cache(1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """An expression that matches what one of some patterns matches."""
    expressions = [_expression(pattern.split("*")) for pattern in patterns]
    return re.compile("|".join(expressions) if patterns else "(?!)", re.DOTALL)


def _expression(parts: Sequence[str]) -> str:
    """An expression that takes time linear in the length of a name: a text between two stars is matched where it comes
    first, and the match never goes back.
    """
    first, *between = map(re.escape, parts)
    last = ".*" + between.pop() if between else ""
    return first + "".join(f"(?>.*?{part})" for part in between if part) + last
