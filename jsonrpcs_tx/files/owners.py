"""Users and groups of this machine, by name or number, and what they may do with files."""

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

import attrs

MAX_ID: Final = 2**32 - 2
"""The highest number of a user or group; the next number means no user."""

CAP_CHOWN: Final = 0
"""The number of the capability to give files to others."""
CAP_DAC_OVERRIDE: Final = 1
"""The number of the capability to use files whatever their modes are."""

_MAX_DIGITS: Final = len(str(MAX_ID))


class UnknownOwner(ValueError):
    """There is no such user or group.

    @ivar shown: the name or number, for messages.
    @ivar reason: what is wrong with it, in words.
    """

    def __init__(self, shown: str, reason: str) -> None:
        super().__init__(f"{shown} {reason}")
        self.shown = shown
        self.reason = reason


def uid_of(user: str | int) -> int:
    """The number of a user.

    @param user: a name, or a number, which may be a string of digits.
    @raise UnknownOwner: there is no such user.
    """
    return _number(str(user), lambda name: pwd.getpwnam(name).pw_uid)


def gid_of(group: str | int) -> int:
    """The number of a group; see L{uid_of}."""
    return _number(str(group), lambda name: grp.getgrnam(name).gr_gid)


def may_give(uid: int, gid: int) -> bool:
    """Whether this process may give its files to a user and a group.

    @param uid: the number of the user; -1: the files stay this process's.
    @param gid: the number of the group; -1: that of the process.
    """
    to_itself = uid in (-1, os.geteuid()) and gid in (-1, os.getegid(), *os.getgroups())
    return to_itself or has_capability(CAP_CHOWN)


def has_capability(capability: int) -> bool:
    """Whether this process has a capability (capabilities(7)).

    @param capability: its number.
    """
    try:
        with open("/proc/self/status", "rb") as file:
            effective = re.search(rb"^CapEff:\s*([0-9a-f]+)$", file.read(), re.MULTILINE)
    except OSError:
        effective = None
    return not os.geteuid() if effective is None else bool(int(effective[1], 16) >> capability & 1)


def _number(owner: str, look_up: Callable[[str], int]) -> int:
    if not re.fullmatch("[0-9]+", owner):
        try:
            return look_up(owner)
        except KeyError:
            raise UnknownOwner(repr(owner), "does not exist here") from None
    if len(owner) > _MAX_DIGITS or int(owner) > MAX_ID:
        raise UnknownOwner(owner, "is too high")
    return int(owner)


@attrs.frozen
class User:
    """A user that a root process becomes, with a primary group and further ones.

    @ivar name: for messages.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str

    def __str__(self) -> str:
        return f"user {self.name} (uid {self.uid}, gid {self.gid})"

    @contextmanager
    def rights(self) -> Iterator[None]:
        """Have this user's rights to files for a while, and no others. The process must run as root; the whole process,
        with all threads, is changed.
        """
        uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
        try:
            os.setgroups(self.groups)
            os.setegid(self.gid)
            os.seteuid(self.uid)
            yield
        finally:
            os.seteuid(uid)
            os.setegid(gid)
            os.setgroups(groups)

    def obstacle(self, path: str, mode: int) -> str | None:
        """What keeps the user from something.

        @param path: of a file or directory.
        @param mode: what the user wants to do with it, as C{os.access} takes it.
        @return: the reason in words; None: nothing does. A missing file is not an obstacle.
        """
        path = os.path.realpath(path)
        with self.rights():
            for directory in _above(path):
                if not _may(directory, os.X_OK):
                    return f"{self} may not enter {directory}"
            if not _may(path, mode):
                verbs = (("read", os.R_OK), ("write", os.W_OK), ("enter" if os.path.isdir(path) else "run", os.X_OK))
                return f"{self} may not {' and '.join(verb for verb, bit in verbs if mode & bit)} it"
        return None

    def obstacle_to_change(self, directory: str) -> str | None:
        """What keeps the user from making and removing files in a directory, whoever has made them; see L{obstacle}."""
        may = self.obstacle(directory, os.W_OK | os.X_OK) is None
        return None if may else f"{self} may not remove it from {directory}"

    def obstacle_to_removal(self, path: str) -> str | None:
        """What keeps the user from removing a file, and from making it again; see L{obstacle}."""
        directory = os.path.dirname(path) or "."
        if (reason := self.obstacle_to_change(directory)) is not None:
            return reason
        around, file = os.stat(directory), os.lstat(path)
        if around.st_mode & stat.S_ISVTX and self.uid not in (0, around.st_uid, file.st_uid):
            return f"{self} may not remove it from {directory}, which is sticky: it belongs to user {file.st_uid}"
        return None

    def take(self, path: str) -> None:
        """Make the user the owner of a file, if it is a regular file that belongs to the process's user and has no
        other name; any other file stays as it is.

        @raise OSError: it cannot be opened, or cannot be given away.
        """
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
                os.chown(f"/proc/self/fd/{fd}", self.uid, self.gid)
        finally:
            os.close(fd)


def user_to_become(uid: str | int | None, gid: str | int | None) -> User | None:
    """The user that a process becomes, as C{twistd --uid --gid} has it.

    @param uid: name or number of the user; None: it stays the same.
    @param gid: name or number of the group; None: the user's own.
    @return: None if nothing changes.
    @raise UnknownOwner: there is no such user or group, or the process may not become it.
    """
    if uid is None and gid is None:
        return None
    number = os.geteuid() if uid is None else uid_of(uid)
    try:
        entry = pwd.getpwuid(number)
    except KeyError:
        raise UnknownOwner(str(number), "has no entry in passwd, which twistd needs") from None
    group = entry.pw_gid if gid is None else gid_of(gid)
    if (number, group) == (os.geteuid(), os.getegid()):
        return None
    if os.geteuid():
        raise UnknownOwner(repr(entry.pw_name), "cannot be what another user than root becomes")
    groups = os.getgroups() if uid is None else os.getgrouplist(entry.pw_name, group)
    return User(number, group, tuple(groups), entry.pw_name)


def _above(path: str) -> list[str]:
    """The directories above an absolute path, from the root down."""
    found = []
    while path != "/":
        path = os.path.dirname(path)
        found.append(path)
    return found[::-1]


def _may(path: str, mode: int) -> bool:
    """Whether the effective user may do something; also if the path does not exist."""
    try:
        os.stat(path)
    except PermissionError:
        return False
    except OSError:
        return True
    return os.access(path, mode, effective_ids=True)


def rights_of(user: User | None) -> AbstractContextManager[None]:
    """A context with the rights of the user that the process becomes; None: it stays what it is."""
    return nullcontext() if user is None else user.rights()
