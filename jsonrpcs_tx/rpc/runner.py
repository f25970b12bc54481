"""Runs commands that need more than a function call: the call itself, functions around it, least interval, lock, and
the limits of asynchronous ones.
"""

from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from types import CoroutineType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.rpc.around import Arounds
from jsonrpcs_tx.rpc.call import Call, context_of, run_in
from jsonrpcs_tx.rpc.delayed import DelayedCommands, Run, abandon, as_deferred, is_delayed
from jsonrpcs_tx.rpc.deprecations import Deprecations
from jsonrpcs_tx.rpc.envelope import Request
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.lock import Lock
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.registry import Command
from jsonrpcs_tx.state.sharing import PendingChange

_Bind: TypeAlias = Callable[[Command, Request], Iterable[Any]]
"""Gives the arguments of a command, or raises what is wrong with the parameters of a request."""


class Runner:
    """Runs the commands of a dispatcher that are not plain; see L{Command}.

    @param clock: tells the time.
    @param delayed: the asynchronous commands in progress, and their limits.
    @param exec_delta: the least interval in seconds of commands with the option C{exec_delta}.
    @ivar arounds: the functions around every call.
    """

    def __init__(self, clock: IReactorTime, delayed: DelayedCommands, exec_delta: int) -> None:
        self.arounds: Arounds = Arounds()
        self._exec_delta = exec_delta
        self._clock = clock
        self._delayed = delayed
        self._deprecations = Deprecations()
        self._last_runs: WeakKeyDictionary[Command, float] = WeakKeyDictionary()
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()  # those that are held

    def run(self, command: Command, call: Call, origin: Origin, bind: _Bind) -> Any:
        """Run a command, with the functions around it.

        @return: the result, or a Deferred of it, see L{wait}.
        @raise Fault: the command may not run now or there, or has raised it.
        """
        if command.asynchronous:
            if not (origin.asynchronous and self._delayed.have_room(origin.client)):
                self._check_asynchronous(command, origin)
            if origin.deadline is None:
                call.deadline = self._clock.seconds() + self._time_limit(command)
        # What is begun here runs in the context of the call; the timer of the time limit does not belong there.
        context = context_of(call)
        if command.simple and not self.arounds.functions:
            result = context.run(command.function, *bind(command, call.request))
        else:
            result = context.run(self._begin_to_run, command, call, origin, bind)
        if type(result) is CoroutineType or is_delayed(result):
            return self.wait_in(result, command, call, origin, context)
        return result

    def begin_to_pass_on(self, command: Command, origin: Origin) -> float:
        """Check that a command may be passed on to a server that keeps to its time, and take a slot for it, unless it
        is part of another call.

        @return: the deadline, in seconds of the reactor.
        @raise Fault: it may not run now or there.
        """
        delayed, timeout = self._delayed, command.options.timeout
        if not (origin.asynchronous and origin.deadline is None and delayed.take_slot(origin.client)):
            self._check_asynchronous(command, origin)
            if origin.deadline is not None:
                return origin.deadline
            delayed.slots.take(origin.client)
        return self._clock.seconds() + (delayed.timeout if timeout is None else timeout)

    def wait(self, result: Any, command: Command, call: Call, origin: Origin) -> Any:
        """Wait for the result of a command, up to its time limit; see L{Run.wait}.

        @param result: what it returned: a Deferred, a coroutine, anything to await.
        @return: the result, if it has come already, or a Deferred of it.
        @raise Fault: the command may not answer later over this transport; it has been cancelled.
        """
        return self.wait_in(result, command, call, origin, context_of(call))

    def wait_in(self, result: Any, command: Command, call: Call, origin: Origin, context: Context) -> Any:
        """The same in the context of the call; a coroutine begins to run.

        @return: if the call is part of another one, which waits for it: a Deferred.
        """
        if not command.asynchronous:
            context.run(self._check_result, result, command, origin)
        if origin.deadline is not None:
            return context.run(as_deferred, result)
        run = Run(self._delayed, result, command.name, context)
        if run.over:
            return run.outcome()
        seconds = self._time_limit(command)
        if call.deadline is None:
            call.deadline = self._clock.seconds() + seconds
        return run.wait(origin.client, seconds, call.deadline)

    def _begin_to_run(self, command: Command, call: Call, origin: Origin, bind: _Bind) -> Any:
        """Begin a command with the functions around it.

        @return: what they have returned.
        """
        run = self._run_around if self.arounds.functions else self._begin
        return run(command, call, origin, bind)

    def _run_around(self, command: Command, call: Call, origin: Origin, bind: _Bind) -> Any:
        """Run a command with the functions around it.

        @return: the result, or a Deferred of it if it has not come yet: so a coroutine around the command that waits
            for nothing answers at once, over every transport.
        """
        begun: list[Deferred[Any]] = []

        def proceed() -> Any:
            result = run_in(call, self._begin, command, call, origin, bind)
            if not is_delayed(result):
                return result
            begun.append(run_in(call, self._begin_inside, result, command, origin))
            return begun[0]

        def drop(outcome: Any) -> Any:
            """Cancel a command that no function around it has waited for."""
            if begun and not begun[0].called:
                abandon(begun[0])
            return outcome

        try:
            result = self.arounds.run(call, proceed)
            outer = as_deferred(result) if is_delayed(result) else None
        except BaseException:
            drop(None)
            raise
        if outer is None:
            return drop(result)
        outer.addBoth(drop)
        if not outer.called or outer.paused:
            return outer
        outcomes: list[Any] = []
        outer.addBoth(outcomes.append)
        if isinstance(outcomes[0], Failure):
            outcomes[0].raiseException()
        return outcomes[0]

    def _begin(self, command: Command, call: Call, origin: Origin, bind: _Bind) -> Any:
        """Begin a command: at once, or one whose lock is taken as soon as that is free.

        @return: what the command returned, or a Deferred of that.
        @raise Fault: the last run was too recent, or the command would have to wait, and may not.
        """
        if command.options.deprecated is not None:
            self._deprecations.tell(command.name, command.options.deprecated, call.caller)
        self._keep_interval(command)
        function = command.function
        if command.call_parameter is not None:
            function = command.call_parameter.passing(function, call)
        arguments = bind(command, call.request)
        if command.options.lock is None:
            return function(*arguments)
        return self._run_locked(command.options.lock, partial(function, *arguments), call, origin)

    def _keep_interval(self, command: Command) -> None:
        """Begin the least interval of a command, before its parameters are looked at.

        @raise Fault: the last one is not over.
        """
        interval = self._exec_delta if command.options.exec_delta else command.options.interval
        if interval:
            now = self._clock.seconds()
            last = self._last_runs.get(command)
            if last is not None and 0 <= now - last < interval:  # below 0 the clock was set back
                raise Fault(500, "Command Executed Too Fast")
            self._last_runs[command] = now

    def _run_locked(self, name: str, function: Callable[[], Any], call: Call, origin: Origin) -> Any:
        """Run a function that needs a lock; see L{_begin}."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = Lock()
        if lock.locked:
            if origin.asynchronous:
                return lock.run(partial(run_in, call, maybeDeferred, function))
            raise Fault(500, f"Command Locked: one with the lock {name} is still in progress")
        result = function()
        if not is_delayed(result):
            return result
        lock.acquire()

        def release(outcome: Any) -> Any:
            lock.release()
            return outcome

        return as_deferred(result).addBoth(release)

    def _begin_inside(self, result: Any, command: Command, origin: Origin) -> Deferred[Any]:
        """Begin to wait for a command's result, for a function around it; a coroutine begins to run.

        @raise Fault: the command may not answer later over this transport; it has been cancelled.
        """
        self._check_result(result, command, origin)
        return as_deferred(result)

    def _check_result(self, result: Any, command: Command, origin: Origin) -> None:
        """@raise Fault: the command may not answer later over this transport; it has been cancelled."""
        try:
            self._check_asynchronous(command, origin, soon=isinstance(result, PendingChange))
        except Fault:
            abandon(result)
            raise

    def _check_asynchronous(self, command: Command, origin: Origin, soon: bool = False) -> None:
        """
        @param soon: it waits for a change that servers share, which every transport has the time for.
        @raise Fault: the command may not be asynchronous there, or too many others are in progress.
        """
        if not origin.asynchronous and (not soon or origin.at_once):
            raise Fault(500, f"{command.name} is asynchronous: it needs {'a call' if soon else 'HTTP or HTTPS'}")
        if origin.deadline is None:
            self._delayed.check(command.name, origin.client)

    def _time_limit(self, command: Command) -> float:
        return self._delayed.timeout if command.options.timeout is None else command.options.timeout
