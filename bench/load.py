"""Clients that send a fixed number of requests, check every reply, and record how long each took."""

import contextlib
import os
import re
import select
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs

from tests.support import datagram_client, with_reply_name

DATAGRAM_CLIENTS = 8
OUTSTANDING = 8
"""Requests that each datagram client has in flight."""
LARGE = 10_000
"""Bytes of a document above which few requests are in flight."""
FIFO_CLIENTS = 32
MAX_REPLY = 100_000
"""Bytes that are read at once. For much more, the C library would ask the system for memory each time, and the client
would be so slow that the server had to wait for it.
"""
HTTP_CONNECTIONS = 32
PATIENCE = 10
"""Seconds without a reply after which a run is given up."""


@attrs.frozen
class Run:
    """What a client saw.

    @ivar requests: how many were answered.
    @ivar seconds: how long it took.
    @ivar p50: in seconds, the latency of a request in the middle.
    @ivar p99: in seconds, the latency that one in a hundred exceeds.
    """

    requests: int
    seconds: float
    p50: float
    p99: float


class WrongReply(Exception):
    """A server gave a wrong reply."""


@attrs.frozen
class Call:
    """A request, and the reply that every server must give each time.

    @ivar document: the request; over the FIFO a reply_name is put into it.
    @ivar reply: the whole reply.
    @ivar status: of the reply over HTTP.
    """

    document: bytes
    reply: bytes
    status: int = 200

    def check(self, reply: bytes) -> None:
        """@raise WrongReply: the reply is another one."""
        if reply != self.reply:
            raise WrongReply(f"{self.document[:100]!r} was answered with {reply[:200]!r}")


def _run(latencies: list[float], seconds: float) -> Run:
    latencies.sort()
    count = len(latencies)
    return Run(count, seconds, latencies[count // 2], latencies[min(count - 1, count * 99 // 100)])


def datagrams(address: str | tuple[str, int], call: Call, count: int) -> Run:
    """Send over UDP, or to a Unix datagram socket. Large documents are sent few at a time, for the queues' sake."""
    large = len(call.document) > LARGE
    clients_wanted, outstanding = (2, 1) if large else (DATAGRAM_CLIENTS, OUTSTANDING)
    latencies: list[float] = []
    with ExitStack() as stack:
        clients = [stack.enter_context(datagram_client(address)) for _ in range(clients_wanted)]
        poll = stack.enter_context(select.epoll())
        waiting: dict[int, deque[float]] = {client.fileno(): deque() for client in clients}
        sockets = {client.fileno(): client for client in clients}
        for fd, client in sockets.items():
            client.settimeout(None)  # a call with a time-out makes two system calls
            poll.register(fd, select.EPOLLIN)
        left = count
        started = time.perf_counter()
        for _ in range(outstanding):
            for client in clients:
                waiting[client.fileno()].append(time.perf_counter())
                client.send(call.document)
                left -= 1
        while len(latencies) < count:
            ready = poll.poll(PATIENCE)
            if not ready:
                raise WrongReply(f"only {len(latencies)} of {count} requests were answered over {address}")
            for fd, _ in ready:
                reply = sockets[fd].recv(MAX_REPLY)
                now = time.perf_counter()
                latencies.append(now - waiting[fd].popleft())
                call.check(reply)
                if left > 0:
                    left -= 1
                    waiting[fd].append(now)
                    sockets[fd].send(call.document)
        seconds = time.perf_counter() - started
    return _run(latencies, seconds)


def fifo(path: str, reply_dir: Path, call: Call, count: int) -> Run:
    """Send over a FIFO; each client waits for the end of a reply before it sends again."""
    latencies: list[float] = []
    with open(path, "wb", 0) as server, reply_fifos(reply_dir, call.document) as documents:
        poll = select.poll()
        for fd in documents:
            poll.register(fd, select.POLLIN)
        sent: dict[int, float] = {}
        replies = dict.fromkeys(documents, b"")
        left = count
        started = time.perf_counter()
        for fd, document in documents.items():
            sent[fd] = time.perf_counter()
            server.write(document)
            left -= 1
        while len(latencies) < count:
            ready = poll.poll(PATIENCE * 1000)
            if not ready:
                raise WrongReply(f"only {len(latencies)} of {count} requests were answered over {path}")
            for fd, event in ready:
                if event & select.POLLIN:
                    replies[fd] += os.read(fd, MAX_REPLY)
                    continue
                if not replies[fd]:
                    continue  # between two writers
                latencies.append(time.perf_counter() - sent[fd])
                call.check(replies[fd])
                replies[fd] = b""
                if left > 0:
                    left -= 1
                    sent[fd] = time.perf_counter()
                    server.write(documents[fd])
                else:
                    poll.unregister(fd)
        seconds = time.perf_counter() - started
    return _run(latencies, seconds)


@contextlib.contextmanager
def reply_fifos(reply_dir: Path, document: bytes, clients: int = FIFO_CLIENTS) -> Iterator[dict[int, bytes]]:
    """A FIFO for each client, and the document that asks for a reply to it, by the descriptor that reads it."""
    with contextlib.ExitStack() as stack:
        documents: dict[int, bytes] = {}
        for number in range(clients):
            name = f"bench{os.getpid()}_{number}"
            os.mkfifo(reply_dir / name)
            stack.callback(os.unlink, reply_dir / name)
            fd = os.open(reply_dir / name, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, fd)
            documents[fd] = with_reply_name(document, name)
        yield documents


_WRK_SCRIPT = """
local file = io.open(os.getenv("BENCH_DOCUMENT"), "rb")
local document = file:read("*a")
file:close()
if os.getenv("BENCH_RAW") then
    request = function() return document end
else
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = document
end
file = io.open(os.getenv("BENCH_REPLY"), "rb")
local expected = file:read("*a")
file:close()
local status = tonumber(os.getenv("BENCH_STATUS"))
wrong = 0
function setup(thread) t = thread end
function response(got, headers, body)
    if got ~= status or body ~= expected then wrong = wrong + 1 end
end
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format("\\nBENCH %d %d %d %d %d %d\\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), t:get("wrong"),
        errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def wrk(url: str, call: Call, seconds: float, raw: bytes = b"") -> Run:
    """Send over HTTP or HTTPS with wrk, for a time, over L{HTTP_CONNECTIONS} connections that stay open.

    @param raw: the whole request, or several, each with the document as its body; empty: wrk makes an ordinary one.
    """
    with tempfile.TemporaryDirectory() as directory:
        script, document, expected = (Path(directory, name) for name in ("script.lua", "document", "reply"))
        script.write_text(_WRK_SCRIPT)
        document.write_bytes(raw or call.document)
        expected.write_bytes(call.reply)
        done = subprocess.run(
            ["wrk", "-t1", f"-c{HTTP_CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", str(script), url],
            env={
                **os.environ,
                "BENCH_DOCUMENT": str(document),
                "BENCH_REPLY": str(expected),
                "BENCH_STATUS": str(call.status),
                **({"BENCH_RAW": "yes"} if raw else {}),
            },
            capture_output=True,
            text=True,
            check=True,
        )
    match = re.search(r"^BENCH (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if match is None:
        raise WrongReply(f"wrk says nothing of {url}: {done.stdout}{done.stderr}")
    requests, microseconds, p50, p99, wrong, errors = map(int, match.groups())
    if wrong or errors or not requests:
        raise WrongReply(f"{url}: of {requests} replies {wrong} were wrong, {errors} did not come")
    return Run(requests, microseconds / 1e6, p50 / 1e6, p99 / 1e6)
