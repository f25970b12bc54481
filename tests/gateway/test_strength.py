"""Nodes that are killed, frozen, started again, or answer nonsense with calls in progress: real processes only."""

import json
import re
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support import PATIENCE, HttpReply, Server, http_connection
from tests.support.countingnode import LARGE, CountingNode
from tests.support.kamailio import Kamailio
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

CALLS = 100
"""Calls in progress."""

TIMEOUT = 8.0
"""Seconds that a call may take."""

GRACE = 8.0
"""Seconds by which a fault may come later, on a machine that others use."""


@attrs.frozen
class Ended:
    """How a call has ended.

    @ivar reply: None: the connection was closed before it.
    """

    id: str
    reply: HttpReply | None
    seconds: float

    @property
    def result(self) -> Any:
        return json.loads(self.reply.body).get("result") if self.reply is not None else None

    @property
    def fault(self) -> str:
        """The text of the fault; empty: it is not a fault."""
        if self.reply is None:
            return ""
        document = json.loads(self.reply.body)
        return str(document["error"]["message"]) if "error" in document else ""


def request(method: str, *params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).encode()


def ask(gateway: Server, path: str, document: bytes, id: str = "") -> Ended:
    """Make one call, over a connection of its own."""
    began = time.monotonic()
    reply = None
    connection = http_connection("http", gateway.addresses["http"])
    with suppress(HTTPException, OSError):
        connection.request("POST", path, document)
        response = connection.getresponse()
        reply = HttpReply(response.status, response.reason, {}, response.read())
    connection.close()
    return Ended(id, reply, time.monotonic() - began)


@contextmanager
def asking(
    gateway: Server, path: str, method: Callable[[int], str], *params: object
) -> Iterator[Callable[[], list[Ended]]]:
    """Make L{CALLS} calls at once, each from a thread of its own.

    @param method: of each, by its number.
    @param params: after the id.
    @return: waits for their ends.
    """
    with ThreadPoolExecutor(CALLS) as pool:

        def one(number: int) -> Ended:
            name = method(number)
            id = f"{name}-{number}"
            return ask(gateway, path, request(name, id, *params), id)

        calls = [pool.submit(one, number) for number in range(CALLS)]
        yield lambda: [call.result(2 * PATIENCE) for call in calls]


@pytest.fixture(params=["unix", "http"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CountingNode]:
    with tempfile.TemporaryDirectory(prefix="node") as directory:  # pytest's paths are too long for a socket
        place = f"{directory}/rpc.sock" if request.param == "unix" else "0"
        with CountingNode(tmp_path, request.param, place) as running:
            yield running


@contextmanager
def gateway_to(
    directory: Path, *nodes: str, timeout: float = TIMEOUT, options: tuple[str, ...] = ()
) -> Iterator[Server]:
    """A gateway that is in front of nodes, which are up."""
    home = directory / "gateway"
    home.mkdir()
    written = [f"--node={node} timeout={timeout}" for node in nodes]
    with Server(home, *written, "--node-interval=0.5", *options) as gateway:
        for node in nodes:
            gateway.wait_for_log(f"node {node.partition('=')[0]} is up")
        yield gateway


def reads(number: int) -> str:
    return "core.echo"


def changes(number: int) -> str:
    """Twenty changes each of five modules."""
    return f"module{number % 5}.change"


def check(node: CountingNode, ended: list[Ended], within: float = TIMEOUT) -> None:
    """Each call has a right answer or a clear fault in time, and none was run twice. What was answered was run,
    was not asked was not.
    """
    begun = node.noted("begin")
    assert [id for id, count in Counter(begun).items() if count > 1] == []
    assert node.overlaps() == []
    for one in ended:
        assert one.seconds < within + GRACE, one
        assert one.reply is not None
        if one.reply.status == 200:
            assert one.result == one.id
            assert one.id in begun
        else:
            assert one.reply.status in (502, 503, 504), one
            assert re.match(
                r"Node n (Is Down|Was Not Asked|Timed Out|Cannot Be Reached|Gave No Valid Reply): ", one.fault
            )
        if "Was Not Asked" in one.fault or "Is Down" in one.fault:
            assert one.id not in begun


@pytest.mark.parametrize("method", [reads, changes])
def test_killed(tmp_path: Path, node: CountingNode, method: Callable[[int], str]) -> None:
    """A node is killed with 100 calls in progress: each has an answer or a clear fault in time; none is run twice."""
    with gateway_to(tmp_path, f"n={node.target}", timeout=3) as gateway, asking(gateway, "/RPC/n", method, 0.3) as ends:
        node.wait("begin", 5)
        node.kill()
        ended = ends()
        check(node, ended, within=3)
        assert any(one.fault for one in ended)
        node.start()
        gateway.wait_for_log("node n is up", len(gateway.log))
        again = ask(gateway, "/RPC/n", request("module0.change", "again", 0), "again")
        check(node, [again])
        assert again.result == "again"


@pytest.mark.parametrize("method", [reads, changes])
def test_killed_and_started_again(tmp_path: Path, node: CountingNode, method: Callable[[int], str]) -> None:
    """Changes that a killed process was running hold up nobody in the next one."""
    options = ("--async-timeout=60",)
    with gateway_to(tmp_path, f"n={node.target}", timeout=50, options=options) as gateway:
        with asking(gateway, "/RPC/n?timeout=3", method, 0.3) as ends:
            node.wait("begin", 5)
            seen = len(gateway.log)
            node.kill()
            node.start()
            gateway.wait_for_log("node n (was restarted|is up)", seen)
            began = time.monotonic()
            again = ask(gateway, "/RPC/n?timeout=30", request("module0.change", "again", 0), "again")
            check(node, ends())
        assert again.result == "again", again
        assert time.monotonic() - began < 25


@pytest.mark.parametrize("method", [reads, changes])
def test_frozen(tmp_path: Path, node: CountingNode, method: Callable[[int], str]) -> None:
    """A node that is frozen is refused in time, and nothing that was refused is run when it goes on."""
    with gateway_to(tmp_path, f"n={node.target}", timeout=2) as gateway, asking(gateway, "/RPC/n", method, 0.3) as ends:
        node.wait("begin", 5)
        node.signal(signal.SIGSTOP)
        ended = ends()
        assert {one.reply.status for one in ended if one.reply is not None} & {503, 504}
        gateway.wait_for_log("node n is down")
        refused = ask(gateway, "/RPC/n", request("core.echo", "refused", 0), "refused")
        assert refused.fault.startswith("Node n Is Down: no reply within")
        seen = len(gateway.log)
        node.signal(signal.SIGCONT)
        gateway.wait_for_log("node n is up", seen)
        again = ask(gateway, "/RPC/n", request("core.echo", "again", 0), "again")
        assert again.result == "again"
        begun = node.noted("begin")
        assert [id for id, count in Counter(begun).items() if count > 1] == []
        for one in [*ended, refused]:
            if "Was Not Asked" in one.fault or "Is Down" in one.fault:
                assert one.id not in begun


@pytest.mark.parametrize(
    ("how", "status"), [("garbage", {502, 504}), ("cut", {502, 504}), ("other", {502, 504}), ("large", {200, 502, 504})]
)
def test_odd_replies(tmp_path: Path, node: CountingNode, how: str, status: set[int]) -> None:
    """Replies that are no replies are clear faults, large ones arrive where the way carries them; good ones beside them
    are right.
    """
    with gateway_to(tmp_path, f"n={node.target}", timeout=3) as gateway:
        with asking(gateway, "/RPC/n", reads, 0.1) as ends, ThreadPoolExecutor(5) as pool:
            documents = [request("core.echo", f"odd{number}", 0, how) for number in range(5)]
            odd = list(pool.map(partial(ask, gateway, "/RPC/n"), documents))
            ended = ends()
        assert [one.result for one in ended] == [one.id for one in ended]
        for one in odd:
            assert one.reply is not None
            assert one.reply.status in status, one
            if one.reply.status == 200:
                assert len(one.result) == LARGE
        if how == "large" and node.target.startswith("http"):
            assert {one.reply.status for one in odd if one.reply is not None} == {200}


def test_late_replies(tmp_path: Path, node: CountingNode) -> None:
    """Replies that come after the deadline are nobody's: later calls have their own."""
    with gateway_to(tmp_path, f"n={node.target}", timeout=1) as gateway:
        with asking(gateway, "/RPC/n", reads, 3) as ends:
            assert {one.reply.status for one in ends() if one.reply is not None} == {504}
        with asking(gateway, "/RPC/n?timeout=30", reads, 0.01) as ends:
            pass
    assert len(node.noted("begin")) <= 2 * CALLS


def test_change_is_not_overtaken_by_late_one(tmp_path: Path, node: CountingNode) -> None:
    """A client that waits less long than a change takes does not make two of them run at the same time."""
    with gateway_to(tmp_path, f"n={node.target}", timeout=20) as gateway:
        with asking(gateway, "/RPC/n?timeout=0.3", lambda _: "module.change", 1) as ends:
            ended = ends()
        last = ask(gateway, "/RPC/n", request("module.change", "last", 0), "last")
        check(node, [*ended, last])
        assert last.result == "last"
        assert len(node.noted("begin")) <= 3


def test_one_node_hangs(tmp_path: Path) -> None:
    """A node that hangs holds up no other, alone and among many."""
    with tempfile.TemporaryDirectory(prefix="node") as directory:
        homes = [tmp_path / name for name in ("a", "b")]
        for home in homes:
            home.mkdir()
        first, second = (CountingNode(home, "unix", f"{directory}/{home.name}") for home in homes)
        nodes = f"a={first.target}", f"b={second.target}"
        with first, second, gateway_to(tmp_path, *nodes) as gateway:
            first.signal(signal.SIGSTOP)
            for number in range(20):
                gone = ask(gateway, "/RPC/b", request("core.echo", number, 0))
                assert gone.result == number
                assert gone.seconds < GRACE / 2
            found = ask(gateway, "/RPC/*?timeout=2", request("core.echo", "both", 0))
            assert found.reply is not None
            assert found.reply.status == 207
            assert found.result["b"] == {"result": "both"}
            assert found.result["a"]["error"]["code"] in (503, 504)
            assert ask(gateway, "/RPC/*?first", request("core.echo", "x", 0)).result == {"b": {"result": "x"}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_gateway_is_stopped_under_load(tmp_path: Path, node: CountingNode, number: int) -> None:
    """When the gateway is stopped with calls in progress, it ends soon; no client gets a wrong reply, or half a one."""
    with gateway_to(tmp_path, f"n={node.target}") as gateway, asking(gateway, "/RPC/n", changes, 0.3) as ends:
        node.wait("begin", 5)
        began = time.monotonic()
        assert gateway.stop(number) in (0, -number)
        assert time.monotonic() - began < PATIENCE / 2
        for one in ends():
            if one.reply is not None and one.reply.status == 200:
                assert one.result == one.id
    assert [id for id, count in Counter(node.noted("begin")).items() if count > 1] == []
    assert node.overlaps() == []


def test_fifo_reader_stops(tmp_path: Path) -> None:
    """Kamailio's FIFO reader stops: each call has a clear fault in time, and it goes on when the reader does."""
    (tmp_path / "kamailio").mkdir()
    with (
        Kamailio(tmp_path / "kamailio") as kamailio,
        gateway_to(tmp_path, f"n=fifo:{kamailio.fifo}", timeout=2) as gateway,
    ):
        kamailio.signal(signal.SIGSTOP)
        try:
            with asking(gateway, "/RPC/n", reads) as ends:
                for one in ends():
                    assert one.seconds < 2 + GRACE
                    assert one.reply is not None
                    assert one.reply.status in (503, 504), one
            gateway.wait_for_log("node n is down")
            seen = len(gateway.log)
        finally:
            kamailio.signal(signal.SIGCONT)
        gateway.wait_for_log("node n is up", seen)
        assert ask(gateway, "/RPC/n", request("core.echo", "again")).result == ["again"]


RELOAD = b'{"jsonrpc":"2.0","method":"dispatcher.reload","id":%d}'


def test_one_reload_for_all(tmp_path: Path) -> None:
    """50 clients ask for 1,000 reloads at once while the first one takes long. Kamailio, whose log counts them, runs at
    most two more than that, and never two at a time; also if it is as fast as it can be.
    """
    (tmp_path / "kamailio").mkdir()
    destinations = tmp_path / "destinations"
    destinations.write_text("".join(f"1 sip:10.0.{n >> 8}.{n & 255}:5060\n" for n in range(3000)))
    count = 'if ($rb =~ "dispatcher.reload") {{ xlog("L_ERR", "reload {}\n"); }}'
    more = (
        *('loadmodule "xlog.so"', 'loadmodule "textops.so"', "tcp_children=4"),
        f'modparam("dispatcher", "list_file", "{destinations}")',
    )
    on_http = f"{count.format('begins')} jsonrpc_dispatch(); {count.format('ends')}"
    options = ("--async-timeout=100", "--node-interval=1000")
    with Kamailio(tmp_path / "kamailio", more=more, on_http=on_http) as kamailio:
        url = f"http://127.0.0.1:{kamailio.http[1]}/RPC"
        with (
            gateway_to(tmp_path, f"n={url}", timeout=90, options=options) as gateway,
            ThreadPoolExecutor(50) as pool,
        ):
            batch = b"[%b]" % b",".join(RELOAD % number for number in range(20))

            def client(_: int) -> Ended:
                return ask(gateway, "/RPC/n", batch)

            kamailio.signal(signal.SIGSTOP)
            try:
                asked = [pool.submit(client, number) for number in range(50)]
                wait_until(lambda: ask(gateway, "/RPC", request("gateway.nodes", "n")).result[0]["under_way"] >= 1000)
            finally:
                kamailio.signal(signal.SIGCONT)
            check_reloads([call.result() for call in asked])
            first = check_runs(kamailio)
            assert 1 <= first <= 3
            check_reloads(list(pool.map(client, range(50))))
            assert check_runs(kamailio) - first < 100


def check_reloads(ended: list[Ended]) -> None:
    """Every client has 20 results, in order."""
    for one in ended:
        assert one.reply is not None
        replies = json.loads(one.reply.body)
        assert [reply["id"] for reply in replies] == list(range(20))
        assert {reply.get("result") for reply in replies} == {"Ok. Dispatcher successfully reloaded."}, replies[0]


def check_runs(kamailio: Kamailio) -> int:
    """No two reloads were running at the same time.

    @return: how many there were.
    """

    def noted_in_full() -> list[str] | None:
        noted: list[str] = re.findall(r"reload (begins|ends)", kamailio.log)
        return noted if noted[-1] == "ends" else None  # which is noted after the answer

    noted = wait_until(noted_in_full)
    assert noted == ["begins", "ends"] * (len(noted) // 2)
    return len(noted) // 2


def test_slow_client_is_not_waited_for(tmp_path: Path, node: CountingNode) -> None:
    """A client that sends half a request and one that reads nothing hold up no call of others."""
    with (
        gateway_to(tmp_path, f"n={node.target}") as gateway,
        socket.create_connection(gateway.addresses["http"]) as half,
    ):
        half.sendall(b"POST /RPC/n HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        with socket.create_connection(gateway.addresses["http"]) as deaf:
            body = request("core.echo", "x", 0, "large" if node.target.startswith("http") else "")
            head = b"POST /RPC/n HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
            deaf.sendall((head + body) * 50)
            for number in range(50):
                assert ask(gateway, "/RPC/n", request("core.echo", number, 0)).result == number
