"""A real Prometheus scrapes a gateway before the real Kamailio; the dashboard and the alert rules fit what it gets."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.support import DATA, PATIENCE, REPOSITORY, Server, http_call
from tests.support.kamailio import Kamailio
from tests.support.ports import free_port
from tests.support.programs import need
from tests.support.users import authorization, write
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

RULES = REPOSITORY / "contrib" / "prometheus" / "jsonrpcs-rules.yml"
DASHBOARD = REPOSITORY / "contrib" / "grafana" / "jsonrpcs.json"
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$node": ".*", "$job": ".*"}

CONFIGURATION = """
global:
  scrape_interval: 1s
rule_files: [{rules}]
scrape_configs:
  - job_name: jsonrpcs
    scheme: https
    basic_auth: {{username: prometheus, password: prometheus}}
    tls_config: {{ca_file: {directory}/tls.pem, server_name: localhost}}
    static_configs:
      - targets: ["127.0.0.1:{port}"]
  - job_name: kamailio
    scheme: https
    metrics_path: /probe
    basic_auth: {{username: prometheus, password: prometheus}}
    tls_config: {{ca_file: {directory}/tls.pem, server_name: localhost}}
    static_configs:
      - targets: [edge1]
    relabel_configs:
      - source_labels: [__address__]
        target_label: __param_target
      - source_labels: [__param_target]
        target_label: instance
      - target_label: __address__
        replacement: "127.0.0.1:{port}"
"""
"""What docs/metrics.md shows."""


class Prometheus:
    """Prometheus, which scrapes a server.

    @ivar port: where it answers queries.
    """

    def __init__(self, directory: Path, server: Server) -> None:
        need("prometheus", "prometheus")
        self.port = free_port()
        configuration = directory / "prometheus.yml"
        port = server.addresses["https"][1]
        configuration.write_text(CONFIGURATION.format(rules=RULES, directory=server.directory, port=port))
        subprocess.run(["promtool", "check", "config", configuration], check=True, capture_output=True)
        self._log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={directory}/data"),
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query now; empty as long as it has no result."""
        path = "/api/v1/query?" + urlencode({"query": expression})
        try:
            reply = http_call("http", ("127.0.0.1", self.port), b"", "GET", path)
        except ConnectionRefusedError:
            return []
        if reply.status == 503:  # it is starting
            return []
        answer = json.loads(reply.body)
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """The result of a query, once there is one."""
        return wait_until(lambda: self.query(expression), f"{expression} has no result", pause=0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    write(directory / "users", "prometheus")
    modules = ['loadmodule "rr.so"', 'loadmodule "dialog.so"', 'loadmodule "usrloc.so"']
    rules = ("--rule=https user=prometheus allow metrics", "--rule=https user=prometheus node=* allow metrics")
    options = ("--metrics=/metrics", "--metrics-interval=0.5", "--http-users=users", "--audit=audit.log")
    state = ("--htable=t=>size=4", f"--list-file={DATA / 'dispatcher.list'}")
    with (
        Kamailio(tmp_path_factory.mktemp("kamailio"), more=modules) as kamailio,
        Server(directory, *options, *rules, *state, f"--node=edge1=unix:{kamailio.unix}") as server,
    ):
        server.call("unix", b'{"jsonrpc":"2.0","method":"core.version","id":1}')
        yield server


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), server)
    yield prometheus
    prometheus.stop()


def test_scrapes_and_answers(prometheus: Prometheus) -> None:
    """Over HTTPS, with a password, it gets the server and the node, and answers questions about them."""
    (calls,) = prometheus.wait_for('jsonrpcs_command_duration_seconds_count{method="core.version"}')
    assert calls["value"][1] == "1"
    (memory,) = prometheus.wait_for('kamailio_core_shmmem_total{job="kamailio"}')
    assert memory["metric"]["instance"] == "edge1"
    assert int(memory["value"][1]) > 1_000_000
    (up,) = prometheus.wait_for('kamailio_up{job="jsonrpcs"}')
    assert (up["metric"]["node"], up["value"][1]) == ("edge1", "1")
    assert {one["value"][1] for one in prometheus.wait_for("up")} == {"1"}
    metadata = "/api/v1/metadata?metric=process_cpu_seconds"
    answer = json.loads(http_call("http", ("127.0.0.1", prometheus.port), b"", "GET", metadata).body)
    assert answer["data"]["process_cpu_seconds"] == [
        {"type": "counter", "help": "User and system CPU time.", "unit": "seconds"}
    ]


def test_quantiles(prometheus: Prometheus, server: Server) -> None:
    """A quantile of the durations is what a caller of the command would expect."""
    for _ in range(100):
        server.call("unix", b'{"jsonrpc":"2.0","method":"core.echo","params":["x"],"id":1}')
    (found,) = prometheus.wait_for(
        'histogram_quantile(0.5, jsonrpcs_command_duration_seconds_bucket{method="core.echo"}) < 1'
    )
    assert 0 < float(found["value"][1]) < 0.1


def names_in(expression: str) -> set[str]:
    """The names of the series in an expression."""
    return set(re.findall(r"\b(?:jsonrpcs|kamailio|process)_\w+", expression))


def expressions_of_dashboard() -> list[str]:
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found.append(expression)
    return found


def test_dashboard(prometheus: Prometheus, tmp_path: Path) -> None:
    """Every expression of the dashboard is valid, and every series in it is there."""
    expressions = expressions_of_dashboard()
    assert len(expressions) > 30
    groups = [{"name": "all", "rules": [{"record": f"a:b{n}", "expr": one} for n, one in enumerate(expressions)]}]
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": groups}))
    done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    series = set().union(*map(names_in, expressions)) - {"jsonrpcs_node_call_duration_seconds_bucket"}
    for name in sorted(series):
        prometheus.wait_for(name)
    for expression in expressions:
        prometheus.query(expression)


def test_panels() -> None:
    """Panels have different ids, and none lies on another."""
    taken: set[tuple[int, int]] = set()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_alert_rules(prometheus: Prometheus) -> None:
    """The alert rules are valid, do what their tests say, and are about series that are there; none fires."""
    for arguments in (("check", "rules", RULES), ("test", "rules", DATA / "jsonrpcs-rules-test.yml")):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    absent = {"kamailio_uac_reg_dump_online"}  # of a module that this Kamailio does not have
    for name in sorted(set().union(*(names_in(rule["expr"]) for rule in rules)) - absent):
        prometheus.wait_for(name)
    assert not prometheus.query('ALERTS{alertstate="firing"}')


def listed() -> tuple[set[str], set[str]]:
    """The series in the tables of docs/metrics.md: those of the server, and those of nodes."""
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    names = {
        name for cell in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    nodes = {name for name in names if name.startswith("kamailio_")}
    return names - nodes, nodes


def test_page_of_documentation(server: Server) -> None:
    """docs/metrics.md lists what there is, and nothing else."""
    headers = {"Authorization": authorization("prometheus"), "Accept": "text/plain"}
    server.http(b'{"jsonrpc":"2.0","method":"core.echo","id":1}', "https", path="/RPC/edge1", headers=headers)
    time.sleep(1.1)  # what was scraped before is given again for a second
    page = http_call("https", server.addresses["https"], b"", "GET", "/metrics", headers).body.decode()
    told = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    of_server, of_nodes = listed()
    own = {name for name in told if not name.startswith("kamailio_")}
    assert own - {"jsonrpcs_gateway_nodes_up", "jsonrpcs_gateway_nodes_down"} == of_server
    elsewhere = ("kamailio_tls_info", "kamailio_dmq", "kamailio_uac", "kamailio_GROUP")
    assert {name for name in of_nodes if not name.startswith(elsewhere)} <= told


def test_refused(server: Server) -> None:
    """Without a password there is nothing to scrape."""
    address = server.addresses["https"]
    assert http_call("https", address, b"", "GET", "/metrics").status == 401
    headers = {"Authorization": authorization("prometheus")}
    assert http_call("https", address, b"", "GET", "/metrics", headers).status == 200
