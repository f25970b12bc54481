"""A server that systemd has started: it takes its sockets, says what it does, and loses nothing at a restart."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support import ECHO, ECHO_REPLY, PATIENCE, REPOSITORY, ReplyFifo, call, twistd, with_reply_name, write_fifo
from tests.support.programs import need
from tests.support.systemd import Manager

pytestmark = pytest.mark.slow

UNITS = REPOSITORY / "contrib" / "systemd"
OPTIONS = (
    *("--fifo-name=systemd:fifo", "--dgram-socket=systemd:udp", "--dgram-socket=systemd:unix"),
    *("--tcp-socket=systemd:tcp", "--http-listen=systemd:http", "--https-listen=systemd:https", "--tls-self-signed"),
)
MOST_EXPOSED = 2.0
"""By C{systemd-analyze security}; 10 is the most."""


@attrs.frozen
class Sockets:
    """What systemd opens for the server, by name, and the addresses at which clients find it."""

    opened: list[tuple[str, Any]]
    addresses: dict[str, Any]


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    """One of each transport."""
    with ExitStack() as stack:
        opened: list[tuple[str, Any]] = []
        addresses: dict[str, Any] = {}
        for name in ("tcp", "http", "https"):
            one = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1000))
            opened.append((name, one))
            addresses[name] = one.getsockname()
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        unix.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        unix.bind(str(tmp_path / "rpc.sock"))
        os.mkfifo(tmp_path / "rpc.fifo")
        fifo = os.open(tmp_path / "rpc.fifo", os.O_RDWR | os.O_NONBLOCK)
        stack.callback(os.close, fifo)
        addresses |= {"udp": udp.getsockname(), "unix": str(tmp_path / "rpc.sock"), "fifo": str(tmp_path / "rpc.fifo")}
        yield Sockets([*opened, ("udp", udp), ("unix", unix), ("fifo", fifo)], addresses)


@pytest.fixture
def replies(tmp_path: Path) -> str:
    """The option with the directory for reply FIFOs."""
    (tmp_path / "replies").mkdir()
    return f"--fifo-reply-dir={tmp_path / 'replies'}"


def test_sockets(tmp_path: Path, sockets: Sockets, replies: str) -> None:
    """Every transport answers on the socket of its name. The files are still there after the stop."""
    with Manager(tmp_path, sockets.opened) as manager:
        manager.start(*OPTIONS, replies)
        for transport, address in sockets.addresses.items():
            assert call(transport, address, ECHO, tmp_path / "replies") == ECHO_REPLY
        manager.stop()
        assert {"rpc.sock", "rpc.fifo"} <= set(os.listdir(tmp_path))
        assert "warn" not in manager.log


def test_requests_before_the_start(tmp_path: Path, sockets: Sockets, replies: str) -> None:
    """What comes before the server runs is answered: systemd starts it for that."""
    with ReplyFifo(tmp_path / "replies" / "early") as early, Manager(tmp_path, sockets.opened) as manager:
        write_fifo(sockets.addresses["fifo"], with_reply_name(ECHO, "early"))
        answers: dict[str, bytes] = {}

        def ask(transport: str, address: Any) -> None:
            answers[transport] = call(transport, address, ECHO)

        others = {name: address for name, address in sockets.addresses.items() if name != "fifo"}
        threads = [threading.Thread(target=ask, args=one) for one in others.items()]
        for thread in threads:
            thread.start()
        manager.start(*OPTIONS, replies)
        for thread in threads:
            thread.join(PATIENCE)
        assert answers == dict.fromkeys(others, ECHO_REPLY)
        assert early.read() == ECHO_REPLY


def test_workers(tmp_path: Path, sockets: Sockets, replies: str) -> None:
    """Worker processes read the sockets that were passed."""
    with Manager(tmp_path, sockets.opened) as manager:
        manager.start(*OPTIONS, replies, "--dgram-workers=2")
        for transport in ("udp", "unix"):
            assert call(transport, sockets.addresses[transport], ECHO) == ECHO_REPLY


def test_endpoints_of_twisted(tmp_path: Path, sockets: Sockets) -> None:
    """Twisted's own endpoints for such sockets are taken as well."""
    opened = [one for one in sockets.opened if one[0] in ("http", "https")]
    with Manager(tmp_path, opened) as manager:
        manager.start("--transport=0", "--http-listen=systemd:domain=INET:name=http", "--http-listen=systemd:https")
        for name, _ in opened:
            assert call("http", sockets.addresses[name], ECHO) == ECHO_REPLY


def test_unused_socket(tmp_path: Path, sockets: Sockets) -> None:
    """A warning names a socket that nobody reads: its clients would wait for ever."""
    with Manager(tmp_path, sockets.opened[:2]) as manager:
        manager.start("--http-listen=systemd:http")
        manager.stop()
        assert re.findall(r"warn\] (.*)", manager.log) == [
            "systemd has passed tcp, but no setting names it: systemd:tcp"
        ]


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--http-listen=systemd:web", "http_listen: 'systemd:web': systemd has not passed it; allowed: systemd:tcp"),
        ("--fifo-name=systemd:tcp", "fifo_name: 'systemd:tcp': is something else; allowed: a FIFO"),
        ("--dgram-socket=systemd:tcp", "dgram_socket: 'systemd:tcp': is a socket of another kind; allowed: a datagram"),
    ],
)
def test_wrong_socket(tmp_path: Path, sockets: Sockets, option: str, reason: str) -> None:
    """What cannot be used ends the start with one line that says why."""
    with Manager(tmp_path, sockets.opened[:1]) as manager:
        manager.run(option)
        assert manager.ended() == 1
        assert reason.replace("'", "") in manager.log.replace("'", "")
        assert "Traceback" not in manager.log


def test_beyond_this_machine(tmp_path: Path) -> None:
    """A socket that other machines can reach needs a rule, as any other does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", 0))
        with Manager(tmp_path, [("udp", udp)]) as manager:
            manager.run("--dgram-socket=systemd:udp")
            assert manager.ended() == 1
            assert "reaches beyond this machine" in manager.log
            manager.start("--dgram-socket=systemd:udp", "--rule=udp allow core.*")
            assert b'"result"' in call(
                "udp", ("127.0.0.1", udp.getsockname()[1]), ECHO.replace(b"jsonrpc.echo", b"core.echo")
            )


def test_check_elsewhere(tmp_path: Path) -> None:
    """--check in a shell finds nothing wrong with a name: the socket is there once systemd starts the server."""
    command = [twistd(), "-n", "jsonrpcs", "--check", "--http-listen=systemd:http", "--fifo-name=systemd:fifo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "jsonrpcs: no errors\n")


def test_messages(tmp_path: Path) -> None:
    """systemd is told when the server is ready, what it does, that it reads its files again, and that it stops."""
    with Manager(tmp_path, environ={"WATCHDOG_USEC": "300000"}) as manager:
        manager.start("--transport=2", "--health-drain=0")
        assert manager.wait_for("STATUS=") == "STATUS=listeners: 1, requests: 0, errors: 0"
        before = len(manager.messages)
        assert manager.process is not None
        manager.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=[0-9]+", manager.wait_for("RELOADING", before))
        manager.wait_for("READY=1", before)
        for _ in range(3):
            manager.wait_for("WATCHDOG=1", len(manager.messages))
        assert manager.stop() in (0, -signal.SIGTERM)
        assert manager.wait_for("STOPPING=1").startswith("STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=")


def test_watchdog_of_a_busy_reactor(tmp_path: Path) -> None:
    """A reactor that does not turn says nothing, so that systemd ends the process."""
    (tmp_path / "blocking.py").write_text(
        "import time\nfrom jsonrpcs_tx import command\n\n\n@command('test.block')\ndef block() -> None:\n"
        "    time.sleep(1)\n    open('blocked', 'w').close()\n    time.sleep(100)\n"
    )
    with Manager(tmp_path, environ={"WATCHDOG_USEC": "300000"}) as manager:
        manager.start("--dgram-socket=rpc.sock", "--commands=blocking")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.sendto(b'{"jsonrpc":"2.0","method":"test.block"}', str(tmp_path / "rpc.sock"))
        blocked = manager.wait_for_file("blocked")
        assert max(manager.times) < blocked - 0.3  # it blocks for a second before it makes the file
        manager.stop(signal.SIGKILL)


def test_failed_start_is_not_ready(tmp_path: Path) -> None:
    """A server that cannot start never says that it is ready."""
    with Manager(tmp_path) as manager:
        manager.run("--http-listen=tcp:1:interface=192.0.2.1")
        assert manager.ended() == 1
        assert manager.messages == []


def test_children_do_not_speak(tmp_path: Path) -> None:
    """The environment of worker processes has no socket of systemd's."""
    with Manager(tmp_path) as manager:
        manager.start("--dgram-socket=rpc.sock", "--dgram-workers=2")
        assert manager.process is not None
        pid = manager.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert len(children) == 2
        for child in children:
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{child}/environ").read_bytes()


RESTARTS = 20


@pytest.mark.long
def test_restarts_under_load(tmp_path: Path, sockets: Sockets, replies: str) -> None:
    """Twenty restarts while clients of every transport call: no connection is refused, and each request is answered."""
    over = threading.Event()
    answered: dict[str, int] = {}
    failures: list[str] = []

    def ask(transport: str) -> None:
        address = sockets.addresses[transport]
        while not over.is_set():
            try:
                reply = call(transport, address, ECHO, tmp_path / "replies")
            except Exception as error:
                failures.append(f"{transport}: {error!r}")
            else:
                if reply != ECHO_REPLY:
                    failures.append(f"{transport}: {reply!r}")
                answered[transport] = answered.get(transport, 0) + 1

    with Manager(tmp_path, sockets.opened) as manager:
        manager.start(*OPTIONS, replies)
        threads = [threading.Thread(target=ask, args=(transport,)) for transport in sockets.addresses]
        for thread in threads:
            thread.start()
        try:
            for _ in range(RESTARTS):
                before = dict(answered)
                manager.stop()
                manager.start(*OPTIONS, replies)
                while not failures and any(answered.get(one, 0) == before.get(one, 0) for one in sockets.addresses):
                    over.wait(0.01)
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)
    assert failures == []
    assert min(answered.values()) >= RESTARTS


def installed(directory: Path) -> list[Path]:
    """The units, with the twistd of the tests in place of the package's."""
    paths = []
    for unit in sorted([*UNITS.glob("*.service"), *UNITS.glob("*.socket")]):
        paths.append(directory / unit.name)
        text = unit.read_text().replace("/usr/lib/jsonrpcs-tx/bin/twistd", shutil.which("true") or "/bin/true")
        paths[-1].write_text(text.replace("Documentation=man:jsonrpcs(1)\n", ""))
    return paths


def test_units(tmp_path: Path) -> None:
    """systemd finds nothing to complain about in the units, and little that they could do without."""
    need("systemd-analyze", "systemd")
    units = [str(path) for path in installed(tmp_path)]
    assert len(units) == 7
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=PATIENCE)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    service = next(unit for unit in units if unit.endswith(".service"))
    limit = f"--threshold={int(MOST_EXPOSED * 10)}"
    secured = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", limit, service],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert secured.returncode == 0, secured.stdout


def test_units_name_their_sockets() -> None:
    """Each socket unit passes its socket by the name of its transport."""
    units = {path.stem.removeprefix("jsonrpcs-"): path.read_text() for path in UNITS.glob("*.socket")}
    assert units.keys() == {"http", "https", "tcp", "udp", "unix", "fifo"}
    for name, text in units.items():
        assert f"FileDescriptorName={name}\n" in text
        assert "Service=jsonrpcs.service\n" in text


def allowed_system_calls() -> set[str]:
    """What the service unit lets the server do."""
    allowed: set[str] = set()
    unit = (UNITS / "jsonrpcs.service").read_text()
    for sign, groups in re.findall(r"^SystemCallFilter=(~?)(.*)", unit, re.MULTILINE):
        named = {call for group in groups.split() for call in system_calls(group)}
        allowed = allowed - named if sign else allowed | named
    return allowed


def system_calls(group: str) -> set[str]:
    """Those of a group, and of the groups in it."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = [line.strip() for line in shown.stdout.splitlines()[1:]]
    return {
        call
        for name in names
        if name and not name.startswith("#")
        for call in (system_calls(name) if name.startswith("@") else [name])
    }


def test_system_calls(tmp_path: Path, sockets: Sockets, replies: str) -> None:
    """A server with everything on makes only system calls that its unit allows."""
    need("strace", "strace")
    need("systemd-analyze", "systemd")
    trace = tmp_path / "trace"
    names = ("unix", "udp:127.0.0.1:0")
    strace = ["strace", "-f", "-o", str(trace), twistd(), "-n", "--pidfile=", "jsonrpcs", "--load=all"]
    options = [
        *(f"--dgram-socket={name}" for name in names),
        *("--fifo-name=fifo", "--http-listen=tcp:0:interface=127.0.0.1", "--tls-self-signed", "--htable-db=tables"),
        *("--htable=a=>size=4", "--dgram-workers=2", "--audit=audit", "--metrics=/metrics", "--watchdog=1000", replies),
    ]
    with subprocess.Popen(
        [*strace, *options], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        log: list[str] = []
        for line in process.stdout:
            log.append(line)
            if "] serving " in line:
                break
        else:
            raise AssertionError("".join(log))
        assert call("unix", str(tmp_path / "unix"), ECHO) == ECHO_REPLY
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert made >= {"recvmmsg", "epoll_wait", "sendto"}
    assert made - allowed_system_calls() == set()
