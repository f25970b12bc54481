"""What it costs to measure calls: CPU time per request with metrics, beside a server without them.

python -m bench.metrics [--rounds N]
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from bench import load
from bench.load import Call
from bench.peers import start_ours
from tests.support import ECHO, ECHO_REPLY

TRANSPORTS = ("unix", "udp4", "http", "https")
REQUESTS = 20_000
"""Requests of one run over datagrams."""
HTTP_SECONDS = 1


@attrs.frozen
class Cost:
    """The CPU time of a request over a transport, in seconds: the least of all rounds with and without metrics, and the
    ratio in the round in the middle.
    """

    transport: str
    measured: float
    plain: float
    median_ratio: float


def measure(directory: Path, rounds: int) -> list[Cost]:
    """Measure both servers in turn, several rounds."""
    one = Call(ECHO, ECHO_REPLY)
    costs: dict[str, list[tuple[float, float]]] = {transport: [] for transport in TRANSPORTS}
    with ExitStack() as stack:
        servers = []
        for name, options in (("plain", ()), ("measured", ("--metrics=/metrics",))):
            home = directory / name
            home.mkdir()
            targets = start_ours(home, *options)
            stack.callback(targets[0].process.stop)
            servers.append({target.transport: target for target in targets})
        for number in range(rounds):
            for transport in TRANSPORTS:
                cpu: dict[int, float] = {}
                for place in (0, 1) if number % 2 else (1, 0):
                    target = servers[place][transport]
                    before = target.process.cpu()
                    if transport in ("http", "https"):
                        done = load.wrk(target.url, one, HTTP_SECONDS)
                    else:
                        done = load.datagrams(target.address, one, REQUESTS)
                    cpu[place] = (target.process.cpu() - before) / done.requests
                costs[transport].append((cpu[1], cpu[0]))
    return [
        Cost(
            transport,
            min(measured for measured, _ in pairs),
            min(plain for _, plain in pairs),
            statistics.median(measured / plain for measured, plain in pairs),
        )
        for transport, pairs in costs.items()
    ]


def table(costs: Sequence[Cost]) -> str:
    """The costs as text."""
    lines = [
        "| transport | CPU µs/request with metrics: least | without | ratio | median of ratios |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {cost.transport} | {cost.measured * 1e6:.2f} | {cost.plain * 1e6:.2f} | {cost.measured / cost.plain:.3f} "
        f"| {cost.median_ratio:.3f} |"
        for cost in costs
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        print(table(measure(Path(name), options.rounds)))


if __name__ == "__main__":
    main()
