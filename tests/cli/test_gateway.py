"""Calls of a gateway's nodes by the program as a process: what fails on a node is told, and is no success."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jsonrpcs_tx.cli.nodes import any_result, are_outcomes, faults
from tests.support import Server
from tests.support.cli import jsonrpcs

DOWN = "503 Node down "


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway, with a node that is up, and one that is not there."""
    with Server(tmp_path_factory.mktemp("node")) as node:
        up = f"--node=up=unix:{node.addresses['unix']} group=all group=good"
        down = "--node=down=unix:/nonexistent/socket group=all group=bad"
        with Server(tmp_path_factory.mktemp("gateway"), up, down) as gateway:
            host, port = gateway.addresses["http"]
            yield f"http://{host}:{port}/RPC"


@pytest.mark.slow
@pytest.mark.parametrize("group", ["all", "*"])
def test_some(url: str, group: str) -> None:
    """The results are printed, and the nodes that have failed are told; the exit code is that of a fault."""
    to = ("--to", f"{url}/{group}")
    done = jsonrpcs(*to, "core.version", "--json")
    assert done.code == 1
    assert set(json.loads(done.out)) == {"up", "down"}
    assert done.err.startswith(f"jsonrpcs: {url}/{group}: core.version: 1 of 2 nodes failed: down: {DOWN}")
    done = jsonrpcs(*to, "--to", f"{url}/up", "core.version", "--json")
    first, second = map(json.loads, done.out.splitlines())
    assert (done.code, set(first["result"]), type(second["result"])) == (1, {"up", "down"}, str)
    done = jsonrpcs("check", *to, "core.version")
    assert done.code == 1
    assert done.out.startswith(f"WARNING - {url}/{group}: core.version: 1 of 2 nodes failed: down: {DOWN}")


@pytest.mark.slow
def test_none(url: str) -> None:
    """Where all nodes have failed, so has the call."""
    to = ("--to", f"{url}/bad")
    assert jsonrpcs(*to, "core.version").code == 1
    done = jsonrpcs("check", *to, "core.version")
    assert (done.code, done.out[:11]) == (2, "CRITICAL - ")
    done = jsonrpcs("--to", f"{url}/good", "no.such")
    assert done.code == 1
    assert "1 of 1 nodes failed: up: 500 Method Not Found" in done.err


@pytest.mark.slow
def test_watch_and_batch(url: str, tmp_path: Path) -> None:
    """What the nodes have answered is shown, and the exit code says that not all have a result."""
    to = ("--to", f"{url}/all")
    done = jsonrpcs("watch", *to, "-c", "1", "--json", "core.version")
    assert (done.code, set(json.loads(done.out))) == (1, {"up", "down"})
    file = tmp_path / "calls"
    file.write_text("core.version\n")
    done = jsonrpcs("batch", *to, str(file))
    assert (done.code, set(json.loads(done.out)["result"])) == (1, {"up", "down"})


@pytest.mark.slow
def test_methods_and_help(url: str) -> None:
    """What all nodes have in common is asked of any of them."""
    to = ("--to", f"{url}/all")
    listed = jsonrpcs("methods", *to, "core.v")
    assert (listed.code, listed.out.splitlines()[1:]) == (
        0,
        jsonrpcs("methods", "--to", f"{url}/up", "core.v").out.splitlines()[1:],
    )
    assert "core.version" in listed.out
    assert "{" not in jsonrpcs("help", *to, "core.version").out


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"a": 1},
        {"a": {"result": 1}, "b": 2},
        {"a": {"result": 1, "error": None}},
        {"a": {"error": "x"}},
        {"a": {"error": {"code": "1", "message": "x"}}},
        [{"result": 1}],
    ],
)
def test_no_outcomes(result: object) -> None:
    """A result that only looks like the outcomes of nodes is left alone."""
    assert not are_outcomes(result)
    assert faults(result) == {}
    assert any_result(result) is result
