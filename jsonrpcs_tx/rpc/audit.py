"""The gate that writes calls to the audit log: all requests pass it, single or in a batch."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.access.auditentries import (
    BEGUN,
    CANCELLED,
    FAULT,
    NO_ANSWER,
    NOT_SENT,
    REFUSED,
    RESULT,
    Entry,
    now,
)
from jsonrpcs_tx.access.auditlog import AuditLog
from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.access.secrets import cut, cut_text, may_tell
from jsonrpcs_tx.protocols import STORING
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import Decoded, Malformed, Request, params_of, store_path
from jsonrpcs_tx.rpc.errors import Error
from jsonrpcs_tx.rpc.failures import fault_of, outcome_of
from jsonrpcs_tx.rpc.faults import InvalidParams
from jsonrpcs_tx.rpc.origin import Peer
from jsonrpcs_tx.rpc.pending import then
from jsonrpcs_tx.rpc.registry import Command
from jsonrpcs_tx.rpc.structures import as_json

MAX_READ: Final = 65_536
"""Bytes of a refused client's document above which it is not searched for methods."""

MAX_REQUESTS: Final = 32
"""The most requests in such a document that get an entry each."""

MAX_CALLERS: Final = 1024
"""Size of the cache from callers and commands to what entries say of them."""

MAX_NAMES: Final = 16
"""The most names of a certificate that are written."""

MAX_METHOD: Final = 128
"""The most characters of a method's name that are written."""

_LARGE: Final = 2**64
_answer: Final = Dispatcher.answer
"""What C{super().answer} is, looked up once, since each request needs it."""

_UNAVAILABLE: Final = Error(503, "Audit Log Unavailable")
_OUTCOMES: Final = {"": FAULT, NOT_SENT: FAULT, NO_ANSWER: FAULT}
"""The outcomes of entries where they are other than those of replies that are faults."""

_ON_NODES: Final = {FAULT: FAULT, REFUSED: NOT_SENT, NOT_SENT: NOT_SENT}
"""What became of a call on its node, by the outcome of a reply that is a fault; the rest may have been run there."""

_Ended: TypeAlias = tuple[Reply, Request, Command | None, Peer, Raw | bytes | UnsetType, str, int, int]
"""A call that has ended: its reply, the request, the command, who has called, the parameters as the log may show them
(or as bytes, a draft of that), the node that it was for, and when it began and ended, by C{perf_counter_ns}.
"""

_DONE: Final = Reply(b"")
_UNKNOWN: Final = Raw(b'"(hidden: the method is not known)"')


class AuditingDispatcher(Dispatcher):
    """A dispatcher that enters each call of a command that changes something, and each refused one, in an audit log.

    @param audit: the log, which may ask for all calls.
    """

    audits = True

    def __init__(self, *arguments: Any, audit: AuditLog, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._audit = audit
        self._enters_all = audit.everything
        self._requires = audit.required
        self._stores = keywords.get("reply_store") is not None
        self._held: list[_Ended] | None = None  # which are written together

    def answer(self, request: Request | Malformed, origin: Origin) -> Reply | Deferred[Reply]:
        if type(request) is not Request:
            return super().answer(request, origin)
        command = self._commands.get(request.method) if origin.callee is None else self._find(request.method, origin)
        if not (
            self._enters_all or (command is not None and command.changes) or self._stored(request, origin.transport)
        ):
            reply: Reply | Deferred[Reply] = _answer(self, request, origin)
            if type(reply) is Reply and reply.fault and reply.outcome == REFUSED:
                self._enter(reply, request, command, origin.peer(), perf_counter_ns(), origin.node)
            return reply
        find_peer = origin.find_peer  # asked now, since it describes the document that is being dispatched
        peer = origin.peer() if find_peer is None else find_peer()
        begun = perf_counter_ns()
        if self._requires and self._must_not_run(request, command, origin, peer):
            reply = self._error(_UNAVAILABLE, request, outcome=REFUSED)
        else:
            reply = _answer(self, request, origin)
        if type(reply) is not Reply:
            then(reply, self._enter, request, command, peer, begun, origin.node)
        elif self._held is None:
            self._enter(reply, request, command, peer, begun, origin.node)
        else:
            ended = perf_counter_ns()
            self._held.append((reply, request, command, peer, _draft(request, command), origin.node, begun, ended))
        return reply

    def call(self, method: str, params: Sequence[Any] | Mapping[str, Any], origin: Origin) -> Deferred[Any]:
        command = self._commands.get(method)
        try:
            request = Request("2.0", method, as_json(params))
        except InvalidParams:
            request = Request("2.0", method)
        refused = self.forbids(origin, method, request.params, by_name=True)
        if not (self._enters_all or refused or (command is not None and command.changes)):
            return super().call(method, params, origin)
        peer = origin.peer()
        begun = perf_counter_ns()

        def over(outcome: Any) -> Any:
            """Enter the call, as if its client had had a reply."""
            reply = _DONE
            if isinstance(outcome, Failure):
                fault: Any = outcome.value
                how = outcome_of(fault)
                how = CANCELLED if isinstance(fault.__cause__, CancelledError) else REFUSED if refused else how
                reply = Reply(b"", getattr(fault, "code", 0), getattr(fault, "text", ""), fault=True, outcome=how)
            self._enter(reply, request, command, peer, begun, origin.node)
            return outcome

        if self._requires and self._must_not_run(request, command, origin, peer, by_name=True):
            refused = True
            return self._fail(fault_of(_UNAVAILABLE)).addBoth(over)
        return super().call(method, params, origin).addBoth(over)

    def stateless(self, request: Decoded, origin: Origin) -> bool:
        """Whether any process can answer a document: only this one writes to the audit log."""
        if not super().stateless(request, origin):
            return False
        return not any(self._is_entered(one, origin) for one in (request if type(request) is list else (request,)))

    def turned_away(
        self, peer: Peer, code: int, why: str, document: bytes = b"", user: str | None = None, logged: bool = True
    ) -> None:
        """Note that a transport has refused a client, see L{Dispatcher.turned_away}, in an entry for each request."""
        super().turned_away(peer, code, why, document, user, logged)
        held_back = self._audit.room_for_refused(peer.source)
        if held_back is None:
            return
        self._write_held()  # of what came before
        decoded: Decoded | None = self.read(document) if 0 < len(document) <= MAX_READ else None
        for one in (decoded if type(decoded) is list else [decoded])[:MAX_REQUESTS]:
            done = _done_by(peer.caller, peer.port, peer.pid, None)
            entry = replace(done, time=now(), outcome=REFUSED, code=code, text=cut_text(why))
            if type(one) is Request:
                entry.method, entry.id = cut_text(one.method, MAX_METHOD), _id(one.id)
                entry.params = _params(one, self._commands.get(one.method))
            entry.claimed_user = None if user is None else cut_text(user)
            entry.held_back, held_back = held_back or UNSET, 0
            self._audit.write(entry)

    def done(self, origin: Origin, method: str) -> None:
        peer = origin.peer()
        self._write_held()  # of what came before
        self._audit.write(replace(_done_by(peer.caller, peer.port, peer.pid, None), time=now(), method=method))

    def hold(self) -> None:
        if self._held is None:
            self._held = []

    def release(self) -> None:
        self._write_held()
        self._held = None

    def _write_held(self) -> None:
        """Write the entries of the calls so far."""
        if self._held:
            held, self._held = self._held, []
            drafts = [params for _, _, _, _, params, _, _, _ in held if type(params) is bytes]
            self._audit.write_all(self._entries(held, may_tell(b"".join(drafts))))

    def _stored(self, request: Request, transport: str) -> str | None:
        """The file that a request wants its reply written to: that changes something, whatever the command does."""
        return store_path(request) if self._stores and transport in STORING else None

    def _is_entered(self, request: object, origin: Origin) -> bool:
        if type(request) is not Request:
            return False
        command = self._find(request.method, origin)
        refused = self.forbids(origin, request.method, request.params)
        return self._enters_all or refused or (command is not None and command.changes)

    def _must_not_run(
        self, request: Request, command: Command | None, origin: Origin, peer: Peer, by_name: bool = False
    ) -> bool:
        """Whether a call that changes something needs an entry before it is run, which cannot be written. Otherwise the
        entry is written. To be asked only if calls need one.
        """
        path = self._stored(request, origin.transport)
        changes = path is not None or (command is not None and command.changes)
        if not changes or self.forbids(origin, request.method, request.params, by_name):
            return False
        entry = replace(_done_by(peer.caller, peer.port, peer.pid, None), time=now(), outcome=BEGUN, code=0)
        entry.method, entry.id = cut_text(request.method, MAX_METHOD), _id(request.id)
        entry.params, entry.node = _params(request, command), origin.node or None
        entry.store_path = None if path is None else cut_text(path)
        self._write_held()  # of what came before
        try:
            self._audit.write_now(entry)
        except OSError:  # which was logged
            return True
        return False

    def _enter(
        self, reply: Reply, request: Request, command: Command | None, peer: Peer, begun: int, node: str = ""
    ) -> Reply:
        """Enter a call that has ended: now, or together with the others of its turn."""
        ended = perf_counter_ns()
        call = (reply, request, command, peer, _draft(request, command), node, begun, ended)
        if self._held is None:
            for entry in self._entries((call,)):
                self._audit.write(entry)
        else:
            self._held.append(call)
        return reply

    def _entries(self, calls: Iterable[_Ended], tells: bool = True) -> list[Entry]:
        """The entries of calls that have ended, without those for which there is no room.

        @param tells: there may be a secret in a draft of parameters.
        """
        entries = []
        time, until = "", 0
        for reply, request, command, peer, params, node, begun, ended in calls:
            held_back: int | UnsetType | None = UNSET
            if reply.fault and reply.outcome == REFUSED:
                held_back = self._audit.room_for_refused(peer.source)
                if held_back is None:
                    continue
            if type(params) is bytes:
                assert command is not None  # or there were no draft
                params = Raw(command.concealment.shown_draft(params) if tells else params)
            if ended >= until:
                time, until = now.at(ended), now.until
            id = request.id
            known = None if command is None or node else command.name
            entry = replace(
                _done_by(peer.caller, peer.port, peer.pid, known),
                time=time,
                params=params,
                id=id if type(id) is int and -_LARGE < id < _LARGE else _id(id),
                ms=(ended - begun) // 1000 / 1000,
            )
            if reply.fault:
                outcome = _OUTCOMES.get(reply.outcome, reply.outcome)
                entry.outcome, entry.code, entry.text = outcome, reply.code, cut_text(reply.text)
                entry.held_back = held_back or UNSET
            if known is None:
                entry.method = cut_text(request.method, MAX_METHOD)
            if self._stores:
                path = self._stored(request, peer.caller.transport)
                entry.store_path = None if path is None else cut_text(path)
            if node:
                entry.node = node
                entry.node_outcome = _ON_NODES.get(reply.outcome, NO_ANSWER) if reply.fault else RESULT
            entries.append(entry)
        return entries


@lru_cache(MAX_CALLERS)
def _done_by(caller: Caller, port: int | None, pid: int | None, method: str | None) -> Entry:
    """What the entries of all calls of a command that a client has made have in common, if all goes well.

    @param method: the name of a command that there is; None for any other, whose names fill no cache.
    """
    user = None if caller.user is None else cut_text(caller.user)
    return Entry(
        "",
        RESULT,
        200,
        caller.transport,
        caller.address,
        port,
        caller.uid,
        caller.gid,
        pid,
        user,
        tls_names=tuple(map(cut_text, caller.tls_names[:MAX_NAMES])),
        method=method,
    )


def _id(id: Any) -> Any:
    """The id of a request, cut if it is long."""
    return id if id is UNSET else cut(id)


def _draft(request: Request, command: Command | None) -> Raw | bytes | UnsetType:
    """The parameters of a request without secrets, or a draft of that: now, since the command may change them."""
    params = request.params
    draft = command.concealment.draft(params) if type(params) is list and command is not None else None
    return _params(request, command) if draft is None else draft


def _params(request: Request, command: Command | None) -> Raw | UnsetType:
    """The parameters of a request without secrets; hidden if the method is not known."""
    if request.params is UNSET:
        return UNSET
    return _UNKNOWN if command is None else Raw(command.concealment.shown(params_of(request)))
