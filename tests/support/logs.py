"""What was logged, for tests to look at."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher


@contextlib.contextmanager
def observed(note: Callable[[LogEvent], object]) -> Iterator[None]:
    """Have a function called with each event that is logged meanwhile.

    @param note: the observer. Give the same one only once at a time.
    """
    observer = cast(ILogObserver, note)  # any callable is one; the interface cannot say so to mypy
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """The lines that are logged meanwhile, of any level."""
    lines: list[str] = []
    with observed(lambda event: lines.append(formatEvent(event))):
        yield lines


def warnings(events: Iterable[LogEvent]) -> list[str]:
    """The texts of the warnings among events."""
    return [formatEvent(event) for event in events if event["log_level"].name == "warn"]
