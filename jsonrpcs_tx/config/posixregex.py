"""POSIX extended regular expressions, which Kamailio's preprocessor and C{modparam} take.

Neither Python's C{re} nor the C library will do: each can be made to take forever, and Python's finds the first of
several alternatives where POSIX wants the longest. Here all ways to match are followed at once, so that the time
depends on the lengths of the pattern and of the text only, and an L{Effort} bounds that as well.

Characters stand for bytes. The syntax is that of the GNU C library, without collating symbols, equivalence classes and
back-references to groups.
"""

import re
import string
from collections.abc import Callable, Iterable
from typing import Final

import attrs

MOST_REPETITIONS: Final = 255
"""Of one C{{n,m}}."""

MOST_INSTRUCTIONS: Final = 5000
"""The most instructions of a pattern; each character is about one, times its repetitions."""

_ALL: Final = frozenset(map(chr, range(256)))
_WORD: Final = frozenset(string.ascii_letters + string.digits + "_")
_SPACE: Final = frozenset(" \t\n\v\f\r")
_CLASSES: Final = {
    "alpha": frozenset(string.ascii_letters),
    "digit": frozenset(string.digits),
    "alnum": frozenset(string.ascii_letters + string.digits),
    "upper": frozenset(string.ascii_uppercase),
    "lower": frozenset(string.ascii_lowercase),
    "space": _SPACE,
    "blank": frozenset(" \t"),
    "punct": frozenset(string.punctuation),
    "xdigit": frozenset(string.hexdigits),
    "cntrl": frozenset(map(chr, [*range(32), 127])),
    "graph": frozenset(map(chr, range(33, 127))),
    "print": frozenset(map(chr, range(32, 127))),
}
_SETS: Final = {"w": _WORD, "W": _ALL - _WORD, "s": _SPACE, "S": _ALL - _SPACE}
_EDGES: Final = {"b": "\\b", "B": "\\B", "<": "\\b(?=\\w)", ">": "\\b(?<=\\w)", "`": "\\A", "'": "\\Z"}
_BEGINNINGS: Final = ("\\A", "(?m:^)")
"""What C{^} means: the beginning of the text, or of a line."""

_INTERVAL: Final = re.compile(r"\{([0-9]{1,5})?(?:(,)([0-9]{1,5})?)?\}")

_REPEATING: Final = "*+?{"

Spans = list[tuple[int, int]]
"""Where a match is: the span of the whole, then those of the groups; (-1, -1) for one that took no part."""


class PatternError(ValueError):
    """A pattern cannot be used; the message follows the pattern in a sentence: C{is ...}, C{has ...}."""


class Effort:
    """What patterns may cost in total.

    @ivar left: steps that are left; one takes about a microsecond.
    """

    def __init__(self, steps: int = 10_000_000) -> None:
        self.left: int = steps

    def spend(self, steps: int) -> None:
        """@raise PatternError: no steps are left."""
        self.left -= steps
        if self.left < 0:
            raise PatternError("takes too much time, or others did")


@attrs.frozen(eq=False)
class _Node:
    """A part of a pattern.

    @ivar kind: C{set}, C{edge}, C{group}, C{repeat}, C{all} (one after the other) or C{any} (one of them).
    @ivar what: the characters of a set, the condition of an edge, the number of a group.
    """

    kind: str
    what: object = None
    parts: tuple["_Node", ...] = ()
    least: int = 1
    most: int | None = 1


class _Parser:
    """Reads a pattern."""

    def __init__(self, pattern: str, ignore_case: bool, by_lines: bool) -> None:
        self._pattern = pattern
        self._at = 0
        self._ignore_case = ignore_case
        self._by_lines = by_lines
        self.groups = 0
        self._open = 0

    def parse(self) -> _Node:
        return self._alternatives()

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _alternatives(self) -> _Node:
        ways = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            ways.append(self._sequence())
        return _Node("any", parts=tuple(ways)) if len(ways) > 1 else ways[0]

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() and self._peek() != "|" and not (self._peek() == ")" and self._open):
            parts.append(self._repeated(self._atom()))
        return _Node("all", parts=tuple(parts))

    def _repeated(self, node: _Node) -> _Node:
        while self._peek() and self._peek() in _REPEATING:
            if node.kind == "edge":
                raise PatternError(f"has {self._peek()} after nothing that it could repeat")
            least, most = self._times()
            node = _Node("repeat", parts=(node,), least=least, most=most)
        return node

    def _times(self) -> tuple[int, int | None]:
        sign = self._peek()
        if sign != "{":
            self._at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        match = _INTERVAL.match(self._pattern, self._at)
        if match is None or not (match[1] or match[2]):
            raise PatternError("has { that is not the start of {n}, {n,}, {,m} or {n,m}")
        self._at = match.end()
        least = int(match[1] or 0)
        most = int(match[3]) if match[3] else (None if match[2] else least)
        if max(least, most or 0) > MOST_REPETITIONS:
            raise PatternError(f"repeats something more than {MOST_REPETITIONS} times")
        if most is not None and most < least:
            raise PatternError("has {n,m} of which n is larger")
        return least, most

    def _atom(self) -> _Node:
        character = self._peek()
        self._at += 1
        if character == "(":
            return self._group()
        if character == "[":
            return _Node("set", self._bracket())
        if character == ".":
            return _Node("set", _ALL - {"\n"} if self._by_lines else _ALL)
        if character in "^$":
            return _Node("edge", self._anchor(character))
        if character == "\\":
            return self._escape()
        if character in _REPEATING:
            raise PatternError(f"has {character} after nothing that it could repeat")
        return _Node("set", self._cased(character))

    def _anchor(self, character: str) -> str:
        if character == "^":
            return _BEGINNINGS[self._by_lines]
        return "(?m:$)" if self._by_lines else "\\Z"

    def _group(self) -> _Node:
        self.groups += 1
        number = self.groups
        self._open += 1
        if self._open > 100:
            raise PatternError("has groups within each other more than 100 deep")
        inner = self._alternatives()
        if self._peek() != ")":
            raise PatternError("has ( without )")
        self._at += 1
        self._open -= 1
        return _Node("group", number, (inner,))

    def _escape(self) -> _Node:
        character = self._peek()
        self._at += 1
        if not character:
            raise PatternError("ends with a backslash")
        if character in "123456789":
            raise PatternError("refers back to a group")
        if character in _SETS:
            return _Node("set", _SETS[character])
        if character in _EDGES:
            return _Node("edge", _EDGES[character])
        return _Node("set", self._cased(character))

    def _cased(self, characters: Iterable[str]) -> frozenset[str]:
        found = frozenset(characters)
        if self._ignore_case:
            found |= {other for one in found if one.isascii() for other in (one.lower(), one.upper())}
        return found

    def _bracket(self) -> frozenset[str]:
        """The characters of a bracket expression, the first of which is read."""
        negated = self._peek() == "^"
        self._at += negated
        found: set[str] = set()
        first = True
        while first or self._peek() != "]":
            first = False
            found |= self._member()
        self._at += 1
        characters = self._cased(found)
        if negated:
            characters = _ALL - characters
            return characters - {"\n"} if self._by_lines else characters
        return characters

    def _member(self) -> set[str] | frozenset[str]:
        if self._pattern.startswith("[:", self._at):
            name, ended, _ = self._pattern[self._at + 2 :].partition(":]")
            if not ended or name not in _CLASSES:
                raise PatternError("has an unknown character class")
            self._at += len(name) + 4
            return _CLASSES[name]
        start = self._character()
        if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            end = self._character()
            if end < start:
                raise PatternError("has a range whose end is before its start")
            return {chr(code) for code in range(ord(start), ord(end) + 1)}
        return {start}

    def _character(self) -> str:
        character = self._peek()
        if not character:
            raise PatternError("has [ without ]")
        if character == "[" and self._pattern[self._at + 1 : self._at + 2] in (".", "="):
            raise PatternError("has a collating symbol or an equivalence class")
        self._at += 1
        return character


Instruction = tuple[str, object, object]
"""An instruction and its operands: C{set} characters, C{edge} condition, C{save} place, C{jump} and C{split} addresses,
or C{end}."""


class _Program:
    """The instructions for a pattern."""

    def __init__(self) -> None:
        self.code: list[Instruction] = []

    def add(self, name: str, one: object = None, other: object = None) -> int:
        if len(self.code) >= MOST_INSTRUCTIONS:
            raise PatternError(f"is too long, or repeats too much: more than {MOST_INSTRUCTIONS:,} characters")
        self.code.append((name, one, other))
        return len(self.code) - 1

    def compile(self, node: _Node) -> None:
        if node.kind in ("set", "edge"):
            self.add(node.kind, node.what)
        elif node.kind == "group":
            assert isinstance(node.what, int)
            self.add("save", 2 * node.what)
            self.compile(node.parts[0])
            self.add("save", 2 * node.what + 1)
        elif node.kind == "repeat":
            self._repeat(node)
        elif node.kind == "any":
            self._any(node.parts)
        else:
            for part in node.parts:
                self.compile(part)

    def _any(self, ways: tuple[_Node, ...]) -> None:
        jumps = []
        for way in ways[:-1]:
            split = self.add("split")
            self.compile(way)
            jumps.append(self.add("jump"))
            self.code[split] = ("split", split + 1, len(self.code))
        self.compile(ways[-1])
        for jump in jumps:
            self.code[jump] = ("jump", len(self.code), None)

    def _repeat(self, node: _Node) -> None:
        inner = node.parts[0]
        for _ in range(node.least):
            self.compile(inner)
        if node.most is None:
            split = self.add("split")
            self.compile(inner)
            self.add("jump", split)
            self.code[split] = ("split", split + 1, len(self.code))
            return
        splits = []
        for _ in range(node.most - node.least):
            splits.append(self.add("split"))
            self.compile(inner)
        for split in splits:
            self.code[split] = ("split", split + 1, len(self.code))


class Pattern:
    """A compiled pattern, for any number of texts.

    @param ignore_case: as C{REG_ICASE}.
    @param by_lines: as C{REG_NEWLINE}: C{.} and C{[^...]} do not match line ends, C{^} and C{$} match at them.
    @param effort: what it may cost, shared with others.
    @raise PatternError: it is not a regular expression, or uses an unsupported feature.
    """

    def __init__(self, pattern: str, ignore_case: bool, by_lines: bool, effort: Effort) -> None:
        self._effort = effort
        effort.spend(len(pattern))
        parser = _Parser(pattern, ignore_case, by_lines)
        program = _Program()
        program.add("save", 0)
        program.compile(parser.parse())
        program.add("save", 1)
        program.add("end")
        self._code = program.code
        self._places = 2 * (parser.groups + 1)
        effort.spend(len(self._code))
        conditions = {str(what) for name, what, _ in self._code if name == "edge"}
        self._edges: dict[str, Callable[[str, int], object]] = {
            one: re.compile(one, re.ASCII).match for one in conditions
        }

    def spans(self, text: str, start: int = 0, after_line: bool = True) -> Spans | None:
        """The leftmost match, and of those the longest; None without a match.

        @param start: where to begin.
        @param after_line: C{^} may match there.
        @raise PatternError: it takes too much time.
        """
        # Threads, in order of preference: an address, and where groups begin and end.
        threads: dict[int, tuple[int, ...]] = {}
        found: tuple[int, ...] | None = None
        position = start
        nowhere = (-1,) * self._places
        while True:
            if found is None:
                self._follow(threads, 0, nowhere, text, position, after_line if position == start else None)
            self._effort.spend(len(threads) + 1)
            for address, places in threads.items():
                if self._code[address][0] == "end" and (found is None or places[0] == found[0]):
                    found = places
                    break
            if position >= len(text):
                break
            character = text[position]
            position += 1
            before, threads = threads, {}
            for address, places in before.items():
                name, characters, _ = self._code[address]
                if name == "set" and character in characters and (found is None or places[0] <= found[0]):  # type: ignore[operator]
                    self._follow(threads, address + 1, places, text, position, None)
            if not threads and found is not None:
                break
        if found is None:
            return None
        return list(zip(found[::2], found[1::2], strict=True))

    def _follow(
        self,
        threads: dict[int, tuple[int, ...]],
        address: int,
        places: tuple[int, ...],
        text: str,
        position: int,
        begins: bool | None,
    ) -> None:
        """Add a thread at an address, and those that it reaches from there without another character.

        @param begins: see L{_holds}.
        """
        waiting = [(address, places)]
        steps = 0
        while waiting:
            address, places = waiting.pop()
            if address in threads:
                continue
            threads[address] = places
            steps += 1
            name, one, other = self._code[address]
            if name == "jump":
                waiting.append((one, places))  # type: ignore[arg-type]
            elif name == "split":
                waiting += ((other, places), (one, places))  # type: ignore[arg-type]
            elif name == "save":
                changed = list(places)
                changed[one] = position  # type: ignore[call-overload]
                waiting.append((address + 1, tuple(changed)))
            elif name == "edge" and self._holds(str(one), text, position, begins):
                waiting.append((address + 1, places))
        self._effort.spend(steps * (1 + self._places // 16))

    def _holds(self, condition: str, text: str, position: int, begins: bool | None) -> bool:
        """Whether there is an edge.

        @param begins: whether there is one for C{^}; None: that depends on the text.
        """
        if begins is not None and condition in _BEGINNINGS:
            return begins
        return self._edges[condition](text, position) is not None
