"""Runs commands that need more than a call: least interval, lock, and what limits asynchronous ones."""

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime

from jsonrpcs_tx.rpc.delayed import DelayedCommands, abandon, as_deferred, is_delayed
from jsonrpcs_tx.rpc.deprecations import Deprecations
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.origin import Origin
from jsonrpcs_tx.rpc.registry import Command


class Runner:
    """Runs the commands of a dispatcher that are not plain; see L{Command}.

    @param clock: tells the time.
    @param delayed: the asynchronous commands in progress, and their limits.
    """

    def __init__(self, clock: IReactorTime, delayed: DelayedCommands) -> None:
        self._clock = clock
        self._delayed = delayed
        self._deprecations = Deprecations()
        self._last_runs: WeakKeyDictionary[Command, float] = WeakKeyDictionary()
        self._locks: WeakValueDictionary[str, DeferredLock] = WeakValueDictionary()  # those that are held

    def admit(self, command: Command, origin: Origin) -> None:
        """See that a command may run now, before its parameters are looked at; its least interval begins.

        @raise Fault: it is asynchronous and may not be, or the last run was too short a time ago.
        """
        if command.asynchronous:
            self._check_asynchronous(command, origin)
        if command.options.deprecated is not None:
            caller = origin.transport if origin.caller is None else str(origin.caller)
            self._deprecations.tell(command.name, command.options.deprecated, caller)
        interval = command.options.interval
        if interval:
            now = self._clock.seconds()
            last = self._last_runs.get(command)
            if last is not None and 0 <= now - last < interval:  # below 0 the clock was set back
                raise Fault(500, "Command Executed Too Fast")
            self._last_runs[command] = now

    def run(self, command: Command, arguments: Iterable[Any], origin: Origin) -> Any:
        """Run a command that was admitted: at once, or one whose lock is taken as soon as that is free.

        @return: what the command returned, or a Deferred of that.
        @raise Fault: it would have to wait, and may not.
        """
        if command.options.lock is None:
            return command.function(*arguments)
        lock = self._locks.get(command.options.lock)
        if lock is None:
            lock = self._locks[command.options.lock] = DeferredLock()
        if lock.locked:
            if origin.asynchronous:
                return lock.run(command.function, *arguments)
            raise Fault(500, f"Command Locked: one with the lock {command.options.lock} is still in progress")
        result = command.function(*arguments)
        if not is_delayed(result):
            return result
        lock.acquire()

        def release(outcome: Any) -> Any:
            lock.release()
            return outcome

        return as_deferred(result).addBoth(release)

    def wait(self, result: Any, command: Command, origin: Origin) -> Deferred[Any]:
        """Wait for the result of a command, up to its time limit; see L{DelayedCommands.wait}.

        @param result: what it returned: a Deferred, a coroutine, anything to await.
        @raise Fault: the command may not answer later there; it has been cancelled.
        """
        try:
            self._check_asynchronous(command, origin)
        except Fault:
            abandon(result)
            raise
        return self._delayed.wait(result, command.name, origin.client, command.options.timeout)

    def _check_asynchronous(self, command: Command, origin: Origin) -> None:
        """@raise Fault: the command may not be asynchronous there, or too many others are in progress."""
        if not origin.asynchronous:
            raise Fault(500, f"{command.name} is asynchronous: it needs HTTP or HTTPS")
        self._delayed.check(command.name, origin.client)
