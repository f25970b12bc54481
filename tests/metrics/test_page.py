"""GET /metrics of real servers: who gets it, in which format, and what it says."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text

from tests.support import ECHO, PATIENCE, HttpReply, Server, http_call, http_connection
from tests.support.programs import need
from tests.support.users import authorization, write

pytestmark = pytest.mark.slow

OPEN = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
"""What Prometheus accepts."""

COMMANDS = '''
from twisted.internet import reactor
from twisted.internet.task import deferLater
from jsonrpcs_tx import Fault, command
from jsonrpcs_tx.metrics import scrapes

class Own:
    """Counts in ways that are hard to tell."""

    def __init__(self, service):
        counters = service.counters
        counters.counter("shop", "orders", "orders \\\\ that \\n came").value = 7
        counters.counter("shop", "x-y").value = 1
        counters.counter("shop", "x_y").value = 2
        counters.counter("requests", "total").value = 3
        counters.gauge("shop", "broken", "fails", lambda: 1 // 0)
        counters.gauge("shop", "odd", "no number", lambda: "<script>")
        counters.gauge("process_cpu", "seconds_total", "takes a name", lambda: 4)

    @command("own.fault")
    def fault(self):
        raise Fault(480, "none")

    @command("own.fresh")
    def fresh(self, seconds: float) -> None:
        scrapes.FRESH = seconds

    @command("own.later")
    async def later(self):
        await deferLater(reactor, 0.3)
        return "later"
'''


@pytest.fixture
def fresh(server: Server) -> Iterator[None]:
    """What was scraped before is not given again for a second, as it usually is."""
    document = b'{"jsonrpc":"2.0","method":"own.fresh","params":[%d],"id":1}'
    server.http(document % 0)
    yield
    server.http(document % 1)


def scrape(server: Server, transport: str = "http", accept: str = "", **headers: str) -> HttpReply:
    if accept:
        headers["Accept"] = accept
    return http_call(transport, server.addresses[transport], b"", "GET", "/metrics", headers)


def values(reply: HttpReply) -> dict[str, float]:
    """The values by series, such as C{a_total{b=c}}."""
    assert reply.status == 200
    is_open = reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert is_open or reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: dict[str, float] = {}
    for family in (read_open if is_open else read_text)(reply.body.decode()):
        assert family.documentation
        assert family.type != "untyped"
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found
            found[key] = sample.value
    return found


@contextlib.contextmanager
def server_with(directory: Path, *arguments: str) -> Iterator[Server]:
    (directory / "own.py").write_text(COMMANDS)
    with Server(directory, "--metrics=/metrics", f"--run-dir={directory}", *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("metrics")
    (directory / "dispatcher.list").write_text("1 sip:192.0.2.1 0\n1 sip:192.0.2.2 1\n2 sip:192.0.2.3 4\n")
    with server_with(
        directory, "--commands=own:Own", "--list-file=dispatcher.list", "--htable=t=>size=4", "--dgram-workers=2"
    ) as server:
        yield server


def calls(server: Server, transport: str) -> dict[str, float]:
    """What is counted once every kind of call was made over a transport."""
    for document in (
        ECHO,
        b"{",
        b'{"jsonrpc":"2.0","method":"no.such{method=\\"x\\"}","id":1}',
        b'{"jsonrpc":"2.0","method":"own.fault","id":1}',
        b'{"jsonrpc":"2.0","method":"cnt.get","params":[],"id":1}',
        b"[%b,%b]" % (ECHO, ECHO),
    ):
        server.call(transport, document)
    return values(http_call("http", server.addresses["http"], b"", "GET", "/metrics", {"Accept": "text/plain"}))


@pytest.mark.parametrize("transport", ["unix", "udp4", "fifo", "tcp", "http", "https"])
@pytest.mark.usefixtures("fresh")
def test_calls(server: Server, transport: str) -> None:
    """Calls, their durations and their errors are counted over every transport, in workers as well."""
    before = values(scrape(server))
    after = calls(server, transport)
    name = transport.rstrip("46")

    def more(series: str) -> float:
        return after[series] - before.get(series, 0)

    assert more(f"jsonrpcs_requests_total{{transport={name}}}") == 7
    for kind in ("faults", "parse_errors", "methods_not_found", "invalid_params"):
        assert more(f"jsonrpcs_errors_total{{kind={kind},transport={name}}}") == 1, kind
    for method, count in (("jsonrpc.echo", 3), ("own.fault", 1), ("cnt.get", 1), ("other", 1)):
        assert more(f"jsonrpcs_command_duration_seconds_count{{method={method}}}") == count
        assert more(f"jsonrpcs_command_duration_seconds_sum{{method={method}}}") > 0
    assert more("jsonrpcs_command_faults_total{method=own.fault}") == 1
    assert more("jsonrpcs_command_faults_total{method=jsonrpc.echo}") == 0


def test_state(server: Server) -> None:
    """Facts, destinations, tables, workers and processes are told."""
    found = values(scrape(server))
    assert found["jsonrpcs_destinations{set=1,state=active}"] == 1
    assert found["jsonrpcs_destinations{set=1,state=inactive}"] == 1
    assert found["jsonrpcs_destinations{set=2,state=disabled}"] == 1
    assert found["jsonrpcs_htable_items{table=t}"] == 0
    assert found["jsonrpcs_workers"] == 6  # on three sockets
    assert found["jsonrpcs_missing_workers"] == 0
    assert found["jsonrpcs_workers_resident_memory_bytes"] > 1_000_000
    assert found["jsonrpcs_connections{transport=http}"] >= 1
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_open_fds"] > 5
    assert abs(found["process_start_time_seconds"] - found["jsonrpcs_start_time_seconds"]) < 60
    assert found["jsonrpcs_start_time_seconds"] - time.time() + 3600 >= 0


@pytest.mark.usefixtures("fresh")
def test_asynchronous(server: Server) -> None:
    """An asynchronous command is measured to its end, in whichever way it is called."""
    before = values(scrape(server))
    server.http(b'{"jsonrpc":"2.0","method":"own.later","id":1}')
    after = values(scrape(server))
    series = "jsonrpcs_command_duration_seconds_{}{{method=own.later}}"
    assert after[series.format("count")] - before.get(series.format("count"), 0) == 1
    assert after[series.format("sum")] - before.get(series.format("sum"), 0) >= 0.3
    assert after["jsonrpcs_async_commands"] == 0


def test_own_counters(server: Server) -> None:
    """A program's counters have their own families; those whose names are taken share one; what fails is left out."""
    for accept in ("", OPEN):
        found = values(scrape(server, accept=accept))
        assert found["jsonrpcs_shop_orders_total"] == 7
        assert found["jsonrpcs_shop_x_y_total"] == 1
        assert found["jsonrpcs_statistic{group=shop,name=x_y}"] == 2
        assert found["jsonrpcs_statistic{group=requests,name=total}"] == 3
        assert not [name for name in found if "broken" in name or "odd" in name]


def test_formats(server: Server) -> None:
    """Prometheus gets OpenMetrics, a browser the text format; HEAD gets the head alone."""
    assert scrape(server, accept=OPEN).headers["content-type"].startswith("application/openmetrics-text")
    assert scrape(server, accept="text/html,*/*;q=0.8").headers["content-type"].startswith("text/plain")
    reply = http_call("http", server.addresses["http"], b"", "HEAD", "/metrics")
    assert reply.status == 200
    assert int(reply.headers["content-length"]) > 1000
    assert reply.body == b""
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["vary"] == "Accept"
    refused = http_call("http", server.addresses["http"], b"", "PUT", "/metrics")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_lint(server: Server) -> None:
    """promtool finds nothing to blame in the server's own metrics."""
    need("promtool", "prometheus")
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape(server).body, capture_output=True, check=False)
    about_own = [line for line in done.stderr.decode().splitlines() if "jsonrpcs_shop" not in line]
    assert not [line for line in about_own if not line.startswith("jsonrpcs_process_cpu")], done.stderr.decode()


def test_refused(tmp_path: Path) -> None:
    """Users and rules decide as for calls; refusals are in the audit log with the method; calls are not affected."""
    write(tmp_path / "users", "prometheus", "operator")
    rules = ("--rule=https user=prometheus allow metrics", "--rule=https user=operator allow core.*")
    with server_with(tmp_path, "--http-users=users", "--audit=audit.log", *rules) as server:
        assert scrape(server, "https").status == 401
        assert scrape(server, "https", Authorization=authorization("nobody")).status == 401
        reply = scrape(server, "https", Authorization=authorization("operator"))
        assert (reply.status, reply.body) == (403, b"403 Forbidden: a rule must allow the method metrics\n")
        found = values(scrape(server, "https", Authorization=authorization("prometheus")))
        assert found["jsonrpcs_forbidden_total"] == 1
        assert found["jsonrpcs_auth_failures_total"] >= 1
        prometheus = {"Authorization": authorization("prometheus")}
        call = server.http(b'{"jsonrpc":"2.0","method":"core.version","id":1}', "https", headers=prometheus)
        assert call.status == 403
        page = {**prometheus, "Origin": "https://example.com"}
        assert scrape(server, "https", **page).status == 403
        assert scrape(server, "https", **prometheus, Host="example.com").status == 403
        server.wait_for_log("https: 'metrics' is forbidden to user operator from ")
    entries = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    (forbidden,) = [entry for entry in entries if entry.get("text") == "'metrics' is forbidden to user operator"]
    assert (forbidden["user"], forbidden["method"], forbidden["code"]) == ("operator", "metrics", 403)


def test_off(tmp_path: Path) -> None:
    """Without the setting there is no such page."""
    with Server(tmp_path) as server:
        assert scrape(server).status == 404


def test_below_the_prefix(tmp_path: Path) -> None:
    """The page may be at a path below that of JSON-RPC, whose requests with a body stay calls."""
    with server_with(tmp_path, "--http-path=/") as server:
        assert scrape(server).status == 200
        assert http_call("http", server.addresses["http"], ECHO, path="/metrics").status == 200
        reply = http_call("http", server.addresses["http"], ECHO, "GET", "/metrics")
        assert json.loads(reply.body)["result"] == ["x", 1]


def test_scrapers_that_do_not_read(server: Server) -> None:
    """Scrapers that ask again and again and never read keep nobody from being answered."""
    before = values(scrape(server))["process_resident_memory_bytes"]
    request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            client = stack.enter_context(socket.create_connection(server.addresses["http"], PATIENCE))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.send(request * 2000)
        begun = time.monotonic()
        assert json.loads(server.call("unix", ECHO))["result"] == ["x", 1]
        assert json.loads(server.http(ECHO).body)["result"] == ["x", 1]
        assert time.monotonic() - begun < PATIENCE / 2
        time.sleep(1.1)
        assert values(scrape(server))["process_resident_memory_bytes"] - before < 100_000_000


def test_connection_is_kept(server: Server) -> None:
    """A scraper uses one connection again and again, also for calls."""
    connection: Any = http_connection("http", server.addresses["http"])
    for _ in range(3):
        connection.request("GET", "/metrics")
        assert connection.getresponse().read().startswith(b"# HELP")
        connection.request("POST", "/RPC", ECHO)
        assert json.loads(connection.getresponse().read())["result"] == ["x", 1]
    connection.close()
