"""The texts and numbers that rules compare with their patterns for values of parameters.

A rule that allows must be sure of a value, so it compares the one text that the value has. It must not be possible to
evade a rule that denies, so it compares everything that a server may read the value as. Kamailio's C{scan}, for
example, reads C{4294967297} as 1 where it wants an integer, and any text as 0; our own commands read True and 1.0 as 1.
"""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

_PLAIN_BITS: Final = 256
"""Bits of the largest integer that is compared."""

_PLAIN_DIGITS: Final = 80
"""Digits of the longest number in a text that is compared."""

MAX_TEXT: Final = 4096
"""Characters of the longest text that a rule that denies compares."""

_MAX_KNOWN: Final = 64
"""Characters of the longest text whose readings are remembered."""

_EXACT: Final = 2**53
"""The largest integer up to which floats are exact."""

_TRUTH: Final = {"true": 1, "yes": 1, "on": 1, "false": 0, "no": 0, "off": 0}
"""Words that a command may read as true or false."""

_WORD: Final = re.compile("[A-Za-z]([A-Za-z0-9_.@/-][A-Za-z0-9_.@/:;=-]*)?")
"""A text that can be read in one way only, or a word for true or false. C{i:} would be a prefix."""

_PREFIX: Final = re.compile("[a-z]:", re.IGNORECASE)
"""The prefix by which C{kamcmd} marks the type of a word: C{i:1}, C{s:1}."""

_NUMBER: Final = re.compile(
    r"(?P<sign>[+-]?)\s*"
    r"(?:0x(?P<hex>[0-9a-f]+)|0b(?P<bin>[01]+)|(?:0o?(?P<oct>[0-7]+))?)"
    r"(?P<float>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,4})?)?",
    re.ASCII,
)
"""The number that a text starts with, in the syntax of C and Python."""

_INTEGER: Final = re.compile("([+-]?)0*([0-9]+)", re.ASCII)
"""An integer: its sign, and its digits without leading zeros."""


class Readings(NamedTuple):
    """Everything that servers may read a value as.

    @ivar texts: the texts, in the form that L{folded} gives.
    @ivar numbers: the numbers.
    """

    texts: frozenset[str]
    numbers: frozenset[int | float]


def sure_text(value: Any) -> str | None:
    """The one text of a value: an integer in decimal, a whole float like an integer, any other float as Python writes
    it; C{true}, C{false} and C{null}.

    @return: None for arrays, objects, texts with a null byte (which ends them in C) and enormous numbers.
    """
    kind = type(value)
    if kind is str:
        return None if "\0" in value else str(value)
    if kind is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    if kind is float and value.is_integer() and abs(value) <= _EXACT:
        return str(int(value))
    if kind is float:
        return repr(value)
    return str(value) if kind is int and value.bit_length() <= _PLAIN_BITS else None


def folded(text: str) -> str:
    """A text without the differences that servers may ignore: case, compatibility forms of letters and digits, and
    blanks around it.
    """
    return unicodedata.normalize("NFKC", text).casefold().strip()


def readings(value: Any) -> Readings | None:
    """Everything that servers may read a value as.

    @return: None if that may be anything: for null, which may stand for a default, for arrays and objects, for numbers
        beyond 2**53 and for texts of more than L{MAX_TEXT} characters.
    """
    kind = type(value)
    if kind is str:
        return _known(value) if len(value) <= _MAX_KNOWN else _of_text(value) if len(value) <= MAX_TEXT else None
    if kind is bool:
        return Readings(frozenset(("true", "1") if value else ("false", "0")), frozenset((int(value),)))
    if kind in (int, float, Decimal):
        with suppress(ArithmeticError, ValueError):  # for infinity
            return _of_number(value)
    return None


def number_of(text: str) -> int | float | None:
    """The number that a text spells, in decimal or after C{0x}; None if it is not a number, or has too many digits."""
    if not text.isascii() or len(text) > _PLAIN_DIGITS or "_" in text:
        return None
    with suppress(ValueError):
        number = float(text)
        return (int(text) if text.lstrip("+-").isdigit() else number) if abs(number) < 10**_PLAIN_DIGITS else None
    with suppress(ValueError):
        return int(text, 16) if "x" in text.lower() else None
    return None


def _numbers_in(text: str) -> frozenset[int | float] | None:
    """The numbers that a text may be read as.

    @return: None if they are too long to tell.
    """
    text = _PREFIX.sub("", folded(text).replace("_", ""), count=1).strip()
    if text in _TRUTH:
        return _truth(text)
    text = "".join(str(unicodedata.digit(one, one)) for one in text[: 2 * _PLAIN_DIGITS])
    found = _NUMBER.match(text)
    if found is None:
        return frozenset()
    if found.end() > _PLAIN_DIGITS:
        return None
    with suppress(OverflowError, ValueError):
        return frozenset(_values(found))
    return None


def _values(found: re.Match[str]) -> Iterator[int | float]:
    """@raise OverflowError: a number is infinite."""
    sign = -1 if found["sign"] == "-" else 1
    for name, base in (("hex", 16), ("bin", 2), ("oct", 8)):
        if found[name]:
            yield from _wrapped(sign * int(found[name], base))
            yield 0  # if the server stops reading at the letter
    digits = (found["oct"] or "") + (found["float"] or "")
    if digits:
        value = sign * float(digits)
        yield value
        yield from _wrapped(int(value))
        whole = re.match(r"\d+", digits)
        if whole is not None:
            yield from _wrapped(sign * int(whole[0]))


def _of_text(value: str) -> Readings | None:
    if _WORD.fullmatch(value):
        word = value.lower()
        return Readings(frozenset((word,)), _truth(word))
    texts, numbers = set(), set[int | float]()
    for text in {value, value.partition("\0")[0], value.replace("\0", "")}:
        for one in (text, _PREFIX.sub("", text.lstrip(), count=1)):
            texts |= {one.casefold(), folded(one)}
            found = _numbers_in(one)
            if found is None:
                return None
            numbers |= found
    texts |= {found[1].lstrip("+") + found[2] for found in map(_INTEGER.fullmatch, tuple(texts)) if found}
    return Readings(frozenset(texts), frozenset(numbers))


_known: Final = lru_cache(1024)(_of_text)
"""The readings of a short text, remembered."""


def _truth(word: str) -> frozenset[int | float]:
    return frozenset((_TRUTH[word],)) if word in _TRUTH else frozenset()


def _of_number(value: Any) -> Readings | None:
    """@raise ArithmeticError, ValueError: it is not finite."""
    if not -_EXACT <= value <= _EXACT:  # Kamailio reads such a number inexactly, and cuts its upper bits off
        return None
    whole = int(value)
    wrapped = frozenset(_wrapped(whole))
    texts = {str(value), repr(float(value)), f"{float(value):g}", f"{float(value):f}", *map(str, wrapped)}
    return Readings(frozenset({*map(str.casefold, texts), "true" if value else "false"}), wrapped | {value})


def _wrapped(number: int) -> Iterator[int]:
    """What an integer may become in C: a signed or unsigned one of 32 or 64 bits, perhaps converted through a double.

    A number that is out of range may become its low bits, or the nearest number in range, or the lowest one.
    """
    for one in {number, int(float(number))}:
        yield one
        for bits in (32, 64):
            size, half = 2**bits, 2 ** (bits - 1)
            low = one % size
            yield from (low, low - size if low >= half else low)
            if not -half <= one < half:
                yield from (-half, min(max(one, -half), half - 1))
            if not 0 <= one < size:
                yield min(max(one, 0), size - 1)
