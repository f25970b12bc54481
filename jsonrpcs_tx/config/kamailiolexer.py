"""The tokens of a kamailio.cfg, as Kamailio's lexer finds them once its preprocessor is done.

Everything is done while the text is read, in its order: a define holds for what follows it, also in included files, and
the value of a define is read again, and may hold defines, strings, comments and directives. Files are read by a
function that is handed in. Texts are bytes decoded as Latin-1, so that each character is a byte.
"""

import re
from collections.abc import Callable, Iterator

from jsonrpcs_tx.config.preprocessor import Preprocessor, Refused

MOST_INCLUDES = 10_000
MOST_INCLUDES_DEEP = 100

MOST_TEXT = 128 * 2**20
"""Bytes of all files, each counted as often as it is included."""

MOST_TOKENS = 10_000_000
"""Of those that are more than words, numbers and punctuation between statements."""

MOST_EXPANSIONS = 100_000
"""Times that a define is replaced by its value."""

MOST_EXPANDED = 2**28
"""Characters that are joined for that: the value, and the rest of the line that it is in."""

WORD = "word"
STRING = "string"
VARIABLE = "variable"
SIGN = "sign"
DIRECTIVE = "directive"

Token = tuple[str, str]
"""The kind of a token and its text: a word or number, the value of a string, a pseudo-variable, one character of
punctuation, or the name of a directive that takes a string (C{subst}, C{substdef}, C{substdefs})."""

_BLANK = r"[ \t\b\r]"
_SKIPPED = r"[^\w\"'#/$@{}!\\]+"
_TOKENS = (
    r"|(?P<word>\w+)"
    r"|(?P<string>\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"|'[^']*+')"
    r"|(?P<directive>[\#!]!\w+)"
    r"|(?P<comment>(?:\#|//)[^\n]*+)"
    r"|(?P<block>/\*)"
    r"|(?P<select>@[\w.\[\]]*)"
    r"|(?P<variable>\$\w*+\(?)"
    r"|(?P<unclosed>[\"'])"
    r"|(?P<sign>.)"
)
_FLAGS = re.ASCII | re.DOTALL
_SEEKING = re.compile(rf"(?P<skipped>{_SKIPPED}|\\\n){_TOKENS}", _FLAGS)
"""Between statements: runs of blanks and punctuation at once."""
_READING = re.compile(rf"(?P<skipped>(?:{_BLANK}|\n|\\\n)+){_TOKENS}", _FLAGS)
"""Within a statement."""

_PASSED = frozenset(("skipped", "comment", "select"))
_NEXT_STRING = re.compile(rf"(?:{_BLANK}|\n)*+(\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\")?+(\")?+", _FLAGS)
_STRING_ESCAPE = re.compile(r"\\(?:([nrat\"\\])|x([0-9a-fA-F]{1,2})|([0-7]{2,3})|(\n))", _FLAGS)
_ESCAPES = {"n": "\n", "r": "\r", "a": "\a", "t": "\t"}
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_PARENTHESIS = re.compile(r"[()]")
_CONDITION = re.compile(rf"[\#!]!(?:(ifdef|ifndef|ifexp){_BLANK}+|(else|endif){_BLANK}*\n)", _FLAGS)
_DEFINES = {
    "define": "define",
    "def": "define",
    "trydefine": "trydef",
    "trydef": "trydef",
    "redefine": "redefine",
    "redef": "redefine",
}
_EXPRESSIONS = {"defexp": False, "defexps": True}
_ENVIRONMENT = {
    "defenvs": (True, True),
    "defenv": (False, True),
    "trydefenvs": (True, False),
    "trydefenv": (False, False),
}
_SUBSTITUTIONS = ("substdefs", "substdef", "subst")
_INCLUDES = ("include_file", "import_file")
_DEFINED = re.compile(rf"{_BLANK}+([A-Za-z_]\w*)(-)?{_BLANK}*((?:[^\n](?:\\\n|[^\n])*+)?)", _FLAGS)
_CONDITION_NAME = re.compile(r"([A-Za-z_]\w*)(-)?[^\n]*", _FLAGS)
_ARGUMENT = re.compile(r"[ \t]*([^ \t\r\n]+)", _FLAGS)
_FILE_NAME = re.compile(r"[ \t\r\n]*([^ \t\r\n]+)", _FLAGS)
_EVENT = re.compile(r"\s*\[[^\]\n]*\]", _FLAGS)
_LONGEST_FILE_NAME = 126

Open = Callable[[str], bytes]
"""Reads a file; raises OSError, or Refused for one that is not to be read."""


class Location:
    """A line of a file.

    @ivar path: of the file, as it was opened.
    @ivar line: its number, counted from 1.
    """

    __slots__ = ("line", "path")

    def __init__(self, path: str, line: int) -> None:
        self.path: str = path
        self.line: int = line

    def __str__(self) -> str:
        return f"{self.path}: line {self.line}"


class _Source:
    """A file that is being read, and its position.

    The value of a define is read in place of its name: C{text} is then that value, followed by the rest of the line as
    it is in the file.

    @ivar whole: the text of the file.
    @ivar text: what is read.
    @ivar position: how far it has been read.
    @ivar inserted: characters at the start of C{text} that are not in the file.
    @ivar origin: the offset in the file of what follows them.
    @ivar active: the defines whose values are being read, each with the characters left in C{text} after it.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path: str = path
        self.whole = text
        self.text = text
        self.position = 0
        self.inserted = 0
        self.origin = 0
        self.active: list[tuple[str, int]] = []
        self._counted = 0
        self._line = 1

    def offset(self, position: int) -> int:
        """The offset in the file of a position in C{text}."""
        return self.origin + max(position - self.inserted, 0)

    def line(self, position: int) -> int:
        """The number of the line of a position in C{text}."""
        offset = self.offset(position)
        if offset < self._counted:
            return self.whole.count("\n", 0, offset) + 1
        self._line += self.whole.count("\n", self._counted, offset)
        self._counted = offset
        return self._line

    @property
    def spliced(self) -> bool:
        """Whether C{text} is not the whole file."""
        return self.text is not self.whole

    def insert(self, name: str, value: str, position: int) -> int:
        """Read the value of a define in place of what is before a position; return the length of the new text."""
        end = len(self.text) if self.spliced else self.text.find("\n", position) + 1 or len(self.text)
        origin, kept = self.offset(position), max(self.inserted - position, 0)
        rest = self.text[position:end]
        self.active = [one for one in self.active if one[1] < len(self.text) - self.position] if self.spliced else []
        self.active.append((name, len(rest)))
        self.text = value + rest
        self.position = 0
        self.inserted = len(value) + kept
        self.origin = origin
        return len(self.text)

    def is_active(self, name: str, position: int) -> bool:
        """Whether a position is in the value of a define."""
        left = len(self.text) - position
        return any(name == active and rest < left for active, rest in self.active)

    def extend(self) -> bool:
        """Append more lines of the file to C{text}, at least doubling it; return False at the end of the file."""
        if not self.spliced:
            return False
        end = self.offset(len(self.text))
        more = self.whole[end : self.whole.find("\n", end + len(self.text)) + 1 or None]
        if not more:
            return False
        self.text += more
        self.active = [(name, rest + len(more)) for name, rest in self.active]
        return True

    def resume(self) -> bool:
        """Continue with the file at the end of C{text}; return False at the end of the file."""
        if not self.spliced:
            return False
        self.position = self.offset(len(self.text))
        self.text = self.whole
        self.inserted = self.origin = 0
        self.active = []
        return True


class Lexer:
    """Reads a file and what it includes.

    @ivar reading: a statement is being read, so every token counts; else only tokens that begin something are found.

    @param opened: reads files.
    @param beginnings: the words that begin statements.
    @param keywords: Kamailio's words, which a define never replaces.
    """

    def __init__(
        self, preprocessor: Preprocessor, opened: Open, beginnings: frozenset[str], keywords: frozenset[str]
    ) -> None:
        self.reading = False
        self._preprocessor = preprocessor
        self._open = opened
        self._beginnings = beginnings
        self._marked = beginnings | {"event_route", *_INCLUDES}
        self._keywords = keywords
        self._sources: list[_Source] = []
        self._text_left = MOST_TEXT
        self._includes_left = MOST_INCLUDES
        self._tokens_left = MOST_TOKENS
        self._expansions_left = MOST_EXPANSIONS
        self._expanded_left = MOST_EXPANDED
        self._start = 0
        self._last = Location("", 1)

    @property
    def location(self) -> Location:
        """Where the last token begins; at the end, the end of the file."""
        if not self._sources:
            return self._last
        source = self._sources[-1]
        return Location(source.path, source.line(self._start))

    def tokens(self, path: str) -> Iterator[Token]:
        """The tokens of a file; each must be used before the next one is asked for.

        @raise OSError: it cannot be read.
        @raise Refused: something cannot be evaluated, or is not allowed, at C{location}.
        """
        self._add_source(path, self._open(path))
        while self._sources:
            source = self._sources[-1]
            self._start = source.position
            if source.position >= len(source.text):
                if not source.resume():
                    self._last = self.location
                    self._sources.pop()
            elif self._preprocessor.skipping:
                self._skip(source)
            else:
                yield from self._tokens(source)

    def _add_source(self, path: str, content: bytes) -> None:
        self._text_left -= len(content)
        if self._text_left < 0:
            raise Refused("the files have too much text", f"up to {MOST_TEXT:,} bytes, each file as often as included")
        text = content.decode("latin-1")
        self._sources.append(_Source(path, text))
        self._start = 0
        if "\0" in text:
            self._start = text.index("\0")
            raise Refused("there is a NUL byte", "text")

    def _tokens(self, source: _Source) -> Iterator[Token]:
        """The tokens up to the end of C{source.text}, or to where something else is to be read."""
        defines, marked = self._preprocessor.defines, self._marked
        while True:
            pattern = _READING if self.reading else _SEEKING
            match = pattern.match(source.text, source.position)
            if match is None:
                return
            kind = str(match.lastgroup)
            if kind in _PASSED:
                source.position = match.end()
                continue
            if kind == "word":
                word = match[0]
                if not self.reading and word not in defines and word not in marked:
                    source.position = match.end()
                    continue
                self._start = match.start()
                token = self._word(source, word, match.end())
            else:
                self._start = match.start()
                token = self._special(source, kind, match)
            if token is not None:
                yield token
            self._tokens_left -= 1
            if self._tokens_left < 0:
                raise Refused("there are too many tokens", f"up to {MOST_TOKENS:,}")
            if self._sources[-1] is not source or self._preprocessor.skipping:
                return

    def _word(self, source: _Source, word: str, position: int) -> Token | None:
        """Skip a word, which ends at a position; return the token, if it is one."""
        source.position = position
        if word in _INCLUDES:
            self._include(source, word, position)
            return None
        if word in self._preprocessor.defines and word not in self._keywords and not word[0].isdigit():
            source.position = self._start
            self._expand(source, word, position)
            return None
        if word == "event_route" and not self.reading:
            name = _EVENT.match(source.text, position)
            source.position = name.end() if name else position
            return None
        return (WORD, word) if self.reading or word in self._beginnings else None

    def _special(self, source: _Source, kind: str, match: re.Match[str]) -> Token | None:
        """Skip what is neither a word nor a comment; return the token, if it is one."""
        if kind == "string":
            value = self._string(source, match)
            return (STRING, value) if self.reading else None
        if kind == "directive":
            return self._directive(source, match[0], match.start())
        if kind == "block":
            self._block_comment(source, match.end())
            return None
        if kind == "variable":
            return self._variable(source, match)
        if kind == "unclosed":
            if source.extend():
                return None  # and look again
            raise Refused("a string is not closed", f"one that ends with {match[0]}")
        source.position = match.end()
        return (SIGN, match[0]) if self.reading or match[0] in "{}" else None

    # Words

    def _expand(self, source: _Source, name: str, position: int) -> None:
        """Read the value of a define in its place."""
        if source.is_active(name, self._start):
            raise Refused(f"the define {name} stands for itself", "a value without it")
        self._expansions_left -= 1 + len(source.active) // 16
        self._expanded_left -= source.insert(name, self._preprocessor.defines[name] or "", position)
        if self._expansions_left < 0 or self._expanded_left < 0:
            raise Refused("defines stand for too much text", f"up to {MOST_EXPANSIONS:,} uses of defines")

    # Strings and variables

    def _string(self, source: _Source, match: re.Match[str]) -> str:
        """The value of a string, after substitutions; adjacent strings in double quotes are one."""
        source.position = match.end()
        if not self.reading:
            return ""
        if match[0][0] == "'":
            return self._preprocessor.substituted(match[0][1:-1])
        parts = [_unescaped(match[0][1:-1])]
        while True:
            following = _NEXT_STRING.match(source.text, source.position)
            assert following is not None
            if (following[2] or following.end() == len(source.text)) and source.extend():
                continue
            if not following[1]:
                break
            parts.append(_unescaped(following[1][1:-1]))
            source.position = following.end(1)
        value = "".join(parts)
        if "\0" in value:
            raise Refused("a string has a NUL byte", "other bytes")
        return self._preprocessor.substituted(value)

    def _variable(self, source: _Source, match: re.Match[str]) -> Token | None:
        """Skip a pseudo-variable, with all that is in its parentheses."""
        position = match.end()
        deep = int(match[0][-1] == "(")
        while deep:
            edge = _PARENTHESIS.search(source.text, position)
            if edge is None:
                position = len(source.text)
                if not source.extend():
                    raise Refused("a parenthesis of a pseudo-variable is not closed", "one that ends with )")
                continue
            deep += 1 if edge[0] == "(" else -1
            position = edge.end()
        text = source.text[match.start() : position]
        source.position = position
        return (VARIABLE, self._preprocessor.substituted(text)) if self.reading else None

    def _block_comment(self, source: _Source, position: int) -> None:
        """Skip a comment; comments nest."""
        deep = 1
        while deep:
            edge = _COMMENT_EDGE.search(source.text, position)
            if edge is None:
                position = max(len(source.text) - 1, position)
                if not source.extend():
                    raise Refused("a comment is not closed", "one */ for each /*; comments nest")
                continue
            deep += 1 if edge[0] == "/*" else -1
            position = edge.end()
        source.position = position

    # Directives

    def _directive(self, source: _Source, text: str, position: int) -> Token | None:
        """Do a directive; what only looks like one is a comment, or two signs."""
        name = text[2:]
        condition = _CONDITION.match(source.text, position)
        if condition is not None and self._is_known(condition[1] or condition[2]):
            self._condition(source, condition)
            return None
        after = position + len(text)
        blank = source.text[after : after + 1] in tuple(" \t\b\r") and after < len(source.text)
        if blank and (name in _DEFINES or (name in _EXPRESSIONS and self._is_known(name))):
            self._define(source, name, after)
            return None
        for prefix in (*_ENVIRONMENT, *_SUBSTITUTIONS, *_INCLUDES):
            if name.startswith(prefix):
                after = position + 2 + len(prefix)
                return self._prefixed(source, prefix, after)
        if name in ("ifexp", *_EXPRESSIONS):
            raise Refused(f"#!{name} needs Kamailio 5.7", "the setting modparams_version of 5.7.0 or later")
        if text[0] == "#":
            source.position = source.text.find("\n", position) + 1 or len(source.text)
            return None
        source.position = position + 1
        return (SIGN, "!") if self.reading else None

    def _is_known(self, name: str) -> bool:
        """Whether Kamailio of this version has a directive."""
        return self._preprocessor.has_expressions or name not in ("ifexp", *_EXPRESSIONS)

    def _prefixed(self, source: _Source, name: str, position: int) -> Token | None:
        """Do a directive that needs no blank after it."""
        if name in _SUBSTITUTIONS:
            source.position = position
            return DIRECTIVE, name
        if name in _INCLUDES:
            self._include(source, name, position)
            return None
        argument = _ARGUMENT.match(source.text, position)
        if argument is None:
            raise Refused(f"#!{name} has no name", f"#!{name} NAME or #!{name} NAME=VARIABLE")
        source.position = argument.end()
        self._preprocessor.define_from_environment(argument[1], *_ENVIRONMENT[name])
        return None

    def _define(self, source: _Source, directive: str, position: int) -> None:
        while True:
            match = _DEFINED.match(source.text, position)
            if match is None or match[2]:
                raise Refused(f"#!{directive} has no name", "letters, digits and _, no digit first")
            if match.end() < len(source.text) or not source.extend():
                break
        source.position = min(match.end() + 1, len(source.text))
        value = match[3][:1] + match[3][1:].replace("\\\n", "")
        if directive in _EXPRESSIONS:
            self._preprocessor.define_expression(match[1], value, _EXPRESSIONS[directive])
        else:
            self._preprocessor.define(match[1], value, _DEFINES[directive])

    def _condition(self, source: _Source, match: re.Match[str]) -> None:
        directive, position = match[1], match.end()
        if directive is None:
            source.position = position
            if match[2] == "else":
                self._preprocessor.otherwise()
            else:
                self._preprocessor.end()
            return
        end = source.text.find("\n", position)
        end = end if end >= 0 else len(source.text)
        text = source.text[position:end]
        if directive != "ifexp":
            name = _CONDITION_NAME.fullmatch(text)
            if name is None or name[2]:
                raise Refused(f"#!{directive} has no name", "letters, digits and _, no digit first")
            text = name[1]
        source.position = min(end + 1, len(source.text))
        self._preprocessor.begin(directive, text)

    def _skip(self, source: _Source) -> None:
        """Skip what a condition leaves out, up to the next directive that may end that."""
        position = source.position
        while True:
            match = _CONDITION.search(source.text, position)
            if match is None:
                source.position = len(source.text)
                return
            position = match.end()
            if self._is_known(match[1] or match[2]):
                self._start = match.start()
                self._condition(source, match)
                if not self._preprocessor.skipping:
                    return
                position = source.position

    # Files

    def _include(self, source: _Source, directive: str, position: int) -> None:
        while True:
            match = _FILE_NAME.match(source.text, position)
            if match is not None and match.end() < len(source.text):
                break
            if not source.extend():
                break
        if match is None:
            raise Refused(f"{directive} has no name", "the name of a file in double quotes")
        source.position = match.end()
        name = _file_name(self._preprocessor.substituted(match[1]))
        if len(self._sources) > MOST_INCLUDES_DEEP:
            raise Refused("files include each other too deep", f"up to {MOST_INCLUDES_DEEP}; is there a circle?")
        self._includes_left -= 1
        if self._includes_left < 0:
            raise Refused("too many files are included", f"up to {MOST_INCLUDES:,}")
        found = self._find(name, source.path, directive)
        if found is not None:
            self._add_source(*found)

    def _find(self, name: str, including: str, directive: str) -> tuple[str, bytes] | None:
        """The path and content of a file: at its name as a path, else beside the one that includes it."""
        paths = [name]
        directory, slash, _ = including.rpartition("/")
        if not name.startswith("/") and slash:
            paths.append(f"{directory}/{name}")
        for path in paths:
            try:
                return path, self._open(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise Refused(f"{path}: {error.strerror}", "a readable file") from None
        if directive == "import_file":
            return None
        raise Refused(f"{' or '.join(paths)}: there is no such file", "a readable file, or import_file")


def _unescaped(text: str) -> str:
    """The value of the text between double quotes."""
    if "\\" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        character, hexadecimal, octal, _ = match.groups()
        if character:
            return _ESCAPES.get(character, character)
        if hexadecimal:
            return chr(int(hexadecimal, 16))
        return chr(int(octal, 8) & 0xFF) if octal else ""

    return _STRING_ESCAPE.sub(replace, text)


def _file_name(text: str) -> str:
    """The name of a file to be included.

    @param text: as it stands in the file, with its quotes.
    @raise Refused: it has no name, or one that is too long for Kamailio.
    """
    allowed = f"a name in double quotes, up to {_LONGEST_FILE_NAME - 1} bytes, without blanks"
    if len(text) < 3 or text[0] != '"' or text[-1] != '"' or len(text) > _LONGEST_FILE_NAME + 1:
        raise Refused(f"the name of a file is {text!r}", allowed)
    inner = text[1:-1]
    if re.fullmatch(r"(?:[^\\]|\\.)*", inner, re.DOTALL) is None:
        raise Refused(f"the name of a file is {text!r}", allowed)
    name = re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r", "t": "\t"}.get(match[1], match[1]), inner)
    return name.encode("latin-1").decode(errors="surrogateescape")
