"""The calls that a rule allows or denies: methods, and patterns for the values of their parameters if it has any.

After C{allow} or C{deny}, a rule has methods, separated by blanks. Patterns for the values of a method's parameters
follow it in parentheses::

    allow htable.sets(ban_table, *)          two parameters, the first one is ban_table
    allow htable.get(ban_table, "a b")       in quotes, as JSON: blanks, commas and stars as they are
    allow core.echo(hello, ...)              at least one parameter, the first one is hello
    allow core.uptime()                      no parameters
    deny dispatcher.set_state(*, 1, *)       however many parameters there are

The parentheses may be left out where the meaning is clear: after a method with a dot and no star, if none of the
further words has a dot, and they include a star or C{...} and another word::

    allow htable.sets ban_table *
    deny dispatcher.set_state * 1 *

Words that could be further methods as well are refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs
import msgspec

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.access.patterns import compiled
from jsonrpcs_tx.access.values import folded, number_of, readings, sure_text

MORE: Final = "..."
"""Stands for any number of further parameters."""

NOT_GIVEN: Final[Any] = msgspec.UNSET
"""Stands for a parameter of a call that was left out although a later one was given."""

_SMALL: Final = range(-(2**31), 2**32)
"""Integers that no server reads as a different one."""

_WORDS: Final = re.compile(r'[^\s(]+\((?:[^()"]|"(?:[^"\\]|\\.)*")*\)(?!\S)|\S+')
"""A method with parameters in parentheses, or any other word."""

_VALUES: Final = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\s,()"]*)\s*(,|$)')
"""A value in parentheses, and what follows it."""

_VALUE: Final = re.compile(r'[^\s,()"?\[\]]+')

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')

_STRAY: Final = re.compile(r"//|/\*|--|.*[#;,!|\\'`]")
"""What words of other languages begin with or have in them: comments, separators, negations and quotes."""

_EXACT_METHOD: Final = re.compile(r"[^*]*\.[^*]*")


@attrs.frozen
class ValuePattern:
    """A pattern for the value of a parameter.

    @ivar parts: the texts between the stars; each star stands for any characters.
    """

    parts: tuple[str, ...]
    _is_like: re.Pattern[str] = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(lambda self: compiled(self.parts), takes_self=True)
    )
    _is_like_folded: re.Pattern[str] = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(lambda self: self._compile_folded(), takes_self=True)
    )
    _number: int | float | None = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: number_of(self.parts[0]) if self.is_exact else None, takes_self=True),
    )

    def _compile_folded(self) -> re.Pattern[str]:
        return compiled([folded(self.parts[0])] if self.is_exact else [part.casefold() for part in self.parts])

    @property
    def is_exact(self) -> bool:
        """Whether it has no star, and so stands for one value only."""
        return len(self.parts) == 1

    @property
    def is_any(self) -> bool:
        """Whether it stands for all values."""
        return not self.is_exact and not any(self.parts)

    def surely_fits(self, value: Any, kind: str) -> bool:
        """Whether a value fits, however the server reads it.

        @param kind: the type of the parameter in the catalogue if a node gets the call; else empty.
        """
        if self.is_any:
            return value is not NOT_GIVEN
        text = sure_text(value)
        if text is None or value is NOT_GIVEN or self._is_like.fullmatch(text) is None:
            return False
        if type(value) is str:  # Kamailio reads any text as 0 where it wants a number
            return not kind or kind in ("str", "any") or (kind == "unknown" and not self._is_number())
        if type(value) is float:
            return self.is_exact and not kind
        return self.is_exact or (type(value) is int and value in _SMALL)

    def may_fit(self, value: Any, kind: str) -> bool:
        """Whether some server might read a value as one that fits.

        @param kind: see L{surely_fits}.
        """
        if self.is_any or value is NOT_GIVEN:
            return True
        if kind and type(value) in (float, Decimal):  # Kamailio reads these inexactly: 1.9999999999999999 may be 1
            return True
        found = readings(value)
        if found is None or self._number in found.numbers:
            return True
        texts = found.texts
        if type(value) is str and kind and kind not in ("str", "any"):  # Kamailio reads it as 0
            if self._number == 0:
                return True
            texts = texts if kind == "unknown" else texts | {"0"}
        return any(self._is_like_folded.fullmatch(text) for text in texts)

    def _is_number(self) -> bool:
        text = "".join(self.parts)
        return self._number is not None or not text.strip("+-.0123456789")


@attrs.frozen
class Parameters:
    """Patterns for the values of the parameters of a call, in order.

    @ivar more: whether further parameters may follow.
    """

    values: tuple[ValuePattern, ...]
    more: bool = False

    def allow(self, params: Sequence[Any] | Mapping[str, Any], method: str | None) -> bool:
        """Whether a rule surely allows the parameters of a call: as many values as patterns, and each value fits.

        @param params: the decoded values in the order of the command's parameters, with C{NOT_GIVEN} for one that is
            left out; or by name if that order is not known: then they are not allowed.
        @param method: the name of the command if a node gets the call; None: the command is this server's own.
        """
        if isinstance(params, Mapping) or len(params) < len(self.values):
            return False
        return (self.more or len(params) == len(self.values)) and all(
            pattern.surely_fits(params[place], _kind(method, place)) for place, pattern in enumerate(self.values)
        )

    def deny(self, params: Sequence[Any] | Mapping[str, Any], method: str | None) -> bool:
        """Whether a rule may deny the parameters of a call, however many there are; a missing one may have any value.

        @param params: as for L{allow}; if by name, they are denied.
        @param method: as for L{allow}.
        """
        return isinstance(params, Mapping) or all(
            pattern.may_fit(params[place], _kind(method, place))
            for place, pattern in enumerate(self.values[: len(params)])
        )


@attrs.frozen
class CallPattern:
    """A pattern for calls.

    @ivar method: a pattern for the method.
    @ivar parameters: patterns for the parameters; None: any parameters fit.
    """

    method: str
    parameters: Parameters | None = None


def split(text: str) -> Iterator[str]:
    """The words after C{allow} or C{deny}."""
    return (found[0] for found in _WORDS.finditer(text))


def check_characters(text: str) -> None:
    """Check that what looks like a blank, or like nothing, is one, so that no word is another than it seems to be.

    @raise ValueError: there is another character outside quotes; the message says which.
    """
    for char in _QUOTED.sub("", text):
        is_byte = "\udc80" <= char <= "\udcff"  # of a name that is not UTF-8
        if char != "\t" and not char.isprintable() and not is_byte:
            raise ValueError(f"one line of printable characters, spaces and tabs; not U+{ord(char):04X}")


def check_comment(word: str) -> None:
    """@raise ValueError: a word would begin a comment, if there were any behind a rule."""
    if word.startswith("#"):
        quoted = 'a value that begins with # in parentheses and quotes, as in core.echo("#1")'
        raise ValueError(f"a comment stands on a line of its own, {quoted}; not {word!r:.100}")


def _check_bare(word: str) -> None:
    """@raise ValueError: a word without parentheses seems to mean something that rules do not have."""
    check_comment(word)
    if "(" not in word and not _QUOTED.fullmatch(word) and _STRAY.match(word):
        allowed = "methods and values without any of # ; , ! | \\ ' ` and without // /* -- at the beginning"
        raise ValueError(f"{allowed}, or values in parentheses, as in core.echo(a;b); not {word!r:.100}")


def read_calls(words: Sequence[str]) -> list[CallPattern]:
    """Read the words after C{allow} or C{deny}.

    @raise ValueError: a word is not a method, with or without parameters, or several words are ambiguous; the message
        then says how to write each meaning.
    """
    for word in words:
        _check_bare(word)
    calls: list[CallPattern] = []
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if "(" in word and word.endswith(")"):
            calls.append(_read_call(word))
            continue
        end = place
        if _EXACT_METHOD.fullmatch(word):
            while end < len(words) and _may_be_value(words[end]):
                end += 1
        following = words[place:end]
        if following:
            _check_readings(word, following, words[end : end + 1])
            place = end
        calls.append(CallPattern(word, _parameters(following) if following else None))
    return calls


def _may_be_value(word: str) -> bool:
    """Whether a word after a method may be the value of a parameter: Kamailio's methods have a dot."""
    return word == MORE or ("." not in word and "(" not in word)


def _check_readings(method: str, following: Sequence[str], next_word: Sequence[str]) -> None:
    """@raise ValueError: the words after a method may be methods as well as values."""
    written = " ".join((method, *following, *next_word))
    if any(word in ("*", MORE) for word in following) and any(word != "*" for word in following):
        if not next_word or "(" in next_word[0]:
            return
        values = ", ".join((*following, *next_word))
        other = f'"{method}({", ".join(following)}) {next_word[0]}"'
        raise ValueError(f'parameters in parentheses: "{written}" can mean "{method}({values})" or {other}')
    methods = " ".join((*following, method, *next_word))
    raise ValueError(
        f'parameters in parentheses, and methods without a dot first: "{written}" can mean '
        f'"{method}({", ".join(following)})" with parameters or "{methods}" without'
    )


def _read_call(word: str) -> CallPattern:
    """Read a method with parameters in parentheses."""
    method, _, inner = word[:-1].partition("(")
    values: list[str] = []
    place = 0
    while inner.strip():
        found = _VALUES.match(inner, place)
        if found is None or not found[1]:
            break  # one closing parenthesis too many, an empty value, or two values without a comma
        values.append(found[1])
        place = found.end()
        if not found[2]:
            return CallPattern(method, _parameters(values))
    if inner.strip():
        raise ValueError(
            f'values in parentheses, separated by commas, such as table(ban_table, *, "a b"); not {word!r:.200}'
        )
    return CallPattern(method, Parameters(()))


def _parameters(words: Sequence[str]) -> Parameters:
    more = words[-1] == MORE
    return Parameters(tuple(map(_value, words[:-1] if more else words)), more)


def _value(word: str) -> ValuePattern:
    """@raise ValueError: it is not a pattern for a value."""
    if word.startswith('"'):
        try:
            return ValuePattern((msgspec.json.decode(word.encode(), type=str),))
        except (msgspec.DecodeError, UnicodeError):
            raise ValueError(f"a JSON string in quotes, not {word!r:.100}") from None
    check_comment(word)
    if word[0] in "'`\u2018\u201c" and len(word) > 1:
        raise ValueError(f'quotes as JSON has them, "a b"; not {word!r:.100}')
    if word == MORE or not _VALUE.fullmatch(word) or not word.isprintable():
        allowed = "printable characters, * for any characters; values with blanks or any of ,()?[] in quotes"
        raise ValueError(f"{allowed}; ... only at the end; not {word!r:.100}")
    return ValuePattern(tuple(word.split("*")))


def _kind(method: str | None, place: int) -> str:
    """The type of a parameter in the catalogue, C{unknown} if it is not there; empty for our own commands, which refuse
    values of a wrong type.
    """
    if method is None:
        return ""
    entry = catalogue.find(method)
    parameter = None if entry is None else entry.parameter(place)
    return "unknown" if parameter is None or parameter.type == "int/str" else parameter.type
