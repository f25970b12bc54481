"""A day of an operator, with the real tools: a server that root starts and another user runs, with all its logs."""

import contextlib
import ctypes
import datetime
import grp
import gzip
import itertools
import json
import os
import pwd
import re
import select
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.targets import parse_target
from tests.support import PATIENCE, REPOSITORY, environment, run_twistd
from tests.support.files import STRANGER, public_directory
from tests.support.programs import need
from tests.support.waiting import wait_until

T = TypeVar("T")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="root starts the server, and mounts the disk that is filled"),
]

_SET_CHILD_SUBREAPER = 36
"""Of prctl(2)."""

CONTRIB = REPOSITORY / "contrib"
PASSWORD = "s3cret word"

SETTINGS = """
transport = 15
run_dir = "{directory}/run"
fifo_name = "rpc.fifo"
fifo_mode = "0660"
dgram_socket = ["rpc.sock"]
tcp_socket = "tcp:127.0.0.1:{tcp}"
http_listen = ["unix:http.sock"]
https_listen = ["tcp:{https}:interface=127.0.0.1"]
tls_certificate = "{directory}/etc/server.pem"
http_users = "{directory}/etc/users"
rule_file = "{directory}/etc/rules"
htable = ["day=>size=4"]
htable_db = "{directory}/small/state/tables.db"
htable_db_interval = 1
audit = "{directory}/small/logs/audit.log"
log_format = "{log_format}"
pretty_format = 1
commands = ["day"]
load = ["all"]
"""

RULES = """\
any allow *
"""

COMMANDS = '''
from jsonrpcs_tx import command

@command("day.note")
def note(number: int) -> int:
    """Logs a line."""
    print(f"note {number}")
    return number
'''


def free_port() -> int:
    """A port of TCP that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Site:
    """A machine's place for a server: its settings, and a small disk for its logs and its state.

    @ivar directory: of all that.
    @ivar small: where the disk is mounted.
    """

    def __init__(self, directory: Path, log_format: str) -> None:
        self.directory = directory
        self.etc, self.run, self.small = (directory / name for name in ("etc", "run", "small"))
        for place in (self.etc, self.run, self.small):
            place.mkdir()
        self.state, self.logs = self.small / "state", self.small / "logs"
        self.log, self.audit = self.logs / "server.log", self.logs / "audit.log"
        self.tcp, self.https = free_port(), free_port()
        self._log_format = log_format
        self.user = pwd.getpwuid(STRANGER)
        self.write_users("ann")
        self.write_certificate()
        (self.etc / "rules").write_text(RULES)
        (self.run / "day.py").write_text(COMMANDS)
        values = {"directory": directory, "tcp": self.tcp, "https": self.https, "log_format": log_format}
        (self.etc / "jsonrpcs.toml").write_text(SETTINGS.format(**values))
        self.config = self.etc / "jsonrpcs.toml"

    @contextlib.contextmanager
    def disk(self) -> Iterator[None]:
        """Mount the disk."""
        mounting = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none", str(self.small)]
        done = subprocess.run(mounting, capture_output=True, text=True)
        if done.returncode:
            assert "CI" not in os.environ, done.stderr
            pytest.skip(f"mounting is not allowed here: {done.stderr}")
        try:
            for place in (self.run, self.state, self.logs):
                place.mkdir(exist_ok=True)
                place.chmod(0o755)
                os.chown(place, STRANGER, self.user.pw_gid)
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(self.small)], check=True)

    def write_users(self, *names: str) -> None:
        """Write the file of users, all with the same password."""
        make = [sys.executable, "-m", "jsonrpcs_tx.credentials"]
        lines = [
            subprocess.run([*make, name], input=PASSWORD, env=environment(), capture_output=True, text=True).stdout
            for name in names
        ]
        self._write(self.etc / "users", "".join(lines))

    def write_certificate(self) -> None:
        """Write a new certificate, as its authority would renew it."""
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl += ["-keyout", "-", "-out", "-", "-days", "2", "-subj", "/CN=localhost"]
        openssl += ["-addext", "subjectAltName=IP:127.0.0.1"]
        done = subprocess.run(openssl, check=True, capture_output=True, text=True)
        self._write(self.etc / "server.pem", done.stdout)

    def _write(self, path: Path, text: str) -> None:
        """Write a file that only the server's user may read, in the place of a former one, which may be being read."""
        new = path.with_name("new")
        new.touch(0o600)
        new.write_text(text)
        os.chown(new, STRANGER, -1)
        new.rename(path)

    def twistd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run twistd as root, with the options of the server."""
        options = (f"--logfile={self.log}", f"--pidfile={self.run}/twistd.pid", f"--uid={self.user.pw_name}")
        return run_twistd(self.run, *options, "jsonrpcs", "--config", str(self.config), *arguments)

    def start(self, left: str = "") -> "Running":
        """Start the server as a daemon.

        @param left: what it says of a file that was left behind.
        """
        before = len(self.lines(self.log))
        done = self.twistd()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", left), done.stderr + "\n".join(
            self.lines(self.log)[before:]
        )
        pid = int((self.run / "twistd.pid").read_text())
        running = Running(self, pid)
        self.wait_for_log("serving ", before)
        return running

    def client(self, transport: str = "https", user: str = "ann", password: str = PASSWORD) -> Client:
        """A client of the server."""
        if transport == "unix":
            return Client(f"unix:{self.run}/rpc.sock", timeout=PATIENCE)
        url = f"https://127.0.0.1:{self.https}/RPC"
        options = {"user": user, "password": password, "tls_ca": str(self.etc / "server.pem")}
        return Client(parse_target(url, **options), timeout=PATIENCE)

    def health(self) -> tuple[int, dict[str, Any]]:
        """What a load balancer is told, who is ann."""
        curl = ["curl", "-s", "-k", "-u", f"ann:{PASSWORD}", "-w", "\n%{http_code}"]
        done = subprocess.run([*curl, f"https://127.0.0.1:{self.https}/health"], capture_output=True, text=True)
        report, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(report)

    def is_stored(self, text: str) -> bool:
        """Whether a text is in the database of the hash tables."""
        database = sqlite3.connect(f"file:{self.state}/tables.db?mode=ro", uri=True)
        with contextlib.closing(database):
            return any(text in line for line in database.iterdump())

    def lines(self, path: Path) -> list[str]:
        """The lines of a log and the former ones, the oldest first."""
        found: list[str] = []
        former = sorted(self.logs.glob(f"{path.name}.*"), key=lambda one: int(one.name.split(".")[2]), reverse=True)
        for one in [*former, *([path] if path.exists() else [])]:
            with gzip.open(one, "rt") if one.suffix == ".gz" else one.open() as file:
                found += file.read().splitlines()
        return found

    def wait_for_log(self, pattern: str, after: int = 0) -> str:
        """The first line of the log that matches."""

        def look() -> str | None:
            return next((line for line in self.lines(self.log)[after:] if re.search(pattern, line)), None)

        return wait_until(look, f"no line {pattern!r} in the log")

    def entries(self) -> list[dict[str, Any]]:
        """The entries of the audit log."""
        return [json.loads(line) for line in self.lines(self.audit)]

    def entry(self, method: str, *params: Any) -> dict[str, Any]:
        """The entry of a call, of which there is one."""
        found = [one for one in self.entries() if (one.get("method"), one.get("params")) == (method, list(params))]
        assert len(found) == 1, (method, params, found)
        return found[0]

    def rotate(self) -> None:
        """Have logrotate rotate both logs as the shipped file says, adapted as it tells to."""
        config = (CONTRIB / "logrotate" / "jsonrpcs").read_text()
        config = config.replace("/var/log/jsonrpcs/", f"{self.logs}/").replace("/run/jsonrpcs/", f"{self.run}/")
        group = grp.getgrgid(self.user.pw_gid).gr_name
        config = config.replace("    daily\n", f"    daily\n    su {self.user.pw_name} {group}\n")
        path = self.etc / "logrotate"
        path.write_text(config)
        path.chmod(0o644)
        before = len(self.lines(self.log))
        done = subprocess.run(["logrotate", "-f", "-s", self.etc / "rotated", path], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        self.wait_for_log(f"logs reopened: {self.log}", before)
        self.wait_for_log(f"audit.* reopened: .*{self.audit}", before)


class Running:
    """A server that runs.

    @ivar pid: its process.
    """

    def __init__(self, site: Site, pid: int) -> None:
        self.site = site
        self.pid = pid
        self._process = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._process, number)

    def wait(self) -> None:
        """Wait until it has ended, and take note of that as init would."""
        assert select.select([self._process], [], [], PATIENCE)[0], "the server goes on"
        os.close(self._process)
        os.waitpid(self.pid, 0)

    def end(self) -> None:
        """End it whatever it does."""
        with contextlib.suppress(OSError):
            self.signal(signal.SIGKILL)
            self.wait()


class Load:
    """Clients that call without a pause until they are told to stop: over HTTPS and the Unix socket, each call for a
    line in the log and one in the audit log.

    @ivar numbers: those of the calls that were answered.
    @ivar errors: what went wrong.
    """

    def __init__(self, site: Site) -> None:
        self.numbers: list[int] = []
        self.errors: list[BaseException] = []
        self._site = site
        self._stopping = threading.Event()
        self._counter = itertools.count(1)
        self._threads = [threading.Thread(target=self._call, args=(name,)) for name in ("https", "unix")]
        for thread in self._threads:
            thread.start()

    def _call(self, transport: str) -> None:
        try:
            with self._site.client(transport) as client:
                while not self._stopping.is_set():
                    number = next(self._counter)
                    assert client.call("day.note", number) == number
                    self.numbers.append(number)
        except BaseException as error:
            self.errors.append(error)

    def wait_for_more(self, calls: int = 30) -> None:
        """Wait until some more calls were answered."""
        before = len(self.numbers)
        wait_until(lambda: len(self.numbers) >= before + calls or self.errors, "no answer")
        assert self.errors == []

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def check_and_start(site: Site) -> Running:
    """The settings are checked, the server starts, and what it makes belongs to the user whom it becomes."""
    checked = site.twistd("--check")
    assert (checked.returncode, checked.stderr.splitlines()[-1]) == (0, "jsonrpcs: no errors")
    running = site.start()
    assert os.stat(f"/proc/{running.pid}").st_uid == STRANGER
    made = [*(site.run / name for name in ("rpc.fifo", "rpc.sock", "http.sock")), site.log, site.audit]
    assert {path.name: path.stat().st_uid for path in made} == {path.name: STRANGER for path in made}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert (modes["rpc.fifo"], modes["server.log"] & 0o027, modes["audit.log"]) == (0o660, 0, 0o600)
    assert site.health()[0] == 200
    return running


def change_things(site: Site) -> None:
    """What is changed with kamctl and over HTTPS is found in the audit log, with who has changed it."""
    kamctl = ["kamctl", "rpc", "htable.seti", "day", "by_kamctl", "5"]
    settings = {**os.environ, "RPCFIFOPATH": f"{site.run}/rpc.fifo", "HOME": str(site.etc), "TERM": "xterm"}
    done = subprocess.run(kamctl, env=settings, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    with site.client() as client:
        client.call("htable.sets", "day", "by_https", "x")
        client.call("cfg.seti", "core", "debug", 2)
        client.call("htable.get", "day", "by_https")
    with site.client("unix") as client:
        client.call("htable.delete", "day", "by_https")
    by_kamctl = site.entry("htable.seti", "day", "by_kamctl", 5)
    assert (by_kamctl["transport"], by_kamctl["outcome"], by_kamctl["code"]) == ("fifo", "result", 200)
    for entry in (site.entry("htable.sets", "day", "by_https", "x"), site.entry("cfg.seti", "core", "debug", 2)):
        assert (entry["transport"], entry["address"], entry["user"]) == ("https", "127.0.0.1", "ann")
    by_socket = site.entry("htable.delete", "day", "by_https")
    assert (by_socket["transport"], by_socket["uid"], by_socket["pid"]) == ("unix", 0, os.getpid())
    assert not [entry for entry in site.entries() if entry["method"] == "htable.get"]
    ended = datetime.datetime.fromisoformat(by_kamctl["time"])
    assert abs(datetime.datetime.now(datetime.UTC) - ended) < datetime.timedelta(seconds=2 * PATIENCE)


def guess_passwords(site: Site) -> None:
    """Passwords that fail are found by fail2ban with the shipped filter, with the client's address."""
    for number in range(5):
        curl = ["curl", "-s", "-k", "-u", f"ann:guess {number}", "-d", '{"jsonrpc":"2.0","method":"core.ps","id":1}']
        done = subprocess.run([*curl, "-w", "%{http_code}", f"https://127.0.0.1:{site.https}/RPC"], capture_output=True)
        assert done.stdout.endswith((b"401", b"429")), done.stdout
    site.wait_for_log("authentication failed for user 'ann'")
    fail2ban = [
        "fail2ban-regex",
        "--print-all-matched",
        str(site.log),
        str(CONTRIB / "fail2ban/filter.d/jsonrpcs.conf"),
    ]
    found = subprocess.run(fail2ban, capture_output=True, text=True, timeout=PATIENCE)
    assert found.returncode == 0, found.stdout + found.stderr
    matched = re.search(r"^Lines: \d+ lines, \d+ ignored, (\d+) matched", found.stdout, re.MULTILINE)
    assert matched is not None, found.stdout
    assert int(matched[1]) == 5, found.stdout
    refused = [entry for entry in site.entries() if entry["outcome"] == "refused"]
    assert [(entry["code"], entry["claimed_user"]) for entry in refused if entry["code"] == 401] == [(401, "ann")] * 5
    assert not any(f"guess {number}" in line for line in site.lines(site.audit) for number in range(5))


def rotate_and_reload(site: Site, running: Running) -> None:
    """Both logs are rotated, and users and the certificate are read again, while clients call: no call and no line is
    lost.
    """
    load = Load(site)
    try:
        for number in range(4):
            load.wait_for_more()
            site.rotate()
            load.wait_for_more()
            before = len(site.lines(site.log))
            site.write_users("ann", f"user{number}")
            site.write_certificate()
            running.signal(signal.SIGHUP)
            site.wait_for_log("users reloaded", before)
            site.wait_for_log("certificates reloaded", before)
            with site.client(user=f"user{number}") as client:
                assert client.call("day.note", 0) == 0
        load.wait_for_more()
    finally:
        load.stop()
    assert load.errors == []
    answered = Counter(load.numbers)
    noted = Counter(int(found[1]) for line in site.lines(site.log) if (found := re.search(r"\bnote (\d+)\b", line)))
    entered = Counter(entry["params"][0] for entry in site.entries() if entry["method"] == "day.note")
    assert (noted.pop(0), entered.pop(0)) == (4, 4)
    assert noted == answered
    assert entered == answered


def fill_the_disk(site: Site) -> None:
    """While the disk is full, the server answers, and its health says what is wrong. When there is room again, each log
    says how many lines are missing, and what could not be stored is there.
    """
    filler = site.small / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with site.client() as client:
        client.call("htable.sets", "day", "large", "x" * 100_000)
        for number in range(2000):
            assert client.call("day.note", -1) == -1, number
        wait_until(
            lambda: site.health()[1]["checks"]["disk"]["status"] == "fail", "no failing disk"
        )  # at the next interval
        assert site.health()[0] == 503
        lost = client.call("stats.fetchn", "lost")
        assert min(int(lost["log.lost"]), int(lost["audit.lost"])) > 500, lost
        filler.unlink()
        assert client.call("day.note", -2) == -2
    wait_until(lambda: site.health()[0] == 200, "no good health")
    assert site.is_stored("large")
    said = site.wait_for_log(r"([\d,]+) lines of the log are lost here: No space left on device")
    notes = [entry for entry in site.entries() if "note" in entry]
    assert sum(entry["lost"] for entry in notes) >= int(lost["audit.lost"])
    assert "error" in said
    assert site.entry("day.note", -2)["outcome"] == "result"


def kill_and_start_again(site: Site, running: Running) -> Running:
    """After kill -9 the server starts again over what was left behind, and knows what was stored before, by an operator
    or by itself.
    """
    with site.client() as client:
        client.call("htable.seti", "day", "stored", 77)
        client.call("htable.store", "day")
        client.call("htable.seti", "day", "by_interval", 78)
        wait_until(lambda: site.is_stored("by_interval"), "no stored item")
        before = len(site.lines(site.log))
        running.signal(signal.SIGKILL)
        running.wait()
    assert (site.run / "twistd.pid").exists()
    assert (site.run / "rpc.fifo").exists()
    again = site.start(f"Removing stale pidfile {site.run}/twistd.pid\n")
    with site.client() as client:
        assert client.call("htable.get", "day", "stored")["item"]["value"] == 77
        assert client.call("htable.get", "day", "by_interval")["item"]["value"] == 78
        assert client.call("htable.get", "day", "by_kamctl")["item"]["value"] == 5
    assert again.pid != running.pid
    lines = site.lines(site.log)[before:]
    assert not [line for line in lines if "Traceback" in line]
    assert site.entry("htable.seti", "day", "stored", 77)["outcome"] == "result"
    return again


def stop(site: Site, running: Running) -> None:
    """At SIGTERM the server ends and leaves nothing behind but its logs and its state."""
    running.signal(signal.SIGTERM)
    running.wait()
    site.wait_for_log("Server Shut Down")
    assert {path.name for path in site.run.iterdir()} - {"__pycache__"} == {"day.py"}


@pytest.fixture
def init() -> Iterator[None]:
    """Be the parent of daemons, as init is: not every container has one that takes note of their ends."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    yield
    prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.usefixtures("init")
def test_day(log_format: str) -> None:
    """From the first check to the last stop."""
    for program, package in (("kamctl", "kamailio"), ("logrotate", "logrotate"), ("fail2ban-regex", "fail2ban")):
        need(program, package)
    with public_directory() as directory:
        site = Site(directory, log_format)
        with site.disk():
            running = check_and_start(site)
            try:
                change_things(site)
                guess_passwords(site)
                rotate_and_reload(site, running)
                fill_the_disk(site)
                running = kill_and_start_again(site, running)
                stop(site, running)
            finally:
                running.end()
