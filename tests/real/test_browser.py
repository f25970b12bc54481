"""What pages in a real browser may call and read; skipped where there is no Chromium, except in CI."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx.access.passwords import make_hash
from tests.support import ECHO, ECHO_REPLY, PATIENCE, Server
from tests.support.browser import chromium

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FETCH = """async ([url, options]) => {
    try {
        const reply = await fetch(url, options);
        return [reply.status, await reply.text()];
    } catch (error) {
        return ["unreadable", ""];
    }
}"""
JSON_POST = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": ECHO.decode()}
TEXT_POST = {"method": "POST", "body": ECHO.decode()}
UNREADABLE = ["unreadable", ""]
ANSWERED = [200, ECHO_REPLY.decode()]


class EmptyPage(BaseHTTPRequestHandler):
    """Serves a page with nothing on it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def page_port() -> Iterator[int]:
    """The port of a web site that the pages come from, under any name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_port
        site.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def calls(browser: Any, page_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Calls a server that lists the origin of listed.example, from a page of some host."""
    users = f"ann:{make_hash(b'secret', n=2, r=1)}\n"
    listed = f"--http-origin=http://listed.example:{page_port}"
    open_to_all, with_users = (tmp_path_factory.mktemp(name) for name in ("open", "users"))
    (with_users / "users").write_text(users)
    (with_users / "users").chmod(0o600)
    with (
        Server(open_to_all, listed, "--http-max-body=1000", "--rule=http deny core.kill") as plain,
        Server(with_users, listed, "--http-users=users") as guarded,
    ):
        servers = {"plain": plain.addresses["http"][1], "users": guarded.addresses["http"][1]}
        yield lambda *arguments: fetch(browser, page_port, servers, *arguments)


def fetch(browser: Any, page_port: int, servers: dict[str, int], host: str, server: str, options: Any) -> list[Any]:
    """Status and body of what a page of a host fetches."""
    page = browser.new_page()
    try:
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"http://{host}:{page_port}/")
        found: list[Any] = page.evaluate(FETCH, [f"http://127.0.0.1:{servers[server]}/RPC", options])
        return found
    finally:
        page.close()


def test_listed_page(calls: Any) -> None:
    """A page of a listed origin calls with JSON, after its browser has asked, and with text, and reads the reply."""
    assert calls("listed.example", "plain", JSON_POST) == ANSWERED
    assert calls("listed.example", "plain", TEXT_POST) == ANSWERED


def test_refusals_are_readable(calls: Any) -> None:
    """A page of a listed origin reads faults, and what rules, the limit of the body and users refuse."""
    for body, status in (
        ("{", 400),
        ('{"jsonrpc":"2.0","method":"no.such","id":1}', 500),
        ('{"jsonrpc":"2.0","method":"core.kill","id":1}', 403),
        (" " * 1001, 413),
    ):
        found = calls("listed.example", "plain", {**JSON_POST, "body": body})
        assert found[0] == status, body[:50]
        assert found[1]
    assert calls("listed.example", "users", JSON_POST)[0] == 401


def test_password(calls: Any) -> None:
    """A page of a listed origin may send a name and a password, where users are set."""
    headers = {"Content-Type": "application/json", "Authorization": "Basic YW5uOnNlY3JldA=="}
    options = {**JSON_POST, "headers": headers, "credentials": "include"}
    assert calls("listed.example", "users", options) == ANSWERED
    assert calls("other.example", "users", options) == UNREADABLE


def test_other_page(calls: Any) -> None:
    """A page of another origin reads nothing, and what its browser sends without asking is not run."""
    set_variable = {"jsonrpc": "2.0", "method": "cfg.seti", "params": ["jsonrpcs", "async_limit", 7], "id": 1}
    get_variable = {"jsonrpc": "2.0", "method": "cfg.get", "params": ["jsonrpcs", "async_limit"], "id": 1}
    for mode in ("cors", "no-cors"):
        found = calls("other.example", "plain", {**TEXT_POST, "body": json.dumps(set_variable), "mode": mode})
        assert found[0] in ("unreadable", 0)  # 0 stands for a reply that the page may not look at
    found = calls("listed.example", "plain", {**TEXT_POST, "body": json.dumps(get_variable)})
    assert json.loads(found[1])["result"] != 7


def test_rebound_name(browser: Any, tmp_path: Path) -> None:
    """A page under a foreign name that leads to the server gets no reply, though its origin is the same."""
    with Server(tmp_path) as server:
        port = server.addresses["http"][1]
        page = browser.new_page()
        for host, status in (("evil.example", 403), ("localhost", 200)):
            page.goto(f"http://{host}:{port}/")
            assert page.evaluate(FETCH, ["/RPC", JSON_POST])[0] == status
        page.close()
