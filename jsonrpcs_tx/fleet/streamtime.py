"""The time of a stream: the clock of what is shared, so that items expire at the same moment for all nodes."""

from typing import Any, Final

MARGIN: Final = 60.0
"""Seconds by which the clock of Redis may go back, for example to that of another Redis after a failover."""


class StreamTime:
    """The time of the stream: while an entry is applied, the time at which Redis added it; otherwise the time of
    Redis, as well as it is known.

    @param clock: has the time of this machine.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._ahead = 0.0
        self._moment: float | None = None
        self._certain = 0.0

    def seconds(self) -> float:
        """Seconds since 1970."""
        return float(self._clock.seconds()) + self._ahead if self._moment is None else self._moment

    @property
    def ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self.seconds() * 1000)

    def told(self, ms: int) -> None:
        """Redis has just said that it is this time, in milliseconds since 1970."""
        self._ahead = ms / 1000 - float(self._clock.seconds())

    def read_until(self, ms: int) -> None:
        """All entries that Redis had added by this time have been applied.

        @param ms: in milliseconds since 1970.
        """
        self._certain = max(self._certain, ms / 1000)

    def lasting(self) -> float:
        """The time, in seconds since 1970, up to which everything is final: no entry of an earlier time can follow."""
        return self._certain - MARGIN

    def be_at(self, ms: int | None) -> None:
        """Stay at the time of an entry, in milliseconds since 1970, while it is applied; None: go on."""
        self._moment = None if ms is None else ms / 1000
