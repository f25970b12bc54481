"""The chaos test: good clients over every transport beside all hostile ones and commands that misbehave.

Every good request must be answered correctly and soon, the server's memory and descriptors must stay within bounds, and
when all have left it must be idle. The hostile clients (L{bench.hostile}) run in a process of their own, so that they
do not delay the good ones, which are threads of this one. C{python -m bench.soak --chaos} runs it for long, the test
suite for seconds.
"""

import itertools
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import attrs

from bench.clients import Client, Lost, make_client
from bench.hostile import ATTACKER, DATAGRAMS, Target, authorization
from jsonrpcs_tx.access.passwords import make_hash
from jsonrpcs_tx.transports import fifo, waiting
from jsonrpcs_tx.transports.unread import MAX_UNREAD
from tests.support import PATIENCE, REPOSITORY, TRANSPORTS, Server, http_call

CLIENTS: Final = 32
"""Good clients, spread over all transports."""

THINK_TIME: Final = 0.05
"""Seconds between a reply and the client's next request."""

SETTLE: Final = 1.0
"""Seconds for which the good clients run alone, before the hostile ones: this gives the baseline."""

MOST_GROWTH: Final = (2 * MAX_UNREAD + fifo.MAX_BYTES + 3 * waiting.MAX_BYTES) // 1000
"""kB that the server and its workers may take under attack above what they take with the good clients alone: what the
limits allow clients to leave unread over TCP and HTTP, over the FIFO, and at three datagram sockets.
"""

FILL_SECONDS: Final = 20.0
"""Seconds of an attack after which clients have reached the limits of what they may leave unread."""

SAMPLES_PER_SECOND: Final = 2

MOST_DRIFT: Final = 30_000
"""kB by which it may grow from then to the end of an attack: not all clients are at their worst at once, but an
unbounded leak would exceed this.
"""

UPTIME: Final = b'{"jsonrpc":"2.0","method":"core.uptime","id":1}'

USER: Final = "ann:right"
HOSTILE_USER: Final = "mallory:known"

OPTIONS: Final = (
    *(
        "--commands=tests.support.misbehaving",
        "--htable=a=>size=4;",
        "--async-timeout=2",
        "--watchdog=0",
        "--http-timeout=5",
    ),
    *("--http-allow=127.0.0.1", f"--http-allow={ATTACKER}"),
)
"""The server's options, besides those of every test."""

WORKERS: Final = ("--dgram-workers=2", "--http-users=users")
"""Further options for the variant with workers and with passwords, which make HTTP take the general way."""


@attrs.frozen
class Usage:
    """What a server takes, with its workers.

    @ivar memory: resident, in kB.
    @ivar descriptors: open ones.
    """

    memory: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> "Usage":
        memory = descriptors = 0
        for one in (pid, *children(pid)):
            with suppress(OSError, IndexError):  # a worker may end meanwhile
                status = Path(f"/proc/{one}/status").read_text()
                memory += int(status.partition("VmRSS:")[2].split()[0])
                descriptors += len(os.listdir(f"/proc/{one}/fd"))
        return cls(memory, descriptors)


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that run."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@attrs.frozen
class Outcome:
    """The outcome of a run.

    @ivar latencies: of the good requests, in seconds, by transport.
    @ivar lost: what went wrong with good requests.
    @ivar before: what the server took before any client came.
    @ivar base: what it took with the good clients only.
    @ivar samples: what it took under attack, L{SAMPLES_PER_SECOND} for each second.
    @ivar left: what it took when all had left.
    @ivar stirred: requests that it counted in half a second in which nobody sent any; -1: it did not answer.
    @ivar steps: how many times each hostile client has attacked.
    """

    latencies: dict[str, list[float]]
    lost: list[str]
    before: Usage
    base: Usage
    samples: list[Usage]
    left: Usage
    stirred: int
    steps: dict[str, int]

    def percentile(self, percent: float, *transports: str) -> float:
        """The latency in seconds that this percentage of the requests does not exceed.

        @param transports: the transports whose requests count; default: all.
        """
        found = sorted(itertools.chain(*(self.latencies[name] for name in transports or self.latencies))) or [math.inf]
        return found[min(len(found) - 1, int(len(found) * percent / 100))]

    @property
    def growth(self) -> int:
        """The most kB that the server took under attack above what it took before."""
        return max(sample.memory for sample in self.samples) - self.base.memory

    @property
    def drift(self) -> int:
        """kB by which its memory in the last quarter of the attack exceeds that in the first quarter after
        L{FILL_SECONDS}: what accumulates. An attack that is hardly longer than that shows none.
        """
        samples = self.samples[int(FILL_SECONDS * SAMPLES_PER_SECOND) :]
        quarter = len(samples) // 4
        return max(s.memory for s in samples[-quarter:]) - max(s.memory for s in samples[:quarter]) if quarter else 0

    def problems(self, most_latency: float) -> list[str]:
        """The requirements that were not met.

        @param most_latency: the most seconds that 99 of 100 requests may take.
        """
        found = list(self.lost)
        idle = [name for name, latencies in self.latencies.items() if not latencies]
        for wrong, problem in (
            (idle, f"no request was answered over {', '.join(idle)}"),
            (self.percentile(99) > most_latency, f"p99 is {1000 * self.percentile(99):.0f} ms"),
            (self.growth > MOST_GROWTH, f"memory grows by {self.growth} kB; allowed: {MOST_GROWTH}"),
            (self.drift > MOST_DRIFT, f"memory drifts by {self.drift} kB; allowed: {MOST_DRIFT}"),
            (self.left.descriptors > self.before.descriptors, f"{self.left.descriptors} descriptors stay open"),
            (self.stirred, f"{self.stirred} requests in half a second that nobody has sent"),
        ):
            if wrong:
                found.append(problem)
        return found

    def report(self) -> str:
        """All figures, as a table and some lines."""
        lines = ["transport | requests | median ms | p99 ms | worst ms", "--- | ---: | ---: | ---: | ---:"]
        for name, all_of_it in [*((name, [name]) for name in self.latencies), ("all", list(self.latencies))]:
            count = sum(len(self.latencies[one]) for one in all_of_it)
            figures = (f"{1000 * self.percentile(percent, *all_of_it):.1f}" for percent in (50, 99, 100))
            lines.append(" | ".join((name, str(count), *figures)))
        memory = [sample.memory for sample in self.samples]
        lines += [
            f"resident: {self.base.memory} kB before, {min(memory)} to {max(memory)} kB under attack, "
            f"{self.left.memory} kB after; it drifts by {self.drift} kB",
            f"descriptors: {self.before.descriptors} before, {self.base.descriptors} with the good clients, "
            f"{max(sample.descriptors for sample in self.samples)} at the most, {self.left.descriptors} after",
            f"requests when nobody sends any: {self.stirred}",
            f"steps of the hostile clients: {self.steps}",
            *self.lost[:20],
        ]
        return "\n".join(lines)


def good_requests(transport: str, ids: Iterator[int]) -> Iterator[tuple[bytes, bytes]]:
    """An endless series of requests, each with its reply."""
    asynchronous = transport in ("http", "https")
    for id in ids:
        kind = id % (4 if asynchronous else 3)
        method, params, result = (
            ("jsonrpc.echo", ["é" * (id % 50), id], ["é" * (id % 50), id]),
            ("core.prints", [f"text{id}"], [f"text{id}"]),
            ("htable.seti", ["a", f"{transport}{id % 20}", id], "Ok. Key set to new value."),
            ("good.later", [id], id),
        )[kind]
        document = {"jsonrpc": "2.0", "method": method, "params": params, "id": id}
        reply = {"jsonrpc": "2.0", "result": result, "id": id}
        yield tuple(  # type: ignore[misc] # of two
            json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode() for one in (document, reply)
        )


class _Good:
    """One good client, in a thread: a request, its reply, a pause."""

    def __init__(self, transport: str, client: Client, ids: Iterator[int], over: threading.Event) -> None:
        self.transport = transport
        self.latencies: list[float] = []
        self.lost: list[str] = []
        self._client = client
        self._requests = good_requests(transport, ids)
        self._over = over
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for document, wanted in self._requests:
            began = time.monotonic()
            try:
                (reply,) = self._client.ask([document])
            except (Lost, OSError) as error:
                self.lost.append(f"{self.transport}: {document[:100]!r}: {error!r}")
                return  # it is out of step
            self.latencies.append(time.monotonic() - began)
            if reply != wanted:
                self.lost.append(f"{self.transport}: {document[:100]!r} was answered with {reply[:200]!r}")
                return
            if self._over.wait(THINK_TIME):
                return


@contextmanager
def chaos_server(directory: Path, *options: str) -> Iterator[Server]:
    """A server that is ready to be attacked.

    @param options: further options of its command line, such as those of L{WORKERS}.
    """
    users = directory / "users"
    pairs = (user.split(":") for user in (USER, HOSTILE_USER))
    users.write_text("".join(f"{name}:{make_hash(password.encode())}\n" for name, password in pairs))
    users.chmod(0o600)
    with Server(directory, *OPTIONS, *options) as server:
        workers = 2 * len(DATAGRAMS) if "--dgram-workers=2" in options else 0
        deadline = time.monotonic() + PATIENCE
        while sum(" reads " in line for line in server.log) < workers:
            if time.monotonic() > deadline:
                raise AssertionError("the workers did not start:\n" + "\n".join(server.log))
            time.sleep(0.01)
        yield server


def chaos(server: Server, seconds: float, user: str = "", hostile: Sequence[str] = ()) -> Outcome:
    """Attack a server while good clients use it.

    @param seconds: for how long.
    @param user: name and password that HTTP needs, see L{Target}; empty: none.
    @param hostile: names of the hostile clients that take part; empty: all.
    @raise Lost: a request is not answered even before the attack.
    """
    headers = [authorization(user)] if user else []
    pid = server.process.pid
    server.call("unix", UPTIME)  # its reactor runs, with all descriptors that it needs
    before = Usage.of(pid)
    with ExitStack() as stack:
        over = threading.Event()
        good = []
        for number, transport in zip(range(CLIENTS), itertools.cycle(TRANSPORTS), strict=False):
            client = make_client(stack, transport, server.addresses[transport], server.reply_dir, *headers)
            ids = itertools.count(number * 1_000_000)
            document, wanted = next(good_requests(transport, ids))
            if client.ask([document]) != [wanted]:  # the password is hashed now, and remembered from then on
                raise Lost(f"{transport}: {document!r}")
            good.append(_Good(transport, client, ids, over))
        time.sleep(SETTLE)
        base = Usage.of(pid)
        intruder = HOSTILE_USER if user else ""
        victim = user.partition(":")[0]
        target = Target(server.addresses, str(server.reply_dir), seconds, intruder, victim, hostile)
        samples, steps = attack(pid, target)
        over.set()
        for one in good:
            one.thread.join(PATIENCE)
        lost = [text for one in good for text in one.lost]
    latencies: dict[str, list[float]] = {name: [] for name in TRANSPORTS}
    for one in good:
        latencies[one.transport] += one.latencies
    left = _settle(pid, before)
    try:
        stirred = _stirred(server, headers)
    except (OSError, HTTPException) as error:
        stirred = -1
        lost.append(f"http: afterwards: {error!r}")
    return Outcome(latencies, lost, before, base, samples, left, stirred, steps)


def attack(pid: int, target: Target) -> tuple[list[Usage], dict[str, int]]:
    """Run the hostile clients to their end.

    @return: what the server took, L{SAMPLES_PER_SECOND} times a second, and the steps of the clients.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.hostile"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(attrs.asdict(target)))
        process.stdin.close()
        samples = []
        deadline = time.monotonic() + target.seconds + 2 * PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(1 / SAMPLES_PER_SECOND)
            samples.append(Usage.of(pid))
        assert process.wait(PATIENCE) == 0
        assert process.stdout is not None
        return samples, dict(json.load(process.stdout))
    finally:
        process.kill()
        with process:  # closes its streams, and waits for its end
            pass


def _settle(pid: int, before: Usage) -> Usage:
    """What the server takes once it has as many descriptors as before, or after L{PATIENCE} if that does not happen."""
    deadline = time.monotonic() + PATIENCE
    while (now := Usage.of(pid)).descriptors > before.descriptors and time.monotonic() < deadline:
        time.sleep(0.1)  # nothing tells when a server has seen that its clients have left
    return now


def _stirred(server: Server, headers: list[str]) -> int:
    """Requests that the server counts in half a second when nobody sends any, once those in progress have ended."""
    deadline = time.monotonic() + PATIENCE
    counted = _counted(server, headers)
    while True:
        time.sleep(0.5)
        last, counted = counted, _counted(server, headers)
        if counted - last == 1 or time.monotonic() > deadline:
            return counted - last - 1


def _counted(server: Server, headers: list[str]) -> int:
    """Requests that the server has counted, this one included."""
    document = b'{"jsonrpc":"2.0","method":"stats.fetchn","params":["core:"],"id":1}'
    named = dict(line.split(": ", 1) for line in headers)
    reply: Any = json.loads(http_call("http", server.addresses["http"], document, headers=named).body)
    return int(reply["result"]["core.rcv_requests"])
