"""Waiting while the reactor runs."""

import time
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.support import PATIENCE


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor run until a condition holds; not for longer than L{PATIENCE}."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        await deferLater(reactor, 0)
