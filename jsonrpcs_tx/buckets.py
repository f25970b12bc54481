"""Token buckets, which limit how often something may happen."""

from collections.abc import Callable, Hashable
from typing import Final

MAX_BUCKETS: Final = 4096
"""Buckets that are kept by default."""


class TokenBuckets:
    """A bucket of tokens for each key, full at first.

    @param size: tokens in a full bucket.
    @param rate: tokens added to each bucket in a second.
    @param seconds: tells the time.
    @param most: buckets that are kept. The least recently used one is forgotten first, and is full from then on.
    """

    def __init__(self, size: float, rate: float, seconds: Callable[[], float], most: int = MAX_BUCKETS) -> None:
        self._size = size
        self._rate = rate
        self._seconds = seconds
        self._most = most
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # tokens, and when; the least recently used first

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, key: Hashable) -> float:
        """Seconds until a bucket has a token; 0 if it has one now."""
        return max(0.0, (1 - self._tokens(key)) / self._rate)

    def take(self, key: Hashable, tokens: float = 1) -> None:
        """Take a token out of a bucket, or with -1 give it back."""
        left = min(self._size, self._tokens(key) - tokens)
        self._buckets.pop(key, None)
        while len(self._buckets) >= self._most:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = left, self._seconds()

    def clear(self) -> None:
        """Forget all buckets, so that they are full."""
        self._buckets.clear()

    def _tokens(self, key: Hashable) -> float:
        now = self._seconds()
        tokens, before = self._buckets.get(key, (self._size, now))
        return min(self._size, tokens + max(0.0, now - before) * self._rate)  # not less if the clock was set back
