"""Hash tables that a running server stores at an interval: what kill -9 leaves, and what a slow disk holds up."""

import json
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import ECHO, ECHO_REPLY, Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TABLES = ("--htable=a=>size=4", "--htable=b=>size=4;autoexpire=5000", "--htable-db=tables.db")


def command(server: Server, method: str, *params: object) -> Any:
    """The result of a command."""
    document = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
    return json.loads(server.call("unix", document.encode()))["result"]


def stored(path: Path) -> int:
    """How many items the file has."""
    with closing(sqlite3.connect(path)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM item")
        return int(count)


def answers(server: Server) -> list[Any]:
    """All that clients can learn about the items."""
    keys = [
        (name, item["name"]) for name in "ab" for slot in command(server, "htable.dump", name) for item in slot["slot"]
    ]
    return [command(server, "htable.dump", name) for name in "ab"] + [
        command(server, "htable.get", name, key) for name, key in keys
    ]


def test_killed(tmp_path: Path) -> None:
    """After kill -9 a server answers what it answered when the tables were last stored: values, types and expiries."""
    with Server(tmp_path, *TABLES, "--htable-db-interval=1") as server:
        command(server, "htable.sets", "a", "text", "5")
        command(server, "htable.seti", "a", "number", -(2**63))
        command(server, "htable.sets", "a", "empty", "")
        command(server, "htable.sets", "a", "é:| ", "\u2028\n\x00")
        command(server, "htable.setxs", "b", "soon", "x", 1)
        command(server, "htable.setxi", "b", "later", 7, 900)
        command(server, "htable.seti", "b", "auto", 1)
        wait_until(lambda: stored(tmp_path / "tables.db") >= 6)
        wait_until(lambda: "soon" not in json.dumps(command(server, "htable.dump", "b")))
        before = answers(server)
        server.stop(signal.SIGKILL)
    with Server(tmp_path, *TABLES) as server:
        assert answers(server) == before


def test_idle(tmp_path: Path) -> None:
    """A server whose tables do not change writes nothing."""
    with Server(tmp_path, *TABLES, "--htable-db-interval=1") as server:
        command(server, "htable.seti", "a", "k", 1)
        wait_until(lambda: stored(tmp_path / "tables.db") == 1)
        with closing(sqlite3.connect(tmp_path / "tables.db")) as connection:
            version = connection.execute("PRAGMA data_version").fetchone()  # changes when others write
            for _ in range(3):
                command(server, "htable.get", "a", "k")
                time.sleep(1)  # an interval
            assert connection.execute("PRAGMA data_version").fetchone() == version
            command(server, "htable.seti", "a", "k", 2)
            wait_until(lambda: connection.execute("PRAGMA data_version").fetchone() != version)


SLOW_DISK = """
import time
from jsonrpcs_tx import command
from jsonrpcs_tx.state.tablestore import TableStore

write = TableStore.write

def slowly(self, tables):
    print("the disk is slow", flush=True)
    time.sleep(2)
    write(self, tables)
    print("the disk is done", flush=True)

TableStore.write = slowly

@command("test.nothing")
def nothing() -> None:
    "Does nothing."
"""


def longest(server: Server, until: Callable[[], bool]) -> float:
    """Call over several transports until a condition holds. Returns the seconds that the slowest call took."""
    most = 0.0
    while not until():
        for transport in ("unix", "udp4", "http"):
            began = time.monotonic()
            assert server.call(transport, ECHO) == ECHO_REPLY
            most = max(most, time.monotonic() - began)
    return most


def test_slow_disk(tmp_path: Path) -> None:
    """While the disk takes two seconds to store what has changed, nobody waits for it."""
    (tmp_path / "slowdisk.py").write_text(SLOW_DISK)
    with Server(tmp_path, *TABLES, "--htable-db-interval=1", "--commands=slowdisk") as server:
        command(server, "htable.seti", "a", "k", 1)
        server.wait_for_log("the disk is slow")
        assert longest(server, lambda: any("the disk is done" in line for line in server.log)) < 1.5
        command(server, "htable.seti", "a", "k", 2)
        server.wait_for_log("the disk is slow", len(server.log))
        assert command(server, "htable.store", "a") == "Ok. Htable is being stored to DB."
        server.wait_for_log("htable_db: table a stored")


def test_locked(tmp_path: Path) -> None:
    """While another process has locked the file, nobody waits for it, and what has changed is stored afterwards."""
    path = tmp_path / "tables.db"
    with Server(tmp_path, *TABLES, "--htable-db-interval=1") as server, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        command(server, "htable.seti", "a", "k", 1)
        end = time.monotonic() + 3
        assert longest(server, lambda: time.monotonic() > end) < 0.9  # less than it takes to give the lock up
        server.wait_for_log("htable_db: table a not stored: database is locked")
        other.rollback()
        server.wait_for_log("tables can be stored again")
        assert stored(path) == 1
