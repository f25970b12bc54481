"""Several processes read one datagram socket, and clients see one server."""

import contextlib
import itertools
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs

from jsonrpcs_tx import Dispatcher, Registry, command
from jsonrpcs_tx.commands.jsonrpc import JsonRpc
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.transports.datagram import make_transports
from jsonrpcs_tx.transports.parts import Parts
from tests.support import PATIENCE, Server, datagram_client
from tests.support.logs import warnings
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LOAD = 3000
OUTSTANDING = 40
COMMANDS = '''
import time
from jsonrpcs_tx import command

@command("slow.spin", stateless=True)
def spin(seconds: float) -> str:
    """Keeps its process busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"

@command("big.reply", stateless=True)
def big(size: int) -> str:
    """Returns that many bytes."""
    return "x" * size

class Changer:
    """Changes the table of commands while the server runs."""

    def __init__(self, service):
        self._service = service

    @command("change.remove")
    def remove(self, name: str):
        return self._service.registry.remove(name)

    @command("change.replace")
    def replace(self):
        @command("jsonrpc.echo", stateless=True)
        def echo(*values: str) -> str:
            return "another echo"

        self._service.registry.add(echo, replace=True)
'''


class Client:
    """A datagram client that sends many requests and takes the replies as they come."""

    def __init__(self, address: Any) -> None:
        self._stack = ExitStack()
        self.socket = self._stack.enter_context(datagram_client(address))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def send(self, id: int, method: str, *params: object) -> None:
        self.socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).encode())

    def receive(self, patience: float = PATIENCE) -> dict[str, Any] | None:
        """The next reply; None if none comes."""
        if not select.select([self.socket], [], [], patience)[0]:
            return None
        return dict(json.loads(self.socket.recv(10_000_000)))

    def refused(self) -> bool:
        """Whether nobody holds the other end any more."""
        try:
            for _ in range(2):  # over UDP the first one brings the news
                self.send(0, "jsonrpc.echo")
                self.receive(1)
        except OSError:
            return True
        return False

    def call(self, method: str, *params: object) -> Any:
        self.send(0, method, *params)
        reply = self.receive()
        assert reply is not None, f"{method} is not answered"
        return reply.get("result", reply.get("error"))

    def load(self, count: int, halfway: Callable[[], None]) -> dict[int, dict[str, Any]]:
        """Send requests, every third one for the main process, with some on the way at any time.

        @param halfway: called when half of them are answered.
        @return: the replies by id. It ends when no more come, and may end early by C{ConnectionError}.
        """
        replies: dict[int, dict[str, Any]] = {}
        sent = 0
        while len(replies) < count:
            while sent < count and sent - len(replies) < OUTSTANDING:
                if sent % 3:
                    self.send(sent, "jsonrpc.echo", "x", sent)
                else:
                    self.send(sent, "htable.seti", "a", f"k{sent}", sent)
                sent += 1
            reply = self.receive(2 if len(replies) > count // 2 else PATIENCE)
            if reply is None:
                if sent == count:
                    break
                # What is on the way is lost; let others go.
                replies.update({id: {} for id in range(sent) if id not in replies})
                continue
            assert reply["id"] not in replies or not replies[reply["id"]], "answered twice"
            replies[reply["id"]] = reply
            if len(replies) == count // 2:
                halfway()
        return {id: reply for id, reply in replies.items() if reply}


def workers_of(client: Client) -> list[int]:
    """The process ids of the workers, as core.psx gives them."""
    return [process["PID"] for process in client.call("core.psx") if process["DSC"] == "JSONRPCS DATAGRAM"]


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(params=["unix", "udp"])
def address_option(request: pytest.FixtureRequest) -> str:
    return "rpc.sock" if request.param == "unix" else "udp:127.0.0.1:0"


@pytest.fixture
def start(tmp_path: Path, address_option: str) -> Iterator[Callable[[int], tuple[Server, Any]]]:
    """Starts a server with a number of workers on one socket; gives it, and the socket's address."""
    servers: list[Server] = []
    (tmp_path / "slow.py").write_text(COMMANDS)

    def start_with(count: int) -> tuple[Server, Any]:
        command = ("-n", "jsonrpcs", "--transport=4", f"--dgram-socket={address_option}", f"--dgram-workers={count}")
        server = Server(
            tmp_path, command=(*command, "--htable=a=>size=8", "--commands=slow", "--commands=slow:Changer")
        )
        servers.append(server)
        address = next(iter(server.addresses.values()))
        for number in range(count if count > 1 else 0):
            server.wait_for_log(f"worker {number} reads")
        return server, address

    yield start_with
    for server in servers:
        server.stop()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_load(start: Callable[[int], tuple[Server, Any]], count: int) -> None:
    """Each of many requests is answered once, and what is changed over one worker is seen over all, counters too."""
    _, address = start(count)
    with Client(address) as client:
        before = client.call("stats.fetchn", "core:")["core.rcv_requests"]
        replies = client.load(LOAD, lambda: None)
        assert sorted(replies) == list(range(LOAD))
        assert all("error" not in reply for reply in replies.values())
        assert [client.call("htable.get", "a", f"k{n}")["item"]["value"] for n in (0, 3, LOAD - 3)] == [0, 3, LOAD - 3]
        after = client.call("stats.fetchn", "core:")["core.rcv_requests"]
        assert after - before == LOAD + 3 + 1
        assert len(workers_of(client)) == (count if count > 1 else 0)


@pytest.mark.parametrize("count", [2, 4])
def test_worker_killed(start: Callable[[int], tuple[Server, Any]], count: int) -> None:
    """A worker that is killed costs no more than the request that it has in hand, and another takes its place."""
    server, address = start(count)
    with Client(address) as client:
        with Client(address) as other:
            before = workers_of(other)
        replies = client.load(LOAD, lambda: os.kill(before[0], signal.SIGKILL))
        assert len(replies) >= LOAD - 1
        assert all("error" not in reply for reply in replies.values())
        server.wait_for_log("worker 0 ended: .*signal 9")
        wait_until(lambda: len(workers_of(client)) == count)
        assert before[0] not in workers_of(client)
        assert len([line for line in server.log if "worker 0 ended" in line]) == 1


def test_main_process_killed(start: Callable[[int], tuple[Server, Any]]) -> None:
    """When the main process is killed, the workers end, and no request is answered twice or wrongly."""
    server, address = start(2)
    with Client(address) as client:
        workers = workers_of(client)
        with contextlib.suppress(OSError):  # the socket is closed for good
            assert len(client.load(LOAD, server.process.kill)) >= LOAD // 2
        wait_until(lambda: not any(map(exists, workers)))
        assert client.refused()


def test_stop(start: Callable[[int], tuple[Server, Any]]) -> None:
    """At the stop the workers end with the main process, and a Unix socket is removed."""
    server, address = start(2)
    with Client(address) as client:
        workers = workers_of(client)
    server.stop()
    assert not any(map(exists, workers))
    assert not isinstance(address, str) or not os.path.exists(address)
    assert not [line for line in server.log if "#warn" in line or "#error" in line or "Traceback" in line]


def test_slow_command(start: Callable[[int], tuple[Server, Any]]) -> None:
    """A slow command in one worker delays no request in another, nor one for the main process."""
    _, address = start(2)
    with Client(address) as busy, Client(address) as client:
        busy.send(1, "slow.spin", 1.5)
        began = time.monotonic()
        for number in range(200):
            client.call("jsonrpc.echo", "x", number)
            client.call("core.uptime")
        assert busy.receive(0) is None, "the slow command was done before the others"
        assert time.monotonic() - began < 1.5
        reply = busy.receive()
        assert reply is not None
        assert reply["result"] == "done"


def test_large_reply(start: Callable[[int], tuple[Server, Any]]) -> None:
    """A reply of a worker that is too large for a datagram becomes an error with the id, which names HTTP."""
    _, address = start(2)
    with Client(address) as client:
        error = client.call("big.reply", 6_000_000)
        assert error["code"] == 500
        assert "HTTP" in error["message"]


def test_broken_request(start: Callable[[int], tuple[Server, Any]]) -> None:
    """A document that is not JSON, a batch and a method that is not there get the same answers as with one process."""
    _, address = start(2)
    with Client(address) as client:
        client.socket.send(b"{")
        assert client.receive() == {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse Error"}, "id": None}
        assert client.call("no.such") == {"code": 500, "message": "Method Not Found"}
        assert client.call("core.printi", "x") == {"code": 500, "message": "Invalid Parameters"}
        batch = [{"jsonrpc": "2.0", "method": method, "id": 1} for method in ("jsonrpc.echo", "core.pwd")]
        client.socket.send(json.dumps(batch).encode())
        assert select.select([client.socket], [], [], PATIENCE)[0]
        assert [sorted(reply) for reply in json.loads(client.socket.recv(65_536))] == [["id", "jsonrpc", "result"]] * 2


def test_killed_with_replies_waiting(start: Callable[[int], tuple[Server, Any]]) -> None:
    """Replies that wait for a client whose queue is full are not lost with the workers that made them."""
    count = 200
    server, address = start(2)
    with Client(address) as client, Client(address) as other:
        for id in range(count):
            client.send(id, "jsonrpc.echo", "x", id)
        calls = itertools.count(1)
        wait_until(lambda: other.call("stats.fetchn", "core:")["core.rcv_requests"] >= count + next(calls))
        workers = workers_of(other)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        server.wait_for_log("worker 0 ended: .*; the request that it had, if any, gets no reply;")
        replies = [client.receive(2) for _ in range(count)]
        ids = {reply["id"] for reply in replies if reply is not None}
        assert len(ids) >= count - len(workers)


def test_registry_changes(start: Callable[[int], tuple[Server, Any]]) -> None:
    """A command that is removed or replaced in the main process is not run by a worker any more, now or later."""
    server, address = start(2)
    with Client(address) as client:
        assert client.call("core.printi", 1) == [1]
        assert client.call("change.remove", "core.printi") == ["core.printi"]
        client.call("change.replace")
        wait_until(lambda: client.call("core.printi", 1) == {"code": 500, "message": "Method Not Found"})
        wait_until(lambda: client.call("jsonrpc.echo", "x") == "another echo")
        os.kill(workers_of(client)[0], signal.SIGKILL)
        server.wait_for_log("worker 0 ended")
        server.wait_for_log("worker 0 reads", after=len(server.log))
        for _ in range(20):
            assert client.call("core.printi", 1) == {"code": 500, "message": "Method Not Found"}
            assert client.call("jsonrpc.echo", "x") == "another echo"


@pytest.mark.parametrize(("workers", "takes_time", "warned"), [(2, False, True), (2, True, False), (1, False, False)])
def test_no_use(workers: int, takes_time: bool, warned: bool) -> None:
    """Who has workers started without a command for them is told that one process is faster."""

    @command("own.work", stateless=takes_time)
    def work() -> None:
        """Takes time."""

    registry = Registry(JsonRpc(dict), work)
    clock: Any = MemoryReactorClock()
    none: Any = None
    settings = Settings(dgram_socket=["rpc.sock", "udp:127.0.0.1:9"], dgram_workers=workers)
    parts = Parts(settings, Dispatcher(registry, clock), none, none, clock)
    with capturedLogs() as events:
        assert len([*make_transports(parts)]) == 2
    found = [line for line in warnings(events) if "one process is faster" in line]
    assert len(found) == warned
