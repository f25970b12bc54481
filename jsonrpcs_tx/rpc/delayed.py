"""Asynchronous commands in progress: how many there may be, how long each may take, and which go on after that.

A command cannot be stopped against its will: one that catches its cancellation goes on. So its caller is answered at
the deadline, and its slot is freed, whatever it does; it is counted as long as it goes on.
"""

from asyncio import Future
from collections import Counter as Tally
from collections.abc import Hashable
from contextvars import Context
from types import CoroutineType
from typing import Any, Final, Self

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.rpc.coroutines import Driver, begin, is_deferred, wait_for
from jsonrpcs_tx.rpc.faults import Fault
from jsonrpcs_tx.rpc.pending import Pending
from jsonrpcs_tx.rpc.shares import Shares
from jsonrpcs_tx.state.counters import Counter, Counters

_log = make_logger(__name__)

MAX_OVERDUE: Final = 100
"""Runs of one command that may go on after their deadline or without their client; beyond that, none is started."""

CLEANUP: Final = 1.0
"""Seconds that a command may go on after its cancellation before it is logged: asyncio cancels in later turns of its
loop, and what a command has opened may take a while to close.
"""


def is_delayed(result: object) -> bool:
    """Whether a command's result comes later: it has returned a Deferred, a coroutine or another awaitable."""
    return hasattr(type(result), "__await__")


def as_deferred(result: Any) -> Deferred[Any]:
    """A Deferred that fires with a command's result once that has come; cancelling it cancels the command."""
    return result if isinstance(result, Deferred) else begin(wait_for(result))


def abandon(result: Any) -> None:
    """Cancel a command whose result nobody waits for."""
    try:
        if isinstance(result, Deferred):
            result.addErrback(lambda failure: None)
            result.cancel()
        elif isinstance(result, CoroutineType):
            result.close()
        elif isinstance(result, Future):
            result.cancel()
    except BaseException as error:
        report(_log, "a command that was refused could not be ended", error)


class TimedOut(Fault):
    """A command has exceeded its time limit, in seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(504, f"Command Timed Out After {seconds:g} s")


class DelayedCommands:
    """The asynchronous commands in progress.

    @param clock: tells the time.
    @param timeout: the most seconds that a command may take, unless it has a limit of its own.
    @ivar timeout: may be set at any time.
    @param limit: how many may be in progress at the same time, see L{Shares}.
    @param client_limit: how many of these may be one client's.
    @ivar slots: the commands that are waited for.
    @ivar timeouts: counts the commands that took too long.
    """

    def __init__(self, clock: IReactorTime, counters: Counters, timeout: float, limit: int, client_limit: int) -> None:
        self.timeout = timeout
        self.slots: Shares = Shares(limit, client_limit)
        self.clock = clock
        self._overdue: Tally[str] = Tally()
        self._deadlines: dict[float, _Deadlines] = {}
        self.timeouts: Counter = counters.counter("jsonrpc", "timeouts", "asynchronous commands that took too long")
        for name, help, read in (
            ("async_in_flight", "asynchronous commands in progress", lambda: self.slots.taken),
            ("async_overdue", "commands that go on after their time limit or without a client", self._overdue.total),
        ):
            counters.gauge("jsonrpc", name, help, read)

    def have_room(self, client: Hashable) -> bool:
        """Whether a client may start any command; if not, L{check} says whether it may start a certain one."""
        return self.slots.have_room(client) and not self._overdue

    def take_slot(self, client: Hashable) -> bool:
        """Take a slot for any command of a client, if it may start one.

        @return: whether it may.
        """
        return not self._overdue and self.slots.take_if_room(client)

    def check(self, command: str, client: Hashable) -> None:
        """@raise Fault: no more may be started, by this client or by anybody."""
        slots = self.slots
        if slots.full:
            raise Fault(503, f"Too Many Asynchronous Commands: async_limit is {slots.limit}")
        if slots.used_up(client):
            limit = slots.client_limit
            raise Fault(503, f"Too Many Asynchronous Commands Of One Client: async_limit_client is {limit}")
        if self._overdue and self._overdue[command] >= MAX_OVERDUE:
            raise Fault(503, f"Too Many Overdue Commands: {MAX_OVERDUE} runs of {command} go on after their time limit")

    def deadlines(self, seconds: float) -> "_Deadlines":
        """The deadlines of the commands in progress that have a time limit in seconds."""
        deadlines = self._deadlines.get(seconds)
        if deadlines is None:
            deadlines = self._deadlines[seconds] = _Deadlines(self.clock, seconds, self._deadlines)
        return deadlines

    def goes_on(self, command: str, why: str) -> IDelayedCall:
        """Note that a command goes on although nobody waits for it any more. To clean up it has L{CLEANUP} seconds.

        @return: the timer that logs a warning when they are over.
        """
        self._overdue[command] += 1
        message = "command {command} goes on {why}: it catches its cancellation"
        return self.clock.callLater(CLEANUP, _log.warn, message, command=command, why=why)

    def gone_on(self, command: str, seconds: float, warning: IDelayedCall) -> None:
        """Note that such a command has ended at last.

        @param warning: what L{goes_on} returned.
        """
        self._overdue[command] -= 1
        if not self._overdue[command]:
            del self._overdue[command]
        if warning.active():
            warning.cancel()
        else:
            _log.info("command {command} has ended after {seconds:.3g} s", command=command, seconds=seconds)


class _Failed:
    """Passed on by a Deferred that has failed, so that a command which returns it again fails again."""

    __slots__ = ("failure",)

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class _Deadlines:
    """The deadlines of all commands in progress that have the same time limit, with one timer for the next one.

    @param seconds: the time limit.
    @param others: those of all time limits, in which this one is as long as it is needed.
    """

    def __init__(self, clock: IReactorTime, seconds: float, others: dict[float, "_Deadlines"]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._others = others
        self._runs: dict[Run, float] = {}  # by deadline, the next one first
        self._timer: IDelayedCall | None = None

    def add(self, run: "Run", deadline: float) -> None:
        """Begin to wait for a command until its deadline, which is the time limit away."""
        self._runs[run] = deadline
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._look)

    def discard(self, run: "Run") -> None:
        """End the time of a command."""
        del self._runs[run]
        if not self._runs:
            del self._others[self._seconds]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _look(self) -> None:
        """End the commands whose time is up."""
        self._timer = None
        now = self._clock.seconds()
        while self._runs:
            run, deadline = next(iter(self._runs.items()))
            if deadline > now:
                self._timer = self._clock.callLater(deadline - now, self._look)
                return
            run.time_is_up(self._seconds)  # which discards it


class Run(Pending, Driver):
    """One run of a command, which is waited for, and then perhaps goes on. What the command has returned begins to run
    as this is made. If that has not L{over} at once, this becomes a Deferred of the result: see L{wait}.

    While it is waited for it has a deadline, and holds a slot.

    @param result: what the command has returned: a Deferred, a coroutine, anything to await.
    @param command: its name.
    @param context: what a coroutine runs in.
    @ivar over: it has ended.
    """

    over: bool = False
    _deadlines: _Deadlines | None = None  # as long as it is waited for
    _overdue: IDelayedCall | None = None
    _cancelled = False

    def __init__(self, commands: DelayedCommands, result: Any, command: str, context: Context) -> None:
        self._commands = commands
        self._command = command
        if type(result) is CoroutineType:
            self.drive(result, context)
        elif is_deferred(result):
            self._awaited = result
            result.addBoth(self._has_fired)
        else:
            self.drive(wait_for(result), context)

    def outcome(self) -> Any:
        """What it has returned before it was waited for.

        @raise BaseException: it has raised that.
        """
        outcome = self._outcome
        del self._outcome
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    def wait(self, client: Hashable, seconds: float, deadline: float) -> Self:
        """Take a slot, and wait for the result, up to the deadline. To be asked if it is not L{over}.

        @param client: whose slot it is.
        @param seconds: its time limit.
        @param deadline: when that is over.
        @return: itself, which fires with the result, with what the command raises, or at the deadline with L{TimedOut}.
            Cancelling it cancels the command; then it fires at once with what the command makes of that, or
            CancelledError.
        """
        Deferred.__init__(self)  # not before: a coroutine that waits for nothing needs none
        commands = self._commands
        self._client = client
        self._begun = deadline - seconds
        commands.slots.take(client)
        self._deadlines = deadlines = commands.deadlines(seconds)
        deadlines.add(self, deadline)
        return self

    def _has_fired(self, outcome: Any) -> Any:
        """The Deferred that the command returned has fired; others may get its result as well."""
        if isinstance(outcome, Failure):
            outcome = _Failed(outcome)
        self.ended(outcome.failure if type(outcome) is _Failed else outcome)
        return outcome

    def ended(self, outcome: Any) -> None:
        """Deliver the outcome, if it is still waited for."""
        self.over = True
        if self._deadlines is not None:
            self._free()
            self.deliver(outcome)
        elif self._overdue is not None:
            seconds = self._commands.clock.seconds() - self._begun
            self._commands.gone_on(self._command, seconds, self._overdue)
        else:
            self._outcome = outcome

    def time_is_up(self, seconds: float) -> None:
        """Answer without the command, and cancel it.

        @param seconds: its time limit.
        """
        self._free()
        self._commands.timeouts.value += 1
        self._cancel(f"after its time limit of {seconds:g} s")
        self.deliver(Failure(TimedOut(seconds)))

    def cancel(self) -> None:
        """Cancel the command, see L{wait}; once it has ended or its time is up, whatever else the result waits for."""
        if self._deadlines is None:
            super().cancel()
        elif not self._cancelled:
            self._cancelled = True  # else a command could have itself cancelled again, without end
            self._cancel("without its client")
            if self._deadlines is not None:
                self._free()
                self.deliver(Failure(CancelledError()))

    def _cancel(self, why: str) -> None:
        """Cancel the command, and note it if it goes on."""
        try:
            self.interrupt()
        except BaseException as error:
            report(_log, "command {command} could not be cancelled", error, command=self._command)
        if not self.over:
            self._overdue = self._commands.goes_on(self._command, why)

    def _free(self) -> None:
        """Free the slot: once, when the answer is due."""
        assert self._deadlines is not None  # it is waited for
        self._deadlines.discard(self)
        self._deadlines = None
        self._commands.slots.free(self._client)
