"""What holds up the reactor is told in the log; whatever else goes wrong in a command ends with the command."""

import json
import threading
import time
from pathlib import Path

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor

from jsonrpcs_tx.state.counters import Counter
from jsonrpcs_tx.watchdog import Watchdog
from tests.support import ECHO, ECHO_REPLY, PATIENCE, Server, datagram_call

pytestmark = pytest.mark.slow

COMMANDS = '''
import time
from twisted.internet import reactor
from jsonrpcs_tx import command

@command("test.hold_in_time")
def hold_in_time(after: float, seconds: float) -> None:
    """Sleeps later, in a call of the reactor's that belongs to no command."""
    reactor.callLater(after, deep_within, seconds)

@command("test.hold", stateless=True)
def hold(seconds: float) -> None:
    """Sleeps."""
    deep_within(seconds)

def deep_within(seconds: float) -> None:
    time.sleep(seconds)

@command("test.hold_later")
async def hold_later(seconds: float) -> None:
    """Sleeps in a coroutine."""
    deep_within(seconds)

@command("test.recurse")
def recurse() -> None:
    """Calls itself."""
    recurse()

@command("test.odd")
def odd() -> object:
    """Returns what is no JSON."""
    return object()

@command("test.cycle")
def cycle() -> list:
    """Returns what has no end."""
    whole: list = []
    whole.append(whole)
    return whole

@command("test.deep")
def deep() -> list:
    """Returns what is deeper than anything can write."""
    whole: list = []
    for _ in range(100_000):
        whole = [whole]
    return whole

@command("test.exit")
def leave() -> None:
    """Raises SystemExit."""
    raise SystemExit(1)

@command("test.memory")
def memory() -> None:
    """Raises MemoryError."""
    raise MemoryError
'''


@pytest.fixture
def commands(tmp_path: Path) -> str:
    """An option that loads L{COMMANDS}."""
    (tmp_path / "badcommands.py").write_text(COMMANDS)
    return "--commands=badcommands"


def request(method: str, params: str = "") -> bytes:
    return b'{"jsonrpc":"2.0","method":"%s","params":[%s],"id":1}' % (method.encode(), params.encode())


@pytest.mark.parametrize("workers", [1, 2])
def test_held_up(tmp_path: Path, commands: str, workers: int) -> None:
    """A command that holds up the reactor is named, with the place where it is, as is the end of it."""
    options = (commands, "--watchdog=100", f"--dgram-workers={workers}")
    with Server(tmp_path, *options, sockets=("udp:127.0.0.1:0",)) as server:
        if workers > 1:
            server.wait_for_log("worker 0 reads udp")
        assert b"null" in datagram_call(server.addresses["udp4"], request("test.hold", "1"))
        line = server.wait_for_log("held up for more than 0.1 s")
        assert f"by test.hold: deep_within, line 17 of {tmp_path}/badcommands.py" in line
        server.wait_for_log("the reactor goes on")
        assert datagram_call(server.addresses["udp4"], ECHO) == ECHO_REPLY  # by then a worker has told of it
        counted = server.call(
            "tcp", b'{"jsonrpc":"2.0","method":"cnt.get","params":["jsonrpc","slow_commands"],"id":1}'
        )
        assert json.loads(counted)["result"] >= 1


def test_held_up_by_a_coroutine(tmp_path: Path, commands: str) -> None:
    """So is an asynchronous command."""
    with Server(tmp_path, commands, "--watchdog=100") as server:
        assert b"null" in server.call("http", request("test.hold_later", "1"))
        assert "deep_within, line 17 of" in server.wait_for_log("held up for more than 0.1 s")


@pytest.mark.parametrize("reactor", ["epoll", "poll"])
def test_held_up_out_of_the_blue(tmp_path: Path, commands: str, reactor: str) -> None:
    """So is what nobody calls, in a server that has nothing to do until then, whatever its reactor, time and again."""
    arguments = ("-n", "--reactor", reactor, "jsonrpcs", "--dgram-socket=rpc.sock", commands, "--watchdog=100")
    with Server(tmp_path, command=arguments) as server:
        for _ in range(2):
            before = len(server.log)
            assert b"null" in server.call("unix", request("test.hold_in_time", "0.5,0.5"))
            assert "by deep_within, line 17 of" in server.wait_for_log("held up for more than 0.1 s", before)
            server.wait_for_log("the reactor goes on", before)


def test_stop() -> None:
    """A watchdog stops at once, whether the reactor has run or not; and one for the same reactor goes on beside it."""
    began = time.monotonic()
    for reactor in (EPollReactor(), PollReactor()):
        for _ in range(20):
            watchdogs = [Watchdog(600, reactor, Counter("a", "b")), Watchdog(600, reactor, Counter("a", "b"))]
            for one in watchdogs:
                one.startService()
            for one in watchdogs:
                one.stopService()
        reactor.callLater(0, reactor.stop)
        watchdog = Watchdog(600, reactor, Counter("a", "b"))
        watchdog.startService()
        reactor.run(installSignalHandlers=False)
        watchdog.stopService()
    assert time.monotonic() - began < PATIENCE
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def test_not_held_up(tmp_path: Path, commands: str) -> None:
    """Without a watchdog nothing is said, nor is it of what is quick."""
    for option, seconds in (("--watchdog=0", "0.3"), ("--watchdog=5000", "0.01")):
        with Server(tmp_path, commands, option) as server:
            for _ in range(10):
                assert b"null" in server.call("unix", request("test.hold", seconds))
            server.stop()
            assert not [line for line in server.log if "held up" in line]


@pytest.mark.parametrize("name", ["recurse", "odd", "cycle", "deep", "exit", "memory"])
def test_failing(tmp_path: Path, commands: str, name: str) -> None:
    """A command that fails in whatever way gets an internal error, the log says how, and the server goes on."""
    with Server(tmp_path, commands) as server:
        for transport in ("unix", "http"):
            assert b"-32603" in server.call(transport, request(f"test.{name}"))
            server.wait_for_log(f"command test.{name} failed")
            assert server.call(transport, ECHO) == ECHO_REPLY
