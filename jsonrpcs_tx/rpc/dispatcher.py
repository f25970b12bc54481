"""Finds the command of each request, binds its parameters, runs it and replies: at once, or as a Deferred."""

from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import UNSET
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.addresses import is_loopback
from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.rpc import pretty
from jsonrpcs_tx.rpc import replystore
from jsonrpcs_tx.rpc.batches import Batch, Batches
from jsonrpcs_tx.rpc.delayed import DelayedCommands, abandon, as_deferred, is_delayed
from jsonrpcs_tx.rpc.envelope import KAMAILIO, Decoded, Dialect, Envelope, Malformed, Request
from jsonrpcs_tx.rpc.faults import Fault, sound
from jsonrpcs_tx.rpc.registry import Command, Mismatch, Registry
from jsonrpcs_tx.rpc.replies import NO_REPLY as NO_REPLY
from jsonrpcs_tx.rpc.replies import Reply as Reply
from jsonrpcs_tx.rpc.replystore import ReplyStore
from jsonrpcs_tx.rpc.results import SAFE, check_result
from jsonrpcs_tx.state.counters import Counter, Counters, Traffic

_log = make_logger(__name__)


class Origin(msgspec.Struct, frozen=True):
    """Where a document comes from.

    @ivar transport: its name, for messages.
    @ivar asynchronous: the reply may come later; else an asynchronous command is refused.
    @ivar caller: who sends it, to be checked for what he may call; None: he may call everything.
    @ivar client: who shares the limits for one client; None: there is no share, or only one of the transport.
    @ivar at_once: the reply may not come later for any reason: a batch is run whole, however long that takes.
    """

    transport: str
    asynchronous: bool = False
    caller: Caller | None = None
    client: Hashable = None
    at_once: bool = False


_CONNECTIONLESS: Final = frozenset(("fifo", "udp", "unix"))
"""Transports over which anybody may give any other's address for the reply."""


class _TrafficByTransport(dict[str, Traffic]):
    """The counters of each transport, made when it is first asked for."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def __missing__(self, transport: str) -> Traffic:
        self[transport] = traffic = Traffic(self._counters, transport)
        return traffic


class _Count:
    """What a dispatcher counts."""

    def __init__(self, counters: Counters, dialect: Dialect) -> None:
        def jsonrpc(name: str, help: str) -> Counter:
            return counters.counter("jsonrpc", name, help)

        self.traffic = _TrafficByTransport(counters)
        self.requests = counters.counter("core", "rcv_requests", "requests that came")
        self.ignored = jsonrpc("replies_ignored", "replies that came where requests are taken, not answered")
        self._errors = counters.counter("core", "err_requests", "requests that were answered with an error")
        self._faults = jsonrpc("faults", "errors of commands")
        self._kinds = {
            dialect.parse_error: jsonrpc("parse_errors", "documents that were not JSON"),
            dialect.invalid_request: jsonrpc("invalid_requests", "documents that were no request"),
            dialect.method_not_found: jsonrpc("methods_not_found", "requests for a command that is not there"),
            dialect.invalid_params: jsonrpc("invalid_params", "requests whose parameters did not fit the command"),
            dialect.internal_error: jsonrpc("internal_errors", "commands that failed; the log says how"),
        }

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
    @param async_limit: how many of these may be in progress at the same time.
    @param async_limit_client: how many of these may be one client's.
    @param access: decides who may call what.
    @ivar decode: reads a document, see L{Envelope.decode}.
    @ivar delayed: the asynchronous commands in progress, and their limits.
    @ivar batches: the batches that have given way.
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
        access: AccessControl | None = None,
        reply_store: ReplyStore | None = None,
        async_limit_client: int = 100,
    ) -> None:
        self.dialect = dialect
        self.access = AccessControl() if access is None else access
        self.counters = Counters() if counters is None else counters
        self._commands = registry.table
        self._clock = clock
        self._envelope = Envelope(dialect)
        self.decode = self._envelope.decode
        self._pretty_format = pretty_format
        self._store = reply_store
        self._as_written = not pretty_format and reply_store is None
        self.delayed = DelayedCommands(clock, self.counters, async_timeout, async_limit, async_limit_client)
        self.batches = Batches(clock)
        self._last_runs: dict[str, float] = {}
        self._locks: dict[str, defer.DeferredLock] = {}
        self._count = _Count(self.counters, dialect)

    def origin(self, transport: str, asynchronous: bool = False, connection: Hashable = None, **facts: Any) -> Origin:
        """The origin of documents from one caller.

        @param connection: what tells its connection from others.
        @param facts: what is known of the caller, see L{Caller}.
        """
        user, address = facts.get("user"), facts.get("address")
        client: Hashable = connection  # of those on this machine, who all have the same address
        if user:
            client = ("user", user)
        elif address and not is_loopback(address):
            client = ("address", address)
        return Origin(transport, asynchronous, None if self.access.trivial else Caller(transport, **facts), client)

    def traffic(self, transport: str) -> Traffic:
        """The counters of a transport."""
        return self._count.traffic[transport]

    def dispatch(self, document: bytes, origin: Origin, request: Decoded | None = None) -> Reply | Deferred[Reply]:
        """Answer a document: a request or a batch.

        Nothing that a command does is raised here, not even KeyboardInterrupt: the reactor has a handler of its own for
        the signal, so that one which comes out of a command is the command's.

        @param document: anything that a client may send.
        @param request: what L{decode} has read of it, where somebody wanted to see that first.
        @return: the reply; where a command is asynchronous, or a batch takes more than some milliseconds, a Deferred of
            it, which fires when the last command has answered, always with a L{Reply}. Cancelling it cancels the
            commands, and those that have not been run yet are not.
        """
        try:
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
                if not self._as_written:
                    reply = self._lay_out(reply, document, request, origin)
                if reply.body:
                    traffic.replies.value += 1
                    traffic.bytes_sent.value += len(reply.body)
                return reply
        except BaseException as error:
            return self._give_up(error, document, request)
        reply.addCallback(self._finish, document, request, origin)
        return reply.addErrback(self._give_up_later, document, request)

    def _give_up_later(self, failure: Failure, document: bytes, request: Decoded) -> Reply:
        return self._give_up(failure.value, document, request)

    def _give_up(self, error: BaseException | None, document: bytes, request: Decoded | None) -> Reply:
        """Answer a document that the way to its reply failed for, other than in a command."""
        assert error is not None
        fault = self.dialect.internal_error
        report(_log, "cannot answer {document!r}", error, document=document[:200])
        try:
            assert request is not None
            return self._refuse(request, fault)
        except BaseException:
            return Reply(self._envelope.error(fault, None), fault.code, fault.text, True)

    def _put(self, document: bytes, reply: Reply, caller: Caller | None) -> Reply:
        """Store a reply, if its request asks for that, and reply how that went."""
        assert self._store is not None
        told = self._store.put(document, reply.body, caller)
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

    def _lay_out(self, reply: Reply, document: bytes, request: Decoded, origin: Origin) -> Reply:
        """Lay a reply out, unless it is that of a batch, and store it if the document that it answers asks for that."""
        if self._pretty_format and type(request) is not list:
            reply = Reply(pretty.layout(reply.body), reply.code, reply.text, reply.fault)
        if self._store is not None and reply.body and not reply.fault and origin.transport in replystore.TRANSPORTS:
            reply = self._put(document, reply, origin.caller)
        return reply

    def _finish(self, reply: Reply, document: bytes, request: Decoded, origin: Origin) -> Reply:
        """Do with a reply that comes later what L{dispatch} does with one that comes at once."""
        if not self._as_written:
            reply = self._lay_out(reply, document, request, origin)
        if reply.body:
            traffic = self._count.traffic[origin.transport]
            traffic.replies.value += 1
            traffic.bytes_sent.value += len(reply.body)
        return reply

    def refuse(self, document: bytes, fault: Fault) -> Reply:
        """Answer every request of a document with a fault, without running any: what a transport says that cannot
        take it, or cannot carry its reply.
        """
        return self._refuse(self.decode(document), fault)

    def _refuse(self, request: Decoded, fault: Fault) -> Reply:
        if type(request) is list:
            return self._join([self._error(fault, member) for member in request])
        return self._error(fault, request)  # type: ignore[arg-type]

    def _answer_batch(self, requests: list[Request | Malformed], origin: Origin) -> Reply | Deferred[Reply]:
        answer = partial(self._answer, origin=origin)
        batch = Batch(requests, answer, self._error, self._lay_out_member, self._join_members)
        if origin.at_once:
            batch.work_to_end()
            return batch.reply()
        try:
            return self.batches.run(batch, origin.client or origin.transport)
        except Fault as fault:
            self._count.error(fault)
            reply = Reply(self._envelope.error(fault, None), fault.code, fault.text, True)
            return self._lay_out(reply, b"", Malformed(fault, None, fault.text), origin)

    def _lay_out_member(self, reply: Reply) -> Reply:
        """Lay out a reply of a batch: each by itself, since all at once would take long."""
        return Reply(pretty.layout(reply.body, in_array=True)) if self._pretty_format and reply.body else reply

    def _join_members(self, replies: list[Reply]) -> Reply:
        """Join replies that L{_lay_out_member} has laid out."""
        if not self._pretty_format:
            return self._join(replies)
        bodies = [reply.body for reply in replies if reply.body]
        return Reply(pretty.layout_array(bodies)) if bodies else NO_REPLY

    def _join(self, replies: list[Reply]) -> Reply:
        bodies = [reply.body for reply in replies if reply.body]
        return Reply(self._envelope.batch(bodies)) if bodies else NO_REPLY

    def _answer(self, request: Request | Malformed, origin: Origin) -> Reply | Deferred[Reply]:
        if type(request) is Malformed:
            _log.debug("{transport}: {reason}", transport=origin.transport, reason=request.reason)
            if request.is_reply and origin.transport in _CONNECTIONLESS:
                return self._ignore_reply(origin)
            return self._error(request.fault, request)
        assert type(request) is Request
        if origin.caller is not None and not self.access.allows(origin.caller, request.method):
            return self._forbid(origin.caller, request)
        command = self._commands.get(request.method)
        if command is None:
            return self._error(self.dialect.method_not_found, request)
        try:
            if command.plain:
                params = request.params
                bind = command.binding.positional
                result = command.function(
                    *(bind(params) if type(params) is list else self._arguments(command, request))
                )
            else:
                result = self._run(command, request, origin)
            if type(result) not in _AT_ONCE and is_delayed(result):
                return self._answer_later(result, command, request, origin)
            return self._result(result, request, command)
        except BaseException as error:
            return self._failed(error, command, request)

    def _failed_later(self, failure: Failure, command: Command, request: Request) -> Reply:
        return self._failed(failure.value, command, request)

    def _ignore_reply(self, origin: Origin) -> Reply:
        """Do not answer what is a reply, since the other end might answer that, for ever."""
        self._count.ignored.value += 1
        _log.warn("{transport}: a reply came where requests are taken; ignored", transport=origin.transport)
        return NO_REPLY

    def _check_asynchronous(self, command: Command, origin: Origin) -> None:
        """@raise Fault: the command may not be asynchronous there, or too many others are in progress."""
        if not origin.asynchronous:
            raise Fault(500, f"{command.name} is asynchronous: it needs HTTP or HTTPS")
        self.delayed.check(command.name, origin.client)

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
            raise Fault(500, f"Command Locked: one with the lock {command.options.lock} is still in progress")
        result = command.function(*arguments)
        if not is_delayed(result):
            return result
        lock.acquire()

        def release(outcome: Any) -> Any:
            lock.release()
            return outcome

        return as_deferred(result).addBoth(release)

    def _answer_later(self, result: Any, command: Command, request: Request, origin: Origin) -> Deferred[Reply]:
        """@raise Fault: the command may not answer later there."""
        try:
            self._check_asynchronous(command, origin)
        except Fault:
            abandon(result)
            raise
        later = self.delayed.wait(result, command.name, origin.client, command.options.timeout)
        later.addCallback(self._result, request, command)
        return later.addErrback(self._failed_later, command, request)

    def _failed(self, error: BaseException | None, command: Command, request: Request) -> Reply:
        """Answer a request whose command has raised something, be it a Fault that is none."""
        try:
            return self._error(self._fault_of(error, command), request)
        except BaseException as another:
            report(_log, "the fault of command {command} cannot be answered", another, command=command.name)
            return self._error(self.dialect.internal_error, request)

    def _fault_of(self, error: BaseException | None, command: Command) -> Fault:
        if isinstance(error, Fault):
            return sound(error)
        if isinstance(error, Mismatch):
            _log.debug("{command}: {reason}", command=command.name, reason=error.reason)
            return (error.usage and command.options.usage) or self.dialect.invalid_params
        if isinstance(error, defer.CancelledError):
            return Fault(500, "Command Cancelled")
        assert error is not None
        report(_log, "command {command} failed", error, command=command.name)
        return self.dialect.internal_error

    def _result(self, value: object, request: Request, command: Command) -> Reply:
        body = self._envelope.result(value, request.id)
        if not command.trusted and type(value) not in SAFE:
            check_result(value)
        if request.id is UNSET and self.dialect.notifications:
            return NO_REPLY
        return Reply(body)

    def _error(self, fault: Fault, request: Request | Malformed) -> Reply:
        self._count.error(fault)
        if request.id is UNSET and self.dialect.notifications:
            return NO_REPLY
        return Reply(self._envelope.error(fault, request.id), fault.code, fault.text, True)


_AT_ONCE: Final = frozenset((list, dict, str, int, float, bool, type(None)))
"""The ordinary types of results, known as such without another look."""
