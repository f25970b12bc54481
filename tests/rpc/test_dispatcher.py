"""The dispatcher: running commands at once and later, and what goes wrong with them."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent

from jsonrpcs_tx.rpc.current import command_of
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import DIALECTS, JSONRPC2, KAMAILIO, Dialect
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.registry import Registry, command
from tests.support.logs import observed

DATAGRAM = Origin("datagram")
HTTP = Origin("http", asynchronous=True)
BUG = (-32603, "Internal Error")
NEEDS_HTTP = (500, "later is asynchronous: it needs HTTP or HTTPS")
SECRET = "s3cret"


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    """Events of this package's log, as they come."""
    events: list[LogEvent] = []
    with observed(events.append):
        yield events


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Caller:
    """Calls the commands of a dispatcher of its own."""

    def __init__(self, clock: Clock, *commands: object, **options: Any) -> None:
        self.dispatcher = Dispatcher(Registry(*commands), clock, **options)

    def start(self, method: str, *params: object, origin: Origin = HTTP) -> Deferred[Reply]:
        """Send a request whose reply may come later."""
        document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        reply = self.dispatcher.dispatch(json.dumps(document).encode(), origin)
        return succeed(reply) if isinstance(reply, Reply) else reply

    def send(self, document: str, origin: Origin = DATAGRAM) -> Reply:
        """Send a document that is answered at once."""
        reply = self.dispatcher.dispatch(document.encode(), origin)
        assert isinstance(reply, Reply), reply
        return reply

    def call(self, method: str, *params: object, origin: Origin = DATAGRAM) -> Any:
        """The result, or the code and text of the fault, of a command that answers at once."""
        document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
        return outcome(self.send(json.dumps(document), origin))


def outcome(reply: Reply) -> Any:
    """The result, or the code and text of the fault."""
    answer = json.loads(reply.body)
    assert answer["id"] == 1
    if "result" in answer:
        assert (reply.code, reply.text) == (200, "OK")
        return answer["result"]
    error = answer["error"]
    assert (reply.code, reply.text) == (error["code"], error["message"])
    return error["code"], error["message"]


def now(deferred: Deferred[Reply]) -> Any:
    """The outcome of a Deferred that has fired, always with a Reply."""
    replies: list[Any] = []
    deferred.addBoth(replies.append)
    (reply,) = replies
    assert isinstance(reply, Reply), reply
    return outcome(reply)


def waiting(deferred: Deferred[Reply]) -> bool:
    return not deferred.called or bool(deferred.paused)


def raiser(error: BaseException, later: bool = False) -> Callable[[], object]:
    def method() -> None:
        raise error

    async def method_later() -> None:
        raise error

    return command("m")(method_later if later else method)


def returner(value: object, **options: Any) -> Callable[[], object]:
    @command("later", **options)
    def method() -> object:
        return value

    return method


@pytest.mark.parametrize(
    ("code", "text"), [(400, "No Such Set"), (-1, ""), (0, 'é\n"\\'), (10**30, "x"), (200, "OK"), (500, "a" * 70_000)]
)
def test_fault(clock: Clock, log: list[LogEvent], code: int, text: str) -> None:
    """A Fault is answered with its code and text, and is not logged."""
    for dialect in DIALECTS.values():
        assert Caller(clock, raiser(Fault(code, text)), dialect=dialect).call("m") == (code, text)
    assert log == []


class BareInvalid(InvalidParams):
    """Does not call the constructor of InvalidParams."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("error", "kamailio", "counted"),
    [
        (InvalidParams("count is 1 or more"), (500, "Invalid Parameters: count is 1 or more"), "invalid_params"),
        (InvalidParams(), (500, "Invalid Parameters"), "invalid_params"),
        (InvalidParams("no file a\udcff"), (500, "Invalid Parameters: no file a?"), "invalid_params"),
        (BareInvalid(), BUG, "internal_errors"),
    ],
    ids=["reason", "no reason", "surrogate", "bare"],
)
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_invalid_params(
    clock: Clock, dialect: Dialect, error: InvalidParams, kamailio: tuple[int, str], counted: str, later: bool
) -> None:
    """A command says that a value is not allowed; the dialect says how that is answered. Both count it alike."""
    caller = Caller(clock, raiser(error, later), dialect=dialect)
    answer = now(caller.start("m")) if later else caller.call("m")
    bug = isinstance(error, BareInvalid)
    jsonrpc2 = dialect.internal_error if bug else dialect.invalid_params
    assert answer == (kamailio if dialect is KAMAILIO and not bug else (jsonrpc2.code, jsonrpc2.text))
    read = {counter.name: counter.read() for counter in caller.dispatcher.counters.group("jsonrpc")}
    assert (read[counted], read["faults"]) == (1, 0)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("error", [Fault(400, "x"), InvalidParams("x")], ids=lambda error: type(error).__name__)
def test_raised_again(clock: Clock, error: Exception, later: bool) -> None:
    """An exception that a command raises again and again gathers no tracebacks."""
    caller = Caller(clock, raiser(error, later))
    for _ in range(3):
        now(caller.start("m")) if later else caller.call("m")
        assert len(traceback.extract_tb(error.__traceback__)) == 0


def test_command_of(clock: Clock) -> None:
    """Of a frame can be told which command it runs, however deep it is, and by which name the client has called it."""
    found = []

    @command("second")
    @command("first")
    def method() -> None:
        def deep() -> None:
            found.append(command_of(sys._getframe()))

        deep()

    caller = Caller(clock, method)
    caller.call("first")
    caller.call("second")
    assert found == ["first", "second"]
    assert command_of(sys._getframe()) is None


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500, "no file a\udcff"),
        Fault(500, ValueError("x")),  # type: ignore[arg-type] # a mistake that a command may make
    ],
    ids=["surrogate", "object"],
)
@pytest.mark.parametrize("later", [False, True])
def test_fault_that_cannot_be_written(clock: Clock, fault: Fault, later: bool) -> None:
    """A Fault whose text JSON cannot express is answered all the same: the name of a file may be such a text."""
    if later:
        code, _ = now(Caller(clock, returner(fail(fault))).start("later"))
    else:
        code, _ = Caller(clock, raiser(fault)).call("m")
    assert code in (500, -32603)


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError(SECRET), KeyError(SECRET), OSError(2, SECRET), TypeError(SECRET)),
        *(RecursionError(SECRET), MemoryError(SECRET), SystemExit(SECRET), AssertionError(SECRET)),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_bug(clock: Clock, log: list[LogEvent], error: BaseException, later: bool, dialect: Dialect) -> None:
    """Any other exception is answered as an internal error that tells nothing, and logged with its traceback."""
    caller = Caller(clock, raiser(error, later), dialect=dialect)
    answer = now(caller.start("m")) if later else caller.call("m")
    assert answer == (dialect.internal_error.code, dialect.internal_error.text)
    (event,) = log
    assert event["log_level"] is LogLevel.critical
    assert formatEvent(event).startswith(f"{'http' if later else 'datagram'}: command m failed")
    assert event["log_failure"].value is error
    assert "test_dispatcher.py" in event["log_failure"].getTraceback()


def test_endless_recursion(clock: Clock) -> None:
    """A command that calls itself without end is a bug, and the next request is answered."""

    @command("m")
    def method(depth: int) -> Any:
        return method(depth + 1) if depth else 0

    caller = Caller(clock, method)
    assert caller.call("m", 1) == BUG
    assert caller.call("m", 0) == 0


CYCLIC: list[Any] = []
CYCLIC.append(CYCLIC)


@pytest.mark.parametrize(
    "value", [object(), {None: 1}, "\ud800", 1j, CYCLIC, print], ids=lambda value: type(value).__name__
)
@pytest.mark.parametrize("later", [False, True])
def test_result_that_json_cannot_express(clock: Clock, log: list[LogEvent], value: object, later: bool) -> None:
    """A result that JSON cannot express is a bug of the command."""
    answer = (
        now(Caller(clock, returner(succeed(value))).start("later"))
        if later
        else Caller(clock, returner(value)).call("later")
    )
    assert answer == BUG
    assert [formatEvent(event).partition("\n")[0] for event in log] == [
        f"{'http' if later else 'datagram'}: command later failed"
    ]


@pytest.mark.parametrize("value", ["é", 0, -1, 2**70, 1.5, True, False, None, [], {}, [{"a": [None]}]])
def test_result(clock: Clock, value: object) -> None:
    """What a command returns is the result, at once or later."""
    answer = Caller(clock, returner(value)).call("later")
    later = now(Caller(clock, returner(succeed(value))).start("later"))
    assert (type(answer), answer) == (type(later), later) == (type(value), value)


@pytest.mark.parametrize(
    ("dialect", "fault"), [(KAMAILIO, (500, "Method Not Found")), (JSONRPC2, (-32601, "Method not found"))]
)
def test_unknown_method(clock: Clock, dialect: Dialect, fault: tuple[int, str]) -> None:
    """A method that is not there is answered so; case counts, and names of Python lead nowhere."""
    caller = Caller(clock, returner(1), dialect=dialect)
    assert [caller.call(name) for name in ("Later", "", "method", "__class__", "later ")] == [fault] * 5


class Runs:
    """Asynchronous commands of every definition, all named C{later}; C{count} tells how often one has run."""

    def __init__(self) -> None:
        self.count = 0
        self.cancelled = 0
        self.waited: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def coroutine(self) -> Callable[..., Any]:
        @command("later")
        async def method() -> Any:
            self.count += 1
            return await self.waited

        return method

    def declared(self) -> Callable[..., Any]:
        @command("later")
        def method() -> Deferred[Any]:
            self.count += 1
            return self.waited

        return method

    def undeclared(self) -> Callable[..., Any]:
        @command("later")
        def method() -> Any:
            self.count += 1
            return self.waited

        return method


@pytest.mark.parametrize("kind", ["coroutine", "declared", "undeclared"])
def test_asynchronous(clock: Clock, kind: str) -> None:
    """Over HTTP the reply to an asynchronous command comes when its result does."""
    runs = Runs()
    reply = Caller(clock, getattr(runs, kind)()).start("later")
    assert waiting(reply)
    runs.waited.callback([1])
    assert now(reply) == [1]
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("kind", ["coroutine", "declared"])
def test_refused_before_it_runs(clock: Clock, kind: str) -> None:
    """Elsewhere a command whose definition says that it is asynchronous is refused before it runs."""
    runs = Runs()
    caller = Caller(clock, getattr(runs, kind)())
    assert caller.call("later") == NEEDS_HTTP
    assert caller.call("later", "with", "params") == NEEDS_HTTP
    assert runs.count == 0


def test_refused_when_it_shows(clock: Clock, log: list[LogEvent]) -> None:
    """Elsewhere a plain function that returns a Deferred has it cancelled, and that leaves no error behind."""
    runs = Runs()
    assert Caller(clock, runs.undeclared()).call("later") == NEEDS_HTTP
    assert (runs.count, runs.cancelled) == (1, 1)
    runs.waited.addErrback(lambda failure: failure.trap(CancelledError))
    del runs
    assert log == []
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("kind", ["coroutine", "declared", "undeclared"])
@pytest.mark.parametrize(("own", "limit"), [(None, 60), (5, 5), (90, 90)])
def test_time_limit(clock: Clock, kind: str, own: float | None, limit: int) -> None:
    """A command that takes longer than the limit, its own or the server's, is cancelled and answered with 504."""
    runs = Runs()
    method = command("own", timeout=own)(getattr(runs, kind)())
    reply = Caller(clock, method, async_timeout=60).start("own")
    clock.advance(limit - 0.001)
    assert waiting(reply)
    assert runs.cancelled == 0
    clock.advance(0.001)
    assert now(reply) == (504, f"Command Timed Out After {limit} s")
    assert runs.cancelled == 1


def test_cancel(clock: Clock) -> None:
    """Cancelling the reply, when the client goes away, cancels the command."""
    runs = Runs()
    reply = Caller(clock, runs.coroutine()).start("later")
    reply.cancel()
    assert runs.cancelled == 1
    assert now(reply) == (500, "Command Cancelled")
    assert clock.getDelayedCalls() == []


def test_fault_later(clock: Clock) -> None:
    """A Fault that comes later is answered with its code and text."""
    runs = Runs()
    reply = Caller(clock, runs.coroutine()).start("later")
    runs.waited.errback(Fault(404, "Gone"))
    assert now(reply) == (404, "Gone")


def test_interval(clock: Clock) -> None:
    """Between two runs of a command passes its least interval; a call that comes earlier is refused."""

    @command("m", interval=2)
    @command("free")
    def method() -> int:
        return 1

    caller, fast = Caller(clock, method), (500, "Command Executed Too Fast")
    assert [caller.call("m"), caller.call("m"), caller.call("free"), caller.call("free")] == [1, fast, 1, 1]
    clock.advance(1.5)
    assert caller.call("m") == fast
    clock.advance(0.5)
    assert [caller.call("m"), caller.call("m")] == [1, fast]


def locked(name: str, lock: str, started: list[Deferred[Any]]) -> Callable[..., Any]:
    @command(name, lock=lock)
    def method() -> Deferred[Any]:
        started.append(Deferred())
        return started[-1]

    return method


def plain(name: str, lock: str) -> Callable[..., Any]:
    @command(name, lock=lock)
    def method() -> str:
        return name

    return method


def test_lock_queues_over_http(clock: Clock) -> None:
    """Commands with the same lock run one after another, in the order in which they came; others are free."""
    started: list[Deferred[Any]] = []
    caller = Caller(
        clock, locked("a", "x", started), locked("b", "x", started), plain("c", "x"), locked("d", "y", started)
    )
    first, second, third = caller.start("a"), caller.start("b"), caller.start("c")
    assert len(started) == 1
    assert waiting(caller.start("d"))
    assert len(started) == 2
    started[0].callback(1)
    assert now(first) == 1
    assert len(started) == 3
    assert waiting(second)
    assert waiting(third)
    started[2].errback(Fault(400, "x"))
    assert now(second) == (400, "x")
    assert now(third) == "c"
    assert caller.call("c") == "c"


def test_lock_refuses_elsewhere(clock: Clock) -> None:
    """Where the reply cannot wait, a command whose lock is held is refused, and runs once it is free."""
    started: list[Deferred[Any]] = []
    caller = Caller(clock, locked("a", "x", started), plain("c", "x"))
    assert caller.call("c") == "c"
    reply = caller.start("a")
    code, text = caller.call("c")
    assert (code, "lock x" in text) == (500, True)
    started[0].callback(1)
    assert now(reply) == 1
    assert caller.call("c") == "c"


@pytest.mark.parametrize("end", ["cancel", "time limit", "bug"])
def test_lock_is_released(clock: Clock, end: str) -> None:
    """However a command ends, its lock is free again, and one that was cancelled while it waited never runs."""
    started: list[Deferred[Any]] = []
    caller = Caller(clock, locked("a", "x", started), plain("c", "x"), async_timeout=60)
    first = caller.start("a")
    second = caller.start("a")
    second.cancel()
    assert now(second) == (500, "Command Cancelled")
    if end == "cancel":
        first.cancel()
    elif end == "bug":
        started[0].errback(ValueError())
    else:
        clock.advance(60)
    assert now(first)[0] in (500, 504, -32603)
    assert len(started) == 1
    assert caller.call("c") == "c"


@pytest.mark.parametrize("error", [Fault(400, "x"), ValueError()], ids=["fault", "bug"])
def test_lock_after_error(clock: Clock, error: Exception) -> None:
    """A command that raises at once leaves its lock free."""

    @command("m", lock="x")
    def method(fails: bool) -> int:
        if fails:
            raise error
        return 1

    caller = Caller(clock, method)
    assert caller.call("m", True) != 1
    assert caller.call("m", False) == 1


REQUEST = '{"jsonrpc":"2.0","method":"%s","params":[],"id":%s}'


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_batch(clock: Clock, dialect: Dialect) -> None:
    """A batch is answered as an array in the order of its requests, faults and malformed ones among them."""
    caller = Caller(clock, returner(7), raiser(Fault(400, "x")), dialect=dialect)
    reply = caller.send(f"[{REQUEST % ('later', 1)},{REQUEST % ('m', 2)},5,{REQUEST % ('later', 4)}]")
    assert (reply.code, reply.text) == (200, "OK")
    assert reply.body == (
        b'[{"jsonrpc":"2.0","result":7,"id":1},{"jsonrpc":"2.0","error":{"code":400,"message":"x"},"id":2},'
        b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null},'
        b'{"jsonrpc":"2.0","result":7,"id":4}]'
    )


def test_batch_with_asynchronous(clock: Clock) -> None:
    """A batch with asynchronous commands is answered when the last one is done, in the order of the requests."""
    runs, started = Runs(), list[Deferred[Any]]()
    caller = Caller(clock, runs.coroutine(), raiser(Fault(400, "x")), locked("second", "x", started))
    document = f"[{REQUEST % ('later', 1)},{REQUEST % ('m', 2)},{REQUEST % ('second', 3)}]"
    reply = caller.dispatcher.dispatch(document.encode(), HTTP)
    assert isinstance(reply, Deferred)
    started[0].callback("s")
    assert waiting(reply)
    runs.waited.callback("f")
    bodies: list[Reply] = []
    reply.addCallback(bodies.append)
    assert [member.get("result", "fault") for member in json.loads(bodies[0].body)] == ["f", "fault", "s"]
    assert json.loads(caller.send(document).body)[0]["error"]["code"] == 500


def test_cancelled_batch(clock: Clock) -> None:
    """Cancelling the reply to a batch cancels each of its commands, and it fires with a reply."""
    cancelled: list[object] = []

    @command("later")
    def method() -> Deferred[None]:
        return Deferred(cancelled.append)

    reply = Caller(clock, method).dispatcher.dispatch(
        f"[{REQUEST % ('later', 1)},{REQUEST % ('later', 2)}]".encode(), HTTP
    )
    assert isinstance(reply, Deferred)
    reply.cancel()
    replies: list[Any] = []
    reply.addBoth(replies.append)
    assert len(cancelled) == 2
    assert [member["error"]["message"] for member in json.loads(replies[0].body)] == ["Command Cancelled"] * 2


NOTIFICATION = '{"jsonrpc":"2.0","method":"%s"}'


def test_notification(clock: Clock, log: list[LogEvent]) -> None:
    """In jsonrpc2 a request without an id is run and never answered, whatever comes of it; a bug is logged."""
    ran: list[int] = []

    @command("count")
    def count() -> None:
        ran.append(1)

    caller = Caller(clock, count, raiser(ValueError()), returner(object()), dialect=JSONRPC2)
    assert caller.send(NOTIFICATION % "count") == Reply(b"", 204, "No Content")
    for method in ("m", "later", "nope"):
        reply = caller.send(NOTIFICATION % method)
        assert (reply.body, reply.fault) == (b"", True)  # the program learns of it, the client does not
    assert caller.send(f"[{NOTIFICATION % 'count'},{NOTIFICATION % 'nope'}]").body == b""
    assert caller.send(f"[{NOTIFICATION % 'count'},1]").body.count(b"jsonrpc") == 1
    assert (len(ran), len(log)) == (3, 2)


def test_asynchronous_notification(clock: Clock) -> None:
    """In jsonrpc2 a notification of an asynchronous command is over when the command is, without a body."""
    runs = Runs()
    caller = Caller(clock, runs.coroutine(), dialect=JSONRPC2)
    reply = caller.dispatcher.dispatch((NOTIFICATION % "later").encode(), HTTP)
    assert isinstance(reply, Deferred)
    runs.waited.callback(1)
    replies: list[Reply] = []
    reply.addCallback(replies.append)
    assert [(done.body, done.code) for done in replies] == [(b"", 204)]


def test_no_id_in_kamailio(clock: Clock) -> None:
    """In the kamailio dialect a request without an id is answered without one."""
    caller = Caller(clock, returner(1))
    assert caller.send(NOTIFICATION % "later").body == b'{"jsonrpc":"2.0","result":1}'
    error = b'{"jsonrpc":"2.0","error":{"code":500,"message":"Method Not Found"}}'
    assert caller.send(NOTIFICATION % "nope").body == error


def test_refuse(clock: Clock) -> None:
    """A transport refuses a document with a fault for each request, with its id, and nothing runs."""
    runs = Runs()
    caller = Caller(clock, runs.undeclared())
    full = Fault(503, "Full")
    error = '{"jsonrpc":"2.0","error":{"code":503,"message":"Full"},"id":%s}'
    assert caller.dispatcher.refuse((REQUEST % ("later", 7)).encode(), full) == Reply(
        (error % 7).encode(), 503, "Full", True
    )
    batch = f"[{REQUEST % ('later', 7)},1]"
    assert caller.dispatcher.refuse(batch.encode(), full).body.decode() == f"[{error % 7},{error % 'null'}]"
    assert caller.dispatcher.refuse(b"{", full).body.decode() == error % "null"
    assert runs.count == 0


def test_pretty_format(clock: Clock) -> None:
    """With pretty_format every reply, at once or later, result or fault, has the layout for people."""
    caller = Caller(clock, returner(succeed([1])), pretty_format=True)
    replies: list[Reply] = []
    caller.start("later").addCallback(replies.append)
    assert replies[0].body == b'{\n\t"jsonrpc":\t"2.0",\n\t"result":\t[\n\t\t1\n\t],\n\t"id":\t1\n}'
    assert caller.send("{").body.startswith(b'{\n\t"jsonrpc":\t"2.0",\n\t"error":\t{\n\t\t"code":\t-32700,\n')


def test_too_many_in_progress() -> None:
    """Beyond the limit of asynchronous commands in progress, another one gets 503, and is not begun or is cancelled."""
    waiting: list[Deferred[int]] = []

    @command("declared")
    def declared() -> Deferred[int]:
        """Says that it answers later."""
        waiting.append(Deferred())
        return waiting[-1]

    @command("plain")
    def plain() -> Any:
        """Does not say so."""
        return declared()

    dispatcher = Dispatcher(Registry(declared, plain), Clock(), async_limit=1)
    first, second, third = (
        dispatcher.dispatch((REQUEST % (name, 1)).encode(), Origin("http", asynchronous=True))
        for name in ("declared", "declared", "plain")
    )
    assert isinstance(first, Deferred)
    assert isinstance(second, Reply)
    assert isinstance(third, Reply)
    assert (second.code, third.code) == (503, 503)
    assert [deferred.called for deferred in waiting] == [False, True]
    waiting[0].callback(5)
    fourth = dispatcher.dispatch((REQUEST % ("declared", 1)).encode(), Origin("http", asynchronous=True))
    assert isinstance(fourth, Deferred)
