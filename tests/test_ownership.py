"""Root starts the server with C{twistd --uid}: whose its files are, and what the user must be able to do."""

import contextlib
import grp
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.owners import UnknownOwner, User, user_to_become
from jsonrpcs_tx.rights import obstacles, owned_by
from tests.support import ECHO, ECHO_REPLY, PATIENCE, Server, http_call, run_twistd
from tests.support.files import public_directory
from tests.support.users import write

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.slow,
]

NOBODY = pwd.getpwnam("nobody")
DAEMON = pwd.getpwnam("daemon")
UNUSED = next(uid for uid in range(50_000, 60_000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})
USER = User(NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid,), "nobody")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of nobody's that everybody can reach, which pytest's own is not."""
    with public_directory() as made:
        inner = made / "run"
        inner.mkdir()
        os.chown(inner, NOBODY.pw_uid, NOBODY.pw_gid)
        yield inner


def options(directory: Path, *further: str) -> tuple[str, ...]:
    """The options of jsonrpcs with which every kind of file is made in the working directory."""
    replies = directory / "replies"
    replies.mkdir(exist_ok=True, mode=0o777)
    os.chmod(replies, 0o777)
    return (
        *(
            "jsonrpcs",
            "--transport=0",
            "--fifo-name=rpc.fifo",
            f"--fifo-reply-dir={replies}",
            "--dgram-socket=rpc.sock",
        ),
        *("--dgram-socket=udp:127.0.0.1:0", "--tcp-socket=tcp:127.0.0.1:0", "--http-listen=unix:http.sock"),
        *("--https-listen=tcp:0:interface=127.0.0.1", "--tls-self-signed", "--htable=a=>size=4", "--htable-db=t.db"),
        *further,
    )


def start(directory: Path, *further: str, twistd: tuple[str, ...] = ("--uid", "nobody")) -> Server:
    return Server(directory, command=("-n", *twistd, *options(directory, *further)))


def owners(directory: Path, *names: str) -> dict[str, tuple[str, str]]:
    """The user and group of each file."""
    found = {name: os.lstat(directory / name) for name in names}
    return {
        name: (pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name)
        for name, status in found.items()
    }


def refusal(directory: Path, *further: str, twistd: tuple[str, ...] = ("-n", "--uid", "nobody")) -> str:
    """The line with which the start is refused."""
    run = run_twistd(directory, *twistd, *options(directory, *further))
    assert run.returncode != 0
    assert "Traceback" not in run.stdout + run.stderr
    (line,) = re.findall("(?m)(?:^|#error\\] )(jsonrpcs: .*)$", run.stdout + run.stderr)
    return str(line)


MADE = ("rpc.fifo", "rpc.sock", "http.sock", "tls.pem", "t.db")
REMOVED = ("rpc.fifo", "rpc.sock", "http.sock", "twistd.pid")


def as_user(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as nobody."""
    return subprocess.run(
        command,
        user=NOBODY.pw_uid,
        group=NOBODY.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_files(directory: Path) -> None:
    """All files are the user's, who can call over each, read the certificate again, and remove what is removed."""
    with start(directory) as server:
        assert owners(directory, *MADE, "twistd.pid") == dict.fromkeys([*MADE, "twistd.pid"], ("nobody", "nogroup"))
        for transport in ("unix", "udp4", "fifo", "tcp", "http", "https"):
            assert server.call(transport, ECHO) == ECHO_REPLY
        curl = (
            "curl",
            "-sS",
            "--unix-socket",
            str(directory / "http.sock"),
            "-d",
            ECHO.decode(),
            "http://localhost/RPC",
        )
        assert as_user(*curl).stdout.encode() == ECHO_REPLY
        os.kill(server.process.pid, signal.SIGHUP)
        server.wait_for_log("certificates reloaded: for 1 listeners")
        for transport in ("fifo", "unix", "http"):  # which the user can make again
            seen = len(server.log)
            os.unlink(server.addresses[transport])
            server.wait_for_log(f"listening on {transport} /", seen)
            assert server.call(transport, ECHO) == ECHO_REPLY
        assert owners(directory, *MADE) == dict.fromkeys(MADE, ("nobody", "nogroup"))
        server.stop()
        assert not [line for line in server.log if "cannot be removed" in line or "No permission" in line]
    assert not [name for name in REMOVED if os.path.lexists(directory / name)]


@pytest.mark.parametrize(
    ("further", "twistd", "expected"),
    [
        (
            ("--fifo-user=daemon", "--dgram-group=daemon", "--http-user=daemon", "--http-group=daemon"),
            ("--uid", "nobody"),
            {"rpc.fifo": ("daemon", "nogroup"), "rpc.sock": ("nobody", "daemon"), "http.sock": ("daemon", "daemon")},
        ),
        (("--fifo-user=0",), ("--uid", "nobody"), {"rpc.fifo": ("root", "nogroup"), "tls.pem": ("nobody", "nogroup")}),
        ((), ("--uid", "nobody", "--gid", "daemon"), dict.fromkeys(MADE, ("nobody", "daemon"))),
        ((), ("--gid", "daemon"), dict.fromkeys(MADE, ("root", "daemon"))),
        ((), ("--uid", str(NOBODY.pw_uid), "--euid"), dict.fromkeys(MADE, ("nobody", "nogroup"))),
        ((), ("--uid", "root"), dict.fromkeys(MADE, ("root", "root"))),
    ],
)
def test_owners(
    directory: Path, further: tuple[str, ...], twistd: tuple[str, ...], expected: dict[str, tuple[str, str]]
) -> None:
    """Owners that are set come first; a group of twistd's counts, and so does its user alone."""
    if twistd == ("--gid", "daemon") or "root" in twistd:
        os.chown(directory, 0, 0)  # where root keeps a database
    with start(directory, *further, twistd=twistd) as server:
        assert owners(directory, *expected) == expected
        assert server.call("unix", ECHO) == ECHO_REPLY


def test_daemon(directory: Path) -> None:
    """So are the log and the file with the process id of a daemon; the log is the user's to rotate and to reopen."""
    twistd = ("--uid", "nobody", "--logfile", "server.log")
    assert run_twistd(directory, *twistd, *options(directory)).returncode == 0
    pid = int((directory / "twistd.pid").read_text())
    try:
        assert owners(directory, "server.log", "twistd.pid") == dict.fromkeys(
            ("server.log", "twistd.pid"), ("nobody", "nogroup")
        )
    finally:
        process = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        wait_for_end(process)
    assert not [name for name in REMOVED if os.path.lexists(directory / name)]
    assert "No permission" not in (directory / "server.log").read_text()


@pytest.mark.parametrize("is_directory", [False, True])
@pytest.mark.parametrize("check", [False, True])
def test_log_behind_a_link(directory: Path, *, is_directory: bool, check: bool) -> None:
    """Root writes no log through a link of another user's, to a file or a directory, and gives no such file away."""
    (directory / "roots").mkdir()
    victim = directory / "roots" / "server.log"
    victim.write_text("root's")
    link = directory / ("logs" if is_directory else "server.log")
    link.symlink_to(victim.parent if is_directory else victim)
    os.chown(link, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    log = "logs/server.log" if is_directory else "server.log"
    twistd = ("-n", "--uid", "nobody", "--logfile", log)
    run = run_twistd(directory, *twistd, *options(directory, *(["--check"] if check else [])))
    told = f"{link} is a link of user {NOBODY.pw_uid}; allowed: links of root or the process's user"
    assert run.returncode != 0
    assert told in run.stdout + run.stderr
    assert (victim.read_text(), victim.stat().st_uid) == ("root's", 0)


def wait_for_end(process: int) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    assert poll.poll(PATIENCE * 1000)
    os.close(process)


def test_sticky_directory(directory: Path) -> None:
    """In a directory such as /tmp the user removes what is its own; what is set to be another's is refused."""
    os.chown(directory, 0, 0)
    os.chmod(directory, 0o1777)
    with start(directory, "--htable-db=") as server:
        assert server.call("fifo", ECHO) == ECHO_REPLY
    assert not [name for name in REMOVED if os.path.lexists(directory / name)]
    line = refusal(directory, "--htable-db=", "--fifo-user=daemon")
    assert f"fifo_name: {directory}/rpc.fifo: user nobody (uid 65534, gid 65534) may not remove it from" in line
    assert "which is sticky: it belongs to user 1; allowed: a directory that this user can write" in line
    assert not [name for name in REMOVED if os.path.lexists(directory / name)]


def test_directory_of_roots(directory: Path) -> None:
    """A directory that only root can write is refused before files are made in it, and by --check as well."""
    os.chown(directory, 0, 0)
    assert "htable_db: " in refusal(directory)
    for setting, path in (("fifo_name", "rpc.fifo"), ("dgram_socket", "rpc.sock"), ("http_listen", "unix:http.sock")):
        words = ("-n", "--uid", "nobody", "jsonrpcs", f"--{setting.replace('_', '-')}={path}")
        path = f"{directory}/{path.removeprefix('unix:')}"
        for run in (run_twistd(directory, *words), run_twistd(directory, *words, "--check")):
            assert run.returncode == 1
            assert f"jsonrpcs: {setting}: {path}: {USER} may not remove it from {directory}; allowed: " in run.stderr
            assert "listening on" not in run.stdout
            assert not os.path.lexists(path)


def secret(path: Path, text: str = "") -> Path:
    """A file that only root can read."""
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("setting", "further", "prepare"),
    [
        ("http_users", "--http-users=users", lambda at: write(at / "users", "ann")),
        ("rule_file", "--rule-file=rules", lambda at: secret(at / "rules", "any deny core.kill\n")),
        ("list_file", "--list-file=list", lambda at: secret(at / "list", "1 sip:1\n")),
        ("tls_private_key", "--tls-private-key=key", lambda at: secret(at / "key")),
        ("tls_ca", "--tls-ca=ca", lambda at: secret(at / "ca")),
        ("tls_certificate", "--tls-certificate=cert", lambda at: secret(at / "cert")),
        ("tls_self_signed", "--tls-self-signed", lambda at: secret(at / "tls.pem")),
        ("htable_db", "--htable-db=t.db", lambda at: secret(at / "t.db")),
    ],
)
def test_unreadable(directory: Path, setting: str, further: str, prepare: Any) -> None:
    """A file that the user cannot read again is refused at the start, in one line that says who cannot read what."""
    prepare(directory)
    line = refusal(directory, further)
    path = directory / (further.partition("=")[2] or "tls.pem")
    verb = "read and write" if setting == "htable_db" else "read"
    assert line.startswith(
        f"jsonrpcs: {setting}: {path}: user nobody (uid 65534, gid 65534) may not {verb} it; allowed: "
    )
    assert not [name for name in REMOVED if os.path.lexists(directory / name)]


def test_directory_in_the_way(directory: Path) -> None:
    """If it is a directory further up that the user may not enter, the line says which."""
    (directory / "etc").mkdir(mode=0o700)
    rules = secret(directory / "etc" / "rules")
    rules.chmod(0o644)
    assert f"may not enter {directory}/etc; allowed: a file that this user can read" in refusal(
        directory, f"--rule-file={rules}"
    )
    settings = Settings(run_dir=directory, fifo_reply_dir=directory / "etc", fifo_name="", dgram_socket="s")
    assert list(obstacles(settings, USER)) == []  # where no FIFO is made, nobody writes there


@pytest.mark.parametrize("setting", ["store_path", "fifo_reply_dir"])
def test_directories(directory: Path, setting: str) -> None:
    """So is a directory that the user must be able to use."""
    (directory / "closed").mkdir(mode=0o700)
    line = refusal(directory, f"--{setting.replace('_', '-')}=closed")
    assert line.startswith(f"jsonrpcs: {setting}: {directory}/closed: user nobody (uid 65534, gid 65534) may not ")


def test_readable_by_group(directory: Path) -> None:
    """A file that a further group of the user may read is readable; groups of root's do not count."""
    key = secret(directory / "key")
    user = User(NOBODY.pw_uid, NOBODY.pw_gid, (NOBODY.pw_gid, DAEMON.pw_gid), "nobody")
    before = (os.geteuid(), os.getegid(), os.getgroups())
    assert user.obstacle(str(key), os.R_OK) is not None
    key.chmod(0o640)
    os.chown(key, 0, DAEMON.pw_gid)
    assert user.obstacle(str(key), os.R_OK) is None
    assert USER.obstacle(str(key), os.R_OK) == f"{USER} may not read it"
    assert user.obstacle(str(key), os.R_OK | os.W_OK) == f"{user} may not read and write it"
    assert user.obstacle(str(directory / "missing"), os.R_OK) is None
    assert before == (os.geteuid(), os.getegid(), os.getgroups())


def test_log_in_a_closed_directory(directory: Path) -> None:
    """A log that the user could not open again is refused."""
    (directory / "log").mkdir(mode=0o700)
    run = run_twistd(directory, "-n", "--uid", "nobody", "--logfile=log/server.log", *options(directory))
    assert run.returncode != 0
    assert (
        f"jsonrpcs: twistd --logfile: {directory}/log/server.log: {USER} may not enter {directory}/log; allowed: "
        in (run.stdout + run.stderr)
    )


def test_pid_file_in_a_closed_directory(directory: Path) -> None:
    """A pid file that the user cannot remove does not prevent the start, but the log says so."""
    pid = directory.parent / "server.pid"
    with start(directory, twistd=("--uid", "nobody", "--pidfile", str(pid))) as server:
        server.wait_for_log(f"{pid} cannot be removed at the stop: {USER}".replace("(", r"\(").replace(")", r"\)"))


def test_links_in_the_place_of_the_log(directory: Path) -> None:
    """A log or pid file that is a link, or has another name, stays as it is: who may write there gets no other file."""
    other = directory.parent / "other"
    other.write_text("root's")
    (directory / "link").symlink_to(other)
    os.link(other, directory / "name")
    for name in ("link", "name"):
        with contextlib.suppress(OSError):
            USER.take(str(directory / name))
    assert other.stat().st_uid == 0
    (directory / "name").unlink()
    USER.take(str(other))
    assert other.stat().st_uid == NOBODY.pw_uid


def test_other_directory(directory: Path) -> None:
    """Relative paths start from the directory that twistd changes to, for files that are read before that as well."""
    write(directory / "users", "ann")
    os.chown(directory / "users", NOBODY.pw_uid, NOBODY.pw_gid)
    elsewhere = directory.parent / "elsewhere"
    elsewhere.mkdir()
    arguments = ("-n", "--uid", "nobody", "--rundir", "../run", "--pidfile=", *options(directory, "--http-users=users"))
    with Server(elsewhere, command=arguments) as server:
        assert owners(directory, *MADE) == dict.fromkeys(MADE, ("nobody", "nogroup"))
        headers = {"Authorization": "Basic YW5uOmFubg=="}
        assert http_call("https", server.addresses["https"], ECHO, headers=headers).body == ECHO_REPLY
        assert not [line for line in server.log if "could replace" in line]  # the directory is the server's own


def test_user_without_a_name(directory: Path) -> None:
    """A user that is not in passwd, which twistd cannot become, is refused before anything is made."""
    line = refusal(directory, twistd=("-n", "--uid", str(UNUSED)))
    assert line == (
        f"jsonrpcs: uid: {UNUSED}: has no entry in passwd, which twistd needs; "
        "allowed: a user of this machine, if root starts the server"
    )
    assert [path.name for path in directory.iterdir()] in (["replies"], ["replies", "twistd.pid"])


def test_not_root() -> None:
    """Only root can become somebody else."""
    with USER.rights():
        assert user_to_become("nobody", None) is None
        assert user_to_become(None, None) is None
        with pytest.raises(UnknownOwner, match="cannot be what another user than root becomes"):
            user_to_become("daemon", None)
    with pytest.raises(UnknownOwner, match="does not exist"):
        user_to_become("no-such-user", None)
    found = user_to_become("nobody", "daemon")
    assert found is not None
    assert (found.uid, found.gid) == (NOBODY.pw_uid, DAEMON.pw_gid)
    assert user_to_become(0, None) is None


def test_workers(directory: Path) -> None:
    """Workers need a Python that the user can run, which is told before they are to be started."""
    settings = owned_by(Settings(run_dir=directory, dgram_socket="s", dgram_workers=2), USER)
    reasons = [str(problem) for problem in obstacles(settings, USER)]
    python = os.path.realpath(shutil.which("python3", path="/usr/bin") or "/usr/bin/python3")
    if USER.obstacle(os.path.realpath(sys.executable), os.X_OK) is None:
        assert reasons == []
    else:
        (reason,) = reasons
        assert reason.startswith("dgram_workers: ")
        assert reason.endswith("; allowed: 1, or a Python that this user can run")
    assert USER.obstacle(python, os.R_OK | os.X_OK) is None


def test_killed(directory: Path) -> None:
    """After kill -9 the files that are left are taken over, whoever was the server's user before."""
    for twistd in (("--uid", "nobody"), ("--uid", "nobody"), ("--uid", "daemon"), ("--gid", "daemon")):
        os.chmod(directory, 0o777)
        with start(directory, "--htable-db=", "--https-listen=", twistd=(*twistd, "--pidfile=")) as server:
            for transport in ("fifo", "unix", "http"):
                assert server.call(transport, ECHO) == ECHO_REPLY
            server.stop(signal.SIGKILL)
        (directory / "tls.pem").unlink()  # which the next user could not read
        assert stat_socket(directory / "rpc.sock")


def stat_socket(path: Path) -> bool:
    """Whether there is a socket that nobody reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, contextlib.suppress(ConnectionRefusedError):
        probe.connect(str(path))
        return False
    return True
