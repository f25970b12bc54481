"""What the panel C{load} shows: requests, how long they take, connections, memory; from the sources of the metrics."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import Any, Final

import msgspec

from jsonrpcs_tx.metrics.lag import ReactorLag
from jsonrpcs_tx.metrics.processes import usage
from jsonrpcs_tx.metrics.server import OTHER
from jsonrpcs_tx.rpc.measures import BITS, FAILED, SUM, TELLING, Row, settle
from jsonrpcs_tx.service import JsonRpcService

MAX_METHODS: Final = 50
"""Methods that are shown, those that are called most."""

WINDOW: Final = 60.0
"""Seconds that means and percentiles cover."""

STEP: Final = 10.0
"""Seconds between two of the former states, with one of which the current state is compared."""

_Rows = dict[str, tuple[int, ...]]


class Load:
    """The load of a server.

    @param service: the server.
    @param lag: how late its reactor is.
    """

    def __init__(self, service: JsonRpcService, lag: ReactorLag) -> None:
        self._service = service
        self._lag = lag
        self._methods = Window(service.reactor.seconds)
        self._transports = Window(service.reactor.seconds)

    def read(self) -> bytes:
        """The load now, as JSON."""
        service = self._service
        counters = service.counters
        errors = counters.get("core", "err_requests")  # this also adds what workers have counted and measured
        delayed = counters.get("jsonrpc", "async_in_flight")
        used, measures = usage(os.getpid()), service.dispatcher.measures
        told: dict[str, Any] = {
            "time": time(),
            "requests": {name: one.requests.value for name, one in service.dispatcher.all_traffic().items()},
            "errors": 0 if errors is None else errors.read(),
            "connections": sum(stream.connections.opened for stream in service.streams()),
            "memory": 0 if used is None else used.resident_bytes,
            "lag": round(self._lag.last, 6),
            "async": 0 if delayed is None else delayed.read(),
            "measured": measures is not None,
            "methods": {},
            "latency": {},
        }
        if measures is not None:
            rows = {**measures.rows, OTHER: measures.rows.other}
            for row in rows.values():
                settle(row)
            methods = self._methods.add({name: row for name, row in rows.items() if any(row[:BITS])})
            busiest = sorted(methods.items(), key=lambda one: -one[1][0])[:MAX_METHODS]
            told["methods"] = {name: (calls, rows[name][FAILED], *times) for name, (calls, *times) in busiest}
            told["latency"] = self._transports.add(measures.transports)
        return msgspec.json.encode(told)


class Window:
    """The rows of durations, now and up to L{WINDOW} ago.

    @param seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._before: deque[tuple[float, _Rows]] = deque()

    def add(self, rows: Mapping[str, Row]) -> dict[str, tuple[Any, ...]]:
        """Add the current rows, see L{jsonrpcs_tx.rpc.measures}.

        @return: for each row the number of calls, and the mean, the median and the 99th percentile of the last
            L{WINDOW}, in microseconds; None if there were no calls.
        """
        now = self._seconds()
        current = {name: tuple(row[:TELLING]) for name, row in rows.items()}
        while self._before and not now - WINDOW <= self._before[0][0] <= now:
            self._before.popleft()
        former = self._before[0][1] if self._before else current  # at first, it is not known when the calls came
        if not self._before or now - self._before[-1][0] >= STEP:
            self._before.append((now, current))
        return {name: (sum(row[:BITS]), *_times(row, former.get(name))) for name, row in current.items()}


def _times(row: tuple[int, ...], before: tuple[int, ...] | None) -> tuple[float | None, float | None, float | None]:
    """Mean, median and 99th percentile, in microseconds, of what has been measured since a former state."""
    counts: Iterable[int] = row[:BITS]
    total = row[SUM]
    if before is not None:
        counts = [max(0, now - then) for now, then in zip(counts, before[:BITS], strict=True)]
        total = max(0, total - before[SUM])
    counts = list(counts)
    calls = sum(counts)
    if not calls:
        return None, None, None
    return round(total / calls / 1000, 1), percentile(counts, calls * 0.5), percentile(counts, calls * 0.99)


def percentile(counts: list[int], rank: float) -> float:
    """The duration of a rank, in microseconds, if the calls in a bucket are spread evenly between its bounds.

    @param counts: the calls in each bucket, see L{jsonrpcs_tx.rpc.measures}.
    @param rank: how many calls take no longer.
    """
    below = 0
    for bits, count in enumerate(counts):
        if count and below + count >= rank:
            least = 2 ** (bits - 1) if bits else 0
            nanoseconds: float = least + (2**bits - least) * (rank - below) / count
            return round(nanoseconds / 1000, 1)
        below += count
    return 0.0
