"""Measures what a call costs the client with Deferreds, beside bare loops that send the same bytes.

python -m bench.calling [--rounds N]

Figures are the client's CPU time for each call, with 64 calls in progress, or over a Unix socket as many as its queue
has room for. Client and loop run in turn, each in a process of its own, beside one server. The client's calls are
chained by callbacks; what they cost where coroutines make them, Twisted's part of it included, stands beside it.
"""

import argparse
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from bench import load
from jsonrpcs_tx.client.datagrams import room
from jsonrpcs_tx.client.deferred import Client, connect
from jsonrpcs_tx.client.httpmessages import post, post_head
from jsonrpcs_tx.client.targets import Target, parse_target
from tests.support import ECHO, ECHO_REPLY, Server, unverified
from tests.support.clients import TRANSPORTS, our_target

UNDER_WAY = 64
COUNTS = {"tcp": 2_000, "https": 4_000, "http": 8_000}
DEFAULT_COUNT = 20_000
RESULT = ["x", 1]


def client(target: Target, count: int) -> float:
    """CPU seconds of our client, whose calls are chained by callbacks."""

    def ask(calling: Client) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        left, under_way = count, UNDER_WAY

        def call() -> None:
            nonlocal left, under_way
            if left > 0:
                left -= 1
                calling.call("jsonrpc.echo", "x", 1).addCallbacks(again, done.errback)
            else:
                under_way -= 1
                if not under_way:
                    done.callback(None)

        def again(result: object) -> None:
            if result != RESULT:
                done.errback(load.WrongReply(str(target)))
            call()

        for _ in range(UNDER_WAY):
            call()
        return done

    return _spent(target, ask)


def coroutines(target: Target, count: int) -> float:
    """CPU seconds of our client, whose calls are made by coroutines."""

    async def ask(calling: Client) -> None:
        left = count

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                if await calling.call("jsonrpc.echo", "x", 1) != RESULT:
                    raise load.WrongReply(str(target))

        await gatherResults([Deferred.fromCoroutine(caller()) for _ in range(UNDER_WAY)])

    return _spent(target, lambda calling: Deferred.fromCoroutine(ask(calling)))


def _spent(target: Target, ask: Callable[[Client], Deferred[None]]) -> float:
    """CPU seconds that a program takes with a client."""
    spent = 0.0

    async def main() -> None:
        nonlocal spent
        calling = connect(target, timeout=60, under_way=UNDER_WAY)
        await calling.call("jsonrpc.echo", "x", 1)
        began = time.process_time()
        await ask(calling)
        spent = time.process_time() - began
        await calling.close()
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(lambda failure: os._exit(_tell(failure))))
    reactor.run()
    return spent


def _tell(failure: Any) -> int:
    failure.printTraceback()
    return 1


def loop(target: Target, count: int) -> float:
    """CPU seconds of a bare loop."""
    loops: dict[str, Callable[[Target, int], None]] = {
        "unix": _datagrams,
        "udp": _datagrams,
        "fifo": _fifo,
        "tcp": _connections,
        "http": _posts,
        "https": _posts,
    }
    began = time.process_time()
    loops[target.scheme](target, count)
    return time.process_time() - began


def _datagrams(target: Target, count: int) -> None:
    """One socket: sendto and recvfrom."""
    address: Any = target.path or (target.host, target.port)
    family = socket.AF_UNIX if target.path else socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if target.path:
            sock.bind(b"")
        under_way = room(target, UNDER_WAY)
        for _ in range(under_way):
            sock.sendto(ECHO, address)
        for number in range(count):
            if sock.recvfrom(65_536)[0] != ECHO_REPLY:
                raise load.WrongReply(str(target))
            if number < count - under_way:
                sock.sendto(ECHO, address)


def _fifo(target: Target, count: int) -> None:
    """Reply FIFOs that stay open: the end of a reply is told by the change."""
    where = Path(target.reply_dir or "/tmp")
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        server = os.open(target.path, os.O_WRONLY)
        stack.callback(os.close, server)
        requests = stack.enter_context(load.reply_fifos(where, ECHO, UNDER_WAY))
        for fd, request in requests.items():
            poll.register(fd, select.EPOLLIN | select.EPOLLET)
            os.write(server, request)
        replies = dict.fromkeys(requests, b"")
        answered = 0
        while answered < count:
            for fd, events in poll.poll(load.PATIENCE):
                if events & select.EPOLLIN:
                    replies[fd] += os.read(fd, 65_536)
                if events & select.EPOLLHUP and replies[fd]:
                    if replies[fd] != ECHO_REPLY:
                        raise load.WrongReply(str(target))
                    replies[fd] = b""
                    answered += 1
                    os.write(server, requests[fd])


def _connections(target: Target, count: int) -> None:
    """A connection for each call, one after the other."""
    for _ in range(count):
        with socket.create_connection((target.host, target.port)) as sock:
            sock.sendall(ECHO)
            sock.shutdown(socket.SHUT_WR)
            if b"".join(iter(lambda: sock.recv(65_536), b"")) != ECHO_REPLY:
                raise load.WrongReply(str(target))


def _posts(target: Target, count: int) -> None:
    """Connections that stay open; replies are taken in the order in which they come."""
    request = post(post_head(target), ECHO)
    tls = unverified()
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        sockets: dict[int, socket.socket] = {}
        for _ in range(UNDER_WAY):
            sock = socket.create_connection((target.host, target.port))
            if target.scheme == "https":
                sock = tls.wrap_socket(sock)
            sockets[sock.fileno()] = stack.enter_context(sock)
            poll.register(sock, select.EPOLLIN)
            sock.sendall(request)
        answered = 0
        while answered < count:
            for fd, _ in poll.poll(load.PATIENCE):
                if not sockets[fd].recv(65_536).endswith(ECHO_REPLY):
                    raise load.WrongReply(str(target))
                answered += 1
                sockets[fd].sendall(request)


WAYS = {"loop": loop, "client": client, "coroutines": coroutines}


def measured(way: str, target: Target, count: int) -> float:
    """CPU microseconds of a call, in a process of its own."""
    options = [f"--{name}={getattr(target, name)}" for name in ("tls_ca", "reply_dir") if getattr(target, name)]
    command = [sys.executable, "-m", "bench.calling", "--way", way, "--to", target.url, f"--count={count}", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout) / count * 1e6


def compare(rounds: int) -> None:
    """Print a row for each transport."""
    print("| transport | loop, CPU µs/call: least | client: least | median | client to loop | with coroutines: least |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as directory, Server(Path(directory)) as server:
        for transport in TRANSPORTS:
            target = our_target(server, transport)
            count = COUNTS.get(transport, DEFAULT_COUNT)
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way, taken in found.items():
                    taken.append(measured(way, target, count))
            loop_least, least, coroutines_least = (min(found[way]) for way in ("loop", "client", "coroutines"))
            row = [loop_least, least, statistics.median(found["client"]), least / loop_least, coroutines_least]
            shown = [f"{value:.{digits}f}" for value, digits in zip(row, (1, 1, 1, 2, 1), strict=True)]
            print(f"| {transport} |", " | ".join(shown), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    for hidden in ("--way", "--to", "--tls_ca", "--reply_dir"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is None:
        compare(options.rounds)
        return
    target = parse_target(options.to, tls_ca=options.tls_ca, reply_dir=options.reply_dir)
    print(WAYS[options.way](target, options.count))


if __name__ == "__main__":
    main()
