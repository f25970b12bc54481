"""Patterns of names, as in rules."""

import re
from functools import lru_cache


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of some patterns matches a name. In a pattern, C{*} stands for any number of characters."""
    return _compiled(patterns).fullmatch(name) is not None


@lru_cache(1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """An expression that matches what one of some patterns matches, in time linear in the length of a name.

    Text between two stars is matched where it comes first, and the match never goes back.
    """
    expressions = []
    for pattern in patterns:
        first, *between = map(re.escape, pattern.split("*"))
        last = ".*" + between.pop() if between else ""
        expressions.append(first + "".join(f"(?>.*?{part})" for part in between if part) + last)
    return re.compile("|".join(expressions) if patterns else "(?!)", re.DOTALL)
