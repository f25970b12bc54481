"""Replies that are stored in files: which names are allowed, what the client is told, that no other file is touched."""

import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jsonrpcs_tx import Settings, makeService
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.rpc import replystore as store
from tests.support import DATAGRAM_TRANSPORTS, ECHO, ECHO_REPLY, Server

STORED = b'{\n"jsonrpc": "2.0",\n\t"result": "Stored",\n\t"id": 1\n}'
FAILED = b'{\n"jsonrpc": "2.0",\n\t"error": {\n\t\t"code": 500,\n\t\t"message": "Storing failed"\n\t},\n\t"id": 1\n}'


def storing(path: str, document: bytes = ECHO) -> bytes:
    return document.replace(b"}", b',"store_path":%s}' % json.dumps(path).encode())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("store")
    (directory / "stored").mkdir()
    with Server(directory, "--store-path=stored") as running:
        yield running


@pytest.fixture
def stored(server: Server) -> Iterator[Path]:
    """The directory, which is empty again afterwards."""
    directory = server.directory / "stored"
    yield directory
    for path in directory.iterdir():
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("transport", [*DATAGRAM_TRANSPORTS, "fifo", "tcp"])
def test_stored(server: Server, stored: Path, transport: str) -> None:
    """The reply goes to the file, for the process alone, and replaces an older one; the client is told."""
    for document, reply in ((ECHO.replace(b'"x"', b'"%s"' % (b"long" * 99)), None), (ECHO, ECHO_REPLY)):
        assert server.call(transport, storing("out.json", document)) == STORED
        assert reply is None or (stored / "out.json").read_bytes() == reply
    assert os.listdir(stored) == ["out.json"]
    assert stat.S_IMODE((stored / "out.json").stat().st_mode) == 0o600


@pytest.mark.slow
def test_whole_path(server: Server, stored: Path) -> None:
    """The name may come with the directory's path, as a client of Kamailio gives it."""
    assert server.call("unix", storing(f"{stored}/out.json")) == STORED
    assert (stored / "out.json").read_bytes() == ECHO_REPLY


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "https"])
def test_http(server: Server, stored: Path, transport: str) -> None:
    """Over HTTP the member is ignored, as in Kamailio."""
    assert server.call(transport, storing("out.json")) == ECHO_REPLY
    assert os.listdir(stored) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["", ".", "..", "../out", "/etc/passwd", "a/b", "a\0b", "/", "stored/out", "x" * 300, "." + "0" * 16]
)
def test_other_paths(server: Server, stored: Path, path: str) -> None:
    """Nothing is written elsewhere, and the client is told that it was not."""
    assert server.call("unix", storing(path)) == FAILED
    assert os.listdir(stored) == []
    assert not (server.directory / "out").exists()


@pytest.mark.slow
def test_links(server: Server, stored: Path) -> None:
    """A link is replaced, not followed."""
    victim = server.directory / "victim"
    victim.write_text("precious")
    for make_link in (os.symlink, os.link):
        make_link(victim, stored / "out.json")
        assert server.call("unix", storing("out.json")) == STORED
        assert victim.read_text() == "precious"
        assert (stored / "out.json").read_bytes() == ECHO_REPLY
        (stored / "out.json").unlink()


@pytest.mark.slow
def test_directory_in_the_way(server: Server, stored: Path) -> None:
    """A directory of that name stays, and nothing is left beside it."""
    (stored / "out.json").mkdir()
    assert server.call("unix", storing("out.json")) == FAILED
    assert os.listdir(stored) == ["out.json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id", "told"),
    [
        (b"7", b"7"),
        (b"-2.5", b"-2.5"),
        (b'"a\\"\\n"', b'"a\\"\\n"'),
        (b"null", b"0"),
        (b"true", b"0"),
        (b"9" * 400, b"9" * 400),
    ],
)
def test_ids(server: Server, stored: Path, id: bytes, told: bytes) -> None:
    """The id is told as JSON, whatever is in it; without one it is 0, as in Kamailio."""
    document = b'{"jsonrpc":"2.0","method":"core.pwd","id":%s}' % id
    assert server.call("unix", storing("out.json", document)) == STORED.replace(b"1\n", told + b"\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [
        b'{"jsonrpc":"2.0","method":"no","id":1}',
        b'{"jsonrpc":"2.0","method":"dispatcher.add","id":1}',
        b'{"jsonrpc":"1.0","method":"core.pwd","id":1}',
        b'{"jsonrpc":"2.0","method":"core.pwd","id":1,}',
    ],
)
def test_errors_are_not_stored(server: Server, stored: Path, document: bytes) -> None:
    """The client itself gets an error, and the file of an earlier reply stays."""
    assert server.call("unix", storing("out.json")) == STORED
    assert "error" in json.loads(server.call("unix", storing("out.json", document)))
    assert (stored / "out.json").read_bytes() == ECHO_REPLY


@pytest.mark.slow
def test_bytes_that_are_not_utf8(server: Server, stored: Path) -> None:
    """A name that is not UTF-8 is a parse error, and the server reads on."""
    document = storing("NAME").replace(b"NAME", b"a\xff")
    for transport in ("unix", "udp4", "tcp"):
        assert json.loads(server.call(transport, document))["error"]["code"] == -32700
        assert server.call(transport, ECHO) == ECHO_REPLY
    assert os.listdir(stored) == []


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("make", [os.mkfifo, bind_socket])
def test_special_file_in_the_way(server: Server, stored: Path, make: Callable[[Path], None]) -> None:
    """A FIFO or socket of that name, which would block whoever opens it, is replaced unopened."""
    make(stored / "out.json")
    assert server.call("unix", storing("out.json")) == STORED
    assert (stored / "out.json").read_bytes() == ECHO_REPLY


@pytest.mark.slow
def test_nobody_else_replaces_it(tmp_path: Path) -> None:
    """With rules, a file is replaced by the caller who had it stored, and by no other; nor is one that was there."""
    (tmp_path / "stored").mkdir()
    (tmp_path / "stored" / "old.json").write_text("old")
    rules = ("--rule=unix allow *", "--rule=tcp allow *", "--rule=udp deny *")
    with Server(tmp_path, "--store-path=stored", *rules) as running:
        assert running.call("unix", storing("out.json")) == STORED
        for transport, name in (("tcp", "out.json"), ("tcp", "old.json"), ("unix", "old.json")):
            before = (tmp_path / "stored" / name).read_bytes()
            error = json.loads(running.call(transport, storing(name, ECHO.replace(b'"x"', b'"evil"'))))["error"]
            assert error["code"] == 500
            assert error["message"].startswith("Storing failed: there is a file of that name; allowed: a new name")
            assert (tmp_path / "stored" / name).read_bytes() == before
        assert running.call("unix", storing("out.json")) == STORED
        (tmp_path / "stored" / "out.json").unlink()
        assert running.call("tcp", storing("out.json")) == STORED
        assert "error" in json.loads(running.call("unix", storing("out.json")))


@pytest.mark.slow
def test_denied(tmp_path: Path) -> None:
    """Whoever may not call a method writes no file by it."""
    (tmp_path / "stored").mkdir()
    with Server(tmp_path, "--store-path=stored", "--rule=unix allow core.pwd", "--rule=fifo allow *") as running:
        assert json.loads(running.call("unix", storing("out.json")))["error"]["code"] == 403
        assert os.listdir(tmp_path / "stored") == []


@pytest.mark.slow
def test_room(stored: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many files, and so many bytes in all; within that, those that are there are replaced."""
    monkeypatch.setattr(store, "MAX_FILES", 2)
    monkeypatch.setattr(store, "MAX_BYTES", 30)
    files = store.ReplyStore(str(stored))

    def put(name: str, size: int) -> bytes:
        return files.put(name, 1, b"x" * size)[0]

    assert [put("a", 10), put("b", 10), put("a", 20)] == [STORED] * 3
    assert b"there are 2 files already" in put("c", 1)
    assert b"more than 30 bytes" in put("a", 21)
    (stored / "b").unlink()
    assert put("c", 10) == STORED


def test_leftovers(tmp_path: Path) -> None:
    """What a crash has left half-written is removed at the next start, and nothing else."""
    names = [".0123456789abcdef", ".fedcba9876543210", ".profile", ".0123456789abcdef0", "out.json"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / names[1]).touch()
    store.ReplyStore(str(tmp_path)).remove_leftovers()
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])


@pytest.mark.slow
def test_disk_full(server: Server, stored: Path) -> None:
    """Where there is no room, the older file stays, the client is told, and the server goes on."""
    assert server.call("unix", storing("out.json")) == STORED
    subprocess.run(["prlimit", f"--pid={server.process.pid}", "--fsize=1000:"], check=True)
    large = ECHO.replace(b'"x"', b'"%s"' % (b"x" * 5000))
    assert server.call("unix", storing("out.json", large)) == FAILED
    subprocess.run(["prlimit", f"--pid={server.process.pid}", "--fsize=unlimited:"], check=True)
    assert os.listdir(stored) == ["out.json"]
    assert (stored / "out.json").read_bytes() == ECHO_REPLY
    assert server.call("unix", storing("out.json", large)) == STORED


@pytest.mark.slow
def test_workers(tmp_path: Path) -> None:
    """The replies to requests that workers read are stored as well, whichever worker it is."""
    with Server(tmp_path, "--store-path=.", "--dgram-workers=2", sockets=("rpc.sock",)) as running:
        running.wait_for_log("worker . reads unix")
        for _ in range(8):
            assert running.call("unix", storing("out.json")) == STORED
        assert (tmp_path / "out.json").read_bytes() == ECHO_REPLY


@pytest.mark.slow
def test_off(tmp_path: Path) -> None:
    """Without the setting the member is ignored."""
    with Server(tmp_path) as running:
        assert running.call("unix", storing("out.json")) == ECHO_REPLY
        assert running.call("unix", storing(f"{tmp_path}/out.json")) == ECHO_REPLY
    assert not (tmp_path / "out.json").exists()


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there is refused at the start."""
    with pytest.raises(SettingError, match=r"store_path: .* allowed: a directory that is there"):
        makeService(Settings(store_path=str(tmp_path / "nowhere")))
