"""Keeps answers for a while."""

from typing import Any, Final

from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.reactor.interfaces import Reactor

MAX_SIZE: Final = 1 << 20
"""Bytes of the cached answers of one node."""
_OVERHEAD: Final = 500
"""Approximate bytes that an answer takes in addition to its text."""


class Cache:
    """Answers of one node, by method and parameters.

    @param seconds: how long an answer is kept at most, counted from when it was asked for.
    @param most: bytes that all answers together may take. The oldest are dropped first; an answer that would take more
        than a quarter is not kept.
    @ivar size: approximate bytes that they take.
    """

    def __init__(self, clock: Reactor, seconds: float, most: int = MAX_SIZE) -> None:
        self.size: int = 0
        self._clock: Any = clock
        self._seconds = seconds
        self._most = most
        self._kept: dict[tuple[str, bytes], tuple[Answer, float, int]] = {}  # until when, bytes; the oldest first
        self._timer: Any = None

    def get(self, key: tuple[str, bytes]) -> Answer | None:
        """The answer to a call, or None."""
        kept = self._kept.get(key)
        return kept[0] if kept is not None and self._clock.seconds() < kept[1] else None

    def keep(self, key: tuple[str, bytes], answer: Answer, asked: float) -> None:
        """Keep a result; faults are not kept.

        @param asked: when it was asked for.
        """
        until = asked + self._seconds
        if answer.result is None or until <= self._clock.seconds():
            return
        size = _OVERHEAD + len(key[0]) + len(key[1]) + len(answer.result)
        if size > self._most // 4:
            return
        self._drop(key)
        while self.size + size > self._most:
            self._drop(next(iter(self._kept)))
        self._kept[key] = answer, until, size
        self.size += size
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._expire)

    def clear(self) -> None:
        """Forget all answers."""
        self._kept.clear()
        self.size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, key: tuple[str, bytes]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= kept[2]

    def _expire(self) -> None:
        """Forget expired answers, so that they do not stay in memory if nobody asks any more."""
        self._timer = None
        now = self._clock.seconds()
        for key in [key for key, kept in self._kept.items() if kept[1] <= now]:
            self._drop(key)
        if self._kept:
            self._timer = self._clock.callLater(self._seconds, self._expire)
