"""How the server does with more commands, more open connections, more destinations; how it starts and rests."""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from bench import load
from bench.load import Call, Run
from bench.peers import Target, request, start_ours
from tests.support import ECHO, ECHO_REPLY, datagram_call

COMMANDS = (10, 1_000, 100_000)
CONNECTIONS = (1, 100, 1_000, 5_000)
DESTINATIONS = (10, 1_000, 100_000)
REQUESTS = 20_000
ROUNDS = 2


@attrs.frozen
class Step:
    """What one step costs: a size of one thing.

    @ivar cpu: of a request, in seconds.
    @ivar started: seconds from the start of the process to its first reply.
    @ivar memory: bytes at rest.
    """

    what: str
    count: int
    cpu: float
    started: float
    memory: int


def measure(directory: Path) -> list[Step]:
    """Measure every step, each with a server of its own."""
    steps = [_commands(directory, count) for count in COMMANDS]
    steps += [_destinations(directory, count) for count in DESTINATIONS]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    try:
        steps += _connections(directory, [count for count in CONNECTIONS if count < hard // 2])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return steps


@contextlib.contextmanager
def _server(directory: Path, *arguments: str, **environment: str) -> Iterator[tuple[dict[str, Target], float]]:
    """A server, and how long its start took."""
    os.environ.update(environment)
    began = time.perf_counter()
    targets = start_ours(directory, *arguments, name="growth")
    started = time.perf_counter() - began
    try:
        yield {target.transport: target for target in targets}, started
    finally:
        targets[0].process.stop()
        for name in environment:
            del os.environ[name]


def _datagrams(target: Target, document: bytes) -> float:
    """The CPU time of a request over a datagram socket."""
    call = Call(document, datagram_call(target.address, document))
    if b'"result"' not in call.reply:
        raise load.WrongReply(f"{document!r} was answered with {call.reply!r}")
    return min(_cpu(target, lambda: load.datagrams(target.address, call, REQUESTS)) for _ in range(ROUNDS))


def _cpu(target: Target, run: Callable[[], Run]) -> float:
    before = target.process.cpu()
    requests = run().requests
    return (target.process.cpu() - before) / requests


def _commands(directory: Path, count: int) -> Step:
    with _server(directory, "--commands=bench.many:Many", BENCH_COMMANDS=str(count)) as (targets, started):
        unix = targets["unix"]
        memory = unix.process.memory()
        return Step("commands", count, _datagrams(unix, request(f"many.command{count - 1}")), started, memory)


def _destinations(directory: Path, count: int) -> Step:
    file = directory / "destinations.list"
    file.write_text("".join(f"1 sip:10.{n >> 16}.{n >> 8 & 255}.{n & 255}:5060\n" for n in range(count)))
    options = ("--commands=bench.many:Pick", f"--list-file={file}")
    with _server(directory, *options) as (targets, started):
        unix = targets["unix"]
        memory = unix.process.memory()
        return Step("destinations", count, _datagrams(unix, request("pick.destination", "bob")), started, memory)


def _connections(directory: Path, counts: Sequence[int]) -> Iterator[Step]:
    limit = f"--max-connections={2 * max(counts)}"
    with _server(directory, limit) as (targets, started), contextlib.ExitStack() as stack:
        http = targets["http"]
        opened = 0
        for count in counts:
            while opened < count:
                stack.enter_context(socket.create_connection(http.address))
                opened += 1
            memory = http.process.memory()
            cpu = min(_cpu(http, lambda: load.wrk(http.url, Call(ECHO, ECHO_REPLY), 1)) for _ in range(ROUNDS))
            yield Step("open HTTP connections", count, cpu, started, memory)


def table(steps: Sequence[Step]) -> str:
    """The steps as text."""
    lines = [
        "| with | count | CPU µs/request | start, s | memory at rest, MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {step.what} | {step.count} | {step.cpu * 1e6:.1f} | {step.started:.2f} | {step.memory / 1e6:.0f} |"
        for step in steps
    ]
    return "\n".join(lines)
