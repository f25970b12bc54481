"""Files that the server relies on: opened without waiting, in places that others cannot change."""

import os
import tempfile
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from jsonrpcs_tx.access.usersfile import UsersFile
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.files.safefiles import open_regular, weak_place
from jsonrpcs_tx.transports.tls import context_factory
from tests.support.files import STRANGER, ordinary_user
from tests.support.users import write

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")


def test_ordinary_file(tmp_path: Path) -> None:
    """A regular file is opened, by a link as well, and closed with it."""
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(str(tmp_path / name)) as file:
            assert file.read() == b"text"


def test_not_an_ordinary_file(tmp_path: Path) -> None:
    """A FIFO, a device or a directory is refused at once, and no descriptor is left."""
    os.mkfifo(tmp_path / "fifo")
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises((ValueError, IsADirectoryError)):
            open_regular(str(path))
    assert os.listdir("/proc/self/fd") == before


def test_certificate_that_is_a_fifo(tmp_path: Path) -> None:
    """A FIFO in the place of a certificate stops the start in words, instead of holding it up for ever."""
    os.mkfifo(tmp_path / "tls.pem")
    with pytest.raises(StartError, match=r"tls_certificate: .*tls\.pem: not a regular file; allowed: "):
        context_factory(Settings(run_dir=str(tmp_path), tls_certificate="tls.pem"))


@needs_root
def test_weak_places(tmp_path: Path) -> None:
    """A place is weak where the directory, or one above it, belongs to another user or can be written by others."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    file = str(inner / "file")
    assert weak_place(file) is None
    for directory in (inner, inner.parent):
        os.chown(directory, STRANGER, -1)
        assert weak_place(file) == f"{directory} belongs to user {STRANGER}"
        os.chown(directory, 0, STRANGER)
        for mode in (0o757, 0o775):
            directory.chmod(mode)
            assert weak_place(file) == f"{directory} can be written by others"
        directory.chmod(0o755)
        os.chown(directory, 0, 0)
    assert weak_place(file) is None


@needs_root
def test_sticky_places(tmp_path: Path) -> None:
    """A sticky directory protects what is in directories below it, but not a name beside a file in it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    tmp_path.chmod(0o1777)
    assert weak_place(str(inner / "file")) is None
    assert weak_place(str(tmp_path / "file")) == f"{tmp_path} can be written by others"


@needs_root
def test_link_to_a_weak_place(tmp_path: Path) -> None:
    """What counts is where a link leads to."""
    weak = tmp_path / "weak"
    weak.mkdir()
    os.chown(weak, STRANGER, -1)
    (tmp_path / "link").symlink_to("weak/file")
    assert weak_place(str(tmp_path / "link")) == f"{weak} belongs to user {STRANGER}"


@needs_root
def test_own_directory() -> None:
    """A directory of the user that the process runs as is not a weak place."""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, STRANGER, -1)
        with ordinary_user():
            assert weak_place(f"{directory}/file") is None


@needs_root
def test_users_in_a_weak_place(tmp_path: Path) -> None:
    """Users whose file another could replace are used, with one warning."""
    file = tmp_path / "users"
    write(file, "ann")
    os.chown(tmp_path, STRANGER, -1)
    with capturedLogs() as events:
        UsersFile(str(file), Clock())
    (line,) = (formatEvent(event) for event in events if "replace" in formatEvent(event))
    assert line == f"others could replace {file}: {tmp_path} belongs to user {STRANGER}"
