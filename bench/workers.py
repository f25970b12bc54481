"""How many more requests a second are answered by more worker processes, for a command that takes time and for an echo.

python -m bench.workers
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench import load
from bench.load import Call
from bench.peers import request, start_ours
from tests.support import ECHO, call

WORKERS = (1, 2, 4)
ROUNDS = 3
SPIN = 0.001
"""Seconds of CPU time that the command takes that takes time."""

CALLS = (("1 ms", request("bench.spin", SPIN), 2_000), ("echo", ECHO, 20_000))
"""Kinds of calls with the number of requests of a run."""


@attrs.frozen
class Rate:
    """How many requests a second a number of workers answered over a transport, and the CPU time of one, in seconds."""

    kind: str
    transport: str
    workers: int
    requests_per_second: float
    cpu: float


def measure(directory: Path) -> list[Rate]:
    """Measure each number of workers over Unix datagram and UDP."""
    rates = []
    for workers in WORKERS:
        targets = start_ours(directory, f"--dgram-workers={workers}", name=f"workers{workers}")
        process = targets[0].process
        try:
            for target in targets:
                if target.transport in ("unix", "udp4"):
                    for kind, document, count in CALLS:
                        one = Call(document, call(target.transport, target.address, document, directory))
                        runs, cpus = [], []
                        for _ in range(ROUNDS):
                            before = process.cpu()
                            runs.append(load.datagrams(target.address, one, count))
                            cpus.append((process.cpu() - before) / count)
                        rate = max(run.requests / run.seconds for run in runs)
                        rates.append(Rate(kind, target.transport, workers, rate, min(cpus)))
        finally:
            process.stop()
    return rates


def table(rates: Sequence[Rate]) -> str:
    """The rates as text, with the ratio to one process."""
    one = {(rate.kind, rate.transport): rate.requests_per_second for rate in rates if rate.workers == 1}
    lines = [
        "| call | transport | workers | requests/s | to one | CPU µs/request |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for rate in sorted(rates, key=lambda rate: (rate.kind, rate.transport, rate.workers)):
        ratio = rate.requests_per_second / one[rate.kind, rate.transport]
        lines.append(
            f"| {rate.kind} | {rate.transport} | {rate.workers} | {rate.requests_per_second:.0f} | {ratio:.2f} "
            f"| {rate.cpu * 1e6:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        print(table(measure(Path(name))))
