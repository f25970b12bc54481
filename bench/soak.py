"""A long run: mixed requests over all transports, some of them hostile, while memory and file descriptors are watched.

python -m bench.soak [--requests N] [--kamailio]
python -m bench.soak --chaos [--seconds N] [--only CLIENT]...

Every good request must be answered correctly, every hostile one with one error. With C{--kamailio} the real one gets
the same over its Unix socket, and the result says how far it gets. With C{--chaos} good clients work beside all hostile
ones of L{bench.hostile}, with one process and then with workers and passwords; see L{bench.chaos}.
"""

import argparse
import itertools
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from bench.chaos import USER, WORKERS, chaos, chaos_server
from bench.clients import Client, Lost, make_client
from bench.hostile import HOSTILE as HOSTILE_CLIENTS
from tests.support import PATIENCE, Server
from tests.support.kamailio import Kamailio

HOSTILE = (
    b'{"jsonrpc":"2.0","method":1,"id":1}',
    b'{"jsonrpc":2,"method":"core.echo","id":1}',
    b"",
    b"{",
    b"\xff\xfe{}",
    b"\x00" * 100,
    b'{"jsonrpc":"2.0","method":"core.echo","params":"x","id":1}',
    b'{"jsonrpc":"2.0","method":"core.echo","params":["\\ud800"],"id":1}',
    b'{"jsonrpc":"2.0","method":"\xff","id":1}',
    b'{"jsonrpc":"2.0","method":"no.such","params":[1e999],"id":1e999}',
    b'{"jsonrpc":"2.0","method":"core.echo","id":' + b"9" * 20_000 + b"}x",
    b"[" * 60_000,
    b'{"a":' * 5_000,
    b"[1,2,3]",
    b"[]",
    b'{"jsonrpc":"2.0","method":"htable.sets","params":["no","k","v"],"id":1}',
    b'{"jsonrpc":"2.0","method":"dispatcher.set_state","params":["x",1,"all"],"id":1}',
    b'{"jsonrpc":"2.0","method":"cfg.set_now_int","params":["core","nothing",1],"id":1}',
    b'{"jsonrpc":"2.0","method":"core.sleep","params":[-1],"id":1}',
)
"""Documents that are answered with an error, over every transport."""

GOOD = (
    '"jsonrpc.echo","params":["x",1]',
    '"core.echo","params":["a","b","c"]',
    '"core.psx"',
    '"htable.sets","params":["a","k%(key)d","v"]',
    '"htable.delete","params":["a","k%(key)d"]',
    '"stats.get_statistics","params":["all"]',
    '"dispatcher.list"',
    '"system.listMethods"',
    '"core.prints","params":["%(long)s"]',
)

BROKEN_CONNECTIONS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"POST /RPC HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /RPC HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    b"POST /RPC HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000,
    b"POST /RPC HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60\r\n\r\n"
    b'{"jsonrpc":"2.0","method":"core.sleep","params":[5], "id":1}',
)
"""What clients send that go away again, without waiting for an answer."""

CLIENTS = {"unix": 4, "udp4": 4, "udp6": 4, "http": 2, "https": 2, "fifo": 1}
"""How many clients each transport has. TCP, with a connection for each request, takes part now and then."""

OUTSTANDING = 8
"""Requests that a client has in flight."""

UPTIME = b'{"jsonrpc":"2.0","method":"core.uptime","id":1}'

MOST_LATENCY = 0.05
"""The most seconds that 99 of 100 good requests may take beside hostile clients."""

ENOUGH = 10_000
"""The most requests that Kamailio gets."""

HOSTILE_PART = 10
"""One in so many requests is hostile."""


@attrs.frozen
class Sample:
    """What a server takes.

    @ivar requests: so many were sent before.
    @ivar memory: resident, in kB.
    @ivar descriptors: open ones.
    """

    requests: int
    memory: int
    descriptors: int

    @classmethod
    def of(cls, pid: int, requests: int) -> "Sample":
        status = Path(f"/proc/{pid}/status").read_text()
        memory = int(status.partition("VmRSS:")[2].split()[0])
        return cls(requests, memory, len(os.listdir(f"/proc/{pid}/fd")))


def documents() -> Iterator[tuple[bytes, bytes]]:
    """An endless series of requests, each with the end of its reply; for a hostile one, with a part of it."""
    hostile = itertools.cycle(HOSTILE)
    for id in itertools.count(1):
        if id % HOSTILE_PART == 0:
            yield next(hostile), b'"error":'
        else:
            members = GOOD[id % len(GOOD)] % {"id": id, "key": id // 9 % 50, "long": "x" * (id % 5000)}
            yield f'{{"jsonrpc":"2.0","method":{members},"id":{id}}}'.encode(), b'"id":%d}' % id


def check(sent: list[tuple[bytes, bytes]], replies: list[bytes]) -> None:
    """@raise Lost: a reply is not the one that its request must get."""
    for (document, end), reply in zip(sent, replies, strict=True):
        wanted = reply.endswith(end) and (b'"result":' in reply or b"htable.delete" in document)
        if not (wanted or (end == b'"error":' and end in reply)):
            raise Lost(f"{document[:100]!r} was answered with {reply[:200]!r}")


def exchange(client: Client, sent: list[tuple[bytes, bytes]]) -> int:
    """@return: how many requests were sent and answered: those that the client can carry.
    @raise Lost: a reply is not the one that its request must get.
    """
    sent = [one for one in sent if client.carries(one[0])]
    check(sent, client.ask([document for document, _ in sent]))
    return len(sent)


def break_connection(address: tuple[str, int], number: int) -> None:
    """Connect, send garbage, and go away."""
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(BROKEN_CONNECTIONS[number % len(BROKEN_CONNECTIONS)])


def soak(server: Server, total: int, report: Callable[[Sample], None]) -> tuple[Counter[str], list[Sample]]:
    """Send a number of requests.

    @param report: called with each sample, of which there are some twenty.
    @return: how many went over each transport, and the samples.
    @raise Lost: a request was not answered correctly.
    """
    counts: Counter[str] = Counter()
    samples: list[Sample] = []
    source = documents()
    with ExitStack() as stack:
        addresses = server.addresses
        clients = {
            name: [make_client(stack, name, addresses[name], server.reply_dir) for _ in range(count)]
            for name, count in CLIENTS.items()
        }
        for number in itertools.count():
            sent = sum(counts.values())
            if sent >= len(samples) * total // 20:
                samples.append(Sample.of(server.process.pid, sent))
                report(samples[-1])
            if sent >= total:
                return counts, samples
            for name, several in clients.items():
                for client in several:
                    counts[name] += exchange(client, list(itertools.islice(source, OUTSTANDING)))
            if number % 10 == 0:
                document, end = next(one for one in source if one[0])  # nothing is not a document over TCP
                check([(document, end)], [server.call("tcp", document)])
                counts["tcp"] += 1
                break_connection(addresses["http" if number % 20 else "https"], number // 10)
    raise AssertionError("unreachable")


def soak_kamailio(directory: Path) -> str:
    """Give the same to Kamailio, over its Unix socket.

    @return: what became of it.
    """
    with Kamailio(directory) as kamailio:
        for number, (document, _) in enumerate(documents(), 1):
            if kamailio.call(document, 0.2) is None and kamailio.call(UPTIME) is None:
                return f"ended with status {kamailio.wait()} at request {number}: {document[:100]!r}"
            if number == ENOUGH:
                return f"answers still after {number} requests"
    raise AssertionError("unreachable")


def run_chaos(directory: Path, seconds: float, hostile: Sequence[str]) -> list[str]:
    """Attack a server in each of its variants, and print the outcome.

    @param hostile: names of the hostile clients that take part; empty: all.
    @return: the requirements that were not met.
    """
    wrong = []
    for name, options, user in (("one process", (), ""), ("workers and passwords", WORKERS, USER)):
        with tempfile.TemporaryDirectory(dir=directory) as own, chaos_server(Path(own), *options) as server:
            outcome = chaos(server, seconds, user, hostile)
        print(f"{name}, {seconds:g} s\n{outcome.report()}\n", flush=True)
        wrong += [f"{name}: {problem}" for problem in outcome.problems(MOST_LATENCY)]
    return wrong


def run_soak(directory: Path, requests: int) -> None:
    """Send so many requests to a server of this kind, and print what it takes.

    @raise Lost: a request was not answered correctly.
    """
    print("requests | resident kB | descriptors\n--- | --- | ---")
    with Server(directory, *Kamailio.OPTIONS) as server:
        started = time.monotonic()
        counts, samples = soak(
            server, requests, lambda s: print(f"{s.requests} | {s.memory} | {s.descriptors}", flush=True)
        )
        seconds = time.monotonic() - started
        assert server.stop() == -15
    settled = samples[len(samples) // 4 :]
    print(f"{sum(counts.values())} requests in {seconds:.0f} s, all answered: {dict(counts)}")
    print(f"memory from a quarter on: {min(s.memory for s in settled)} to {max(s.memory for s in settled)} kB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--kamailio", action="store_true", help="send the same to Kamailio")
    parser.add_argument("--chaos", action="store_true", help="good clients beside hostile ones")
    parser.add_argument("--seconds", type=float, default=600, help="of chaos, for each variant; default: 600")
    parser.add_argument(
        "--only", action="append", choices=HOSTILE_CLIENTS, default=[], help="hostile clients that take part"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if options.chaos:
            sys.exit("\n".join(run_chaos(directory, options.seconds, options.only)))
        run_soak(directory, options.requests)
        if options.kamailio:
            print("Kamailio", soak_kamailio(directory))


if __name__ == "__main__":
    main()
