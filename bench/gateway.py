"""Measures the gateway in front of the real Kamailio: CPU time, the latency that it adds, and growth with the nodes.

python -m bench.gateway [--rounds N] [--only cpu|latency|growth]

Every call has other parameters than those before it: equal ones of the same moment would be asked once.
"""

import argparse
import contextlib
import json
import os
import re
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from bench.load import WrongReply
from bench.peers import Target, answers, free_port, request, start_kamailio, start_ours
from bench.processes import Process
from tests.support import http_call, http_request, twistd

SECONDS = 2
"""Of each run of wrk."""

CONNECTIONS = 32
BATCH = 100
RATE = 1000
"""Calls per second of which the latency is measured."""

LATENCY_SECONDS = 5
NODES = (1, 10, 100, 1000)
SOCKETS = 50
"""Nodes that one of our servers stands in for, each a socket of its own."""

DATAGRAMS = 20_000
IN_FLIGHT = 5
"""Datagrams that are under way in a bare loop."""

NUMBER = b"@@@@@@@@"
"""What becomes another number with each request, in it and in its reply."""

_SCRIPT = """
local file = io.open(os.getenv("BENCH_DOCUMENT"), "rb")
local body = file:read("*a")
file:close()
file = io.open(os.getenv("BENCH_REPLY"), "rb")
local expected = file:read("*a")
file:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrong, number = 0, 10000000
function setup(thread) t = thread end
function request()
    number = number + 1
    return wrk.format(nil, nil, nil, (body:gsub("@@@@@@@@", tostring(number))))
end
function response(status, headers, got)
    if status ~= 200 or (got:gsub("%d%d%d%d%d%d%d%d", "@@@@@@@@")) ~= expected then wrong = wrong + 1 end
end
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("\\nBENCH %d %d %d\\n", summary.requests, t:get("wrong"),
        errors.connect + errors.read + errors.write + errors.timeout))
end
"""

ECHO = request("core.echo", NUMBER.decode())
ECHO_REPLY = b'{"jsonrpc":"2.0","result":["%b"],"id":1}' % NUMBER
MANY = b"[%b]" % b",".join(request("core.echo", NUMBER.decode(), str(place)) for place in range(BATCH))
MANY_REPLY = b"[%b]" % b",".join(
    b'{"jsonrpc":"2.0","result":["%b","%d"],"id":1}' % (NUMBER, place) for place in range(BATCH)
)


@attrs.frozen
class Way:
    """A way to call the same Kamailio.

    @ivar processes: those whose CPU time counts.
    @ivar calls: how many there are in a document.
    """

    name: str
    url: str
    processes: Sequence[Process]
    document: bytes = ECHO
    reply: bytes = ECHO_REPLY
    calls: int = 1


def wrk(way: Way) -> float:
    """Send for a while over connections that stay open.

    @return: CPU seconds of a call.
    """
    with tempfile.TemporaryDirectory() as directory:
        script, document, reply = (Path(directory, name) for name in ("script.lua", "document", "reply"))
        script.write_text(_SCRIPT)
        document.write_bytes(way.document)
        reply.write_bytes(way.reply)
        before = sum(process.cpu() for process in way.processes)
        connections = CONNECTIONS if way.calls == 1 else 4
        done = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script), way.url],
            env={**os.environ, "BENCH_DOCUMENT": str(document), "BENCH_REPLY": str(reply)},
            capture_output=True,
            text=True,
            check=True,
        )
        taken = sum(process.cpu() for process in way.processes) - before
    match = re.search(r"^BENCH (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if match is None:
        raise WrongReply(f"wrk says nothing of {way.url}: {done.stdout}{done.stderr}")
    requests, wrong, errors = map(int, match.groups())
    if wrong or errors or not requests:
        raise WrongReply(f"{way.name}: of {requests} replies {wrong} were wrong, {errors} did not come")
    return taken / requests / way.calls


def datagrams(node: Target) -> float:
    """Send the same calls to a node's datagram socket, L{IN_FLIGHT} at a time, in a bare loop: what no gateway in front
    of it can do without.

    @return: CPU seconds of a call, those of the loop included.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(b"")
        sock.connect(node.address)
        began, before = time.process_time(), node.process.cpu()
        for number in range(DATAGRAMS + IN_FLIGHT):
            if number >= IN_FLIGHT and b'"result":["1' not in sock.recv(65_536):
                raise WrongReply("datagrams")
            if number < DATAGRAMS:
                sock.send(ECHO.replace(NUMBER, b"%d" % (10_000_000 + number)))
        return (time.process_time() - began + node.process.cpu() - before) / DATAGRAMS


def latencies(address: tuple[str, int], path: str) -> list[float]:
    """Send L{RATE} calls a second, whether or not those before them have been answered.

    @return: from when each was due to its reply, in seconds, sorted.
    """
    body, count = ECHO, RATE * LATENCY_SECONDS
    found: list[float] = []
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(CONNECTIONS)]
        poll = stack.enter_context(select.epoll())
        by_fd = {client.fileno(): client for client in clients}
        for fd, client in by_fd.items():
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(fd, select.EPOLLIN)
        idle = deque(by_fd)
        due: deque[float] = deque()
        asked: dict[int, float] = {}
        begin = time.perf_counter() + 0.01
        sent = 0
        while len(found) < count:
            now = time.perf_counter()
            while sent + len(due) < count and begin + (sent + len(due)) / RATE <= now:
                due.append(begin + (sent + len(due)) / RATE)
            while due and idle:
                fd = idle.popleft()
                asked[fd] = due.popleft()
                document = body.replace(NUMBER, b"%08d" % (10_000_000 + sent))
                by_fd[fd].sendall(http_request(document, path=path))
                sent += 1
            wait = 10.0 if sent == count else max(0.0, begin + (sent + len(due)) / RATE - time.perf_counter())
            for fd, _ in poll.poll(wait):
                reply = by_fd[fd].recv(65536)
                if b" 200 " not in reply or b'"result":["1' not in reply:
                    raise WrongReply(f"{path}: {reply!r}")
                found.append(time.perf_counter() - asked.pop(fd))
                idle.append(fd)
    return sorted(found)


@contextlib.contextmanager
def _stopping(processes: Sequence[Process]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.stop()


@contextlib.contextmanager
def both_up(directory: Path) -> Iterator[tuple[dict[str, Target], dict[str, Target]]]:
    """Kamailio, and a gateway in front of its datagram socket, by transport."""
    bare = start_ours(directory, name="certificate")  # makes the certificate that Kamailio shows
    bare[0].process.stop()
    started = start_kamailio(directory, directory / "tls.pem")
    with _stopping([target.process for target in started]):
        kamailio = {target.transport: target for target in started if target.process.name == "kamailio_unix"}
        ours = start_ours(directory, f"--node=k=unix:{kamailio['unix'].address}", name="gateway")
        with _stopping([ours[0].process]):
            yield kamailio, {target.transport: target for target in ours}


FLOORS = {"forwarding_loop": "bare loop", "twisted_forwarding": "bare Twisted"}
"""Programs that pass a call of L{ECHO} on and do nothing else, by their modules: what no gateway can do without."""


@contextlib.contextmanager
def floors(directory: Path, node: Target) -> Iterator[dict[str, dict[str, Target]]]:
    """The programs in front of a node, by name and transport."""
    started: list[Process] = []
    found = {}
    with _stopping(started):
        for module, name in FLOORS.items():
            http, https = free_port(), free_port()
            argv = [sys.executable, "-m", f"bench.servers.{module}", str(http), str(https), f"{directory}/tls.pem"]
            ready = partial(_answers_echo, http)
            process = Process(module, [*argv, node.address], directory, ready)
            started.append(process)
            ports = {"http": http, "https": https}
            found[name] = {scheme: Target(name, scheme, ("127.0.0.1", port), process) for scheme, port in ports.items()}
        yield found


def _answers_echo(port: int) -> bool:
    try:
        return b"result" in http_call("http", ("127.0.0.1", port), ECHO).body
    except OSError:
        return False


def cpu(directory: Path, rounds: int) -> str:
    """The CPU time of a call: Kamailio's own, and that of Kamailio and the gateway together."""
    with both_up(directory) as (kamailio, gateway), floors(directory, kamailio["unix"]) as bare_ways:
        both = [kamailio["unix"].process, gateway["http"].process]
        ways = []
        for transport in ("http", "https"):
            url = f"{gateway[transport].url}/k"
            for name, targets in bare_ways.items():
                target = targets[transport]
                ways.append(Way(f"{name}, {transport}", target.url, [both[0], target.process]))
            ways += [
                Way(f"Kamailio, {transport}", kamailio[transport].url, both[:1]),
                Way(f"gateway, {transport}", url, both),
                Way(f"gateway, {transport}, batches of {BATCH}", url, both, MANY, MANY_REPLY, BATCH),
                Way(f"our own command, {transport}", gateway[transport].url, both[1:]),
            ]
        found: dict[str, list[float]] = {way.name: [] for way in ways}
        bare: list[float] = []
        for _ in range(rounds):
            bare.append(datagrams(kamailio["unix"]))
            for way in ways:
                found[way.name].append(wrk(way))
    lines = ["| way | CPU µs/call, least | median | beside Kamailio's own |", "| --- | ---: | ---: | ---: |"]
    for way in ways:
        own = found[f"Kamailio, {way.name.split(', ')[1]}"]
        ratio = statistics.median(mine / theirs for mine, theirs in zip(found[way.name], own, strict=True))
        least, median = (1e6 * value for value in (min(found[way.name]), statistics.median(found[way.name])))
        lines.append(f"| {way.name} | {least:.1f} | {median:.1f} | {ratio:.2f} |")
    lines.append(f"| bare loop, datagrams | {1e6 * min(bare):.1f} | {1e6 * statistics.median(bare):.1f} | |")
    return "\n".join(lines)


def latency(directory: Path, rounds: int) -> str:
    """The latency that the gateway adds to Kamailio's own over HTTP, at L{RATE} calls a second."""
    lines = [
        f"| round, {RATE} calls/s | Kamailio p50 ms | p99 | gateway p50 ms | p99 | added p50 | p99 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with both_up(directory) as (kamailio, gateway):
        for number in range(rounds):
            own, through = latencies(kamailio["http"].address, "/RPC"), latencies(gateway["http"].address, "/RPC/k")
            figures = [one[int(len(one) * part)] * 1000 for one in (own, through) for part in (0.5, 0.99)]
            figures += [figures[2] - figures[0], figures[3] - figures[1]]
            lines.append(f"| {number + 1} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    return "\n".join(lines)


def growth(directory: Path, rounds: int) -> str:
    """Calls to all of many nodes, and to one of them, also while another one hangs."""
    lines = [
        "| nodes | to all, ms | µs/node | one of them, ms | memory MB | while one hangs: to the others, ms | one, ms |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for count in NODES:
        home = directory / str(count)
        home.mkdir()
        with _nodes(home, count) as nodes:
            figures = _fan_out(home, nodes, rounds)
        with _nodes(home, count) as nodes, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hung:
            hung.bind(f"{home}/hung")
            hanging = _fan_out(home, [*nodes, f"hung=unix:{home}/hung"], rounds, f"?quorum={count}")
        all_ms, one_ms, memory = figures
        shown = (all_ms, 1000 * all_ms / count, one_ms, memory, hanging[0], hanging[1])
        lines.append(f"| {count} | " + " | ".join(f"{figure:.2f}" for figure in shown) + " |")
    return "\n".join(lines)


@contextlib.contextmanager
def _nodes(home: Path, count: int) -> Iterator[list[str]]:
    """Nodes, as the setting node has them."""
    started: list[Process] = []
    with _stopping(started):
        for first in range(0, count, SOCKETS):
            sockets = [f"{home}/{place}" for place in range(first, min(count, first + SOCKETS))]
            argv = [twistd(), "-n", f"--pidfile={home}/{first}.pid", "jsonrpcs", "--transport=4", "--debug=0"]
            argv += [f"--dgram-socket={path}" for path in sockets]
            ready = lambda path=sockets[-1]: answers("unix", path, home)  # noqa: E731
            started.append(Process(f"nodes{first}", argv, home, ready))
        yield [f"n{place}=unix:{home}/{place}" for place in range(count)]


def _fan_out(home: Path, nodes: Sequence[str], rounds: int, query: str = "") -> tuple[float, float, float]:
    """@return: milliseconds of a call to all, and of a call to one; MB that the gateway takes."""
    file = home / "nodes"
    file.write_text("\n".join(nodes))
    port = free_port()
    argv = [twistd(), "-n", f"--pidfile={home}/gateway.pid", "jsonrpcs", "--transport=1", "--debug=0"]
    argv += [f"--node-file={file}", f"--http-listen=tcp:{port}:interface=127.0.0.1", f"--run-dir={home}"]
    argv += ["--node-interval=1000"]
    address = ("127.0.0.1", port)
    gateway = Process("gateway", argv, home, lambda: answers("http", address, home))
    count = len(nodes) - bool(query)
    with _stopping([gateway]):

        def call(path: str, number: int) -> tuple[float, Any]:
            document = request("core.echo", str(number))
            began = time.perf_counter()
            reply = http_call("http", address, document, path=path)
            return 1000 * (time.perf_counter() - began), json.loads(reply.body).get("result")

        deadline = time.monotonic() + 60
        while sum(one["state"] == "up" for one in _listed(address)) < count:
            if time.monotonic() > deadline:
                raise WrongReply(f"{count} nodes do not come up")
            time.sleep(0.1)
        to_all, to_one = [], []
        for number in range(max(5, rounds)):
            seconds, result = call(f"/RPC/*{query}", number)
            if len(result) < count or list(result.values())[:count] != [{"result": [str(number)]}] * count:
                raise WrongReply(f"{count} nodes: {str(result)[:300]}")
            to_all.append(seconds)
            seconds, result = call("/RPC/n0", number)
            if result != [str(number)]:
                raise WrongReply(str(result))
            to_one.append(seconds)
        return min(to_all), min(to_one), gateway.memory() / 1e6


def _listed(address: tuple[str, int]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(http_call("http", address, request("gateway.nodes")).body)["result"]
    return found


MEASURES = {"cpu": cpu, "latency": latency, "growth": growth}


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=MEASURES)
    options = parser.parse_args()
    for name in [options.only] if options.only else MEASURES:
        with tempfile.TemporaryDirectory(prefix="bench") as directory:
            print(MEASURES[name](Path(directory), options.rounds), flush=True)
        print()


if __name__ == "__main__":
    main()
