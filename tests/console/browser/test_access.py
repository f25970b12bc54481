"""For everybody, in a real browser: assistive technology, a phone's width, the keyboard alone, and hostile strings."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server
from tests.support.browser import opened
from tests.support.consolepage import SHOP, Console
from tests.support.users import write

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EVIL = "<script>document.title='run'</script><img src=x onerror=document.title='run'>"
NAME = "evil.<script>document.title='run'</script><img/src=x/onerror=document.title='run'>"
LONG = "long" * 60
HIDDEN = "a\u202eb\u200b\x1b[31m"

HOSTILE = f'''
from jsonrpcs_tx import Fault, command
from jsonrpcs_tx.state.variables import Variable

EVIL = {EVIL!r}


class Hostile:
    def __init__(self, service):
        if service.variables is not None:
            service.variables.add("evil", [Variable("v", EVIL, "help " + EVIL), Variable("{LONG}", 1, "{LONG}")])

    @command({NAME!r}, changes=False)
    def named(self, value: str = EVIL) -> dict:
        raise Fault(480, EVIL, {{EVIL: [EVIL]}})

    named.__doc__ = EVIL

    @command("evil.result", changes=False)
    def result(self) -> dict:
        """{EVIL}

        {EVIL}
        """
        return {{EVIL: EVIL, "__proto__": EVIL, "constructor": [EVIL], "hidden": {HIDDEN!r}, "{LONG}": "{LONG}"}}

    @command("evil.rows", changes=False)
    def rows(self) -> list:
        """Returns rows."""
        return [{{EVIL: EVIL, "b": "{LONG}"}}, {{EVIL: EVIL, "b": {HIDDEN!r}}}]
'''

PANELS = ("load", "destinations", "tables", "variables", "nodes", "audit")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("hostile")
    (directory / "shop.py").write_text(SHOP)
    (directory / "hostile.py").write_text(HOSTILE)
    (directory / "list").write_text("1 sip:a.example 0 5 weight=50\n1 sip:b.example 1\n2 sip:c.example 4\n")
    with Server(
        directory,
        *("--commands=shop:Shop", "--commands=hostile:Hostile", "--list-file=list", "--audit=audit.log"),
        *("--htable=a=>size=4", "--metrics=/metrics", "--node-interval=0.5"),
        *("--node=<script>=unix:rpc.sock group=<b>", "--node=down=unix:none.sock"),
        sockets=("rpc.sock",),
    ) as running:
        calls: list[tuple[str, list[Any]]] = [
            ("dispatcher.add", [3, f"sip:evil.example;x={NAME}", 0, 0, NAME]),
            ("htable.sets", ["a", EVIL, EVIL]),
            ("htable.sets", ["a", LONG, LONG]),
            ("htable.seti", ["a", "number", 5]),
            (NAME, []),
            ("dispatcher.set_state", [EVIL, 1, EVIL]),
        ]
        batch = [{"jsonrpc": "2.0", "method": name, "params": params, "id": 1} for name, params in calls]
        running.http(json.dumps(batch).encode())
        yield running


@pytest.fixture
def console(page: Any, server: Server) -> Console:
    return Console(page, server).open()


def shown(console: Console, panel: str) -> None:
    """Go to a panel, and wait until there is something in it."""
    console.open(f"#/{panel}")
    {
        "load": console.page.locator(".chart path.line[d*=L]").first,
        "destinations": console.page.get_by_text("sip:b.example"),
        "tables": console.page.get_by_text("number", exact=True),
        "variables": console.page.get_by_text("most items in an order"),
        "nodes": console.page.get_by_text("1 of 2 up"),
        "audit": console.page.get_by_text("htable.seti"),
    }[panel].first.wait_for(state="attached")


def findings(page: Any) -> list[str]:
    """What axe-core finds, in light and in dark; there only colours can make a difference."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        options = {} if scheme == "light" else {"runOnly": ["color-contrast"]}
        told = page.evaluate("(options) => axe.run(options)", options)
        assert any(one["id"] == "color-contrast" for one in told["passes"]), "axe has looked at nothing"
        for one in told["violations"]:
            nodes = "; ".join(f"{node['target']} {node['failureSummary']}" for node in one["nodes"][:3])
            found.append(f"{scheme}: {one['id']}: {nodes}")
    return found


def test_accessibility_of_panels(console: Console) -> None:
    """axe-core finds no fault in any panel, in light and in dark."""
    for panel in PANELS:
        shown(console, panel)
        assert findings(console.page) == [], panel


def test_accessibility_of_commands(console: Console) -> None:
    """Nor in the list, forms of all kinds with errors, replies in all views, faults, questions, several results."""
    page = console.page
    page.get_by_label("Filter").fill("core.k")  # axe takes long for the whole list, which is more of the same
    assert findings(page) == []
    page.get_by_label("Filter").fill("evil.r")
    console.command("shop.all").send()
    page.get_by_role("button", name="Add a value of tags").click()
    assert findings(page) == []
    console.command("shop.login").field("user").fill("ann")
    console.send()
    console.dialog.wait_for()
    assert findings(page) == []
    console.button("Send").click()
    page.locator(".outcome").wait_for()
    console.command("evil.rows").send()
    for view in ("Table", "Tree", "Raw"):
        console.view(view)
        assert findings(page) == [], view
    console.command(NAME).send()
    page.locator(".fault").wait_for()
    assert findings(page) == []
    console.command("core.echo", on="*").send().view("Side by side")
    page.get_by_role("region", name="down", exact=True).wait_for()
    assert findings(page) == []
    console.open("#/tables/a")
    console.button("Add an item").click()
    assert findings(page) == []


def test_accessibility_of_signing_in(page: Any, tmp_path: Path) -> None:
    """Nor in the form to sign in, with an error."""
    write(tmp_path / "users", "ann")
    with Server(tmp_path, "--http-users=users", sockets=()) as server:
        Console(page, server).open()
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Type your name.").wait_for()
        assert findings(page) == []
        page.set_viewport_size({"width": 360, "height": 640})
        assert page.evaluate(TOO_WIDE) == []


TOO_WIDE = """() => [document.documentElement, document.body, document.querySelector("#main")]
    .filter((one) => one.scrollWidth > one.clientWidth)
    .map((one) => `${one.tagName} ${one.scrollWidth} > ${one.clientWidth}`)"""


def test_phone(browser: Any, server: Server) -> None:
    """At 360 pixels nothing has to be scrolled sideways, and what is there can be used, even with very long words."""
    with opened(browser, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True) as page:
        console = Console(page, server).open()
        assert page.evaluate(TOO_WIDE) == []
        for panel in PANELS:
            shown(console, panel)
            assert page.evaluate(TOO_WIDE) == [], panel
        console.open("#/destinations")
        page.get_by_role("group", name="State of sip:a.example").get_by_role("button", name="disabled").tap()
        assert page.evaluate(TOO_WIDE) == []
        console.button("Cancel").tap()
        console.open("#/commands")
        for method in ("evil.rows", "evil.result", NAME):
            page.get_by_label("Filter").fill(method)
            page.get_by_role("link", name=method).first.tap()
            page.get_by_role("button", name="Call", exact=True).tap()
            page.locator(".outcome").wait_for()
            for view in page.get_by_role("group", name="View").get_by_role("button").all():
                view.tap()
                assert page.evaluate(TOO_WIDE) == [], method
            page.get_by_role("link", name="All commands").tap()
        console.command("shop.all")
        assert page.evaluate(TOO_WIDE) == []


def test_keyboard(console: Console, server: Server) -> None:
    """With the keyboard alone: a command is found, filled in, asked for and sent; a destination is switched."""
    page = console.page
    press, kind = page.keyboard.press, page.keyboard.type

    def focused() -> str:
        text: str = page.evaluate(
            """() => { const one = document.activeElement;
               return one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent ?? one.textContent; }"""
        )
        return text

    def tab_to(name: str, key: str = "Tab") -> None:
        seen = []
        for _ in range(60):
            press(key)
            seen.append(focused())
            if seen[-1] == name:
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{name}: one cannot see that it has the focus"
                return
        raise AssertionError(f"Tab does not lead to {name!r}, but to {seen}")

    press("Tab")
    assert focused() == "Skip to the content"
    tab_to("Filter")
    kind("login")
    press("ArrowDown")
    assert focused().startswith("shop.calls") or focused().startswith("shop.login")
    press("ArrowUp")
    press("End")
    kind(" secrets")
    press("Enter")
    page.get_by_role("heading", name="shop.login").wait_for()
    assert focused() == "shop.login"
    tab_to("useroptional" if console.field("user").get_attribute("aria-required") is None else "user")
    kind("keyboard")
    press("Enter")
    console.dialog.wait_for()
    tab_to("Send")
    press("Enter")
    page.locator(".outcome").get_by_text("Result").wait_for()
    assert focused().startswith("user")  # where the form was sent
    tab_to("Raw")
    press("Space")
    assert console.page.get_by_role("button", name="Raw").get_attribute("aria-pressed") == "true"
    tab_to("Destinations", "Shift+Tab")
    press("Enter")
    page.get_by_text("sip:b.example").wait_for()
    tab_to("State")
    tab_to("Destinations")
    tab_to("inactive")
    group = page.evaluate("document.activeElement.parentNode.getAttribute('aria-label')")
    press("Enter")
    console.dialog.wait_for()
    press("Escape")
    console.dialog.wait_for(state="detached")
    assert focused() == "inactive"
    press("Enter")
    tab_to("Set inactive")
    press("Enter")
    page.get_by_role("group", name=group).locator("[aria-pressed=true]", has_text="inactive").wait_for()


def test_hostile_strings(console: Console) -> None:
    """Text by a server stays text: names, help, keys, values, faults, nodes; invisible characters are escaped."""
    page = console.page
    assert page.evaluate("document.querySelectorAll('.links a').length") > 100
    page.get_by_role("link", name=NAME).first.wait_for()
    for method in ("evil.result", "evil.rows", NAME):
        console.command(method).send()
        page.locator(".outcome").wait_for()
        for view in page.get_by_role("group", name="View").get_by_role("button").all():
            view.click()
            assert EVIL in page.locator(".answer").inner_text()
    console.command("evil.result").send().view("Tree")
    page.get_by_text(r"a\u{202e}b\u{200b}\u{1b}[31m").wait_for()
    page.get_by_text("__proto__", exact=True).wait_for()
    for panel in PANELS:
        shown(console, panel)
    console.open("#/destinations").page.get_by_text(f"sip:evil.example;x={NAME}").wait_for()
    console.open("#/tables/a").page.get_by_role("button", name=f"Edit {EVIL}").click()
    assert console.dialog.get_by_label("Key").input_value() == EVIL
    console.button("Cancel").click()
    console.button(f"Delete {EVIL}").click()
    console.dialog.get_by_text(EVIL).first.wait_for()
    console.button("Cancel").click()
    console.open("#/variables").page.get_by_text(f"help {EVIL}").wait_for()
    console.open("#/audit").page.get_by_text("document.title").first.wait_for()
    console.open("#/nodes").page.get_by_role("heading", name="<script>").wait_for()
    console.open("#/tables/%3Cscript%3E").page.get_by_text("There is no such table").wait_for()
    for route in ("#/<script>/<script>", "#/commands/%E0%A4%A", "#/constructor", "#/destinations/x?y"):
        console.open("#/nodes").page.get_by_role("heading", name="Nodes").wait_for()
        console.open(route).page.get_by_role("heading", name=re.compile("Commands|Destinations"), level=1).wait_for()
    assert page.evaluate("document.querySelectorAll('main script, main img, main b script').length") == 0
    assert "run" not in page.title()


def test_no_way_around_the_policy(browser: Any, server: Server) -> None:
    """The page's policy forbids scripts that are not its files, and other servers."""
    page = browser.new_page()
    console = Console(page, server).open()
    found = page.evaluate("""async () => {
        const seen = [];
        document.addEventListener("securitypolicyviolation", (event) => {
            seen.push(event.effectiveDirective);
            event.stopImmediatePropagation();
        }, true);
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "http://other.example/x.png";
        document.body.append(image);
        await fetch("http://other.example/").catch(() => null);
        await new Promise((resolve) => setTimeout(resolve, 200));
        return seen;
    }""")
    assert {"script-src-elem", "img-src", "connect-src"} <= set(found)
    assert page.title() != "run"
    assert console.url in page.url
    page.close()
