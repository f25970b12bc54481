"""Measures this server and its peers in turn, all up at once, and prints CPU time per request, rate and latency.

python -m bench [--rounds N] [--only KIND] [--transport NAME] [--output FILE.json] [--plot FILE.svg] [--no-growth]
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bench import growth, load, safeguards, workers
from bench.load import Call, Run
from bench.peers import KINDS, OURS, Kind, Target, all_up
from tests.support import call, http_call

COUNTS = {"unix": 20_000, "udp4": 20_000, "fifo": 10_000}
"""Requests of one run; for replies of 50 kB, a tenth of that."""

HTTP_SECONDS = 1


@attrs.frozen
class Row:
    """The measurements of one kind of call over one transport of one server; times in seconds."""

    kind: str
    transport: str
    peer: str
    reply_bytes: int
    cpu_min: float
    cpu_median: float
    rate: float
    p50: float
    p99: float


def prepare(target: Target, kind: Kind, directory: Path) -> Call:
    """Make the first call, and see that it is answered right.

    @raise WrongReply: it is not.
    """
    document = kind.document(target.peer)
    status = 200
    if target.transport in ("http", "https"):
        headers = {"Content-Type": "application/json"}
        answer = http_call(target.transport, target.address, document, path=target.path, headers=headers)
        reply, status = answer.body, answer.status
    else:
        reply = call(target.transport, target.address, document, directory)
    if not kind.right(json.loads(reply)):
        raise load.WrongReply(f"{target.peer}: {document[:100]!r} was answered with {reply[:200]!r}")
    return Call(document, reply, status)


def run(target: Target, kind: Kind, one: Call, directory: Path) -> tuple[Run, float]:
    """Send one run of requests.

    @return: what the client saw, and the CPU seconds of the server for each request.
    """
    before = target.process.cpu()
    if target.transport in ("http", "https"):
        done = load.wrk(target.url, one, HTTP_SECONDS)
    else:
        count = COUNTS[target.transport] // (10 if kind.name == "50 kB" else 1)
        if target.transport == "fifo":
            done = load.fifo(target.address, directory, one, count)
        else:
            done = load.datagrams(target.address, one, count)
    return done, (target.process.cpu() - before) / done.requests


def measure(targets: Sequence[Target], kinds: Sequence[Kind], rounds: int, directory: Path) -> list[Row]:
    """Measure every kind of call to every target, in turn, several rounds."""
    plan = [
        (target, kind, prepare(target, kind, directory))
        for kind in kinds
        for target in targets
        if (kind.peers is None or target.peer in kind.peers)
        and (kind.transports is None or target.transport in kind.transports)
    ]
    results: list[list[tuple[Run, float]]] = [[] for _ in plan]
    for _ in range(rounds):
        for (target, kind, one), result in zip(plan, results, strict=True):
            result.append(run(target, kind, one, directory))
    return [
        Row(
            kind.name,
            target.transport,
            target.peer,
            len(one.reply),
            min(cpu for _, cpu in result),
            statistics.median(cpu for _, cpu in result),
            max(done.requests / done.seconds for done, _ in result),
            min(done.p50 for done, _ in result),
            min(done.p99 for done, _ in result),
        )
        for (target, kind, one), result in zip(plan, results, strict=True)
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows as text, with the ratio of our CPU time to each peer's."""
    ours = {(row.kind, row.transport): row for row in rows if row.peer == OURS}
    lines = [
        "| call | transport | server | reply, bytes | CPU µs/request: least | median | requests/s | p50 ms | p99 ms "
        "| ours to it |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: list(ours).index((row.kind, row.transport))):
        own = ours[row.kind, row.transport]
        ratio = "" if row is own else f"{own.cpu_min / row.cpu_min:.2f}"
        lines.append(
            f"| {row.kind} | {row.transport} | {row.peer} | {row.reply_bytes} | {row.cpu_min * 1e6:.1f} "
            f"| {row.cpu_median * 1e6:.1f} | {row.rate:.0f} | {row.p50 * 1e3:.2f} | {row.p99 * 1e3:.2f} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=[kind.name for kind in KINDS], help="one kind of call")
    parser.add_argument("--transport", help="one transport: unix, udp4, fifo, http or https")
    parser.add_argument("--output", type=Path, help="file for the figures, in JSON")
    parser.add_argument("--plot", type=Path, help="file for a plot, SVG or PNG (needs matplotlib)")
    parser.add_argument("--no-growth", action="store_true", help="leave out how the server scales")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.only in (None, kind.name)]
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        directory = Path(name)
        with all_up(directory) as targets:
            wanted = [target for target in targets if options.transport in (None, target.transport)]
            rows = measure(wanted, kinds, options.rounds, directory)
        print(f"{os.cpu_count()} CPUs, {options.rounds} rounds\n")
        print(table(rows))
        figures: dict[str, Any] = {"rows": [attrs.asdict(row) for row in rows]}
        if not options.no_growth:
            grown = growth.measure(directory)
            print("\n" + growth.table(grown))
            figures["growth"] = [attrs.asdict(step) for step in grown]
            costs = safeguards.measure(directory)
            print("\n" + safeguards.table(costs))
            figures["safeguards"] = [attrs.asdict(cost) for cost in costs]
            rates = workers.measure(directory)
            print("\n" + workers.table(rates))
            figures["workers"] = [attrs.asdict(rate) for rate in rates]
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        from bench.plot import plot

        plot(rows, options.plot)


if __name__ == "__main__":
    main()
