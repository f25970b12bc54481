"""Finds the command of each request, binds its parameters, runs it and replies: at once, or as a Deferred."""

from collections.abc import Iterable
from types import CoroutineType
from typing import Any, Final, final

import msgspec
from msgspec import UNSET
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx import pretty, store
from jsonrpcs_tx.access import Access, Caller
from jsonrpcs_tx.counters import Counter, Counters, Traffic
from jsonrpcs_tx.envelope import KAMAILIO, Decoded, Dialect, Envelope, Malformed, Request
from jsonrpcs_tx.faults import Fault
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.registry import Command, Mismatch, Registry
from jsonrpcs_tx.store import ReplyStore

_log = make_logger(__name__)


class Origin(msgspec.Struct, frozen=True):
    """Where a document comes from.

    @ivar transport: its name, for messages.
    @ivar asynchronous: the reply may come later; else an asynchronous command is refused.
    @ivar caller: who sends it, to be checked for what he may call; None: he may call everything.
    """

    transport: str
    asynchronous: bool = False
    caller: Caller | None = None


@final
class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a document is answered with.

    @ivar body: the reply document; empty where the client gets none (dialect C{jsonrpc2}, notifications).
    @ivar code: 200, or the code of the fault; of a batch always 200.
    @ivar text: OK, or the text of the fault, whole.
    @ivar fault: it is a fault, whatever its code.
    """

    body: bytes
    code: int = 200
    text: str = "OK"
    fault: bool = False


NO_REPLY: Final = Reply(b"", 204, "No Content")


class _TrafficByTransport(dict[str, Traffic]):
    """The counters of each transport, made when it is first asked for."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def __missing__(self, transport: str) -> Traffic:
        self[transport] = traffic = Traffic(self._counters, transport)
        return traffic


class _Count:
    """What a dispatcher counts.

    @ivar in_flight: the number of asynchronous commands at work.
    """

    def __init__(self, counters: Counters, dialect: Dialect) -> None:
        def jsonrpc(name: str, help: str) -> Counter:
            return counters.counter("jsonrpc", name, help)

        self.traffic = _TrafficByTransport(counters)
        self.in_flight = 0
        self.requests = counters.counter("core", "rcv_requests", "requests that came")
        self.timeouts = jsonrpc("timeouts", "asynchronous commands that took too long")
        self._errors = counters.counter("core", "err_requests", "requests that were answered with an error")
        self._faults = jsonrpc("faults", "errors of commands")
        self._kinds = {
            dialect.parse_error: jsonrpc("parse_errors", "documents that were not JSON"),
            dialect.invalid_request: jsonrpc("invalid_requests", "documents that were no request"),
            dialect.method_not_found: jsonrpc("methods_not_found", "requests for a command that is not there"),
            dialect.invalid_params: jsonrpc("invalid_params", "requests whose parameters did not fit the command"),
            dialect.internal_error: jsonrpc("internal_errors", "commands that failed; the log says how"),
        }
        counters.gauge("jsonrpc", "async_in_flight", "asynchronous commands at work", lambda: self.in_flight)

    def error(self, fault: Fault) -> None:
        """Count an error reply."""
        self._errors.value += 1
        self._kinds.get(fault, self._faults).value += 1


class Dispatcher:
    """Answers documents with the commands of a registry.

    @param registry: the commands.
    @param clock: tells the time, for least intervals and time limits.
    @param dialect: how JSON-RPC is spoken.
    @param pretty_format: reply in Kamailio's layout for people; else compactly.
    @param async_timeout: the most seconds that an asynchronous command may take.
    @param access: decides who may call what.
    @ivar decode: reads a document, see L{Envelope.decode}.
    @ivar async_timeout: may be set at any time; C{async_limit}, too.
    @param async_limit: how many of these may be at work at the same time.
    @param reply_store: writes replies to files for those who ask for it; None: nobody's.
    @param counters: where requests, replies and errors are counted: in a group for each transport, and in the groups
        C{core} and C{jsonrpc}.
    """

    def __init__(
        self,
        registry: Registry,
        clock: IReactorTime,
        dialect: Dialect = KAMAILIO,
        pretty_format: bool = False,
        async_timeout: float = 60,
        async_limit: int = 1000,
        counters: Counters | None = None,
        access: Access | None = None,
        reply_store: ReplyStore | None = None,
    ) -> None:
        self.dialect = dialect
        self.access = Access() if access is None else access
        self.counters = Counters() if counters is None else counters
        self._commands = registry.table
        self._clock = clock
        self._envelope = Envelope(dialect)
        self.decode = self._envelope.decode
        self._pretty_format = pretty_format
        self._store = reply_store
        self.async_timeout = async_timeout
        self.async_limit = async_limit
        self._last_runs: dict[str, float] = {}
        self._locks: dict[str, defer.DeferredLock] = {}
        self._count = _Count(self.counters, dialect)

    def origin(self, transport: str, asynchronous: bool = False, **facts: Any) -> Origin:
        """The origin of documents from one caller.

        @param facts: what is known of the caller, see L{Caller}.
        """
        return Origin(transport, asynchronous, None if self.access.trivial else Caller(transport, **facts))

    def traffic(self, transport: str) -> Traffic:
        """The counters of a transport."""
        return self._count.traffic[transport]

    def dispatch(self, document: bytes, origin: Origin, request: Decoded | None = None) -> Reply | Deferred[Reply]:
        """Answer a document: a request or a batch.

        @param document: anything that a client may send.
        @param request: what L{decode} has read of it, where somebody wanted to see that first.
        @return: the reply; where a command is asynchronous a Deferred of it, which fires when the last command has
            answered, always with a L{Reply}. Cancelling it cancels the commands.
        """
        if request is None:
            request = self.decode(document)
        traffic = self._count.traffic[origin.transport]
        traffic.bytes_received.value += len(document)
        reply: Reply | Deferred[Reply]
        if type(request) is list:
            traffic.requests.value += len(request)
            self._count.requests.value += len(request)
            reply = self._answer_batch(request, origin)
        else:
            traffic.requests.value += 1
            self._count.requests.value += 1
            reply = self._answer(request, origin)  # type: ignore[arg-type] # it is no list
        if type(reply) is Reply:
            may_store = self._store is not None and origin.transport in store.TRANSPORTS
            return self._finish(reply, traffic, document if may_store else None)
        return reply.addCallback(self._finish, traffic)

    def _put(self, document: bytes, reply: Reply) -> Reply:
        """Store a reply, if its request asks for that, and reply how that went."""
        assert self._store is not None
        told = self._store.put(document, reply.body)
        if told is None:
            return reply
        return Reply(told[0]) if told[1] else Reply(told[0], 500, "Storing failed", True)

    def stateless(self, request: Decoded) -> bool:
        """Whether any process can answer a document: each request in it is for a command that is declared free of
        state, or is none.
        """
        return all(map(self._is_stateless, request)) if type(request) is list else self._is_stateless(request)  # type: ignore[arg-type]

    def _is_stateless(self, request: Request | Malformed) -> bool:
        if type(request) is not Request:
            return True
        command = self._commands.get(request.method)
        return command is not None and command.options.stateless

    def _finish(self, reply: Reply, traffic: Traffic, document: bytes | None = None) -> Reply:
        """Lay a reply out, store it if the document that it answers may ask for that, and count it."""
        if self._pretty_format:
            reply = Reply(pretty.layout(reply.body), reply.code, reply.text, reply.fault)
        if reply.body:
            if document is not None:
                reply = self._put(document, reply)
            traffic.replies.value += 1
            traffic.bytes_sent.value += len(reply.body)
        return reply

    def refuse(self, document: bytes, fault: Fault) -> Reply:
        """Answer every request of a document with a fault, without running any: what a transport says that cannot
        take it, or cannot carry its reply.
        """
        request = self.decode(document)
        if type(request) is list:
            return self._join([self._error(fault, member) for member in request])
        return self._error(fault, request)  # type: ignore[arg-type]

    def _answer_batch(self, requests: list[Request | Malformed], origin: Origin) -> Reply | Deferred[Reply]:
        replies = [self._answer(request, origin) for request in requests]
        if any(isinstance(reply, Deferred) for reply in replies):
            waiting = [reply if isinstance(reply, Deferred) else defer.succeed(reply) for reply in replies]
            return defer.gatherResults(waiting, consumeErrors=True).addCallback(self._join)
        return self._join(replies)  # type: ignore[arg-type]

    def _join(self, replies: list[Reply]) -> Reply:
        bodies = [reply.body for reply in replies if reply.body]
        return Reply(self._envelope.batch(bodies)) if bodies else NO_REPLY

    def _answer(self, request: Request | Malformed, origin: Origin) -> Reply | Deferred[Reply]:
        if type(request) is Malformed:
            _log.debug("{transport}: {reason}", transport=origin.transport, reason=request.reason)
            return self._error(request.fault, request)
        assert type(request) is Request
        if origin.caller is not None and not self.access.allows(origin.caller, request.method):
            return self._forbid(origin.caller, request)
        command = self._commands.get(request.method)
        if command is None:
            return self._error(self.dialect.method_not_found, request)
        try:
            if command.plain:
                result = command.function(*self._arguments(command, request))
            else:
                result = self._run(command, request, origin)
            if type(result) not in _AT_ONCE and isinstance(result, _LATER):
                try:
                    self._check_asynchronous(command, origin)
                except Fault:
                    _abandon(result)
                    raise
                return self._answer_later(_as_deferred(result), command, request)
            return self._result(result, request)
        except (Exception, SystemExit) as error:
            return self._error(self._fault_of(error, command), request)

    def _check_asynchronous(self, command: Command, origin: Origin) -> None:
        """@raise Fault: the command may not be asynchronous there, or too many others are at work."""
        if not origin.asynchronous:
            raise Fault(500, f"{command.name} is asynchronous: it needs HTTP or HTTPS")
        if self._count.in_flight >= self.async_limit:
            raise Fault(503, f"Too Many Asynchronous Commands: {self.async_limit} are at work")

    def _forbid(self, caller: Caller, request: Request) -> Reply:
        _log.warn("{caller} may not call {method!r:.100}", caller=caller, method=request.method)
        return self._error(Fault(403, "Forbidden"), request)

    def _arguments(self, command: Command, request: Request) -> Iterable[Any]:
        """Bind the params of a request.

        @raise Mismatch: they do not fit.
        """
        params = request.params
        if type(params) is list:
            return command.binding.positional(params)
        if params is UNSET:
            return command.binding.positional([])
        assert type(params) is dict
        if self.dialect.by_name:
            return command.binding.named(params)
        return command.binding.positional(list(params.values()))

    def _run(self, command: Command, request: Request, origin: Origin) -> Any:
        """Run a command that is asynchronous, or has a least interval or a lock."""
        if command.asynchronous:
            self._check_asynchronous(command, origin)
        if command.options.interval:
            self._count_run(command)
        arguments = self._arguments(command, request)
        if command.options.lock is None:
            return command.function(*arguments)
        return self._run_locked(command, arguments, origin)

    def _count_run(self, command: Command) -> None:
        now = self._clock.seconds()
        last = self._last_runs.get(command.name)
        if last is not None and 0 <= now - last < command.options.interval:  # below 0 the clock was set back
            raise Fault(500, "Command Executed Too Fast")
        self._last_runs[command.name] = now

    def _run_locked(self, command: Command, arguments: Iterable[Any], origin: Origin) -> Any:
        """Run a command with a lock: at once where the lock is free, else when it is."""
        lock = self._locks.setdefault(str(command.options.lock), defer.DeferredLock())
        if lock.locked:
            if origin.asynchronous:
                return lock.run(command.function, *arguments)
            raise Fault(500, f"Command Locked: one with the lock {command.options.lock} is still at work")
        result = command.function(*arguments)
        if not isinstance(result, _LATER):
            return result
        lock.acquire()

        def release(outcome: Any) -> Any:
            lock.release()
            return outcome

        return _as_deferred(result).addBoth(release)

    def _answer_later(self, result: Deferred[Any], command: Command, request: Request) -> Deferred[Reply]:
        limit = self.async_timeout if command.options.timeout is None else command.options.timeout

        def failed(failure: Failure) -> Reply:
            return self._error(self._fault_of(failure.value, command), request)

        def timed_out(outcome: object, seconds: float) -> Failure:
            self._count.timeouts.value += 1
            return Failure(Fault(504, f"Command Timed Out After {seconds:g} s"))

        def done(reply: Reply) -> Reply:
            self._count.in_flight -= 1
            return reply

        self._count.in_flight += 1
        result.addTimeout(limit, self._clock, timed_out)
        return result.addCallback(self._result, request).addErrback(failed).addCallback(done)

    def _fault_of(self, error: BaseException | None, command: Command) -> Fault:
        if isinstance(error, Fault):
            return error.with_traceback(None)  # one that is raised again and again would keep them all
        if isinstance(error, Mismatch):
            _log.debug("{command}: {reason}", command=command.name, reason=error.reason)
            return (error.usage and command.options.usage) or self.dialect.invalid_params
        if isinstance(error, defer.CancelledError):
            return Fault(500, "Command Cancelled")
        _log.failure("command {command} failed", Failure(error), command=command.name)
        return self.dialect.internal_error

    def _result(self, value: object, request: Request) -> Reply:
        body = self._envelope.result(value, request.id)
        if request.id is UNSET and self.dialect.notifications:
            return NO_REPLY
        return Reply(body)

    def _error(self, fault: Fault, request: Request | Malformed) -> Reply:
        self._count.error(fault)
        if request.id is UNSET and self.dialect.notifications:
            return NO_REPLY
        return Reply(self._envelope.error(fault, request.id), fault.code, fault.text, True)


_AT_ONCE: Final = frozenset((list, dict, str, int, float, bool, type(None)))
"""The ordinary types of results, known as such without L{Deferred}'s slow instance check."""

_LATER: Final = (Deferred, CoroutineType)
"""What a command returns whose result comes later."""


def _as_deferred(result: Any) -> Deferred[Any]:
    return result if isinstance(result, Deferred) else Deferred.fromCoroutine(result)


def _abandon(result: Any) -> None:
    """End what a command has begun whose result nobody waits for."""
    if isinstance(result, Deferred):
        result.addErrback(lambda failure: None)
        result.cancel()
    else:
        result.close()
