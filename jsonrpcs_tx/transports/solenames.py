"""Whether a FIFO that was opened by its name in a directory has no other name, so that nobody elsewhere reads it."""

import contextlib
import ctypes
import os
import stat
from struct import Struct
from typing import Any, Final, TypeAlias

MAX_PASSED: Final = 1024
"""FIFOs that are recognized; when there are more, all have to pass again."""

_Identity: TypeAlias = tuple[int, ...]
"""The count of links, the inode, the time when it was made, in seconds and nanoseconds, and the device."""

_STATX_SIZE: Final = 256
_read_mask = Struct("=I").unpack_from
_read_identity = Struct("=16xI12xQ40xqI44xQ").unpack_from
"""These read a C{struct statx}, which is L{_STATX_SIZE} bytes long (statx(2))."""

_AT_EMPTY_PATH: Final = 0x1000
_IDENTITY: Final = 0x0001 | 0x0004 | 0x0100 | 0x0800
"""What is asked for: the type, the count of links, the inode, and when it was made; above all, no other times."""

_statx: Any = getattr(ctypes.PyDLL(None), "statx", None)  # it never waits, so it need not release the GIL


class SoleNames:
    """Checks FIFOs in one directory.

    The whole check looks at the times of a FIFO. On Linux, the next write then has to record a precise time (multigrain
    timestamps), which takes as long as the check does. So a FIFO that has passed the check is recognized from then on,
    by what stays the same as long as it exists, and by its count of links. That is as safe where users cannot make
    links to FIFOs of others: it had its only name here, and nobody but its owner could have given it another.

    @param directory: a descriptor of the directory; whoever gives it closes it.
    @ivar links_protected: whether users of this machine cannot make hard links to FIFOs of others.
    @ivar passed: by name, the FIFOs that are recognized.
    """

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self.links_protected: bool = _links_are_protected()
        self.passed: dict[str, _Identity] = {}
        self._status = bytearray(_STATX_SIZE)
        self._status_in_c = (ctypes.c_char * _STATX_SIZE).from_buffer(self._status)

    def check(self, fd: int, name: str) -> bool:
        """Whether the file that was opened by a name is a FIFO with no other name, or one that has lost its name."""
        passed = self.passed.get(name)
        if (
            passed is not None
            and not _statx(fd, b"", _AT_EMPTY_PATH, _IDENTITY, self._status_in_c)
            and _read_identity(self._status) == passed
        ):
            return True
        return self._check_whole(fd, name)

    def _check_whole(self, fd: int, name: str) -> bool:
        """The same, whether it is recognized or not.

        The count of links alone is not enough: when a hard link to somebody else's FIFO is opened and replaced at once,
        there is one link again. But making a link and removing one each set the time of change, and nothing else sets
        that of the last write with it; so where both are the same, as in a new FIFO, there were no other links. A link
        made in the same tick of the clock escapes this check, which is trusted only where others cannot make links.
        """
        opened = os.fstat(fd)
        if not stat.S_ISFIFO(opened.st_mode):
            return False
        if opened.st_nlink != 1:
            return not opened.st_nlink
        unchanged = self.links_protected and opened.st_ctime_ns == opened.st_mtime_ns
        if not unchanged and not self._still_has_name(fd, name, opened):
            return False
        self._pass(fd, name)
        return True

    def _still_has_name(self, fd: int, name: str, opened: os.stat_result) -> bool:
        """Whether the only link of what was opened is the name, or it has lost that one as well."""
        with contextlib.suppress(OSError):
            # Changes nothing, but waits for whoever replaces the name right now: the link is gone before the name is.
            os.rename(name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        with contextlib.suppress(FileNotFoundError):
            named = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            if named.st_ino == opened.st_ino and named.st_dev == opened.st_dev:
                return os.fstat(fd).st_ctime_ns == opened.st_ctime_ns  # no link was made or removed since
        return not os.fstat(fd).st_nlink

    def _pass(self, fd: int, name: str) -> None:
        """Recognize a FIFO that has passed the whole check, where that is safe and the system tells what it takes."""
        if not self.links_protected or _statx is None:
            return
        if _statx(fd, b"", _AT_EMPTY_PATH, _IDENTITY, self._status_in_c):
            return
        identity = _read_identity(self._status)
        if _read_mask(self._status)[0] & _IDENTITY != _IDENTITY or identity[0] != 1:
            return
        if len(self.passed) >= MAX_PASSED:
            self.passed.clear()
        self.passed[name] = identity


def _links_are_protected() -> bool:
    """Whether users of this machine cannot make hard links to FIFOs of others (proc(5), protected_hardlinks)."""
    try:
        with open("/proc/sys/fs/protected_hardlinks", "rb") as file:
            return file.read().strip() != b"0"
    except OSError:
        return False
