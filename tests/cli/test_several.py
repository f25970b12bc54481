"""Many servers at once."""

import sys
from threading import Thread
from typing import Any

import pytest

from jsonrpcs_tx.cli.several import MOST, at_once
from tests.support import PATIENCE


@pytest.mark.slow
def test_order() -> None:
    """Outcomes are in the order of the servers, more of which there may be than threads; no thread waits for ever."""
    servers: list[Any] = [*range(MOST + 36)]
    outcomes: list[list[Any]] = []

    def run() -> None:
        outcomes.extend(at_once(lambda server: server, servers) for _ in range(50))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread = Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    assert outcomes == [servers] * 50


def test_first_error() -> None:
    """The error of the first server that has one is raised, when all are done."""
    done: list[Any] = []

    def do(server: Any) -> None:
        done.append(server)
        if server > 1:
            raise ValueError(server)

    servers: list[Any] = [*range(4)]
    with pytest.raises(ValueError, match="2"):
        at_once(do, servers)
    assert sorted(done) == servers
