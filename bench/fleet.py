"""Measures a fleet over a real Redis: how long until all nodes have made a change, and what that costs.

python -m bench.fleet [--processes N] [--nodes N] [--changes N] [--interval SECONDS]

Each process has its share of the nodes, with the real code of a node down to its two connections. With as many nodes as
processes, each is a process of its own.
"""

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.redis.locations import RedisLocation
from jsonrpcs_tx.state.tables import Table, Tables
from tests.support.redisserver import RedisServer

PATIENCE = 300.0
"""Seconds until all nodes must be together."""

SECRET = b"a secret that only this program has"


def main() -> None:
    """Start everything, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--interval", type=float, default=0.05)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(json.loads(options.worker))
        return
    with tempfile.TemporaryDirectory(prefix="fleet") as directory:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with RedisServer(Path(directory) / "redis") as redis:
            measure(redis, Path(directory), options)


def measure(redis: RedisServer, directory: Path, options: argparse.Namespace) -> None:
    """Run the nodes, have one make changes, and print the results."""
    share = options.nodes // options.processes
    began = time.monotonic()
    workers = [_start(redis, directory, number, share, options) for number in range(options.processes)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "together\n"
        joined = time.monotonic() - began
        before = _cpu(redis.process.pid), [_cpu(worker.pid) for worker in workers]
        workers[0].send_signal(signal.SIGUSR1)
        assert workers[0].stdout is not None
        assert workers[0].stdout.readline() == "done\n"
        time.sleep(1 + share * options.processes / 500)
        after = _cpu(redis.process.pid), [_cpu(worker.pid) for worker in workers]
        memory: Any = redis.command("INFO", "memory")
        used = next(one for one in memory.decode().splitlines() if one.startswith("used_memory:"))
        sizes = [_memory(worker.pid) for worker in workers]
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(PATIENCE)
    _report(directory, options, share, joined, before, after, used, sizes)


def _report(
    directory: Path,
    options: argparse.Namespace,
    share: int,
    joined: float,
    before: tuple[float, list[float]],
    after: tuple[float, list[float]],
    used: str,
    sizes: list[int],
) -> None:
    results = [json.loads((directory / f"{number}.json").read_text()) for number in range(options.processes)]
    sent, acknowledged = results[0]["sent"], results[0]["acknowledged"]
    seen = [max(result["seen"][number] for result in results) - begun for number, begun in enumerate(sent)]
    replies = [end - begun for begun, end in zip(sent, acknowledged, strict=True)]
    nodes = share * options.processes
    assert all(result["count"] == [share] * len(sent) for result in results), "a change is missing, or was made twice"
    spent = sum(after[1]) - sum(before[1])
    print(f"{nodes} nodes in {options.processes} processes, {len(sent)} changes, load {os.getloadavg()[0]:.1f}")
    print(f"all together after {joined:.1f} s")
    print(f"made by all:  p50 {_percentile(seen, 50):.2f} ms, p99 {_percentile(seen, 99):.2f} ms")
    print(f"answered:     p50 {_percentile(replies, 50):.2f} ms, p99 {_percentile(replies, 99):.2f} ms")
    print(f"CPU of a node for a change: {spent / len(sent) / nodes * 1e6:.0f} us")
    print(f"CPU of Redis for a change: {(after[0] - before[0]) / len(sent) * 1e6:.0f} us, {used}")
    print(f"memory of a process: {statistics.mean(sizes) / 1024:.1f} MB, with {share} nodes")


def _percentile(values: list[float], percent: int) -> float:
    """In milliseconds."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] * 1000


def _start(
    redis: RedisServer, directory: Path, number: int, share: int, options: argparse.Namespace
) -> subprocess.Popen[str]:
    task = {
        "url": redis.url,
        "first": number * share,
        "nodes": share,
        "all": share * options.processes,
        "changes": options.changes,
        "interval": options.interval,
        "file": str(directory / f"{number}.json"),
    }
    command = [sys.executable, "-m", "bench.fleet", "--worker", json.dumps(task)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _cpu(pid: int) -> float:
    """Seconds that the main thread of a process has used, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _memory(pid: int) -> int:
    """The resident memory of a process in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def _work(task: dict[str, Any]) -> None:
    """Be a process with nodes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    from twisted.internet import reactor as installed

    reactor: Any = installed
    worker = _Worker(task, reactor)
    signal.signal(signal.SIGTERM, lambda *_: worker.end())
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(worker.run, worker.change()))
    reactor.callWhenRunning(worker.run, worker.wait())
    reactor.run(installSignalHandlers=False)


class _Worker:
    """A process with nodes."""

    def __init__(self, task: dict[str, Any], reactor: Any) -> None:
        self._task = task
        self._reactor = reactor
        self._seen, self._count = [0.0] * task["changes"], [0] * task["changes"]
        self._sent: list[float] = []
        self._acknowledged: list[float] = []
        self._tables: list[Table] = []
        self._fleets = [self._node(task["first"] + place, place) for place in range(task["nodes"])]

    def _node(self, number: int, place: int) -> Fleet:
        table = Tables(self._reactor).define("ban=>")
        self._tables.append(table)
        real = table.apply

        def apply(operation: str, arguments: Any) -> Any:
            result = real(operation, arguments)
            if operation == "set":
                self._seen[arguments[1]] = time.monotonic()
                self._count[arguments[1]] += 1
            return result

        table.apply = apply  # type: ignore[method-assign]
        where = RedisLocation.parse(self._task["url"])
        things = {"htable:ban": table}
        name = f"node{number}"
        fleet = Fleet(where, "bench", name, SECRET, lambda _: things, "refuse", 5.0, "", [], self._reactor)
        self._reactor.callLater(0.02 * place, fleet.startService)
        return fleet

    def run(self, coroutine: Any) -> None:
        """Run to the end, and end with an error."""
        Deferred.fromCoroutine(coroutine).addErrback(self._fail)

    async def wait(self) -> None:
        """Say when the nodes are together, and know all."""
        end = time.monotonic() + PATIENCE
        while not (
            all(fleet.core.together for fleet in self._fleets) and len(self._fleets[0].cards) == self._task["all"]
        ):
            assert time.monotonic() < end, self._fleets[0].status()
            await deferLater(self._reactor, 0.05)
        print("together", flush=True)

    async def change(self) -> None:
        """Make the changes."""
        for number in range(self._task["changes"]):
            self._sent.append(time.monotonic())
            done = self._tables[0].set(f"key {number}", number)
            assert done is not None
            await done
            self._acknowledged.append(time.monotonic())
            await deferLater(self._reactor, self._task["interval"])
        print("done", flush=True)

    def end(self) -> None:
        """Write what was seen."""
        result = {"sent": self._sent, "acknowledged": self._acknowledged, "seen": self._seen, "count": self._count}
        Path(self._task["file"]).write_text(json.dumps(result))
        os._exit(0)

    def _fail(self, failure: Any) -> None:
        failure.printTraceback(file=sys.stderr)
        os._exit(1)


if __name__ == "__main__":
    main()
