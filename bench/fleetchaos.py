"""Has clients write to a fleet of real servers while nodes and Redis are killed and frozen, then checks everything.

python -m bench.fleetchaos [--seconds N] [--nodes N] [--seed N]

At the end all nodes must have the same items; what was acknowledged must be there; each entry of the stream must count
once; and the audit logs and the stream must tell the same.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.fleet.entries import Seals, decode
from jsonrpcs_tx.rpc.faults import Fault
from tests.support import environment
from tests.support.ports import free_port
from tests.support.redisserver import RedisServer

SECRET = "the secret of the fleet in chaos"
PATIENCE = 60.0


class Daemon:
    """A node."""

    def __init__(self, directory: Path, redis: RedisServer, number: int) -> None:
        self.name = f"node{number}"
        self.directory = directory
        self.socket = str(directory / f"{self.name}.sock")
        self.audit = directory / f"{self.name}.audit"
        self.port = free_port()
        self._redis = redis
        self.start()

    def start(self) -> None:
        """Start it."""
        options = (
            f"--fleet={self._redis.url}",
            f"--fleet-node={self.name}",
            "--fleet-secret=secret",
            "--fleet-share=htable:ban",
            "--load=all",
            "--htable=ban=>",
            f"--dgram-socket={self.socket}",
            f"--http-listen=tcp:{self.port}:interface=127.0.0.1",
            f"--audit={self.audit}",
        )
        files = (f"--pidfile={self.name}.pid", f"--logfile={self.name}.log")
        (self.directory / f"{self.name}.pid").unlink(missing_ok=True)
        command = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", *files, "jsonrpcs", *options]
        self.process = subprocess.Popen(command, cwd=self.directory, env=environment())

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    def call(self, method: str, *params: Any, timeout: float = 5) -> Any:
        """Call it."""
        with Client(f"unix:{self.socket}") as client:
            return client.call(method, *params, timeout=timeout)

    def items(self) -> set[str]:
        """The keys of the table, which are too many for a datagram."""
        with Client(f"http://127.0.0.1:{self.port}/RPC") as client:
            dump = client.call("htable.dump", "ban", timeout=PATIENCE)
        return {item["name"] for slot in dump for item in slot["slot"]}


class Writer(threading.Thread):
    """A client that writes items, each with a key of its own, to one node after the other.

    @ivar acknowledged: the keys that were answered with a result; C{unknown}: those without an answer, or with 504.
    @ivar refused: those that were refused.
    """

    def __init__(self, number: int, daemons: list[Daemon]) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[str] = set()
        self.unknown: set[str] = set()
        self.refused: set[str] = set()
        self.ends = False
        self._number = number
        self._daemons = daemons
        self._random = random.Random(number)

    def run(self) -> None:
        """Write until it is told to end."""
        serial = 0
        while not self.ends:
            serial += 1
            key = f"{self._number}-{serial}"
            try:
                self._random.choice(self._daemons).call("htable.sets", "ban", key, "v")
                self.acknowledged.add(key)
            except Fault as fault:
                (self.unknown if fault.code == 504 else self.refused).add(key)
            except (ClientError, OSError):
                self.unknown.add(key)
            time.sleep(0.01)


def main() -> None:
    """Run it, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forgets", action="store_true", help="Redis writes nothing down, so that it loses all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet") as path:
        directory = Path(path)
        (directory / "secret").write_text(SECRET + "\n")
        (directory / "secret").chmod(0o600)
        (directory / "redis").mkdir()
        kept = {} if options.forgets else {"appendonly": "yes", "appendfsync": "always"}
        with RedisServer(directory / "redis", **kept) as redis:
            daemons = [Daemon(directory, redis, number) for number in range(options.nodes)]
            try:
                _until_together(daemons)
                done, writers = disturb(daemons, redis, options)
                _until_together(daemons)
                check(daemons, redis, done, writers, options.forgets)
            finally:
                for daemon in daemons:
                    daemon.kill()


def disturb(
    daemons: list[Daemon], redis: RedisServer, options: argparse.Namespace
) -> tuple[Counter[str], list[Writer]]:
    """Let things happen while clients write.

    @return: what has happened, and the clients.
    """
    chance = random.Random(options.seed)
    writers = [Writer(number, daemons) for number in range(3)]
    for writer in writers:
        writer.start()
    done: Counter[str] = Counter()
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 4))
        what = chance.choice(("kill a node", "freeze a node", "restart Redis", "freeze Redis", "Redis away"))
        done[what] += 1
        daemon = chance.choice(daemons)
        if what == "kill a node":
            daemon.kill()
            time.sleep(chance.uniform(0, 1))
            daemon.start()
        elif what == "freeze a node":
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0.5, 8))
            daemon.process.send_signal(signal.SIGCONT)
        elif what == "restart Redis":
            redis.restart()
        elif what == "freeze Redis":
            redis.freeze()
            time.sleep(chance.uniform(0.5, 6))
            redis.thaw()
        else:
            redis.kill()
            time.sleep(chance.uniform(0.5, 6))
            redis.start()
    for writer in writers:
        writer.ends = True
    for writer in writers:
        writer.join()
    return done, writers


def check(daemons: list[Daemon], redis: RedisServer, done: Counter[str], writers: list[Writer], forgets: bool) -> None:
    """Compare the nodes, the clients, the audit logs and the stream.

    @param forgets: Redis may have lost all, so that the stream tells only what came since.
    """
    contents = [daemon.items() for daemon in daemons]
    statuses = [daemon.call("fleet.status") for daemon in daemons]
    acknowledged = set[str]().union(*(writer.acknowledged for writer in writers))
    unknown = set[str]().union(*(writer.unknown for writer in writers))
    refused = set[str]().union(*(writer.refused for writer in writers))
    entries: Any = redis.command("XRANGE", "{fleet}:stream", "-", "+")
    seals = Seals(SECRET.encode(), "fleet")
    numbers: Counter[tuple[str, int]] = Counter()
    streamed: set[str] = set()
    for _, fields in entries:
        entry = decode(dict(zip(fields[::2], fields[1::2], strict=True)), seals)
        numbers[entry.run, entry.number] += 1
        streamed |= {change.arguments[0] for change in entry.changes if change.operation == "set"}
    audited = set[str]().union(*(_audited(daemon.audit) for daemon in daemons))
    print(f"{dict(done)}, load {os.getloadavg()[0]:.1f}")
    print(f"{len(acknowledged)} acknowledged, {len(refused)} refused, {len(unknown)} unknown, {len(entries)} entries")
    problems: dict[str, Any] = {
        "nodes differ": len({frozenset(found) for found in contents}) != 1,
        "acknowledged, but not there": acknowledged - contents[0],
        "refused, but there": refused & contents[0],
        "there, but never written": contents[0] - acknowledged - unknown,
        "in the stream, but not there": streamed ^ contents[0],
        "audited as done, but not in the stream": audited - streamed,
        "acknowledged, but not audited": acknowledged - audited,
        "entries twice in the stream": [one for one, count in numbers.items() if count > 1],
        "losses": [status["losses"] for status in statuses if status["losses"]],
    }
    if forgets:
        for what in ("in the stream, but not there", "audited as done, but not in the stream", "losses"):
            print(f"(Redis has lost what it had) {what}: {len(problems.pop(what))}")
    for what, found in problems.items():
        print(f"{what}: {found or 'none'}" if not isinstance(found, set) else f"{what}: {len(found)}")
    sys.exit(any(problems.values()))


def _audited(path: Path) -> set[str]:
    """The keys that an audit log says were set."""
    found = set()
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the node was killed while it wrote the line
        if line.get("method") == "htable.sets" and line.get("outcome") == "result":
            found.add(line["params"][1])
    return found


def _until_together(daemons: list[Daemon]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            statuses = [daemon.call("fleet.status") for daemon in daemons]
            if all(one["together"] for one in statuses) and len({one["entry"] for one in statuses}) == 1:
                return
        except (ClientError, Fault, OSError) as error:
            statuses = [{"error": str(error)}]
        assert time.monotonic() < end, statuses
        time.sleep(0.1)


if __name__ == "__main__":
    main()
