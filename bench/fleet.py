"""Measures a fleet over a real Redis: how long until all nodes have made a change, and what that costs.

python -m bench.fleet [--processes N] [--nodes N] [--changes N] [--interval SECONDS] [--idle SECONDS]
    [--bare] [--calls N] [--restart]

Each process has its share of the nodes, with the real code of a node down to its two connections. With as many nodes as
processes, each is a process of its own. What nodes use while nothing is changed is measured first, and taken off.

C{--bare} adds two processes that only read the stream, with and without Twisted: what a change costs at the least under
the same conditions, see L{bench.fleetbare}. C{--calls} gives each node a small server on a Unix socket, and adds a
gateway, which finds them all by itself and then calls all of them at once, over HTTP. C{--restart} kills all nodes at
once, and starts them again.

Where other programs use the same CPUs, they decide how long a change takes. C{chrt -r 1} before the command puts the
nodes and Redis before them.
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

from jsonrpcs_tx import JsonRpcService, Settings, makeService
from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.fleet.fleet import Fleet
from jsonrpcs_tx.fleet.scripts import Keys
from jsonrpcs_tx.redis.locations import RedisLocation
from jsonrpcs_tx.state.memory import loading
from jsonrpcs_tx.state.tables import Table, Tables
from tests.support.ports import free_port
from tests.support.redisserver import RedisServer

PATIENCE = 300.0
"""Seconds until all nodes must be together."""

SECRET = "a secret that only this program has"

STAGGER = 0.02
"""Seconds between the starts of two nodes in a process. After a mass restart there are none."""

GATEWAY = "gateway"

STREAM = Keys("bench").stream


def main() -> None:
    """Start everything, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--interval", type=float, default=0.05)
    parser.add_argument("--idle", type=float, default=8)
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--restart", action="store_true")
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


class Usage:
    """The CPU time that Redis and the processes have used so far, in seconds."""

    def __init__(self, redis: RedisServer, workers: list["Process"]) -> None:
        self.redis = _cpu(redis.process.pid)
        self.nodes = sum(_cpu(worker.pid) for worker in workers)


Process = subprocess.Popen[str]


def measure(redis: RedisServer, directory: Path, options: argparse.Namespace) -> None:
    """Run the nodes, have one make changes, and print the results."""
    share = options.nodes // options.processes
    nodes = share * options.processes
    print(f"{nodes} nodes in {options.processes} processes, load {os.getloadavg()[0]:.1f} at first")
    began = time.monotonic()
    workers = [_start(redis, directory, number, share, options) for number in range(options.processes)]
    others: list[Process] = []
    try:
        _until_together(workers)
        print(f"all together after {time.monotonic() - began:.1f} s")
        bare = _start_bare(redis) if options.bare else {}
        others.extend(bare.values())
        idle = Usage(redis, workers)
        time.sleep(options.idle)
        before, bare_before = Usage(redis, workers), {way: _cpu(process.pid) for way, process in bare.items()}
        changing = time.monotonic()
        workers[0].send_signal(signal.SIGUSR1)
        _expect(workers[0], "done")
        time.sleep(1 + nodes / 500)
        changed = time.monotonic() - changing
        after, memory = Usage(redis, workers), _redis_memory(redis)
        results = _end(workers, directory)
        _report(options, nodes, results)
        for what, at_first, at_rest, at_last, each in (
            ("a node", idle.nodes, before.nodes, after.nodes, nodes),
            ("Redis", idle.redis, before.redis, after.redis, 1),
        ):
            rest = (at_rest - at_first) / options.idle
            spent = at_last - at_rest - rest * changed
            shown = f"{rest / each * 1e6:.0f} us a second at rest"
            print(f"CPU of {what} for a change: {spent / options.changes / each * 1e6:.0f} us, and {shown}")
        for way, process in bare.items():
            used = _cpu(process.pid) - bare_before[way]
            print(f"CPU of a process that only reads the stream, {way}: {used / options.changes * 1e6:.0f} us")
        print(f"memory of Redis {memory}, {_of_node(results)}")
        if options.calls or options.restart:
            workers = _restart(redis, directory, workers, options, share)
        if options.calls:
            _call_all(redis, directory, nodes, workers, others, options)
    finally:
        for worker in (*workers, *others):
            worker.kill()
            worker.wait(PATIENCE)


def _start_bare(redis: RedisServer) -> dict[str, Process]:
    """Start the processes that only read the stream, and wait until they do."""
    command = [sys.executable, "-m", "bench.fleetbare"]
    started = {
        way: subprocess.Popen([*command, way, redis.path, STREAM], stdout=subprocess.PIPE, text=True)
        for way in ("loop", "twisted")
    }
    for process in started.values():
        _expect(process, "reading")
    return started


def _restart(
    redis: RedisServer, directory: Path, workers: list[Process], options: argparse.Namespace, share: int
) -> list[Process]:
    """Start all nodes at once after all have been killed at once."""
    before = _cpu(redis.process.pid)
    began = time.monotonic()
    since = int(time.time())
    workers[:] = [
        _start(redis, directory, number, share, options, stagger=0.0, since=since, serve=bool(options.calls))
        for number in range(options.processes)
    ]
    for worker in workers:
        _expect(worker, "made")
    made = time.monotonic() - began
    _until_together(workers)
    took = time.monotonic() - began
    spent = [_cpu(worker.pid) for worker in workers]
    print(f"started again at once: all together, and known to all, after {took:.1f} s, {made:.1f} s of it to load")
    print(f"  CPU of Redis {_cpu(redis.process.pid) - before:.2f} s, of the nodes {sum(spent):.1f} s, {_load()}")
    return workers


def _call_all(
    redis: RedisServer,
    directory: Path,
    nodes: int,
    workers: list[Process],
    others: list[Process],
    options: argparse.Namespace,
) -> None:
    """Have a gateway call all nodes at once, again and again."""
    port = free_port()
    gateway = _start(redis, directory, -1, nodes, options, port=port)
    others.append(gateway)
    _until_together([gateway])
    took: list[float] = []
    with Client(f"http://127.0.0.1:{port}/RPC/*") as client:
        client.call("core.version", timeout=PATIENCE)
        before, used = Usage(redis, workers), _cpu(gateway.pid)
        for _ in range(options.calls):
            began = time.monotonic()
            answers = client.call("core.version", timeout=PATIENCE)
            took.append(time.monotonic() - began)
            answered = sum("result" in answer for answer in answers.values())
            assert answered == nodes, f"{answered} of {nodes} nodes have answered"
        used, after = _cpu(gateway.pid) - used, Usage(redis, workers)
    each = 1e6 / options.calls / nodes
    print(
        f"call of all {nodes} nodes: p50 {_percentile(took, 50):.1f} ms, p99 {_percentile(took, 99):.1f} ms, {_load()}"
    )
    print(f"  CPU for a node and call: gateway {used * each:.0f} us, node {(after.nodes - before.nodes) * each:.0f} us")
    print(f"  memory of the gateway: {_memory(gateway.pid) / 1024:.1f} MB")


def _report(options: argparse.Namespace, nodes: int, results: list[dict[str, Any]]) -> None:
    """Say how long changes took."""
    sent, acknowledged = results[0]["sent"], results[0]["acknowledged"]
    seen = [max(result["seen"][number] for result in results) - begun for number, begun in enumerate(sent)]
    replies = [end - begun for begun, end in zip(sent, acknowledged, strict=True)]
    share = nodes // options.processes
    assert all(result["count"] == [share] * len(sent) for result in results), "a change is missing, or was made twice"
    print(f"{len(sent)} changes, {options.interval * 1000:.0f} ms apart, {_load()}")
    print(f"made by all:  p50 {_percentile(seen, 50):.2f} ms, p99 {_percentile(seen, 99):.2f} ms")
    print(f"answered:     p50 {_percentile(replies, 50):.2f} ms, p99 {_percentile(replies, 99):.2f} ms")


def _of_node(results: list[dict[str, Any]]) -> str:
    """The memory that nodes take, in words."""
    grown = statistics.mean(result["grown"] / len(result["nodes"]) for result in results)
    process = statistics.mean(result["memory"] for result in results)
    return f"of a process {process / 1024:.1f} MB, {grown:.0f} kB of it for each node"


def _redis_memory(redis: RedisServer) -> str:
    memory: Any = redis.command("INFO", "memory")
    used = next(one for one in memory.decode().splitlines() if one.startswith("used_memory:"))
    return f"{int(used.partition(':')[2]) / 1e6:.1f} MB"


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def _expect(worker: Process, said: str) -> None:
    """Wait until a process says something."""
    assert worker.stdout is not None
    found = worker.stdout.readline()
    while found == "made\n" != f"{said}\n":
        found = worker.stdout.readline()
    assert found == f"{said}\n", found


def _until_together(workers: list[Process]) -> None:
    for worker in workers:
        _expect(worker, "together")


def _end(workers: list[Process], directory: Path) -> list[dict[str, Any]]:
    """Kill all at once.

    @return: what they have seen.
    """
    for worker in workers:
        worker.send_signal(signal.SIGUSR2)
    for worker in workers:
        _expect(worker, "written")
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait(PATIENCE)
    return [json.loads((directory / f"{number}.json").read_text()) for number in range(len(workers))]


def _percentile(values: list[float], percent: int) -> float:
    """In milliseconds."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] * 1000


def _start(
    redis: RedisServer,
    directory: Path,
    number: int,
    share: int,
    options: argparse.Namespace,
    *,
    stagger: float = STAGGER,
    since: int = 0,
    serve: bool = False,
    port: int = 0,
) -> Process:
    """Start a process with nodes; with a port, the gateway."""
    task = {
        "url": redis.url,
        "directory": str(directory),
        "first": number * share,
        "nodes": 0 if port else share,
        "all": share + 1 if port else share * options.processes,
        "changes": options.changes,
        "interval": options.interval,
        "file": str(directory / f"{number}.json"),
        "stagger": stagger,
        "since": since,
        "serve": serve,
        "port": port,
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
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(worker.run, worker.change()))
    signal.signal(signal.SIGUSR2, lambda *_: reactor.callFromThread(worker.write))
    with loading():
        worker.make()
    print("made", flush=True)
    reactor.callWhenRunning(worker.run, worker.wait())
    reactor.run(installSignalHandlers=False)


class _Worker:
    """A process with nodes, or with the gateway."""

    def __init__(self, task: dict[str, Any], reactor: Any) -> None:
        self._task = task
        self._reactor = reactor
        self._seen, self._count = [0.0] * task["changes"], [0] * task["changes"]
        self._sent: list[float] = []
        self._acknowledged: list[float] = []
        self._tables: list[Table] = []
        self._fleets: list[Fleet] = []
        self._before = 0

    def make(self) -> None:
        """Make the nodes."""
        task = self._task
        self._before = _memory(os.getpid())
        if task["port"]:
            gateway = self._serve(GATEWAY, http_listen=[f"tcp:{task['port']}:interface=127.0.0.1"], **self._of_fleet())
            self._fleets = [next(child for child in gateway if isinstance(child, Fleet))]
        else:
            self._fleets = [self._node(task["first"] + place, place) for place in range(task["nodes"])]

    def _of_fleet(self) -> dict[str, Any]:
        secret = Path(self._task["directory"]) / "secret"
        secret.touch(0o600)
        secret.write_text(SECRET)
        return {"fleet": self._task["url"], "fleet_name": "bench", "fleet_node": GATEWAY, "fleet_secret": str(secret)}

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
        address = ""
        if self._task["serve"]:
            path = f"{self._task['directory']}/{name}"
            Path(path).unlink(missing_ok=True)
            address = f"unix:{path}"
            self._serve(name, transport=4, dgram_socket=path)
        secret = SECRET.encode()
        fleet = Fleet(where, "bench", name, secret, lambda _: things, "refuse", 5.0, address, [], self._reactor)
        self._reactor.callLater(self._task["stagger"] * place, fleet.startService)
        return fleet

    def _serve(self, name: str, **settings: Any) -> JsonRpcService:
        """Start a small server."""
        service = makeService(Settings(load=["core"], **settings), self._reactor)
        service.setName(name)
        service.privilegedStartService()
        service.startService()
        return service

    def run(self, coroutine: Any) -> None:
        """Run to the end, and end with an error."""
        Deferred.fromCoroutine(coroutine).addErrback(self._fail)

    async def wait(self) -> None:
        """Say when the nodes are together, and know all."""
        end = time.monotonic() + PATIENCE
        while not (all(fleet.core.together for fleet in self._fleets) and self._knows_all()):
            assert time.monotonic() < end, self._fleets[0].status()
            await deferLater(self._reactor, 0.05)
        print("together", flush=True)

    def _knows_all(self) -> bool:
        cards = self._fleets[0].cards.values()
        known = sum(card.started >= self._task["since"] for card in cards)
        return bool(known == self._task["all"])

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

    def write(self) -> None:
        """Write what was seen."""
        memory = _memory(os.getpid())
        result = {
            "sent": self._sent,
            "acknowledged": self._acknowledged,
            "seen": self._seen,
            "count": self._count,
            "nodes": [fleet.node for fleet in self._fleets],
            "memory": memory,
            "grown": memory - self._before,
        }
        Path(self._task["file"]).write_text(json.dumps(result))
        print("written", flush=True)

    def _fail(self, failure: Any) -> None:
        failure.printTraceback(file=sys.stderr)
        os._exit(1)


if __name__ == "__main__":
    main()
