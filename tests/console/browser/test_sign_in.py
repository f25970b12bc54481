"""Signing in and out in a real browser, the end of sessions, and what rules let users see."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server
from tests.support.browser import opened
from tests.support.consolepage import SHOP, Console
from tests.support.users import write

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RULES = """
https user=ann allow *
http user=ann allow *
http user=bob allow core.echo core.uptime rpc.discover
http user=eve allow core.echo
https user=tim role read
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("users")
    (directory / "shop.py").write_text(SHOP)
    (directory / "list").write_text("1 sip:a.example\n")
    (directory / "rules").write_text(RULES)
    write(directory / "users", "ann", "bob", "eve", "nil", "tim")
    with Server(
        directory,
        *("--commands=shop:Shop", "--list-file=list", "--audit=audit.log", "--htable=a=>size=4"),
        *("--http-users=users", "--rule-file=rules"),
        sockets=(),
    ) as running:
        yield running


@pytest.fixture
def console(page: Any, server: Server) -> Console:
    return Console(page, server).open()


def sign_in(console: Console, name: str, password: str | None = None) -> None:
    page = console.page
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(name if password is None else password)
    page.get_by_role("button", name="Sign in").click()


def panels(console: Console) -> list[str]:
    """The panels that the page leads to."""
    found: list[str] = console.page.get_by_role("navigation", name="Panels").get_by_role("link").all_inner_texts()
    return found


def test_in_and_out(console: Console) -> None:
    """A wrong password is refused with a reason, the right one opens the console, signing out closes it."""
    page = console.page
    assert page.evaluate("document.activeElement.name") == "username"
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Type your name.").wait_for()
    sign_in(console, "ann", "wrong")
    page.get_by_text("Not signed in: wrong name or password.").wait_for()
    assert page.get_by_label("Password").input_value() == ""
    assert page.get_by_role("navigation", name="Panels").count() == 0
    sign_in(console, "ann")
    page.get_by_text("live", exact=True).wait_for()
    page.locator(".user", has_text="ann").wait_for()
    page.set_viewport_size({"width": 360, "height": 640})
    assert page.evaluate("Math.max(document.body.scrollWidth, document.querySelector('#top').scrollWidth)") == 360
    [cookie] = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["secure"]
    assert cookie["sameSite"] == "Strict"
    console.command("core.echo").send().view("Raw")
    page.reload()
    page.get_by_text("live", exact=True).wait_for()
    console.button("Sign out").click()
    page.get_by_text("You are signed out.").wait_for()
    assert page.context.cookies() == []
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    page.get_by_role("heading", name="Sign in").wait_for()


def test_end_of_session(console: Console, server: Server) -> None:
    """When a session ends, the form is shown; afterwards the page is where it was, with what was typed."""
    page = console.page
    sign_in(console, "ann")
    page.get_by_text("live", exact=True).wait_for()
    console.command("shop.rows")
    console.field("count").fill("7")
    write(server.directory / "users", "ann", "bob", "eve", "nil", "tim")  # other hashes: all sessions end
    server.process.send_signal(1)
    page.get_by_text("Your session has ended. Sign in again to go on.").wait_for()
    sign_in(console, "ann")
    assert console.field("count").input_value() == "7"
    console.send()
    assert len(console.result()) == 7
    page.context.clear_cookies()
    console.send()
    page.get_by_text("Your session has ended. Sign in again to go on.").wait_for()
    sign_in(console, "bob")  # somebody else gets nothing of that
    page.locator(".user", has_text="bob").wait_for()
    page.get_by_text("No description has this command").wait_for()
    assert page.get_by_role("region", name="Calls of this session").get_by_role("button").count() == 0


def test_rules(console: Console) -> None:
    """A user who may call two commands sees two commands, and no panel that rules forbid."""
    page = console.page
    sign_in(console, "bob")
    page.get_by_text("live", exact=True).wait_for()
    page.get_by_text("3 of 3 commands").wait_for()
    assert page.locator(".links a code").all_inner_texts() == ["core.echo", "core.uptime", "rpc.discover"]
    for panel in ("load", "destinations", "tables", "variables", "audit"):
        console.open(f"#/{panel}")
        page.get_by_text("You may not see this.").wait_for()
    assert panels(console) == ["Commands"]
    assert "sip:a.example" not in page.content()
    console.command("htable.dump").send().button("Send").click()
    page.locator(".outcome").get_by_text("Fault 403").wait_for()


def test_without_descriptions(console: Console) -> None:
    """A user who may call a command, but not list commands, calls it by its name."""
    page = console.page
    sign_in(console, "eve")
    page.get_by_label("Call a command by its name").fill("core.echo")
    page.get_by_role("button", name="Open").click()
    page.get_by_role("heading", name="core.echo").wait_for()
    page.get_by_role("button", name="Add a value").click()
    page.keyboard.type("hello")
    console.send().button("Send").click()
    assert console.result() == ["hello"]


def test_nothing(console: Console) -> None:
    """A user who may call nothing sees nothing, and the page says so."""
    sign_in(console, "nil")
    console.page.get_by_text("rules do not allow you anything").wait_for()
    assert console.page.get_by_role("navigation", name="Panels").count() == 0


def test_nothing_without_users(page: Any, tmp_path: Path) -> None:
    """The same for a caller whom rules allow nothing, where nobody signs in."""
    (tmp_path / "rules").write_text("http deny *\n")
    with Server(tmp_path, "--rule-file=rules", sockets=()) as server:
        page.goto(f"http://127.0.0.1:{server.addresses['http'][1]}/console/")
        page.get_by_text("The rules do not allow you anything here.").wait_for()
        assert page.get_by_role("link").all_inner_texts() == ["Skip to the content"]


def test_reading_only(browser: Any, server: Server) -> None:
    """Over HTTPS, somebody who may only read sees the panels, without what changes something."""
    with opened(browser, ignore_https_errors=True) as page:
        console = Console(page, server, "https").open("#/destinations")
        sign_in(console, "tim")
        page.get_by_text("sip:a.example").wait_for()
        assert page.get_by_role("button", name="inactive").count() == 0
        console.panel("Variables")
        page.get_by_text("most items in an order").wait_for()
        assert page.get_by_role("button", name="Change limit").count() == 0
        console.panel("Tables").page.get_by_role("heading", name="Table a").wait_for()
        console.panel("Commands")
        page.get_by_role("link", name="core.echo reads").wait_for()
        assert page.locator(".links .badge.changes").count() == 0
        [cookie] = page.context.cookies()
        assert cookie["secure"]
