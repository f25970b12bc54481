"""What a command is told of its call, by a parameter and by current_call()."""

import contextvars
import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.task import Clock

from jsonrpcs_tx import Call, Caller, Dispatcher, Origin, Registry, Reply, Settings, command, current_call, makeService
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.rules import read_rule
from jsonrpcs_tx.commands.system import System
from jsonrpcs_tx.openrpc.discovery import Discovery
from jsonrpcs_tx.reactor.slices import Slices
from jsonrpcs_tx.rpc.batches import SLICE
from jsonrpcs_tx.rpc.envelope import DIALECTS, JSONRPC2, Dialect
from jsonrpcs_tx.rpc.origin import Peer


class Served:
    """Commands that note their calls, behind a dispatcher."""

    def __init__(self, *commands: object, rules: tuple[str, ...] = (), **options: Any) -> None:
        self.clock = Clock()
        self.registry = Registry(*commands)
        access = AccessControl(map(read_rule, rules))
        self.dispatcher = Dispatcher(self.registry, self.clock, access=access, **options)

    def http(self, **facts: Any) -> Origin:
        return self.dispatcher.origin("http", True, 1, **facts)

    def send(self, method: str, params: object = (), origin: Origin | None = None, **members: Any) -> list[Any]:
        """Send a request; the outcome of its reply follows in the list, now or later."""
        document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1, **members}
        reply = self.dispatcher.dispatch(json.dumps(document).encode(), origin or self.http())
        outcomes: list[Any] = []
        if isinstance(reply, Reply):
            reply = succeed(reply)
        reply.addBoth(lambda reply: outcomes.append(outcome(json.loads(reply.body))))
        return outcomes


def outcome(answer: dict[str, Any]) -> Any:
    return answer["result"] if "result" in answer else answer["error"]["message"]


calls: list[Call | None] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def note(call: Call | None) -> None:
    calls.append(call)


def places() -> list[Callable[..., Any]]:
    """Functions of a and b that take their call in every place."""

    def first(call: Call, a: int, b: int = 2) -> str:
        note(call)
        return f"{a} {b}"

    def middle(a: int, call: Call, b: int = 2) -> str:
        note(call)
        return f"{a} {b}"

    def last(a: int, b: int = 2, call: Call | None = None) -> str:
        note(call)
        return f"{a} {b}"

    def keyword(a: int, b: int = 2, *, call: Call) -> str:
        note(call)
        return f"{a} {b}"

    def positional(a: int, b: int = 2, call: Call | None = None, /) -> str:
        note(call)
        return f"{a} {b}"

    def optional(a: int = 1, call: Call | None = None, b: int = 2) -> str:
        note(call)
        return f"{a} {b}"

    async def later(a: int, call: Call, b: int = 2) -> str:
        note(call)
        return f"{a} {b}"

    return [first, middle, last, keyword, positional, optional, later]


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_parameter(place: int, dialect: Dialect) -> None:
    """A parameter annotated Call gets the call wherever it stands, and the others keep their places and names."""
    served = Served(command("m")(places()[place]), dialect=dialect)
    assert served.send("m", [7]) == ["7 2"]
    assert served.send("m", [7, 8]) == ["7 8"]
    assert served.send("m", {"a": 7, "b": 8}) == ["7 8"]
    assert [call.method for call in calls if call] == ["m"] * 3


def test_parameter_with_rest() -> None:
    """It also works with a parameter that takes any number of values."""

    @command("m")
    def method(*names: str, call: Call) -> list[str]:
        note(call)
        return [*names, call.method]

    assert Served(method).send("m", ["a", "b"]) == [["a", "b", "m"]]


def test_parameter_is_not_seen() -> None:
    """Clients neither see nor count the parameter, nor can they give it: by help, signature, description or name."""
    first, *_ = places()
    registry = Registry(command("m")(first))
    served = Served(dialect=JSONRPC2)
    served.dispatcher = Dispatcher(registry, served.clock, dialect=JSONRPC2)
    registry.add(System(registry, Discovery(served.dispatcher, Slices(served.clock))))
    assert served.send("system.methodSignature", ["m"]) == [[["string", "int"], ["string", "int", "int"]]]
    assert [parameter["name"] for parameter in registry["m"].describe()["parameters"]] == ["a", "b"]
    assert served.send("m", {"a": 1, "call": 5}) == ["Invalid params"]
    assert served.send("m", []) == ["Invalid params"]
    assert calls == []


def test_parameter_refused() -> None:
    """Two of them, or one that takes any number of values, are refused when the command is added."""

    @command("two")
    def two(a: Call, b: Call) -> None: ...

    @command("many")
    def many(*a: Call) -> None: ...

    with pytest.raises(TypeError, match=r"command two: .*: parameters a and b: only one may be annotated with Call"):
        Registry(two)
    with pytest.raises(TypeError, match=r"command many: .*: parameter \*a: only a single parameter may be annotated"):
        Registry(many)


@command("note")
def noting(call: Call) -> None:
    """Notes its call."""
    note(call)


@pytest.mark.parametrize("rules", [(), ("any allow *",)], ids=["open", "rules"])
def test_facts(rules: tuple[str, ...]) -> None:
    """A call tells all that is known of its caller, with rules and without."""
    served = Served(noting, rules=rules)
    there = [True]
    facts: dict[str, Any] = {"address": "192.0.2.1", "user": "ann", "tls_names": ("a.example",), "uid": 5, "gid": 6}
    origin = served.http(port=4711, pid=99, connected=lambda: there[0], **facts)
    served.send("note", ["x"], origin, id="abc")
    (call,) = calls
    assert call is not None
    assert (call.transport, call.address, call.port, call.user) == ("http", "192.0.2.1", 4711, "ann")
    assert (call.tls_names, call.uid, call.gid, call.pid) == (("a.example",), 5, 6, 99)
    assert (call.id, call.method, call.params, call.deadline) == ("abc", "note", ["x"], None)
    assert call.caller == Caller("http", **facts)
    assert (call.connected, call.is_over, call.is_notification) == (True, True, False)
    assert repr(call) == "<Call 'note' of http 192.0.2.1 user='ann' tls='a.example' uid=5 gid=6>"
    there[0] = False
    assert not call.connected
    with pytest.raises(AttributeError):
        call.user = "root"  # type: ignore[misc] # wrong on purpose


def test_nothing_known() -> None:
    """If nothing is known of a caller, a call still tells the transport; without params and id, it has neither."""
    Served(noting).dispatcher.dispatch(b'{"jsonrpc":"2.0","method":"note"}', Origin("test"))
    (call,) = calls
    assert call is not None
    assert (call.transport, call.address, call.port, call.user, call.tls_names) == ("test", None, None, None, ())
    assert (call.uid, call.gid, call.pid, call.id, call.params) == (None, None, None, None, [])
    assert call.is_notification
    assert call.connected


def test_deadline() -> None:
    """An asynchronous command knows when it is cancelled, by its own time limit or the general one."""

    @command("own", timeout=5)
    async def own(call: Call) -> None:
        note(call)

    @command("general")
    def general(call: Call) -> Deferred[None]:
        note(call)
        return succeed(None)

    @command("undeclared")
    def undeclared(call: Call) -> Any:
        note(call)
        return Deferred()

    served = Served(own, general, undeclared, async_timeout=60)
    served.clock.advance(1000)
    for method in ("own", "general", "undeclared"):
        served.send(method)
    assert [call.deadline for call in calls if call] == [1005, 1060, 1060]
    served.clock.advance(59.5)
    assert [call.is_over for call in calls if call] == [True, True, False]
    served.clock.advance(0.5)
    assert [call.is_over for call in calls if call] == [True, True, True]


def deeper() -> str | None:
    """What current_call() gives to a function that knows nothing of the command."""
    call = current_call()
    note(call)
    return None if call is None else f"{call.method} {call.id}"


@command("plain")
def plain() -> str | None:
    return deeper()


@command("twice")
def twice() -> list[str | None]:
    return [deeper(), deeper()]


@command("asked")
def asked(call: Call) -> bool:
    return current_call() is call


@command("helped")
def helped() -> str | None:
    """Uses a helper that is a coroutine."""
    results: list[str | None] = []

    async def helper() -> None:
        results.append(deeper())

    Deferred.fromCoroutine(helper())
    return results[0]


def test_current_call() -> None:
    """A function that a plain command calls finds the call, from the first time on; and nothing afterwards."""
    served = Served(plain, twice, asked, helped)
    for number in range(3):
        assert served.send("twice", id=number) == [[f"twice {number}"] * 2]
        assert served.send("plain", id=number) == [f"plain {number}"]
        assert served.send("helped", id=number) == [f"helped {number}"]
        assert served.send("asked", id=number) == [True]
        assert current_call() is None


@pytest.mark.parametrize("first", ["plain", "twice", "asked", "helped"])
def test_first_use(first: str) -> None:
    """It is right the first time, whichever command uses it first."""
    assert Served(plain, twice, asked, helped).send(first)[0] in ("plain 1", ["twice 1"] * 2, True, "helped 1")


def test_outside() -> None:
    """There is no call outside of one: not in a fault's text, nor for an unknown command."""
    assert current_call() is None
    served = Served(plain)
    served.send("no.such")
    assert current_call() is None


class Steps:
    """Asynchronous commands that go on when they are told."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.background: list[str | None] = []

    async def pause(self) -> None:
        self.waiting.append(Deferred())
        await self.waiting[-1]

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)

    @command("coroutine")
    async def coroutine(self) -> list[str | None]:
        found = [deeper()]
        await self.pause()
        found.append(deeper())
        await Deferred.fromCoroutine(self.pause())
        return [*found, deeper()]

    @command("inline")
    def inline(self) -> Deferred[list[str | None]]:
        return self._inline()

    @inlineCallbacks
    def _inline(self) -> Any:
        found = [deeper()]
        yield Deferred.fromCoroutine(self.pause())
        return [*found, deeper()]

    @command("undeclared")
    def undeclared(self) -> Any:
        return self.coroutine()

    @command("starts")
    async def starts(self) -> str | None:
        """Leaves something behind that goes on after the answer."""
        Deferred.fromCoroutine(self.behind())
        return deeper()

    async def behind(self) -> None:
        await self.pause()
        self.background.append(deeper())

    @command("resume")
    def resume(self) -> list[str | None]:
        """A plain command that makes the others go on, on its own call stack."""
        before = deeper()
        self.go_on()
        return [before, deeper()]


@pytest.mark.parametrize("method", ["coroutine", "inline", "undeclared"])
@pytest.mark.parametrize("followed", [False, True])
def test_asynchronous(method: str, followed: bool) -> None:
    """Each of several calls in progress finds itself after every wait, whoever makes it go on."""
    steps = Steps()
    served = Served(steps)
    if followed:
        served.dispatcher.follow_calls()
    outcomes = [served.send(method, id=number) for number in range(3)]
    assert served.send("resume", id=10) == [["resume 10"] * 2]
    assert served.send("resume", id=11) == [["resume 11"] * 2]
    assert [found[0] for found in outcomes] == [[f"{method} {n}"] * (2 if method == "inline" else 3) for n in range(3)]
    assert current_call() is None


def test_behind_the_answer() -> None:
    """What a command leaves behind belongs to no call once that is answered; nor to the next one."""
    steps = Steps()
    served = Served(steps)
    assert served.send("starts", id=1) == ["starts 1"]
    assert served.send("resume", id=2) == [["resume 2"] * 2]
    assert steps.background == [None]


def test_time_out() -> None:
    """A command that goes on after its time limit is no longer part of the call."""
    steps = Steps()

    @command("stubborn")
    async def stubborn() -> None:
        try:
            await steps.pause()
        finally:
            await steps.pause()
            deeper()

    served = Served(steps, stubborn, async_timeout=5)
    outcomes = served.send("stubborn")
    served.clock.advance(5)
    assert outcomes == ["Command Timed Out After 5 s"]
    steps.waiting.pop(0)
    steps.go_on()
    assert calls == [None]


def test_leaked_context() -> None:
    """A request that is read in the context of a call in progress (as asyncio's handles keep it) is its own call."""
    contexts: list[contextvars.Context] = []
    steps = Steps()

    @command("leaks")
    async def leaks() -> None:
        contexts.append(contextvars.copy_context())
        await steps.pause()

    served = Served(leaks, plain, twice, steps)
    served.send("leaks", id=1)
    for number in range(2, 5):
        assert contexts[0].run(served.send, "plain", id=number) == [f"plain {number}"]
        assert contexts[0].run(served.send, "starts", id=number) == [f"starts {number}"]


def test_batch() -> None:
    """Each member of a batch has a call of its own, also those that are run after others have had their turn."""
    clock_step = SLICE * 2
    served = Served(twice)

    @command("slow")
    def slow() -> str | None:
        served.clock.advance(clock_step)
        return deeper()

    served.registry.add(slow)
    senders = iter(range(4711, 5000))
    served_ports: list[int | None] = []

    @command("port")
    def port(call: Call) -> None:
        served_ports.append(call.port)

    served.registry.add(port)

    def find_peer() -> Peer:
        return Peer(Caller("udp", "127.0.0.1"), next(senders))

    origin = served.dispatcher.origin("udp", find_peer=find_peer, address="127.0.0.1")
    members = [
        {"jsonrpc": "2.0", "method": m, "id": i} for i, m in enumerate(("slow", "port", "slow", "twice", "port"))
    ]
    replies: list[Any] = []
    later = served.dispatcher.dispatch(json.dumps(members).encode(), origin)
    assert isinstance(later, Deferred)
    later.addCallback(lambda reply: replies.extend(json.loads(reply.body)))
    while not replies:
        served.send("port", origin=origin)
        served.clock.advance(0)
    assert [outcome(reply) for reply in replies] == ["slow 0", None, "slow 2", ["twice 3"] * 2, None]
    assert [port for port in served_ports if port == 4711] == [4711, 4711]  # the batch's own sender, both times


def test_notification() -> None:
    """A notification is a call as any other, without an id."""
    served = Served(plain, dialect=JSONRPC2)
    served.dispatcher.dispatch(b'{"jsonrpc":"2.0","method":"plain"}', served.http())
    (call,) = calls
    assert call is not None
    assert call.is_notification
    assert current_call() is None


def test_exec() -> None:
    """What a command runs with jsonrpc_exec is a call of its own, over exec; then the outer one is current again."""
    service = makeService(Settings(), Clock())
    document = json.dumps({"jsonrpc": "2.0", "method": "plain", "id": 7})

    def nested() -> list[Any]:
        before = deeper()
        inner = json.loads(service.jsonrpc_exec(document).body)["result"]
        return [before, inner, deeper()]

    @command("outer")
    def outer() -> list[Any]:
        return nested()

    @command("outer.later")
    async def outer_later() -> list[Any]:
        return nested()

    for source in (plain, outer, outer_later):
        service.registry.add(source)
    http = service.dispatcher.origin("http", True)
    for method in ("outer.later", "outer", "outer.later"):
        request = json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode()
        replies: list[Reply] = []
        reply = service.dispatcher.dispatch(request, http)
        replies.append(reply) if isinstance(reply, Reply) else reply.addCallback(replies.append)
        assert json.loads(replies[0].body)["result"] == [f"{method} 1", "plain 7", f"{method} 1"]
        assert [call.transport for call in calls[-3:] if call] == ["http", "exec", "http"]


def test_params_are_bound_before() -> None:
    """A command whose parameters do not fit is not run, and has no call."""
    served = Served(command("m")(places()[0]))
    assert served.send("m", ["x"]) == ["Invalid Parameters"]
    assert calls == []
