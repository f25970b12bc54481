"""Asynchronous commands that take too long, will not end, or are too many."""

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from jsonrpcs_tx.rpc.delayed import MAX_OVERDUE
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.pending import Pending, take
from jsonrpcs_tx.rpc.registry import Registry, command
from jsonrpcs_tx.state.counters import Counters
from tests.support import PATIENCE, Server, http_request

HTTP = Origin("http", asynchronous=True)
UNIX = "prompt is asynchronous: it needs HTTP or HTTPS"


def request(method: str, params: str = "") -> bytes:
    return b'{"jsonrpc":"2.0","method":"%s","params":[%s],"id":1}' % (method.encode(), params.encode())


class Stubborn:
    """A command that catches its cancellation, and one that gives in.

    @ivar waits: what each run waits for: again and again.
    """

    def __init__(self, **options: Any) -> None:
        self.waits: list[Deferred[Any]] = []
        self.cancelled = 0

        @command("stubborn", **options)
        async def stubborn() -> str:
            while True:
                self.waits.append(Deferred())
                try:
                    await self.waits[-1]
                except Exception:
                    self.cancelled += 1
                else:
                    return "done"

        @command("meek")
        async def meek() -> None:
            await Deferred()

        self.commands = (stubborn, meek)

    def end(self) -> None:
        """Let all runs end."""
        for wait in self.waits:
            if not wait.called:
                wait.callback(None)


class Served:
    """A dispatcher with a clock, and its gauges."""

    def __init__(self, *commands: Callable[..., Any], **options: Any) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.dispatcher = Dispatcher(Registry(*commands), self.clock, counters=self.counters, **options)

    def start(self, method: str, origin: Origin = HTTP, params: str = "") -> tuple[Any, list[Any]]:
        """Send a request.

        @return: what the dispatcher returns, and what comes of it.
        """
        replies: list[Any] = []
        reply = self.dispatcher.dispatch(request(method, params), origin)
        if isinstance(reply, Deferred):
            reply.addBoth(lambda reply: replies.append(outcome(reply)))
        else:
            replies.append(outcome(reply))
        return reply, replies

    def gauges(self) -> tuple[int, int]:
        """The commands in progress, and those that are overdue."""
        read = [self.counters.get("jsonrpc", name) for name in ("async_in_flight", "async_overdue")]
        return tuple(gauge.read() for gauge in read if gauge is not None)  # type: ignore[return-value] # there are two


def outcome(reply: Reply) -> Any:
    answer = json.loads(reply.body)
    return answer.get("result") or (answer["error"]["code"], answer["error"]["message"])


def test_deadline() -> None:
    """At the deadline the client is answered and the slot is free, whatever the command does; it is counted."""
    stubborn = Stubborn()
    served = Served(*stubborn.commands, async_timeout=2, async_limit=1)
    _, replies = served.start("stubborn")
    assert served.gauges() == (1, 0)
    served.clock.advance(2)
    assert replies == [(504, "Command Timed Out After 2 s")]
    assert (served.gauges(), stubborn.cancelled) == ((0, 1), 1)
    _, meek = served.start("meek")
    assert meek == []
    stubborn.end()
    assert served.gauges() == (1, 0)
    served.clock.advance(2)
    assert (meek, served.gauges()) == ([(504, "Command Timed Out After 2 s")], (0, 0))
    assert replies == [(504, "Command Timed Out After 2 s")]
    assert served.clock.getDelayedCalls() == []


def test_client_leaves() -> None:
    """The same when the client leaves: the command is cancelled once, and the slot is free."""
    stubborn = Stubborn()
    served = Served(*stubborn.commands)
    later, replies = served.start("stubborn")
    later.cancel()
    assert replies == [(500, "Command Cancelled")]
    assert (served.gauges(), stubborn.cancelled) == ((0, 1), 1)
    later.cancel()
    stubborn.end()
    assert (served.gauges(), stubborn.cancelled) == ((0, 0), 1)
    assert served.clock.getDelayedCalls() == []


def test_overdue_are_limited() -> None:
    """Runs that go on are limited for each command; others are not concerned."""
    stubborn = Stubborn()
    served = Served(*stubborn.commands, async_timeout=2)
    for _ in range(MAX_OVERDUE):
        served.start("stubborn")
        served.clock.advance(2)
    _, replies = served.start("stubborn")
    text = f"Too Many Overdue Commands: {MAX_OVERDUE} runs of stubborn go on after their time limit"
    assert replies == [(503, text)]
    assert served.start("meek")[1] == []
    assert served.gauges() == (1, MAX_OVERDUE)
    stubborn.end()
    assert served.start("stubborn")[1] == []


def test_lock_is_held_as_long_as_it_runs() -> None:
    """The lock of a command is held until it has ended, also when nobody waits for it any more."""
    stubborn = Stubborn(lock="x")

    @command("locked", lock="x")
    def locked() -> str:
        return "free"

    served = Served(*stubborn.commands, locked, async_timeout=2)
    served.start("stubborn")
    served.clock.advance(2)
    assert served.start("locked", Origin("unix"))[1][0][0] == 500
    _, replies = served.start("locked")
    stubborn.end()
    assert replies == ["free"]
    assert served.start("locked", Origin("unix"))[1] == ["free"]


@pytest.mark.parametrize("method", ["at-once", "prompt"])
def test_lock_that_many_wait_for(method: str) -> None:
    """However many wait for a lock, all get it in their turn, also those who leave meanwhile; then it is free."""
    order: list[str] = []
    wait: Deferred[None] = Deferred()

    @command("first", lock="x")
    async def first() -> str:
        await wait
        return "done"

    @command("at-once", lock="x")
    def at_once(name: str) -> str:
        order.append(name)
        return name

    @command("prompt", lock="x")
    async def prompt(name: str) -> str:
        order.append(name)
        return name

    served = Served(first, at_once, prompt, async_limit_client=1000)
    served.start("first")
    waiting = [served.start(method, params=f'"{number}"') for number in range(999)]
    assert served.gauges() == (1000, 0)
    waiting[500][0].cancel()
    wait.callback(None)
    names = [str(number) for number in range(999) if number != 500]
    assert order == names
    assert [replies for _, replies in waiting if replies != [(500, "Command Cancelled")]] == [[name] for name in names]
    assert (served.gauges(), served.clock.getDelayedCalls()) == ((0, 0), [])
    assert served.start(method, Origin("unix"), '"again"')[1] == (["again"] if method == "at-once" else [(500, UNIX)])


def test_share_of_a_client() -> None:
    """One client has a share of the slots only; what is over is free again, and nothing is kept of the client."""
    stubborn = Stubborn()
    served = Served(*stubborn.commands, async_limit=3, async_limit_client=2)
    greedy, other = Origin("http", True, client="a"), Origin("http", True, client="b")
    first, _ = served.start("meek", greedy)
    served.start("meek", greedy)
    text = "Too Many Asynchronous Commands Of One Client: async_limit_client is 2"
    assert served.start("meek", greedy)[1] == [(503, text)]
    assert served.start("meek", other)[1] == []
    assert served.start("meek", other)[1] == [(503, "Too Many Asynchronous Commands: async_limit is 3")]
    first.cancel()
    assert served.start("meek", greedy)[1] == []
    served.clock.advance(60)
    assert served.gauges() == (0, 0)
    assert served.dispatcher.delayed.slots._clients == {}


@pytest.mark.parametrize(
    ("facts", "client"),
    [
        ({"user": "ann", "address": "192.0.2.1"}, ("user", "ann")),
        ({"user": "192.0.2.1"}, ("user", "192.0.2.1")),
        ({"address": "192.0.2.1"}, ("address", "192.0.2.1")),
        ({"address": "2001:db8::1"}, ("address", "2001:db8::1")),
        ({"address": "127.0.0.1"}, 7),
        ({"address": "::ffff:127.0.0.1"}, 7),
        ({}, 7),
    ],
)
def test_who_is_a_client(facts: dict[str, Any], client: object) -> None:
    """A client is a user, else an address; on this machine, whose clients all have the same one, a connection."""
    assert Served().dispatcher.origin("http", True, 7, **facts).client == client


STUBBORN = """
from twisted.internet import reactor, task
from jsonrpcs_tx import command

ends = []

@command("t.stubborn")
async def stubborn() -> str:
    over = []
    ends.append(over)
    while not over:
        try:
            await task.deferLater(reactor, 0.05)
        except Exception:
            pass
    return "done"

@command("t.end")
def end() -> None:
    for over in ends:
        over.append(1)
"""


def statistic(server: Server, name: str) -> int:
    return int(json.loads(server.call("unix", request("cnt.get", f'"jsonrpc","{name}"')))["result"])


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "https"])
def test_served(tmp_path: Path, transport: str) -> None:
    """Over the wire: 504 in time, slots that are free when clients leave, a log that tells, and others go on."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    options = ("--commands=stubborn", "--async-timeout=0.3", "--async-limit=3")
    with Server(tmp_path, *options) as server, contextlib.ExitStack() as stack:
        assert b'"code":504' in server.call(transport, request("t.stubborn"))
        server.wait_for_log("command t.stubborn goes on after its time limit of 0.3 s")
        for _ in range(3):
            client = stack.enter_context(socket.create_connection(server.addresses["http"], PATIENCE))
            client.sendall(http_request(request("t.stubborn")))
        while statistic(server, "async_in_flight") < 3:
            pass
        stack.close()
        while statistic(server, "async_overdue") < 4:
            pass
        assert statistic(server, "async_in_flight") == 0
        assert b'"slept"' in server.call(transport, request("core.sleep", "0.01"))
        server.call("unix", request("t.end"))
        server.wait_for_log("command t.stubborn has ended after ")
        while statistic(server, "async_overdue"):
            pass


@pytest.mark.slow
def test_share_of_a_connection(tmp_path: Path) -> None:
    """One batch of sleeps takes the share of its connection only; another connection is served beside it."""
    sleeps = b"[" + b",".join([request("core.sleep", "30")] * 1000) + b"]"
    with Server(tmp_path, "--async-limit-client=10", "--async-limit=20") as server:
        with socket.create_connection(server.addresses["http"], PATIENCE) as client:
            client.sendall(http_request(sleeps))
            while statistic(server, "async_in_flight") != 10:
                pass
            assert b'"slept"' in server.call("http", request("core.sleep", "0.01"))
        while statistic(server, "async_in_flight"):
            pass


def test_time_limits_share_a_timer() -> None:
    """However many commands are in progress, there is one timer for each time limit; each is answered at its own time,
    and none is left when all have ended.
    """
    clock = Clock()
    waits: list[Deferred[str]] = []

    @command("wait")
    def wait() -> Deferred[str]:
        waits.append(Deferred())
        return waits[-1]

    @command("short", timeout=0.3)
    async def short() -> None:
        await Deferred()

    dispatcher = Dispatcher(Registry(wait, short), clock, async_timeout=10)
    told: list[tuple[int, int]] = []

    def begin(number: int, method: str = "wait") -> None:
        reply = dispatcher.dispatch(request(method), HTTP)
        assert isinstance(reply, Deferred)
        reply.addCallback(lambda reply: told.append((number, reply.code)))

    for number in range(5):
        begin(number)
        clock.advance(1)
    begin(5, "short")
    assert len(clock.getDelayedCalls()) == 2
    waits[0].callback("")
    waits[3].callback("")
    clock.advance(0.3)
    assert told == [(0, 200), (3, 200), (5, 504)]
    clock.advance(10 - 5.3 + 1)  # since the first began, 11
    assert told[3:] == [(1, 504)]
    clock.advance(1)
    assert told[4:] == [(2, 504)]
    begin(6)
    clock.advance(2)
    assert told[5:] == [(4, 504)]
    waits[-1].callback("")
    assert told[6:] == [(6, 200)]
    assert not [call for call in clock.getDelayedCalls() if call.getTime() > clock.seconds() + 1]  # cleaning up


def test_command_begun_at_a_deadline() -> None:
    """What begins when the time of another is up has its whole time."""
    clock = Clock()

    @command("wait")
    async def wait() -> None:
        await Deferred()

    dispatcher = Dispatcher(Registry(wait), clock, async_timeout=10)
    told: list[float] = []

    def begin(_: object = None) -> None:
        reply = dispatcher.dispatch(request("wait"), HTTP)
        assert isinstance(reply, Deferred)
        reply.addCallback(lambda reply: told.append(clock.seconds()))
        if not told:
            reply.addCallback(begin)

    begin()
    clock.pump([1.0] * 25)
    assert told == [10, 20]
    assert dispatcher.delayed.slots.taken == 0


def test_command_that_ends_another() -> None:
    """One that ends the only other one when it begins has its own time limit nevertheless."""
    clock = Clock()
    first: Deferred[None] = Deferred()

    @command("first")
    async def begin() -> None:
        await first

    @command("second")
    async def end() -> None:
        first.callback(None)
        await Deferred()

    dispatcher = Dispatcher(Registry(begin, end), clock, async_timeout=10)
    told: list[int] = []
    for method in ("first", "second"):
        reply = dispatcher.dispatch(request(method), HTTP)
        assert isinstance(reply, Deferred)
        reply.addCallback(lambda reply: told.append(reply.code))
    clock.advance(10)
    assert told == [200, 504]
    clock.advance(10)
    assert not clock.getDelayedCalls()


def test_answer_that_is_not_taken() -> None:
    """At a deadline that many share, one whose answer cannot be taken keeps the others from nothing."""

    @command("wait")
    async def wait() -> None:
        await Deferred()

    clock = Clock()
    dispatcher = Dispatcher(Registry(wait), clock, async_timeout=2)
    told: list[int] = []

    def fail(reply: Reply) -> None:
        raise ValueError(reply.code)

    with capturedLogs() as logged:
        for function in (fail, lambda reply: told.append(reply.code), fail, lambda reply: told.append(reply.code)):
            reply = dispatcher.dispatch(request("wait"), HTTP)
            assert isinstance(reply, Pending)
            take(reply, function)
        clock.advance(2)
    assert told == [504, 504]
    assert len([event for event in logged if "could not be sent" in event["log_format"]]) == 2
