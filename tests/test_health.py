"""The health of a server: what load balancers are told, who is told why, and what makes it fail."""

import base64
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs

from jsonrpcs_tx.health import MAX_REASONS, Health
from tests.support import DATA, ECHO, ECHO_REPLY, PATIENCE, HttpReply, Server, http_call, http_connection
from tests.support.programs import need
from tests.support.users import write
from tests.support.waiting import wait_until

PASS = {"status": "pass"}
FAIL = {"status": "fail"}


def test_checks() -> None:
    """The status is that of the checks that are fatal; each says why, and one that fails itself is a reason."""
    health = Health()
    assert health.report() == {"status": "pass", "checks": {}}
    health.add("a", list)
    health.add("b", lambda: ["odd"], fatal=False)
    warned = {"status": "warn", "checks": {"a": PASS, "b": {"status": "warn", "reasons": ["odd"]}}}
    assert health.report() == warned
    health.add("a", lambda: iter(("one", "two")))
    assert health.report()["checks"]["a"] == {"status": "fail", "reasons": ["one", "two"]}
    assert health.report()["status"] == "fail"
    health.add("a", lambda: map(str, range(MAX_REASONS + 7)))
    assert health.report()["checks"]["a"]["reasons"][-2:] == [str(MAX_REASONS - 1), "and 7 more"]
    health.remove("a")
    assert health.report()["status"] == "warn"
    with pytest.raises(KeyError):
        health.remove("a")
    health.stopping = True
    assert health.report()["checks"]["server"] == {"status": "fail", "reasons": ["it is stopping"]}


def test_check_that_fails() -> None:
    """A check that raises, at once or later, is a reason, and the log says so."""

    def later() -> Iterator[str]:
        yield "one"
        raise ZeroDivisionError("later")

    health = Health()
    health.add("now", lambda: [str(1 // 0)])
    health.add("later", later)
    with capturedLogs() as events:
        report = health.report()
    assert report["checks"]["now"]["reasons"][0].startswith("the check failed: ZeroDivisionError: ")
    assert report["checks"]["later"]["reasons"] == ["the check failed: ZeroDivisionError: later"]
    assert [event["name"] for event in events] == ["now", "later"]


def ask(server: Server, transport: str = "http", method: str = "GET", **headers: str) -> HttpReply:
    return http_call(transport, server.addresses[transport], b"", method, "/health", headers)


def report(server: Server, transport: str = "http", **headers: str) -> Any:
    """What is told, which must fit the status."""
    reply = ask(server, transport, **headers)
    told = json.loads(reply.body)
    assert reply.status == {"pass": 200, "warn": 200, "fail": 503}[told["status"]]
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    return told


def raw(address: Any, request: bytes) -> bytes:
    """Send bytes over a connection, and return what comes until it is closed."""
    with socket.create_connection(address, PATIENCE) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["yes", "no"])
def test_well(tmp_path: Path, fast: str) -> None:
    """All is well over HTTP, HTTPS and a Unix socket; the command says the same; HEAD has no body; calls go on."""
    options = ("--http-listen=unix:http.sock", f"--fast-paths={fast}", "--htable=a=>size=4", "--htable-db=t.db")
    expected = {"status": "pass", "checks": dict.fromkeys(("disk", "listeners", "workers", "destinations"), PASS)}
    with Server(tmp_path, *options) as server:
        for transport in ("http", "https"):
            assert report(server, transport) == expected
            head = ask(server, transport, "HEAD")
            assert (head.status, head.body) == (200, b"")
            assert int(head.headers["content-length"]) == len(json.dumps(expected, separators=(",", ":")))
            refused = ask(server, transport, "POST")
            assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
        command = server.call("udp4", b'{"jsonrpc":"2.0","method":"jsonrpc.health","id":1}')
        assert json.loads(command)["result"] == expected
        with contextlib.closing(http_connection("http", server.addresses["http"])) as connection:
            for _ in range(3):  # one connection for both
                connection.request("GET", "/health?x=1")
                assert json.loads(connection.getresponse().read()) == expected
                connection.request("POST", "/RPC", ECHO)
                assert connection.getresponse().read() == ECHO_REPLY
        assert http_call("http", server.addresses["http"], b"", "GET", "/health/").status == 404


@pytest.mark.slow
def test_path(tmp_path: Path) -> None:
    """The path can be another, one below that of JSON-RPC as well, and none."""
    with Server(tmp_path, "--http-path=/", "--health=/alive") as server:
        address = server.addresses["http"]
        assert json.loads(http_call("http", address, b"", "GET", "/alive").body)["status"] == "pass"
        assert http_call("http", address, ECHO, "POST", "/alive").body == ECHO_REPLY
        assert http_call("http", address, ECHO, "GET", "/alive").body == ECHO_REPLY
        assert http_call("http", address, b"", "GET", "/health").status == 400
        assert http_call("http", address, b"", "HEAD", "/alive").status == 200
    with Server(tmp_path, "--health=") as server:
        assert ask(server).status == 404


@pytest.mark.slow
def test_strangers(tmp_path: Path) -> None:
    """Who may not call the command learns the status alone, as does who gives no password; a wrong one is refused."""
    write(tmp_path / "users", "ann", "bob")
    options = ("--http-users=users", "--rule=http https user=ann allow *", "--rule=http https user=bob allow core.*")

    def password(name: str) -> str:
        return "Basic " + base64.b64encode(f"{name}:{name}".encode()).decode()

    with Server(tmp_path, *options) as server:
        for transport in ("http", "https"):
            assert report(server, transport) == PASS
            assert report(server, transport, Authorization=password("bob")) == PASS
            assert set(report(server, transport, Authorization=password("ann"))) == {"status", "checks"}
            assert ask(server, transport, Authorization=password("eve")).status == 401
            for foreign in ({"Host": "rpc.evil.example"}, {"Origin": "https://evil.example"}):
                assert report(server, transport, Authorization=password("ann"), **foreign) == PASS
        os.unlink(server.addresses["fifo"])
        assert report(server) == FAIL
        failing = report(server, Authorization=password("ann"))["checks"]
        assert failing["listeners"]["reasons"] == [f"fifo {server.addresses['fifo']}: the file is gone"]


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["yes", "no"])
def test_odd_requests(tmp_path: Path, fast: str) -> None:
    """Load balancers that name no host, or any, are told the status; a network that may not call is not."""
    with Server(tmp_path, f"--fast-paths={fast}", "--http-allow=127.0.0.1", "--http-proxy=127.0.0.2") as server:
        address = server.addresses["http"]
        for request in (
            b"GET /health HTTP/1.0\r\n\r\n",
            b"OPTIONS /health HTTP/1.0\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: lb-check.internal\r\n\r\n",
            b"GET http://other.example/health HTTP/1.1\r\nHost: x\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n",
            b"HEAD /health HTTP/1.1\r\nHost: \r\n\r\n",
        ):
            reply = raw(address, request)
            if b"HTTP/1.0" in request and not request.startswith(b"OPTIONS"):
                assert b" 200 OK" in reply
                assert b'"checks"' in reply  # no host: it cannot be a web page
            elif request.startswith(b"GET"):
                assert b" 200 OK" in reply
                assert reply.endswith(b'\r\n\r\n{"status":"pass"}')
            else:
                assert reply.split()[1] in (b"405", b"400")
        with socket.socket() as client:
            client.settimeout(PATIENCE)
            client.bind(("127.0.0.3", 0))
            client.connect(tuple(address))
            client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert b" 403 " in client.recv(1000)
        with socket.socket() as client:
            client.settimeout(PATIENCE)
            client.bind(("127.0.0.2", 0))  # a proxy whose client may not call
            client.connect(tuple(address))
            client.sendall(b"GET /health HTTP/1.0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
            assert b" 403 " in client.recv(1000)


@pytest.mark.slow
@pytest.mark.parametrize("fast", ["yes", "no"])
def test_proxy_that_asks_for_itself(tmp_path: Path, fast: str) -> None:
    """A proxy that asks without a client is told the status, but may not call."""
    local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
    call = b"POST /RPC HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(ECHO), ECHO)
    with Server(tmp_path, "--http-listen=haproxy:tcp:0:interface=127.0.0.1", f"--fast-paths={fast}") as server:
        address = server.addresses["http"]
        for header in (b"PROXY UNKNOWN\r\n", local):
            reply = raw(address, header + b"GET /health HTTP/1.0\r\n\r\n")
            assert reply.endswith(b'\r\n\r\n{"status":"pass"}')
            assert b" 403 " in raw(address, header + call)
            assert b"jsonrpc" not in raw(address, header + call)
        client = b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"
        assert b" 403 " in raw(address, client + b"GET /health HTTP/1.0\r\n\r\n")


@pytest.mark.slow
def test_haproxy(tmp_path: Path) -> None:
    """The real HAProxy takes the server for up, over both kinds of port, and for down while it fails."""
    need("haproxy", "haproxy")
    (tmp_path / "haproxy").mkdir()
    with Server(tmp_path, "--http-listen=haproxy:tcp:0:interface=127.0.0.1") as server:
        plain = next(line.rpartition(" ")[2] for line in server.log if "listening on http " in line)
        proxied = ":".join(map(str, server.addresses["http"]))
        config = tmp_path / "haproxy" / "haproxy.cfg"
        config.write_text(
            "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
            f"global\n stats socket {tmp_path}/haproxy/stats\n"
            "backend a\n option httpchk GET /health\n"
            f" server plain {plain} check inter 100ms fall 1 rise 1\n"
            f" server v1 {proxied} check inter 100ms fall 1 rise 1 send-proxy\n"
            f" server v2 {proxied} check inter 100ms fall 1 rise 1 send-proxy-v2\n"
            "backend b\n option httpchk\n http-check send meth HEAD uri /health ver HTTP/1.1 hdr Host any.example\n"
            f" server named {plain} check inter 100ms fall 1 rise 1\n"
        )
        with subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=subprocess.PIPE) as haproxy:
            try:
                wait_until((tmp_path / "haproxy" / "stats").exists)

                def states() -> dict[str, str]:
                    with socket.socket(socket.AF_UNIX) as stats:
                        stats.connect(str(tmp_path / "haproxy" / "stats"))
                        stats.sendall(b"show stat\n")
                        text = b"".join(iter(lambda: stats.recv(65_536), b"")).decode()
                    rows = [line.split(",") for line in text.splitlines() if line.startswith(("a,", "b,"))]
                    return {row[1]: f"{row[17]} {row[36]}" for row in rows if row[1] != "BACKEND"}

                everyone = ("plain", "v1", "v2", "named")
                wait_until(lambda: states() == dict.fromkeys(everyone, "UP L7OK"))
                os.unlink(server.addresses["fifo"])
                wait_until(lambda: any(state.startswith("DOWN L7STS") for state in states().values()))
                wait_until(lambda: states() == dict.fromkeys(everyone, "UP L7OK"))  # the FIFO is there again
            finally:
                haproxy.terminate()


@pytest.mark.slow
def test_workers(tmp_path: Path) -> None:
    """A worker that does not run is a reason, until it is started again."""
    with Server(tmp_path, "--dgram-workers=2", sockets=("rpc.sock",)) as server:
        server.wait_for_log("worker 1 reads unix")
        server.wait_for_log("worker 0 reads unix")
        assert report(server)["checks"]["workers"] == PASS
        stopped = server.children()
        done = threading.Event()
        seen: list[Any] = []

        def look() -> None:
            while not done.is_set():
                seen.append(report(server)["checks"]["workers"])

        watcher = threading.Thread(target=look)
        watcher.start()
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: any(one["status"] == "fail" for one in seen))
        done.set()
        watcher.join()
        (reason, *_) = next(one["reasons"] for one in seen if one["status"] == "fail")
        assert "worker processes do not run" in reason
        wait_until(lambda: report(server)["checks"]["workers"] == PASS)


@pytest.mark.slow
def test_disk(tmp_path: Path) -> None:
    """Tables that cannot be stored are a reason, until they are."""
    options = ("--htable=a=>size=4", "--htable-db=t.db", "--htable-db-interval=1")
    with Server(tmp_path, *options) as server, contextlib.closing(sqlite3.connect(tmp_path / "t.db")) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON item BEGIN SELECT raise(ABORT, 'disk full'); END")
        other.commit()
        server.call("unix", b'{"jsonrpc":"2.0","method":"htable.seti","params":["a","k",1],"id":1}')
        wait_until(lambda: report(server)["status"] == "fail")
        assert report(server)["checks"]["disk"]["reasons"] == ["htable_db: table a not stored: disk full"]
        other.execute("DROP TRIGGER full")
        other.commit()
        wait_until(lambda: report(server)["status"] == "pass")


@pytest.mark.slow
@pytest.mark.parametrize("fatal", [False, True])
def test_destinations(tmp_path: Path, fatal: bool) -> None:
    """A set without a live destination is told, and makes the health fail where that is set."""
    options = [f"--list-file={DATA / 'dispatcher.list'}", *(["--health-destinations=yes"] if fatal else [])]
    with Server(tmp_path, *options) as server:
        assert report(server)["status"] == "pass"
        server.call("unix", b'{"jsonrpc":"2.0","method":"dispatcher.set_state","params":["i",1,"all"],"id":1}')
        told = report(server)
        assert told["status"] == ("fail" if fatal else "warn")
        assert told["checks"]["destinations"]["status"] == ("fail" if fatal else "warn")
        assert told["checks"]["destinations"]["reasons"][0].startswith("set 1: none of ")


@pytest.mark.slow
def test_drain(tmp_path: Path) -> None:
    """At the stop the health fails first, while all else is answered, and then the server stops."""
    with Server(tmp_path, "--health-drain=3") as server:
        assert report(server)["status"] == "pass"
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping in 3 s; the health check fails from now on")
        assert report(server)["checks"]["server"] == {"status": "fail", "reasons": ["it is stopping"]}
        for transport in ("http", "https", "unix", "fifo", "tcp"):
            assert server.call(transport, ECHO) == ECHO_REPLY
        assert server.process.wait(PATIENCE) == -signal.SIGTERM  # as without


PROGRAM = """
class Stock:
    def __init__(self, server):
        server.health.add("stock", self.check, fatal=False)

    def check(self):
        return ["no apples"]
"""


@pytest.mark.slow
def test_programs(tmp_path: Path) -> None:
    """A program adds checks of its own."""
    (tmp_path / "stock.py").write_text(
        PROGRAM + "    from jsonrpcs_tx import command\n    @command('stock.x')\n"
        "    def x(self) -> int:\n        'Counts.'\n        return 1\n"
    )
    with Server(tmp_path, "--commands=stock:Stock") as server:
        assert report(server)["checks"]["stock"] == {"status": "warn", "reasons": ["no apples"]}
