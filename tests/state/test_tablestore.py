"""The SQLite file that keeps hash tables: what a crash leaves of it, and what it refuses."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.state import tablestore
from jsonrpcs_tx.state.tables import Contents, Row, StorageError, Table, Tables
from jsonrpcs_tx.state.tablestore import SWEEP_INTERVAL, StoreThread, TableStore, TableStoreService
from tests.support import PATIENCE, REPOSITORY, environment
from tests.support.logs import observed

WALL = 1_700_000_000.0


class Program:
    """One run of a program with tables a and b.

    @param later: seconds after the first run.
    @param interval: seconds after which tables are stored; 0: at the stop.
    """

    def __init__(self, path: Path, later: float = 0, interval: int = 0) -> None:
        self.clock = Clock()
        self.tables = Tables(self.clock, lambda: WALL + later + self.clock.seconds())
        self.a = self.tables.define("a=>size=4")
        self.b = self.tables.define("b=>size=4;autoexpire=60")
        self.service = TableStoreService(self.tables, str(path), interval, self.clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables.db"


def table(name: str = "a") -> Table:
    return Tables(Clock(), lambda: WALL).define(name)


def contents(path: Path) -> dict[str, bytes]:
    """All files in the directory of a path."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be made to write to any file")
def test_place_that_others_can_change(path: Path) -> None:
    """Root refuses a directory where another user could put links beside the file, and makes nothing there."""
    for owner, mode in ((65_534, 0o755), (0, 0o777), (0, 0o1777)):
        os.chown(path.parent, owner, -1)
        path.parent.chmod(mode)
        with pytest.raises(StartError, match=f"htable_db: {path}: {path.parent} .*any file; allowed: "):
            Program(path).service.startService()
        assert contents(path) == {}


def test_from_run_to_run(path: Path) -> None:
    """A table is as it was in the run before; what has expired since is gone, and times of day go on."""
    first = Program(path)
    first.service.startService()
    first.a.set("text", "é\0\n:|")
    first.a.set("number", -(2**63))
    first.b.set("soon", 1)
    first.b.set("later", 2, 500)
    first.service.stopService()

    second = Program(path, later=100)
    second.service.startService()
    assert second.a.rows() == [("number", -(2**63), None), ("text", "é\0\n:|", None)]
    assert second.b.rows() == [("later", 2, WALL + 500)]
    second.service.stopService()


def test_types(path: Path) -> None:
    """Text that looks like a number stays text."""
    a = table()
    a.set("k", "5")
    with closing(TableStore(str(path))) as store:
        store.store(a)
        store.reload(a)
    assert a.get("k") == "5"


def test_one_table_at_a_time(path: Path) -> None:
    """Storing or reloading a table leaves the others alone, in memory and in the file."""
    run = Program(path)
    run.service.startService()
    storage = run.service._store
    assert storage is not None
    run.a.set("k", 1)
    run.b.set("k", 1, 500)
    storage.store(run.a)
    storage.store(run.b)
    run.a.set("k", 2)
    run.b.set("k", 2, 500)
    storage.store(run.a)
    storage.reload(run.b)
    assert (run.a.get("k"), run.b.get("k")) == (2, 1)
    run.b.flush()
    storage.store(run.b)
    storage.reload(run.a)
    storage.reload(run.b)
    assert (run.a.get("k"), run.b.get("k")) == (2, None)
    run.service.stopService()
    assert run.tables.storage is None


def test_table_of_another_run(path: Path) -> None:
    """Rows of a table that is not defined any more stay in the file."""
    gone = table("gone")
    gone.set("k", "v")
    with closing(TableStore(str(path))) as store:
        store.store(gone)
    run = Program(path)
    run.service.startService()
    run.service.stopService()
    gone.flush()
    with closing(TableStore(str(path))) as store:
        store.reload(gone)
    assert gone.get("k") == "v"


def test_mode(path: Path) -> None:
    """The file, and what SQLite puts beside it, is for its owner alone, whatever the umask."""
    before = os.umask(0)
    try:
        with closing(TableStore(str(path))) as store:
            store.store(table())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"tables.db": 0o600, "tables.db-wal": 0o600, "tables.db-shm": 0o600}


def test_nothing_left_over(path: Path) -> None:
    """After a stop there is one file, and what a crash left while it was made is cleared away."""
    (path.parent / "tables.db.new").write_text("half")
    path.touch()
    TableStore(str(path)).close()
    TableStore(str(path)).close()
    assert [file.name for file in path.parent.iterdir()] == ["tables.db"]


def test_symbolic_link(path: Path, tmp_path: Path) -> None:
    """The path may be a symbolic link, which stays one."""
    path.symlink_to(tmp_path / "target.db")
    TableStore(str(path)).close()
    assert path.is_symlink()
    assert (tmp_path / "target.db").stat().st_size


def make_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE item (x); PRAGMA journal_mode = WAL; INSERT INTO item VALUES (1)")


def make_text(path: Path) -> None:
    path.write_text("key: value\n")


def make_short(path: Path) -> None:
    TableStore(str(path)).close()
    os.truncate(path, 72)


def make_damaged(path: Path) -> None:
    a = table()
    for number in range(5000):
        a.set(f"key {number}", "value")
    with closing(TableStore(str(path))) as store:
        store.store(a)
    data = bytearray(path.read_bytes())
    data[8192:20480] = b"\xff" * 12288
    path.write_bytes(data)


def make_later(path: Path) -> None:
    TableStore(str(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("make", [make_foreign, make_text, make_short, make_damaged, make_later])
def test_not_our_file(path: Path, make: Callable[[Path], None]) -> None:
    """A file that is damaged or none of ours stops the start with an error that names the setting, and is untouched."""
    make(path)
    before = contents(path)
    run = Program(path)
    with pytest.raises(StartError, match=rf"htable_db: {path}: .*; allowed: a path of a new file, or of hash tables"):
        run.service.startService()
    assert run.tables.storage is None
    run.service.stopService()
    after = contents(path)
    assert {name: after.get(name) for name in before} == before


def test_damaged_after_a_crash(path: Path) -> None:
    """The journal of a crash beside a damaged file is untouched too."""
    with closing(TableStore(str(path))) as store:
        store.store(table())
        left = contents(path)
    for name, data in left.items():
        (path.parent / name).write_bytes(data)
    (path.parent / "tables.db-shm").unlink()
    wal = path.parent / "tables.db-wal"
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xff" * 3996
    path.write_bytes(damaged)
    wal.write_bytes(b"not a journal")
    with pytest.raises(StartError, match="htable_db"):
        TableStore(str(path))
    assert path.read_bytes() == damaged
    assert wal.read_bytes() == b"not a journal"


@pytest.mark.parametrize("name", ["missing/tables.db", ".", "a\0b"])
def test_path_that_cannot_be(tmp_path: Path, name: str) -> None:
    """A path at which there can be no file stops the start with an error that names the setting."""
    with pytest.raises(StartError, match=r"^htable_db: "):
        TableStore(str(tmp_path / name))


@pytest.mark.parametrize(
    "row", ["('a', 'k', 1.5, NULL)", "('a', 'k', x'00', NULL)", "('a', x'00', 1, NULL)", "('a', 'k', 1, 'soon')"]
)
def test_row_that_is_not_an_item(path: Path, row: str) -> None:
    """A row that somebody else wrote and that is not an item prevents the start, and is still there afterwards."""
    TableStore(str(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"INSERT INTO item VALUES {row}")
        connection.commit()
    run = Program(path)
    with pytest.raises(StartError, match=r"htable_db: .*table a not read: .*must be"):
        run.service.startService()
    run.service.stopService()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (1,)


def test_failed_store(path: Path) -> None:
    """Where a store fails on its way, what was stored before is still there, and the next store goes through."""
    a = table()
    a.set("k", "old")
    with closing(TableStore(str(path))) as store:
        store.store(a)
        with closing(sqlite3.connect(path)) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON item WHEN new.key = 'z' BEGIN SELECT raise(ABORT, 'full'); END"
            )
            other.commit()
            a.set("k", "new")
            a.set("z", 1)
            with pytest.raises(StorageError, match="table a not stored: full"):
                store.store(a)
            store.reload(a)
            assert a.rows() == [("k", "old", None)]
            other.execute("DROP TRIGGER full")
            other.commit()
        a.set("k", "new")
        store.store(a)
        store.reload(a)
        assert a.rows() == [("k", "new", None)]


def test_failed_store_at_stop(path: Path) -> None:
    """Where storing fails at the stop, that is logged, and the other tables are stored."""
    events: list[str] = []

    def observe(event: dict[str, object]) -> None:
        events.append(str(event.get("error")))

    run = Program(path)
    run.service.startService()
    run.a.set("k", 1)
    run.b.set("k", 1, 500)
    with closing(sqlite3.connect(path)) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON item WHEN new.htable = 'a' BEGIN SELECT raise(ABORT, 'full'); END"
        )
        other.commit()
    with observed(observe):
        run.service.stopService()
    assert "table a not stored: full" in events
    second = Program(path)
    second.service.startService()
    assert (second.a.get("k"), second.b.get("k")) == (None, 1)
    second.service.stopService()


class SlowStore(TableStore):
    """Waits for a word before it goes on, as one on a slow disk does."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.word = threading.Event()
        self.interrupted = False

    def write(self, tables: Mapping[str, Iterable[Row]]) -> None:
        self._wait(", ".join(tables))
        super().write(tables)

    def read(self, table: Table) -> Contents:
        self._wait(table.definition.name)
        return super().read(table)

    def interrupt(self) -> None:
        self.interrupted = not self.word.is_set()
        self.word.set()
        super().interrupt()

    def _wait(self, name: str) -> None:
        self.word.wait()
        if self.interrupted:
            raise StorageError(f"table {name}: interrupted")


@attrs.frozen
class Slow:
    """A thread that stores as L{SlowStore} does."""

    store: SlowStore
    clock: Clock
    thread: StoreThread

    def finish(self) -> None:
        """Let the thread come to its end, and the reactor find that out."""
        self.store.word.set()
        wait([work.future for work in self.thread._works], PATIENCE)
        self.clock.advance(1)
        assert self.clock.getDelayedCalls() == []


@pytest.fixture
def slow(path: Path) -> Iterator[Slow]:
    store, clock = SlowStore(path), Clock()
    made = Slow(store, clock, StoreThread(store, clock))
    yield made
    store.word.set()
    made.thread.stop()
    store.close()


def test_slow_disk(slow: Slow) -> None:
    """A disk that is slow holds nobody up: storing goes on, with the items as they were, while others are refused."""
    a = table()
    a.set("k", "stored")
    assert slow.thread.store(a) is False
    a.set("k", "later")
    for refused in (slow.thread.store, slow.thread.reload):
        with pytest.raises(
            StorageError, match="table a: another table is being stored or read; try again when that is done"
        ):
            refused(a)
    slow.clock.advance(1)  # which finds it still in hand
    slow.finish()
    slow.store.reload(a)
    assert a.get("k") == "stored"


def test_slow_reload(slow: Slow) -> None:
    """A table changes when all of it has been read."""
    a = table()
    assert slow.thread.reload(a) is False
    a.set("k", 1)
    slow.clock.advance(1)
    assert a.get("k") == 1
    slow.finish()
    assert a.get("k") is None


def test_slow_failure(slow: Slow, path: Path) -> None:
    """A failure after the reply is in the log."""
    slow.store.be_patient(0)
    with capturedLogs() as events, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert slow.thread.store(table()) is False
        slow.finish()
    assert any("table a not stored: database is locked" in str(event.get("error")) for event in events)


def test_stop_while_storing(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread has in hand at the stop is broken off when it takes too long."""
    monkeypatch.setattr(tablestore, "_STOP_TIME", 0.01)
    assert slow.thread.store(table()) is False
    with capturedLogs() as events:
        slow.thread.stop()
    assert slow.store.interrupted
    assert any("table a: interrupted" in str(event.get("error")) for event in events)
    assert slow.clock.getDelayedCalls() == []


def saved(run: Program) -> None:
    """Let the thread come to its end, and the reactor find that out."""
    assert run.service._thread is not None
    wait([work.future for work in run.service._thread._works], PATIENCE)
    run.clock.advance(0.1)
    assert not run.service._thread.saving


def in_file(path: Path) -> dict[tuple[str, str], object]:
    """What a server that started now would find, by table and key."""
    with closing(sqlite3.connect(path)) as connection:
        return {(name, key): value for name, key, value in connection.execute("SELECT htable, key, value FROM item")}


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the tables that are written, each time."""
    names: list[list[str]] = []
    write = TableStore.write

    def note(self: TableStore, tables: Mapping[str, Iterable[Row]]) -> None:
        names.append([*tables])
        write(self, tables)

    monkeypatch.setattr(TableStore, "write", note)
    return names


def test_interval(path: Path, writes: list[list[str]]) -> None:
    """What has changed is stored at the interval, all of it together, and nothing if nothing has."""
    run = Program(path, interval=60)
    run.service.startService()
    run.clock.advance(600)
    assert writes == []
    run.a.set("k", "5")
    run.b.set("k", 5, 10_000)
    run.clock.advance(59)
    assert in_file(path) == {}
    run.clock.advance(1)
    saved(run)
    assert in_file(path) == {("a", "k"): "5", ("b", "k"): 5}
    for change in (
        lambda: run.a.set("l", 1),
        lambda: run.a.expire("l", 1000),
        lambda: run.a.delete("l"),
        lambda: run.a.flush(),
        lambda: run.a.restore(Contents(16)),
    ):
        change()
        run.clock.advance(60)
        saved(run)
    run.a.delete("l")  # there is none, so nothing changes
    run.b.get("k")
    run.clock.advance(600)
    run.service.stopService()
    assert writes == [["a", "b"], *[["a"]] * 5]
    assert run.clock.getDelayedCalls() == []


def test_no_interval(path: Path, writes: list[list[str]]) -> None:
    """Without an interval, tables are stored at the stop, and those only that were not stored before."""
    run = Program(path)
    run.service.startService()
    run.a.set("k", 1)
    run.b.set("k", 1)
    run.clock.advance(100_000)
    assert writes == []
    assert run.tables.storage is not None
    run.tables.storage.store(run.a)
    run.service.stopService()
    assert writes == [["a"], ["b"]]


def test_failing_interval(path: Path, writes: list[list[str]]) -> None:
    """Where tables cannot be stored, the service says why, and they are stored as soon as they can be."""
    run = Program(path, interval=60)
    run.service.startService()
    run.a.set("k", 1)
    run.b.set("k", 1, 10_000)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON item BEGIN SELECT raise(ABORT, 'full'); END")
        other.commit()
        with capturedLogs() as events:
            run.clock.advance(60)
            saved(run)
        assert any("table a, b not stored: full" in str(event.get("error")) for event in events)
        assert run.service.problem == "table a, b not stored: full"
        other.execute("DROP TRIGGER full")
        other.commit()
    run.clock.advance(60)
    saved(run)
    assert run.service.problem is None
    assert in_file(path) == {("a", "k"): 1, ("b", "k"): 1}
    run.service.stopService()
    assert writes == [["a", "b"]] * 2


def test_slow_interval(slow: Slow) -> None:
    """While a slow disk writes what has changed, a client's command waits for its turn, and is not refused."""
    a = table()
    a.set("k", "first")
    slow.thread.save([a])
    a.set("k", "second")
    slow.thread.save([a])  # which comes too early, and does nothing
    assert slow.thread.saving
    assert len(slow.thread._works) == 1
    assert slow.thread.store(a) is False
    with pytest.raises(StorageError, match="try again when that is done"):
        slow.thread.reload(a)
    slow.finish()
    assert not slow.thread.saving
    assert slow.thread.changed([a]) == []
    slow.store.reload(a)
    assert a.get("k") == "second"


def test_saved_before_a_command(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored at the interval counts as stored before what a client has stored after that."""
    monkeypatch.setattr(tablestore, "WAIT", PATIENCE)  # a busy machine may need longer
    run = Program(path, interval=60)
    run.service.startService()
    thread = run.service._thread
    assert thread is not None
    run.a.set("k", 1)
    run.clock.advance(60)
    wait([work.future for work in thread._works], PATIENCE)
    run.a.set("k", 2)
    assert thread.store(run.a)
    assert thread.changed([run.a]) == []
    assert not thread.saving
    run.service.stopService()
    assert run.clock.getDelayedCalls() == []


def test_late_interval(path: Path, writes: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A time to store that comes while the disk is still busy with the one before is made up for."""
    run = Program(path, interval=60)
    run.service.startService()
    run.a.set("k", 1)
    word = threading.Event()
    patient = StoreThread._write_patiently

    def slowly(self: StoreThread, rows: Mapping[str, list[Row]]) -> None:
        assert word.wait(PATIENCE)
        patient(self, rows)

    monkeypatch.setattr(StoreThread, "_write_patiently", slowly)
    run.clock.advance(60)
    run.a.set("k", 2)
    run.clock.advance(60)
    assert writes == []
    word.set()
    saved(run)
    assert in_file(path) == {("a", "k"): 1}
    run.clock.advance(1)
    saved(run)
    assert in_file(path) == {("a", "k"): 2}
    run.service.stopService()


def test_stop_with_more_to_do(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the thread at the stop is not begun any more."""
    monkeypatch.setattr(tablestore, "_STOP_TIME", 0.01)
    a = table()
    a.set("k", 1)
    slow.thread.save([a])
    assert slow.thread.store(a) is False
    slow.thread.stop()
    assert slow.store.interrupted
    assert slow.thread.changed([a]) == [a]


@pytest.mark.slow
def test_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another process has locked is a fault at once while the server runs; at the stop, after a second in
    all, the log says what could not be stored.
    """
    monkeypatch.setattr(tablestore, "WAIT", PATIENCE)  # a busy machine may need longer to find out
    run = Program(path)
    run.service.startService()
    storage = run.tables.storage
    assert storage is not None
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        for name in "ab" * 5:
            with pytest.raises(StorageError, match=f"table {name} not stored: database is locked"):
                storage.store(run.tables[name])
        assert time.monotonic() - started < 8  # a second each, if it waited
        assert storage.reload(run.a) is True  # who reads does not wait for who writes
        run.a.set("k", 1)
        with capturedLogs() as events:
            run.service.stopService()
    errors = [str(event["error"]) for event in events if "error" in event]
    assert errors == [f"table {name} not stored: database is locked" for name in "ab"]


def test_sweep() -> None:
    """The service removes expired items, with no file too, and leaves nothing behind in the reactor."""
    run = Program(Path())
    service = TableStoreService(run.tables, "", 0, run.clock)
    service.startService()
    for number in range(2500):
        run.b.set(f"k{number}", 1, 1)
    run.clock.advance(SWEEP_INTERVAL)
    for _ in range(3):
        run.clock.advance(0)
    assert run.b._contents.kept == {}
    assert run.tables.storage is None
    service.stopService()
    assert run.clock.getDelayedCalls() == []


def test_sweep_when_due() -> None:
    """Nothing wakes the reactor while no item expires, and then it is woken when the first one does."""
    run = Program(Path())
    service = TableStoreService(run.tables, "", 0, run.clock)
    service.startService()
    run.a.set("k", 1)
    assert run.clock.getDelayedCalls() == []
    run.a.set("l", 1, 1000)
    run.b.set("k", 1, 500)
    run.b.set("m", 1, 499.5)
    run.b.expire("m", 0)
    run.a.set("n", 1, 2000)
    (call,) = run.clock.getDelayedCalls()
    assert call.getTime() == 499.5
    for key, due in (("k", 500.5), ("l", 1000), ("n", 2000)):
        run.clock.advance(call.getTime() - run.clock.seconds())
        (call,) = run.clock.getDelayedCalls()
        assert call.getTime() == due, key
    run.b.set("soon", 1, 0.25)
    (call,) = run.clock.getDelayedCalls()
    assert call.getTime() == run.clock.seconds() + SWEEP_INTERVAL
    service.stopService()
    assert run.clock.getDelayedCalls() == []


# Each round forks a writer that stores ever new contents, kills it, and looks at what is there. Every other round the
# writer kills itself within SQLite, at a random point of a store; else it is killed when it has said a random word.
CRASH = """
import os, random, signal, sys
from twisted.internet.task import Clock
from jsonrpcs_tx.state.tables import Tables
from jsonrpcs_tx.state.tablestore import TableStore

path, rounds = sys.argv[1], int(sys.argv[2])
chance = random.Random(4)

def tables():
    return Tables(Clock(), lambda: 1e9).define("a"), Tables(Clock(), lambda: 1e9).define("b")

def write(first, pipe, steps):
    store = TableStore(path)
    a, b = tables()
    if steps:
        store._connection.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGKILL), steps)
    for number in range(first, first + 100000):
        for table in a, b:
            table.flush()
            for key in range(number % 7 * 40 + 1):
                table.set(f"key {key}", number)
            store.store(table)
            os.write(pipe, f"{table.definition.name} {number}\\n".encode())

last = {"a": 0, "b": 0}
for turn in range(rounds):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        write(max(last.values()) + 1, writing, chance.randrange(1, 40000) if turn % 2 else 0)
    os.close(writing)
    words = chance.randrange(1, 40)
    with os.fdopen(reading) as pipe:
        for word, line in enumerate(pipe):
            name, number = line.split()
            last[name] = int(number)
            if word == words and turn % 2 == 0:
                os.kill(pid, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    store = TableStore(path)
    for table in tables():
        store.reload(table)
        values = set(table._contents.kept[key].entry.value for key in table._contents.kept)
        number = values.pop() if values else 0
        assert not values, (table.definition.name, values)
        assert number in (last[table.definition.name], max(last.values()), max(last.values()) + 1), (number, last)
        assert number >= last[table.definition.name], (number, last)
        assert len(table._contents.kept) == (number % 7 * 40 + 1 if number else 0)
        last[table.definition.name] = number
    store.close()
print("consistent", last)
"""


@pytest.mark.slow
def test_kill(path: Path) -> None:
    """However a writer is killed, the file has each table whole, as it was last stored or as it was being stored."""
    command = [sys.executable, "-c", CRASH, str(path), "40"]
    run = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=60)
    assert run.stdout.startswith("consistent"), run.stderr
