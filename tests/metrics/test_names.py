"""What is read from the results of Kamailio's commands."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open

from jsonrpcs_tx.metrics.exposition import COUNTER, OPENMETRICS, Family, Sample, labels, render
from jsonrpcs_tx.metrics.names import SOURCES

BY_METHOD = {source.method: source for source in SOURCES}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    [
        "RECORDS",
        "SET",
        "ID",
        "TARGETS",
        "DEST",
        "URI",
        "FLAGS",
        "200",
        "6xx",
        "used",
        "entry",
        "flags",
        "name",
        "all",
        "host",
    ]
)
LIKE_KAMAILIO = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5), max_leaves=20
)


def facts(method: str, result: Any) -> list[tuple[str, dict[str, object], float]]:
    return [(fact.name, dict(fact.labels), fact.value) for fact in BY_METHOD[method].read(method, result)]


@pytest.mark.parametrize(
    ("method", "result", "expected"),
    [
        ("core.uptime", {"now": "Sat", "uptime": 7}, [("kamailio_core_uptime_uptime", {}, 7)]),
        ("core.shmmem", {"used": 5, "x": True}, [("kamailio_core_shmmem_used", {}, 5)]),
        (
            "tm.stats",
            {"current": 1, "2xx": 3},
            [("kamailio_tm_stats_codes", {"code": "2xx"}, 3), ("kamailio_tm_stats_current", {}, 1)],
        ),
        ("stats.get_statistics", ["usrloc:users = 4", "nonsense", 5], [("kamailio_usrloc_users", {}, 4)]),
        (
            "dispatcher.list",
            {"RECORDS": [{"SET": {"ID": 1, "TARGETS": [{"DEST": {"URI": "sip:a", "FLAGS": "IP"}}]}}]},
            [
                ("kamailio_dispatcher_list_target", {"setid": 1, "uri": "sip:a", "flags": "IP"}, 1),
                ("kamailio_dispatcher_list_active", {"setid": 1, "uri": "sip:a"}, 0),
            ],
        ),
        (
            "htable.stats",
            [{"name": "a", "slots": 16, "all": 2, "min": 0}],
            [("kamailio_htable_stats_items", {"table": "a"}, 2), ("kamailio_htable_stats_slots", {"table": "a"}, 16)],
        ),
        (
            "uac.reg_dump",
            [{"l_uuid": "x", "auth_password": "secret", "flags": 4 | 16, "diff_expires": 9}],
            [
                ("kamailio_uac_reg_dump_online", {"l_uuid": "x"}, 1),
                ("kamailio_uac_reg_dump_diff_expires", {"l_uuid": "x"}, 9),
            ],
        ),
        (
            "pkg.stats",
            [{"entry": 0, "pid": 9, "rank": 0, "used": 5, "desc": "timer"}],
            [("kamailio_pkg_stats_used", {"entry": 0, "process": "timer"}, 5)],
        ),
        (
            "dmq.list_nodes",
            [{"host": "h", "port": 5060, "status": "active", "local": 1}],
            [("kamailio_dmq_list_nodes_peer", {"host": "h", "port": 5060, "status": "active", "local": 1}, 1)],
        ),
    ],
)
def test_results(method: str, result: Any, expected: Any) -> None:
    """Each result has the facts that the page on metrics lists, and no secrets."""
    assert facts(method, result) == expected


@given(st.sampled_from(sorted(BY_METHOD)), LIKE_KAMAILIO)
def test_any_result(method: str, result: Any) -> None:
    """Whatever a node answers, what is read from it can be written, and read by Prometheus."""
    for fact in BY_METHOD[method].read(method, result):
        if fact.kind == COUNTER and fact.value < 0:
            continue  # which is left out, see NodeMetrics
        family = Family(fact.name, fact.kind, fact.help, [Sample(fact.value, labels(**fact.labels))])
        (found,) = read_open(b"".join(render([family], OPENMETRICS)).decode())
        assert found.samples
