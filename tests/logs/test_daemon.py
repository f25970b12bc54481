"""The log of ``twistd jsonrpcs`` in each format, from its first line to its last."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.scripts._twistd_unix import ServerOptions

from jsonrpcs_tx.options import Options, Refusal
from tests.support import (
    ECHO,
    ECHO_REPLY,
    PATIENCE,
    UNIX_AND_UDP,
    Server,
    environment,
    http_request,
    run_twistd,
    twistd,
)
from tests.support.journal import FakeJournal
from tests.support.namespaces import in_namespace

_HOSTILE = '\x1b[2J\r\n{"time":"x","level":"info","module":"m","message":"forged"}\n<28>forged\u2028\x85\u202e'

COMMANDS = '''
from twisted.internet import reactor
from twisted.internet.defer import fail
from jsonrpcs_tx import command

@command("day.bad", stateless=True)
def bad(text: str) -> None:
    """Raises an error."""
    print("printed")
    raise ValueError(text)

@command("day.unhandled")
def unhandled(text: str) -> None:
    """Leaves errors behind that nobody handles."""
    fail(ValueError(text))
    reactor.callLater(0, lambda: 1 / 0)
'''

NOISE = re.compile(r"starting on|Port .* Closed|protocol <|factory <| object at 0x|IPv4Address|IPv6Address|UNIXAddress")
"""What no line shows that is for operators."""

_STOP = ("Received SIGTERM, shutting down.", "Server Shut Down.")

TRANSPORTS = ("unix", "udp4", "tcp", "http", "https", "fifo")


def request(method: str, *params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).encode()


def start(directory: Path, *arguments: str) -> Server:
    (directory / "day.py").write_text(COMMANDS)
    server = Server(
        directory, "--commands=day", "--http-timeout=1", "--dgram-workers=2", *arguments, sockets=UNIX_AND_UDP
    )
    place = 0
    for _ in range(2 * len(UNIX_AND_UDP)):
        line = server.wait_for_log("worker . reads", after=place)
        place = server.log.index(line, place) + 1
    return server


def spend_a_day(server: Server) -> None:
    """Requests, refusals, errors, and connections that are idle or broken, over all transports."""
    for transport in TRANSPORTS:
        assert server.call(transport, ECHO) == ECHO_REPLY
        for document in (request("no.such"), b"{garbage", request("day.bad", _HOSTILE), request("htable.get", "a")):
            server.call(transport, document)
    server.http(request("day.unhandled", _HOSTILE))
    with contextlib.ExitStack() as stack:
        clients = []
        for transport in ("http", "https", "tcp"):
            for begin in (b"\x16\x03\x01garbage\r\n\r\n", b""):  # what is broken, and what is idle
                client = stack.enter_context(socket.create_connection(server.addresses[transport], PATIENCE))
                client.sendall(begin)
                clients.append(client)
        for client in clients:  # until it is closed
            with contextlib.suppress(ConnectionError):
                while client.recv(1000):
                    pass
    with socket.create_connection(server.addresses["http"], PATIENCE) as client:
        client.sendall(http_request(b"{}", "Origin: http://x\u202e\x85\x9b", "Connection: close"))
        client.makefile("rb").read()


@pytest.mark.slow
@pytest.mark.parametrize("debug", [3, 2, 0, -1])
def test_day_in_json(tmp_path: Path, debug: int) -> None:
    """Each line from the first to the last is an object with what each has, printable and of a level that is logged;
    an error has its traceback in it, and each line that is about somebody says who that is.
    """
    with start(tmp_path, "--log-format=json") as server:
        server.call("unix", request("corex.debug", debug))
        before = len(server.log)
        spend_a_day(server)
        server.call("unix", request("corex.debug", 2))
    lines: list[dict[str, Any]] = [json.loads(line) for line in server.log]
    for line in lines:
        assert list(line)[:4] == ["time", "level", "module", "message"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        for text in filter(None, (line["message"], line.get("traceback"))):
            assert all(part.isprintable() for part in text.split("\n")), line
        assert not NOISE.search(line["message"]), line
        assert line["message"] != "forged"
    assert lines[0]["message"].startswith("twistd ")
    assert lines[-1]["message"] == "Server Shut Down."
    day = [line for line in lines[before:] if line["message"] not in _STOP]
    levels = {3: {"debug", "info"}, 2: {"info"}, 0: set(), -1: set()}[debug] | {"warning", "critical"}
    assert {line["level"] for line in day} <= levels - ({"warning"} if debug < 0 else set())
    assert ("debug" in {line["level"] for line in day}) == (debug == 3)
    failed = [line for line in day if "command day.bad failed" in line["message"]]
    assert {line["transport"] for line in failed} == {"unix", "udp", "tcp", "http", "https", "fifo"}
    for line in failed:
        assert line["traceback"].startswith("Traceback (most recent call last):\n")
        assert line["method"] == "day.bad"
        assert line["transport"] == "fifo" or "peer" in line or line["uid"] == os.getuid(), line
    assert {line["transport"] for line in failed if "worker" in line} == {"unix", "udp"}
    (unhandled,) = (line for line in day if line["module"] == "twisted.internet.defer")
    assert unhandled["message"].startswith("Unhandled error in Deferred: ")
    assert "ValueError" in unhandled["traceback"]
    if debug == 3:
        reasons = [line for line in day if line["level"] == "debug"]
        for words in ("invalid request: not JSON", "there is no method 'no.such'", "htable.get: ", "was idle for 1 s"):
            found = [line for line in reasons if words in line["message"]]
            assert found, words
            assert all(line.keys() & {"peer", "uid", "transport"} for line in found), found


@pytest.mark.slow
def test_day_in_text(tmp_path: Path) -> None:
    """In text each line has time, module and level, or belongs to a traceback; and none shows an object's insides."""
    with start(tmp_path) as server:
        spend_a_day(server)
    head = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[([\w.]+)#(info|warn|error|critical)\] \S")
    for line in server.log:
        assert line.removeprefix("\t").isprintable()
        assert head.match(line) or line.startswith("\t"), line
        assert not NOISE.search(line), line
    assert server.log[0].endswith("starting up.")
    assert server.log[-1].endswith("Server Shut Down.")


@pytest.mark.slow
def test_refused_start(tmp_path: Path) -> None:
    """What stops a start is an object as well, in the words that a terminal would get."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        done = run_twistd(tmp_path, "-n", "jsonrpcs", "--log-format=json", f"--http-listen={endpoint}")
    assert done.returncode == 1
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["module"], last["level"]) == ("stderr", "error")
    assert last["message"].startswith(f"jsonrpcs: http_listen: {endpoint}: ")


@pytest.mark.slow
def test_error_that_ends_the_server(tmp_path: Path) -> None:
    """An error that nothing handles while the server starts is one object, with its traceback."""
    (tmp_path / "broken.py").write_text(
        "class Broken:\n"
        "    def __init__(self, service):\n"
        "        service.startService = lambda: {}['key']\n"
        "    from jsonrpcs_tx import command\n"
        "    @command('broken.nothing')\n"
        "    def nothing(self) -> None: pass\n"
    )
    done = run_twistd(tmp_path, "-n", "jsonrpcs", "--log-format=json", "--commands=broken:Broken")
    assert done.returncode == 1
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["message"] == "the server ends because of an error in it"
    assert last["traceback"].endswith("builtins.KeyError: 'key'")


def parsed(*arguments: str) -> Options:
    """The options of the plugin on a command line of twistd."""
    options = ServerOptions()
    options.parseOptions(arguments)
    found = options.subOptions
    assert isinstance(found, Options)
    return found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("jsonrpcs", "--log-format=xml"), "log_format: 'xml' is not allowed; allowed: text, json, journald or syslog"),
        (("--syslog", "jsonrpcs", "--log-format=json"), "allowed: syslog with twistd's --syslog"),
        (("--logfile=x", "jsonrpcs", "--log-format=journald"), "allowed: text or json with twistd's --logfile"),
        (("--logfile=x", "--syslog", "jsonrpcs"), "allowed: text or json with twistd's --logfile"),
    ],
)
def test_wrong_options(arguments: tuple[str, ...], words: str) -> None:
    """Options that do not go together are refused, in words."""
    with pytest.raises(Refusal, match=re.escape(words)):
        parsed("-n", *arguments)


def test_other_logger() -> None:
    """Where twistd's --logger makes the log, it does."""
    assert parsed("-n", "--logger=tests.support.logs.observed", "jsonrpcs").files.log is None
    assert parsed("-n", "jsonrpcs").files.log is not None


@pytest.mark.slow
def test_log_that_cannot_be_opened(tmp_path: Path) -> None:
    """A log that cannot be opened, and a system's that does not run, end the start with one line."""
    for arguments, words in (
        (
            ("--logfile=no/such/log", "jsonrpcs"),
            f"twistd --logfile: {tmp_path}/no/such/log: No such file or directory; allowed: ",
        ),
        (("--logfile=-", "--pidfile=", "jsonrpcs"), "twistd --logfile: -: a daemon has no standard output; allowed: "),
    ):
        done = run_twistd(tmp_path, *([] if "-" in arguments[0][-1] else ["-n"]), *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"jsonrpcs: {words}"), done.stderr
        assert done.stderr.count("\n") == 1


@contextlib.contextmanager
def logging_to(directory: Path, sockets: Mapping[str, Path], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the foreground with a listener of this test in the place of one of the system's.

    @param sockets: by the path where the server looks for it, the path where it is.
    """
    (directory / "day.py").write_text(COMMANDS)
    command = (twistd(), "-n", *arguments, "--commands=day", "--dgram-socket=rpc.sock", "--fifo-name=")
    process = subprocess.Popen(in_namespace(directory, sockets, command), cwd=directory, env=environment())
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_until_serving(read: Any, key: Any) -> list[Any]:
    """What a listener has read until the server serves."""
    found: list[Any] = []
    while not found or b"serving " not in key(found[-1]):
        found.append(read())
    return found


@pytest.mark.slow
def test_journald(tmp_path: Path) -> None:
    """The journal gets each line as an entry, with priority, identifier, fields, and tracebacks in the message."""
    options = ("--prefix=test", "jsonrpcs", "--log-format=journald")
    with (
        contextlib.closing(FakeJournal(tmp_path / "journal")) as journal,
        logging_to(tmp_path, {"/run/systemd/journal/socket": journal.path}, *options) as process,
    ):
        entries = wait_until_serving(journal.read, lambda entry: entry["MESSAGE"])
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(tmp_path / "client"))
            client.sendto(request("day.bad", _HOSTILE), str(tmp_path / "rpc.sock"))
            client.settimeout(PATIENCE)
            assert b"Internal Error" in client.recv(1000)
        process.terminate()
        process.wait(PATIENCE)
        entries += journal.read_all()
    assert entries[0]["MESSAGE"].startswith(b"twistd ")
    assert entries[-1]["MESSAGE"] == b"Server Shut Down."
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {b"test"}
    (failed,) = (entry for entry in entries if b"day.bad failed" in entry["MESSAGE"])
    assert failed["PRIORITY"] == b"2"
    assert failed["MESSAGE"].split(b"\n")[1] == b"Traceback (most recent call last):"
    assert failed["CODE_FILE"] == str(tmp_path / "day.py").encode()
    assert failed["CODE_FUNC"] == b"bad"
    assert failed["JSONRPCS_METHOD"] == b"day.bad"
    assert failed["JSONRPCS_UID"] == str(os.getuid()).encode()
    assert {"JSONRPCS_PID", "JSONRPCS_MODULE", "JSONRPCS_TRANSPORT"} <= failed.keys()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("jsonrpcs", "--log-format=syslog"), ("--syslog", "jsonrpcs")])
def test_syslog(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Syslog gets each line, and each line of a traceback, in a datagram of its own, as it is used to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(PATIENCE)
        with logging_to(tmp_path, {"/dev/log": tmp_path / "log"}, *arguments) as process:
            lines = wait_until_serving(lambda: daemon.recv(10_000), lambda line: line)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.sendto(request("day.bad", _HOSTILE), str(tmp_path / "rpc.sock"))
            while b"ValueError: " not in lines[-1]:
                lines.append(daemon.recv(10_000))
            process.terminate()
            while b"Server Shut Down." not in lines[-1]:
                lines.append(daemon.recv(10_000))
    for line in lines:
        assert re.fullmatch(r"<(26|28|30)>\w{3} [ \d]\d \d\d:\d\d:\d\d jsonrpcs\[\d+\]: .*", line.decode())
        assert line.decode().isprintable()
    assert b"[twisted.scripts._twistd_unix.UnixAppLogger#info] twistd " in lines[0]
    assert any(line.startswith(b"<26>") and b"    Traceback (most recent call last):" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["journald", "syslog"])
def test_without_a_listener(tmp_path: Path, log_format: str) -> None:
    """Where journald or syslog does not run, the start ends with one line."""
    command = (twistd(), "-n", "jsonrpcs", f"--log-format={log_format}", "--fifo-name=", "--dgram-socket=rpc.sock")
    paths = {"journald": "/run/systemd/journal/socket", "syslog": "/dev/log"}
    missing = {paths[log_format]: tmp_path / "missing"}
    done = subprocess.run(
        in_namespace(tmp_path, missing, command), cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"jsonrpcs: log_format: {paths[log_format]}: No such file or directory; allowed: {log_format} where it runs\n"
    )


@pytest.mark.slow
def test_levels_of_workers(tmp_path: Path) -> None:
    """A change of the level, by any of the ways to do that, is one for the worker processes as well."""
    for number, change in enumerate((request("corex.debug", 3), request("cfg.seti", "core", "debug", 3))):
        directory = tmp_path / str(number)
        directory.mkdir()
        with start(directory) as server:
            server.call("unix", change)
            for _ in range(100):  # some of which a worker takes that has been told
                server.call("udp4", request("day.bad"))
            assert re.search(
                r"worker \d: udp 127\.0\.0\.1: day\.bad: ", server.wait_for_log(r"#debug\] worker \d: udp .*day\.bad")
            )


@pytest.mark.slow
def test_workers_and_signals(tmp_path: Path) -> None:
    """SIGHUP and SIGUSR1 for the whole group of processes, as a closed terminal sends them, end no worker."""
    with start(tmp_path) as server:
        listed = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        workers = listed.read_text()
        for pid in map(int, workers.split()):
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
                os.kill(pid, number)
        for _ in range(20):
            for transport in ("unix", "udp4"):
                assert server.call(transport, ECHO) == ECHO_REPLY
        assert listed.read_text() == workers
        assert len(workers.split()) == 2 * len(UNIX_AND_UDP)


@pytest.mark.slow
def test_stop_at_start(tmp_path: Path) -> None:
    """SIGTERM that comes while the server starts stops it as at any other time: nothing of it is left."""
    for _ in range(5):
        command = [twistd(), "-n", "jsonrpcs", "--transport=0", "--dgram-socket=rpc.sock", "--fifo-name=rpc.fifo"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            while "listening on" not in process.stdout.readline():
                pass
            process.terminate()
            said = process.stdout.read()
        assert process.returncode == -signal.SIGTERM, said
        assert list(tmp_path.iterdir()) == []
