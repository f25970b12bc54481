"""The metrics of this server: traffic, commands, connections, processes, state, and the counters of programs."""

import os
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.metrics.exposition import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    INFO,
    UNKNOWN,
    Family,
    Names,
    Sample,
    buckets,
    labels,
    metric_name,
)
from jsonrpcs_tx.metrics.lag import ReactorLag
from jsonrpcs_tx.metrics.processes import most_descriptors, open_descriptors, usage
from jsonrpcs_tx.rpc.measures import BITS, FAILED, KINDS, SUM, Measures, Row, settle
from jsonrpcs_tx.service import JsonRpcService
from jsonrpcs_tx.state.counters import Counter, Gauge
from jsonrpcs_tx.state.destinations import DISABLED, INACTIVE, TRYING

_log = make_logger(__name__)

OTHER: Final = "other"
"""The label of all methods that are not measured separately."""

FIRST_BITS: Final = 13
LAST_BITS: Final = 36
"""The bounds of the buckets are 2**13 nanoseconds (8 microseconds), and each power of two up to 2**36 (69 seconds)."""

_TRAFFIC: Final = {
    "requests": ("jsonrpcs_requests", "Requests that arrived, each one of a batch counted.", ""),
    "replies": ("jsonrpcs_replies", "Documents that were answered.", ""),
    "bytes_received": ("jsonrpcs_received_bytes", "Bytes of the documents that arrived.", "bytes"),
    "bytes_sent": ("jsonrpcs_sent_bytes", "Bytes of the replies to them.", "bytes"),
    "dropped": ("jsonrpcs_dropped_replies", "Replies that could not be delivered.", ""),
}
"""The family of each counter of a transport, with its help and unit."""

_COUNTS: Final = {
    ("jsonrpc", "replies_ignored"): ("jsonrpcs_ignored_replies", "Replies received where requests are expected."),
    ("jsonrpc", "forbidden"): ("jsonrpcs_forbidden", "Requests that rules have refused."),
    ("jsonrpc", "slow_commands"): (
        "jsonrpcs_blocked_reactor",
        "Times that something held up the reactor.",
    ),
    ("jsonrpc", "timeouts"): ("jsonrpcs_async_timeouts", "Asynchronous commands that took too long."),
    ("jsonrpc", "auth_failures"): ("jsonrpcs_auth_failures", "Requests with a wrong name or password."),
    ("jsonrpc", "auth_limited"): ("jsonrpcs_auth_limited", "Requests refused because of too many wrong passwords."),
    ("log", "held_back"): ("jsonrpcs_log_held_back_lines", "Lines not logged, as there were too many of one kind."),
    ("log", "lost"): ("jsonrpcs_log_lost_lines", "Lines that could not be written to the log."),
    ("log", "refusals_held_back"): ("jsonrpcs_log_held_back_refusals", "Refusals not logged, as there were too many."),
    ("audit", "lines"): ("jsonrpcs_audit_lines", "Calls that were written to the audit log."),
    ("audit", "lost"): ("jsonrpcs_audit_lost_lines", "Lines of the audit log that could not be written."),
    ("audit", "held_back"): ("jsonrpcs_audit_held_back_lines", "Refused calls that are not in the audit log."),
}
"""The family of each counter that has a family of its own, with its help."""

_GAUGES: Final = {
    ("jsonrpc", "async_in_flight"): ("jsonrpcs_async_commands", "Asynchronous commands in progress."),
    ("jsonrpc", "async_overdue"): (
        "jsonrpcs_async_overdue_commands",
        "Commands that go on after their time limit or without a client.",
    ),
}

_REPORTED_ELSEWHERE: Final = frozenset(
    {("core", "rcv_requests"), ("core", "err_requests"), *(("jsonrpc", kind) for kind in KINDS)}
    | {("shmem", f"{size}_size") for size in ("total", "free", "used", "real_used", "max_used")}
    | {("shmem", "fragments"), ("tcp", "current_opened_connections"), ("tcp", "passive_open"), ("tcp", "local_reject")}
    | {("tcp", "send_timeout"), ("tcp", "sendq_full")}
)
"""Statistics that are part of other families: requests, errors, processes and connections."""

_CONNECTIONS: Final = (
    ("jsonrpcs_connections", GAUGE, "Connections that are open.", lambda one: one.opened),
    ("jsonrpcs_connections_limit", GAUGE, "Connections that may be open.", lambda one: one.limit),
    ("jsonrpcs_connections_accepted", COUNTER, "Connections that were accepted.", lambda one: one.accepted),
    ("jsonrpcs_connections_rejected", COUNTER, "Connections that were closed on arrival.", lambda one: one.rejected),
    ("jsonrpcs_connections_late", COUNTER, "Connections cut as a reply was not taken in time.", lambda one: one.late),
    (
        *("jsonrpcs_connections_unread", COUNTER, "Connections cut as too much waited for all clients."),
        lambda one: one.unread.cut_off,
    ),
)

_Read: TypeAlias = Callable[[Any], float]


class ServerMetrics:
    """The metrics of one server.

    @param service: the server.
    @param lag: how late its reactor is.
    """

    def __init__(self, service: JsonRpcService, lag: ReactorLag) -> None:
        assert service.dispatcher.measures is not None  # by the setting metrics
        self._service = service
        self._measures: Measures = service.dispatcher.measures
        self._lag = lag

    def families(self) -> Iterator[Family]:
        """Collect all families, each when it is iterated over. No two have a name in common."""
        counters = self._service.counters.all()  # first, since it adds what workers have counted and measured
        names = Names()
        for family in self._own():
            names.take(family)
            yield family
        yield from _of_programs(self._remaining(counters), names)

    def _own(self) -> Iterator[Family]:
        yield from self._facts()
        yield from self._traffic()
        yield from self._commands()
        yield from self._counts()
        yield from self._transports()
        yield from _processes(self._service)
        yield from self._state()

    def _facts(self) -> Iterator[Family]:
        service = self._service
        facts = labels(
            version=__version__, dialect=service.settings.dialect, compatibility=service.settings.compatibility
        )
        yield Family("jsonrpcs", INFO, "The version of the server, and how it answers.", [Sample(1, facts)])
        started = "When the server was made, in seconds since 1970."
        yield Family("jsonrpcs_start_time_seconds", GAUGE, started, [Sample(service.started)], "seconds")
        health = service.health.report()["checks"]
        checks = [Sample(int(check["status"] == "pass"), labels(check=name)) for name, check in health.items()]
        yield Family("jsonrpcs_health_check", GAUGE, "Whether a check of the health passes.", checks)
        yield Family("jsonrpcs_commands", GAUGE, "Commands that there are.", [Sample(len(service.registry))])

    def _traffic(self) -> Iterator[Family]:
        traffic = self._service.dispatcher.all_traffic()
        for attribute, (name, help, unit) in _TRAFFIC.items():
            samples = [Sample(getattr(one, attribute).value, labels(transport=key)) for key, one in traffic.items()]
            yield Family(name, COUNTER, help, samples, unit)
        errors = (
            Sample(self._measures.errors[transport][cell], labels(transport=transport, kind=kind))
            for transport in sorted(traffic)
            for cell, kind in enumerate(KINDS)
        )
        yield Family("jsonrpcs_errors", COUNTER, "Errors that requests were answered with, by kind.", errors)

    def _commands(self) -> Iterator[Family]:
        measures = self._measures
        rows = [*sorted(measures.rows.items()), (OTHER, measures.rows.other)]
        for _, row in rows:
            settle(row)
        called = [(labels(method=method), row) for method, row in rows if any(row[:BITS])]
        durations = (sample for method, row in called for sample in _histogram(row, method))
        help = "Time from a request to its reply, by method."
        yield Family("jsonrpcs_command_duration_seconds", HISTOGRAM, help, durations, "seconds")
        faults = [Sample(row[FAILED], method) for method, row in called]
        yield Family("jsonrpcs_command_faults", COUNTER, "Calls that were answered with an error, by method.", faults)
        durations = (
            sample
            for transport, row in sorted(measures.transports.items())
            for sample in _histogram(row, labels(transport=transport))
        )
        help = "Time from a request to its reply, by transport."
        yield Family("jsonrpcs_request_duration_seconds", HISTOGRAM, help, durations, "seconds")
        nodes = sorted(measures.nodes.items())
        for _, row in nodes:
            settle(row)
        durations = (sample for node, row in nodes if node for sample in _histogram(row, labels(node=node)))
        help = "Time from a request for a node to its reply, by node."
        yield Family("jsonrpcs_node_call_duration_seconds", HISTOGRAM, help, durations, "seconds")
        faults = [Sample(row[FAILED], labels(node=node)) for node, row in nodes if node]
        yield Family("jsonrpcs_node_call_faults", COUNTER, "Calls on a node that were answered with an error.", faults)
        help = "How much later than it should a timer ran, looked at every second."
        yield Family("jsonrpcs_reactor_lag_seconds", HISTOGRAM, help, _histogram(self._lag.row), "seconds")

    def _counts(self) -> Iterator[Family]:
        for names, kind in ((_COUNTS, COUNTER), (_GAUGES, GAUGE)):
            for (group, counter), (name, help) in names.items():
                one = self._service.counters.get(group, counter)
                if one is not None:
                    yield Family(name, kind, help, [Sample(one.read())])

    def _transports(self) -> Iterator[Family]:
        service = self._service
        waiting: dict[str, list[int]] = {}
        for transport in service.transports():
            replies, size = transport.waiting()
            total = waiting.setdefault(transport.protocol, [0, 0])
            total[0], total[1] = total[0] + replies, total[1] + size
        replies_help, bytes_help = "Replies that wait for their clients.", "Bytes of the replies that wait."
        counts = [Sample(total[0], labels(transport=name)) for name, total in waiting.items()]
        sizes = [Sample(total[1], labels(transport=name)) for name, total in waiting.items()]
        yield Family("jsonrpcs_waiting_replies", GAUGE, replies_help, counts)
        yield Family("jsonrpcs_waiting_replies_bytes", GAUGE, bytes_help, sizes, "bytes")
        streams = [(labels(transport=stream.protocol), stream.connections) for stream in service.streams()]
        for name, kind, help, read in _CONNECTIONS:
            totals: Tally[str] = Tally()
            for protocol, connections in streams:
                totals[protocol] += read(connections)
            yield Family(name, kind, help, [Sample(value, protocol) for protocol, value in totals.items()])

    def _state(self) -> Iterator[Family]:
        service = self._service
        states = (
            Sample(count, labels(set=id, state=state))
            for id, destinations in service.destinations.items()
            for state, count in _states(one.state for one in destinations).items()
        )
        yield Family("jsonrpcs_destinations", GAUGE, "Destinations of the dispatcher, by set and state.", states)
        items = (Sample(table.size, labels(table=name)) for name, table in service.tables.items())
        yield Family("jsonrpcs_htable_items", GAUGE, "Items of a hash table.", items)

    def _remaining(self, counters: Iterable[Counter | Gauge]) -> Iterator[Counter | Gauge]:
        """The counters without a family of their own: those of programs."""
        transports = self._service.dispatcher.all_traffic()
        known = _REPORTED_ELSEWHERE | _COUNTS.keys() | _GAUGES.keys()
        for one in counters:
            if (one.group, one.name) not in known and not (one.group in transports and one.name in _TRAFFIC):
                yield one


def _of_programs(counters: Iterable[Counter | Gauge], names: Names) -> Iterator[Family]:
    """A family for each counter; one family for all those whose own names are taken.

    @param names: the names that other families have.
    """
    spare = Family("jsonrpcs_statistic", UNKNOWN, "Statistics whose names alone would not be distinct.", [])
    names.take(spare)
    left: list[Sample] = []
    for one in counters:
        value = _read(one)
        if value is None:
            continue
        counts = type(one) is Counter and value >= 0
        name = metric_name("jsonrpcs", one.group, one.name)
        family = Family(
            name.removesuffix("_total") if counts else name,
            COUNTER if counts else GAUGE,
            one.help or f"The statistic {one.group}:{one.name} of the program.",
            [Sample(value)],
        )
        if names.take(family):
            yield family
        else:
            left.append(Sample(value, labels(group=one.group, name=one.name)))
    yield Family(spare.name, spare.kind, spare.help, left)


def _read(one: Counter | Gauge) -> float | None:
    """The value of a counter; None if it is not a number or cannot be read, and then the log says why."""
    try:
        value: object = one.read()
    except Exception as error:
        value = error
    if isinstance(value, int | float):
        return value
    _log.warn("{group}:{name} is left out of the metrics: {value!r:.200}", group=one.group, name=one.name, value=value)
    return None


def _histogram(row: Row, labels: str = "") -> Iterator[Sample]:
    """The samples of durations."""
    counts = list(row[: BITS + 1])
    first = [(2**FIRST_BITS / 1e9, sum(counts[: FIRST_BITS + 1]))]
    bounds = [(2**bits / 1e9, counts[bits]) for bits in range(FIRST_BITS + 1, LAST_BITS + 1)]
    return buckets(first + bounds, sum(counts[LAST_BITS + 1 : BITS]), counts[SUM] / 1e9, labels)


def _states(states: Iterable[int]) -> dict[str, int]:
    """How many destinations are in each state."""
    found = {"active": 0, "trying": 0, "inactive": 0, "disabled": 0}
    for state, count in Tally(states).items():
        if state & INACTIVE:
            found["inactive"] += count
        elif state & DISABLED:
            found["disabled"] += count
        else:
            found["trying" if state & TRYING else "active"] += count
    return found


def _processes(service: JsonRpcService) -> Iterator[Family]:
    """The processes: the main one by the names that Prometheus's own clients use, and the workers together."""
    main = usage(os.getpid())
    assert main is not None
    cpu, resident, virtual = "User and system CPU time.", "Memory in use.", "Virtual memory."
    yield Family("process_cpu_seconds", COUNTER, cpu, [Sample(main.cpu_seconds)], "seconds")
    yield Family("process_resident_memory_bytes", GAUGE, resident, [Sample(main.resident_bytes)], "bytes")
    yield Family("process_virtual_memory_bytes", GAUGE, virtual, [Sample(main.virtual_bytes)], "bytes")
    started = "When the process was started, in seconds since 1970."
    yield Family("process_start_time_seconds", GAUGE, started, [Sample(main.started)], "seconds")
    yield Family("process_open_fds", GAUGE, "Descriptors that are open.", [Sample(open_descriptors())])
    yield Family("process_max_fds", GAUGE, "Descriptors that may be open.", [Sample(most_descriptors())])
    workers = [found for pid, _ in service.processes()[1:] if (found := usage(pid)) is not None]
    missing = sum(transport.missing_workers() for transport in service.transports())
    yield Family("jsonrpcs_workers", GAUGE, "Worker processes that run.", [Sample(len(workers))])
    yield Family("jsonrpcs_missing_workers", GAUGE, "Worker processes that should run, but do not.", [Sample(missing)])
    cpu, resident = "User and system CPU time of the workers that run.", "Memory in use by the workers."
    yield Family(
        *("jsonrpcs_workers_cpu_seconds", COUNTER, cpu, [Sample(sum(one.cpu_seconds for one in workers))]), "seconds"
    )
    resident_bytes = sum(one.resident_bytes for one in workers)
    yield Family("jsonrpcs_workers_resident_memory_bytes", GAUGE, resident, [Sample(resident_bytes)], "bytes")
