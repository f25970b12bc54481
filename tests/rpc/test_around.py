"""Functions around every call: what they see, what they may do, and what happens when they misbehave."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx import Call, Fault, Reply, Settings, command, current_call, makeService
from jsonrpcs_tx.commands import core
from jsonrpcs_tx.rpc.around import Around, Proceed
from tests.support.logs import observed

INTERNAL = (-32603, "Internal Error")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    with observed(note):
        yield lines


class Shop:
    """Commands of each kind."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self.waiting: list[Deferred[Any]] = []
        self.cancelled = 0

    @command("now")
    def now(self, number: int = 1) -> int:
        self.runs.append(number)
        return number

    @command("later")
    async def later(self, number: int = 1) -> int:
        self.runs.append(number)
        self.waiting.append(Deferred())
        try:
            await self.waiting[-1]
        except CancelledError:
            self.cancelled += 1
            raise
        return number

    @command("deferred")
    def deferred(self, number: int = 1) -> Deferred[int]:
        self.runs.append(number)
        waiting: Deferred[Any] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: number)

    @command("faulty")
    def faulty(self) -> None:
        raise Fault(400, "No")

    @command("broken")
    def broken(self) -> None:
        raise ValueError("broken")

    @command("rare", interval=10)
    def rare(self) -> str:
        return "rare"

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)


class Server:
    """A service with the shop's commands, which never listens."""

    def __init__(self, *arounds: Around, **settings: Any) -> None:
        self.clock = Clock()
        self.shop = Shop()
        self.service = makeService(Settings(load=["core", "system"], **settings), self.clock, commands=[self.shop])
        for function in arounds:
            self.service.around(function)

    def send(self, method: str, *params: Any, transport: str = "http") -> list[Any]:
        """Send a request; its outcome follows in the list, now or later."""
        document = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}).encode()
        reply = self.service.dispatcher.dispatch(
            document, self.service.dispatcher.origin(transport, transport == "http")
        )
        outcomes: list[Any] = []
        if isinstance(reply, Reply):
            reply = succeed(reply)
        reply.addBoth(lambda reply: outcomes.append(outcome(reply)))
        return outcomes


def outcome(reply: Reply) -> Any:
    answer = json.loads(reply.body)
    return answer["result"] if "result" in answer else (answer["error"]["code"], answer["error"]["message"])


def through(call: Call, proceed: Proceed) -> Any:
    """Changes nothing."""
    return proceed()


async def through_later(call: Call, proceed: Proceed) -> Any:
    """Changes nothing, as a coroutine."""
    return await proceed()


def doubled(call: Call, proceed: Proceed) -> Any:
    """Doubles results, now or later."""
    result = proceed()
    return result.addCallback(lambda value: value * 2) if isinstance(result, Deferred) else result * 2


async def doubled_later(call: Call, proceed: Proceed) -> Any:
    return 2 * await proceed()


@pytest.mark.parametrize("around", [through, through_later])
@pytest.mark.parametrize("transport", ["http", "udp"])
def test_unchanged(around: Around, transport: str) -> None:
    """What does nothing changes nothing: results, faults, errors, least intervals, what is not JSON, over any
    transport.
    """
    plain, server = Server(), Server(around)
    for method, params in (
        *(("now", [5]), ("now", ["x"]), ("now", []), ("faulty", []), ("broken", []), ("rare", []), ("rare", [])),
        *(("core.echo", ["a", 1]), ("no.such", []), ("system.methodHelp", ["now"])),
    ):
        assert server.send(method, *params, transport=transport) == plain.send(method, *params, transport=transport)


@pytest.mark.parametrize("around", [through, through_later])
@pytest.mark.parametrize("method", ["later", "deferred"])
def test_unchanged_later(around: Around, method: str) -> None:
    """Asynchronous commands answer later as before, and are refused where they were."""
    server = Server(around)
    outcomes = server.send(method, 3)
    assert outcomes == []
    server.shop.go_on()
    assert outcomes == [3]
    assert server.send(method, 3, transport="udp") == [(500, f"{method} is asynchronous: it needs HTTP or HTTPS")]
    assert server.shop.runs == [3]


@pytest.mark.parametrize("around", [doubled, doubled_later])
def test_result(around: Around) -> None:
    """It can replace the result, of ordinary and of asynchronous commands."""
    server = Server(around)
    assert server.send("now", 4) == [8]
    for method in ("later", "deferred"):
        outcomes = server.send(method, 4)
        server.shop.go_on()
        assert outcomes == [8]
    assert server.send("core.echo", "x", transport="udp") == [["x", "x"]]


def test_call() -> None:
    """It gets the call, with method and params, and is part of it; so is the command."""
    seen: list[Any] = []

    def around(call: Call, proceed: Proceed) -> Any:
        seen.append((call.method, call.params, call.transport, current_call() is call))
        return proceed()

    async def later(call: Call, proceed: Proceed) -> Any:
        result = await proceed()
        seen.append(current_call() is call)
        return result

    server = Server(around, later)
    server.send("now", 4, transport="tcp")
    outcomes = server.send("later", 5)
    server.shop.go_on()
    assert outcomes == [5]
    assert seen == [("now", [4], "tcp", True), True, ("later", [5], "http", True), True]
    assert current_call() is None


def test_refusal() -> None:
    """It refuses a call with a Fault; then the command is not run, nor does its least interval begin."""
    open_again: list[bool] = []

    def around(call: Call, proceed: Proceed) -> Any:
        if not open_again:
            raise Fault(503, f"{call.method} Is Closed")
        return proceed()

    server = Server(around)
    for method in ("now", "later", "rare"):
        assert server.send(method) == [(503, f"{method} Is Closed")]
    assert server.shop.runs == []
    open_again.append(True)
    assert server.send("rare") == ["rare"]


def test_errors_are_seen() -> None:
    """What a command raises comes out of proceed(), invalid parameters as well, and may be replaced."""
    seen: list[str] = []

    def around(call: Call, proceed: Proceed) -> Any:
        try:
            return proceed()
        except Exception as error:
            seen.append(type(error).__name__)
            return "replaced"

    server = Server(around)
    for method, params in (("faulty", []), ("broken", []), ("now", ["x"])):
        assert server.send(method, *params) == ["replaced"]
    assert seen == ["Fault", "ValueError", "Mismatch"]


def test_order() -> None:
    """Several nest: the first that was added is the outermost. Each can be taken off again."""
    seen: list[str] = []

    def named(name: str) -> Around:
        def around(call: Call, proceed: Proceed) -> Any:
            seen.append(f"{name} before")
            result = proceed()
            seen.append(f"{name} after")
            return result

        return around

    first, second = named("first"), named("second")
    server = Server(first, second)
    assert server.send("now") == [1]
    assert seen == ["first before", "second before", "second after", "first after"]
    server.service.remove_around(first)
    seen.clear()
    server.send("now")
    assert seen == ["second before", "second after"]
    server.service.remove_around(second)
    assert server.send("now") == [1]
    assert server.service.dispatcher._direct
    with pytest.raises(ValueError, match="is not around any call"):
        server.service.remove_around(second)


def test_wrong_functions() -> None:
    """What cannot be called is refused, and so is what is there already; around() is a decorator too."""
    server = Server()
    with pytest.raises(TypeError, match="around 5: must be a function that takes a call and proceed"):
        server.service.around(5)  # type: ignore[type-var] # wrong on purpose
    assert server.service.around(through) is through
    with pytest.raises(ValueError, match="already around every call; allowed: once"):
        server.service.around(through)


def test_object() -> None:
    """An object whose __call__ is a coroutine function is one, and so is a bound method."""

    class Timer:
        async def __call__(self, call: Call, proceed: Proceed) -> Any:
            return await proceed()

        async def method(self, call: Call, proceed: Proceed) -> Any:
            return await proceed()

    timer = Timer()
    assert Server(timer, timer.method).send("now", 6, transport="udp") == [6]


@pytest.mark.parametrize("raised", [ValueError("bug"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
@pytest.mark.parametrize("after", [False, True])
def test_raises(raised: BaseException, after: bool, log: list[str]) -> None:
    """One that raises is a command that raises: an internal error, and the log says so."""

    def around(call: Call, proceed: Proceed) -> Any:
        if after:
            proceed()
        raise raised

    async def around_later(call: Call, proceed: Proceed) -> Any:
        return around(call, proceed)

    for function in (around, around_later):
        server = Server(function)
        assert server.send("now", transport="udp") == [INTERNAL]
        assert any("command now failed" in line for line in log)
        server.service.remove_around(function)
        assert server.send("now") == [1]


def test_proceeds_twice(log: list[str]) -> None:
    """proceed() works once: the second time it raises, and the command is not run again."""

    def around(call: Call, proceed: Proceed) -> Any:
        proceed()
        return proceed()

    async def around_later(call: Call, proceed: Proceed) -> Any:
        await proceed()
        return await proceed()

    for function in (around, around_later):
        server = Server(function)
        assert server.send("now") == [INTERNAL]
        assert server.shop.runs == [1]


def test_proceeds_late() -> None:
    """proceed() of a call that is answered raises, and runs nothing."""
    kept: list[Proceed] = []

    def around(call: Call, proceed: Proceed) -> Any:
        kept.append(proceed)
        return "mine"

    server = Server(around)
    assert server.send("now") == ["mine"]
    with pytest.raises(RuntimeError, match=r"proceed\(\) of now was called when the call had been answered"):
        kept[0]()
    assert server.shop.runs == []


def test_never_returns() -> None:
    """One whose result never comes has the command's time limit; where nobody may wait, it is refused."""
    cancelled: list[str] = []

    async def around(call: Call, proceed: Proceed) -> Any:
        try:
            await Deferred()
        except CancelledError:
            cancelled.append(call.method)
            raise

    server = Server(around, async_timeout=5)
    assert server.send("now", transport="udp") == [(500, "now is asynchronous: it needs HTTP or HTTPS")]
    outcomes = server.send("now")
    assert outcomes == []
    server.clock.advance(5)
    assert outcomes == [(504, "Command Timed Out After 5 s")]
    assert cancelled == ["now", "now"]
    assert server.service.dispatcher.delayed.slots.taken == 0


def test_one_slot() -> None:
    """A call takes one slot, and has one time limit, whatever is around it."""
    server = Server(through_later, doubled, async_limit=1, async_timeout=5)
    outcomes = server.send("later", 3)
    assert server.send("later") == [(503, "Too Many Asynchronous Commands: async_limit is 1")]
    assert server.service.dispatcher.delayed.slots.taken == 1
    server.shop.go_on()
    assert outcomes == [6]
    outcomes = server.send("later", 3)
    server.clock.advance(5)
    assert outcomes == [(504, "Command Timed Out After 5 s")]
    assert server.shop.cancelled == 1


def forgetful(call: Call, proceed: Proceed) -> Any:
    proceed()
    return "mine"


def raising(call: Call, proceed: Proceed) -> Any:
    proceed()
    raise Fault(400, "Mine")


async def forgetful_later(call: Call, proceed: Proceed) -> Any:
    proceed()
    return "mine"


@pytest.mark.parametrize("around", [forgetful, raising, forgetful_later])
def test_forgotten_command(around: Around) -> None:
    """An asynchronous command that nothing waits for is cancelled when the call is answered."""
    server = Server(around)
    assert server.send("later") == [(400, "Mine") if around is raising else "mine"]
    assert server.shop.cancelled == 1


def test_own_time_limit() -> None:
    """It can give up on a command before the time limit."""

    def around(call: Call, proceed: Proceed) -> Any:
        result = proceed()
        return result.addTimeout(2, server.clock) if isinstance(result, Deferred) else result

    server = Server(around)
    outcomes = server.send("later")
    server.clock.advance(2)
    assert outcomes == [INTERNAL]
    assert server.shop.cancelled == 1


RESULTS: list[tuple[Callable[[], Any], Any]] = [
    (lambda: b"x", INTERNAL),
    (lambda: float("nan"), INTERNAL),
    (lambda: {1: 2, "1": 3}, INTERNAL),
    (lambda: object(), INTERNAL),
    (lambda: fail(Fault(400, "Later")), (400, "Later")),
    (lambda: succeed(7), 7),
    (lambda: None, None),
]


@pytest.mark.parametrize(("result", "answer"), RESULTS)
def test_results_are_checked(result: Callable[[], Any], answer: Any) -> None:
    """What it returns is checked as a command's result is, also around commands whose own results need no check."""
    server = Server(lambda call, proceed: result())
    assert server.send("now") == [answer]
    assert server.send("core.echo", "x") == [answer]
    assert core.__name__ == "jsonrpcs_tx.commands.core"


def test_rules_come_first() -> None:
    """A call that rules forbid, and one of an unknown command, is not seen."""
    seen: list[str] = []

    def around(call: Call, proceed: Proceed) -> Any:
        seen.append(call.method)
        return proceed()

    server = Server(around, rule=["any deny now"])
    assert server.send("now") == [(403, "Forbidden")]
    assert server.send("no.such") == [(500, "Method Not Found")]
    assert server.send("core.echo") == [[]]
    assert seen == ["core.echo"]


def test_batch_and_exec() -> None:
    """It is around each call of a batch, and around what the program runs itself."""
    seen: list[tuple[str, str]] = []

    def around(call: Call, proceed: Proceed) -> Any:
        seen.append((call.method, call.transport))
        return proceed()

    server = Server(around)
    member = {"jsonrpc": "2.0", "method": "now", "id": 1}
    document = json.dumps([member, {**member, "method": "core.echo"}]).encode()
    server.service.dispatcher.dispatch(document, server.service.dispatcher.origin("udp"))
    server.service.jsonrpc_exec(json.dumps(member))
    assert seen == [("now", "udp"), ("core.echo", "udp"), ("now", "exec")]


def test_leaves_while_waiting() -> None:
    """When the client leaves, what is around its command is cancelled with it."""
    server = Server(through_later, through)
    document = json.dumps({"jsonrpc": "2.0", "method": "later", "id": 1}).encode()
    reply = server.service.dispatcher.dispatch(document, server.service.dispatcher.origin("http", True))
    assert isinstance(reply, Deferred)
    replies: list[Reply] = []
    reply.addCallback(replies.append)
    reply.cancel()
    assert outcome(replies[0]) == (500, "Command Cancelled")
    assert server.shop.cancelled == 1
    assert server.service.dispatcher.delayed.slots.taken == 0
