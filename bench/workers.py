"""How the request rate grows with the number of worker processes, for a command that takes time."""

from collections.abc import Sequence
from pathlib import Path

import attrs

from bench import load
from bench.load import Call
from bench.peers import request, start_ours
from tests.support import call

WORKERS = (1, 2)
REQUESTS = 2_000
SPIN = 0.001
"""Seconds of CPU time that the command takes."""


@attrs.frozen
class Rate:
    """How many requests a second a number of workers answered over a transport."""

    transport: str
    workers: int
    requests_per_second: float


def measure(directory: Path) -> list[Rate]:
    """Measure each number of workers over Unix datagram and UDP."""
    rates = []
    document = request("bench.spin", SPIN)
    for workers in WORKERS:
        targets = start_ours(directory, f"--dgram-workers={workers}", name=f"workers{workers}")
        try:
            for target in targets:
                if target.transport in ("unix", "udp4"):
                    one = Call(document, call(target.transport, target.address, document, directory))
                    runs = [load.datagrams(target.address, one, REQUESTS) for _ in range(2)]
                    rate = max(run.requests / run.seconds for run in runs)
                    rates.append(Rate(target.transport, workers, rate))
        finally:
            targets[0].process.stop()
    return rates


def table(rates: Sequence[Rate]) -> str:
    """The rates as text, with the ratio to one process."""
    one = {rate.transport: rate.requests_per_second for rate in rates if rate.workers == 1}
    lines = ["| transport | workers | requests/s of 1 ms each | to one |", "| --- | ---: | ---: | ---: |"]
    for rate in sorted(rates, key=lambda rate: (rate.transport, rate.workers)):
        ratio = rate.requests_per_second / one[rate.transport]
        lines.append(f"| {rate.transport} | {rate.workers} | {rate.requests_per_second:.0f} | {ratio:.2f} |")
    return "\n".join(lines)
