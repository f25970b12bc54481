"""How long a destination takes to answer probes, estimated as Kamailio's dispatcher does (C{ds_ping_latency_stats})."""

from math import sqrt
from struct import Struct
from typing import Final

FEW: Final = 10
"""Answers from which on the estimate differs from the average."""

STEADY: Final = 0.5
"""The standard deviation, in milliseconds, below which an average of more than L{FEW} answers counts as settled."""

SETTLED: Final = 10_000
"""Answers that a settled average, or one that is given, counts as."""

MOST: Final = 2**21
"""Answers beyond which each further one has the same weight in the average."""

_SINGLE: Final = Struct("f")


class Latency:
    """Statistics in milliseconds, in single precision like Kamailio's, so that they have the same digits.

    @param expected: what is expected before anything was measured; 0: nothing.
    @ivar average: of all answers.
    @ivar deviation: their standard deviation.
    @ivar estimate: the average in which recent answers have more weight, an exponentially weighted moving average.
    @ivar most: the longest.
    @ivar timeouts: how many probes were not answered.
    """

    __slots__ = ("_count", "_squares", "average", "deviation", "estimate", "most", "timeouts")

    def __init__(self, expected: int = 0) -> None:
        self.average: float = expected
        self.estimate: float = expected
        self.deviation: float = 0.0
        self.most: int = expected
        self.timeouts: int = 0
        self._count = SETTLED if expected else 0
        self._squares = 0.0

    def answered(self, milliseconds: int, memory: float) -> None:
        """A probe was answered.

        @param memory: the weight of the former estimate in the new one, between 0 and 1.
        """
        if self._count < MOST:
            self._count += 1
        else:
            self._squares -= self._squares / self._count
        if self._count == 1:
            self.average = self.estimate = self.most = milliseconds
            return
        if FEW < self._count < SETTLED and self.deviation < STEADY:
            self._count = SETTLED
        self.most = max(self.most, milliseconds)
        before = _single(milliseconds - self.average)
        self.average = _single(self.average + before / self._count)
        self._squares += before * _single(milliseconds - self.average)
        self.deviation = _single(sqrt(self._squares / (self._count - 1)))
        if self._count < FEW:
            self.estimate = self.average
        else:
            memory = _single(memory)
            self.estimate = _single(_single(self.estimate * memory) + _single(milliseconds * (1 - memory)))

    def timed_out(self) -> None:
        """A probe was not answered."""
        self.timeouts += 1


def _single(value: float) -> float:
    """The nearest number of single precision."""
    return float(_SINGLE.unpack(_SINGLE.pack(value))[0])
