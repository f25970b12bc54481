"""Measures what people run beside the open, ordinary case: users, rules, client certificates, asynchronous commands,
other forms of requests, new connections.

python -m bench.production [--rounds N] [--requests N] [--only TEXT]

All servers are up at once, and measured in turn. Kamailio is one of them where it is installed. What wrk can send comes
from wrk; for the rest there is a client that sends a request on each of its connections, then reads all replies. Each
row is compared with one of the same client.
"""

import argparse
import base64
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from bench.load import Call, WrongReply, wrk
from bench.peers import SERVERS, free_port, request, start_kamailio
from bench.processes import Process
from jsonrpcs_tx.access.passwords import make_hash
from tests.support import ECHO, twistd
from tests.support.tls import make_identity

CONNECTIONS = 32
PIPELINED = 8
"""Requests that are sent at once on each connection."""

CHAIN = 8
"""Requests of one new connection after another that are under way."""

USER, PASSWORD = "ann", "correct horse battery staple"
AUTHORIZATION = f"Authorization: Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}\r\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ECHO), ECHO)
LATER, AT_ONCE = request("bench.timer"), request("bench.now")


def http(body: bytes, *headers: str, method: str = "POST", length: bool = True) -> bytes:
    """A request as an HTTP client sends it."""
    size = f"Content-Length: {len(body)}\r\n" if length else ""
    lines = (
        f"{method} /RPC HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{size}{''.join(headers)}\r\n"
    )
    return lines.encode() + body


@attrs.frozen
class Case:
    """What is measured.

    @ivar name: of the row.
    @ivar server: which server, see L{servers}.
    @ivar transport: C{http}, C{https} or C{tcp}.
    @ivar parts: what is sent for one reply each, or for C{per} replies.
    @ivar base: the name of the row that it is compared with.
    @ivar per: requests in the last of the parts.
    @ivar own: it is sent by the client of this module, not by wrk.
    @ivar new: each request comes on a new connection; a session of TLS is resumed if it is C{resumed}.
    """

    name: str
    server: str
    transport: str
    parts: tuple[bytes, ...]
    base: str = ""
    per: int = 1
    new: str = ""
    own: bool = False


def cases() -> Iterator[Case]:
    plain, named = http(ECHO), http(ECHO, AUTHORIZATION)
    for transport in ("http", "https"):
        base = f"{transport}: open"
        yield Case(base, "open", transport, (plain,))
        yield Case(f"{transport}: users", "users", transport, (named,), base)
        yield Case(f"{transport}: users and rules", "rules", transport, (named,), base)
        ordinary = f"{transport}: a command that answers at once"
        yield Case(ordinary, "open", transport, (http(AT_ONCE),))
        yield Case(f"{transport}: one that awaits deferLater(0)", "open", transport, (http(LATER),), ordinary)
        chunked = http(CHUNKED, "Transfer-Encoding: chunked\r\n", length=False)
        yield Case(f"{transport}: chunked", "open", transport, (chunked,), base)
        yield Case(f"{transport}: GET with a body", "open", transport, (http(ECHO, method="GET"),), base)
        yield Case(f"{transport}: {PIPELINED} pipelined", "open", transport, (plain * PIPELINED,), base, PIPELINED)
        yield Case(f"{transport}: Kamailio", "kamailio", transport, (plain,))
        yield Case(f"{transport}: open, to Kamailio", "open", transport, (plain,), f"{transport}: Kamailio")
        base = f"{transport}: open, own client"
        yield Case(base, "open", transport, (plain,), own=True)
        if transport == "https":
            certified = f"{transport}: client certificates and rules"
            yield Case(certified, "certificates", transport, (plain,), base, own=True)
        head, _, body = http(ECHO, "Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        yield Case(f"{transport}: Expect", "open", transport, (head + b"\r\n\r\n", body), base, own=True)
    close = http(ECHO, "Connection: close\r\n")
    yield Case("http: new connections", "open", "http", (close,), new="full")
    yield Case("tcp: new connections", "open", "tcp", (ECHO,), "http: new connections", new="full")
    for kind in ("full", "resumed"):
        base = f"https: new connections, {kind} handshake, Kamailio"
        yield Case(base, "kamailio", "https", (plain,), new=kind)
        yield Case(f"https: new connections, {kind} handshake", "open", "https", (plain,), base, new=kind)


@attrs.frozen
class Server:
    """A server that is up: its process, its addresses by transport, and how TLS is spoken with it."""

    process: Process
    addresses: dict[str, Any]
    tls: ssl.SSLContext


@contextmanager
def servers(directory: Path, kamailio: bool) -> Iterator[dict[str, Server]]:
    """All servers, by name."""
    authority = make_identity("ca", is_ca=True)
    identity = make_identity("localhost", authority)
    client = make_identity("ops.example.com", authority)
    pem, ca, client_pem = directory / "server.pem", directory / "ca.pem", directory / "client.pem"
    pem.write_bytes(identity.pem + identity.key_pem())
    ca.write_bytes(authority.pem)
    client_pem.write_bytes(client.pem + client.key_pem())
    users = directory / "users.txt"
    users.write_text(f"{USER}:{make_hash(PASSWORD.encode())}\n")
    users.chmod(0o600)
    trusting = ssl.create_default_context(cafile=str(ca))
    known = ssl.create_default_context(cafile=str(ca))
    known.load_cert_chain(client_pem)
    rule = "--rule=http https {} allow jsonrpc.* bench.* deny core.kill"
    kinds = {
        "open": ((), trusting),
        "users": ((f"--http-users={users}",), trusting),
        "rules": ((f"--http-users={users}", rule.format(f"user={USER}")), trusting),
        "certificates": ((f"--tls-ca={ca}", "--rule=https tls=*.example.com allow jsonrpc.* bench.*"), known),
    }
    with ExitStack() as stack:
        up = {}
        for name, (arguments, tls) in kinds.items():
            addresses = {transport: ("127.0.0.1", free_port()) for transport in ("http", "https", "tcp")}
            ports = {transport: port for transport, (_, port) in addresses.items()}
            home = directory / name
            home.mkdir()
            argv = [
                *(
                    twistd(),
                    "-n",
                    "--pidfile=pid",
                    "jsonrpcs",
                    "--transport=15",
                    "--debug=0",
                    "--http-timeout=600",
                    f"--run-dir={home}",
                ),
                *(f"--dgram-socket={home}/s", f"--fifo-name={home}/f", f"--tls-certificate={pem}"),
                *(f"--{kind}-listen=tcp:{ports[kind]}:interface=127.0.0.1" for kind in ("http", "https")),
                *(f"--tcp-socket=tcp:127.0.0.1:{ports['tcp']}", "--commands=bench.commands", *arguments),
            ]
            process = Process(name, argv, home, partial(_listen, addresses.values()))
            stack.callback(process.stop)
            up[name] = Server(process, addresses, tls)
        if kamailio:
            targets = start_kamailio(directory, pem)
            for one in {target.process for target in targets}:
                stack.callback(one.stop)
            at = {target.transport: target for target in targets}
            up["kamailio"] = Server(
                at["http"].process, {kind: at[kind].address for kind in ("http", "https")}, trusting
            )
        yield up


def _listen(addresses: Iterable[tuple[str, int]]) -> bool:
    try:
        for address in addresses:
            socket.create_connection(address).close()
    except OSError:
        return False
    return True


def _connect(server: Server, transport: str, session: ssl.SSLSession | None = None) -> Any:
    connection = socket.create_connection(server.addresses[transport])
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if transport == "https":
        return server.tls.wrap_socket(connection, server_hostname="localhost", session=session)
    return connection


def _read(connection: Any, size: int) -> bytes:
    """Read so many bytes; 0: the whole of the first response, or all until the end."""
    data = b""
    while len(data) < size or not size:
        piece = connection.recv(65536)
        data += piece
        if not piece:
            break
        head, end, body = data.partition(b"\r\n\r\n")
        if not size and end and not head.startswith(b"HTTP/1.1 100"):
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-l")), 0)
            if len(body) >= length:
                break
    return data


def _check(case: Case, reply: bytes, count: int = 1) -> None:
    if reply.count(b'"result"') != count or (case.transport != "tcp" and reply.count(b"HTTP/1.1 200") != count):
        raise WrongReply(f"{case.name}: {reply[:300]!r}")


def stay(case: Case, server: Server, requests: int) -> Callable[[], int]:
    """Open connections that stay, make the first calls on them, and return what sends that many requests."""
    connections = [_connect(server, case.transport) for _ in range(CONNECTIONS)]
    sizes: list[int] = []
    for connection in connections:
        sizes = []
        for part in case.parts:
            connection.sendall(part if case.per == 1 else part[: len(part) // case.per])
            first = _read(connection, len(b"HTTP/1.1 100 Continue\r\n\r\n") if part is not case.parts[-1] else 0)
            sizes.append(len(first) * case.per)
        _check(case, first)

    def run() -> int:
        done = 0
        while done < requests:
            for part, size in zip(case.parts, sizes, strict=True):
                for connection in connections:
                    connection.sendall(part)
                replies = [_read(connection, size) for connection in connections]
            for reply in replies:
                _check(case, reply, case.per)
            done += CONNECTIONS * case.per
        return done

    return run


def with_wrk(case: Case, server: Server) -> Callable[[], int]:
    """What has wrk send the request of a case for two seconds."""
    with _connect(server, case.transport) as connection:
        first = case.parts[0]
        connection.sendall(first[: len(first) // case.per])
        reply = _read(connection, 0)
    _check(case, reply)
    host, port = server.addresses[case.transport]
    call = Call(b"", reply.partition(b"\r\n\r\n")[2])
    return lambda: wrk(f"{case.transport}://{host}:{port}/RPC", call, 2, first).requests


def come_and_go(case: Case, server: Server, requests: int) -> Callable[[], int]:
    """What makes that many connections, with one request each."""
    sessions: list[ssl.SSLSession | None] = [None]

    def one_round(count: int) -> None:
        connections = [_connect(server, case.transport, sessions[0]) for _ in range(count)]
        for connection in connections:
            connection.sendall(case.parts[0])
        for connection in connections:
            _check(case, _read(connection, 0))
            if case.new == "resumed":
                if sessions[0] is not None and not connection.session_reused:
                    raise WrongReply(f"{case.name}: the session is not resumed")
                sessions[0] = connection.session
            connection.close()

    one_round(1)

    def run() -> int:
        for _ in range(requests // 8 // CHAIN):
            one_round(CHAIN)
        return requests // 8 // CHAIN * CHAIN

    return run


def sender(case: Case, server: Server, requests: int) -> Callable[[], int]:
    """What sends one run of the requests of a case, and returns how many there were."""
    if case.new:
        return come_and_go(case, server, requests)
    return stay(case, server, requests) if case.own else with_wrk(case, server)


def timer() -> float:
    """The CPU seconds that a timer of no delay takes a bare reactor."""
    done = subprocess.run([sys.executable, SERVERS / "timers.py"], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.production", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=6400, help="of each case in each round")
    parser.add_argument(
        "--only", default="", help="cases with this text in their names, and what they are compared with"
    )
    options = parser.parse_args()
    kamailio = shutil.which("kamailio") is not None
    with tempfile.TemporaryDirectory(prefix="bench") as name, servers(Path(name), kamailio) as up:
        chosen = [case for case in cases() if case.server in up]
        wanted = [case for case in chosen if options.only in case.name]
        bases = {case.base for case in wanted}
        wanted = [case for case in chosen if case in wanted or case.name in bases]
        runs = [sender(case, up[case.server], options.requests) for case in wanted]
        results: dict[str, list[float]] = {case.name: [] for case in wanted}
        timers = []
        for _ in range(options.rounds):
            timers.append(timer())
            for case, run in zip(wanted, runs, strict=True):
                process = up[case.server].process
                before = process.cpu()
                done = run()
                if case.new:
                    time.sleep(0.1)  # until the server has closed the last ones
                results[case.name].append((process.cpu() - before) / done)
    print(table(wanted, results, min(timers)))


def table(wanted: Sequence[Case], results: dict[str, list[float]], timer: float) -> str:
    """The figures as text, with each one's ratio to that of its base."""
    lines = ["| case | CPU µs/request: least | median | to | ratio |", "| --- | ---: | ---: | --- | ---: |"]
    for case in wanted:
        least, median = min(results[case.name]), statistics.median(results[case.name])
        ratio = ""
        if case.base in results:
            net = least - (timer if LATER in case.parts[0] else 0)
            ratio = f"{net / min(results[case.base]):.2f}"
        lines.append(f"| {case.name} | {least * 1e6:.1f} | {median * 1e6:.1f} | {case.base} | {ratio} |")
    lines.append(f"\nA timer of no delay takes a bare reactor {timer * 1e6:.1f} µs, which are taken off.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
