"""The audit log of a real server: each change over each transport is in it, once, whatever happens to the server."""

import json
import os
import resource
import select
import signal
import subprocess
import threading
from collections import Counter
from contextlib import closing, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx.logs.journal import SOCKET
from tests.support import (
    PATIENCE,
    UNIX_AND_UDP,
    Server,
    call,
    datagram_client,
    environment,
    http_call,
    twistd,
    unverified,
)
from tests.support.journal import FakeJournal
from tests.support.namespaces import in_namespace
from tests.support.programs import need
from tests.support.tls import make_identity
from tests.support.users import write as write_users

pytestmark = pytest.mark.slow

COMMANDS = '''
from jsonrpcs_tx import command

@command("shop.sell", stateless=True)
def sell(what: str) -> str:
    """Changes something, wherever it runs."""
    return what

@command("shop.look", stateless=True, changes=False)
def look(what: str) -> str:
    """Only looks."""
    return what

class Within:
    """A program that calls its own server."""

    def __init__(self, service):
        self._service = service

    @command("shop.within", changes=False)
    def within(self) -> str:
        self._service.jsonrpc_exec(b'{"jsonrpc":"2.0","method":"htable.flush","params":["a"],"id":"within"}')
        return "done"
'''


def set_item(key: str, **more: Any) -> bytes:
    return json.dumps(
        {"jsonrpc": "2.0", "method": "htable.sets", "params": ["a", key, "v"], "id": key, **more}
    ).encode()


def entries(directory: Path, name: str = "audit.log") -> list[dict[str, Any]]:
    """What is in the audit log now."""
    return [json.loads(line) for line in (directory / name).read_bytes().splitlines()]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One with commands of a program."""
    (tmp_path / "shop.py").write_text(COMMANDS)
    return tmp_path


def test_each_transport(directory: Path) -> None:
    """A change over each transport is found as soon as its client has the reply, with who has made it; no read is."""
    write_users(directory / "users", "ann")
    authority = make_identity("ca.example", is_ca=True)
    client = make_identity("ops.example", authority)
    (directory / "ca.pem").write_bytes(authority.pem)
    (directory / "client.pem").write_bytes(client.key_pem() + client.pem)
    options = ("--htable=a=>size=4", "--http-users=users", "--tls-ca=ca.pem", "--commands=shop:Within")
    with Server(directory, *options, "--audit=audit.log", "--http-listen=unix:http.sock:mode=600") as server:
        for transport in ("unix", "udp4", "tcp", "fifo"):
            server.call(transport, set_item(transport))
            assert entries(directory)[-1]["id"] == transport
            server.call(transport, b'{"jsonrpc":"2.0","method":"htable.get","params":["a","tcp"],"id":1}')
        password = {"Authorization": "Basic YW5uOmFubg=="}
        assert http_call("http", str(directory / "http.sock"), set_item("http"), headers=password).status == 200
        context = unverified()
        context.load_cert_chain(directory / "client.pem")
        host, port = server.addresses["https"]
        with closing(HTTPSConnection(host, port, timeout=PATIENCE, context=context)) as connection:
            connection.request("POST", "/RPC", set_item("https"), password)
            assert connection.getresponse().status == 200
        server.call("unix", b'{"jsonrpc":"2.0","method":"shop.within","id":1}')
        written = {entry["id"]: entry for entry in entries(directory)}
    ours = {"uid": os.geteuid(), "gid": os.getegid(), "pid": os.getpid()}
    assert {id: _who(entry) for id, entry in written.items()} == {
        "unix": {"transport": "unix", **ours},
        "udp4": {"transport": "udp", "address": "127.0.0.1"},
        "tcp": {"transport": "tcp", "address": "127.0.0.1"},
        "fifo": {"transport": "fifo"},
        "http": {"transport": "http", "user": "ann", **ours},
        "https": {"transport": "https", "address": "127.0.0.1", "user": "ann", "tls_names": ["ops.example"]},
        "within": {"transport": "exec"},
    }
    assert written["tcp"]["params"] == ["a", "tcp", "v"]
    assert all(entry["outcome"] == "result" and entry["ms"] >= 0 for entry in written.values())
    assert all("port" in written[id] for id in ("udp4", "tcp", "https"))


def _who(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("transport", "address", "uid", "gid", "pid", "user", "tls_names")
    return {name: entry[name] for name in names if name in entry}


def test_kamctl(directory: Path) -> None:
    """What an operator does with kamctl is found."""
    need("kamctl", "kamailio")
    options = ("--pretty-format=1", "--fifo-reply-dir=/tmp/", "--htable=a=>size=4", "--audit=audit.log")
    with Server(directory, *options) as server:
        paths = {"RPCFIFOPATH": server.addresses["fifo"], "HOME": str(directory), "TERM": "xterm"}
        for arguments in ("htable.sets a k v", "htable.get a k", "htable.flush a"):
            command = ["kamctl", "rpc", *arguments.split()]
            subprocess.run(command, env={**os.environ, **paths}, capture_output=True, timeout=PATIENCE, check=True)
    found = [(entry["transport"], entry["method"], entry["params"], entry["code"]) for entry in entries(directory)]
    assert found == [("fifo", "htable.sets", ["a", "k", "v"], 200), ("fifo", "htable.flush", ["a"], 200)]


@pytest.mark.parametrize("level", ["changes", "all"])
def test_workers(directory: Path, level: str) -> None:
    """With worker processes each change, and each refusal, has just one line."""
    rules = ("--rule=any deny core.version", "--rule=udp 192.0.2.0/24 allow *")
    options = ("--dgram-workers=2", "--commands=shop", "--audit=audit.log", f"--audit-level={level}", *rules)
    with Server(directory, *options, sockets=UNIX_AND_UDP) as server:
        server.wait_for_log("worker 1 reads unix")
        for number in range(100):
            for method in ("shop.sell", "shop.look", "core.version"):
                document = {"jsonrpc": "2.0", "method": method, "params": ["x"], "id": f"{method} {number}"}
                server.call("unix", json.dumps(document).encode())
        with datagram_client(server.addresses["udp4"]) as client:
            client.send(b'{"jsonrpc":"2.0","method":"shop.sell","params":["x"],"id":"foreign"}')
            server.wait_for_log("nothing is allowed")
            client.send(b'{"jsonrpc":"2.0","method":"shop.sell","params":["x"],"id":"foreign"}')
            server.call("unix", b'{"jsonrpc":"2.0","method":"shop.sell","params":["x"],"id":"last"}')
    counted = Counter(str(entry["id"]).partition(" ")[0] for entry in entries(directory))
    looks = {"shop.look": 100} if level == "all" else {}
    assert counted == {"shop.sell": 100, "core.version": 100, "foreign": 2, "last": 1, **looks}
    assert len({entry["id"] for entry in entries(directory)}) == len(entries(directory)) - 1


def test_rotation_under_load(directory: Path) -> None:
    """While the file is rotated again and again, by both signals, no line is lost, cut or doubled."""
    with Server(directory, "--htable=a=>size=4", "--audit=audit.log") as server:
        stop = threading.Event()
        sent: list[str] = []

        def load() -> None:
            while not stop.is_set():
                sent.append(str(len(sent)))
                server.call("unix", set_item(sent[-1]))

        thread = threading.Thread(target=load)
        thread.start()
        for number in range(10):
            (directory / "audit.log").rename(directory / f"audit.log.{number}")
            before = len(server.log)
            server.process.send_signal((signal.SIGUSR1, signal.SIGHUP)[number % 2])
            server.wait_for_log(f"audit log reopened: {directory}/audit.log", before)
        stop.set()
        thread.join(PATIENCE)
    names = [*(f"audit.log.{number}" for number in range(10)), "audit.log"]
    assert [entry["id"] for name in names for entry in entries(directory, name)] == sent
    assert {os.stat(directory / name).st_mode & 0o777 for name in names} == {0o600}


def test_full_disk(directory: Path) -> None:
    """On a full disk the server goes on; when there is room again, the log says how many lines are missing."""
    with Server(directory, "--htable=a=>size=4", "--audit=audit.log") as server:
        server.call("unix", set_item("before"))
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        size = (directory / "audit.log").stat().st_size
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 20, unlimited[1]))
        for number in range(20):
            assert b"result" in server.call("unix", set_item(f"lost {number}"))
        server.wait_for_log("audit: .* cannot be written, lines are lost: .*File too large")
        asked = server.call("unix", b'{"jsonrpc":"2.0","method":"jsonrpc.health","id":1}')
        (reason,) = json.loads(asked)["result"]["checks"]["audit"]["reasons"]
        assert "File too large" in reason
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        server.call("unix", set_item("after"))
        server.wait_for_log("audit: .* is written again; 20 lines are lost")
        reply = server.call("unix", b'{"jsonrpc":"2.0","method":"cnt.get","params":["audit","lost"],"id":1}')
        assert json.loads(reply)["result"] == 20
    found = [(entry.get("id"), entry.get("lost")) for entry in entries(directory)]
    assert found == [("before", None), (None, 20), ("after", None)]
    assert sum("cannot be written" in line for line in server.log) == 1


def test_killed(directory: Path) -> None:
    """Whatever was answered before kill -9 is found; the next server goes on behind it, on a line of its own."""
    options = ("--htable=a=>size=4", "--audit=audit.log")
    with Server(directory, *options) as server:
        for number in range(100):
            server.call("unix", set_item(str(number)))
        server.process.kill()
    assert [entry["id"] for entry in entries(directory)] == [str(number) for number in range(100)]
    with (directory / "audit.log").open("ab") as file:
        file.write(b'{"time":"cut o')
    with Server(directory, *options) as server:
        server.call("unix", set_item("next"))
    lines = (directory / "audit.log").read_bytes().splitlines()
    assert lines[100] == b'{"time":"cut o'
    assert json.loads(lines[101])["id"] == "next"


def test_killed_by_a_client(directory: Path) -> None:
    """Even a client that has the server killed at once is found."""
    with Server(directory, "--audit=audit.log") as server:
        server.call("unix", b'{"jsonrpc":"2.0","method":"core.kill","params":[9],"id":1}')
        assert server.process.wait(PATIENCE) in (-9, 137)
    (entry,) = entries(directory)
    assert (entry["method"], entry["params"], entry["uid"]) == ("core.kill", [9], os.geteuid())


def test_journald(directory: Path) -> None:
    """With journald each entry is one of systemd's journal."""
    journal = FakeJournal(directory / "journal")
    command = (twistd(), "-n", "jsonrpcs", "--audit=journald", "--htable=a=>size=4", "--dgram-socket=rpc.sock")
    namespace = in_namespace(directory, {SOCKET: journal.path}, command)
    with subprocess.Popen(namespace, cwd=directory, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("serving" in line for line in process.stdout)
        call("unix", str(directory / "rpc.sock"), set_item("one"))
        found = journal.read()
        process.terminate()
    assert (found["JSONRPCS_METHOD"], found["JSONRPCS_ID"]) == (b"htable.sets", b"one")
    journal.close()


def test_required(directory: Path) -> None:
    """With audit_required, no change is made on a full disk, over any transport; once there is room, it goes on."""
    with Server(directory, "--htable=a=>size=4", "--audit=audit.log", "--audit-required") as server:
        server.call("unix", set_item("before"))
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        size = (directory / "audit.log").stat().st_size
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 20, unlimited[1]))
        for transport in ("unix", "udp4", "tcp", "fifo"):
            refused = json.loads(server.call(transport, set_item(transport)))
            assert refused["error"] == {"code": 503, "message": "Audit Log Unavailable"}
        host = server.addresses["http"]
        assert http_call("http", host, set_item("http")).status == 503
        read = server.call("unix", b'{"jsonrpc":"2.0","method":"htable.dump","params":["a"],"id":1}')
        assert b"before" in read
        assert b"tcp" not in read
        assert b"http" not in read
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert b"result" in server.call("unix", set_item("after"))
    found = [(entry.get("id"), entry.get("outcome"), entry.get("lost")) for entry in entries(directory)]
    assert found == [
        ("before", "begun", None),
        ("before", "result", None),
        (None, None, 5),
        ("after", "begun", None),
        ("after", "result", None),
    ]


@pytest.mark.parametrize("options", [(), ("--audit-required",)], ids=["ordinary", "required"])
def test_terminated_under_load(directory: Path, options: tuple[str, ...]) -> None:
    """What was answered before and while SIGTERM stops the server is found, though many calls come at once."""
    with Server(directory, "--htable=a=>size=4", "--audit=audit.log", *options) as server:
        answered: list[str] = []
        with datagram_client(server.addresses["unix"]) as client, open(os.pidfd_open(server.process.pid)) as ended:

            def receive() -> bytes:
                ready, _, _ = select.select([client.fileno(), ended.fileno()], [], [], PATIENCE)
                if client.fileno() not in ready:
                    raise ConnectionResetError
                return client.recv(65536)

            with suppress(OSError):  # it is gone
                for number in range(300):
                    client.send(set_item(f"item {number}"))
                    if number == 200:
                        server.process.terminate()
                    if number % 20 == 19:
                        for _ in range(20):
                            answered.append(json.loads(receive())["id"])
        assert server.process.wait(PATIENCE) == -signal.SIGTERM
    written = Counter(entry["id"] for entry in entries(directory) if entry["outcome"] == "result")
    assert {*answered} <= written.keys()
    assert set(written.values()) == {1}
    assert len(answered) >= 200
