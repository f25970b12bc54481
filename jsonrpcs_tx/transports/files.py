"""The files that a server makes: Unix sockets and FIFOs with modes and owners. Files of others are left alone."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from jsonrpcs_tx.config.problems import Problems
from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.files import owners
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.transports.filewatch import FileWatch

_log = make_logger(__name__)

SAFE_MODE = 0o600
"""What a mode of 0 becomes: with it nobody could use the file, or everybody if it meant that no mode is set."""

MAX_SOCKET_PATH = 107
"""Bytes of a path that a Unix socket's address has room for (unix(7))."""

LOOK_INTERVAL = 2.0
"""Seconds between two checks whether a file is still there, where it cannot be watched."""

SLOW_LOOK_INTERVAL = 60.0
"""The same where it is watched: a directory above its own may have been renamed."""

LOOK_DELAY = 1.0
"""Seconds after which a removed file is made again, so that nobody can keep the server busy by removing it."""


@attrs.frozen
class Ownership:
    """Who owns a file that the server makes, and who may use it.

    @ivar prefix: of the settings it comes from, C{fifo} or C{dgram}, for messages.
    @ivar mode: the permission bits; 0 is taken as L{SAFE_MODE}.
    @ivar user: name or number of the owner; empty: that of the process.
    @ivar group: name or number of its group; empty: that of the process.
    """

    prefix: str
    mode: int
    user: str | int = ""
    group: str | int = ""

    def check(self, path: str, problems: Problems) -> None:
        """Check that a file can be given its owner.

        @param path: of the file, for messages.
        @param problems: takes what is wrong: the user or group does not exist, or the process may not give files to it.
        """
        uid = gid = -1
        with problems.noted():
            uid = _number(owners.uid_of, self.user, f"{self.prefix}_user")
        with problems.noted():
            gid = _number(owners.gid_of, self.group, f"{self.prefix}_group")
        if not owners.may_give(uid, gid):
            problems.note(self._not_given(path, os.strerror(errno.EPERM)))

    def _not_given(self, path: str, reason: str | None) -> StartError:
        settings, values = f"{self.prefix}_user, {self.prefix}_group", f"{self.user!r}, {self.group!r}"
        return StartError(settings, values, f"{path}: {reason}", "owners that the process may give it")

    def apply(self, fd: int, path: str) -> None:
        """Give a file that was just made its owner and its mode.

        @param fd: a descriptor of the file, with C{O_PATH} or not. If a path were used, the owner of the directory
            could have another file changed instead.
        @param path: for messages.
        @raise StartError: the user or group does not exist, or the process may not give files to it.
        """
        uid = _number(owners.uid_of, self.user, f"{self.prefix}_user")
        gid = _number(owners.gid_of, self.group, f"{self.prefix}_group")
        mode = self.mode
        if not mode:
            _log.warn("{prefix}_mode 0 is unsafe; {path} gets 0600", prefix=self.prefix, path=path)
            mode = SAFE_MODE
        try:
            if (uid, gid) != (-1, -1):
                os.chown(_same(fd), uid, gid)
            os.chmod(_same(fd), mode)
        except OSError as error:
            raise self._not_given(path, error.strerror) from None


def _number(number_of: Callable[[str | int], int], owner: str | int, setting: str) -> int:
    """The number of an owner; -1, which leaves it as it is, for an empty one."""
    try:
        return -1 if owner == "" else number_of(owner)
    except owners.UnknownOwner as error:
        allowed = f"a known name, or a number up to {owners.MAX_ID}"
        raise StartError(setting, error.shown, error.reason, allowed) from None


@attrs.frozen
class OwnFile:
    """A file that this server made, known by its inode so that no other is ever removed."""

    path: str
    device: int
    inode: int

    def is_there(self) -> bool:
        """Whether the path still names this file."""
        try:
            return self._is(os.lstat(self.path))
        except OSError:
            return False

    def open(self, flags: int) -> int:
        """Open this file and no other.

        @return: the descriptor.
        @raise OSError: it is no longer there, or may not be opened with these flags.
        """
        fd = os.open(self.path, _LOOK)
        try:
            if not self._is(os.fstat(fd)):
                raise FileNotFoundError(errno.ENOENT, "another file has taken its place")
            return os.open(_same(fd), flags)
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove the file, if it is still there; a failure is logged.

        Whoever may write to the directory can still have another file of theirs removed, but none elsewhere.
        """
        if not self.is_there():
            return
        try:
            with _directory_of(self.path) as (directory, name):
                if self._is(os.stat(name, dir_fd=directory, follow_symlinks=False)):
                    os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warn("{path} is left behind: {reason}", path=self.path, reason=error.strerror)

    def _is(self, status: os.stat_result) -> bool:
        return (status.st_dev, status.st_ino) == (self.device, self.inode)


_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
"""Opens whatever a name stands for, even a link, without doing anything to it."""


def _same(fd: int) -> str:
    """A path that leads to what a descriptor stands for, whatever has become of its name."""
    return f"/proc/self/fd/{fd}"


@contextlib.contextmanager
def _directory_of(path: str) -> Iterator[tuple[int, str]]:
    """Open the directory of a file, so that it stays the same whatever becomes of its own name.

    @return: a context manager that gives a descriptor of the directory, and the file's name in it.
    """
    directory, name = os.path.split(path)
    fd = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd, name
    finally:
        os.close(fd)


def check_fifo(setting: str, path: str, ownership: Ownership, problems: Problems) -> None:
    """Check that L{make_fifo} can make a FIFO, as far as that shows without making it.

    @param problems: takes what is wrong.
    """
    _check(setting, path, _FIFO, problems)
    ownership.check(path, problems)


def check_unix(setting: str, path: str, ownership: Ownership, problems: Problems) -> None:
    """Check that L{bind_unix} can bind a socket, as far as that shows without doing it.

    @param problems: takes what is wrong.
    """
    if len(os.fsencode(_address(path))) > MAX_SOCKET_PATH:
        problems.note(StartError(setting, path, "too long", f"{MAX_SOCKET_PATH} bytes"))
    else:
        _check(setting, path, _SOCKET, problems)
    ownership.check(path, problems)


def _check(setting: str, path: str, kind: "_Kind", problems: Problems) -> None:
    """Check that a file of a kind can be made at a path, where there must be no file or one of that kind."""
    with problems.noted(), _reported(setting, path), _directory_of(path) as (directory, name):
        with contextlib.suppress(FileNotFoundError):
            _check_type(setting, path, os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode, kind)
        if not os.access(_same(directory), os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def make_fifo(setting: str, path: str, ownership: Ownership) -> OwnFile:
    """Make a FIFO, replacing one that no process reads any longer.

    @raise StartError: it cannot be made, a process reads the one that is there, or the path names another file.
    """
    with _reported(setting, path), _directory_of(path) as (directory, name):
        _clear(setting, path, directory, _FIFO)
        with _private_umask():
            os.mkfifo(name, SAFE_MODE, dir_fd=directory)
        return _finish(setting, path, directory, _FIFO, ownership)


def bind_unix(setting: str, path: str, sock: socket.socket, ownership: Ownership) -> OwnFile:
    """Bind a socket to a path, replacing a socket that no process reads any longer.

    @raise StartError: it cannot be bound, a process reads the one that is there, or the path names another file.
    """
    with _reported(setting, path), _directory_of(path) as (directory, _):
        _clear(setting, path, directory, _SOCKET)
        with _private_umask():
            sock.bind(_address(path))  # not in a directory of its own: clients see the path that was bound
        return _finish(setting, path, directory, _SOCKET, ownership)


def replaced(setting: str, path: str) -> StartError:
    """What to raise if another file is found in the place of the one that was just made."""
    allowed = "a directory that nobody else changes at the start"
    return StartError(setting, path, "another file has taken its place", allowed)


def _finish(setting: str, path: str, directory: int, kind: "_Kind", ownership: Ownership) -> OwnFile:
    """Give a new file its owner and mode, once it is certain to be the one that was made.

    Whoever may write to the directory can put another in its place at any time.
    """
    fd = os.open(os.path.basename(path), _LOOK, dir_fd=directory)
    try:
        status = os.fstat(fd)
        if not kind.is_type(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise replaced(setting, path)
        made = OwnFile(path, status.st_dev, status.st_ino)
        try:
            ownership.apply(fd, path)
        except StartError:
            made.remove()
            raise
        return made
    finally:
        os.close(fd)


def _clear(setting: str, path: str, directory: int, kind: "_Kind") -> None:
    """Remove what a dead server left at a path.

    @param directory: a descriptor of the directory that the path is in.
    """
    name = os.path.basename(path)
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    _check_type(setting, path, mode, kind)
    if kind.is_alive(path):
        raise StartError(setting, path, "in use by a running server", "a path of its own for each")
    os.unlink(name, dir_fd=directory)


def _check_type(setting: str, path: str, mode: int, kind: "_Kind") -> None:
    if not kind.is_type(mode):
        raise StartError(setting, path, f"not {kind.name}", f"a new path, or {kind.name}'s")


def _fifo_has_reader(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def _address(path: str) -> str:
    """A path that a socket address has room for, if there is one."""
    return path if len(os.fsencode(path)) <= MAX_SOCKET_PATH else os.path.relpath(path)


def _socket_has_reader(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_address(path))
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                return False
            if error.errno != errno.EPROTOTYPE:  # it is in use, by a socket of another type
                raise
    return True


@attrs.frozen
class _Kind:
    """A kind of file that a server makes.

    @ivar name: with its article, for messages.
    @ivar is_type: whether a mode is that of such a file.
    @ivar is_alive: whether a process reads the one at a path.
    """

    name: str
    is_type: Callable[[int], bool]
    is_alive: Callable[[str], bool]


_FIFO: Final = _Kind("a FIFO", stat.S_ISFIFO, _fifo_has_reader)
_SOCKET: Final = _Kind("a socket", stat.S_ISSOCK, _socket_has_reader)


@contextlib.contextmanager
def _private_umask() -> Iterator[None]:
    """Let nobody else open the file before it has its mode."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _reported(setting: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(setting, path, reason, "a path that the process can make") from None


class FileKeeper:
    """Restarts a service when somebody has removed its file, as cleaners of directories do.

    @param service: its C{startService} makes the file.
    @param reactor: tells when to look; it watches the file as well, if it can.
    """

    def __init__(self, service: Service, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor
        self._file: OwnFile | None = None
        self._watch: FileWatch | None = None
        self._next: IDelayedCall | None = None

    def keep(self, file: OwnFile) -> None:
        """Watch a file from now on."""
        self._file = file
        if hasattr(self._reactor, "addReader"):
            with contextlib.suppress(OSError):
                self._watch = FileWatch(file.path, self._look_soon, self._reactor)
        self._look_later()

    def stop(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _look_later(self) -> None:
        assert self._file is not None
        watched = self._watch is not None and self._file.is_there()
        self._next = self._reactor.callLater(SLOW_LOOK_INTERVAL if watched else LOOK_INTERVAL, self._look)

    def _look_soon(self) -> None:
        if self._next is not None and self._next.getTime() > self._reactor.seconds() + LOOK_DELAY:
            self._next.reset(LOOK_DELAY)

    def _look(self) -> None:
        assert self._file is not None
        if self._file.is_there() or os.path.lexists(self._file.path):  # what another has put there is not touched
            self._look_later()
        else:
            _log.warn("{path} was removed; it is made again", path=self._file.path)
            self._restart()

    def _restart(self) -> None:
        def start(_: object) -> None:
            if self._service.parent is None or self._service.parent.running:
                self._service.startService()

        def failed(failure: Failure) -> None:
            _log.error("{reason}", reason=failure.getErrorMessage())
            self._next = self._reactor.callLater(LOOK_INTERVAL, self._restart)

        maybeDeferred(self._service.stopService).addCallback(start).addErrback(failed)
