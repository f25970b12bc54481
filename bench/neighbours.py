"""Measures what a client takes of the others: their latency while it does something large, and the memory of its
connections.

python -m bench.neighbours [--seconds N]
"""

import argparse
import multiprocessing
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from bench.load import WrongReply
from bench.peers import Target, request, start_ours
from tests.support import ECHO, http_request, unverified

CONNECTIONS = 1_000
OPEN = 3_000
"""Connections whose memory is measured."""
MEGABYTE = 1_000_000
PAUSE = 0.005
"""Seconds between two requests of the client whose latency is measured."""


@attrs.frozen
class Latency:
    """The latency of others, in seconds, while something is done."""

    what: str
    requests: int
    p50: float
    p99: float
    most: float


_tls = cache(unverified)


def _connect(target: Target) -> Any:
    connection = socket.create_connection(target.address)
    return _tls().wrap_socket(connection) if target.transport == "https" else connection


def _call(connection: Any, document: bytes) -> bytes:
    """Send a document, and read the whole reply."""
    connection.sendall(http_request(document))
    reply = b""
    while True:
        piece: bytes = connection.recv(1_048_576)
        reply += piece
        head, end, body = reply.partition(b"\r\n\r\n")
        if not piece or (end and len(body) >= int(head.lower().partition(b"content-length:")[2].split()[0])):
            break
    if b" 200 " not in reply[:20]:
        raise WrongReply(f"{document[:100]!r}: {reply[:200]!r}")
    return reply


def _again(target: Target, document: bytes) -> None:
    with _connect(target) as connection:
        while True:
            _call(connection, document)


def send_large(target: Target) -> None:
    """Send documents of a megabyte, one after the other."""
    _again(target, request("jsonrpc.echo", "x" * MEGABYTE))


def send_batches(target: Target) -> None:
    """Send batches of a thousand requests, one after the other."""
    _again(target, b"[" + b",".join([ECHO] * 1_000) + b"]")


def arrive(target: Target) -> None:
    """Open a thousand connections, make a call on each, and close them, again and again."""
    while True:
        with ExitStack() as stack:
            connections = [stack.enter_context(socket.socket()) for _ in range(CONNECTIONS)]
            for connection in connections:
                connection.connect(target.address)
            for connection in connections:
                connection.sendall(http_request(ECHO))
            for connection in connections:
                connection.recv(1000)


def latency(target: Target, what: str, disturb: Callable[[Target], None] | None, seconds: float) -> Latency:
    """Measure the latency of one client, beside another one."""
    other = None if disturb is None else multiprocessing.Process(target=disturb, args=(target,), daemon=True)
    if other is not None:
        other.start()
    took: list[float] = []
    with _connect(target) as connection:
        _call(connection, ECHO)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            _call(connection, ECHO)
            took.append(time.perf_counter() - began)
            time.sleep(PAUSE)
    if other is not None:
        if not other.is_alive():
            raise WrongReply(f"{what}: the other client has failed")
        other.terminate()
        other.join()
    took.sort()
    return Latency(what, len(took), statistics.median(took), took[len(took) * 99 // 100], took[-1])


def memory(target: Target) -> float:
    """The bytes of an open connection on which a call was made."""
    with ExitStack() as stack:
        _call(stack.enter_context(_connect(target)), ECHO)
        before = target.process.memory()
        for _ in range(OPEN):
            _call(stack.enter_context(_connect(target)), ECHO)
        return (target.process.memory() - before) / OPEN


def table(latencies: Sequence[Latency], memories: dict[str, float]) -> str:
    """The figures as text."""
    lines = ["| meanwhile | requests | p50 ms | p99 ms | most ms |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {one.what} | {one.requests} | {one.p50 * 1e3:.2f} | {one.p99 * 1e3:.2f} | {one.most * 1e3:.1f} |"
        for one in latencies
    ]
    lines += ["", "| open connection | kB |", "| --- | ---: |"]
    lines += [f"| {transport} | {size / 1000:.1f} |" for transport, size in memories.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="for which each latency is measured")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        arguments = ("--max-connections=5000", f"--http-max-body={2 * MEGABYTE}")
        targets = {target.transport: target for target in start_ours(Path(name), *arguments)}
        try:
            memories = {transport: memory(targets[transport]) for transport in ("http", "https")}
            latencies = [
                latency(targets["http"], what, disturb, options.seconds)
                for what, disturb in (
                    ("nothing", None),
                    ("documents of 1 MB", send_large),
                    ("batches of 1,000", send_batches),
                    ("1,000 connections at once", arrive),
                )
            ]
        finally:
            targets["http"].process.stop()
    print(table(latencies, memories))


if __name__ == "__main__":
    main()
