"""Pages of another origin, in a real browser, against a server that the user's browser may call: with the cookie of a
session, since a page on another port of the host is of the same site, and without users, where no cookie is needed.
"""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server
from tests.support.consolepage import Console
from tests.support.users import write

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

CALL = '{"jsonrpc":"2.0","method":"htable.sets","params":["t","forged","x"],"id":1,"x":"'
SIGN_IN = '{"user":"eve","password":"eve","x":"'
TARGETS = ("console/RPC", "RPC", "console/session")

ATTACKS = """async ([url, call, signIn]) => {
    const add = (parent, name, members) => parent.appendChild(Object.assign(document.createElement(name), members));
    const form = async (enctype, body, method) => {
        const frame = add(document.body, "iframe", { name: `f${Math.random()}` });
        const made = add(document.body, "form", { action: url, method, enctype, target: frame.name });
        add(made, "input", { name: body, value: '"}' });
        const loaded = new Promise((done) => { frame.onload = done; });
        made.submit();
        await Promise.race([loaded, new Promise((done) => setTimeout(done, 1000))]);
    };
    const tried = [];
    const attempt = async (options) => tried.push(await fetch(url, { credentials: "include", ...options })
        .then((answer) => `${answer.type} ${answer.status}`, () => "failed"));
    for (const name of [call, signIn]) {
        const body = name + '="}';
        for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
            await form(enctype, name, "POST");
        await form("text/plain", name, "GET");
        for (const type of ["text/plain", "text/plain;application/json", "application/x-www-form-urlencoded", ""])
            for (const mode of ["no-cors", "cors"])
                await attempt({ method: "POST", mode, body: new Blob([body], { type }) });
        for (const method of ["POST", "PUT", "DELETE"])
            await attempt({ method, headers: { "Content-Type": "application/json" }, body });
        navigator.sendBeacon(url, new Blob([body], { type: "text/plain" }));
        await attempt({ mode: "no-cors", headers: { "Content-Type": "text/plain" } });
    }
    return tried;
}"""
"""All that a page can have a browser send to another origin, and which answers it may see."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The URL of a page of the same host at another port."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}/"
        site.shutdown()
        thread.join()


@pytest.mark.parametrize("users", [True, False])
def test_other_origin(browser: Any, tmp_path: Path, elsewhere: str, users: bool) -> None:
    """Nothing that another page has the browser send is run, signs anybody in or out, or can be read."""
    write(tmp_path / "users", "ann", "eve")
    options = ("--http-users=users",) if users else ()
    with Server(tmp_path, *options, "--htable=t=>size=4", sockets=("rpc.sock",)) as server:
        context = browser.new_context()
        page = context.new_page()
        console = Console(page, server).open()
        if users:
            page.get_by_label("Name").fill("ann")
            page.get_by_label("Password").fill("ann")
            console.button("Sign in").click()
            page.get_by_text("live", exact=True).wait_for()
            assert [one["name"] for one in context.cookies()] != []
        other = context.new_page()
        root = console.url.removesuffix("console/")
        for target in TARGETS:
            other.goto(elsewhere)
            seen = other.evaluate(ATTACKS, [f"{root}{target}", CALL, SIGN_IN])
            assert {one for one in seen if one not in ("failed", "opaque 0")} == set(), (target, seen)
        session = page.evaluate("fetch('session').then((answer) => answer.json())")
        assert session["user"] == ("ann" if users else None)
        assert forged(server) == []
        refused = [line for line in server.log if "web page of foreign Origin" in line]
        assert refused
        context.close()


def forged(server: Server) -> Any:
    """What there is in the table."""
    return json.loads(server.call("unix", b'{"jsonrpc":"2.0","method":"htable.dump","params":["t"],"id":1}'))["result"]


def test_trusted_origin(browser: Any, tmp_path: Path, elsewhere: str) -> None:
    """What such a page sends is run, outside the console, if C{http_origin} has its origin: so these are attacks."""
    origin = f"--http-origin={elsewhere.removesuffix('/')}"
    with Server(tmp_path, origin, "--htable=t=>size=4", sockets=("rpc.sock",)) as server:
        context = browser.new_context()
        page = context.new_page()
        for target in TARGETS:
            assert forged(server) == []
            page.goto(elsewhere)
            page.evaluate(ATTACKS, [f"http://127.0.0.1:{server.addresses['http'][1]}/{target}", CALL, SIGN_IN])
            if target == "RPC":
                assert "forged" in json.dumps(forged(server))
                server.call("unix", b'{"jsonrpc":"2.0","method":"htable.flush","params":["t"],"id":1}')
        context.close()
