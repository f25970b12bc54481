"""The metrics of nodes: the real Kamailio behind a server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.support import HttpReply, Server, http_call
from tests.support.kamailio import Kamailio
from tests.support.users import authorization, write
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OPEN = "application/openmetrics-text; version=1.0.0"
EXPORTER = (
    *(f"kamailio_core_shmmem_{field}" for field in ("total", "free", "used", "real_used", "max_used", "fragments")),
    *("kamailio_core_uptime_uptime_total", "kamailio_tm_stats_current", "kamailio_tm_stats_waiting"),
    *(f"kamailio_tm_stats_{field}_total" for field in ("total", "total_local", "created", "freed", "delayed_free")),
    *(f"kamailio_tm_stats_rpl_{field}_total" for field in ("received", "generated", "sent")),
    *("kamailio_tm_stats_codes_total", "kamailio_sl_stats_codes_total", "kamailio_dispatcher_list_target"),
    *(f"kamailio_core_tcp_info_{field}" for field in ("readers", "max_connections", "max_tls_connections")),
    *(f"kamailio_core_tcp_info_opened_{field}" for field in ("connections", "tls_connections")),
    *("kamailio_core_tcp_info_write_queued_bytes", "kamailio_up"),
    *(f"kamailio_dlg_stats_active_{field}" for field in ("starting", "connecting", "answering", "ongoing", "all")),
    *("kamailio_exporter_total_scrapes", "kamailio_exporter_failed_scrapes"),
)
"""The series that kamailio_exporter has, as far as this Kamailio has the modules."""


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    modules = ['loadmodule "rr.so"', 'loadmodule "dialog.so"', 'loadmodule "usrloc.so"']
    with Kamailio(tmp_path_factory.mktemp("kamailio"), more=modules) as kamailio:
        yield kamailio


@pytest.fixture(scope="module")
def gateway(kamailio: Kamailio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("gateway")
    write(directory / "users", "all", "one", "none")
    rules = (
        *("--rule=https user=all node=* allow metrics core.*", "--rule=https user=all allow metrics"),
        *("--rule=https user=one node=edge2 allow metrics", "--rule=https user=one allow metrics"),
        "--rule=https user=none allow core.*",
    )
    nodes = (f"--node=edge1=unix:{kamailio.unix}", f"--node=edge2=unix:{kamailio.unix}", "--node=gone=unix:/none")
    options = ("--metrics=/a/metrics", "--metrics-interval=0.5", "--http-users=users", "--node-interval=0.2")
    with Server(directory, *options, *rules, *nodes) as server:
        scrape_until(server, lambda found: any("kamailio_pkg_stats_used" in one for one in found))
        yield server


def get(server: Server, path: str, user: str = "all", accept: str = "text/plain") -> HttpReply:
    headers = {"Accept": accept, "Authorization": authorization(user)}
    return http_call("https", server.addresses["https"], b"", "GET", path, headers)


def samples(reply: HttpReply) -> dict[tuple[str, str], list[Any]]:
    """The samples by their names and nodes."""
    assert reply.status == 200, reply.body
    read = read_open if b"openmetrics" in reply.headers["content-type"].encode() else read_text
    found: dict[tuple[str, str], list[Any]] = {}
    for family in read(reply.body.decode()):
        assert family.documentation
        for sample in family.samples:
            found.setdefault((sample.name, sample.labels.get("node", "")), []).append(sample)
    return found


def scrape_until(server: Server, fits: Callable[[list[str]], bool], path: str = "/a/metrics") -> None:
    """Scrape until the names of the series fit."""
    wait_until(
        lambda: fits([name for name, _ in samples(get(server, path))]),
        lambda: get(server, path).body.decode(),
        pause=0.2,
    )


@pytest.mark.parametrize("accept", ["text/plain", OPEN])
def test_all(gateway: Server, accept: str) -> None:
    """The page has all nodes, by the names of kamailio_exporter, each series with its node."""
    found = samples(get(gateway, "/a/metrics", accept=accept))
    missing = [name for name in EXPORTER if (name, "edge1") not in found]
    if accept == OPEN:
        missing = [name for name in missing if not name.startswith("kamailio_exporter_")]
    assert not missing
    assert found["kamailio_up", "edge1"][0].value == 1
    assert found["kamailio_up", "gone"][0].value == 0
    assert "kamailio 5." in found["kamailio_node_info", "edge1"][0].labels["version"]
    assert found["kamailio_node_info", "gone"][0].labels["reason"]
    assert ("kamailio_core_shmmem_used", "gone") not in found
    assert {sample.labels["flags"] for sample in found["kamailio_dispatcher_list_target", "edge2"]} == {"AP", "AX"}
    assert ("kamailio_core_rcv_requests", "edge1") in found  # as xhttp_prom
    assert ("kamailio_usrloc_registered_users", "edge1") in found
    assert ("jsonrpcs_requests_total", "") in found


def test_probe(gateway: Server) -> None:
    """The page of one node has its series without the label; if there is no such node, it says so."""
    found = samples(get(gateway, "/a/probe?target=edge1"))
    assert not [name for name in EXPORTER if (name, "") not in found]
    assert not [name for name, _ in found if name.startswith("jsonrpcs_")]
    assert samples(get(gateway, "/a/probe?target=gone"))["kamailio_up", ""][0].value == 0
    unknown = get(gateway, "/a/probe?target=%22%0a%C3%BF")
    assert (unknown.status, unknown.body) == (404, 'there is no node "\\nÿ'.encode().join((b"404 Not Found: ", b"\n")))
    for query in ("", "?target=", "?target=edge1&target=edge2", "?x=1"):
        assert get(gateway, f"/a/probe{query}").status == 400


def test_rights(gateway: Server) -> None:
    """Each caller gets the nodes on which rules allow it the method metrics, and no others."""
    found = samples(get(gateway, "/a/metrics", "one"))
    assert {node for _, node in found} == {"", "edge2"}
    assert {node for _, node in samples(get(gateway, "/a/metrics", "all"))} == {"", "edge1", "edge2", "gone"}
    assert get(gateway, "/a/metrics", "none").status == 403
    assert get(gateway, "/a/probe?target=edge2", "one").status == 200
    assert get(gateway, "/a/probe?target=edge1", "one").status == 403
    assert get(gateway, "/a/probe?target=edge2", "none").status == 403


def test_calls_on_nodes(gateway: Server) -> None:
    """Calls on nodes are measured by node, not as commands of this server, whatever their methods are."""
    for method in ("core.version", "no.such"):
        document = b'{"jsonrpc":"2.0","method":"%b","id":1}' % method.encode()
        headers = {"Authorization": authorization("all")}
        http_call("https", gateway.addresses["https"], document, path="/RPC/edge2", headers=headers)
    scrape_until(gateway, lambda found: "jsonrpcs_node_call_duration_seconds_count" in found)
    found = samples(get(gateway, "/a/metrics"))
    assert found["jsonrpcs_node_call_duration_seconds_count", "edge2"][0].value == 2
    assert found["jsonrpcs_node_call_faults_total", "edge2"][0].value == 1
    methods = {sample.labels["method"] for sample in found.get(("jsonrpcs_command_duration_seconds_count", ""), [])}
    assert not methods & {"core.version", "no.such"}


def test_goes_away_and_comes_back(tmp_path: Path) -> None:
    """A node that ends has no series but those that say so, until it is back."""
    (tmp_path / "kamailio").mkdir()
    write(tmp_path / "users", "all")
    with (
        Kamailio(tmp_path / "kamailio") as kamailio,
        Server(
            *(tmp_path, "--metrics=/metrics", "--metrics-interval=0.5", "--node-interval=0.2", "--http-users=users"),
            f"--node=edge=unix:{kamailio.unix}",
            *("--rule=https user=all allow metrics", "--rule=https user=all node=* allow metrics"),
        ) as server,
    ):
        scrape_until(server, lambda found: "kamailio_core_shmmem_used" in found, "/metrics")
        kamailio.stop()
        scrape_until(server, lambda found: "kamailio_core_shmmem_used" not in found, "/metrics")
        assert samples(get(server, "/metrics"))["kamailio_up", "edge"][0].value == 0
        kamailio.start()
        scrape_until(server, lambda found: "kamailio_core_shmmem_used" in found, "/metrics")
