"""The files that a server makes: Unix sockets and FIFOs with their modes and owners, and no file of anyone else."""

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator

import attrs
from twisted.application.service import Service
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from jsonrpcs_tx.errors import StartError
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

SAFE_MODE = 0o600
"""What a mode of 0 becomes: nobody could use the file, or, as a mode that is not set, everybody."""

MOST_OWNER = 2**32 - 2
"""The highest number of a user or group: the next one stands for none."""

MAX_SOCKET_PATH = 107
"""Bytes of a path that a Unix socket's address has room for (unix(7))."""

LOOK_INTERVAL = 2.0
"""Seconds after which it is looked again whether a file is still there."""


@attrs.frozen
class Access:
    """Who may use a file that the server makes.

    @ivar prefix: of the settings it comes from, C{fifo} or C{dgram}, for messages.
    @ivar mode: the permission bits.
    @ivar user: name or number of the owner; empty: that of the process.
    @ivar group: likewise of the group.
    """

    prefix: str
    mode: int
    user: str | int = ""
    group: str | int = ""

    def apply(self, path: str) -> None:
        """Give a file that was just made its owner and its mode.

        @raise StartError: the user or group does not exist, or the process may not give files to it.
        """
        uid = _number(self.user, f"{self.prefix}_user", lambda name: pwd.getpwnam(name).pw_uid)
        gid = _number(self.group, f"{self.prefix}_group", lambda name: grp.getgrnam(name).gr_gid)
        mode = self.mode
        if not mode:
            _log.warn("{prefix}_mode 0 is unsafe; {path} gets 0600", prefix=self.prefix, path=path)
            mode = SAFE_MODE
        try:
            if (uid, gid) != (-1, -1):
                os.chown(path, uid, gid)
            os.chmod(path, mode)
        except OSError as error:
            wanted = f"{self.prefix}_user {self.user!r}, {self.prefix}_group {self.group!r}"
            raise StartError(f"{wanted}: {path}: {error.strerror}; allowed: owners the process may give") from None


def _number(owner: str | int, setting: str, look_up: Callable[[str], int]) -> int:
    if owner == "":
        return -1
    if isinstance(owner, int):
        if not 0 <= owner <= MOST_OWNER:
            raise StartError(f"{setting}: {owner} is no user or group; allowed: a name, or a number up to {MOST_OWNER}")
        return owner
    try:
        return look_up(owner)
    except KeyError:
        raise StartError(f"{setting}: {owner!r} does not exist here; allowed: a known name, or a number") from None


@attrs.frozen
class OwnFile:
    """A file that this server made, known by its inode so that no other is ever removed."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> "OwnFile":
        status = os.lstat(path)
        return cls(path, status.st_dev, status.st_ino)

    def is_there(self) -> bool:
        """Whether the path still names this file."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.device, self.inode)

    def remove(self) -> None:
        """Remove the file, if it is still there; a failure is logged."""
        if self.is_there():
            try:
                os.unlink(self.path)
            except OSError as error:
                _log.warn("{path} stays behind: {reason}", path=self.path, reason=error.strerror)


def make_fifo(setting: str, path: str, access: Access) -> OwnFile:
    """Make a FIFO, in the place of one that no process reads any more.

    @raise StartError: it cannot be made, a process reads the one that is there, or the path names another file.
    """
    _clear(setting, path, stat.S_ISFIFO, _fifo_has_reader, "a FIFO")
    with _reported(setting, path), _private_umask():
        os.mkfifo(path, SAFE_MODE)
    return _finish(path, access)


def bind_unix(setting: str, path: str, sock: socket.socket, access: Access) -> OwnFile:
    """Bind a socket to a path, in the place of a socket that no process reads any more.

    @raise StartError: it cannot be bound, a process reads the one that is there, or the path names another file.
    """
    _clear(setting, path, stat.S_ISSOCK, _socket_has_reader, "a socket")
    with _reported(setting, path), _private_umask():
        sock.bind(_address(path))
    return _finish(path, access)


def _finish(path: str, access: Access) -> OwnFile:
    made = OwnFile.at(path)
    try:
        access.apply(path)
    except StartError:
        made.remove()
        raise
    return made


def _clear(
    setting: str, path: str, is_type: Callable[[int], bool], is_alive: Callable[[str], bool], type_name: str
) -> None:
    """Remove what a dead server left at a path."""
    with _reported(setting, path):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if not is_type(mode):
            raise StartError(f"{setting}: {path} is not {type_name}; allowed: a new path, or {type_name}'s")
        if is_alive(path):
            raise StartError(f"{setting}: {path} is in use by a running server; allowed: a path of its own for each")
        os.unlink(path)


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
            if error.errno != errno.EPROTOTYPE:  # a live socket, if of another type
                raise
    return True


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
        raise StartError(f"{setting}: {path}: {reason}; allowed: a path that the process can make") from None


class FileKeeper:
    """Has a service start anew when somebody has removed its file; cleaners of directories do that.

    @param service: its C{startService} makes the file.
    """

    def __init__(self, service: Service, clock: IReactorTime) -> None:
        self._service = service
        self._clock = clock
        self._file: OwnFile | None = None
        self._next: IDelayedCall | None = None

    def keep(self, file: OwnFile) -> None:
        """Look after a file from now on."""
        self._file = file
        self._next = self._clock.callLater(LOOK_INTERVAL, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _look(self) -> None:
        assert self._file is not None
        if self._file.is_there() or os.path.lexists(self._file.path):  # what another has put there is not touched
            self.keep(self._file)
        else:
            _log.warn("{path} was removed; it is made again", path=self._file.path)
            self._restart()

    def _restart(self) -> None:
        def start(_: object) -> None:
            if self._service.parent is None or self._service.parent.running:
                self._service.startService()

        def failed(failure: Failure) -> None:
            _log.error("{reason}", reason=failure.getErrorMessage())
            self._next = self._clock.callLater(LOOK_INTERVAL, self._restart)

        maybeDeferred(self._service.stopService).addCallback(start).addErrback(failed)
