"""Text that is safe to show, in a log or on a terminal."""


def printable(text: str) -> str:
    """A text in which everything that is not printable is escaped: C{\\x1b}, C{\\n}, C{\\u202e}, C{\\udcff}."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
