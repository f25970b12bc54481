"""How pytest runs the tests, and the real server that they share."""

import functools
import gc
import importlib.metadata
import math
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx.access import auditfile
from jsonrpcs_tx.log import debug, set_debug, throttle
from tests.support import Server
from tests.support.clocks import steady
from tests.support.files import public_directory

_TESTS = Path(__file__).parent
_ALL_SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)

LONGEST = (
    *("gateway/test_strength.py", "datagrams/test_workers.py", "console/browser/test_panels.py"),
    *("real/test_conformance.py", "logs/test_daemon.py", "real/test_programs.py", "console/browser/test_access.py"),
    *("transports/test_httpdirect.py", "test_systemd.py", "real/test_kamtools.py", "config/test_kamailiocfg.py"),
    *("console/browser/test_commands.py", "real/test_howtos.py", "real/test_gateway.py", "test_imports.py"),
)
"""Modules with slow tests that take longest, the longest first."""

_DEBUG = debug()
"""The level of the log, which tests may change."""

# pytest asks for Twisted's version before each test, and would read it from a file each time.
importlib.metadata.version = functools.cache(importlib.metadata.version)

# A busy machine holds up any write. The audit log would leave the next ones to a thread, and tests would read the file
# before that has written them.
auditfile.SLOW = math.inf  # type: ignore[misc]


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples of each property while somebody works; the whole suite tries as many as hypothesis does. Let
    the programs that tests start be interrupted.
    """
    if config.option.markexpr == "not slow":
        hypothesis.settings.load_profile("quick")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; programs would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """While only the quick tests run, import no module whose tests are all slow."""
    quick = config.option.markexpr == "not slow" and collection_path.suffix == ".py"
    return True if quick and _ALL_SLOW.search(collection_path.read_text()) else None


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Test one module, or with C{-s}, in this process: nothing can run beside it, or what it shows is to be seen. While
    some tests wait, for other programs or until something times out, others use the processors.
    """
    one_module = len(config.args) == 1 and config.args[0].partition("::")[0].endswith(".py")
    if one_module or config.option.capture == "no":
        return 0
    processors = len(os.sched_getaffinity(0))
    return processors + (processors + 1) // 2 if config.option.markexpr == "not slow" else 2 * processors


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run trial's cases first: once pytest-twisted has started the reactor, they cannot start it any more. Then run the
    modules that take longest first, then the others with slow tests, so that no process of pytest-xdist gets a long one
    at the end, when the others have nothing left to do. Each of these processes gets the tests in this order.
    """
    of_trial = {item: issubclass(getattr(item, "cls", None) or object, SynchronousTestCase) for item in items}
    slow = {(of_trial[item], item.path) for item in items if item.get_closest_marker("slow")}
    place = {_TESTS / name: number for number, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in place), LONGEST

    def order(item: pytest.Item) -> tuple[bool, bool, int]:
        is_slow = (of_trial[item], item.path) in slow
        return not of_trial[item], not is_slow, place.get(item.path, len(place))

    items.sort(key=order)


def pytest_collection_finish() -> None:
    """Let the garbage collector not look again and again at tens of thousands of tests, which stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def every_message() -> None:
    """Let no test's messages be held back for those of the test before, or by the level that it has set."""
    throttle.clear()
    set_debug(_DEBUG)


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
