"""Debian's Chromium, driven by playwright."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import PATIENCE
from tests.support.programs import lacks

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP *.example 127.0.0.1"),
]

_EXPECTED = "Failed to load resource"
"""How Chromium's console begins to tell of a reply that is no success; tests look at these themselves."""

_WATCH = """
addEventListener("securitypolicyviolation", (event) => console.error(
    `Content Security Policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where it is missing, except in CI."""
    if lacks("chromium"):
        pytest.skip("chromium is not installed")
    if "CI" not in os.environ:
        pytest.importorskip("playwright")
        pytest.importorskip("axe_playwright_python")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Any, **options: Any) -> Iterator[Any]:
    """A page of a context of its own: no cookies, no storage. Errors of its scripts, messages of its console that are
    errors, and violations of its Content Security Policy fail the test.

    @param options: of the context.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(_WATCH)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"{error} {error.stack}"))
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
    yield page
    context.close()
    unexpected = [one for one in problems if not one.startswith(_EXPECTED)]
    assert not unexpected, unexpected
