"""Hostile clients for the chaos test: each is a generator that attacks, and yields the seconds until its next step.

A client gets a L{Target} and an C{ExitStack} that closes what it holds open; one that ends or fails with an OSError is
started again. To add one, write such a function under C{@hostile}. C{python -m bench.hostile} reads the target from its
standard input as JSON, runs them all, each in a thread, and ends when the target's time is over.
"""

import base64
import contextlib
import itertools
import json
import os
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import attrs

from tests.support import http_request, unverified, with_reply_name, write_fifo
from tests.support.misbehaving import METHODS

PATIENCE: Final = 0.5
"""Seconds that a hostile client waits for the server before it does something else."""

STOP_TIME: Final = 3.0
"""Seconds that all of them together may take to stop."""

STRANGER: Final = "127.0.0.2"
"""Address of clients that are outside C{http_allow}."""

ATTACKER: Final = "127.0.0.3"
"""Address of all the others, who may call: it is not that of the good clients, who would share the limits of one
address.
"""

DATAGRAMS: Final = ("unix", "udp4", "udp6")
PAUSE: Final = 0.01
"""Seconds between two calls of commands that misbehave."""

REST: Final = 0.25
"""Seconds between two rounds of most clients."""


@attrs.frozen
class Target:
    """The server that is attacked.

    @ivar addresses: those of C{tests.support.Server}.
    @ivar reply_dir: the directory of the clients' reply FIFOs.
    @ivar seconds: for how long it is attacked.
    @ivar user: name and password of a hostile user who may call over HTTP, with a colon between them; empty: all may.
    @ivar victim: name of a good user, whose password is guessed.
    @ivar clients: names of those of L{HOSTILE} that take part; empty: all.
    @ivar nodes: names of the servers behind it.
    """

    addresses: dict[str, Any]
    reply_dir: str
    seconds: float
    user: str = ""
    victim: str = ""
    clients: Sequence[str] = ()
    nodes: Sequence[str] = ()

    def post(self, document: bytes, *headers: str, path: str = "/RPC") -> bytes:
        """A request over HTTP, from a client that may call."""
        return http_request(document, *([authorization(self.user)] if self.user else []), *headers, path=path)


Hostile = Callable[[Target, ExitStack], Iterator[float]]
HOSTILE: Final[dict[str, Hostile]] = {}
"""All of them, by name."""


def hostile(function: Hostile) -> Hostile:
    """Register a hostile client."""
    HOSTILE[function.__name__] = function
    return function


def authorization(user: str) -> str:
    """The header that gives a name and a password."""
    return "Authorization: Basic " + base64.b64encode(user.encode()).decode()


def request(method: str, *params: object, **members: object) -> bytes:
    """A document."""
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1, **members}).encode()


def connect(stack: ExitStack, address: Any, source: str = ATTACKER) -> socket.socket:
    """A connection that is kept open."""
    return stack.enter_context(socket.create_connection(tuple(address), PATIENCE, (source, 0)))


def datagrams(stack: ExitStack, address: Any, path: str | None = None) -> socket.socket:
    """A datagram socket; over Unix with a path, a new path by default."""
    if isinstance(address, str):
        client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        client.bind(path or stack.enter_context(tempfile.TemporaryDirectory()) + "/hostile")
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        client = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        client.bind(("", 0) if family == socket.AF_INET6 else (ATTACKER, 0))
    client.settimeout(PATIENCE)
    client.connect(address if isinstance(address, str) else tuple(address))
    return client


def readable(clients: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    """The sockets that have something to read, waited for. C{select} takes no descriptor above 1023."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    found = {fd for fd, _ in poll.poll(1000 * seconds)}
    return [client for client in clients if client.fileno() in found]


def drain(client: socket.socket) -> None:
    """Discard what has arrived."""
    while readable([client], 0) and client.recv(1_000_000):
        pass


# Replies that come back


@hostile
def forged_source(target: Target, stack: ExitStack) -> Iterator[float]:
    """Datagrams whose source is the server itself; without the privilege to forge them, it does nothing."""
    try:
        raw = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    except PermissionError:
        yield target.seconds
        return
    host, port = target.addresses["udp4"]
    address = socket.inet_aton(host)
    for document in itertools.cycle((b"x", b'{"jsonrpc":"2.0","result":1,"id":1}', b"[" + request("x") + b"]")):
        udp = struct.pack("!4H", port, port, 8 + len(document), 0) + document
        raw.sendto(
            struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(udp), 0, 0, 9, 17, 0, address, address) + udp, (host, 0)
        )
        yield REST


@hostile
def reflects(target: Target, stack: ExitStack) -> Iterator[float]:
    """A peer that sends back whatever it gets, as another server of this kind might do with every reply."""
    clients = [datagrams(stack, target.addresses[name]) for name in DATAGRAMS]
    for document in itertools.cycle((b"x", b"[1,2]", b'[{"jsonrpc":"2.0","error":{"code":1,"message":""},"id":1}]')):
        for client in clients:
            client.send(document)
        end = time.monotonic() + REST
        while (left := end - time.monotonic()) > 0:
            for client in readable(clients, left):
                client.send(client.recv(65_536))
        yield 0


@hostile
def names_the_server(target: Target, stack: ExitStack) -> Iterator[float]:
    """Unix clients whose own address leads to the server's socket: by a link, and by a name in its directory."""
    server = target.addresses["unix"]
    directory = stack.enter_context(tempfile.TemporaryDirectory())
    for number in itertools.count():
        path = f"{directory}/link{number % 8}"
        Path(path).unlink(missing_ok=True)
        with datagrams(ExitStack(), server, path) as client:
            os.unlink(path)
            os.symlink(server, path)
            client.send(b"x")
        if number == 0:
            # A relative name is looked up by the server in its own directory. It takes another process to bind one.
            code = "from socket import *; c = socket(AF_UNIX, SOCK_DGRAM); c.bind('rpc.sock'); c.sendto(b'x', %r)"
            subprocess.run([sys.executable, "-c", code % server], cwd=directory, check=True)
        yield REST


# Those that never read


@hostile
def unix_never_reads(target: Target, stack: ExitStack) -> Iterator[float]:
    """Unix clients that leave replies of 60 kB in the server's send buffer."""
    document = request("good.size", 60_000)
    clients = [datagrams(stack, target.addresses["unix"]) for _ in range(6)]
    while True:
        for client in clients:
            with contextlib.suppress(TimeoutError):
                for _ in range(10):
                    client.send(document)
        yield 1


@hostile
def tcp_never_reads(target: Target, stack: ExitStack) -> Iterator[float]:
    """TCP clients that ask for 4 MB each."""
    for _ in range(20):
        connect(stack, target.addresses["tcp"]).sendall(request("good.size", 4_000_000))
        yield 0.05
    yield 3


@hostile
def http_never_reads(target: Target, stack: ExitStack) -> Iterator[float]:
    """HTTP clients that send one request after another and read no replies, over plain TCP and TLS."""
    document = target.post(request("good.size", 100_000))
    clients = [connect(stack, target.addresses["http"]) for _ in range(10)]
    clients += [stack.enter_context(unverified().wrap_socket(connect(stack, target.addresses["https"])))]
    while True:
        for client in clients:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
                for _ in range(20):
                    client.send(document)
        yield REST


@hostile
def fifo_never_reads(target: Target, stack: ExitStack) -> Iterator[float]:
    """A client that opens its reply FIFO and reads none of its 300 kB."""
    path = Path(target.reply_dir, f"silent{os.getpid()}")
    os.mkfifo(path)
    stack.callback(path.unlink)
    stack.callback(os.close, os.open(path, os.O_RDWR | os.O_NONBLOCK))
    while True:
        write_fifo(target.addresses["fifo"], with_reply_name(request("good.size", 300_000), path.name) + b"\n")
        yield 1


# Much work


@hostile
def asks_for_all(target: Target, stack: ExitStack) -> Iterator[float]:
    """Requests that name everything thousands of times."""
    client = datagrams(stack, target.addresses["unix"])
    udp = datagrams(stack, target.addresses["udp4"])
    for method in itertools.cycle(("stats.fetchn", "stats.get_statistics", "stats.fetch")):
        client.send(request(method, *["all"] * 10_000))
        udp.send(request(method, *["all"] * 5_000))
        yield REST
        for one in (client, udp):
            drain(one)


@hostile
def batches(target: Target, stack: ExitStack) -> Iterator[float]:
    """Batches of a thousand requests, of which some are large, over every transport that has batches."""
    echoes = b"[" + b",".join([request("core.echo", "x")] * 1000) + b"]"
    large = b"[" + b",".join([request("good.size", 50_000)] * 1000) + b"]"
    clients = [datagrams(stack, target.addresses[name]) for name in DATAGRAMS]
    for document in itertools.cycle((echoes, large)):
        for client in clients:
            with contextlib.suppress(OSError):  # this one is too large for a datagram here
                client.send(document)
        with contextlib.suppress(TimeoutError), connect(stack, target.addresses["http"]) as client:
            client.sendall(target.post(document))
            client.recv(65_536)
        yield 1
        for client in clients:
            drain(client)


@hostile
def sleepers(target: Target, stack: ExitStack) -> Iterator[float]:
    """A batch that asks for every slot of asynchronous commands."""
    document = b"[" + b",".join([request("core.sleep", 3)] * 1000) + b"]"
    for number in itertools.count():
        connect(stack, target.addresses["http"]).sendall(target.post(document))
        yield 1
        if number % 4 == 3:
            stack.close()


@hostile
def abuses_nodes(target: Target, stack: ExitStack) -> Iterator[float]:
    """Calls of servers behind it whose clients leave at once, read nothing, or mean nobody; and floods of reloads."""
    slow = request("core.sleep", 3)
    reloads = b"[" + b",".join([request("dispatcher.reload")] * 50) + b"]"
    large = b"[" + b",".join([request("core.echo", "x" * 5000)] * 100) + b"]"
    for number in itertools.count():
        places = [*target.nodes, "*", "nobody", "%2e%2e", "x" * 5000, "*?timeout=0.001", "*?quorum=9999", "?first"]
        for place in places:
            path = f"/RPC/{place}"
            with connect(ExitStack(), target.addresses["http"]) as client:
                client.sendall(target.post(slow, path=path))
            deaf = connect(stack, target.addresses["http"])
            deaf.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                deaf.send(target.post(reloads, path=path) + target.post(large, path=path) + b"POST " + path.encode())
        yield 1
        if number % 4 == 3:
            stack.close()


@hostile
def misbehaves(target: Target, stack: ExitStack) -> Iterator[float]:
    """Calls every command that misbehaves, over every transport, and leaves if it does not answer at once."""
    clients = {name: datagrams(stack, target.addresses[name]) for name in DATAGRAMS}
    for method, name in itertools.cycle(itertools.product(METHODS, (*DATAGRAMS, "fifo", "tcp", "http"))):
        document = request(method)
        if name in clients:
            clients[name].send(document)
            yield PAUSE
            drain(clients[name])
        elif name == "fifo":
            write_fifo(target.addresses["fifo"], with_reply_name(document, "nobody") + b"\n")
            yield PAUSE
        else:
            with connect(ExitStack(), target.addresses[name]) as client:
                client.sendall(target.post(document) if name == "http" else document)
                yield PAUSE


# The FIFO


@hostile
def stray_brace(target: Target, stack: ExitStack) -> Iterator[float]:
    """The beginning of a request, as of a client that died, while others keep writing."""
    document = with_reply_name(request("core.echo"), "nobody") + b"\n"
    while True:
        # In one piece, so that no other client's request gets in between, which would be lost with it.
        write_fifo(target.addresses["fifo"], b"{" + document)
        for _ in range(15):
            yield 0.2
            write_fifo(target.addresses["fifo"], document)


@hostile
def long_reply_names(target: Target, stack: ExitStack) -> Iterator[float]:
    """Names of reply FIFOs that are as long as an atomic write allows; 1200 different ones."""
    for number in range(1200):
        name = f"{number:06}".ljust(select.PIPE_BUF - 100, "x")
        write_fifo(target.addresses["fifo"], with_reply_name(request("core.echo"), name) + b"\n")
        if number % 30 == 29:
            yield 0.05
    yield 5


@hostile
def odd_reply_names(target: Target, stack: ExitStack) -> Iterator[float]:
    """Invalid names of reply FIFOs."""
    for name in itertools.cycle(("../x", "\\ud800", "\\u001b[2J", "\\u0000", "é", "", ".", "x" * 300, "\\r\\n#error]")):
        document = request("core.echo").replace(b"{", b'{"reply_name":"%s",' % name.encode(), 1)
        write_fifo(target.addresses["fifo"], document + b"\n")
        yield 0.1


# Connections


@hostile
def strangers(target: Target, stack: ExitStack) -> Iterator[float]:
    """More connections than the limit, from an address that may not call."""
    for number in range(450):
        for name in ("http", "https"):
            connect(stack, target.addresses[name], STRANGER)
        if number % 50 == 49:
            yield 0.05
    yield 5


@hostile
def slow_loris(target: Target, stack: ExitStack) -> Iterator[float]:
    """Requests that come byte by byte."""
    wholes = {"http": target.post(request("core.echo", "x" * 5000)), "tcp": request("core.echo", "x" * 5000)}
    clients = [(connect(stack, target.addresses[name]), whole) for name, whole in wholes.items() for _ in range(20)]
    for number in range(5000):
        for client, whole in clients:
            client.sendall(whole[number : number + 1])
        yield 0.1


@hostile
def half_open_tls(target: Target, stack: ExitStack) -> Iterator[float]:
    """Handshakes that stop after the client's first message."""
    outgoing = ssl.MemoryBIO()
    handshake = unverified().wrap_bio(ssl.MemoryBIO(), outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    hello = outgoing.read()
    for number in range(60):
        client = connect(stack, target.addresses["https"])
        client.sendall(hello[: len(hello) - number % 2 * 20])
        yield 0.05
    yield 5


@hostile
def garbage(target: Target, stack: ExitStack) -> Iterator[float]:
    """Bytes that are neither TLS nor HTTP, to both."""
    for piece in itertools.cycle(
        (b"\x16\x03\x01\xff\xff" + os.urandom(500), b"\x17\x03\x03\x00\x10" + bytes(16), b"GET\r\n\r\n", bytes(5000))
    ):
        for name in ("http", "https", "tcp"):
            with contextlib.suppress(OSError), connect(ExitStack(), target.addresses[name]) as client:
                client.sendall(piece)
        yield 0.1


@hostile
def odd_requests(target: Target, stack: ExitStack) -> Iterator[float]:
    """Malformed heads: a length of 4300 digits, two lengths, no length, request smuggling."""
    for head in itertools.cycle(
        (
            b"Content-Length: " + b"9" * 4300,
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Transfer-Encoding: identity",
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"X: " + b"y" * 20_000,
            b"Expect: 100-continue\r\nContent-Length: 999999999",
        )
    ):
        with contextlib.suppress(OSError), connect(ExitStack(), target.addresses["http"]) as client:
            client.sendall(b"POST /RPC HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n" + request("core.echo"))
            client.recv(1000)
        yield 0.1


@hostile
def leaves(target: Target, stack: ExitStack) -> Iterator[float]:
    """Clients that go away: in the middle of a head, of a body, of a command, and with 20 kB of others behind it."""
    sleep = target.post(request("core.sleep", 3))
    for piece in itertools.cycle((sleep[:30], sleep[:-5], sleep, sleep + target.post(request("core.echo")) * 200)):
        for name in ("http", "https"):
            with contextlib.suppress(OSError), connect(ExitStack(), target.addresses[name]) as client:
                if name == "https":
                    client = unverified().wrap_socket(client)
                client.sendall(piece)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        yield 0.1


@hostile
def tries_passwords(target: Target, stack: ExitStack) -> Iterator[float]:
    """Hundreds of wrong passwords a second, by clients that do not wait for the answers."""
    if not target.victim:
        yield target.seconds
        return
    for number in itertools.count():
        with contextlib.suppress(OSError), connect(ExitStack(), target.addresses["http"]) as client:
            client.sendall(http_request(request("core.echo"), authorization(f"{target.victim}:no{number}")))
        yield 0.005


def attack(target: Target) -> Counter[str]:
    """Run the hostile clients until the time is over.

    @return: how many steps each one made, so that a client that did nothing is noticed.
    """
    steps: Counter[str] = Counter()
    over = threading.Event()

    def run(name: str, client: Hostile) -> None:
        while not over.is_set():
            with ExitStack() as stack, contextlib.suppress(OSError):
                for pause in client(target, stack):
                    steps[name] += 1
                    if over.wait(pause):
                        return
            over.wait(REST)

    names = target.clients or HOSTILE
    threads = [threading.Thread(target=run, args=(name, HOSTILE[name]), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    over.wait(target.seconds)
    over.set()
    end = time.monotonic() + STOP_TIME
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))  # one may hang in a FIFO that nobody reads
    return steps


def main() -> None:
    # In reality they run elsewhere: they must not take CPU time from the server.
    os.nice(10)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(attack(Target(**json.load(sys.stdin)))))


if __name__ == "__main__":
    main()
