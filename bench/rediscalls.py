"""Measures what a call of Redis costs our client, beside a bare loop with hiredis, and beside redis-py.

python -m bench.rediscalls [--rounds N]

Figures are the CPU time of the client for each call, in microseconds, with 64 calls in progress over one Unix socket:
SET of 100 bytes, and XREAD of one entry of a stream. The clients take turns in one process, beside one server.
"""

import argparse
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis
import redis
from twisted.internet import reactor as twisted_reactor
from twisted.internet import task
from twisted.internet.defer import Deferred

from jsonrpcs_tx.redis.client import Redis
from jsonrpcs_tx.redis.locations import RedisLocation
from tests.support.redisserver import RedisServer

reactor: Any = twisted_reactor

WIDTH = 64
COUNT = 20_032
CALLS: dict[str, tuple[Any, ...]] = {
    "SET": ("SET", "key", b"x" * 100),
    "XREAD": ("XREAD", "COUNT", 1, "STREAMS", "stream", "0"),
}


def bare(path: str, words: tuple[Any, ...]) -> None:
    """Send the bytes of 64 calls, and read as many replies with hiredis."""
    reader = hiredis.Reader()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        for _ in range(COUNT // WIDTH):
            client.sendall(b"".join(hiredis.pack_command(words) for _ in range(WIDTH)))
            replies = 0
            while replies < WIDTH:
                reader.feed(client.recv(65536))
                while reader.gets() is not False:
                    replies += 1


def redis_py(path: str, words: tuple[Any, ...]) -> None:
    """The same with pipelines of redis-py, which uses hiredis."""
    with redis.Redis(unix_socket_path=path, protocol=2) as client:
        for _ in range(COUNT // WIDTH):
            pipeline = client.pipeline(transaction=False)
            for _ in range(WIDTH):
                pipeline.execute_command(*words)
            pipeline.execute()


def ours(client: Redis, words: tuple[Any, ...]) -> Deferred[None]:
    """Our client, each call made when another one is done."""
    done: Deferred[None] = Deferred()
    left, under_way = COUNT, WIDTH

    def again(_: object) -> None:
        nonlocal left, under_way
        if left:
            left -= 1
            client.call(*words, deadline=reactor.seconds() + 10).addCallbacks(again, done.errback)
        else:
            under_way -= 1
            if not under_way:
                done.callback(None)

    for _ in range(WIDTH):
        again(None)
    return done


async def measure(rounds: int, server: RedisServer) -> None:
    """Print a line for each kind of call."""
    up: Deferred[str] = Deferred()
    client = Redis(reactor, RedisLocation.parse(server.url), when_up=up.callback)
    client.start()
    await up
    server.command("XADD", "stream", "*", "entry", b"x" * 200, "mac", b"y" * 32)
    for name, words in CALLS.items():
        found: dict[str, list[float]] = {"hiredis": [], "redis-py": [], "ours": []}
        for _ in range(rounds):
            blocking: dict[str, Callable[..., None]] = {"hiredis": bare, "redis-py": redis_py}
            for peer, run in blocking.items():
                began = time.process_time()
                run(server.path, words)
                found[peer].append((time.process_time() - began) / COUNT)
            began = time.process_time()
            await ours(client, words)
            found["ours"].append((time.process_time() - began) / COUNT)
        ratios = [mine / other for mine, other in zip(found["ours"], found["hiredis"], strict=True)]
        figures = ", ".join(f"{peer} {min(times) * 1e6:.1f}" for peer, times in found.items())
        print(f"{name}: {figures} µs; ours to hiredis {statistics.median(ratios):.1f}")
    await client.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as directory, RedisServer(Path(directory)) as server:
        task.react(lambda _: Deferred.fromCoroutine(measure(rounds, server)))


if __name__ == "__main__":
    main()
