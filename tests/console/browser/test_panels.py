"""The live panels in a real browser: destinations, tables, variables, nodes, the audit log, the load."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, Server
from tests.support.consolepage import SHOP, Console

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BIG = "9007199254740993"
MANY = 10_000


def free_port() -> int:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway, which is its own nodes: edge1 and edge2 are up, media is down."""
    directory: Path = tmp_path_factory.mktemp("panels")
    (directory / "shop.py").write_text(SHOP)
    lines = [f"{group} sip:10.{group}.{place // 250}.{place % 250}:5060" for group in (1, 2) for place in range(500)]
    (directory / "list").write_text("\n".join(["7 sip:a.example 0 5 duid=a;weight=50", "7 sip:b.example 8", *lines]))
    nodes = ("edge1=unix:rpc.sock group=edge", "edge2=unix:rpc.sock group=edge", f"media=udp:127.0.0.1:{free_port()}")
    with Server(
        directory,
        *("--commands=shop:Shop", "--list-file=list", "--audit=audit.log", "--metrics=/metrics", "--node-interval=0.5"),
        *("--htable=small=>size=4", "--htable=large=>size=8", "--htable=timed=>size=4;autoexpire=3600"),
        *(f"--node={node}" for node in nodes),
        sockets=("rpc.sock",),
    ) as running:
        for first in range(0, MANY, 1000):
            names = range(first, first + 1000)
            call(running, *(("htable.sets", ["large", f"key{name}", f"value {name}"]) for name in names))
        yield running


def call(server: Server, *calls: tuple[str, list[Any]]) -> list[Any]:
    """Make calls in a batch."""
    batch = [{"jsonrpc": "2.0", "method": name, "params": params, "id": id} for id, (name, params) in enumerate(calls)]
    replies = json.loads(server.http(json.dumps(batch).encode()).body)
    return [reply.get("result", reply.get("error")) for reply in replies]


@pytest.fixture
def console(page: Any, server: Server) -> Console:
    return Console(page, server).open()


def test_destination(console: Console, server: Server) -> None:
    """A click makes a destination inactive, disabled or active, after a question; what others do is seen as well."""
    page = console.panel("Destinations").page
    page.get_by_label("Filter").fill("a.example")
    page.get_by_text("1 of 1002 destinations").wait_for()
    row = page.get_by_role("row").filter(has_text="sip:a.example")
    row.get_by_text("duid=a;weight=50").wait_for()
    states = row.get_by_role("group", name="State of sip:a.example")
    for state in ("inactive", "disabled", "active"):
        states.get_by_role("button", name=state, exact=True).click()
        console.dialog.get_by_text("of set 7 is").wait_for()
        console.button(f"Set {state}").click()
        states.locator("[aria-pressed=true]", has_text=state).wait_for()
        assert page.evaluate("document.activeElement.textContent") == state
    states.get_by_role("button", name="inactive").click()
    console.button("Cancel").click()
    call(server, ("dispatcher.set_state", ["ip", 7, "sip:a.example"]))
    row.get_by_text("inactive, probed").wait_for()
    states.get_by_role("button", name="active", exact=True).click()
    console.button("Set active").click()
    row.get_by_text("active, probed").and_(row.locator(".state.active")).wait_for()
    flags = [one["DEST"]["FLAGS"] for one in call(server, ("dispatcher.list", []))[0]["RECORDS"][-1]["SET"]["TARGETS"]]
    assert "AP" in flags


def test_thousand_destinations(console: Console) -> None:
    """Of 1,000 destinations only those in sight are in the page, and any of them can be reached."""
    page = console.panel("Destinations").page
    table = page.get_by_role("table", name="Destinations")
    page.locator(".count", has_text=" active").wait_for()
    assert int(table.get_attribute("aria-rowcount")) == 1002 + 3 + 1
    assert table.get_by_role("row").count() < 60
    table.evaluate("(element) => element.scrollTo(0, element.scrollHeight)")
    table.get_by_text("sip:b.example").wait_for()
    assert table.get_by_role("row").count() < 60
    page.get_by_label("State", exact=True).select_option("disabled")
    page.get_by_text("0 of 1002 destinations").wait_for()


def test_table(console: Console, server: Server) -> None:
    """Items are added, edited, searched for and deleted; integers are exact; what others do is seen as well."""
    page = console.panel("Tables").page
    page.get_by_role("navigation", name="Tables").get_by_role("link", name="small").click()
    console.button("Add an item").click()
    console.dialog.get_by_label("Key").fill("alice")
    console.dialog.get_by_label("Value").fill("x")
    console.dialog.get_by_label("Type").select_option("integer")
    console.button("Add").click()
    console.dialog.get_by_text("Not allowed here; allowed: a whole number").wait_for()
    console.dialog.get_by_label("Value").fill(BIG)
    console.button("Add").click()
    page.get_by_role("row").filter(has_text="alice").get_by_text(BIG).wait_for()
    assert call(server, ("htable.get", ["small", "alice"]))[0]["item"]["value"] == int(BIG)
    console.button("Edit alice").click()
    assert console.dialog.get_by_label("Value").input_value() == BIG
    console.dialog.get_by_label("Type").select_option("text")
    console.dialog.get_by_label("Value").fill("now a text")
    console.dialog.get_by_label("Expires after").fill("60")
    console.button("Set").click()
    row = page.get_by_role("row").filter(has_text="now a text")
    row.wait_for()
    assert "never" not in row.inner_text()
    call(server, ("htable.sets", ["small", "bob", "from elsewhere"]))
    page.get_by_text("from elsewhere").wait_for()
    page.get_by_label("Search").fill("ELSE")
    page.get_by_text("1 match in 2 items").wait_for()
    page.get_by_text("now a text").wait_for(state="detached")
    console.button("Delete bob").click()
    console.dialog.get_by_text("from elsewhere").wait_for()
    console.button("Delete").click()
    page.get_by_text("0 matches in 1 item").wait_for()
    assert call(server, ("htable.get", ["small", "bob"]))[0]["code"] == 500


def test_ten_thousand_items(console: Console) -> None:
    """Of 10,000 items only those in sight are in the page; it scrolls to the end without a long pause."""
    page = console.open("#/tables/large").page
    table = page.get_by_role("table", name="Items")
    page.get_by_text("10,000 items").wait_for()
    table.get_by_text("key0", exact=True).wait_for()
    longest = page.evaluate("""async () => {
        const table = document.querySelector(".virtual");
        let longest = 0, last = performance.now();
        const done = () => document.querySelector(".virtual [aria-rowindex='10001']");
        for (let turn = 0; turn < 3000 && !done(); turn += 1) {
            table.scrollTop += 2000;
            await new Promise(requestAnimationFrame);
            longest = Math.max(longest, performance.now() - last);
            last = performance.now();
        }
        return done() ? longest : -1;
    }""")
    assert 0 < longest < 1000, longest  # on a machine that does much else; alone it takes about 40 ms
    table.get_by_text("key9999", exact=True).wait_for()
    assert table.get_by_role("row").count() < 60
    page.get_by_label("Search").fill("value 9876")
    table.get_by_text("key9876").wait_for()
    page.get_by_text("1 match in 10,000 items").wait_for()


def test_variables(console: Console, server: Server) -> None:
    """A variable is shown with its type, range, default and value, and changed within its range."""
    page = console.panel("Variables").page
    row = page.get_by_role("listitem").filter(has_text="most items in an order")
    row.get_by_text("integer, 1 to 100, default 10").wait_for()
    console.button("Change limit").click()
    console.dialog.get_by_label("New value").fill("101")
    console.button("Set").click()
    console.dialog.get_by_text("Out of range; allowed: 1 to 100").wait_for()
    console.dialog.get_by_label("New value").fill("42")
    console.button("Set").click()
    row.get_by_text("42", exact=True).wait_for()
    row.get_by_text("changed").wait_for()
    page.get_by_text(BIG, exact=True).wait_for()
    console.button("Change large").click()
    console.dialog.get_by_label("New value").fill("9007199254740995")
    console.button("Set").click()
    page.get_by_text("9007199254740995", exact=True).wait_for()
    console.button("Change mode").click()
    console.dialog.get_by_label("New value").select_option("closed")
    console.button("Set").click()
    console.said("mode is closed now")
    assert call(server, ("cfg.get", ["shop"]))[0] == {"limit": 42, "large": int(BIG) + 2, "mode": "closed", "rate": 1.5}
    console.button("Change limit").click()
    console.button("Default").click()
    console.button("Set").click()
    row.get_by_text("changed").wait_for(state="detached")
    call(server, ("cfg.set", ["shop", "limit", 77]))
    row.get_by_text("77", exact=True).wait_for()


def test_nodes(console: Console) -> None:
    """Nodes are up or down, with the reason; one, a group and all are called, with the results side by side."""
    from playwright.sync_api import expect

    page = console.panel("Nodes").page
    page.get_by_text("2 of 3 up").wait_for()
    cards = page.locator(".nodes > li")
    expect(cards.locator("h2")).to_have_text(["edge1", "edge2", "media"])
    cards.nth(0).get_by_text("jsonrpcs_tx").wait_for()
    cards.nth(2).get_by_text("down").wait_for()
    page.get_by_role("link", name="Call edge", exact=True).click()
    page.get_by_role("link", name="core.echo reads").click()
    page.get_by_role("heading", name="core.echo").wait_for()
    page.get_by_role("button", name="Add a value").click()
    page.keyboard.type("together")
    console.send()
    for name in ("edge1", "edge2"):
        page.get_by_role("region", name=name, exact=True).get_by_text("together").wait_for()
    page.get_by_label("Call on").select_option("all nodes")
    page.get_by_role("link", name="core.uptime reads").wait_for()
    console.command("core.uptime", on="*").send()
    page.get_by_role("region", name="media", exact=True).get_by_text("Fault 503", exact=True).last.wait_for()
    page.get_by_role("region", name="edge1", exact=True).get_by_text("now", exact=True).wait_for()
    console.command("core.echo", on="edge2").send()
    assert console.result() == []


def test_panels_of_this_server(console: Console) -> None:
    """Where there are nodes, panels say what they show of them, and lead to the command for the nodes."""
    page = console.page
    for panel, method in (
        ("load", "stats.fetchn"),
        ("destinations", "dispatcher.list"),
        ("tables", "htable.dump"),
        ("variables", "cfg.get"),
    ):
        page.evaluate(f"location.hash = '#/{panel}'")
        hint = page.locator(".panel > header p", has_text="This server only; for nodes, call")
        hint.get_by_role("link", name=method).click()
        page.wait_for_url(f"**#/commands/{method}?on=*")
        assert page.get_by_label("Call on").input_value() == "*"
    console.panel("Audit").page.get_by_text("Only calls that came to this server, for itself or for nodes").wait_for()


def test_focus_among_nodes(console: Console, server: Server) -> None:
    """The link of a node keeps the focus while its uptime changes and other nodes come and go."""
    page = console.panel("Nodes").page
    link = page.get_by_role("link", name="Call edge2", exact=True)
    link.focus()
    card = page.locator(".nodes > li").filter(has=link)
    before = card.inner_text()
    page.wait_for_function("before => document.activeElement.closest('li')?.innerText !== before", arg=before)
    try:
        call(server, ("gateway.add", ["added=unix:rpc.sock"]))
        page.get_by_role("link", name="Call added", exact=True).wait_for()
    finally:
        call(server, ("gateway.remove", ["added"]))
    page.get_by_role("link", name="Call added", exact=True).wait_for(state="detached")
    assert page.evaluate("document.activeElement.textContent") == "Call edge2"


def test_audit(console: Console, server: Server) -> None:
    """The last entries of the audit log are shown, then each new one; secrets are hidden."""
    call(server, ("shop.login", ["dave", "hunter2"]))
    page = console.panel("Audit").page
    page.get_by_text('shop.login ["dave","(hidden)"]').wait_for()
    call(server, ("shop.login", ["erin", "hunter2"]))
    page.get_by_text('shop.login ["erin","(hidden)"]').wait_for()
    call(server, ("dispatcher.set_state", ["z", 7, "sip:b.example"]))
    page.get_by_label("Only refused and failed calls").check()
    page.get_by_text("dispatcher.set_state").wait_for()
    assert page.get_by_text("shop.login").count() == 0
    page.get_by_label("Filter").fill("B.EXAMPLE")
    page.get_by_role("button", name="Details of dispatcher.set_state").click()
    console.dialog.get_by_text("Unknown State Value").wait_for()
    console.button("Close").click()
    assert "hunter2" not in page.content()


def test_load(console: Console, server: Server) -> None:
    """Requests and latency are drawn by transport, and methods are listed; both grow while the panel is shown."""
    call(server, *(("core.echo", [place]) for place in range(50)))
    page = console.panel("Load").page
    page.get_by_role("img", name="Requests: ").and_(page.locator("[aria-label*=http]")).wait_for()
    page.get_by_role("img", name="Latency: ").and_(page.locator("[aria-label*=http]")).wait_for()
    row = page.get_by_role("row").filter(has_text="core.echo")
    row.wait_for()
    page.locator(".chart path.line[d*=L]").first.wait_for(state="attached")
    before = int(row.get_by_role("cell").first.inner_text())
    call(server, ("core.echo", []))
    page.wait_for_function(
        """(before) => [...document.querySelectorAll("tbody tr")].some((row) =>
            row.textContent.startsWith("core.echo") && Number(row.cells[1].textContent) > before)""",
        arg=before,
    )
    page.get_by_text("Connections").wait_for()


def test_away_and_back(page: Any, tmp_path: Path) -> None:
    """The page says when the server is away, comes back by itself, and shows what has changed meanwhile."""
    (tmp_path / "list").write_text("1 sip:before.example\n")
    with Server(tmp_path, "--list-file=list", sockets=()) as first:
        port = first.addresses["http"][1]
        console = Console(page, first).open("#/destinations")
        page.get_by_text("sip:before.example").wait_for()
    page.get_by_text("away, trying again…").wait_for()
    (tmp_path / "list").write_text("1 sip:after.example\n")
    with Server(tmp_path, "--list-file=list", f"--http-listen=tcp:{port}:interface=127.0.0.1", sockets=()):
        page.get_by_text("sip:after.example").wait_for(timeout=PATIENCE * 1000)
        page.get_by_text("live", exact=True).wait_for()
        assert console.url in page.url


def test_hidden_page(console: Console) -> None:
    """A hidden page closes its connection, since browsers have few, and opens it when it is shown again."""
    page = console.page
    page.get_by_text("live", exact=True).wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
    page.clock.install()
    turn = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_event("requestfailed", lambda request: "/events" in request.url):
        page.evaluate(turn, True)
        page.clock.fast_forward(11_000)
    assert asked == []
    with page.expect_request("**/events?*"):
        page.evaluate(turn, False)


def test_one_connection(console: Console) -> None:
    """All panels share one connection for events, however often the user goes from one to another."""
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
    for name in ("Load", "Tables", "Nodes", "Commands", "Destinations"):
        console.panel(name)
        console.page.get_by_role("heading", level=1).first.wait_for()
    assert asked == []
