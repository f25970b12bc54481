"""Waiting while the reactor runs."""

import time
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.support import PATIENCE

_BUSY = 100
"""Turns of the reactor after which a wait leaves the processor to others."""

_PAUSE = 0.002
"""Seconds between two looks from then on."""


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor run until a condition holds; not for longer than L{PATIENCE}."""
    end = time.monotonic() + PATIENCE
    turns = 0
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        turns += 1
        await deferLater(reactor, 0 if turns < _BUSY else _PAUSE)
