"""The client that waits, beside our server in both dialects and the real Kamailio."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.core import Reply, read_reply
from jsonrpcs_tx.client.errors import BadReply, BadRequest, ClientError, NotReachable, Refused, TimedOut
from jsonrpcs_tx.client.targets import parse_target
from jsonrpcs_tx.rpc.faults import Fault
from tests.support import Server
from tests.support.clients import TRANSPORTS, kamailio_targets, leftovers, our_target, same_ports
from tests.support.kamailio import Kamailio

pytestmark = pytest.mark.slow

REAL = ("unix", "fifo", "http")
"""The transports of the real Kamailio."""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of ours in dialect jsonrpc2."""
    with Server(tmp_path_factory.mktemp("strict"), "--dialect=jsonrpc2") as running:
        yield running


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


def check_calls(client: Client, unknown: str) -> None:
    """A client gets results, faults, and the replies to many calls.

    @param unknown: how the server words that a method is unknown.
    """
    text = "x\\\\\"'\\{}é\u2028\x01 \U0001f600"
    assert client.call("jsonrpc.echo", text, 5) == [text, 5]
    with pytest.raises(Fault, match=unknown) as fault:
        client.call("no.such")
    assert type(fault.value.code) is int
    calls = [("jsonrpc.echo", (str(number),)) for number in range(250)]
    outcomes = client.batch([*calls, ("no.such", {"a": 1}), ("jsonrpc.echo", [float("nan")])])
    assert outcomes[:250] == [[str(number)] for number in range(250)]
    assert isinstance(outcomes[250], Fault)
    assert isinstance(outcomes[251], BadRequest)
    reply = client.raw(b' {"jsonrpc":"2.0","method":"jsonrpc.echo","params":["y"],"id":"z"}\n')
    assert reply.strip() == b'{"jsonrpc":"2.0","result":["y"],"id":"z"}'


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ours(server: Server, transport: str) -> None:
    """Each transport of our server."""
    with Client(our_target(server, transport)) as client:
        check_calls(client, "500 Method Not Found")
    assert leftovers(server.directory, server.reply_dir) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ours_strict(strict: Server, transport: str) -> None:
    """The same in dialect jsonrpc2."""
    with Client(our_target(strict, transport)) as client:
        check_calls(client, "-32601 Method not found")


@pytest.mark.parametrize("transport", REAL)
def test_real(kamailio: Kamailio, transport: str) -> None:
    """Each transport of the real Kamailio, which takes no arrays of requests."""
    before = leftovers(Path("/tmp"))
    with Client(kamailio_targets(kamailio)[transport]) as client:
        check_calls(client, "500 Method Not Found")
    assert leftovers(Path("/tmp"), Path(kamailio.unix).parent) == before


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_exact_numbers(strict: Server, transport: str) -> None:
    """Integers of any size and decimals go there and back exactly."""
    with Client(our_target(strict, transport)) as client:
        assert client.call("jsonrpc.echo", "x", 12345678901234567890123) == ["x", 12345678901234567890123]


def test_private_reply_socket(server: Server, tmp_path: Path) -> None:
    """With C{reply_dir} the reply socket is in a private directory there, which is removed."""
    with Client(parse_target(our_target(server, "unix").url, reply_dir=str(tmp_path))) as client:
        assert client.call("jsonrpc.echo", "x") == ["x"]
        assert len(leftovers(tmp_path)) == 1
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("scheme", ["udp:", "tcp:", "http://"])
def test_name(server: Server, scheme: str) -> None:
    """The server's host may have a name; one that does not exist is not reachable."""
    port = server.addresses[{"udp:": "udp4", "tcp:": "tcp", "http://": "http"}[scheme]][1]
    with Client(f"{scheme}localhost:{port}") as client:
        assert client.call("jsonrpc.echo", "x") == ["x"]
    with Client(f"{scheme}no.such.invalid:{port}") as client, pytest.raises((NotReachable, TimedOut)) as raised:
        client.call("jsonrpc.echo", "x", timeout=1)
    assert raised.type is TimedOut or raised.value.advice == "check the name no.such.invalid"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_reply_too_large(server: Server, transport: str) -> None:
    """More than a client takes is given up."""
    with Client(our_target(server, transport), max_reply=80) as client:
        with pytest.raises(BadReply, match="the reply is larger than 80 bytes"):
            client.call("jsonrpc.echo", "x" * 100)
        assert client.call("jsonrpc.echo", "y") == ["y"]


def test_by_name(server: Server) -> None:
    """Parameters by name go as an object, of which Kamailio takes the values in order."""
    with Client(our_target(server, "unix")) as client:
        assert client.call("jsonrpc.echo", first="x", second=5) == ["x", 5]
        assert client.batch([("jsonrpc.echo", {"timeout": "x"})]) == [["x"]]
    outcome = Client("unix:/nowhere/x").batch([("jsonrpc.echo", "text")])[0]
    assert "parameters are a list or a dictionary, not text" in str(outcome)


def test_own_reading(server: Server) -> None:
    """A program may read replies itself: to keep their bytes, and to have its own types of numbers."""
    documents: list[bytes] = []

    def read(document: bytes) -> Reply:
        documents.append(document)
        return read_reply(document, lambda text: json.loads(text, parse_float=str))

    with Client(our_target(server, "unix"), read=read) as client:
        client.call("core.uptime")
        assert client.call("jsonrpc.echo", "x", 5) == ["x", 5]
    assert documents[1] == b'{"jsonrpc":"2.0","result":["x",5],"id":2}'


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_large(server: Server, transport: str) -> None:
    """50 kB go both ways."""
    text = "0123456789" * 5000
    with Client(our_target(server, transport)) as client:
        assert client.call("jsonrpc.echo", text) == [text]


@pytest.mark.parametrize("scheme", ["unix", "udp4"])
def test_request_too_large(server: Server, scheme: str) -> None:
    """A request that no datagram holds is refused, or goes to another of the targets."""
    text = "x" * 1_000_000
    target = our_target(server, scheme)
    with Client(target) as client, pytest.raises(BadRequest, match=r"is too large for a datagram; try"):
        client.call("jsonrpc.echo", text * 2)
    with Client(f"{target},{our_target(server, 'http')}") as client:
        assert client.call("jsonrpc.echo", text) == [text]


def test_alternatives_where_nobody_is(server: Server) -> None:
    """Where nobody takes a request, the next target gets it."""
    with Client(f"unix:/nowhere/x,tcp:127.0.0.1:1,{our_target(server, 'http')}") as client:
        assert client.call("jsonrpc.echo", "x") == ["x"]
        assert client.batch([("jsonrpc.echo", ["a"]), ("jsonrpc.echo", ())]) == [["a"], []]
    with pytest.raises(NotReachable, match=r"^tcp:127.0.0.1:1: core.uptime: Connection refused"):
        Client("unix:/nowhere/x,tcp:127.0.0.1:1").call("core.uptime")


def test_reply_too_large_for_a_datagram(kamailio: Kamailio) -> None:
    """What Kamailio cannot send by datagram comes over another target, if the method only reads."""
    targets = kamailio_targets(kamailio)
    with Client(targets["http"]) as client:
        assert len(client.batch([("htable.sets", ["a", f"k{number}", "x" * 1000]) for number in range(300)])) == 300
        size = len(str(client.call("htable.dump", "a")))
    assert size > 300_000
    for other in ("fifo", "http"):
        with Client(f"{targets['unix']},{targets[other]}", timeout=1) as client:
            assert len(str(client.call("htable.dump", "a"))) == size
    silence = r"no reply within 0\.3 s; the server may be busy, or unable to send so large a reply"
    both = f"{targets['unix']},{targets['http']}"
    with Client(both, timeout=0.3, reads=lambda method: False) as client, pytest.raises(TimedOut, match=silence):
        client.call("htable.dump", "a")


def test_restart(tmp_path: Path) -> None:
    """A client survives a restart of the server: it says where nobody is in between, and no call fails afterwards,
    whether it has an open connection to the server that is gone or not.
    """
    plain = [transport for transport in TRANSPORTS if transport != "https"]  # as HTTP, but for 3 s at the end
    with Server(tmp_path) as first:
        clients = {transport: Client(our_target(first, transport)) for transport in plain}
        idle = {transport: Client(our_target(first, transport)) for transport in plain}
        for client in (*clients.values(), *idle.values()):
            assert client.call("jsonrpc.echo", "x") == ["x"]
    for client in clients.values():
        with pytest.raises(NotReachable, match="start the server"):
            client.call("jsonrpc.echo", "x")
    with Server(tmp_path, *same_ports(first)):
        for client in (*clients.values(), *idle.values()):
            with client:
                assert client.call("jsonrpc.echo", "x") == ["x"]


def test_refused_by_rules(tmp_path: Path) -> None:
    """What rules forbid is refused, over each transport."""
    with Server(tmp_path, "--rule=any allow * deny jsonrpc.echo") as server:
        for transport in TRANSPORTS:
            with Client(our_target(server, transport)) as client:
                with pytest.raises(Refused, match="403 Forbidden; ask for a rule"):
                    client.call("jsonrpc.echo", "x")
                outcomes = client.batch([("jsonrpc.echo", ["x"]), ("core.uptime", ())])
                assert isinstance(outcomes[0], Refused)
                assert isinstance(outcomes[1], dict)


def test_light() -> None:
    """Nothing that a call without TLS needs loads Twisted, or what is slow to import."""
    code = """if True:
        import sys
        from jsonrpcs_tx.client import blocking, blockingdatagrams, blockingfifo, blockingstreams
        print(*sys.modules)
    """
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    slow = {"twisted", "msgspec", "attr", "typing", "ssl", "http", "tempfile", "dataclasses", "asyncio", "decimal"}
    assert {name.partition(".")[0] for name in loaded} & {*slow, "threading"} == set()


def test_errors_are_of_one_kind() -> None:
    """Whatever goes wrong is a ClientError with where, what, why and what to do."""
    with pytest.raises(ClientError) as error:
        Client("unix:/nowhere/x").call("core.uptime")
    assert vars(error.value) == {
        "target": "unix:/nowhere/x",
        "method": "core.uptime",
        "reason": "No such file or directory",
        "advice": "start the server, or check its path",
    }
    with pytest.raises(BadRequest, match="by position and by name"):
        Client("unix:/nowhere/x").call("core.uptime", 1, a=2)


def test_restart_real(tmp_path: Path) -> None:
    """Clients survive a restart of Kamailio, which makes its socket and its FIFO again."""
    with Kamailio(tmp_path) as kamailio:
        clients = {transport: Client(target) for transport, target in kamailio_targets(kamailio).items()}
        for client in clients.values():
            assert client.call("jsonrpc.echo", "x") == ["x"]
        kamailio.stop()
        for client in clients.values():
            with pytest.raises(NotReachable, match="start the server"):
                client.call("jsonrpc.echo", "x")
        kamailio.start()
        for client in clients.values():
            with client:
                assert client.call("jsonrpc.echo", "x") == ["x"]
