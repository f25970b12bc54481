"""Answers scrapes: collects in short turns that let others go first, and gives the same to all who ask meanwhile."""

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.metrics.exposition import Family, Format, render

FRESH: Final = 1.0
"""Seconds for which a result is given again, so that many scrapers cost no more than one."""

SLICE: Final = 0.005
"""Seconds of collecting after which others have their turn."""


class Scrapes:
    """The metrics as bytes.

    @param families: collects them, a family at a time.
    @param clock: tells the time, and says when the next turn of the reactor has come.
    """

    def __init__(self, families: Callable[[], Iterator[Family]], clock: IReactorTime) -> None:
        self._families = families
        self._clock = clock
        self._last: dict[Format, tuple[float, bytes]] = {}
        self._running: dict[Format, _Run] = {}

    def get(self, form: Format) -> Deferred[bytes]:
        """The metrics, not older than L{FRESH}.

        @return: fires with them, now or when all are collected; fails if they cannot be collected.
        """
        at, body = self._last.get(form, (0.0, b""))
        if body and 0 <= self._clock.seconds() - at < FRESH:
            return succeed(body)
        run = self._running.get(form)
        if run is None:
            run = self._running[form] = _Run(render(self._families(), form), self._clock)
            result = run.wait()
            run.done.addBoth(self._ended, form)
            run.go_on()
            return result
        return run.wait()

    def _ended(self, outcome: Any, form: Format) -> Any:
        del self._running[form]
        if isinstance(outcome, bytes):
            self._last[form] = self._clock.seconds(), outcome
        return outcome


class _Run:
    """One collection.

    @ivar done: fires with the result; all who wait come after what is added to it.
    """

    def __init__(self, pieces: Iterator[bytes], clock: IReactorTime) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._pieces = pieces
        self._clock = clock
        self._collected: list[bytes] = []
        self._waiting: list[Deferred[bytes]] = []

    def wait(self) -> Deferred[bytes]:
        """@return: fires with the result; cancelling it changes nothing for others."""
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def go_on(self) -> None:
        """Collect for L{SLICE}, and again in the next turn of the reactor, to the end."""
        end = perf_counter() + SLICE
        pieces: list[bytes] = []
        try:
            for piece in self._pieces:
                pieces.append(piece)
                if perf_counter() > end:
                    self._collected.append(b"".join(pieces))
                    self._clock.callLater(0, self.go_on)
                    return
        except Exception:
            self.done.errback()
        else:
            self.done.callback(b"".join((*self._collected, *pieces)))
        self.done.addBoth(self._tell)

    def _tell(self, outcome: Any) -> None:
        for waiting in self._waiting:
            waiting.callback(outcome)
