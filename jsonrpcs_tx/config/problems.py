"""Problems of a configuration: a start stops at the first one, a check collects them all. What is only doubtful stops
nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from jsonrpcs_tx.errors import JsonRpcsError
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)


class Problems:
    """Takes problems, and stops at the first one by raising it."""

    def note(self, error: JsonRpcsError) -> None:
        """Take a problem.

        @raise JsonRpcsError: it, unless problems are collected.
        """
        raise error from error.__cause__

    def warn(self, doubt: JsonRpcsError) -> None:
        """Take what is allowed, but probably not what was meant: it is logged, or collected."""
        _log.warn("{doubt}", doubt=doubt)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take what is raised inside as a problem. If problems are collected, the rest of the block is skipped, and
        execution continues after it.
        """
        try:
            yield
        except JsonRpcsError as error:
            self.note(error)

    def translated(self, translate: Callable[[JsonRpcsError], JsonRpcsError]) -> "Problems":
        """Passes problems on to this, rewording them first.

        @param translate: returns the problem that is noted here.
        """
        return _Translated(self, translate)


class AllProblems(Problems):
    """Collects problems.

    @ivar found: all of them, each once, in the order in which they were found.
    @ivar doubts: what is only doubtful.
    """

    def __init__(self) -> None:
        self._by_text: dict[str, JsonRpcsError] = {}
        self.doubts: list[JsonRpcsError] = []

    @property
    def found(self) -> list[JsonRpcsError]:
        return [*self._by_text.values()]

    def note(self, error: JsonRpcsError) -> None:
        self._by_text.setdefault(str(error), error)

    def warn(self, doubt: JsonRpcsError) -> None:
        self.doubts.append(doubt)


class _Translated(Problems):
    def __init__(self, problems: Problems, translate: Callable[[JsonRpcsError], JsonRpcsError]) -> None:
        self._problems = problems
        self._translate = translate

    def note(self, error: JsonRpcsError) -> None:
        self._problems.note(self._translate(error))

    def warn(self, doubt: JsonRpcsError) -> None:
        self._problems.warn(self._translate(doubt))


FIRST: Final = Problems()
"""Stops at the first problem."""
