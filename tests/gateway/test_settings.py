"""The settings for nodes: what is wrong with them is told before the start, and what is secret never."""

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet import reactor

from jsonrpcs_tx import SettingError, Settings, StartError, makeService
from tests.support import PATIENCE, Server, environment, run_twistd


@pytest.mark.slow
def test_check(tmp_path: Path) -> None:
    """--check tells each mistake in a node with its file and line, as it does of all settings; nothing is opened."""
    (tmp_path / "nodes").write_text("a=unix:/a\n# more\nb=udp:10.0.0.1\na=unix:/b\n")
    (tmp_path / "settings.toml").write_text(
        'node_file = "nodes"\nnode = [\n  "x=unix:/x group=g",\n  "g=unix:/y",\n'
        '  "z=https://gw:hunter2@h/RPC colour=red",\n'
        '  "p=http://h/RPC user=gw password_file=missing",\n]\n'
    )
    done = run_twistd(tmp_path, "jsonrpcs", "--config", "settings.toml", "--check")
    lines = done.stderr.splitlines()
    assert [line.partition(": node")[0] for line in lines[:5]] == [
        "jsonrpcs: settings.toml:4",
        "jsonrpcs: settings.toml:5",
        "jsonrpcs: settings.toml:6",
        f"jsonrpcs: {tmp_path}/nodes:3",
        f"jsonrpcs: {tmp_path}/nodes:4",
    ], done.stderr
    assert lines[5] == "jsonrpcs: 5 errors"
    assert "there is already a group g" in lines[0]
    assert "//gw:***@h/RPC" in lines[1]
    assert "the port is missing" in lines[3]
    assert "hunter2" not in done.stderr + done.stdout
    assert done.returncode == 1


@pytest.mark.slow
def test_one_error_for_a_list(tmp_path: Path) -> None:
    """A list where one value is allowed is one error, and no other value is named."""
    (tmp_path / "settings.toml").write_text('node_file = ["a"]\n')
    done = run_twistd(tmp_path, "jsonrpcs", "--config", "settings.toml", "--check")
    first, last = done.stderr.splitlines()
    assert first.startswith("jsonrpcs: settings.toml:1: node_file: ['a'] is not allowed"), first
    assert last == "jsonrpcs: 1 error"


@pytest.mark.slow
def test_passwords_are_not_shown(tmp_path: Path) -> None:
    """Neither --show-settings nor modparam.* nor gateway.nodes nor the log shows a password."""
    node = "p=http://gw:hunter2@127.0.0.1:1/RPC"
    done = run_twistd(tmp_path, "jsonrpcs", f"--node={node}", "--show-settings")
    assert 'node = ["p=http://gw:***@127.0.0.1:1/RPC"]' in done.stdout
    assert "hunter2" not in done.stdout
    (tmp_path / "secret").write_text("hunter2\n")
    file = "q=http://127.0.0.1:1/RPC user=gw password_file=secret"
    with Server(tmp_path, f"--node={node}", f"--node={file}", "--debug=3", "--node-interval=0.05") as server:
        for document, told in (
            (b'{"jsonrpc":"2.0","method":"modparam.list","params":["jsonrpcs"],"id":1}', b"gw:***@"),
            (b'{"jsonrpc":"2.0","method":"modparam.gets","params":["jsonrpcs","node"],"id":1}', b"gw:***@"),
            (b'{"jsonrpc":"2.0","method":"gateway.nodes","id":1}', b"http://127.0.0.1:1/RPC"),
        ):
            reply = server.call("unix", document)
            assert told in reply
            assert b"hunter2" not in reply
        server.wait_for_log(r"node q is down: Connection.* \(at http://127.0.0.1:1/RPC\)")
        for name in ("p", "q"):
            assert b"hunter2" not in server.http(document, path=f"/RPC/{name}").body
        assert "hunter2" not in "\n".join(server.log)


def test_refused() -> None:
    """A server with an invalid node does not start."""
    with pytest.raises(SettingError, match=r"node: 'a' is not allowed; allowed: NAME=TARGET .*there is no ="):
        makeService(Settings(node=["a"]), reactor)
    with pytest.raises(StartError, match=r"node_file: .*No such file"):
        makeService(Settings(node_file="/nowhere/nodes"), reactor)


@pytest.mark.slow
def test_nothing_is_imported_without_nodes() -> None:
    """A server that is not a gateway loads neither it nor the client."""
    program = (
        "import sys; from jsonrpcs_tx import Settings, makeService; from twisted.internet import reactor;"
        "makeService(Settings(load='all'), reactor);"
        "print([name for name in sys.modules if name.startswith(('jsonrpcs_tx.gateway', 'jsonrpcs_tx.client'))])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=PATIENCE, check=True)
    assert done.stdout == "[]\n"
