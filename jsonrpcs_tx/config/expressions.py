"""The expressions of C{#!ifexp} and C{#!defexp}: numbers and strings, as the Core Cookbook describes them.

Numbers are floats of 32 bits, as in Kamailio. The right operand of C{+} and of comparisons takes the type of the left.
"""

import math
import operator
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

Value = str | float

MOST_TOKENS: Final = 1000
MOST_DEEP: Final = 50
"""Parentheses, signs and operators that wait for what follows them."""
LONGEST: Final = 65_536
"""The most characters of a concatenated string; each C{+} can double one."""

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>[0-9][0-9.]*)|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<operator>\*\*|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%<>&|^=,!()]))""",
    re.ASCII | re.DOTALL,
)
_COMMENT: Final = re.compile(r"\s*#")

_LEVELS: Final = (
    (",",),
    ("=",),
    ("||",),
    ("&&",),
    ("^",),
    ("|",),
    ("&",),
    ("<", "<=", ">", ">=", "==", "!="),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%", "**"),
)
"""The operators, in order of rising precedence; unary C{-}, C{!} and C{^} bind most tightly."""

_LEVEL_OF: Final = {sign: level for level, signs in enumerate(_LEVELS) for sign in signs}
_RIGHT: Final = frozenset(("=", "**", ","))
"""Right-associative operators."""

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_WHOLE: Final[Mapping[str, Callable[[int, int], int]]] = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


class ExpressionError(ValueError):
    """An expression cannot be evaluated; the message says why."""


def evaluate(text: str, defines: Mapping[str, str | None]) -> Value:
    """The value of an expression.

    @param defines: the values of names as strings, without the quotes around them; a name without a value is 1, and an
        unknown name 0.
    @return: for C{#!ifexp} true if it is a number other than 0, or a string that is not empty.
    @raise ExpressionError: it has none.
    """
    return _Evaluation(text, defines).value()


class _Evaluation:
    """The evaluation of one expression."""

    def __init__(self, text: str, defines: Mapping[str, str | None]) -> None:
        self._defines = defines
        self._assigned: dict[str, Value] = {}
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        self._deep = 0
        position = 0
        text = text.rstrip()
        while position < len(text):
            if _COMMENT.match(text, position):
                break
            match = _TOKEN.match(text, position)
            if match is None or not match.lastgroup:
                raise ExpressionError(f"{text[position : position + 10].strip()!r} is not part of an expression")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
            if len(self._tokens) > MOST_TOKENS:
                raise ExpressionError("is too long")
        self._tokens.append(("end", ""))

    def value(self) -> Value:
        if self._kind() == "end":
            raise ExpressionError("is empty")
        value = self._operation(0, needed=True)
        if self._kind() != "end":
            raise ExpressionError(f"{self._text()!r} is not expected")
        return value

    def _kind(self) -> str:
        return self._tokens[self._at][0]

    def _text(self) -> str:
        return self._tokens[self._at][1]

    def _operation(self, level: int, needed: bool) -> Value:
        """The value of operands and operators from a level on.

        @param needed: whether its value is needed; else it is only parsed, since C{&&} or C{||} is already decided.
        """
        left = self._operand(needed)
        while self._kind() == "operator" and _LEVEL_OF.get(self._text(), -1) >= level:
            sign = self._text()
            name = self._tokens[self._at - 1]
            self._at += 1
            decided = needed and ((sign == "&&" and not _truth(left)) or (sign == "||" and _truth(left)))
            self._deep += 1
            right = self._operation(_LEVEL_OF[sign] + (sign not in _RIGHT), needed and not decided)
            self._deep -= 1
            if sign == "=":
                if name[0] != "name":
                    raise ExpressionError("only a name can be assigned to; use == to compare")
                self._assigned[name[1]] = right
            if needed:
                left = left if decided else _applied(sign, left, right)
        return left

    def _operand(self, needed: bool) -> Value:
        self._deep += 1
        if self._deep > MOST_DEEP:
            raise ExpressionError("is nested too deep")
        value = self._read_operand(needed)
        self._deep -= 1
        return value

    def _read_operand(self, needed: bool) -> Value:
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return _number(text)
        if kind == "string":
            return re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r", "t": "\t"}.get(match[1], match[1]), text[1:-1])
        if kind == "name":
            if self._kind() == "operator" and self._text() == "(":
                raise ExpressionError(f"there is no function {text}")
            return self._named(text)
        if text == "(":
            value = self._operation(0, needed)
            if self._text() != ")" or self._kind() != "operator":
                raise ExpressionError("a parenthesis is not closed")
            self._at += 1
            return value
        if text in ("-", "!", "^"):
            operand = self._operand(needed)
            return _unary(text, operand) if needed else 0.0
        raise ExpressionError(f"a value is missing before {text!r}" if text else "a value is missing at the end")

    def _named(self, name: str) -> Value:
        if name in self._assigned:
            return self._assigned[name]
        if name not in self._defines:
            return 0.0
        value = self._defines[name]
        if value is None:
            return 1.0
        quoted = len(value) >= 2 and value[0] in "\"'" and value[0] == value[-1]
        return value[1:-1] if quoted else value


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ExpressionError(f"{text!r} is not a number") from None
    return _single(number)


def _single(number: float) -> float:
    """A number as a float of 32 bits; neither infinity nor NaN is one."""
    if not math.isfinite(number):
        raise ExpressionError("a number is too large")
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        raise ExpressionError("a number is too large") from None


def _whole(number: float) -> int:
    if not -(2**31) <= number < 2**31:
        raise ExpressionError("a whole number has more than 32 bits")
    return int(number)


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:.4g}"


def _numeric(value: Value) -> float:
    if isinstance(value, str):
        raise ExpressionError(f"{value!r} is a string, where a number is needed")
    return value


def _truth(value: Value) -> bool:
    """Whether an operand of C{&&} or C{||} is true."""
    if value == "":
        raise ExpressionError("an empty string is neither true nor false for && and ||")
    return bool(value)


def _alike(left: Value, right: Value) -> Value:
    """The right operand in the type of the left one."""
    if isinstance(left, str):
        return right if isinstance(right, str) else _shown(right)
    return right if isinstance(right, float) else _number(right)


def _unary(sign: str, value: Value) -> float:
    number = _numeric(value)
    if sign == "-":
        return -number
    return float(not number) if sign == "!" else _single(float(~_whole(number)))


def _applied(sign: str, left: Value, right: Value) -> Value:
    """The result of an operator."""
    if sign in (",", "="):
        return right
    if sign in ("&&", "||"):
        return float(_truth(right))
    if sign in _COMPARISONS:
        return float(_COMPARISONS[sign](left, _alike(left, right)))
    if sign == "+" and isinstance(left, str):
        joined = left + str(_alike(left, right))
        if len(joined) > LONGEST:
            raise ExpressionError(f"a string gets longer than {LONGEST:,} characters")
        return joined
    if sign == "+":
        return _single(_numeric(left) + _numeric(_alike(left, right)))
    return _calculated(sign, _numeric(left), _numeric(right))


def _calculated(sign: str, left: float, right: float) -> float:
    if sign in _WHOLE:
        return _single(float(_bits(sign, _whole(left), _whole(right))))
    try:
        if sign == "-":
            return _single(left - right)
        if sign == "*":
            return _single(left * right)
        if sign == "/":
            return _single(left / right)
        if sign == "%":
            return _single(_remainder(left, right))
        power = left**right
    except (ZeroDivisionError, OverflowError, ValueError):
        raise ExpressionError(f"{_shown(left)} {sign} {_shown(right)} has no value") from None
    if isinstance(power, complex):
        raise ExpressionError("a power has no value")
    return _single(power)


def _remainder(left: float, right: float) -> float:
    """The remainder with the sign of the left operand, as in C."""
    return abs(left) % abs(right) * (-1.0 if left < 0 else 1.0)


def _bits(sign: str, left: int, right: int) -> int:
    if sign in ("<<", ">>") and not 0 <= right < 32:
        raise ExpressionError(f"a shift by {right} has no value")
    return (_WHOLE[sign](left, right) + 2**31) % 2**32 - 2**31
