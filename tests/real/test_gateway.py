"""The real Kamailio behind a gateway: what clients get is what it says, and what they see when it goes away."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from jsonrpcs_tx import Settings, makeService
from tests.support import PATIENCE, REPOSITORY, Server, http_call, http_request
from tests.support.cli import jsonrpcs
from tests.support.kamailio import Kamailio
from tests.support.pages import Shell, blocks
from tests.support.programs import need

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "gateway.md"
AUDITED = ("outcome", "code", "user", "method", "params", "text", "node", "node_outcome")
NODES = ("unix", "fifo", "http")


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


def nodes(kamailio: Kamailio) -> list[str]:
    return [
        f"--node=unix=unix:{kamailio.unix} group=all",
        f"--node=fifo=fifo:{kamailio.fifo} group=all",
        f"--node=http=http://127.0.0.1:{kamailio.http[1]}/RPC group=all",
    ]


@pytest.fixture(scope="module")
def gateway(kamailio: Kamailio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("gateway"), *nodes(kamailio)) as running:
        yield running


def ask(gateway: Server, path: str, document: bytes) -> Any:
    return gateway.http(document, path=path)


DOCUMENTS = (
    b'{"jsonrpc":"2.0","method":"core.echo","params":["a",1,"\xc3\xa9\\u00e9\\"\\\\"],"id":1}',
    b'{"jsonrpc":"2.0","method":"core.echo","params":{"x":"a","x":"b"},"id":"s"}',
    b'{"jsonrpc":"2.0","method":"core.version","id":1}',
    b'{"jsonrpc":"2.0","method":"dispatcher.list","id":1}',
    b'{"jsonrpc":"2.0","method":"htable.get","params":["a","nothing"],"id":1}',
    b'{"jsonrpc":"2.0","method":"htable.get","params":["a"],"id":1}',
    b'{"jsonrpc":"2.0","method":"no.such.method","params":[],"id":1}',
    b'{"jsonrpc":"2.0","method":"stats.get_statistics","params":["shmem:total_size"],"id":1}',
    b'{"jsonrpc":"2.0","method":"pv.shvGet","id":1}',
    b'{\n  "jsonrpc": "2.0",\n  "method": "core.echo",\n  "params": ["a",\n"k1",\n10],\n  "id": 812\n}\n',  # kamcli's
)


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_same_bytes(kamailio: Kamailio, gateway: Server, node: str, document: bytes) -> None:
    """Through the gateway, over whatever way, a reply has the same bytes as from Kamailio itself; over HTTP the status
    and the reason are the same as well.
    """
    direct = http_call("http", kamailio.http, document)
    reply = ask(gateway, f"/RPC/{node}", document)
    assert reply.body == direct.body
    assert reply.status == direct.status


@pytest.mark.parametrize("node", NODES)
def test_large(gateway: Server, kamailio: Kamailio, node: str) -> None:
    """What fits arrives, and what does not is a clear fault in time."""
    text = "x" * 5000
    document = json.dumps({"jsonrpc": "2.0", "method": "core.echo", "params": [text], "id": 1}).encode()
    assert json.loads(ask(gateway, f"/RPC/{node}", document).body)["result"] == [text]
    document = json.dumps({"jsonrpc": "2.0", "method": "core.echo", "params": ["x" * 300_000], "id": 1}).encode()
    reply = ask(gateway, f"/RPC/{node}?timeout=3", document)
    assert reply.status in (413, 502, 504), reply
    assert ask(gateway, f"/RPC/{node}", DOCUMENTS[0]).status == 200


@pytest.mark.parametrize("fill", ["x", "\\", '\\"'])
def test_fifo_outlives_large_requests(gateway: Server, fill: str) -> None:
    """A FIFO that gets more than 8190 bytes at once is never read again by Kamailio, so the gateway refuses them."""
    sent, refused = 0, 0
    for size in (7900, 8000, 8050, 8100, 8190, 9000):
        text = (fill * size)[: size // (len(json.dumps(fill)) - 2) * len(fill)]
        document = json.dumps({"jsonrpc": "2.0", "method": "core.echo", "params": [text], "id": 1}).encode()
        reply = ask(gateway, "/RPC/fifo?timeout=10", document)
        assert reply.status in (200, 413), reply
        sent, refused = sent + (reply.status == 200), refused + (reply.status == 413)
        assert ask(gateway, "/RPC/fifo?timeout=10", DOCUMENTS[0]).status == 200
    assert refused


def test_all_at_once(gateway: Server) -> None:
    """A group is asked at once; a batch for it keeps its order."""
    reply = ask(gateway, "/RPC/all", DOCUMENTS[0])
    assert reply.status == 200
    result = json.loads(reply.body)["result"]
    assert list(result) == list(NODES)
    assert len({json.dumps(one) for one in result.values()}) == 1
    reply = ask(gateway, "/RPC/*", b"[%b,%b]" % (DOCUMENTS[0], DOCUMENTS[6]))
    assert [{*one["result"]["unix"]} for one in json.loads(reply.body)] == [{"result"}, {"error"}]


def test_programs(gateway: Server) -> None:
    """curl and jsonrpcs call the node as if they were there."""
    need("curl", "curl")
    _, port = gateway.addresses["https"]
    url = f"https://localhost:{port}/RPC/unix"
    certificate = gateway.directory / "tls.pem"
    document = '{"jsonrpc":"2.0","method":"core.echo","params":["by curl"],"id":1}'
    words = ["curl", "-s", "--cacert", str(certificate), "-d", document, url]
    done = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(done.stdout)["result"] == ["by curl"]
    found = jsonrpcs("--to", url, "--tls-ca", str(certificate), "--json", "core.echo", "by", "jsonrpcs")
    assert (found.code, json.loads(found.out)) == (0, ["by", "jsonrpcs"])
    found = jsonrpcs("--to", url, "--tls-ca", str(certificate), "htable.get", "a", "nothing")
    assert (found.code, "Key name doesn't exist in htable" in found.err) == (1, True)
    methods = jsonrpcs("--to", url, "--tls-ca", str(certificate), "methods", "core.")
    assert "core.uptime" in methods.out


def test_goes_away_and_comes_back(tmp_path: Path) -> None:
    """A Kamailio that is killed is 503 with the reason, one that is frozen 504 and then 503, and each is there again by
    itself when it is back; a restart is seen.
    """
    (tmp_path / "kamailio").mkdir()
    (tmp_path / "gateway").mkdir()
    echo = DOCUMENTS[0]
    with Kamailio(tmp_path / "kamailio") as kamailio:
        time.sleep(1.1)  # its uptime has to go back
        options = (f"--node=k=unix:{kamailio.unix}", "--node-interval=0.2")
        with Server(tmp_path / "gateway", *options) as gateway:
            gateway.wait_for_log("node k is up")
            assert ask(gateway, "/RPC/k", echo).status == 200
            time.sleep(1.1)
            pid = kamailio._process.pid
            os.killpg(pid, signal.SIGKILL)
            kamailio._process.wait()
            # The second reason: it was killed while it had a request.
            told = gateway.wait_for_log("node k is down: (Connection refused|no reply within 5 s) .at unix:/")
            reason = told.partition("is down: ")[2].partition(" (at")[0]
            reply = ask(gateway, "/RPC/k", echo)
            assert (reply.status, json.loads(reply.body)["error"]["message"]) == (503, f"Node k Is Down: {reason}")
            kamailio.start()
            gateway.wait_for_log("node k was restarted")
            assert ask(gateway, "/RPC/k", echo).status == 200
            os.killpg(kamailio._process.pid, signal.SIGSTOP)
            seen = len(gateway.log)
            reply = ask(gateway, "/RPC/k?timeout=0.5", echo)
            assert (reply.status, json.loads(reply.body)["error"]["message"]) == (
                504,
                "Node k Timed Out: no reply within 0.5 s",
            )
            gateway.wait_for_log("node k is down: no reply within 5 s", seen)
            assert ask(gateway, "/RPC/k", echo).status == 503
            os.killpg(kamailio._process.pid, signal.SIGCONT)
            gateway.wait_for_log("node k is up", seen)
            assert ask(gateway, "/RPC/k", echo).status == 200


class Callers:
    """Many clients over HTTP, each with a call of its own under way.

    @param count: how many.
    """

    def __init__(self, gateway: Server, path: str, count: int) -> None:
        self.sockets = [socket.create_connection(gateway.addresses["http"], PATIENCE) for _ in range(count)]
        for number, one in enumerate(self.sockets):
            document = {"jsonrpc": "2.0", "method": "core.echo", "params": [f"call {number}"], "id": number}
            one.sendall(http_request(json.dumps(document).encode(), path=path))

    def outcomes(self) -> list[int]:
        """The status of each reply, which is that to its own call; 0: the connection was closed without one."""
        found = []
        for number, one in enumerate(self.sockets):
            with one:
                data = b""
                while part := one.recv(65536):
                    data += part
                    head, end, body = data.partition(b"\r\n\r\n")
                    length = re.search(rb"Content-Length: (\d+)", head)
                    if end and length and len(body) >= int(length[1]):
                        break
            if data:
                reply = json.loads(data.partition(b"\r\n\r\n")[2])
                assert reply["id"] == number
                assert "error" in reply or reply["result"] == [f"call {number}"]
            found.append(int(data.split(b" ", 2)[1]) if data else 0)
        return found


def test_killed_with_calls_under_way(tmp_path: Path) -> None:
    """Of 100 calls that are under way when the node is killed, each gets an answer or a clear fault in time, and none
    is run by the next process of the node.
    """
    (tmp_path / "kamailio").mkdir()
    (tmp_path / "gateway").mkdir()
    with Kamailio(tmp_path / "kamailio") as kamailio:
        options = (f"--node=k=unix:{kamailio.unix} timeout=8", "--node-interval=0.2")
        with Server(tmp_path / "gateway", *options) as gateway:
            gateway.wait_for_log("node k is up")
            assert Callers(gateway, "/RPC/k", 100).outcomes() == [200] * 100
            os.killpg(kamailio._process.pid, signal.SIGSTOP)
            callers = Callers(gateway, "/RPC/k", 100)
            time.sleep(0.5)
            os.killpg(kamailio._process.pid, signal.SIGKILL)
            kamailio._process.wait()
            begun = time.monotonic()
            outcomes = callers.outcomes()
            assert time.monotonic() - begun < 10
            assert set(outcomes) <= {502, 503, 504}
            kamailio.start()
            gateway.wait_for_log("node k is (up|restarted)", len(gateway.log) - 1)
            assert Callers(gateway, "/RPC/k", 20).outcomes() == [200] * 20


def test_stopped_with_calls_under_way(tmp_path: Path) -> None:
    """A gateway that is stopped while calls hang ends in time, and leaves no client waiting."""
    (tmp_path / "kamailio").mkdir()
    (tmp_path / "gateway").mkdir()
    with Kamailio(tmp_path / "kamailio") as kamailio:
        with Server(tmp_path / "gateway", f"--node=k=unix:{kamailio.unix}") as gateway:
            gateway.wait_for_log("node k is up")
            os.killpg(kamailio._process.pid, signal.SIGSTOP)
            callers = Callers(gateway, "/RPC/k", 20)
            time.sleep(0.5)
            begun = time.monotonic()
            assert gateway.stop() == -signal.SIGTERM
            assert time.monotonic() - begun < 10
            assert callers.outcomes() == [503] * 20
            assert not [line for line in gateway.log if "Traceback" in line or "Unhandled" in line]
        os.killpg(kamailio._process.pid, signal.SIGCONT)


def test_page(kamailio: Kamailio, tmp_path: Path) -> None:
    """The commands of docs/gateway.md put HTTPS, users, rights and an audit log in front of Kamailio, and print what
    the page shows. Only the socket, the port and the installation are those of the test.
    """
    need("curl", "curl")
    shell = [block for block in blocks(PAGE) if block.language == "sh"]
    assert "pip install" in shell[0].text
    replaced = {"/run/kamailio/kamailio_rpc.sock": kamailio.unix, "tcp:8443:": "tcp:0:"}
    with Shell(tmp_path, replaced) as terminal:
        for block in shell[1:]:
            printed = terminal.run(block.text)
            if block.printed.startswith('{"jsonrpc"'):
                assert json.loads(printed) == json.loads(block.printed), block.text
            if "--check" in block.text:
                assert "jsonrpcs: no errors" in printed
                terminal.replaced[":8443/"] = f":{terminal.port('https')}/"
            if "gateway.nodes" in block.text:
                assert f"  target: unix:{kamailio.unix}\n" in printed
                assert _labels(printed) == _labels(block.printed)
            if "tail" in block.text:
                line = json.loads(printed)
                shown = json.loads(block.printed)
                assert list(line) == list(shown)
                assert [line[key] for key in AUDITED] == [shown[key] for key in AUDITED]


def _labels(printed: str) -> list[str]:
    """What is printed for people, without the values."""
    return [line.partition(":")[0] for line in printed.splitlines() if line]


def test_page_lists_commands() -> None:
    """docs/gateway.md names every command gateway.*, with its parameters."""
    registry = makeService(Settings(node=["a=unix:/x"], transport=0, http_listen=()), reactor).registry
    rows = re.findall(r"^\| `(gateway\.\w+)` \| (.*?) ?\|", PAGE.read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == {name for name in registry if name.startswith("gateway.")}
    for name, parameters in rows:
        shown = parameters.split(", ")
        binding = registry[name].binding
        assert [not one.required for one in binding.parameters] == [
            one.startswith("[") for one in shown if not one.endswith("…")
        ]
        assert (binding.rest is not None) == any(one.endswith("…") for one in shown), name
