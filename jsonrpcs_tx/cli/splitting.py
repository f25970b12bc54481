"""Splits unfinished lines, in which a quote may still be open, into words. No I/O."""

_BLANKS = " \t\n"


class Unfinished:
    """The words of a line up to the cursor, as a POSIX shell reads them.

    @ivar words: the words without their quotes; the last one, which is being typed, may be empty.
    @ivar last: the last one as it is in the line.
    @ivar quote: the open quote in it; empty if no quote is open.
    """

    def __init__(self, line: str) -> None:
        self.words: list[str] = []
        self.quote = ""
        word: list[str] = []
        start = at = 0
        while at < len(line):
            character = line[at]
            at += 1
            if character == self.quote:
                self.quote = ""
            elif character == "\\" and self.quote != "'":
                word.append(self._escaped(line[at : at + 1]))
                at += 1
            elif self.quote:
                word.append(character)
            elif character in "'\"":
                self.quote = character
            elif character in _BLANKS:
                if start < at - 1:
                    self.words.append("".join(word))
                word, start = [], at
            else:
                word.append(character)
        self.words.append("".join(word))
        self.last = line[start:]

    def _escaped(self, character: str) -> str:
        """What a backslash and a character stand for."""
        return f"\\{character}" if self.quote and character not in '"\\' else character
