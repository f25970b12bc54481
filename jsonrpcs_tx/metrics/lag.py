"""How late the reactor is: the delay for every client, besides the time of its own command."""

from time import perf_counter_ns
from typing import Any, Final

from twisted.application.service import Service

from jsonrpcs_tx.rpc.measures import Row, new_row, record_apart

INTERVAL: Final = 1.0
"""Seconds between two measurements."""


class ReactorLag(Service):
    """Measures every second by how much a timer is late.

    @param reactor: runs the timer.
    @ivar row: the delays, see L{jsonrpcs_tx.rpc.measures}.
    @ivar last: the last delay, in seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self.row: Row = new_row()
        self.last: float = 0.0
        self._reactor = reactor
        self._next: Any = None

    def startService(self) -> None:
        super().startService()
        self._wait()

    def stopService(self) -> None:
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _wait(self) -> None:
        due = perf_counter_ns() + int(INTERVAL * 1e9)
        self._next = self._reactor.callLater(INTERVAL, self._look, due)

    def _look(self, due: int) -> None:
        late = max(0, perf_counter_ns() - due)
        record_apart(self.row, late)
        self.last = late / 1e9
        self._wait()
