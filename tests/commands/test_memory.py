"""The commands about memory: pkg.*, shm.*, mod.* and those of corex.*."""

import json
import os
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from jsonrpcs_tx import JsonRpcService, Settings, log, makeService
from tests.support.logs import observed


@pytest.fixture
def service() -> Iterator[JsonRpcService]:
    level = log.debug()
    yield makeService(Settings(load="all"), Clock())
    log.set_debug(level)


def call(service: JsonRpcService, method: str, *params: object) -> Any:
    """The result, or the code and text of the fault."""
    document = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
    reply = json.loads(service.jsonrpc_exec(json.dumps(document)).body)
    return reply["result"] if "result" in reply else (reply["error"]["code"], reply["error"]["message"])


PROCESS = ["entry", "pid", "rank", "used", "free", "real_used", "total_size", "total_frags", "desc"]


def test_pkg_stats(service: JsonRpcService) -> None:
    """Each process has its memory; one is selected by pid, index or rank."""
    (shown,) = call(service, "pkg.stats")
    assert list(shown) == PROCESS
    assert (shown["pid"], shown["desc"]) == (os.getpid(), "main process - attendant")
    assert 0 < shown["used"] <= shown["real_used"] < shown["total_size"]
    for selector, value in (("pid", os.getpid()), ("index", 0), ("rank", 0), ("PID", os.getpid())):
        assert [one["pid"] for one in call(service, "pkg.stats", selector, value)] == [os.getpid()]


@pytest.mark.parametrize(
    ("params", "answer"),
    [
        (["x"], (500, "Invalid filter type")),
        (["pid"], (500, "One more parameter expected")),
        (["pid", 1], (500, "No such pid")),
        (["rank", 99], []),
        (["index", 99], []),
    ],
)
def test_selectors(service: JsonRpcService, params: list[Any], answer: Any) -> None:
    """Selectors that select nothing are answered as Kamailio does; it makes up a process beyond the last index."""
    assert call(service, "pkg.stats", *params) == answer


def test_info(service: JsonRpcService) -> None:
    """What manages the memory is told with the memory of the machine."""
    assert call(service, "pkg.info") == call(service, "shm.info")
    stats = call(service, "shm.stats")
    assert list(stats) == ["total", "free", "used", "real_used", "max_used", "fragments"]
    assert stats["total"] == call(service, "pkg.info")["size"]


def test_mod_stats(service: JsonRpcService) -> None:
    """Memory by module is what Python has traced, or a fault that says how to have it traced."""
    assert call(service, "mod.stats") == (500, 'Module name or "all" needed')
    assert call(service, "mod.stats", "core") == (500, '"pkg" or "shm" or "all" needed')
    assert call(service, "mod.stats", "core", "shm") == ["Module: core", {"Total": 0}, ""]
    assert call(service, "mod.stats", "x", "y") == ["Module: x", ""]
    assert call(service, "mod.stats", "core", "pkg")[1].startswith("Not Available: start the server with PYTHONTRACE")
    tracemalloc.start()
    try:
        service.counters.counter("shop", "orders")
        name, used, end = call(service, "mod.stats", "core", "pkg")
        assert (name, end) == ("Module: core", "")
        assert used.pop("Total") == sum(used.values()) > 0
        assert any(line.startswith("counters.py(") for line in used)
        assert call(service, "mod.stats", "nope", "pkg") == ["Module: nope", {"Total": 0}, ""]
        names = [line for line in call(service, "mod.stats", "all", "all") if str(line).startswith("Module: ")]
        assert names == [f"Module: {family}" for family in service.families]
    finally:
        tracemalloc.stop()


def test_one_snapshot(service: JsonRpcService, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is counted once for all modules: it takes seconds, in which the server does nothing else."""
    taken: list[tracemalloc.Snapshot] = []
    take = tracemalloc.take_snapshot

    def taking() -> tracemalloc.Snapshot:
        taken.append(take())
        return taken[-1]

    monkeypatch.setattr(tracemalloc, "take_snapshot", taking)
    tracemalloc.start()
    try:
        call(service, "mod.stats", "all", "all")
    finally:
        tracemalloc.stop()
    assert len(taken) == 1


def test_corex(service: JsonRpcService) -> None:
    """The summaries go to the log, as Kamailio's do."""
    events: list[LogEvent] = []
    log.set_debug(2)
    with observed(events.append):
        assert call(service, "corex.shm_status") == {}
        assert call(service, "corex.shm_summary") == {}
        assert call(service, "corex.pkg_summary", "pid", os.getpid()) == {}
        assert call(service, "corex.pkg_summary", "pid", 1) == {}
        assert call(service, "corex.pkg_summary", "idx", 0) == {}
        assert call(service, "corex.pkg_summary", "name", "main process - attendant") == {}
    texts = list(map(formatEvent, events))
    assert sum(text.startswith("memory in bytes: total ") for text in texts) == 2
    assert sum(text.startswith(f"memory of process {os.getpid()} (main process") for text in texts) == 3
    assert call(service, "corex.pkg_summary", "pid") == (400, "Selector and value not provided")
