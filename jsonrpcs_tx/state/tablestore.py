"""Keeps hash tables in a SQLite file, from one run of a program to the next."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from math import inf
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.config.problems import Problems
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.files.safefiles import weak_place
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.state.tables import Contents, Row, StorageError, Table, Tables

_log = make_logger(__name__)

_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION_ID: Final = 0x6A727478
"""Marks a SQLite file as ours; bytes 68 to 71 of its header."""
_VERSION: Final = 1
_SCHEMA: Final = f"""
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {_VERSION};
    CREATE TABLE item (htable TEXT NOT NULL, key TEXT NOT NULL, value NOT NULL, expires REAL, PRIMARY KEY (htable, key))
        WITHOUT ROWID;
    PRAGMA journal_mode = WAL;
"""
_SELECT: Final = "SELECT key, value, expires FROM item WHERE htable = ?"

_FORMATS: Final = slice(18, 20)
_ROLLBACK_FORMATS: Final = b"\1\1"
"""Where the header of a SQLite file says whether it has a write-ahead log, and that it has none."""

_BUSY_TIMEOUT: Final = 1.0
"""Seconds to wait for another process that writes to the file: at the start, and in total at the stop."""

_SHORT_BUSY_TIMEOUT: Final = 0.01
"""Seconds to wait for it while a client waits for a reply."""

WAIT: Final = 0.03
"""Seconds for which the reactor waits for the thread, so that most clients learn the outcome."""

_LOOK_INTERVAL: Final = 0.02
"""Seconds between two checks of whether the thread is done."""

_STOP_TIME: Final = 5.0
"""Seconds at the stop after which the thread's operation is interrupted."""

_LATE_INTERVAL: Final = 1.0
"""Seconds after which storing is tried again if the thread was still busy with the previous one."""

SWEEP_INTERVAL: Final = 1.0
"""Least number of seconds between two searches for expired items."""


class TableStore:
    """A SQLite file with a row for each item of the tables in it.

    Storing is one transaction, which is on the disk when L{store} returns. A crash at any point before that leaves what
    was stored before. Rows of tables that a program no longer defines stay untouched.

    It blocks, for some 0.3 s with a table of 100,000 items; see L{StoreThread}. Any thread may use it, one at a time.
    """

    def __init__(self, path: str) -> None:
        """Open the file, or make one with mode 0600.

        @raise StartError: it cannot be opened, is damaged, or is not a file of hash tables; then it is not changed.
        """
        with _start_errors(path):
            path = os.path.realpath(path)
            _check_place(path)
            if os.path.exists(path) and os.path.getsize(path):
                _check(path)
            else:
                _make(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("BEGIN IMMEDIATE")  # so that an obstacle to storing shows now
            self._connection.execute("ROLLBACK")

    def store(self, table: Table) -> None:
        """Store a table. When this returns, no crash can undo it.

        @raise StorageError: it failed; what was stored before is still there.
        """
        self.write({table.definition.name: table.rows()})

    def reload(self, table: Table) -> None:
        """Set a table to its stored items.

        @raise StorageError: it failed; the table is unchanged.
        """
        table.restore(self.read(table))

    def write(self, tables: Mapping[str, Iterable[Row]]) -> None:
        """Store the rows of tables, by name: all of them or none; see L{store}."""
        try:
            with self._connection as connection:  # commits, or rolls back
                connection.execute("BEGIN IMMEDIATE")
                for name, rows in tables.items():
                    connection.execute("DELETE FROM item WHERE htable = ?", (name,))
                    connection.executemany("INSERT INTO item VALUES (?, ?, ?, ?)", ((name, *row) for row in rows))
        except sqlite3.Error as error:
            raise StorageError(f"table {', '.join(tables)} not stored: {error}") from error

    def read(self, table: Table) -> Contents:
        """The stored items of a table, which is not changed; see L{reload}."""
        name = table.definition.name
        try:
            return table.read(self._connection.execute(_SELECT, (name,)))
        except (sqlite3.Error, ValueError) as error:
            raise StorageError(f"table {name} not read: {error}") from error

    def be_patient(self, seconds: float) -> None:
        """Set how long each step waits for another process that writes to the file."""
        self._connection.execute(f"PRAGMA busy_timeout = {int(max(0, seconds) * 1000)}")

    def interrupt(self) -> None:
        """Make the operation of another thread fail soon."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the file. What was stored is already in it."""
        with suppress(sqlite3.Error):
            self._connection.close()


@contextmanager
def _start_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError("htable_db", path, reason, "a path of a new file, or of hash tables") from None


def _check_place(path: str) -> None:
    """Make sure that nobody else can put links beside a file: SQLite opens its journals by name, and follows links.

    @raise ValueError: somebody could, and the process runs as root; for any other user it is only logged.
    """
    weakness = weak_place(path)
    if weakness is None:
        return
    if not os.geteuid():
        raise ValueError(f"{weakness}, who could have root write to any file")
    _log.warn("htable_db: {path}: {weakness}, who could have other files overwritten", path=path, weakness=weakness)


def _check(path: str) -> None:
    """Make sure that a file is an intact file of hash tables, without changing it or anything beside it.

    @raise ValueError: it is not.
    """
    _check_header(path)
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT)) as connection:
        _check_pages(connection)


def _check_header(path: str) -> None:
    """@raise ValueError: a file is not one of hash tables."""
    with open(path, "rb") as file:
        header = file.read(72)
    if not header.startswith(_MAGIC) or header[68:] != _APPLICATION_ID.to_bytes(4, "big"):
        raise ValueError("not a file of hash tables")


def _check_pages(connection: sqlite3.Connection) -> None:
    """@raise ValueError: a file was made by another version, or is damaged."""
    ((version,),) = connection.execute("PRAGMA user_version")
    if version != _VERSION:
        raise ValueError(f"made by another version ({version}, not {_VERSION})")
    ((problem,),) = connection.execute("PRAGMA quick_check(1)")
    if problem != "ok":
        raise ValueError(f"damaged ({' '.join(problem.split())})")


def _make(path: str) -> None:
    """Make an empty file of hash tables; a crash leaves either no file or a complete one."""
    new = path + ".new"
    for leftover in (new, new + "-wal", new + "-shm", new + "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(leftover)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
    os.rename(new, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class StoreThread:
    """Stores and reads back tables in a thread, one after the other. See L{jsonrpcs_tx.state.tables.Storage}.

    The reactor copies the rows of a table, some 20 ms for 100,000 items. When a client has asked, it then waits L{WAIT}
    at most: neither a slow disk nor another process that has locked the file blocks it for longer.

    @param clock: tells when to look at what the thread has done: the reactor.
    @ivar problem: why the last attempt to store a table failed; None if it succeeded.
    """

    def __init__(self, store: TableStore, clock: IReactorTime) -> None:
        self.problem: str | None = None
        self._store = store
        self._clock = clock
        self._threads = ThreadPoolExecutor(1, "htable_db")
        self._works: list[_Work] = []  # in the order in which the thread does them
        self._look_call: Any = None
        self._stored: dict[str, int] = {}  # the changes of each table that are stored

    def load(self, tables: Iterable[Table]) -> None:
        """Set tables to their stored items, at once.

        @raise StorageError: it failed.
        """
        for table in tables:
            self._store.reload(table)
            self._stored[table.definition.name] = table.changes

    def changed(self, tables: Iterable[Table]) -> list[Table]:
        """Of some tables, those that have changed since they were stored."""
        return [table for table in tables if self._stored.get(table.definition.name) != table.changes]

    def store(self, table: Table) -> bool:
        """Store a table."""
        self._check_free(table)
        work = self._store_work([table], self._store.write)
        return self._wait(attrs.evolve(work, asked=True))

    def reload(self, table: Table) -> bool:
        """Set a table to what was stored of it."""
        self._check_free(table)
        name = table.definition.name

        def restore(contents: Contents) -> None:
            table.restore(contents)
            self._stored[name] = table.changes

        return self._wait(_Work(f"{name} read", self._threads.submit(self._store.read, table), restore, asked=True))

    def save(self, tables: Iterable[Table]) -> None:
        """Store those tables that have changed since they were stored, all of them or none, without waiting for the
        thread. Nothing is done while the previous ones are still being stored.
        """
        changed = [] if self.saving else self.changed(tables)
        if changed:
            self._add(self._store_work(changed, self._write_patiently))

    @property
    def saving(self) -> bool:
        """Whether storing that L{save} began is still in progress."""
        return any(not work.asked for work in self._works)

    def stop(self) -> None:
        """End the thread when its current operation is done; one that takes too long is interrupted, and no more are
        begun.
        """
        works, self._works = self._works, []
        if works:
            self._look_call.cancel()
        for work in [work for work in works if not work.future.cancel()]:
            wait([work.future], _STOP_TIME)
            self._store.interrupt()  # no effect on a thread that is done
            self._finish(work)
        self._threads.shutdown()

    def _store_work(self, tables: list[Table], write: Callable[[Mapping[str, list[Row]]], None]) -> "_Work":
        """Have the thread store tables as they are now."""
        rows = {table.definition.name: table.rows() for table in tables}
        changes = {table.definition.name: table.changes for table in tables}

        def stored(_: object) -> None:
            self._stored.update(changes)
            if self.problem is not None:
                _log.info("htable_db: tables can be stored again")
            self.problem = None

        def failed(error: StorageError) -> None:
            self.problem = str(error)
            for name in changes:  # so that it is stored next time, changed or not
                self._stored.pop(name, None)

        return _Work(f"{', '.join(rows)} stored", self._threads.submit(write, rows), stored, failed)

    def _write_patiently(self, rows: Mapping[str, list[Row]]) -> None:
        """In the thread: nobody waits for a reply, so another process may finish writing."""
        self._store.be_patient(_BUSY_TIMEOUT)
        try:
            self._store.write(rows)
        finally:
            self._store.be_patient(_SHORT_BUSY_TIMEOUT)

    def _check_free(self, table: Table) -> None:
        """@raise StorageError: the thread is busy with a client's request."""
        if any(work.asked for work in self._works):
            name = table.definition.name
            raise StorageError(f"table {name}: another table is being stored or read; try again when that is done")

    def _wait(self, work: "_Work") -> bool:
        """Wait for the thread for a moment, and if it is not done, check it from time to time.

        @return: whether it is done.
        @raise StorageError: it failed.
        """
        wait([work.future], WAIT)
        if work.future.done():
            if self._works:  # they were done before
                self._look_call.cancel()
                self._look()
            work.end()
            return True
        self._add(work)
        return False

    def _add(self, work: "_Work") -> None:
        self._works.append(work)
        if len(self._works) == 1:
            self._look_call = self._clock.callLater(_LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        while self._works and self._works[0].future.done():
            self._finish(self._works.pop(0))
        if self._works:
            self._look_call = self._clock.callLater(_LOOK_INTERVAL, self._look)

    def _finish(self, work: "_Work") -> None:
        """Wait for the end, and log how it ended."""
        try:
            work.end()
        except StorageError as error:
            _log.error("htable_db: {error}", error=error)
        except Exception:
            _log.failure("htable_db: failed: table {done}", done=work.done)
        else:
            (_log.info if work.asked else _log.debug)("htable_db: table {done}", done=work.done)


@attrs.frozen
class _Work:
    """An operation of the thread.

    @ivar done: what will have been done at its end, for the log.
    @ivar then: takes the result, in the reactor.
    @ivar failed: takes the error, in the reactor.
    @ivar asked: a client has asked for it.
    """

    done: str
    future: Future[Any]
    then: Callable[[Any], object]
    failed: Callable[[StorageError], object] = bool
    asked: bool = False

    def end(self) -> None:
        """Wait for the end, and pass on the outcome.

        @raise StorageError: it failed.
        """
        try:
            result = self.future.result()
        except StorageError as error:
            self.failed(error)
            raise
        self.then(result)


class TableStoreService(Service):
    """Frees expired items while it runs; with a path, it reads all tables at its start, stores those that have changed
    at an interval, so that no crash loses more than that, and at its stop.

    Add it to its parent before the transports, so that it stops after them.

    @param tables: the tables; all must be defined before the start.
    @param path: of the file in which they are stored; empty: disabled.
    @param interval: seconds between storing them; 0: only at the stop.
    @param clock: tells when to look for expired items, and when to store: the reactor.
    """

    def __init__(self, tables: Tables, path: str, interval: int, clock: IReactorTime) -> None:
        self._tables = tables
        self._path = path
        self._interval = interval
        self._clock = clock
        self._store: TableStore | None = None
        self._thread: StoreThread | None = None
        self._sweep_call: Any = None
        self._save_call: Any = None

    @property
    def problem(self) -> str | None:
        """Why the last attempt to store tables failed; None if it succeeded."""
        return None if self._thread is None else self._thread.problem

    def check(self, problems: Problems) -> None:
        """Check that the file can be used, and that its rows can be read, as far as that shows without opening it.

        @param problems: takes what is wrong.
        """
        if not self._path:
            return
        with problems.noted(), _start_errors(self._path):
            path = os.path.realpath(self._path)
            _check_place(path)
            for needed in (path, os.path.dirname(path)):
                if os.path.exists(needed) and not os.access(needed, os.W_OK, effective_ids=True):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if os.path.exists(path) and os.path.getsize(path):
                _check_header(path)
                if not os.path.exists(f"{path}-wal"):  # otherwise a server uses it, or a crashed one left the rest
                    self._check_copy(path)

    def _check_copy(self, path: str) -> None:
        """Check the contents of a file in a copy in memory: SQLite makes files beside those that it opens.

        @raise ValueError: it is damaged, or has invalid rows.
        @raise sqlite3.Error: it is damaged.
        """
        with open(path, "rb") as file:
            data = bytearray(file.read())
        data[_FORMATS] = _ROLLBACK_FORMATS  # it is marked as having a write-ahead log, but has none
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(bytes(data))
            _check_pages(connection)
            for table in self._tables.values():
                try:
                    table.read(connection.execute(_SELECT, (table.definition.name,)))
                except ValueError as error:
                    raise ValueError(f"table {table.definition.name} not read: {error}") from None

    def startService(self) -> None:
        """Read the tables.

        @raise StartError: the file cannot be opened, or holds invalid rows; see L{TableStore}.
        """
        if self._path:
            self._load()
        super().startService()
        self._tables.expiring.look_at = self._sweep_from
        self._sweep_when_due()
        if self._path and self._interval:
            self._save_call = self._clock.callLater(self._interval, self._save)

    def stopService(self) -> None:
        """Store the tables that have changed. A failure is logged: what was stored before is still there.

        It blocks, since there is nothing left to answer. It waits a second at most for another process that writes to
        the file, and L{_STOP_TIME} at most for the thread.
        """
        super().stopService()
        self._tables.expiring.looked_for_at = -inf
        for call in (self._sweep_call, self._save_call):
            if call is not None and call.active():
                call.cancel()
        self._sweep_call = self._save_call = None
        if self._store is not None and self._thread is not None:
            self._tables.storage = None
            self._thread.stop()
            self._store_all(self._store, self._thread.changed(self._tables.values()))
            self._store.close()
            self._store = self._thread = None

    def _store_all(self, store: TableStore, tables: Iterable[Table]) -> None:
        patient_until = monotonic() + _BUSY_TIMEOUT
        for table in tables:
            store.be_patient(patient_until - monotonic())
            try:
                store.store(table)
            except StorageError as error:
                _log.error("htable_db: {path}: {error}", path=self._path, error=error)

    def _load(self) -> None:
        store = TableStore(self._path)
        thread = StoreThread(store, self._clock)
        try:
            thread.load(self._tables.values())
        except StorageError as error:
            store.close()
            raise StartError("htable_db", self._path, error, "rows as they were stored") from None
        store.be_patient(_SHORT_BUSY_TIMEOUT)
        self._store = store
        self._thread = self._tables.storage = thread

    def _save(self) -> None:
        """Store what has changed: now, or soon if the thread is still busy with earlier changes."""
        assert self._thread is not None
        late = self._thread.saving
        self._thread.save(self._tables.values())
        self._save_call = self._clock.callLater(_LATE_INTERVAL if late else self._interval, self._save)

    def _sweep_from(self, deadline: float) -> None:
        """Look for expired items at a time, or a little later, so that this does not happen too often."""
        now = self._clock.seconds()
        at = max(deadline, now + SWEEP_INTERVAL)
        if at < self._tables.expiring.looked_for_at:
            if self._sweep_call is not None and self._sweep_call.active():
                self._sweep_call.cancel()
            self._tables.expiring.looked_for_at = at
            self._sweep_call = self._clock.callLater(at - now, self._sweep)

    def _sweep_when_due(self) -> None:
        self._tables.expiring.looked_for_at = inf
        deadline = min((table.next_deadline for table in self._tables.values()), default=inf)
        if deadline < inf:
            self._sweep_from(deadline)

    def _sweep(self) -> None:
        if [table for table in self._tables.values() if table.remove_expired()]:
            self._sweep_call = self._clock.callLater(0, self._sweep)
        else:
            self._sweep_when_due()
