"""Commands that await asyncio, where its loop runs, and where it does not."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.coroutines import begin
from jsonrpcs_tx.rpc.current import current_call
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.registry import Registry, command
from jsonrpcs_tx.state.counters import Counters
from tests.support.logs import logged

HTTP = Origin("http", asynchronous=True)


class Served:
    """A dispatcher with a clock, whose replies come in asyncio's loop."""

    def __init__(self, *commands: object, **options: Any) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.dispatcher = Dispatcher(Registry(*commands), self.clock, counters=self.counters, **options)

    def begin(self, method: str, origin: Origin = HTTP) -> Reply | Deferred[Reply]:
        return self.dispatcher.dispatch(json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode(), origin)

    async def call(self, method: str, origin: Origin = HTTP) -> Any:
        """The result of a command, or the code and text of its fault."""
        reply = self.begin(method, origin)
        if isinstance(reply, Deferred):
            reply = await reply.asFuture(asyncio.get_running_loop())
        answer = json.loads(reply.body)
        return answer["result"] if "result" in answer else (answer["error"]["code"], answer["error"]["message"])

    def gauge(self, name: str) -> Any:
        gauge = self.counters.get("jsonrpc", name)
        assert gauge is not None
        return gauge.read()


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that runs in asyncio's loop."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 20))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


@in_loop
async def test_awaits_both() -> None:
    """A command may await asyncio and Deferreds, one after the other, and what has come already."""

    @command("both")
    async def both() -> list[Any]:
        found: list[Any] = []
        later: Deferred[str] = Deferred()
        asyncio.get_running_loop().call_later(0.01, later.callback, "deferred")
        found.append(await asyncio.sleep(0, "slept"))
        found.append(await succeed("at once"))
        found.append(await later)
        found.append(await asyncio.sleep(0.01, "slept again"))
        found.append(await asyncio.create_task(asyncio.sleep(0, "task")))
        found.append(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)))
        return found

    result = await Served(both).call("both")
    assert result == ["slept", "at once", "deferred", "slept again", "task", [1, 2]]


@in_loop
async def test_deferreds_go_on_at_once() -> None:
    """What awaits Deferreds only runs as under any reactor: to its end as soon as they fire, in no turn of the loop."""
    waits: list[Deferred[str]] = [Deferred(), Deferred()]

    @command("wait")
    async def wait() -> list[str]:
        return [await one for one in waits]

    served = Served(wait)
    replies: list[Any] = []
    reply = served.begin("wait")
    assert isinstance(reply, Deferred)
    reply.addCallback(replies.append)
    waits[0].callback("a")
    assert replies == []
    waits[1].callback("b")
    assert json.loads(replies[0].body)["result"] == ["a", "b"]


@in_loop
async def test_is_a_task() -> None:
    """A command is a task of asyncio from its first line, whatever it awaits, and the caller's task is itself again."""
    mine = asyncio.current_task()
    later: Deferred[None] = Deferred()
    seen: list[Any] = []

    @command("task")
    async def task() -> None:
        seen.append(asyncio.current_task())
        await later
        seen.append(asyncio.current_task())
        async with asyncio.timeout(10):
            await asyncio.sleep(0.001)
        seen.append(asyncio.current_task())

    served = Served(task)
    called = asyncio.ensure_future(served.call("task"))
    await turns()
    later.callback(None)
    assert asyncio.current_task() is mine
    await called
    assert len({*seen}) == 1
    assert mine not in seen
    assert seen[0] is not None


@in_loop
async def test_errors() -> None:
    """What is raised by asyncio or a Deferred is raised in the command, and what that raises is its fault."""

    @command("errors")
    async def errors() -> None:
        for awaited in (fail(KeyError("deferred")), _raising(KeyError("asyncio"))):
            with pytest.raises(KeyError):
                await awaited
        later: Deferred[None] = Deferred()
        asyncio.get_running_loop().call_soon(later.errback, KeyError("later"))
        with pytest.raises(KeyError, match="later"):
            await later
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        raise Fault(480, "Not There")

    assert await Served(errors).call("errors") == (480, "Not There")


async def _raising(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


@in_loop
async def test_timeouts_of_asyncio() -> None:
    """A time limit of asyncio's own cancels what is awaited, a Deferred as well, and is raised as asyncio says."""
    cancelled: list[str] = []

    @command("limits")
    async def limits() -> str:
        later: Deferred[None] = Deferred(lambda _: cancelled.append("deferred"))
        for awaited in (later, asyncio.get_running_loop().create_future()):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await awaited
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        return "done"

    assert await Served(limits).call("limits") == "done"
    assert cancelled == ["deferred"]


@in_loop
async def test_cancelled_as_it_waits() -> None:
    """At the deadline, or without a client, a command is cancelled in the way of what it awaits, and cleans up; the
    client is answered at once, and the log tells of none that has ended soon.
    """
    ends: list[str] = []

    @command("sleep", timeout=2)
    async def sleep() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ends.append("asyncio")
            raise

    @command("wait", timeout=2)
    async def wait() -> None:
        await asyncio.sleep(0)
        try:
            await Deferred()
        except CancelledError:
            await asyncio.sleep(0)
            ends.append("twisted")
            raise

    served = Served(sleep, wait)
    with logged() as lines:
        for method, awaited in (("sleep", "asyncio"), ("wait", "twisted")):
            called = asyncio.ensure_future(served.call(method))
            await turns()
            served.clock.advance(2)
            assert await called == (504, "Command Timed Out After 2 s")
            await turns()
            left = served.begin(method)
            assert isinstance(left, Deferred)
            left.addErrback(lambda _: None)
            await turns()
            left.cancel()
            assert served.gauge("async_in_flight") == 0
            await turns()
            assert ends == [awaited, awaited]
            ends.clear()
        assert served.gauge("async_overdue") == 0
        served.clock.advance(60)
    assert not [line for line in lines if "goes on" in line]
    assert served.clock.getDelayedCalls() == []


@in_loop
async def test_catches_its_cancellation() -> None:
    """A command that goes on is counted, and after a while the log tells; when it has ended it is forgotten."""
    over = asyncio.Event()

    @command("stubborn", timeout=2)
    async def stubborn() -> None:
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()

    served = Served(stubborn)
    with logged() as lines:
        called = asyncio.ensure_future(served.call("stubborn"))
        await turns()
        served.clock.advance(2)
        assert (await called)[0] == 504
        await turns()
        assert served.gauge("async_overdue") == 1
        served.clock.advance(1)
        assert [line for line in lines if "stubborn goes on after its time limit of 2 s" in line]
        over.set()
        await turns()
    assert [line for line in lines if "command stubborn has ended after 3 s" in line]
    assert served.gauge("async_overdue") == 0


@in_loop
async def test_cancelled_before_its_task_has_begun() -> None:
    """A command that is cancelled in the turn in which it began ends as well."""
    ends: list[str] = []

    @command("sleep")
    async def sleep() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("ended")

    @command("cancelled")
    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    served = Served(sleep, cancelled)
    left = served.begin("sleep")
    assert isinstance(left, Deferred)
    left.cancel()
    await turns()
    assert ends == ["ended"]
    assert served.gauge("async_overdue") == 0
    assert await served.call("cancelled") == (500, "Command Cancelled")


@in_loop
async def test_cancellation_that_crosses_a_result() -> None:
    """A task that is cancelled just before the Deferred fires that it awaits gets its cancellation at the next thing,
    whatever that is, and none twice.
    """
    for following in ("deferred", "asyncio", "nothing"):
        first: Deferred[str] = Deferred()
        second: Any = Deferred() if following == "deferred" else asyncio.get_running_loop().create_future()
        tasks: list[Any] = []
        got: list[str] = []

        async def run(
            first: Deferred[str] = first,
            second: Any = second,
            tasks: list[Any] = tasks,
            got: list[str] = got,
            following: str = following,
        ) -> str:
            tasks.append(asyncio.current_task())
            got.append(await first)
            if following != "nothing":
                try:
                    await second
                except asyncio.CancelledError:
                    got.append("cancelled")
            return await asyncio.sleep(0, "done") if following != "nothing" else "done"

        outcome = begin(run())
        await turns()
        tasks[0].cancel()
        first.callback("first")
        assert await outcome.asFuture(asyncio.get_running_loop()) == "done"
        assert got == (["first"] if following == "nothing" else ["first", "cancelled"])
        await turns()
        assert tasks[0].done()


@in_loop
async def test_many_in_a_row() -> None:
    """Deferreds that have fired already take no stack."""

    async def run() -> int:
        return sum([await succeed(1) for _ in range(5_000)])

    assert await begin(run()).asFuture(asyncio.get_running_loop()) == 5_000


@in_loop
async def test_context() -> None:
    """The current call, and any other context, holds after each await, in tasks that the command begins, and beside
    other calls; what the reactor calls by itself, and what comes after the answer, is part of none.
    """
    mark: ContextVar[str] = ContextVar("mark", default="")
    after: list[Any] = []

    def method() -> str | None:
        call = current_call()
        return None if call is None else call.method

    async def look() -> list[Any]:
        seen = [method()]
        mark.set(f"{method()}")
        await asyncio.sleep(0.001)
        seen.append(method())
        later: Deferred[None] = Deferred()
        asyncio.get_running_loop().call_soon(later.callback, None)
        await later
        seen += [method(), mark.get(), await asyncio.create_task(_method())]
        asyncio.get_running_loop().call_later(0.01, lambda: after.append(method()))
        return seen

    async def _method() -> str | None:
        return method()

    @command("one")
    async def one(call: Call) -> list[Any]:
        assert call.deadline == 60
        return await look()

    @command("two")
    async def two() -> list[Any]:
        return await look()

    @command("plain")
    def plain() -> str | None:
        released.callback(None)
        return method()

    released: Deferred[None] = Deferred()

    @command("released")
    async def waits() -> str | None:
        await released
        return method()

    served = Served(one, two, plain, waits)
    found = await asyncio.gather(served.call("one"), served.call("two"))
    assert [*found] == [["one"] * 5, ["two"] * 5]
    waiting = asyncio.ensure_future(served.call("released"))
    await turns()
    assert await served.call("plain") == "plain"
    assert await waiting == "released"
    await asyncio.sleep(0.02)
    assert after == [None, None]
    assert (method(), mark.get()) == (None, "")


@in_loop
async def test_around() -> None:
    """A function around calls may await asyncio as well; one that has nothing to wait for answers at once."""

    @command("plain")
    def plain() -> str:
        return "result"

    async def slow(call: Call, proceed: Callable[[], Any]) -> Any:
        await asyncio.sleep(0.001)
        return f"slow {await proceed()}"

    async def quick(call: Call, proceed: Callable[[], Any]) -> Any:
        return f"quick {await proceed()}"

    served = Served(plain)
    served.dispatcher.around(quick)
    assert await served.call("plain", Origin("udp")) == "quick result"
    served.dispatcher.around(slow)
    assert await served.call("plain") == "quick slow result"
    assert (await served.call("plain", Origin("udp")))[0] == 500


@in_loop
async def test_futures_as_results() -> None:
    """A function may return a future of asyncio; over a transport that cannot wait it is cancelled."""
    futures: list[asyncio.Future[str]] = []

    @command("future")
    def future() -> Any:
        futures.append(asyncio.ensure_future(asyncio.sleep(0.001, "came")))
        return futures[-1]

    served = Served(future)
    assert await served.call("future") == "came"
    assert (await served.call("future", Origin("udp")))[0] == 500
    await turns()
    assert futures[-1].cancelled()


@pytest.mark.parametrize("where", ["first", "later", "future"])
def test_without_its_loop(where: str) -> None:
    """Without asyncio's reactor, a command that awaits asyncio is refused; the client and the log read what to do."""
    other = asyncio.new_event_loop()
    later: Deferred[None] = Deferred()

    @command("shop.fetch")
    async def fetch() -> None:
        if where == "later":
            await later
        if where == "future":
            await other.create_future()
        await asyncio.sleep(1)

    served = Served(fetch)
    with logged() as lines:
        replies: list[Any] = []
        maybeDeferred(served.begin, "shop.fetch").addCallback(replies.append)
        later.callback(None)
    other.close()
    text = "shop.fetch awaits asyncio, whose loop does not run: use its reactor (twistd --reactor=asyncio)"
    assert json.loads(replies[0].body)["error"] == {"code": 500, "message": text}
    assert [line for line in lines if text in line]
