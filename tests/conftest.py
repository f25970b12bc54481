"""How pytest runs the tests, and the real server that they share."""

import functools
import importlib.metadata
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx.log import throttle
from tests.support import Server
from tests.support.clocks import steady
from tests.support.files import public_directory

# pytest asks for Twisted's version before each test, and would read it from a file each time.
importlib.metadata.version = functools.cache(importlib.metadata.version)


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples of each property while somebody works; the whole suite tries as many as hypothesis does. Let
    the programs that tests start be interrupted.
    """
    if config.option.markexpr == "not slow":
        hypothesis.settings.load_profile("quick")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; programs would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Test one module, or with C{-s}, in this process: nothing can run beside it, or what it shows is to be seen."""
    one_module = len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py")
    return 0 if one_module or config.option.capture == "no" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run trial's cases first: once pytest-twisted has started the reactor, they cannot start it any more. Each of
    pytest-xdist's processes gets them in this order, too.
    """
    items.sort(key=lambda item: not issubclass(getattr(item, "cls", None) or object, SynchronousTestCase))


@pytest.fixture(autouse=True)
def every_message() -> None:
    """Let no test's messages be held back for those of the test before."""
    throttle.clear()


@pytest.fixture
def steady_clock() -> Iterator[None]:
    """For tests that set the clock themselves; see L{steady}."""
    with steady():
        yield


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may enter and nobody else may write to."""
    with public_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in dialect kamailio, on every transport, for tests that leave it as it was."""
    directory: Path = tmp_path_factory.mktemp("server")
    with Server(directory) as running:
        yield running
