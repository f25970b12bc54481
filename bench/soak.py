"""A long run: requests over all transports mixed, some of them hostile, with an eye on memory and file descriptors.

python -m bench.soak [--requests N] [--kamailio]

Every good request must be answered right, every hostile one with one error. With C{--kamailio} the real one gets the
same over its Unix socket, and it is told how far it comes.
"""

import argparse
import itertools
import os
import select
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs

from tests.kamailio import Kamailio
from tests.support import PATIENCE, Server, datagram_client, http_request, is_json, unverified, with_reply_name

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

OUTSTANDING = 8
"""Requests that a client has on the way."""

UPTIME = b'{"jsonrpc":"2.0","method":"core.uptime","id":1}'

ENOUGH = 10_000
"""Requests that Kamailio gets at the most."""

HOSTILE_PART = 10
"""One in so many requests is hostile."""


class Lost(Exception):
    """A request was not answered, or not as it must be."""


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
    """Requests without end, each with how its reply ends; of a hostile one, what is in it."""
    hostile = itertools.cycle(HOSTILE)
    for id in itertools.count(1):
        if id % HOSTILE_PART == 0:
            yield next(hostile), b'"error":'
        else:
            members = GOOD[id % len(GOOD)] % {"id": id, "key": id // 9 % 50, "long": "x" * (id % 5000)}
            yield f'{{"jsonrpc":"2.0","method":{members},"id":{id}}}'.encode(), b'"id":%d}' % id


def check(sent: list[tuple[bytes, bytes]], replies: list[bytes]) -> None:
    """@raise Lost: a reply is not what its request must have."""
    for (document, end), reply in zip(sent, replies, strict=True):
        wanted = reply.endswith(end) and (b'"result":' in reply or b"htable.delete" in document)
        if not (wanted or (end == b'"error":' and end in reply)):
            raise Lost(f"{document[:100]!r} was answered with {reply[:200]!r}")


class Datagrams:
    """A client over UDP, or a Unix socket."""

    def __init__(self, stack: ExitStack, address: str | tuple[str, int]) -> None:
        self._socket = stack.enter_context(datagram_client(address))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)

    def exchange(self, sent: list[tuple[bytes, bytes]]) -> int:
        """@return: how many requests were sent and answered."""
        for document, _ in sent:
            self._socket.send(document)
        check(sent, [self._socket.recv(1_000_000) for _ in sent])
        return len(sent)


class Posts:
    """A client over HTTP or HTTPS that sends several requests before it reads the replies."""

    def __init__(self, stack: ExitStack, address: tuple[str, int], secure: bool) -> None:
        connection = socket.create_connection(address, PATIENCE)
        if secure:
            connection = unverified().wrap_socket(connection)
        self._connection = stack.enter_context(connection)
        self._received = b""

    def exchange(self, sent: list[tuple[bytes, bytes]]) -> int:
        """@return: how many requests were sent and answered."""
        self._connection.sendall(b"".join(http_request(document) for document, _ in sent))
        check(sent, [self._reply() for _ in sent])
        return len(sent)

    def _reply(self) -> bytes:
        while b"\r\n\r\n" not in self._received:
            self._read()
        top, _, self._received = self._received.partition(b"\r\n\r\n")
        size = int(top.lower().partition(b"content-length:")[2].split()[0])
        while len(self._received) < size:
            self._read()
        body, self._received = self._received[:size], self._received[size:]
        return body

    def _read(self) -> None:
        data = self._connection.recv(262_144)
        if not data:
            raise Lost("the connection was closed")
        self._received += data


class Fifo:
    """A client that holds its FIFO open, and sends one request after the other."""

    def __init__(self, stack: ExitStack, path: str, directory: Path) -> None:
        self._own = directory / f"soak{id(self)}"
        os.mkfifo(self._own)
        self._reading = os.open(self._own, os.O_RDWR | os.O_NONBLOCK)
        self._writing = os.open(path, os.O_WRONLY)
        stack.callback(os.close, self._reading)
        stack.callback(os.close, self._writing)

    def exchange(self, sent: list[tuple[bytes, bytes]]) -> int:
        """@return: how many requests were sent and answered: those that a name for the reply can be put into, and whose
        end is that of the document.
        """
        sent = [one for one in sent if one[0].startswith(b'{"jsonrpc"') and one[0].endswith(b"}")]
        for document, end in sent:
            os.write(self._writing, with_reply_name(document, self._own.name) + b"\n")
            reply = b""
            while not reply.endswith(b"}") or not is_json(reply):
                if not select.select([self._reading], [], [], PATIENCE)[0]:
                    raise Lost(f"{document[:100]!r} over the FIFO has no reply")
                reply += os.read(self._reading, 262_144)
            check([(document, end)], [reply])
        return len(sent)


def break_connection(address: tuple[str, int], number: int) -> None:
    """Connect, send what is no good, and go away."""
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(BROKEN_CONNECTIONS[number % len(BROKEN_CONNECTIONS)])


def soak(server: Server, total: int, report: Callable[[Sample], None]) -> tuple[Counter[str], list[Sample]]:
    """Send so many requests.

    @param report: called with each sample, of which there are some twenty.
    @return: how many went over each transport, and the samples.
    @raise Lost: a request was not answered as it must be.
    """
    counts: Counter[str] = Counter()
    samples: list[Sample] = []
    source = documents()
    with ExitStack() as stack:
        addresses = server.addresses
        clients = {name: [Datagrams(stack, addresses[name]) for _ in range(4)] for name in ("unix", "udp4", "udp6")}
        for name in ("http", "https"):
            clients[name] = [Posts(stack, addresses[name], name == "https") for _ in range(2)]
        clients["fifo"] = [Fifo(stack, addresses["fifo"], server.reply_dir)]
        for number in itertools.count():
            sent = sum(counts.values())
            if sent >= len(samples) * total // 20:
                samples.append(Sample.of(server.process.pid, sent))
                report(samples[-1])
            if sent >= total:
                return counts, samples
            for name, several in clients.items():
                for client in several:
                    counts[name] += client.exchange(list(itertools.islice(source, OUTSTANDING)))
            if number % 10 == 0:
                document, end = next(one for one in source if one[0])  # nothing is no document over TCP
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--kamailio", action="store_true", help="give the same to Kamailio, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        print("requests | resident kB | descriptors\n--- | --- | ---")
        with Server(directory, *Kamailio.OPTIONS) as server:
            started = time.monotonic()
            counts, samples = soak(
                server, options.requests, lambda s: print(f"{s.requests} | {s.memory} | {s.descriptors}", flush=True)
            )
            seconds = time.monotonic() - started
            assert server.stop() == -15
        settled = samples[len(samples) // 4 :]
        print(f"{sum(counts.values())} requests in {seconds:.0f} s, all answered: {dict(counts)}")
        print(f"memory from a quarter on: {min(s.memory for s in settled)} to {max(s.memory for s in settled)} kB")
        if options.kamailio:
            print("Kamailio", soak_kamailio(directory))


if __name__ == "__main__":
    main()
