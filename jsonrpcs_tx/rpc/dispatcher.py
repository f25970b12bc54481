"""Finds the command of each request, binds its parameters, runs it and replies: at once, or as a Deferred."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, Raw, UnsetType
from msgspec.json import encode
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from jsonrpcs_tx.access.auditentries import REFUSED
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.control import AccessControl
from jsonrpcs_tx.access.refusallog import RefusalLog
from jsonrpcs_tx.addresses import is_loopback
from jsonrpcs_tx.catalogue.compatibility import V6_1, Compatibility
from jsonrpcs_tx.log import make_logger, report
from jsonrpcs_tx.protocols import CONNECTIONLESS, PROTOCOLS
from jsonrpcs_tx.reactor.interfaces import Reactor
from jsonrpcs_tx.rpc.around import Around
from jsonrpcs_tx.rpc.batches import Batch, Batches
from jsonrpcs_tx.rpc.binding import Binding
from jsonrpcs_tx.rpc.call import Call
from jsonrpcs_tx.rpc.callee import Callee
from jsonrpcs_tx.rpc.coroutines import is_deferred
from jsonrpcs_tx.rpc.counts import RequestCounts
from jsonrpcs_tx.rpc.delayed import DelayedCommands, is_delayed
from jsonrpcs_tx.rpc.elsewhere import Elsewhere
from jsonrpcs_tx.rpc.envelope import (
    KAMAILIO,
    Decoded,
    Dialect,
    Envelope,
    Malformed,
    Request,
    params_of,
    store_path,
    values_of,
)
from jsonrpcs_tx.rpc.errors import Error, error_of
from jsonrpcs_tx.rpc.failures import Raised, fault_of, raised, told
from jsonrpcs_tx.rpc.faults import Fault, InvalidParams
from jsonrpcs_tx.rpc.measures import Measures
from jsonrpcs_tx.rpc.origin import Origin as Origin
from jsonrpcs_tx.rpc.origin import Peer
from jsonrpcs_tx.rpc.pending import Pending, then
from jsonrpcs_tx.rpc.pretty import Layout
from jsonrpcs_tx.rpc.registry import Command, Registry
from jsonrpcs_tx.rpc.replies import FAULTS
from jsonrpcs_tx.rpc.replies import NO_REPLY as NO_REPLY
from jsonrpcs_tx.rpc.replies import Reply as Reply
from jsonrpcs_tx.rpc.replystore import ReplyStore
from jsonrpcs_tx.rpc.replywriter import ReplyWriter, join
from jsonrpcs_tx.rpc.results import SAFE
from jsonrpcs_tx.rpc.runner import Runner
from jsonrpcs_tx.rpc.structures import as_json
from jsonrpcs_tx.state.counters import Counter, Counters, Traffic

_log = make_logger(__name__)

_AT_ONCE: Final = frozenset((list, dict, str, int, float, bool, type(None)))
"""The ordinary types of results, which need no check for being delayed."""

_NO_ID: Final[Any] = None
"""The id of a request that the program makes itself, and whose result it wants."""

_FORBIDDEN: Final = Error(403, "Forbidden")


class Dispatcher:
    """Answers documents with the commands of a registry.

    @param registry: the commands.
    @param clock: tells the time, for least intervals and time limits.
    @param dialect: how JSON-RPC is spoken.
    @param pretty_format: reply in Kamailio's layout for people; else compactly.
    @param compatibility: the version of Kamailio whose layout that is.
    @param exec_delta: the least interval in seconds of commands with the option C{exec_delta}.
    @param async_timeout: the most seconds that an asynchronous command may take.
    @param async_limit: how many of these may be in progress at the same time.
    @param async_limit_client: how many of these may be one client's.
    @param counters: where requests, replies and errors are counted, see L{RequestCounts}.
    @param access: decides who may call what; default: without any rules so far, with the effects of these commands.
    @param reply_store: writes replies to files for those who ask for it; None: no replies are stored.
    @ivar registry: the commands, which may change at any time.
    @ivar read: reads a document, see L{Envelope.read}.
    @ivar delayed: the asynchronous commands in progress, and their limits.
    @ivar batches: the batches that have given way.
    @ivar refusals: logs who is refused.
    @ivar slow: counts what has blocked the reactor.
    @ivar forbidden: counts what rules have refused.
    @ivar measures: what L{jsonrpcs_tx.rpc.measuring} measures; None: nothing.
    @ivar has_around: whether a function is around every call.
    @ivar audits: whether it keeps an audit log, to which only the main process writes.
    """

    audits = False
    measures: Measures | None = None

    def __init__(
        self,
        registry: Registry,
        clock: Reactor,
        *,
        dialect: Dialect = KAMAILIO,
        pretty_format: bool = False,
        compatibility: Compatibility = V6_1,
        exec_delta: int = 0,
        async_timeout: float = 60,
        async_limit: int = 1000,
        async_limit_client: int = 100,
        counters: Counters | None = None,
        access: AccessControl | None = None,
        reply_store: ReplyStore | None = None,
    ) -> None:
        timer: Any = clock  # whichever it is, it has what IReactorTime has
        self.dialect = dialect
        self.access: AccessControl = AccessControl(effect_of=registry.effect_of) if access is None else access
        self.counters: Counters = Counters() if counters is None else counters
        self.delayed: DelayedCommands = DelayedCommands(
            timer, self.counters, async_timeout, async_limit, async_limit_client
        )
        self.batches: Batches = Batches(timer)
        self.registry = registry
        self._commands = registry.table
        self._envelope = Envelope(dialect)
        self.read: Callable[[bytes], Decoded] = self._envelope.read
        self._runner = Runner(timer, self.delayed, exec_delta)
        self._positional = Binding.positional if dialect.surplus else Binding.positional_exactly
        self._writer = ReplyWriter(Layout(compatibility.elements_on_lines) if pretty_format else None, reply_store)
        self._counts = RequestCounts(self.counters, dialect)
        self.refusals: RefusalLog = RefusalLog(clock.seconds, self.counters)
        self.slow: Counter = self._counts.slow
        self.forbidden: Counter = self._counts.forbidden
        self._traffic, self._requests = self._counts.traffic, self._counts.requests
        self._elsewhere = Elsewhere()
        self.has_around: bool = False
        self._direct = True  # plain commands are called as they are, without a Call
        self._follows_calls = False

    def origin(
        self,
        transport: str,
        asynchronous: bool = False,
        connection: Hashable = None,
        *,
        find_peer: Callable[[], Peer] | None = None,
        port: int | None = None,
        pid: int | None = None,
        connected: Callable[[], bool] | None = None,
        context: Any = None,
        **facts: Any,
    ) -> Origin:
        """The origin of documents from one caller.

        @param transport: its name: a built-in one, or one that the program has added
            (L{jsonrpcs_tx.service.JsonRpcService.add_transport}).
        @param connection: anything that tells its connection from others.
        @param find_peer: finds out all that is known of the caller, see L{Origin}; default: all is given here.
        @param port: its port.
        @param pid: its process.
        @param connected: tells whether it is still there.
        @param context: anything that commands will find in C{call.context}, such as the caller's session.
        @param facts: what is known of the caller, see L{Caller}. With C{find_peer}, a built-in transport gives only
            what rules ask for.
        @raise ValueError: there is no transport of that name.
        """
        if transport not in self.access.transports:
            names = ", ".join(self.access.transports)
            raise ValueError(
                f"transport {transport!r:.50} is not known; allowed: {names}, and those that add_transport adds"
            )
        user, address = facts.get("user"), facts.get("address")
        client: Hashable = connection  # of those on this machine, who all have the same address
        if user:
            client = ("user", user)
        elif address and not is_loopback(address):
            client = ("address", address)
        if find_peer is None:
            known: dict[str, Any] = {"port": port, "pid": pid, "context": context}
            if connected is not None:
                known["connected"] = connected

            def find_peer() -> Peer:
                return Peer(Caller(transport, **facts), **known)

        # Built-in transports make their origins again when rules come; a program may hold its own for ever.
        unasked = self.access.trivial and transport in PROTOCOLS
        caller = None if unasked else Caller(transport, **facts)
        return Origin(transport, asynchronous, caller, client, find_peer=find_peer)

    def around(self, function: Around) -> None:
        """Put a function around every call; see L{jsonrpcs_tx.service.JsonRpcService.around}."""
        self._runner.arounds.add(function)
        self.has_around = True
        self._direct = False

    def remove_around(self, function: Around) -> None:
        """Remove a function that L{around} has added, for calls that begin from now on.

        @raise ValueError: it is not there.
        """
        self._runner.arounds.remove(function)
        self.has_around = bool(self._runner.arounds)
        self._direct = not (self.has_around or self._follows_calls)

    def follow_calls(self) -> None:
        """Run every command in the context of its call from now on, since somebody asks for the current one."""
        self._follows_calls = True
        self._direct = False

    def traffic(self, transport: str) -> Traffic:
        """The counters of a transport."""
        return self._counts.traffic[transport]

    def all_traffic(self) -> Mapping[str, Traffic]:
        """The counters of each transport by its name, as far as they are in use."""
        return self._counts.traffic

    def counted(self, transport: str) -> list[Counter]:
        """The counters that are incremented for a transport, in the same order in every process."""
        return [*self._counts.counters(transport), self.delayed.timeouts]

    def stateless(self, request: Decoded, origin: Origin) -> bool:
        """Whether any process can answer a document: each request in it is for a command that is declared free of
        state, or is invalid. Replies are stored by the main process only, which knows whose files are whose.

        @param origin: of the document.
        """
        if type(request) is list:
            return all(map(self._is_stateless, request))
        return store_path(request) is None and self._is_stateless(request)  # type: ignore[arg-type] # it is not a list

    def _is_stateless(self, request: Request | Malformed) -> bool:
        if type(request) is not Request:
            return True
        command = self._commands.get(request.method)
        return command is not None and command.options.stateless

    def dispatch(self, document: bytes, origin: Origin, request: Decoded | None = None) -> Reply | Deferred[Reply]:
        """Answer a document: a request or a batch.

        No exception of a command is raised here, not even KeyboardInterrupt: the reactor has its own handler for the
        signal, so a KeyboardInterrupt that comes out of a command is the command's.

        @param document: anything that a client may send.
        @param request: what L{read} returned for it, if the transport needed that first.
        @return: the reply; where a command waits for something, or a batch takes some milliseconds, a Deferred of it,
            which fires when the last command has answered, always with a L{Reply}. Cancelling it cancels the
            commands in progress, and no more of a batch are run.
        """
        try:
            if request is None:
                request = self.read(document) if origin.callee is None else self._envelope.read_to_pass_on(document)
            traffic = self._traffic[origin.transport]
            traffic.bytes_received.value += len(document)
            reply: Reply | Deferred[Reply]
            if type(request) is list:
                traffic.requests.value += len(request)
                self._requests.value += len(request)
                reply = self._answer_batch(request, origin)
            else:
                traffic.requests.value += 1
                self._requests.value += 1
                reply = self.answer(request, origin)  # type: ignore[arg-type] # it is not a list
            if type(reply) is Reply:
                return self._finish(reply, request, origin, traffic)
        except BaseException as error:
            return self._give_up(error, document, request, origin)
        if type(reply) is _Passage:
            reply.document, reply.traffic = document, traffic
        else:
            then(reply, self._finish_later, document, request, origin, traffic)
        return reply

    def _finish(self, reply: Reply, request: Decoded, origin: Origin, traffic: Traffic) -> Reply:
        """Lay out, store and count a reply."""
        if not self._writer.idle:
            reply = self._writer.write(reply, request, origin)
        if reply.body:
            traffic.replies.value += 1
            traffic.bytes_sent.value += len(reply.body)
        return reply

    def _finish_later(
        self, reply: Reply | Failure, document: bytes, request: Decoded, origin: Origin, traffic: Traffic
    ) -> Reply:
        try:
            if isinstance(reply, Failure):
                reply.raiseException()
            return self._finish(reply, request, origin, traffic)
        except BaseException as error:
            caller = origin.caller or Caller(origin.transport)  # the origin may tell of another document by now
            return self._give_up(error, document, request, caller)

    def _give_up(
        self, error: BaseException | None, document: bytes, request: Decoded | None, caller: Caller | Origin
    ) -> Reply:
        """Answer a document where something other than a command has failed."""
        assert error is not None
        internal = self.dialect.internal_error
        report(_log, "{caller}: cannot answer {document!r}", error, caller=caller, document=document[:200])
        try:
            assert request is not None
            return self._refuse(request, internal)
        except BaseException:
            return self._error_reply(internal)

    def turned_away(
        self, peer: Peer, code: int, why: str, document: bytes = b"", user: str | None = None, logged: bool = True
    ) -> None:
        """Note that a transport has refused a client before running anything that it sent.

        @param code: what it is told, as an HTTP status.
        @param why: in words that are followed by where the client is; they may hold what it has sent.
        @param document: what it has sent, as far as that is known.
        @param user: the name that it has given with a wrong password.
        @param logged: whether it is worth a line in the log.
        """
        if logged:
            self.refusals.tell(peer.caller.transport, peer, peer.source, why)

    def forbid(self, origin: Origin, method: str) -> None:
        """Log and count that a transport has refused something other than a call, a page for example, since rules
        forbid it.

        @param method: the one that a rule would have to allow.
        """
        peer = origin.peer()
        self._counts.forbidden.value += 1
        document = encode({"jsonrpc": "2.0", "method": method})  # what the audit log shows of it
        self.turned_away(peer, _FORBIDDEN.code, _is_forbidden(method, peer.caller), document)

    def done(self, origin: Origin, method: str) -> None:
        """Take note, for the audit log, that a client has done something other than a call: signed in, for example.

        @param method: what the log has in the place of a method.
        """

    def hold(self) -> None:
        """Announce that documents follow that will be answered together: what is written about their calls may wait for
        L{release}.
        """

    def release(self) -> None:
        """Write what waits since L{hold}. To be called before the replies are sent."""

    def refuse(self, document: bytes, fault: Fault | Error) -> Reply:
        """Answer every request of a document with an error, without running any. For a transport that cannot take the
        document, or cannot carry its reply.
        """
        return self._refuse(self.read(document), fault if isinstance(fault, Error) else error_of(fault))

    def _refuse(self, request: Decoded, error: Error) -> Reply:
        kind = Error(error.code, error.text)
        if type(request) is list:
            return join([self._error(error, member, kind) for member in request])
        return self._error(error, request, kind)  # type: ignore[arg-type] # it is not a list

    def _answer_batch(self, requests: list[Request | Malformed], origin: Origin) -> Reply | Deferred[Reply]:
        fixed = origin.fixed()  # some requests may be run after other documents
        writer = self._writer
        batch = Batch(requests, fixed, self.answer, self._error, writer.member_layout, writer.join_members)
        if origin.at_once:
            batch.work_to_end()
            return batch.reply()
        try:
            return self.batches.run(batch, origin.client or origin.transport)
        except Fault as fault:
            error = error_of(fault)
            refused = Malformed(error, None, error.text)
            return self._writer.write(self._error(error, refused), refused, origin)

    def answer(self, request: Request | Malformed, origin: Origin) -> Reply | Deferred[Reply]:
        """Answer one request, single or of a batch: check that it may be called, find its command, and run that.

        @return: the reply; where the command waits for something, a Deferred of it, which always fires with a L{Reply}.
        """
        if type(request) is not Request:
            return self._answer_malformed(request, origin)
        caller = origin.caller
        if (
            caller is not None
            and (origin.callee is not None or (caller, request.method) not in self.access.sure)
            and self.forbids(origin, request.method, request.params)
        ):
            return self._error(self._forbidden(request.method, origin), request, outcome=REFUSED)
        callee = origin.callee
        command = self._commands.get(request.method) if callee is None else callee.command(request.method)
        if command is None:
            self._elsewhere.tell(request.method, origin)
            _log.debug("{caller}: there is no method {method!r:.100}", caller=origin, method=request.method)
            return self._error(self.dialect.method_not_found, request)
        call = None
        try:
            if command.plain and self._direct:
                params = request.params
                result = command.function(
                    *(
                        self._positional(command.binding, params)
                        if type(params) is list
                        else self._arguments(command, request)
                    )
                )
                if type(result) in _AT_ONCE or not is_delayed(result):
                    return self._result(result, request, command)
                call = Call(request, origin)
                result = self._runner.wait(result, command, call, origin)
            elif callee is not None and callee.keeps_time and not self.has_around:
                return self._pass_on(command, request, origin, callee)
            else:
                call = Call(request, origin)
                result = self._runner.run(command, call, origin, self._arguments)
            if not is_deferred(result):
                call.is_over = True
                return self._result(result, request, command)
            then(result, self._result_later, call, request, command)
            return result
        except BaseException as error:
            if call is not None:
                call.is_over = True
            return self._failed(error, command, request, origin if call is None else call.caller)

    def _pass_on(self, command: Command, request: Request, origin: Origin, callee: Callee) -> Reply | Pending:
        """Have another server answer, where nothing else is to be done for a call, and nobody asks for that.

        @raise Fault: no more may be in progress, or not over this transport.
        """
        caller = origin.peer().caller
        deadline = self._runner.begin_to_pass_on(command, origin)
        passage = _Passage(self._passed_on_later, self._finish_later, command, request, origin, callee, caller)
        asked = callee.ask(request, deadline, origin.client, passage.deliver)
        if not passage.called:
            passage.stop = asked.cancel
            return passage
        reply: Any = passage.result
        if isinstance(reply, Failure):
            reply.raiseException()
        return reply  # type: ignore[no-any-return] # the passage makes one

    def _passed_on_later(self, outcome: Any, passage: "_Passage") -> Reply | Failure:
        """Make the reply to a request that was passed on.

        @param outcome: the answer of the other server, or the exception that there is in place of one.
        """
        request, origin = passage.request, passage.origin
        try:
            if origin.deadline is None:
                self.delayed.slots.free(origin.client)
            if not isinstance(outcome, BaseException):
                try:
                    return self._passed_on(passage.callee.reply(outcome, request), request)
                except BaseException as error:
                    outcome = error
            return self._failed(outcome, passage.command, request, passage.caller)
        except BaseException:
            return Failure()

    def _find(self, method: str, origin: Origin) -> Command | None:
        """The command of a method: this server's own, or that of the servers which the document is for."""
        if origin.callee is None:
            return self._commands.get(method)
        found: Command | None = origin.callee.command(method)
        return found

    def call(self, method: str, params: Sequence[Any] | Mapping[str, Any], origin: Origin) -> Deferred[Any]:
        """Call a command with Python values for a Python value, without a document.

        @param method: its name.
        @param params: by place, or by name in every dialect. Each is converted as if it had come in JSON: a dataclass
            is an object, for example.
        @param origin: may always be answered later.
        @return: fires with what the command returns, or fails with a L{Fault}: the one that the command raised, or one
            whose cause is what the command raised. Cancelling it cancels the command.
        """
        traffic = self._traffic[origin.transport]
        traffic.requests.value += 1
        self._requests.value += 1
        command, unfit = self._commands.get(method), None
        try:
            values = as_json(params)
        except InvalidParams as error:
            values, unfit = [], error
        if self.forbids(origin, method, values, by_name=True):
            return self._fail(fault_of(self._forbidden(method, origin)))
        if command is None:
            return self._fail(fault_of(self.dialect.method_not_found, method))
        if unfit is not None:
            return self._fail(raised(unfit, command, self.dialect, origin))
        call = Call(Request("2.0", method, values, _NO_ID), origin)

        def over(outcome: Any) -> Any:
            call.is_over = True
            if isinstance(outcome, Failure):
                return self._fail(raised(outcome.value, command, self.dialect, call.caller))
            if type(outcome) is Reply:
                value = self._envelope.value(outcome.body)
                if isinstance(value, Fault):
                    return self._fail(Raised(value, error_of(value)))
                outcome = value
            traffic.replies.value += 1
            return outcome

        return maybeDeferred(self._runner.run, command, call, origin, _bind_exactly).addBoth(over)

    def forbids(
        self, origin: Origin, method: str, params: list[Any] | dict[str, Any] | UnsetType, by_name: bool = False
    ) -> bool:
        """Whether rules forbid a call: to all of those who would run it, if these are several.

        @param params: as the client gives them, or their JSON if they are passed on.
        @param by_name: the members of an object are bound by their names, in every dialect.
        """
        caller, access = origin.caller, self.access
        if caller is None:
            return False
        if not access.asks_params:
            if origin.callee is None:  # the ordinary case
                return not access.allows(caller, method, (), origin.nodes)
            return not any(access.allows(caller, method, (), nodes) for nodes in origin.callee.each)
        if isinstance(params, Raw):
            params = values_of(params)
        elif type(params) is dict and not origin.nodes:  # what a node makes of an object, only the node knows
            command = self._commands.get(method)
            if not (by_name or self.dialect.by_name):
                params = list(params.values())
            elif command is not None:
                params = command.binding.in_order(params)
        given = () if params is UNSET else params
        each = (origin.nodes,) if origin.callee is None else origin.callee.each
        return not any(access.allows(caller, method, given, nodes) for nodes in each)

    def _fail(self, what: Raised) -> Deferred[Any]:
        self._counts.error(what.kind)
        return fail(what.fault)

    def _forbidden(self, method: str, origin: Origin) -> Error:
        """Log and count a call that rules forbid."""
        peer = origin.peer()
        self._counts.forbidden.value += 1
        if origin.callee is not None and origin.callee.is_one_of_many:
            return _FORBIDDEN
        where = "" if origin.callee is None else f" on {origin.callee}"
        self.refusals.tell(peer.caller.transport, peer, peer.source, _is_forbidden(method, peer.caller) + where)
        return _FORBIDDEN

    def _answer_malformed(self, request: Malformed, origin: Origin) -> Reply:
        """Answer an invalid request, but never a reply: the other end might answer the answer, for ever."""
        _log.debug("{caller}: invalid request: {reason}", caller=origin, reason=request.reason)
        if request.is_reply and origin.transport in CONNECTIONLESS:
            self._counts.ignored.value += 1
            _log.warn(
                "{caller}: received a reply where requests are expected; ignored",
                caller=origin,
                transport=origin.transport,
            )
            return NO_REPLY
        return self._error(request.error, request)

    def _arguments(self, command: Command, request: Request) -> Iterable[Any]:
        """Bind the params of a request.

        @raise Mismatch: they do not fit.
        """
        params = request.params
        if type(params) is list:
            return self._positional(command.binding, params)
        if params is UNSET or isinstance(params, Raw):  # which the command gets with the call
            return command.binding.positional([])
        assert type(params) is dict
        if self.dialect.by_name:
            return command.binding.named(params)
        return command.binding.positional(list(params.values()))

    def _result(self, value: object, request: Request, command: Command) -> Reply:
        if type(value) is Reply:
            return self._passed_on(value, request)
        body = self._envelope.result(value, request.id)
        if type(value) not in SAFE and not (command.trusted and self._direct):  # else it may be of a function around it
            command.check_result(value)
        if request.id is UNSET and self.dialect.notifications:
            return NO_REPLY
        return Reply(body)

    def _passed_on(self, reply: Reply, request: Request) -> Reply:
        """The whole reply that a command has had from elsewhere."""
        if reply.fault:
            self._counts.error(Error(reply.code, reply.text))
        if request.id is UNSET and self.dialect.notifications:
            return Reply(b"", reply.code, reply.text, reply.fault, reply.outcome)
        return reply

    def _result_later(self, value: object, call: Call, request: Request, command: Command) -> Reply:
        call.is_over = True
        if isinstance(value, Failure):
            return self._failed(value.value, command, request, call.caller)
        try:
            return self._result(value, request, command)
        except BaseException as error:
            return self._failed(error, command, request, call.caller)

    def _failed(
        self, error: BaseException | None, command: Command, request: Request, caller: Caller | Origin
    ) -> Reply:
        """Answer a request whose command has raised something."""
        answer = told(error, command, self.dialect, caller)
        return self._error(answer.error, request, answer.kind, answer.outcome)

    def _error(self, error: Error, request: Request | Malformed, kind: Error | None = None, outcome: str = "") -> Reply:
        """Answer a request with an error.

        @param kind: the error that it counts as; None: as itself.
        @param outcome: see L{Reply}.
        """
        counted = self._counts.error(error if kind is None else kind)
        if request.id is UNSET and self.dialect.notifications:
            return Reply(b"", error.code, error.text, fault=True, outcome=outcome, kind=counted)
        return self._error_reply(error, request.id, outcome, counted)

    def _error_reply(self, error: Error, id: Any = None, outcome: str = "", kind: str = FAULTS) -> Reply:
        return Reply(self._envelope.error(error, id), error.code, error.text, fault=True, outcome=outcome, kind=kind)


class _Passage(Pending):
    """The reply to a request that another server answers. The first step, and the last one where it is the only request
    of its document, are the same for all, so they are not added one by one. Others are added while it is dispatched.

    @ivar first: makes the reply of the outcome and this.
    @ivar last: finishes it, see L{Dispatcher._finish_later}.
    @ivar document: that the request is; None: it is one of a batch.
    @ivar traffic: the counters of its transport.
    """

    document: bytes | None = None
    traffic: Traffic

    def __init__(
        self,
        first: Callable[..., Reply | Failure],
        last: Callable[..., Reply],
        command: Command,
        request: Request,
        origin: Origin,
        callee: Callee,
        caller: Caller,
    ) -> None:
        Deferred.__init__(self)
        self.first = first
        self.last = last
        self.command = command
        self.request = request
        self.origin = origin
        self.callee = callee
        self.caller = caller

    def deliver(self, outcome: Any) -> None:
        reply: Any = self.first(outcome, self)
        if self.steps:
            reply = self.follow(reply)
        if self.document is not None:
            reply = self.last(reply, self.document, self.request, self.origin, self.traffic)
        self.give(reply)


def _bind_exactly(command: Command, request: Request) -> Iterable[Any]:
    """Bind params that are Python values.

    @raise Mismatch: they do not fit.
    """
    return command.binding.exactly(params_of(request))


def _is_forbidden(method: str, caller: Caller) -> str:
    """What the log says of a caller whom rules forbid a method; the address follows."""
    names = [*(() if caller.user is None else (f"user {caller.user}",)), *caller.tls_names]
    return f"{method[:100]!r} is forbidden" + (f" to {', '.join(names)}" if names else "")
