"""Waiting for what another process does, where nothing tells of it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support import PATIENCE

_Found = TypeVar("_Found")


def wait_until(
    look: Callable[[], _Found | None], failure: str | Callable[[], object] = "it never became true", pause: float = 0.02
) -> _Found:
    """Call a function until its result is true.

    @param failure: the message of the error, or a function that makes it.
    @param pause: seconds between two calls.
    @return: that result.
    @raise AssertionError: it was not true within L{PATIENCE}.
    """
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, failure if isinstance(failure, str) else failure()
        time.sleep(pause)
    return found


def wait_for_text(path: Path, text: str, after: int = 0) -> str:
    """What a file has, once a text is in it. The file may be made later.

    @param after: how many characters at the beginning to skip.
    """

    def read() -> str:
        return path.read_text()[after:] if path.exists() else ""

    def look() -> str | None:
        found = read()
        return found if text in found else None

    return wait_until(look, lambda: f"no {text!r} in {path}:\n{read()}")
