"""Every transport gives the same answers: one set of cases, sent over each to a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ECHO, ECHO_REPLY, TRANSPORTS, Server, datagram_call


@pytest.fixture(scope="module", params=["yes", "no"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the fast paths on, and one with them off."""
    with Server(tmp_path_factory.mktemp("server"), f"--fast-paths={request.param}") as running:
        yield running


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.slow
def test_echo(server: Server, transport: str) -> None:
    """A request is answered."""
    assert server.call(transport, ECHO) == ECHO_REPLY


@pytest.mark.slow
@pytest.mark.parametrize("size", [10_000, 65_000])
def test_large_document(server: Server, transport: str, size: int) -> None:
    """A document of up to 65,456 bytes arrives whole, and its reply comes back whole."""
    text = "x" * size
    document = json.dumps({"jsonrpc": "2.0", "method": "core.prints", "params": [text], "id": 1}).encode()
    assert json.loads(server.call(transport, document)) == {"jsonrpc": "2.0", "result": [text], "id": 1}


@pytest.mark.slow
def test_deep_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unix socket whose path is too long for an address is bound all the same, and removed at the end."""
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with Server(deep) as running:
        assert len(running.addresses["unix"]) > 107
        assert datagram_call("rpc.sock", ECHO) == ECHO_REPLY
    assert not Path("rpc.sock").exists()
