"""The shipped file for logrotate, with the real logrotate: under load no line and no request is lost."""

import gzip
import itertools
import os
import re
import signal
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from jsonrpcs_tx.client.blocking import Client
from tests.support import PATIENCE, REPOSITORY, environment, twistd
from tests.support.files import STRANGER, public_directory
from tests.support.programs import need

SHIPPED = REPOSITORY / "contrib" / "logrotate" / "jsonrpcs"

COMMANDS = '''
from jsonrpcs_tx import command

@command("day.note")
def note(number: int) -> int:
    """Logs a line."""
    print(f"note {number}")
    return number

filled = 0

@command("day.fill")
def fill(size: int) -> None:
    """Logs a long line."""
    global filled
    filled += 1
    for _ in range(size // 1000):
        print("x" * 1000)
    print(f"filled {filled}")
'''


class Logged:
    """A server whose log is a file, in a directory of logs; as root it becomes another user.

    @ivar log: the file.
    """

    def __init__(self, directory: Path, *arguments: str, log_format: str = "text") -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(exist_ok=True)
        self.log = self.logs / "server.log"
        (directory / "day.py").write_text(COMMANDS)
        user = () if os.geteuid() else (f"--uid={STRANGER}", f"--gid={STRANGER}")
        self.process = subprocess.Popen(
            [
                *(twistd(), "-n", f"--logfile={self.log}", "--pidfile=twistd.pid", *user, "jsonrpcs"),
                *("--http-listen=tcp:0:interface=127.0.0.1", "--dgram-socket=", "--fifo-name=", "--commands=day"),
                *(f"--log-format={log_format}", *arguments),
            ],
            cwd=directory,
            env=environment(),
        )
        self.url = f"http://127.0.0.1:{self.wait_for('listening on http 127.0.0.1:([0-9]+)')[1]}/RPC"
        self.wait_for("serving ")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a line of the log matches."""
        end = time.monotonic() + PATIENCE
        while True:
            text = self.log.read_text() if self.log.exists() else ""
            match = re.search(pattern, text, re.MULTILINE)
            if match is not None:
                return match
            assert time.monotonic() < end, text
            assert self.process.poll() is None, text
            time.sleep(0.01)

    def rotate(self) -> None:
        """Run logrotate with the shipped file, and wait until the log is opened again."""
        config = SHIPPED.read_text()
        for place, ours in (("/var/log/jsonrpcs/", f"{self.logs}/"), ("/run/jsonrpcs/", f"{self.directory}/")):
            assert place in config
            config = config.replace(place, ours)
        path = self.directory / "logrotate.conf"
        path.write_text(config)
        path.chmod(0o644)
        done = subprocess.run(["logrotate", "-f", "-s", self.directory / "state", path], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        self.wait_for(f"logs reopened: {self.log}")

    def files(self) -> list[Path]:
        """The log and the former ones."""
        return sorted(self.logs.glob("server.log*"))

    def lines(self) -> list[str]:
        """All lines, those of the former logs as well."""
        lines = []
        for path in self.files():
            with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
                lines += list(file)
        return lines


class Load:
    """Clients that call without a pause, each for a line in the log, until they are told to stop.

    @ivar noted: the numbers whose calls were answered.
    @ivar errors: what went wrong.
    """

    def __init__(self, url: str, clients: int = 3) -> None:
        self.noted: list[int] = []
        self.errors: list[BaseException] = []
        self._url = url
        self._stopping = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._call) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        try:
            with Client(self._url, timeout=PATIENCE) as client:
                while not self._stopping.is_set():
                    number = next(self._numbers)
                    assert client.call("day.note", number) == number
                    self.noted.append(number)
        except BaseException as error:
            self.errors.append(error)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the user can reach whom the server becomes."""
    with public_directory() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_rotation_under_load(directory: Path, log_format: str) -> None:
    """However often the log is rotated, each request is answered, and its line is once in the log or a former one;
    the new files are as private as the first, and belong to the user whom the server has become.
    """
    need("logrotate", "logrotate")
    with Logged(directory, log_format=log_format) as server:
        load = Load(server.url)
        try:
            for _ in range(5):
                before = len(load.noted)
                server.rotate()
                while len(load.noted) < before + 50 and not load.errors:
                    time.sleep(0.01)
        finally:
            load.stop()
        assert load.errors == []
        server.rotate()
        assert [path.name for path in server.files()] == [
            *("server.log", "server.log.1", "server.log.2.gz", "server.log.3.gz"),
            *("server.log.4.gz", "server.log.5.gz", "server.log.6.gz"),
        ]
        status = server.log.stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        if not os.geteuid():
            assert (status.st_uid, status.st_gid) == (STRANGER, STRANGER)
        lines = server.lines()
    noted = Counter(int(match[1]) for line in lines if (match := re.search(r"\bnote (\d+)", line)))
    assert noted == Counter(load.noted)
    assert len(load.noted) >= 250


@pytest.mark.slow
def test_reopening_that_fails(directory: Path) -> None:
    """Where the path cannot be opened any more, the server says so in the former file, and goes on to write there."""
    with Logged(directory) as server:
        moved = directory / "moved"
        server.logs.rename(moved)
        server.logs, server.log = moved, moved / "server.log"
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for(r"#error\] logs not reopened, .*: \[Errno 2\] No such file or directory: ")
        with Client(server.url) as client:
            assert client.call("day.note", 5) == 5
        server.wait_for("note 5")


@pytest.mark.slow
def test_signal_during_the_start(directory: Path) -> None:
    """As soon as there is a pid file, SIGUSR1 and SIGHUP are taken: they end no server that is still starting."""
    (directory / "slow.py").write_text(
        "import os, signal\n"
        "class Slow:\n"
        "    def __init__(self, service):\n"
        "        start = service.privilegedStartService\n"
        "        def early():\n"
        "            pid = int(open('twistd.pid').read())\n"
        "            os.kill(pid, signal.SIGUSR1)\n"
        "            os.kill(pid, signal.SIGHUP)\n"
        "            start()\n"
        "        service.privilegedStartService = early\n"
        "    from jsonrpcs_tx import command\n"
        "    @command('slow.nothing')\n"
        "    def nothing(self) -> None: pass\n"
    )
    with Logged(directory, "--commands=slow:Slow") as server:
        server.wait_for(f"logs reopened: {server.log}")
        with Client(server.url) as client:
            assert client.call("day.note", 5) == 5


@pytest.mark.slow
def test_no_rotation_of_its_own(directory: Path) -> None:
    """The server rotates nothing by itself, however large its log gets: that is logrotate's."""
    with Logged(directory) as server:
        with Client(server.url) as client:
            for _ in range(15):
                client.call("day.fill", 100_000)
        server.wait_for("filled 15")
        assert [path.name for path in server.files()] == ["server.log"]
        assert server.log.stat().st_size > 1_400_000


@pytest.mark.slow
def test_full_disk(directory: Path) -> None:
    """With a full disk under its log the server answers, counts what is lost, and says so when there is room again."""
    if os.geteuid():
        pytest.skip("only root can mount")
    (directory / "logs").mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory / "logs"], capture_output=True)
    if mount.returncode:
        assert "CI" not in os.environ, mount.stderr
        pytest.skip("mounting is not allowed here")
    try:
        os.chown(directory / "logs", STRANGER, STRANGER)
        with Logged(directory) as server, Client(server.url) as client:
            for number in range(3000):
                assert client.call("day.note", number) == number
            lost = int(client.call("stats.fetchn", "lost")["log.lost"])
            assert 1000 < lost < 3000
            with server.log.open("rb+") as file:
                whole = file.read()
                file.truncate(0)
            assert whole.endswith(b"\n")
            client.call("day.note", 5000)
            said = server.wait_for(r"#error\] ([\d,]+) lines of the log are lost here: No space left on device")
            assert int(said[1].replace(",", "")) >= lost
            kept = {int(number) for number in re.findall(rb"note (\d+)", whole)}
            assert kept | set(range(3000)) == set(range(3000))
            server.wait_for("note 5000")
    finally:
        subprocess.run(["umount", directory / "logs"], check=True)
