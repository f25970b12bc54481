"""The built-in commands core.*, corex.*, system.* and jsonrpc.*: facts of this process, in Kamailio's shapes."""

import json
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from jsonrpcs_tx import JsonRpcService, Settings, __version__, log, makeService
from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.commands.core import KILL_DELAY
from jsonrpcs_tx.rpc.dispatcher import Origin
from jsonrpcs_tx.rpc.faults import Fault
from tests.support import DATA, PATIENCE, TRANSPORTS, Server, unverified
from tests.support.clients import our_target
from tests.support.logs import observed

INVALID = (500, "Invalid Parameters")


class InProcess:
    """A service that listens nowhere, in this process, and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.service: JsonRpcService = makeService(Settings(transport=1, http_listen=(), load="all"), self.clock)

    def call(self, method: str, *params: object) -> Any:
        """The result, or the code and text of the fault."""
        document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        reply = json.loads(self.service.jsonrpc_exec(json.dumps(document)).body)
        return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])


@pytest.fixture
def process() -> Iterator[InProcess]:
    level = log.debug()
    yield InProcess()
    log.set_debug(level)


def call(server: Server, method: str, *params: object) -> Any:
    """The result of a command of a server in a process of its own."""
    with Client(our_target(server, "tcp")) as client:
        return client.call(method, *params)


def recorded() -> Iterator[Any]:
    """The recorded replies of Kamailio that bind us to their shape."""
    for family in ("core", "corex", "system"):
        for step in json.loads((DATA / "kamailio-6.1" / f"{family}.json").read_text()):
            if step["kind"] == "volatile":
                request = json.loads(step["request"])
                reply = json.loads(step["http"]["body"])["result"]
                yield pytest.param(request["method"], request.get("params", []), reply, id=request["method"])


def shape(value: Any) -> Any:
    """The keys and JSON types of a value; of an array those of its members, each once."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        shapes = [shape(member) for member in value]
        return [one for number, one in enumerate(shapes) if one not in shapes[:number]]
    return type(value)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "params", "reply"), list(recorded()))
def test_shape(server: Server, method: str, params: list[Any], reply: Any) -> None:
    """A result has the keys, in their order, and the JSON types that Kamailio's has."""
    with socket.create_connection(server.addresses["http"]):
        result = call(server, method, *params)
    assert shape(result) == shape(reply)
    if isinstance(reply, dict):
        assert list(result) == list(reply)


def test_version(process: InProcess) -> None:
    """The version is that of the package, and the platform that of this machine."""
    version = process.call("core.version")
    assert version == f"jsonrpcs_tx {__version__} ({platform.machine()}/{sys.platform})"
    info, run = process.call("core.info"), process.call("core.runinfo")
    assert info["version"] == f"{run['name']} {run['version']}" == f"jsonrpcs_tx {__version__}"
    assert platform.python_version() in info["compiler"]
    assert info["flags"] == process.call("core.flags")


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [(0, "0d 0h 0m 0s"), (59, "0d 0h 0m 59s"), (93784, "1d 2h 3m 4s"), (86399, "0d 23h 59m 59s")],
)
def test_uptime(process: InProcess, monkeypatch: pytest.MonkeyPatch, seconds: int, spelled: str) -> None:
    """The uptime is counted from the start of the server."""
    started = process.service.started = 1_700_000_000.25
    monkeypatch.setattr(time, "time", lambda: started + seconds + 0.5)
    now, since = (time.asctime(time.localtime(int(started) + passed)) for passed in (seconds, 0))
    monkeypatch.setattr(time, "ctime", lambda at=None: time.asctime(time.localtime(time.time() if at is None else at)))
    assert process.call("core.uptime") == {"now": now, "up_since": since, "uptime": seconds}
    run = process.call("core.runinfo")
    assert (run["time_now"], run["time_started"]) == (now, since)
    assert (run["uptime_secs"], run["utime_days"]) == (seconds, spelled)


def test_uptime_when_the_clock_is_set_back(process: InProcess) -> None:
    """The uptime is never negative."""
    process.service.started = time.time() + 3600
    assert process.call("core.uptime")["uptime"] == 0


@pytest.mark.slow
def test_processes(process: InProcess, server: Server) -> None:
    """The first process is the one that answers, by its process id."""
    first = process.call("core.psx")[0]
    assert (first["IDX"], first["PID"]) == (0, os.getpid())
    assert process.call("core.ps")[:2] == [os.getpid(), first["DSC"]]
    assert call(server, "core.psx")[0]["PID"] == server.process.pid


def test_working_directory(process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is that of the process at that time."""
    monkeypatch.chdir(tmp_path)
    assert process.call("core.pwd") == [str(tmp_path)]


@pytest.mark.slow
def test_arguments(process: InProcess, server: Server) -> None:
    """The arguments are those that the process was started with."""
    assert process.call("core.arg") == sys.argv
    assert call(server, "core.arg")[1:] == server.arguments


def test_modules(process: InProcess) -> None:
    """The modules are the families of the commands, the last one loaded first."""
    modules = process.call("core.modules")
    assert modules == process.service.families[::-1]
    assert {*modules, "rpc"} >= {name.partition(".")[0] for name in process.service.registry}  # rpc is of system


@pytest.mark.slow
def test_sockets(server: Server) -> None:
    """The sockets are the addresses that the server listens on, with TLS for HTTPS."""
    protocols = {"udp4": "udp", "udp6": "udp", "tcp": "tcp", "http": "tcp", "https": "tls"}
    addresses = {(protocols[name], *server.addresses[name]) for name in TRANSPORTS if name in protocols}
    listed = [entry["socket"] for entry in call(server, "core.sockets_list")]
    assert {(one["proto"], one["address"], int(one["port"])) for one in listed} == addresses
    listed = call(server, "corex.list_sockets")
    assert {(one["proto"], one["addrlist"]["addr"], int(one["port"])) for one in listed} == addresses
    assert all((one["af"] == "IPv6") == (":" in one["name"]) for one in listed)
    assert call(server, "corex.list_aliases") == []


def test_nothing_listened_on(process: InProcess) -> None:
    """A server that listens nowhere has no sockets and no connections."""
    for method in ("core.sockets_list", "core.tcp_list", "corex.list_sockets"):
        assert process.call(method) == []
    assert process.call("core.tcp_info")["opened_connections"] == 0


def test_most_connections(process: InProcess) -> None:
    """How many connections there may be is what is set, now as well, unless the process has too few descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit, descriptors, most in ((400, 1000, 400), (900, 1000, 900), (900, 500, 500)):
        process.service.change(max_connections=limit)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, before[1]))
        try:
            told = process.call("core.tcp_info")
            assert (told["max_connections"], told["max_tls_connections"]) == (most, most)
            assert process.call("core.tcp_options")["max_connections(soft)"] == most
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "tcp"])
def test_connections(server: Server, transport: str) -> None:
    """An open connection is listed with both its ends, and counted."""
    with socket.create_connection(server.addresses[transport]) as client:
        listed = call(server, "core.tcp_list")
        ends = [((one["src_ip"], one["src_port"]), (one["dst_ip"], one["dst_port"])) for one in listed]
        assert (client.getsockname(), client.getpeername()) in ends
        assert len({one["id"] for one in listed}) == len(listed) >= 2
        assert call(server, "core.tcp_info")["opened_connections"] >= 2


@pytest.mark.parametrize(("unit", "shift"), [("b", 0), ("K", 10), ("m", 20), ("g", 30)])
def test_memory(process: InProcess, unit: str, shift: int) -> None:
    """The memory is that of the machine, in the unit that is asked for."""
    memory = process.call("core.shmmem", unit)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory["total"] == total >> shift
    assert memory["used"] <= memory["real_used"] <= memory["max_used"]
    assert process.call("core.shmmem", "x") == (500, "bad param, (use b|k|m|g)")


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        ("jsonrpc.echo", ["x", 1], ["x", 1]),
        ("jsonrpc.echo", [], []),
        ("jsonrpc.echo", ["x"], ["x"]),
        ("jsonrpc.echo", [5, True, None], ["5", 1]),
        ("jsonrpc.echo", ["x", "y"], INVALID),
        ("jsonrpc.echo", ["x", 2.7], INVALID),
        ("jsonrpc.echo", ["x", None], INVALID),
        ("jsonrpc.echo", [["x"]], INVALID),
        ("jsonrpc.echo", ["x", 2**70], ["x", 2**70]),
        ("core.echo", [], []),
        ("core.echo", ["a", 2, 2.5, ""], ["a", "2", "2.5", ""]),
        ("core.echo", [None], INVALID),
        ("core.prints", ["%s", "é"], ["%s", "é"]),
        ("core.prints", [1], INVALID),
        ("core.printi", [5, -7, True, 2.0, 2**70], [5, -7, 1, 2, 2**70]),
        ("core.printi", ["5"], INVALID),
        ("core.printi", [1.5], INVALID),
    ],
)
def test_echo(process: InProcess, method: str, params: list[Any], result: Any) -> None:
    """The echoes return what fits their types, exactly, and refuse the rest."""
    assert process.call(method, *params) == result


def sleep(process: InProcess, *params: object) -> tuple[Deferred[Any], list[Any]]:
    document = {"jsonrpc": "2.0", "method": "core.sleep", "params": params, "id": 1}
    reply = process.service.dispatcher.dispatch(json.dumps(document).encode(), Origin("http", asynchronous=True))
    assert isinstance(reply, Deferred)
    replies: list[Any] = []
    reply.addCallback(lambda reply: replies.append(json.loads(reply.body)))
    return reply, replies


@pytest.mark.parametrize("seconds", [0.5, 3, 0])
def test_sleep(process: InProcess, seconds: float) -> None:
    """core.sleep answers when its time is over, not before."""
    replies = sleep(process, seconds)[1]
    if seconds:
        process.clock.advance(seconds - 0.25)
        assert replies == []
    process.clock.advance(0.25)
    assert [answer["result"] for answer in replies] == [{"slept": seconds}]
    assert process.clock.getDelayedCalls() == []


def test_cancelled_sleep(process: InProcess) -> None:
    """core.sleep that is cancelled leaves no timer behind."""
    reply, replies = sleep(process, 5)
    reply.cancel()
    assert [answer["error"]["code"] for answer in replies] == [500]
    assert process.clock.getDelayedCalls() == []


@pytest.mark.parametrize("params", [[-1], [86401], ["1"], [None], [], [1e308]])
def test_sleep_refused(process: InProcess, params: list[Any]) -> None:
    """core.sleep takes 0 to 86400 seconds."""
    reply = process.service.dispatcher.dispatch(
        json.dumps({"jsonrpc": "2.0", "method": "core.sleep", "params": params, "id": 1}).encode(),
        Origin("http", asynchronous=True),
    )
    assert not isinstance(reply, Deferred)
    assert (reply.code, reply.text.partition(":")[0]) == INVALID


def test_sleep_needs_http(process: InProcess) -> None:
    """core.sleep is refused where the reply cannot wait, with a text that says why."""
    assert process.call("core.sleep", 0) == (500, "core.sleep is asynchronous: it needs HTTP or HTTPS")


def test_kill(process: InProcess) -> None:
    """core.kill answers first, and then sends the signal to this process."""
    came = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.set())
    try:
        assert process.call("core.kill", int(signal.SIGUSR1)) == {}
        process.clock.advance(KILL_DELAY / 2)
        assert not came.is_set()
        process.clock.advance(KILL_DELAY)
        assert came.wait(PATIENCE)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_kill_with_nothing(process: InProcess) -> None:
    """core.kill with signal 0, which only asks whether there is such a process, is allowed and harmless."""
    assert process.call("core.kill", 0) == {}
    process.clock.advance(KILL_DELAY)


@pytest.mark.parametrize("number", [-1, 65, 2**70, "TERM", None, 1.5])
def test_kill_refused(process: InProcess, number: object) -> None:
    """core.kill with an invalid signal is refused, and nothing is sent."""
    code, text = process.call("core.kill", number)
    assert (code, text.partition(":")[0]) == INVALID
    assert process.clock.getDelayedCalls() == []


@pytest.mark.slow
@pytest.mark.parametrize("params", [[], [int(signal.SIGTERM)]])
def test_kill_ends_the_server(tmp_path: Path, params: list[int]) -> None:
    """core.kill without a signal sends SIGTERM: the server answers, and then ends in good order."""
    with Server(tmp_path) as server:
        assert call(server, "core.kill", *params) == {}
        assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM)
        assert not (tmp_path / "rpc.sock").exists()


LEVELS = {"debug": 3, "info": 2, "warn": 0, "error": -1, "critical": -5}


@pytest.mark.parametrize("level", range(log.LEAST_DEBUG, log.MOST_DEBUG + 1))
def test_debug(process: InProcess, level: int) -> None:
    """corex.debug sets the level of the log, and says what it was; what is below the level is not logged."""
    old = log.debug()
    assert process.call("corex.debug") == {"debug": old}
    assert process.call("corex.debug", level) == {"old": old, "new": level}
    assert process.call("corex.debug") == {"debug": level}
    events: list[LogEvent] = []
    with observed(events.append):
        logger = log.make_logger("test")
        for name in LEVELS:
            getattr(logger, name)(name)
    assert [event["log_format"] for event in events] == [name for name, least in LEVELS.items() if level >= least]


@pytest.mark.parametrize("level", [log.LEAST_DEBUG - 1, log.MOST_DEBUG + 1, "x", "3", None, 2.5, 2**70])
def test_debug_refused(process: InProcess, level: object) -> None:
    """corex.debug with an invalid level is refused, and the level stays."""
    old = log.debug()
    code, text = process.call("corex.debug", level)
    assert (code, text.partition(":")[0]) == INVALID
    assert log.debug() == old


def test_list_methods(process: InProcess) -> None:
    """system.listMethods lists all commands, sorted, including those added later."""
    names = process.call("system.listMethods")
    assert names == sorted(process.service.registry)
    assert {"core.psx", "core.uptime", "corex.debug", "jsonrpc.echo", "system.methodHelp"} <= set(names)


NAMES = sorted(InProcess().service.registry)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_help_and_signature(process: InProcess, name: str) -> None:
    """Each command has a help text of one line that is a sentence, and a signature in XML-RPC's words."""
    text = process.call("system.methodHelp", name)
    assert text.endswith(".")
    assert text[0].isupper()
    assert "\n" not in text
    words = {"string", "int", "double", "boolean", "nil", "array", "struct", "any", "or"}
    signatures = process.call("system.methodSignature", name)
    assert signatures
    assert {word for signature in signatures for entry in signature for word in entry.split()} <= words
    assert [len(signature) for signature in signatures] == list(range(len(signatures[0]), len(signatures[-1]) + 1))


@pytest.mark.parametrize(
    ("name", "signatures"),
    [
        ("core.uptime", [["struct"]]),
        ("core.psx", [["array"]]),
        ("core.kill", [["struct"], ["struct", "int"]]),
        ("core.sleep", [["struct", "double"]]),
        ("jsonrpc.echo", [["array"], ["array", "string"], ["array", "string", "int"]]),
        ("system.methodHelp", [["string", "string"]]),
    ],
)
def test_signature(process: InProcess, name: str, signatures: list[list[str]]) -> None:
    """A signature is the type of the result and those of the parameters, for each number of these."""
    assert process.call("system.methodSignature", name) == signatures


@pytest.mark.parametrize("method", ["system.methodHelp", "system.methodSignature"])
@pytest.mark.parametrize(
    ("params", "fault"),
    [
        (["nope"], (400, "command not found")),
        (["Core.psx"], (400, "command not found")),
        ([""], (400, "command not found")),
        ([], (400, "Method Name Expected")),
        ([5], (400, "Method Name Expected")),
        ([None], (400, "Method Name Expected")),
    ],
)
def test_no_such_method(process: InProcess, method: str, params: list[Any], fault: tuple[int, str]) -> None:
    """A command that is not there, or no name of one, is answered as Kamailio does."""
    assert process.call(method, *params) == fault


def test_more_about_the_server(process: InProcess) -> None:
    """What scripts ask Kamailio for, in its shapes."""
    (one,) = process.call("core.psa")
    assert one == {"index": 0, "pid": os.getpid(), "status": 1, "rank": 0, "description": "main process - attendant"}
    defines = process.call("core.ppdefines")
    assert defines[:3] == ["KAMAILIO_6", "KAMAILIO_6_1", "JSONRPCS_TX"]
    assert {"MOD_core", "MOD_htable"} <= set(defines)
    full = process.call("core.ppdefines_full")
    assert full == [{"name": name, "type": 0, "value": "none"} for name in defines]
    assert process.call("core.aliases_list") == {"myself_callbacks": "no", "aliases": []}
    assert process.call("core.udp4_raw_info") == {"udp4_raw": 0, "udp4_raw_mtu": 1500, "udp4_raw_ttl": -1}


@pytest.mark.parametrize("method", ["core.sfmalloc", "htable.dmqsync", "htable.dmqresync"])
def test_refused_with_words(process: InProcess, method: str) -> None:
    """What makes no sense here is refused with the reason."""
    assert process.call(method)[0] == 500
    assert process.call(method)[1].startswith("Not Available: ")


def test_exec_delta() -> None:
    """With rpc_exec_delta, commands that ask for it run once in so many seconds, each by itself."""
    clock = Clock()
    service = makeService(Settings(load="all", rpc_exec_delta=5), clock)

    def call(method: str) -> Any:
        reply = json.loads(service.jsonrpc_exec(f'{{"jsonrpc":"2.0","method":"{method}","params":["x"],"id":1}}').body)
        return reply.get("result") or reply["error"]["message"]

    clock.advance(1)
    assert call("core.echo_delta") == ["x"]
    assert call("tls.reload") == "No TLS configuration: HTTPS is off"
    assert call("core.echo_delta") == call("tls.reload") == "Command Executed Too Fast"
    assert call("core.echo") == ["x"]
    clock.advance(5)
    assert call("core.echo_delta") == ["x"]


@pytest.mark.slow
def test_tls_connections(server: Server) -> None:
    """The connections of HTTPS are listed with their ciphers, and closed by their id."""
    target = our_target(server, "https")
    with Client(target) as client:
        assert client.call("tls.info")["opened_connections"] >= 1
        listed = client.call("tls.list")
        assert list(listed[0]) == [
            *("id", "timeout", "src_ip", "src_port", "dst_ip", "dst_port"),
            *("cipher", "ct_wq_size", "enc_rd_buf", "flags", "state"),
        ]
        assert (listed[-1]["dst_port"], listed[-1]["state"]) == (server.addresses["https"][1], "established")
        assert 0 < listed[-1]["timeout"] <= Settings().http_timeout
        before = {one["id"] for one in listed}
        with socket.create_connection(server.addresses["https"]) as plain:
            deadline = time.monotonic() + PATIENCE
            while {one["id"] for one in client.call("tls.list")} == before:  # it is not accepted yet
                assert time.monotonic() < deadline
            (new,) = (one for one in client.call("tls.list") if one["id"] not in before)
            assert (new["cipher"], new["flags"], new["state"]) == ("unknown", 0, "pre-init")
            with unverified().wrap_socket(plain) as other:
                (new,) = (one for one in client.call("tls.list") if one["id"] not in before)
                assert new["cipher"].split()[0] == other.cipher()[0]  # type: ignore[index] # there is one
                assert (new["flags"], new["state"]) == (2, "established")
                assert client.call("tls.kill", new["id"]) == "Ok. Connection closed."
                assert other.recv(1) == b""
        while new["id"] in {one["id"] for one in client.call("tls.list")}:  # its client's goodbye is not seen yet
            assert time.monotonic() < deadline
        with pytest.raises(Fault, match="404 Connection Not Found"):
            client.call("tls.kill", new["id"])
        options = client.call("tls.options")
        assert (options["method"], options["verify_client"], len(options)) == ("TLSv1.2+", "off", 27)
        (domain,) = client.call("tls.domains")
        assert (domain["port"], domain["certificate"]) == (server.addresses["https"][1], "tls.pem")
