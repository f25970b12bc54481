"""What README.md and docs/console.md tell a new user to do, done in a real browser; the pictures are made of it."""

import json
import math
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPOSITORY, Server
from tests.support.browser import opened
from tests.support.cli import plain_environment
from tests.support.consolepage import Console
from tests.support.pages import blocks
from tests.support.programs import lacks

pytestmark = [pytest.mark.browser, pytest.mark.slow]

IMAGES = REPOSITORY / "docs" / "images"
PICTURES = ("console-commands.png", "console-destinations.png", "console-load.png", "console-tables-dark.png")
LARGEST = 150_000
"""Bytes of a picture."""

WEIGHTS = {1: 50, 2: 50, 3: 0}
FLAGS = {1: 0, 2: 1, 3: 4, 4: 0}
"""The destinations in the pictures: weights in set 1, flags in set 2."""

REMADE = os.environ.get("MAKE_PICTURES") == "1"
"""Whether to make the pictures again."""


def picture(page: Any, name: str) -> None:
    """Make one of the pictures of the documentation, if that is asked for."""
    assert name in PICTURES
    if REMADE:
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / name, animations="disabled", caret="hide")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Server]:
    """The server of the README's first command, on free ports."""
    first = next(block.text for block in blocks(REPOSITORY / "README.md") if block.language == "sh")
    command = [re.sub(r":80\d\d$", ":0", word) for word in first.rpartition("venv/bin/twistd ")[2].split()]
    http = [f"--{kind}-listen=tcp:0:interface=127.0.0.1" for kind in ("http", "https")]
    with Server(tmp_path, command=(*command, *http)) as running:
        yield running


def test_readme(page: Any, started: Server) -> None:
    """The console opens where the README says; a command is called, a destination switched, and metrics tell of it."""
    text = (REPOSITORY / "README.md").read_text().partition("## See it in a browser\n")[2].partition("\n## ")[0]
    assert "http://127.0.0.1:8080/console" in text
    page.set_viewport_size({"width": 1200, "height": 720})
    Console(page, started).open()
    page.goto(f"http://127.0.0.1:{started.addresses['http'][1]}/console")
    page.get_by_label("Filter").fill("dispatcher.add")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="dispatcher.add").wait_for()
    console = Console(page, started)
    console.field("group").fill("1")
    console.field("address").fill("sip:127.0.0.1:5060")
    console.send().button("Send").click()
    page.get_by_text("Ok. Dispatcher destination added.").first.wait_for()
    console.panel("Destinations")
    page.get_by_role("group", name="State of sip:127.0.0.1:5060").get_by_role("button", name="inactive").click()
    console.button("Set inactive").click()
    page.locator(".state.inactive").wait_for()
    shell = next(block for block in blocks(REPOSITORY / "README.md") if "/metrics | grep" in block.text)
    if lacks("curl"):
        pytest.skip("curl is not installed")
    script = shell.text.replace(":8080", f":{started.addresses['http'][1]}")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=plain_environment(), timeout=60)
    assert done.stdout == shell.printed


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with something in it."""
    directory = tmp_path_factory.mktemp("busy")
    lines = [f"1 sip:10.0.1.1{number}:5060 0 10 weight={weight};duid=gw{number}" for number, weight in WEIGHTS.items()]
    lines += [f"2 sip:media{number}.example.com:5080 {flags}" for number, flags in FLAGS.items()]
    (directory / "list").write_text("\n".join(lines))
    with Server(
        directory,
        *("--list-file=list", "--htable=blocked=>size=8;autoexpire=86400", "--htable=routes=>size=8"),
        *("--metrics=/metrics", "--audit=audit.log"),
        *("--node=edge1=unix:rpc.sock group=edge", "--node=edge2=unix:rpc.sock group=edge"),
        sockets=("rpc.sock",),
    ) as running:
        batch = [
            {"jsonrpc": "2.0", "method": "htable.seti", "params": ["blocked", f"198.51.100.{last}", last * 7], "id": 1}
            for last in range(1, 60)
        ]
        running.http(json.dumps(batch).encode())
        yield running


def test_pictures(browser: Any, busy: Server) -> None:
    """The pages that the pictures show are there; with MAKE_PICTURES=1 the pictures are made again."""
    with opened(browser, viewport={"width": 1200, "height": 720}) as page:
        console = Console(page, busy).open()
        page.get_by_label("Filter").fill("dispatcher")
        console.command("dispatcher.list").field("how").fill("short")
        console.send().view("Table")
        page.get_by_role("region", name="Result as a table").get_by_text("NRSETS").wait_for()
        page.mouse.move(0, 0)
        picture(page, "console-commands.png")
        console.panel("Destinations")
        page.get_by_text("sip:media4.example.com:5080").wait_for()
        picture(page, "console-destinations.png")
        console.panel("Load")
        seconds = 60 if REMADE else 3
        for place in range(seconds):
            for _ in range(8 + round(6 * math.sin(place / 9))):
                busy.call("tcp", b'{"jsonrpc":"2.0","method":"core.echo","id":1}')
                busy.http(b'{"jsonrpc":"2.0","method":"dispatcher.list","id":1}')
            page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 1000))")
        page.get_by_role("row").filter(has_text="core.echo").wait_for()
        picture(page, "console-load.png")
    with opened(browser, viewport={"width": 1200, "height": 720}, color_scheme="dark") as page:
        Console(page, busy).open("#/tables/blocked")
        page.get_by_text("198.51.100.9", exact=True).wait_for()
        picture(page, "console-tables-dark.png")


def test_pictures_are_small_and_shown() -> None:
    """Each picture is small, and docs/console.md shows it; README.md shows one."""
    shown = (REPOSITORY / "docs" / "console.md").read_text()
    for name in PICTURES:
        assert (IMAGES / name).stat().st_size <= LARGEST, name
        assert f"](images/{name})" in shown
    assert "](docs/images/console-" in (REPOSITORY / "README.md").read_text()
    assert {path.name for path in IMAGES.glob("console-*")} == {*PICTURES}
