"""The dispatchers that measure: how long commands take, and what errors there are."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from jsonrpcs_tx.access.auditentries import REFUSED
from jsonrpcs_tx.rpc.audit import AuditingDispatcher
from jsonrpcs_tx.rpc.dispatcher import Dispatcher, Origin, Reply
from jsonrpcs_tx.rpc.envelope import Malformed, Request
from jsonrpcs_tx.rpc.measures import FAILED, KIND_CELL, LEFT, WEIGHT, Measures, Row, record, record_apart
from jsonrpcs_tx.rpc.pending import then
from jsonrpcs_tx.rpc.replies import FAULTS

_Answer: TypeAlias = Callable[[Any, Request | Malformed, Origin], Reply | Deferred[Reply]]
_Call: TypeAlias = Callable[[Any, str, Sequence[Any] | Mapping[str, Any], Origin], Deferred[Any]]


def _measured_answer(answer: _Answer) -> _Answer:
    """The method C{answer} that measures what another one does. What it costs is added to each request."""

    def later(reply: Reply, measures: Measures, origin: Origin, row: Row, begun: int) -> Reply:
        taken = perf_counter_ns() - begun
        record_apart(row, taken)
        record_apart(measures.transports[origin.transport], taken)
        return _counted(reply, measures, origin, row) if reply.fault else reply

    def timed(self: Any, request: Request, origin: Origin, row: Row) -> Reply | Deferred[Reply]:
        begun = perf_counter_ns()
        reply = answer(self, request, origin)
        if type(reply) is not Reply:
            then(reply, later, self.measures, origin, row, begun)
            return reply
        ended, weight = perf_counter_ns(), row[WEIGHT] or 1
        if origin.callee is None:
            record(row, begun, ended)
        else:  # most calls of a node wait for it, so one that does not stands for none of them
            record_apart(row, ended - begun)
        record_apart(self.measures.transports[origin.transport], ended - begun, weight)
        return _counted(reply, self.measures, origin, row) if reply.fault else reply

    def measured(self: Any, request: Request | Malformed, origin: Origin) -> Reply | Deferred[Reply]:
        row = None
        if type(request) is Request:
            row = self.rows[request.method] if origin.callee is None else self.measures.nodes[origin.node]
            left = row[LEFT]
            if not left:
                return timed(self, request, origin, row)
            row[LEFT] = left - 1
        reply = answer(self, request, origin)
        if type(reply) is Reply and reply.fault:
            return _counted(reply, self.measures, origin, row)
        return reply

    return measured


def _measured_call(call: _Call) -> _Call:
    """The method C{call} that measures what another one does."""

    def ended(outcome: Any, measures: Measures, method: str, origin: Origin, begun: int) -> Any:
        taken = perf_counter_ns() - begun
        record_apart(measures.rows[method], taken)
        record_apart(measures.transports[origin.transport], taken)
        if isinstance(outcome, Failure):
            measures.rows[method][FAILED] += 1
            measures.errors[origin.transport][KIND_CELL[FAULTS]] += 1
        return outcome

    def measured(self: Any, method: str, params: Sequence[Any] | Mapping[str, Any], origin: Origin) -> Deferred[Any]:
        begun = perf_counter_ns()
        return call(self, method, params, origin).addBoth(ended, self.measures, method, origin, begun)

    return measured


def _counted(fault: Reply, measures: Measures, origin: Origin, row: "Row | None") -> Reply:
    """Count an error by its transport and kind, and in the row of its method or node, if it has any.

    @return: the same reply.
    """
    forbidden = fault.outcome == REFUSED and fault.code == 403  # without an audit log that can be written, it is 503
    kind = "forbidden" if forbidden else fault.kind
    measures.errors[origin.transport][KIND_CELL[kind]] += 1
    if row is not None:
        row[FAILED] += 1
    return fault


class MeasuringDispatcher(Dispatcher):
    """A dispatcher that measures, see L{Measures}."""

    measures: Measures

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.measures = Measures(self.registry.table)
        self.rows: dict[str, Row] = self.measures.rows

    if not TYPE_CHECKING:  # they have the types of those that they measure
        answer = _measured_answer(Dispatcher.answer)
        call = _measured_call(Dispatcher.call)


class MeasuringAuditingDispatcher(MeasuringDispatcher, AuditingDispatcher):
    """One that measures and keeps an audit log."""

    if not TYPE_CHECKING:
        answer = _measured_answer(AuditingDispatcher.answer)
        call = _measured_call(AuditingDispatcher.call)
