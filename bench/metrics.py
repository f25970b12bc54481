"""What it costs to measure calls: CPU time per request with metrics, beside a server without them.

python -m bench.metrics [--rounds N]
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import load
from bench.load import Call
from bench.peers import start_ours
from bench.safeguards import Cost, table
from tests.support import ECHO, ECHO_REPLY

TRANSPORTS = ("unix", "udp4", "http", "https")
REQUESTS = 20_000
"""Requests of one run over datagrams."""
HTTP_SECONDS = 1


def measure(directory: Path, rounds: int) -> list[Cost]:
    """Measure both servers in turn, several rounds."""
    one = Call(ECHO, ECHO_REPLY)
    costs: dict[str, list[tuple[float, float]]] = {transport: [] for transport in TRANSPORTS}
    with ExitStack() as stack:
        servers = []
        for name, options in (("open", ()), ("measured", ("--metrics=/metrics",))):
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
    return [Cost.of("metrics", transport, rounds) for transport, rounds in costs.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        print(table(measure(Path(name), options.rounds)))


if __name__ == "__main__":
    main()
