"""Rules that change while the server runs: for every transport, and for whoever is connected already."""

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from jsonrpcs_tx import SettingError, Settings, StartError, command, makeService
from jsonrpcs_tx.access.rulefile import read_rule_file
from jsonrpcs_tx.files.linefiles import MAX_SIZE
from jsonrpcs_tx.transports.base import Listener, Transport
from tests.support import PATIENCE, Server, datagram_client, http_connection

FORBIDDEN = {"code": 403, "message": "Forbidden"}
DOCUMENT = b'{"jsonrpc":"2.0","method":"jsonrpc.echo","params":["x"],"id":1}'


def write(path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def answer(reply: bytes) -> Any:
    read = json.loads(reply)
    return read["result"] if "result" in read else read["error"]


class Held:
    """Clients of a server that stay connected, and ask again and again."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.server = server
        self.datagrams = {
            name: stack.enter_context(datagram_client(server.addresses[name])) for name in ("unix", "udp4", "udp6")
        }
        self.http = {
            name: stack.enter_context(_closing(http_connection(name, server.addresses[name])))
            for name in ("http", "https")
        }
        self.stack = stack
        self.open_tcp()

    def open_tcp(self) -> None:
        """Connect, and send the first half of a request."""
        self.tcp = self.stack.enter_context(socket.create_connection(self.server.addresses["tcp"], PATIENCE))
        self.tcp.sendall(DOCUMENT[:20])

    def ask(self) -> dict[str, Any]:
        """What the call is answered with over each transport."""
        answers = {}
        for name, client in self.datagrams.items():
            client.send(DOCUMENT)
            answers[name] = answer(client.recv(65_536))
        for name, connection in self.http.items():
            connection.request("POST", "/RPC", DOCUMENT)
            answers[name] = answer(connection.getresponse().read())
        self.tcp.sendall(DOCUMENT[20:])
        answers["tcp"] = answer(b"".join(iter(lambda: self.tcp.recv(65_536), b"")))
        self.open_tcp()
        answers["fifo"] = answer(self.server.call("fifo", DOCUMENT))
        return answers


class _closing:
    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __enter__(self) -> Any:
        return self.thing

    def __exit__(self, *exc_info: object) -> None:
        self.thing.close()


def reload(server: Server, says: str = "rules reloaded") -> str:
    """Send SIGHUP, and wait for what the log says of the rules."""
    seen = len(server.log)
    os.kill(server.process.pid, signal.SIGHUP)
    return server.wait_for_log(says, after=seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("--fast-paths=no",), ("--dgram-workers=2",)], ids=["fast", "general", "workers"]
)
def test_reload(tmp_path: Path, options: tuple[str, ...]) -> None:
    """At SIGHUP the file of rules is read again, and counts over each transport for clients that are connected."""
    rules = tmp_path / "rules"
    write(rules, "")
    with ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path, "--rule-file=rules", *options))
        if "--dgram-workers=2" in options:
            for number in (0, 1):
                server.wait_for_log(f"worker {number} reads udp")
                server.wait_for_log(f"worker {number} reads unix")
        held = Held(server, stack)
        assert set(map(str, held.ask().values())) == {"['x']"}
        write(rules, f"# nobody\n\nany deny jsonrpc.*\nunix uid={os.getuid()} allow *\n")
        assert "there are 2" in reload(server)
        assert_soon(lambda: list(held.ask().values()) == [FORBIDDEN] * 7)
        write(rules, "any deny core.*\nudp allow\n")
        line = reload(server, "rules not reloaded, the former ones stay")
        assert f"rule_file: {rules}: line 2: 'udp allow'; allowed: methods after allow" in line
        assert list(held.ask().values()) == [FORBIDDEN] * 7
        write(rules, "any deny core.pwd\n")
        assert "there are 1" in reload(server)
        assert_soon(lambda: set(map(str, held.ask().values())) == {"['x']"})
        write(rules, "")
        assert "there are 0" in reload(server)
        assert set(map(str, held.ask().values())) == {"['x']"}
        assert not [one for one in server.log if "Traceback" in one]


def assert_soon(holds: Callable[[], bool]) -> None:
    """Worker processes hear of it a little later."""
    for _ in range(200):
        if holds():
            return
    raise AssertionError("it does not come true")


@command("held.echo")
def echo(text: str) -> str:
    """Returns its parameter."""
    return text


def request(method: str = "held.echo", id: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": ["x"], "id": id}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_change(clock: Clock) -> None:
    """Rules can be changed by the program, and are all that count from then on."""
    service = makeService(Settings(), clock, [echo])
    document = json.dumps(request())
    for rule, code in (("any deny held.*", 403), ("any deny other.*", 200), ((), 200), ("exec allow other.*", 403)):
        service.change(rule=rule)
        assert service.jsonrpc_exec(document).code == code
        assert service.settings.rule == ((rule,) if isinstance(rule, str) else rule)


def test_bad_rules_change_nothing(clock: Clock, tmp_path: Path) -> None:
    """Rules that are refused leave the former ones, and every other setting, as they were."""
    service = makeService(Settings(rule="exec deny held.*", run_dir=tmp_path), clock, [echo])
    before = service.settings
    write(tmp_path / "bad", b"any deny core.*\n\xff\n")
    for values, error in (
        ({"rule": "exec allow"}, SettingError),
        ({"rule": "tls=a allow *"}, SettingError),
        ({"rule_file": "nowhere"}, StartError),
        ({"rule_file": tmp_path}, StartError),
        ({"rule_file": tmp_path / "bad"}, StartError),
    ):
        with pytest.raises(error):
            service.change(async_limit=1, **values)
        assert service.settings is before
        assert service.jsonrpc_exec(json.dumps(request())).code == 403
        assert service.dispatcher.delayed.slots.limit == before.async_limit


class Everywhere(Transport):
    """A transport that other machines reach."""

    protocol = "udp"
    listener = Listener("udp", "0.0.0.0", 1)


def test_rule_that_a_listener_needs(clock: Clock) -> None:
    """The last rule that lets others in over a listener that they reach cannot be taken away while it is open."""
    service = makeService(Settings(rule="udp 192.0.2.0/24 allow *"), clock)
    Everywhere().setServiceParent(service)
    for rule in ((), "any deny core.*", "tcp 192.0.2.1 allow *"):
        with pytest.raises(SettingError, match=r"rule: .*over udp, since others reach udp 0\.0\.0\.0:1"):
            service.change(rule=rule)
    service.change(rule="udp 192.0.2.1 allow core.*")


def test_program_s_transport_is_told(clock: Clock) -> None:
    """A transport of a program is told that rules have changed."""
    service = makeService(Settings(), clock)
    told: list[bool] = []

    class Own(Transport):
        protocol = "own"

        def rules_changed(self) -> None:
            told.append(service.dispatcher.access.trivial)

    Own().setServiceParent(service)
    service.change(rule="any deny core.*")
    assert told == [False]


def test_rules_are_not_variables(clock: Clock) -> None:
    """Clients cannot change rules by cfg.*, nor the file that they come from."""
    service = makeService(Settings(), clock)
    assert not {"rule", "rule_file"} & set(service.variables["jsonrpcs"])


def test_rule_file_and_settings(clock: Clock, tmp_path: Path) -> None:
    """The rules of the file and those of the settings decide together."""
    write(tmp_path / "rules", "  # a comment\r\n\texec deny held.echo\r\n\r\n")
    settings = Settings(rule="exec deny other.*", rule_file="rules", run_dir=tmp_path)
    service = makeService(settings, clock, [echo])
    assert [rule.text for rule in service.dispatcher.access.rules] == ["exec deny other.*", "exec deny held.echo"]
    assert service.jsonrpc_exec(json.dumps(request())).code == 403
    write(tmp_path / "rules", "")
    assert service.reload_rules() == 1
    assert service.jsonrpc_exec(json.dumps(request())).code == 200


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"any deny a\nnonsense\n", r"line 2: 'nonsense'; allowed: any, .*; no such word: nonsense"),
        (b"\n\n\xff", "line 3: it is not UTF-8"),
        (b"any deny " + b"x" * MAX_SIZE, "it is too large"),
    ],
)
def test_bad_file(tmp_path: Path, data: bytes, says: str) -> None:
    """A file with a bad line is refused with its path and the line."""
    write(tmp_path / "rules", data)
    with pytest.raises(StartError, match=rf"rule_file: {tmp_path}/rules: {says}"):
        read_rule_file(str(tmp_path / "rules"))


def test_no_ordinary_file(tmp_path: Path) -> None:
    """What is not a regular file is refused, without waiting for anybody."""
    os.mkfifo(tmp_path / "rules")
    with pytest.raises(StartError, match="not a regular file"):
        read_rule_file(str(tmp_path / "rules"))
    with pytest.raises(StartError, match="No such file"):
        makeService(Settings(rule_file=tmp_path / "none"))
