"""What has changed between two results of the same call. No I/O."""

from jsonrpcs_tx.cli.paths import plain_values
from jsonrpcs_tx.client.documents import write
from jsonrpcs_tx.printable import printable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

GONE = "gone"
NEW = "new"


class Changes:
    """Compares each result with the one before.

    @ivar rounds: how many results there were.
    """

    def __init__(self) -> None:
        self.rounds = 0
        self._before: dict[str, object] = {}
        self._when = 0.0

    def of(self, result: object, seconds: float) -> "Iterator[tuple[str, str, str]]":
        """Compare a result with the one before.

        @param seconds: the time.
        @return: for each value its path, the value as printable text, and its change; empty if it has not changed.
            Values that are gone come last.
        """
        now = dict(plain_values(result))
        before, self._before = self._before, now
        passed, self._when = seconds - self._when, seconds
        self.rounds += 1
        if self.rounds == 1:
            return ((path, shown(value), "") for path, value in now.items())
        rows = [(path, shown(value), _change(before, path, value, passed)) for path, value in now.items()]
        rows += [(path, shown(value), GONE) for path, value in before.items() if path not in now]
        return iter(rows)


def shown(value: object) -> str:
    """A plain value as printable text."""
    return printable(value) if isinstance(value, str) else write(value)


_LARGE = 10**15
"""From here on a rate is shown with an exponent."""


def _change(before: dict[str, object], path: str, value: object, passed: float) -> str:
    """The change of a value as text: the value before, or for numbers the difference and the rate."""
    if path not in before:
        return NEW
    old = before[path]
    if old == value and type(old) is type(value):
        return ""
    if _is_number(old) and _is_number(value):
        from decimal import Decimal

        numbers = [one if type(one) is int else Decimal(write(one)) for one in (old, value)]
        difference = numbers[1] - numbers[0]
        if passed <= 0:
            return f"{difference:+}"
        rate = Decimal(f"{Decimal(difference) / Decimal(passed):.3g}")  # three significant digits
        return f"{difference:+}  {rate:+{'f' if abs(rate) < _LARGE else ''}}/s"
    return f"was {shown(old)}"


def _is_number(value: object) -> bool:
    return not isinstance(value, str | bool | dict | list | None)
