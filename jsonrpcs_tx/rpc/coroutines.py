"""Runs the coroutines of commands: as Twisted does, and where asyncio's loop runs, as tasks of asyncio that may await
Deferreds as well.
"""

import asyncio
from asyncio.events import _get_running_loop
from asyncio.tasks import _enter_task, _leave_task  # for those who make tasks of their own, as the library says
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, TypeGuard, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

_T = TypeVar("_T")

_NO_LOOP: Final = ("no running event loop", "await wasn't used with future")
"""What asyncio says where it is awaited without its loop: before it makes a future, and after."""

_RUNNING: Final[Any] = object()
"""Stand in for what a coroutine awaits, while it runs and when it has ended."""

_CANCELLED: Final[Any] = object()
"""A Deferred that was cancelled fires with it, and then waits for the coroutine to end."""


def begin(coroutine: Coroutine[Any, Any, _T]) -> Deferred[_T]:
    """Begin a coroutine. It runs at once, up to the first result that has not come yet.

    @return: a Deferred that fires with what the coroutine returns, or fails with what it raises. Cancelling it cancels
        what the coroutine awaits; it fires when the coroutine has ended.
    """
    loop = _get_running_loop()
    return Deferred.fromCoroutine(coroutine) if loop is None else _TaskDriver(coroutine, loop).outcome


def is_deferred(value: object) -> TypeGuard[Deferred[Any]]:
    """Whether a value is a Deferred. isinstance costs three times as much, and asks the value for its class, which may
    raise.
    """
    return Deferred in type(value).__mro__


def needs_asyncio(error: BaseException | None) -> bool:
    """Whether an error says that asyncio was awaited where its loop does not run."""
    return isinstance(error, RuntimeError) and str(error) in _NO_LOOP and _get_running_loop() is None


class Driver:
    """Drives a coroutine in the way that L{begin} says, for less than a Deferred costs. A subclass says in L{ended}
    what becomes of its outcome.
    """

    __slots__ = ("_awaited", "_context", "_coroutine", "_value")

    _awaited: Deferred[Any] | None

    def drive(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> None:
        """Begin a coroutine. One that returns a Deferred ends when that has fired.

        @param context: what it runs in, here and later.
        """
        if _get_running_loop() is None:
            self._coroutine = coroutine
            self._context = context
            self._go_on(None)
        else:
            self._awaited = context.run(begin, wait_for(coroutine))
            self._awaited.addBoth(self.ended)

    def interrupt(self) -> None:
        """Cancel what the coroutine awaits. It goes on with that error, which it may catch."""
        if self._awaited is not None:
            self._awaited.cancel()

    def ended(self, outcome: Any) -> object:
        """The coroutine has ended: called once.

        @param outcome: what it has returned, or a Failure of what it has raised.
        """
        raise NotImplementedError

    def _go_on(self, value: Any) -> None:
        """Run the coroutine until it awaits a Deferred that has not fired, or ends. Anything else that it awaits is
        sent back to it, as Twisted does.
        """
        self._awaited = None
        run, coroutine = self._context.run, self._coroutine
        while True:
            try:
                if issubclass(type(value), Failure):
                    value = run(value.throwExceptionIntoGenerator, coroutine)
                else:
                    value = run(coroutine.send, value)
            except StopIteration as stop:
                value = stop.value
                if not is_deferred(value):
                    break
                self._coroutine = coroutine = wait_for(value)
                value = None
                continue
            except BaseException as error:
                trace = error.__traceback__
                assert trace is not None  # it was raised
                value = Failure(error.with_traceback(trace.tb_next))  # else it would keep itself alive, by this frame
                del trace
                break
            if is_deferred(value):
                if type(value) is Deferred and not value.called:  # so it does not fire here
                    self._awaited = value
                    value.addBoth(self._go_on)
                    return
                self._value = _RUNNING
                value.addBoth(self._fired)
                if self._value is _RUNNING:
                    self._awaited = value
                    return
                value, self._value = self._value, None
        self.ended(value)

    def _fired(self, value: Any) -> None:
        """Resume the coroutine: from here, unless it is still being run because the Deferred had fired before."""
        if self._awaited is None:
            self._value = value
        else:
            self._go_on(value)


async def wait_for(result: Awaitable[Any]) -> Any:
    """What something awaitable gives in the end: a Deferred cannot fire with another."""
    value = await result
    return await value if isinstance(value, Deferred) else value


class _TaskDriver(Coroutine[Any, None, None]):
    """Drives a coroutine as a task of asyncio, whose coroutine it is itself.

    What the coroutine awaits decides who resumes it. Where that is a Deferred, the coroutine is resumed as soon as it
    fires, as with Twisted, in the context and under the name of the task, which waits for a future meanwhile.
    Everything else is handed to the task. So a coroutine that awaits only Deferreds runs as it does under any reactor.

    @ivar outcome: see L{begin}.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._context = copy_context()
        self._awaited: Any = _RUNNING
        self._with_task = False  # the task has been handed what is awaited
        self._came: list[Any] | None = None
        self._result: list[Any] = []
        self._parked: asyncio.Future[None] | None = None
        self.outcome = self._waiting = self._make_outcome()
        self._task = asyncio.Task(self, loop=loop, context=self._context)
        self._task.add_done_callback(self._deliver, context=Context())  # what is called then is not part of the command
        self._enter(partial(coroutine.send, None))

    def send(self, value: Any) -> Any:
        """The task goes on: what it waited for has come.

        @return: what it is to wait for next.
        @raise StopIteration: the coroutine has ended.
        """
        if self._with_task:
            self._go_on(partial(self._coroutine.send, value))
        return self._next()

    def throw(self, error: Any, *_: Any) -> Any:
        """The task goes on with an error: it was cancelled, or what it waited for has failed; see L{send}."""
        if not self._result:
            awaited, self._awaited = self._awaited, _RUNNING
            if not self._with_task and awaited is not None:
                awaited.cancel()
            self._go_on(partial(self._coroutine.throw, error))
        return self._next()

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        raise TypeError("it is the task's alone")

    def _next(self) -> Any:
        """What the task is to wait for.

        @raise StopIteration: for nothing, the coroutine has ended.
        """
        if self._result:
            raise StopIteration
        self._with_task = not isinstance(self._awaited, Deferred)
        if self._with_task:
            return self._awaited
        self._parked = self._loop.create_future()
        return next(self._parked.__await__())

    def _enter(self, resume: Callable[[], Any]) -> None:
        """Resume the coroutine from outside the task."""
        loop, task = self._loop, self._task
        runs = _get_running_loop() is loop  # else the reactor has stopped
        outer = asyncio.current_task(loop) if runs else None
        if outer is not None:
            _leave_task(loop, outer)
        if runs:
            _enter_task(loop, task)
        try:
            self._context.run(self._go_on, resume)
        finally:
            if runs:
                _leave_task(loop, task)
            if outer is not None:
                _enter_task(loop, outer)
        if not isinstance(self._awaited, Deferred) and self._parked is not None and not self._parked.done():
            self._parked.set_result(None)
        self._deliver()

    def _go_on(self, resume: Callable[[], Any]) -> None:
        """Run the coroutine until it awaits what has not come yet, or ends."""
        while True:
            self._awaited = _RUNNING
            try:
                awaited = resume()
            except StopIteration as stop:
                self._result.append(stop.value)
                return
            except asyncio.CancelledError as error:
                self._result.append(Failure(CancelledError(*error.args)))
                return
            except BaseException:
                self._result.append(Failure())
                return
            self._awaited, self._with_task = awaited, False
            if not isinstance(awaited, Deferred):
                return
            came = self._came = []
            awaited.addBoth(self._fired, awaited)
            self._came = None
            if not came:
                return
            resume = self._resumption(came[0])

    def _fired(self, value: Any, deferred: Deferred[Any]) -> Any:
        """Resume the coroutine when a Deferred fires, if it still awaits that one."""
        if self._awaited is not deferred:
            return None
        self._awaited = _RUNNING
        if self._came is None:
            self._enter(self._resumption(value))
        else:  # it had fired before
            self._came.append(value)
        return None if isinstance(value, Failure) else value

    def _resumption(self, value: Any) -> Callable[[], Any]:
        if isinstance(value, Failure):
            return partial(value.throwExceptionIntoGenerator, self._coroutine)
        return partial(self._coroutine.send, value)

    def _make_outcome(self) -> Deferred[Any]:
        outcome: Deferred[Any] = Deferred(self._cancel)
        return outcome.addCallback(lambda value: self._waiting if value is _CANCELLED else value)

    def _cancel(self, outcome: Deferred[Any]) -> None:
        """Cancel what is awaited, in its own way."""
        self._waiting = self._make_outcome()
        outcome.callback(_CANCELLED)
        if isinstance(self._awaited, Deferred):
            self._awaited.cancel()
        else:
            self._task.cancel()

    def _deliver(self, _: object = None) -> None:
        """Deliver the outcome of the coroutine, once, if it has ended."""
        if self._result and not self._waiting.called:
            self._waiting.callback(self._result[0])


RESUME: Final = (Driver._go_on.__code__, _TaskDriver._go_on.__code__)  # noqa: SLF001 # they belong to this module
"""The code of the functions that resume coroutines, for those who look at the call stack."""
