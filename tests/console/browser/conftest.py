"""One Chromium for each module of tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import chromium, opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that nobody has used before; see L{opened}."""
    with opened(browser) as fresh:
        yield fresh
