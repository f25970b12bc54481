"""What commands are told of their callers over real transports, and that the functions around calls are around all."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, UNIX_AND_UDP, Server, datagram_client, http_connection, http_request

pytestmark = pytest.mark.slow

COMMANDS = '''
import os
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from jsonrpcs_tx import Call, Fault, command, current_call

FACTS = (
    "transport", "address", "port", "user", "tls_names", "uid", "gid", "pid", "id", "method", "params", "connected"
)

def facts(call):
    return {name: getattr(call, name) for name in FACTS} | {"process": os.getpid()}

@command("who.asks", stateless=True)
def asks(call: Call) -> dict:
    return facts(call)

@command("who.current", stateless=True)
def current() -> dict:
    return facts(current_call())

@command("who.stateful")
def stateful(call: Call) -> dict:
    return facts(call)

class Waiting:
    """Notes whether clients whose commands are in progress are still there."""

    def __init__(self, service):
        self.noted = []
        self.waiting = None

    @command("who.waits")
    async def waits(self, call: Call) -> None:
        self.noted.append(call.connected)
        self.waiting = Deferred()
        try:
            await self.waiting
        except CancelledError:
            self.noted.append(call.connected)
            raise

    @command("who.noted")
    def who_noted(self) -> list:
        return self.noted

class Around:
    """Is around every call, and adds the process to lists; closed for a method that it is told."""

    def __init__(self, service):
        self.service = service
        if os.environ.get("AROUND"):
            service.around(self.add_process)

    def add_process(self, call, proceed):
        if call.method == "jsonrpc.echo" and "closed" in call.params:
            raise Fault(503, "Closed")
        result = proceed()
        return [*result, os.getpid()] if isinstance(result, list) else result

    @command("around.on")
    def on(self) -> None:
        self.service.around(self.add_process)

    @command("around.off")
    def off(self) -> None:
        self.service.remove_around(self.add_process)
'''
OPTIONS = ("--commands=who", "--commands=who:Waiting", "--commands=who:Around")


@pytest.fixture(scope="module", params=["fast", "general", "rules"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("who")
    (directory / "who.py").write_text(COMMANDS)
    options = {"fast": (), "general": ("--fast-paths=no",), "rules": ("--rule=any allow *",)}[request.param]
    with Server(directory, *OPTIONS, *options) as running:
        yield running


def request(method: str, *params: Any, id: int = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).encode()


def ask(server: Server, transport: str, document: bytes) -> tuple[Any, Any]:
    """Send a document from a socket of ours, and return the reply, and the port that it was sent from."""
    address = server.addresses[transport]
    if transport in ("unix", "udp4", "udp6"):
        with datagram_client(address) as client:
            client.send(document)
            return json.loads(client.recv(1_000_000)), None if transport == "unix" else client.getsockname()[1]
    if transport == "tcp":
        with socket.create_connection(address, PATIENCE) as client:
            client.sendall(document)
            return json.loads(client.makefile("rb").read()), client.getsockname()[1]
    if transport in ("http", "https"):
        connection = http_connection(transport, address)
        try:
            connection.request("POST", "/RPC", document)
            port = connection.sock.getsockname()[1]
            return json.loads(connection.getresponse().read()), port
        finally:
            connection.close()
    return json.loads(server.call(transport, document)), None


EXPECTED: dict[str, dict[str, Any]] = {
    "unix": {"transport": "unix", "uid": os.geteuid(), "gid": os.getegid(), "pid": os.getpid()},
    "udp4": {"transport": "udp", "address": "127.0.0.1"},
    "udp6": {"transport": "udp", "address": "::1"},
    "tcp": {"transport": "tcp", "address": "127.0.0.1"},
    "http": {"transport": "http", "address": "127.0.0.1"},
    "https": {"transport": "https", "address": "127.0.0.1"},
    "fifo": {"transport": "fifo"},
}


@pytest.mark.parametrize("method", ["who.asks", "who.current"])
@pytest.mark.parametrize("transport", EXPECTED)
def test_facts(server: Server, transport: str, method: str) -> None:
    """A command knows its caller in all that the transport can tell, alone and in a batch, whatever came between."""
    reply, port = ask(server, transport, request(method, "x", id=7))
    nothing = dict.fromkeys(("address", "port", "user", "uid", "gid", "pid"))
    expected: dict[str, Any] = {**nothing, **EXPECTED[transport], "tls_names": [], "id": 7}
    expected |= {"method": method, "params": ["x"]}
    expected |= {"connected": True, "process": server.process.pid}
    assert reply["result"] == {**expected, "port": port}
    batch = b"[" + b",".join([request(method, "x", id=7)] * 2) + b"]"
    replies, port = ask(server, transport, batch)
    assert [reply["result"] for reply in replies] == [{**expected, "port": port}] * 2


def test_own_slot(server: Server) -> None:
    """Of datagrams that are read together, each belongs to its own sender."""
    address = server.addresses["udp4"]
    clients = []
    try:
        for _ in range(20):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.settimeout(PATIENCE)
            client.connect(address)
            clients.append(client)
        for number, client in enumerate(clients):
            client.send(request("who.asks", id=number))
        for number, client in enumerate(clients):
            reply = json.loads(client.recv(65_536))
            assert (reply["id"], reply["result"]["port"]) == (number, client.getsockname()[1])
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("transport", ["http", "https"])
def test_client_leaves(server: Server, transport: str) -> None:
    """A command in progress sees that its client has left."""
    before = ask(server, "http", request("who.noted"))[0]["result"]
    connection = http_connection(transport, server.addresses[transport])
    connection.request("POST", "/RPC", request("who.waits"))
    while ask(server, "http", request("who.noted"))[0]["result"] != [*before, True]:
        pass
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    while len(noted := ask(server, "http", request("who.noted"))[0]["result"]) < len(before) + 2:
        pass
    assert noted == [*before, True, False]


def test_unix_stream(tmp_path: Path) -> None:
    """Over HTTP on a Unix socket it knows the user, the group and the process."""
    (tmp_path / "who.py").write_text(COMMANDS)
    for options in ((), ("--fast-paths=no",)):
        with (
            Server(tmp_path, *OPTIONS, "--http-listen=unix:web.sock", *options),
            socket.socket(socket.AF_UNIX) as client,
        ):
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "web.sock"))
            client.sendall(http_request(request("who.asks"), "Connection: close"))
            reply = json.loads(client.makefile("rb").read().partition(b"\r\n\r\n")[2])["result"]
        assert (reply["transport"], reply["address"], reply["port"]) == ("http", None, None)
        assert (reply["uid"], reply["gid"], reply["pid"]) == (os.geteuid(), os.getegid(), os.getpid())


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Server]:
    (tmp_path / "who.py").write_text(COMMANDS)
    monkeypatch.setenv("AROUND", getattr(request, "param", ""))
    with Server(tmp_path, *OPTIONS, "--dgram-workers=2", sockets=UNIX_AND_UDP) as server:
        for _ in range(4):  # the Unix socket's and two UDP sockets'
            server.wait_for_log("worker 1 reads unix")
        yield server


def test_workers(workers: Server) -> None:
    """A worker tells of the caller what the main process tells, also where it passes the request on."""
    for transport in ("unix", "udp4"):
        while True:  # until a worker has taken one
            reply, port = ask(workers, transport, request("who.asks"))
            if reply["result"]["process"] != workers.process.pid:
                break
        for method, in_worker in (("who.asks", True), ("who.current", True), ("who.stateful", False)):
            found, port = ask(workers, transport, request(method))
            facts = found["result"]
            assert (facts.pop("process") != workers.process.pid) == in_worker
            known = {name: value for name, value in reply["result"].items() if name != "process"}
            assert facts == {**known, "method": method, "port": port}


@pytest.mark.parametrize("workers", ["yes"], indirect=True)
def test_around_in_workers(workers: Server) -> None:
    """What is around calls holds for every worker, runs in the main process, and can be taken off."""
    main = workers.process.pid
    for transport in ("unix", "udp4"):
        for _ in range(20):
            assert ask(workers, transport, request("jsonrpc.echo", "x", 1))[0]["result"] == ["x", 1, main]
        assert ask(workers, transport, request("jsonrpc.echo", "closed", 1))[0]["error"]["code"] == 503
    ask(workers, "http", request("around.off"))
    while ask(workers, "unix", request("who.asks"))[0]["result"]["process"] == main:
        pass
    assert ask(workers, "unix", request("jsonrpc.echo", "closed", 1))[0]["result"] == ["closed", 1]
    ask(workers, "http", request("around.on"))
    while "result" in ask(workers, "unix", request("jsonrpc.echo", "closed", 1))[0]:
        pass
