"""What Kamailio's commands report, and the names under which Prometheus gets it.

The names follow florentchauveau/kamailio_exporter: C{kamailio_}, the command, and the field, such as
C{kamailio_core_shmmem_used}; where both have the same metric, it has the same name. Statistics are named as by
Kamailio's own module xhttp_prom: C{kamailio_}, the group, and the name.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from jsonrpcs_tx.metrics.exposition import COUNTER, GAUGE, UNKNOWN, metric_name

PREFIX: Final = "kamailio"

_STATISTIC = re.compile(r"([^:\s]+):(\S+) = (-?[0-9]{1,20})")
_CODE = re.compile("[0-9x]{3}")


class Fact(NamedTuple):
    """One number that a node reports.

    @ivar name: of the family.
    @ivar kind: its type.
    @ivar help: a sentence.
    @ivar value: a number.
    @ivar labels: names and values.
    """

    name: str
    kind: str
    help: str
    value: float
    labels: Mapping[str, object] = {}


Reader: TypeAlias = Callable[[str, Any], Iterator[Fact]]
"""Takes the name of a command and its decoded result, and skips what is not as expected."""


class Source(NamedTuple):
    """A command that a node is asked. It changes nothing there.

    @ivar read: reads the result.
    @ivar params: JSON; empty: no parameters.
    """

    method: str
    read: Reader
    params: bytes = b""


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _fields(method: str, result: Any) -> Iterator[Fact]:
    """The numbers of a struct."""
    for field, value in result.items() if isinstance(result, dict) else ():
        number = _number(value)
        if number is not None:
            counts = (method, field) in _COUNTERS
            help = f"{'Counter' if counts else 'Value'} {field} of {method}."
            yield Fact(metric_name(PREFIX, method, field), COUNTER if counts else GAUGE, help, number)


_TM_COUNTERS: Final = (
    *("total", "total_local", "rpl_received", "rpl_generated", "rpl_sent", "created", "freed", "delayed_free"),
)
_COUNTERS: Final = {*(("tm.stats", field) for field in _TM_COUNTERS), ("core.uptime", "uptime")}
"""The fields that only grow; others are gauges."""


def _by_code(method: str, result: Any) -> Iterator[Fact]:
    """The numbers of a struct, some of which count SIP replies and have their codes as names."""
    if not isinstance(result, dict):
        return
    name = metric_name(PREFIX, method, "codes")
    for field, value in result.items():
        number = _number(value)
        if number is not None and _CODE.fullmatch(field):
            yield Fact(name, COUNTER, f"Replies of {method} by their codes.", number, {"code": field})
    yield from _fields(method, {field: value for field, value in result.items() if not _CODE.fullmatch(field)})


def _statistics(method: str, result: Any) -> Iterator[Fact]:
    for line in result if isinstance(result, list) else ():
        match = _STATISTIC.fullmatch(line) if isinstance(line, str) else None
        if match is not None:
            group, name, value = match.groups()
            yield Fact(metric_name(PREFIX, group, name), UNKNOWN, f"The statistic {group}:{name}.", int(value))


def _packages(method: str, result: Any) -> Iterator[Fact]:
    """The private memory of each process."""
    for process in _structs(result):
        labels = {"entry": process.get("entry"), "process": process.get("desc", "")}
        for field, value in process.items():
            number = _number(value)
            if number is not None and field not in ("entry", "pid", "rank"):
                help = f"Value {field} of {method}, the private memory of each process."
                yield Fact(metric_name(PREFIX, method, field), GAUGE, help, number, labels)


def _targets(method: str, result: Any) -> Iterator[Fact]:
    """The destinations of the dispatcher."""
    target, active = metric_name(PREFIX, method, "target"), metric_name(PREFIX, method, "active")
    records = result.get("RECORDS") if isinstance(result, dict) else None
    for record in _structs(records):
        found = record.get("SET")
        if not isinstance(found, dict):
            continue
        for destination in _structs(found.get("TARGETS")):
            facts = destination.get("DEST")
            if isinstance(facts, dict):
                labels = {"setid": found.get("ID"), "uri": facts.get("URI")}
                flags = str(facts.get("FLAGS"))
                yield Fact(target, GAUGE, "Always 1; the flags say the state.", 1, {**labels, "flags": flags})
                live = int(flags[:1] in ("A", "T"))
                yield Fact(
                    active, GAUGE, "Whether a destination gets calls: its flags begin with A or T.", live, labels
                )


def _tables(method: str, result: Any) -> Iterator[Fact]:
    for table in _structs(result):
        for field, name in (("all", "items"), ("slots", "slots")):
            number = _number(table.get(field))
            if number is not None:
                labels = {"table": table.get("name")}
                yield Fact(metric_name(PREFIX, method, name), GAUGE, f"The {name} of a hash table.", number, labels)


_ONLINE: Final = 4
"""The bit in the flags of a registration that is set when the registrar has accepted it."""


def _registrations(method: str, result: Any) -> Iterator[Fact]:
    """The registrations of uac. Only their names are used, since they contain passwords."""
    for one in _structs(result):
        flags = _number(one.get("flags"))
        if flags is not None:
            labels = {"l_uuid": one.get("l_uuid")}
            online, expires = metric_name(PREFIX, method, "online"), metric_name(PREFIX, method, "diff_expires")
            is_online = int(bool(int(flags) & _ONLINE))
            yield Fact(online, GAUGE, "Whether the registrar has accepted a registration.", is_online, labels)
            left = _number(one.get("diff_expires"))
            if left is not None:
                yield Fact(expires, GAUGE, "Seconds until a registration expires.", left, labels)


def _peers(method: str, result: Any) -> Iterator[Fact]:
    """The nodes of dmq."""
    for peer in _structs(result if isinstance(result, list) else [result]):
        labels = {name: peer.get(name) for name in ("host", "port", "status", "local")}
        yield Fact(metric_name(PREFIX, method, "peer"), GAUGE, "Always 1; the status says the state.", 1, labels)


def _structs(result: Any) -> Iterator[dict[str, Any]]:
    return (one for one in result if isinstance(one, dict)) if isinstance(result, list) else iter(())


SOURCES: Final = (
    Source("core.uptime", _fields),
    Source("core.shmmem", _fields),
    Source("core.tcp_info", _fields),
    Source("tls.info", _fields),
    Source("tm.stats", _by_code),
    Source("sl.stats", _by_code),
    Source("dlg.stats_active", _fields),
    Source("dispatcher.list", _targets),
    Source("dmq.list_nodes", _peers),
    Source("htable.stats", _tables),
    Source("uac.reg_dump", _registrations),
    Source("pkg.stats", _packages),
    Source("stats.get_statistics", _statistics, b'["all"]'),
)
"""All commands that are asked. If two have the same family, the first one counts."""
