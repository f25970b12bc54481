"""Conditions on results: C{uptime>60}. No I/O."""

import re

from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.cli.paths import values_at
from jsonrpcs_tx.client.documents import write
from jsonrpcs_tx.printable import printable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from decimal import Decimal

_CONDITION = re.compile(r"([^=!<>~]*?)\s*(<=|>=|!=|==|=|<|>|~)\s*(.*)", re.DOTALL)
_LONGEST = 60
"""Characters of a value in a message."""


class Condition:
    """A condition on a result.

    @param text: PATH OPERATOR VALUE.
    @raise UsageError: the text is not a condition.
    """

    def __init__(self, text: str) -> None:
        found = _CONDITION.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"{text!r}: there is no operator; allowed: PATH OPERATOR VALUE, such as uptime>60")
        self._path, self._operator, self._value = found.groups()
        self._number = _number(self._value)
        if self._operator in ("<", "<=", ">", ">=") and self._number is None:
            raise UsageError(f"{text!r}: {self._value!r} is not a number; allowed: a number with {self._operator}")

    def failure(self, result: object) -> str | None:
        """Why a result does not meet the condition; None if it does. If the path leads to several values, each of them
        must meet it.
        """
        values = values_at(result, self._path)
        if not values:
            return f"{self._path or 'the result'} is missing"
        for value in values:
            if not self._holds(value):
                shown = _text(value)
                shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
                return (
                    f"{self._path or 'the result'} is {printable(shown)}, not {printable(self._operator + self._value)}"
                )
        return None

    def measured(self, result: object) -> tuple[str, object] | None:
        """The number that the condition is about, with the path to it; None if it is not about one number."""
        values = values_at(result, self._path)
        if len(values) == 1 and self._path and not isinstance(values[0], str) and _number(_text(values[0])) is not None:
            return self._path, values[0]
        return None

    def _holds(self, value: object) -> bool:
        text = _text(value)
        if self._operator == "~":
            return self._value in text
        number = _number(text)
        if self._number is not None and number is not None:
            return _compared(self._operator, number, self._number)
        if self._operator == "!=":
            return text != self._value
        return self._operator in ("=", "==") and text == self._value


def _compared(operator: str, own: "Decimal", other: "Decimal") -> bool:
    if operator in ("=", "=="):
        return own == other
    if operator == "!=":
        return own != other
    if operator[0] == "<":
        return own < other or (operator == "<=" and own == other)
    return own > other or (operator == ">=" and own == other)


def _text(value: object) -> str:
    return value if isinstance(value, str) else write(value)


def _number(text: str) -> "Decimal | None":
    from decimal import Decimal, DecimalException

    try:
        number = Decimal(text)
    except DecimalException:
        return None
    return number if number.is_finite() else None
