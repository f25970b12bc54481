"""Files that the server relies on: how they are opened, and who else could change them."""

import errno
import os
import stat
from typing import BinaryIO, Final

from jsonrpcs_tx.errors import NotAllowed

_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""A FIFO in place of the file does not block the server, and a terminal does not become its controlling one."""


_APPENDED: Final = "a file of root or the server's user, that not everybody can write to"


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading, without ever waiting.

    @raise OSError: it cannot be opened.
    @raise NotAllowed: it is not a regular file: a FIFO or a device, for example.
    """
    fd = os.open(path, _FLAGS)
    try:
        file = os.fdopen(fd, "rb")
    except OSError:  # a directory
        os.close(fd)
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        file.close()
        raise NotAllowed("not a regular file", "one that can be read")
    return file


def open_to_append(path: str, flags: int, mode: int) -> int:
    """Open a file that is written as root or this process's user, and by nobody else; it may be made.

    @param flags: for C{os.open}; further ones are added.
    @param mode: of the file, if it has to be made.
    @return: its descriptor.
    @raise OSError: it cannot be opened.
    @raise NotAllowed: it is not a regular file, has another name, belongs to somebody else, or everybody may write to
        it.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a FIFO or a socket
            raise NotAllowed("not a regular file", _APPENDED) from None
        raise
    try:
        _check_appended(os.fstat(fd))
    except NotAllowed:
        os.close(fd)
        raise
    return fd


def open_log(path: str, flags: int, mode: int) -> int:
    """Open a log as C{os.open} does, but through no link that another user than root and this process's has made. Root
    writes what clients send to it, before it becomes a user whose directory the log may be in.

    @raise OSError: it cannot be opened.
    @raise NotAllowed: there is such a link.
    """
    check_links(path)
    return os.open(path, flags | (0 if os.path.islink(path) else os.O_NOFOLLOW), mode)


def check_links(path: str) -> None:
    """Check that a path leads through no link that another user than root and this process's has made.

    @raise NotAllowed: there is one.
    """
    trusted = (0, os.geteuid())
    waiting, seen = [os.path.abspath(path)], set[str]()
    while waiting:
        place = waiting.pop()
        if place in seen or os.path.dirname(place) == place:
            continue
        seen.add(place)
        waiting.append(os.path.dirname(place))
        if os.path.islink(place):
            owner = os.lstat(place).st_uid
            if owner not in trusted:
                raise NotAllowed(f"{place} is a link of user {owner}", "links of root or the process's user")
            waiting.append(os.path.abspath(os.path.join(os.path.dirname(place), os.readlink(place))))


def check_to_append(path: str) -> None:
    """Check that L{open_to_append} can open a file or make it, as far as that shows without opening it.

    @raise OSError: it can be neither.
    @raise NotAllowed: see L{open_to_append}.
    """
    directory = os.path.dirname(path)
    os.stat(f"{directory}/.")
    is_there = os.path.lexists(path)
    if is_there:
        _check_appended(os.lstat(path))
    if not os.access(path if is_there else directory, os.W_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_appended(status: os.stat_result) -> None:
    """@raise NotAllowed: a file may not be appended to."""
    if not stat.S_ISREG(status.st_mode):
        raise NotAllowed("not a regular file", _APPENDED)
    if status.st_nlink > 1:
        raise NotAllowed("it has another name, by a hard link", _APPENDED)
    if status.st_uid not in (0, os.geteuid()):
        raise NotAllowed(f"it belongs to user {status.st_uid}", _APPENDED)
    if status.st_mode & stat.S_IWOTH:
        raise NotAllowed("everybody can write to it", _APPENDED)


def weak_place(path: str) -> str | None:
    """Why users other than root and that of this process could replace a file, or put another one beside it.

    @param path: of the file, which need not exist; links in it are followed.
    @return: the first directory, from the file's own up to the root, in which they could, with the reason; None if
        there is no such directory. A sticky one such as C{/tmp} is safe for what is in directories below it.
    @raise OSError: a directory does not exist, or cannot be reached.
    """
    trusted = (0, os.geteuid())
    own = directory = os.path.dirname(os.path.realpath(path))
    while True:
        status = os.stat(directory)
        if status.st_uid not in trusted:
            return f"{directory} belongs to user {status.st_uid}"
        by_group = status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid())
        sticky = status.st_mode & stat.S_ISVTX and directory != own
        if (status.st_mode & stat.S_IWOTH or by_group) and not sticky:
            return f"{directory} can be written by others"
        above = os.path.dirname(directory)
        if above == directory:
            return None
        directory = above
