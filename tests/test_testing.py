"""What the package gives to the tests of programs: a client without a server, and a fixture that makes it."""

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx import Call, Caller, Fault, Settings, command, makeService
from jsonrpcs_tx.testing import TestClient, jsonrpc_client
from tests.support import environment

__all__ = ["jsonrpc_client"]  # the fixture


class Shop:
    """A program's commands.

    @ivar later: the Deferreds of C{shop.restock}.
    """

    def __init__(self) -> None:
        self.later: list[Deferred[int]] = []

    @command("shop.price")
    def price(self, item: str, count: int = 1) -> float:
        """Returns the price of items."""
        if item == "none":
            raise Fault(404, "No Such Item", {"item": item})
        return 0.5 * count

    @command("shop.who")
    def who(self, call: Call) -> list[Any]:
        """Returns who calls."""
        return [str(call.caller), call.port, call.pid, call.connected]

    @command("shop.context")
    def context(self, call: Call) -> Any:
        """Returns what the program has given with the caller."""
        return call.context

    @command("shop.restock", timeout=5)
    async def restock(self) -> int:
        """Orders items."""
        self.later.append(Deferred())
        return await self.later[-1]


@pytest.mark.parametrize(
    ("dialect", "unknown", "invalid"),
    [("kamailio", (500, "Method Not Found"), 500), ("jsonrpc2", (-32601, "Method not found"), -32602)],
)
def test_calls(dialect: str, unknown: tuple[int, str], invalid: int) -> None:
    """A call gives the result, or raises the fault that a client gets, in either dialect."""
    client = TestClient(Shop(), dialect=dialect)
    assert client.call("shop.price", "apple") == 0.5
    assert client.call("shop.price", item="apple", count=3) == 1.5
    with pytest.raises(Fault) as fault:
        client.call("shop.price", "none")
    assert (fault.value.code, fault.value.text, fault.value.data) == (404, "No Such Item", {"item": "none"})
    with pytest.raises(Fault) as fault:
        client.call("shop.prise", "apple")
    assert (fault.value.code, fault.value.text) == unknown
    with pytest.raises(Fault) as fault:
        client.call("shop.price", "apple", "many")
    assert fault.value.code == invalid


def test_what_goes_through_json() -> None:
    """Parameters and results are JSON, as those of a client are."""

    @command("echo")
    def echo(value: object) -> object:
        return value

    client = TestClient(echo)
    assert client.call("echo", (1, 2)) == [1, 2]
    assert client.call("echo", Decimal("1.5")) == 1.5
    with pytest.raises(TypeError):
        client.call("echo", object())
    with pytest.raises(TypeError, match="call of echo: parameters by position and by name; allowed: one of the two"):
        client.call("echo", 1, value=1)


def test_callers() -> None:
    """It calls as the program itself, or as a caller with all facts that rules may ask for; rules apply."""
    client = TestClient(Shop(), rule=["http user=ann allow *", "any deny shop.price"])
    assert client.call("shop.who") == ["exec", None, None, True]
    ann = client.called_by("http", address="192.0.2.1", user="ann", port=4711)
    assert ann.call("shop.who") == [str(Caller("http", "192.0.2.1", user="ann")), 4711, None, True]
    for other in (ann, client):
        with pytest.raises(Fault, match="403 Forbidden"):
            other.call("shop.price", "apple")
    with pytest.raises(Fault, match="403 Forbidden"):
        client.called_by("http", user="eve").call("shop.who")
    assert client.called_by("http", user="ann", context="lobby").call("shop.context") == "lobby"
    assert client.called_by("unix", uid=7, pid=99).call("shop.who")[2:] == [99, True]
    with pytest.raises(ValueError, match="transport 'chat'"):
        client.called_by("chat")
    with pytest.raises(TypeError):
        client.called_by("http", usr="ann")


def test_asynchronous() -> None:
    """C{start} gives a Deferred; time passes when the test says so; no command is left when the client is closed."""
    shop = Shop()
    results: list[Any] = []

    def note(failure: Failure) -> None:
        results.append(str(failure.value))

    with TestClient(shop) as client:
        client.start("shop.restock").addCallback(results.append)
        shop.later[0].callback(3)
        late = client.called_by("http").start("shop.restock")
        client.clock.advance(5)
        late.addErrback(note)
        assert results == [3, "504 Command Timed Out After 5 s"]
        with pytest.raises(RuntimeError, match=r"still in progress; start\(\) waits for it"):
            client.call("shop.restock")
        assert shop.later[-1].called
        with pytest.raises(Fault, match="it needs HTTP or HTTPS"):
            client.called_by("udp", address="127.0.0.1").call("shop.restock")
        left = client.called_by("https").start("shop.restock")
        left.addErrback(note)
    assert results[2:] == ["500 Command Cancelled"]
    assert client.clock.getDelayedCalls() == []


def test_documents() -> None:
    """A whole document goes through as it is: a batch, a notification, what is not JSON."""
    client = TestClient(Shop(), dialect="jsonrpc2")
    one = '{"jsonrpc":"2.0","method":"shop.price","params":["apple"],"id":%d}'
    assert client.raw(f"[{one % 1},{one % 2}]") == (
        b'[{"jsonrpc":"2.0","result":0.5,"id":1},{"jsonrpc":"2.0","result":0.5,"id":2}]'
    )
    assert client.raw(b'{"jsonrpc":"2.0","method":"shop.price","params":["apple"]}') == b""
    assert b"-32700" in client.raw("{")


def test_a_service() -> None:
    """It calls the commands of a server that the program has made; what is the server's is not given again."""
    service = makeService(Settings(dialect="jsonrpc2"), Clock(), [Shop()])
    client = TestClient(service=service)
    assert client.call("shop.price", "apple") == 0.5
    assert client.clock is service.reactor
    with pytest.raises(TypeError, match="allowed: a service, or what to make one of"):
        TestClient(Shop(), service=service)


def test_fixture(jsonrpc_client: Callable[..., TestClient]) -> None:
    """The fixture makes clients."""
    assert jsonrpc_client(Shop(), dialect="jsonrpc2").call("shop.price", "apple") == 0.5


class TrialTests(SynchronousTestCase):
    """The same under trial."""

    def test_start(self) -> None:
        """What C{start} returns is what trial's assertions take."""
        shop = Shop()
        client = TestClient(shop)
        started = client.start("shop.restock")
        self.assertNoResult(started)
        shop.later[0].callback(2)
        assert self.successResultOf(started) == 2
        fault = self.failureResultOf(client.start("shop.price", "none"), Fault)
        assert fault.value.code == 404


CONFTEST = 'pytest_plugins = ["jsonrpcs_tx.testing"]\n'
PROGRAM_TEST = """
from jsonrpcs_tx import command

@command("shop.price")
def price(item: str) -> float:
    return 0.5

def test_price(jsonrpc_client):
    assert jsonrpc_client(price).call("shop.price", "apple") == 0.5
"""


@pytest.mark.slow
def test_as_a_plugin(tmp_path: Path) -> None:
    """A program's own tests name the module in their conftest.py, and have the fixture."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_program.py").write_text(PROGRAM_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout


@pytest.mark.slow
def test_without_pytest(tmp_path: Path) -> None:
    """Where pytest is not installed, the client is there without it; no reactor is installed on the way."""
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "from jsonrpcs_tx.testing import TestClient\n"
        "assert 'system.listMethods' in TestClient().call('system.listMethods')\n"
        "assert 'twisted.internet.reactor' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
