"""Files that lines are appended to: whole lines only, whatever happens to the disk, and through rotation."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jsonrpcs_tx.files.appendfile import AppendFile
from tests.support.files import ordinary_user


def test_lines(tmp_path: Path) -> None:
    """Lines go behind what is there, and are in the file at once. A file that is made is not for everybody."""
    path = tmp_path / "a.log"
    file = AppendFile(str(path))
    file.write(b"one\n")
    assert path.read_bytes() == b"one\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0
    AppendFile(str(path)).write(b"two\nthree\n")
    file.write(b"four\n")
    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"
    file.close()
    assert stat.S_IMODE(os.stat(AppendFile(str(tmp_path / "b"), 0o600).path).st_mode) == 0o600


def test_last_line_without_an_end(tmp_path: Path) -> None:
    """A last line that a crash has cut off is ended before the next one, at the start and when it is opened again."""
    path = tmp_path / "a.log"
    path.write_bytes(b"whole\ncut o")
    file = AppendFile(str(path))
    file.write(b"one\n")
    file.write(b"two\n")
    assert path.read_bytes() == b"whole\ncut o\none\ntwo\n"
    path.write_bytes(b"cut")
    file.reopen()
    file.write(b"three\n")
    assert path.read_bytes() == b"cut\nthree\n"


def test_reopen(tmp_path: Path) -> None:
    """Until the file is opened again, lines go to the renamed one, and then to the new one, whoever has made it."""
    path, former = tmp_path / "a.log", tmp_path / "a.log.1"
    file = AppendFile(str(path))
    file.write(b"one\n")
    path.rename(former)
    path.touch(0o604)
    file.write(b"two\n")
    file.reopen()
    file.write(b"three\n")
    assert (former.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    path.unlink()
    file.reopen()
    file.write(b"four\n")
    assert path.read_bytes() == b"four\n"


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path stays what it was when the working directory changes, as a daemon's does."""
    monkeypatch.chdir(tmp_path)
    file = AppendFile("a.log")
    monkeypatch.chdir("/")
    file.reopen()
    assert file.path == str(tmp_path / "a.log")


def test_no_reopen(tmp_path: Path) -> None:
    """Where the path cannot be opened again, the former file stays in use."""
    directory = tmp_path / "logs"
    directory.mkdir()
    file = AppendFile(str(directory / "a.log"))
    directory.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match=r"a\.log"):
        file.reopen()
    file.write(b"one\n")
    assert (tmp_path / "moved" / "a.log").read_bytes() == b"one\n"


def test_no_descriptor_is_lost(tmp_path: Path) -> None:
    """Opening again leaves no descriptor behind, whether it goes well or not."""
    file = AppendFile(str(tmp_path / "a.log"))
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        file.reopen()
    (tmp_path / "a.log").unlink()
    (tmp_path / "a.log").mkdir()
    for _ in range(20):
        with pytest.raises(IsADirectoryError):
            file.reopen()
    assert os.listdir("/proc/self/fd") == before


def test_cannot_be_opened(tmp_path: Path) -> None:
    """A file that cannot be opened is an error that names it; a FIFO without a reader is one, and is not waited for."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="fifo") as caught:
        AppendFile(str(tmp_path / "fifo"))
    assert caught.value.errno == errno.ENXIO
    (tmp_path / "private").write_bytes(b"")
    (tmp_path / "private").chmod(0o400)
    with ordinary_user(), pytest.raises(PermissionError):
        AppendFile(str(tmp_path / "private"))


def test_full_device() -> None:
    """A full disk is an error for each line."""
    file = AppendFile("/dev/full")
    for _ in range(3):
        with pytest.raises(OSError, match="No space left") as caught:
            file.write(b"x\n")
        assert caught.value.errno == errno.ENOSPC


def fill_up(path: str) -> None:
    """Write to a file that must not grow beyond 10 bytes, until it may again."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    file = AppendFile(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    for line in (b"12345\n", b"cut off\n", b"123\n", b"x\n"):
        try:
            file.write(line)
        except OSError as error:
            sys.stdout.write(f"{error.errno}\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    file.write(b"again\n")


@pytest.mark.slow
def test_disk_that_fills_up(tmp_path: Path) -> None:
    """A line that the disk has room for in part only is taken back; shorter ones and those after it are whole."""
    path = tmp_path / "a.log"
    code = f"from tests.files.test_appendfile import fill_up; fill_up({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(errno.EFBIG), str(errno.EFBIG)]
    assert path.read_bytes() == b"12345\n123\nagain\n"


def test_pipe_that_fills_up(tmp_path: Path) -> None:
    """A pipe whose reader stands still does not block the writer; a line that is cut off is ended."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = AppendFile(str(path))
    with pytest.raises(BlockingIOError):
        file.write(b"x" * 1_000_000 + b"\n")
    held = os.read(reader, 1_000_000)
    assert held == b"x" * len(held)
    file.write(b"again\n")
    assert os.read(reader, 100) == b"\nagain\n"
    os.close(reader)
