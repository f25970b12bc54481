"""Collects metrics in slices, once for all scrapes that ask meanwhile."""

from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.metrics.exposition import Family, Format, render
from jsonrpcs_tx.slices import Slices

FRESH: Final = 1.0
"""Seconds for which a result is used again, so that many scrapers cost no more than one."""


class Scrapes:
    """The metrics as bytes.

    @param families: collects them, a family at a time.
    @param slices: in which they are collected.
    @param clock: tells how old a result is.
    """

    def __init__(self, families: Callable[[], Iterator[Family]], slices: Slices, clock: IReactorTime) -> None:
        self._families = families
        self._slices = slices
        self._clock = clock
        self._last: dict[Format, tuple[float, bytes]] = {}
        self._waiting: dict[Format, list[Deferred[bytes]]] = {}

    def get(self, form: Format) -> Deferred[bytes]:
        """The metrics, not older than L{FRESH}.

        @return: fires with them, now or when all are collected; fails if they cannot be collected. Cancelling it
            changes nothing for others.
        """
        at, body = self._last.get(form, (0.0, b""))
        if body and 0 <= self._clock.seconds() - at < FRESH:
            return succeed(body)
        waiting: Deferred[bytes] = Deferred()
        if form in self._waiting:
            self._waiting[form].append(waiting)
        else:
            self._waiting[form] = [waiting]
            self._slices.run(_collect(render(self._families(), form))).addBoth(self._ended, form)
        return waiting

    def _ended(self, outcome: bytes | Failure, form: Format) -> None:
        if isinstance(outcome, bytes):
            self._last[form] = self._clock.seconds(), outcome
        for waiting in self._waiting.pop(form):
            waiting.callback(outcome)


def _collect(pieces: Iterator[bytes]) -> Generator[None, None, bytes]:
    collected = BytesIO()
    for piece in pieces:
        collected.write(piece)
        yield
    return collected.getvalue()
