"""The files of a server: modes, owners, what dead servers left, and the files of others."""

import contextlib
import grp
import os
import pwd
import re
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import SkipTest

import pytest
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.transports.files import SAFE_MODE, Ownership, OwnFile, bind_unix, make_fifo
from tests.support.files import STRANGER, make_directory, ordinary_user
from tests.support.logs import warnings


class FilesCase(SynchronousTestCase):
    """A directory, and both kinds of files in it."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.path = str(self.directory / "made")

    def new_fifo(self, ownership: Ownership | None = None) -> OwnFile:
        return make_fifo("fifo_name", self.path, ownership or Ownership("fifo", 0o660))

    def new_socket(self, ownership: Ownership | None = None) -> OwnFile:
        return bind_unix("dgram_socket", self.path, self.open_socket(), ownership or Ownership("dgram", 0o660))

    def open_socket(self, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(sock.close)
        return sock

    def each(self) -> Iterator[tuple[str, Callable[[Ownership | None], OwnFile]]]:
        """The prefix of the settings and the function that makes the file, for both kinds; it is gone in between."""
        for prefix, make in (("fifo", self.new_fifo), ("dgram", self.new_socket)):
            yield prefix, make
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def refused(self, make: Callable[[Ownership | None], OwnFile], ownership: Ownership | None = None) -> str:
        """The message that refuses the start."""
        with pytest.raises(StartError) as refusal:
            make(ownership)
        return str(refusal.value)


class OwnershipTests(FilesCase):
    """Modes and owners."""

    def test_types(self) -> None:
        """A FIFO and a socket are made, and known by their inodes."""
        for is_type, make in ((stat.S_ISFIFO, self.new_fifo), (stat.S_ISSOCK, self.new_socket)):
            made = make()
            status = os.lstat(self.path)
            assert is_type(status.st_mode)
            assert made == OwnFile(self.path, status.st_dev, status.st_ino)
            made.remove()

    def test_mode(self) -> None:
        """A file gets just the mode that is set, whatever the umask, and the umask stays as it was."""
        self.addCleanup(os.umask, os.umask(0o027))
        for prefix, make in self.each():
            for mode in (0o600, 0o660, 0o666, 0o622):
                made = make(Ownership(prefix, mode))
                assert stat.S_IMODE(os.lstat(self.path).st_mode) == mode
                made.remove()
        assert os.umask(0o027) == 0o027

    def test_mode_zero(self) -> None:
        """Mode 0 becomes 0600, and the log warns of it by the name of the setting."""
        for prefix, make in self.each():
            with capturedLogs() as events:
                make(Ownership(prefix, 0))
            assert stat.S_IMODE(os.lstat(self.path).st_mode) == SAFE_MODE
            assert warnings(events) == [f"{prefix}_mode 0 is unsafe; {self.path} gets 0600"]

    def test_own_user_and_group(self) -> None:
        """The process's own user and group are taken by name and by number."""
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
        for prefix, make in self.each():
            for owner, owners in ((user.pw_uid, group.gr_gid), (user.pw_name, group.gr_name)):
                made = make(Ownership(prefix, 0o640, owner, owners))
                status = os.lstat(self.path)
                assert (status.st_uid, status.st_gid) == (user.pw_uid, group.gr_gid)
                assert stat.S_IMODE(status.st_mode) == 0o640
                made.remove()

    def test_other_user_and_group(self) -> None:
        """Root gives files to other users and groups, by name and number, and each alone leaves the other as it is."""
        if os.geteuid():
            raise SkipTest("only root may give files away")
        user, group = pwd.getpwall()[-1], grp.getgrall()[-1]
        for prefix, make in self.each():
            for owner, owners, expected in (
                (STRANGER, STRANGER - 1, (STRANGER, STRANGER - 1)),
                (user.pw_name, group.gr_name, (user.pw_uid, group.gr_gid)),
                (STRANGER, "", (STRANGER, os.getegid())),
                ("", STRANGER, (0, STRANGER)),
            ):
                made = make(Ownership(prefix, 0o660, owner, owners))
                status = os.lstat(self.path)
                assert (status.st_uid, status.st_gid) == expected
                assert stat.S_IMODE(status.st_mode) == 0o660
                made.remove()

    def test_unknown_owner(self) -> None:
        """A user or group that does not exist is refused with the setting, the value and what is allowed."""
        for prefix, make in self.each():
            for setting, ownership in (
                ("user", Ownership(prefix, 0o660, user="no-such-user")),
                ("group", Ownership(prefix, 0o660, group="no-such-user")),
            ):
                message = f"{prefix}_{setting}: 'no-such-user': does not exist here; allowed: "
                assert self.refused(make, ownership) == f"{message}a known name, or a number up to {2**32 - 2}"
                assert not os.path.lexists(self.path)

    def test_impossible_owner(self) -> None:
        """A number that no user can have is refused like any other wrong owner, and no file is left behind."""
        for prefix, make in self.each():
            for number in (2**32 - 1, 2**32, 2**64):
                assert re.search(
                    rf"{prefix}_user.*{number}.*allowed", self.refused(make, Ownership(prefix, 0o660, user=number))
                )
                assert not os.path.lexists(self.path)

    def test_owner_without_right(self) -> None:
        """An ordinary user cannot give files to root: that is refused with a clear error, and no file is left
        behind."""
        self.directory.parent.chmod(0o755)
        self.directory.chmod(0o777)
        for prefix, make in self.each():
            with ordinary_user():
                message = self.refused(make, Ownership(prefix, 0o660, user=0, group="root"))
            for part in (
                f"{prefix}_user, {prefix}_group: 0, 'root': {self.path}: ",
                "not permitted",
                "allowed: owners",
            ):
                assert part in message
            assert not os.path.lexists(self.path)


class SwapTests(FilesCase):
    """Whoever may write to the directory puts a link to another file in the place of the new one, at any moment."""

    def setUp(self) -> None:
        super().setUp()
        self.victim = self.directory / "victim"
        self.victim.write_text("root only")
        self.victim.chmod(0o600)
        self.before = self.facts(self.victim)

    def facts(self, path: Path) -> tuple[int, int, int, int]:
        status = os.stat(path)
        return status.st_mode, status.st_uid, status.st_gid, status.st_nlink

    def swap(self) -> None:
        """Have the path lead to the victim."""
        os.rename(self.path, self.path + ".moved")
        os.symlink("victim", self.path)

    def swap_around(self, name: str, before: bool, swap: Callable[[], object] | None = None) -> None:
        """Swap when a function of os is called for the next time, just before it or behind it."""
        function = getattr(os, name)

        def swapping(*arguments: object, **options: object) -> object:
            patched.restore()
            if before:
                (swap or self.swap)()
            result = function(*arguments, **options)
            if not before:
                (swap or self.swap)()
            return result

        patched = self.patch(os, name, swapping)

    def ownership(self, prefix: str) -> Ownership:
        return Ownership(prefix, 0o666) if os.geteuid() else Ownership(prefix, 0o666, STRANGER, STRANGER)

    def test_between_making_and_opening(self) -> None:
        """Swapped as soon as it is made, the start is refused, and no other file is touched."""
        self.swap_around("mkfifo", before=False)
        assert "another file has taken its place; allowed:" in self.refused(self.new_fifo, self.ownership("fifo"))
        assert self.facts(self.victim) == self.before

        class Swapped(socket.socket):
            def bind(sock, address: str) -> None:  # type: ignore[override] # self is the test
                super().bind(address)
                os.unlink(self.path + ".moved")
                self.swap()

        os.unlink(self.path)
        with Swapped(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, pytest.raises(StartError, match="taken its place"):
            bind_unix("dgram_socket", self.path, sock, self.ownership("dgram"))
        assert self.facts(self.victim) == self.before

    def test_before_owner_and_mode(self) -> None:
        """Swapped just before its owner or its mode is set, it gets both where it has been moved to, and no other."""
        for prefix, make in self.each():
            for name in ("chmod",) if os.geteuid() else ("chown", "chmod"):
                self.swap_around(name, before=True)
                made = make(self.ownership(prefix))
                assert self.facts(self.victim) == self.before
                moved = Path(self.path + ".moved")
                assert stat.S_IMODE(moved.stat().st_mode) == 0o666
                assert not made.is_there()
                moved.unlink()
                os.unlink(self.path)

    def test_another_fifo(self) -> None:
        """A FIFO that has another name, or belongs to another user, is not taken for the new one."""

        def put_link() -> None:
            os.mkfifo(self.path + ".other", 0o600)
            os.rename(self.path + ".other", self.path)
            os.link(self.path, self.path + ".other")

        def put_strangers() -> None:
            os.unlink(self.path)
            os.mkfifo(self.path, 0o600)
            os.chown(self.path, STRANGER, STRANGER)

        for put in (put_link,) if os.geteuid() else (put_link, put_strangers):
            self.swap_around("mkfifo", before=False, swap=put)
            assert "another file has taken its place" in self.refused(self.new_fifo, Ownership("fifo", 0o666))
            assert stat.S_IMODE(os.lstat(self.path).st_mode) == 0o600
            os.unlink(self.path)

    def test_before_it_is_opened(self) -> None:
        """Swapped before it is opened for reading, it cannot be opened: no other file is read in its place."""
        made = self.new_fifo()
        self.swap()
        with pytest.raises(FileNotFoundError):
            made.open(os.O_RDWR | os.O_NONBLOCK)

    def test_while_it_is_removed(self) -> None:
        """Where the directory becomes a link while the file is removed, no file of that name is removed elsewhere."""
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "made").write_text("precious")
        inner = self.directory / "inner"
        inner.mkdir()
        self.path = str(inner / "made")
        made = self.new_fifo()

        def swap() -> None:
            inner.rename(self.directory / "inner.moved")
            inner.symlink_to("elsewhere")

        self.swap_around("unlink", before=True, swap=swap)
        made.remove()
        assert (elsewhere / "made").read_text() == "precious"
        assert os.listdir(self.directory / "inner.moved") == []


class StaleFilesTests(FilesCase):
    """What is at the path already."""

    def test_dead_fifo(self) -> None:
        """A FIFO that nobody reads is replaced."""
        os.mkfifo(self.path, 0o600)
        keeper = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # its inode is not used again while it is open
        inode = os.fstat(keeper).st_ino
        message = self.refused(self.new_fifo)
        assert os.lstat(self.path).st_ino == inode
        assert message == f"fifo_name: {self.path}: in use by a running server; allowed: a path of its own for each"
        os.close(keeper)
        self.new_fifo(Ownership("fifo", 0o620))
        assert stat.S_IMODE(os.lstat(self.path).st_mode) == 400

    def test_dead_socket(self) -> None:
        """A socket whose process is gone is replaced, of whatever type it was."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_UNIX, kind) as dead:
                dead.bind(self.path)
            os.chmod(self.path, 0o600)
            made = self.new_socket(Ownership("dgram", 0o620))
            assert stat.S_IMODE(os.lstat(self.path).st_mode) == 400
            made.remove()

    def test_live_socket(self) -> None:
        """A socket that a process reads is refused, of whatever type it is, and still works."""
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            live = self.open_socket(kind)
            live.bind(self.path)
            if kind != socket.SOCK_DGRAM:
                live.listen()
            assert (
                self.refused(self.new_socket)
                == f"dgram_socket: {self.path}: in use by a running server; allowed: a path of its own for each"
            )
            with socket.socket(socket.AF_UNIX, kind) as client:
                client.connect(self.path)
            live.close()
            os.unlink(self.path)

    def test_live_connected_socket(self) -> None:
        """A datagram socket that takes datagrams from one peer only is in use all the same."""
        live, peer = self.open_socket(), self.open_socket()
        peer.bind(str(self.directory / "peer"))
        live.bind(self.path)
        live.connect(str(self.directory / "peer"))
        self.refused(self.new_socket)
        assert stat.S_ISSOCK(os.lstat(self.path).st_mode)

    def test_other_files(self) -> None:
        """A file of another type is refused with the setting and the path, and stays as it is."""
        target = self.directory / "target"
        makers: tuple[Callable[[], object], ...] = (
            lambda: Path(self.path).write_text("precious"),
            lambda: os.mkdir(self.path),
            lambda: os.symlink("target", self.path),
            lambda: os.symlink("nowhere", self.path),
        )
        for make in (self.new_fifo, self.new_socket):
            setting, name = ("fifo_name", "a FIFO") if make == self.new_fifo else ("dgram_socket", "a socket")
            # A link is refused even where it leads to what would be replaced.
            if make == self.new_fifo:
                os.mkfifo(target)
            else:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
                    dead.bind(str(target))
            for maker in makers:
                maker()
                before = os.lstat(self.path)
                expected = f"{setting}: {self.path}: not {name}; allowed: a new path, or {name}'s"
                assert self.refused(make) == expected
                after = os.lstat(self.path)
                assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
                if stat.S_ISDIR(after.st_mode):
                    os.rmdir(self.path)
                else:
                    os.unlink(self.path)
            assert target.exists()
            target.unlink()

    def test_each_others(self) -> None:
        """A FIFO is not replaced by a socket, nor a socket by a FIFO, however dead."""
        os.mkfifo(self.path)
        assert "not a socket" in self.refused(self.new_socket)
        assert stat.S_ISFIFO(os.lstat(self.path).st_mode)
        os.unlink(self.path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(self.path)
        assert "not a FIFO" in self.refused(self.new_fifo)
        assert stat.S_ISSOCK(os.lstat(self.path).st_mode)

    def test_bad_paths(self) -> None:
        """A path where nothing can be made is refused with the setting, the path, the reason and what is allowed."""
        too_long = str(self.directory / ("x" * 200))
        for path in (str(self.directory / "nowhere" / "made"), too_long):
            self.path = path
            for prefix, make in self.each():
                if (prefix, path) == ("fifo", too_long):
                    continue  # a FIFO's path may be that long
                setting = {"fifo": "fifo_name", "dgram": "dgram_socket"}[prefix]
                message = self.refused(make)
                assert message.startswith(f"{setting}: {path}: "), message
                assert "; allowed: a path that the process can make" in message

    def test_no_right_to_the_directory(self) -> None:
        """A directory that the process may not write to is refused in words."""
        self.directory.parent.chmod(0o755)
        self.directory.chmod(0o555)
        for _, make in self.each():
            with ordinary_user():
                assert f"{self.path}: Permission denied; allowed:" in self.refused(make)


class OwnFileTests(FilesCase):
    """What is removed at the stop."""

    def test_removed(self) -> None:
        """The file that was made is removed, and that it is gone already does no harm."""
        for _, make in self.each():
            made = make(None)
            assert made.is_there()
            made.remove()
            assert not os.path.lexists(self.path)
            assert not made.is_there()
            with capturedLogs() as events:
                made.remove()
            assert warnings(events) == []

    def test_another_in_its_place(self) -> None:
        """A file that another made at the path stays, of the same type or not."""
        for _, make in self.each():
            made = make(None)
            os.rename(self.path, self.path + ".moved")
            for other in (os.mkfifo, os.mkdir, lambda path: os.symlink(path + ".moved", path)):
                other(self.path)
                assert not made.is_there()
                made.remove()
                assert os.path.lexists(self.path)
                if other is os.mkdir:
                    os.rmdir(self.path)
                else:
                    os.unlink(self.path)
            os.unlink(self.path + ".moved")

    def test_cannot_be_removed(self) -> None:
        """A file that may not be removed stays, and the log says which and why."""
        self.directory.parent.chmod(0o755)
        made = self.new_fifo()
        self.directory.chmod(0o555)
        with ordinary_user(), capturedLogs() as events:
            made.remove()
        self.directory.chmod(0o755)
        assert warnings(events) == [f"{self.path} is left behind: Permission denied"]
        assert made.is_there()
