"""Tells when something happens to a file that a server made, so that no polling is needed."""

import contextlib
import ctypes
import os
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import abstract
from twisted.python.failure import Failure

_IN_ATTRIB: Final = 0x00000004
_IN_DELETE_SELF: Final = 0x00000400
_IN_MOVE_SELF: Final = 0x00000800
_IN_ONLYDIR: Final = 0x01000000
_IN_DONT_FOLLOW: Final = 0x02000000

_GONE: Final = _IN_DELETE_SELF | _IN_MOVE_SELF
"""The events of a directory that is removed or renamed, but not those of the files in it."""

_CHANGED: Final = _IN_ATTRIB | _GONE | _IN_DONT_FOLLOW
"""The events of a file that loses its name. While it is open, only its attributes change: it has one link fewer."""

_MAX_EVENTS: Final = 4096
"""Bytes of events that are read at once."""

_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch(abstract.FileDescriptor):
    """Watches a file and its directory, as inotify(7) can: whether the file is removed, replaced or renamed, or the
    directory is. Directories further up are not watched.

    @param path: of the file.
    @param tell: called when one of these may have happened.
    @raise OSError: the machine or the user has too many watches, or the file may not be read, which watching needs.
    """

    def __init__(self, path: str, tell: Callable[[], object], reactor: Any) -> None:
        super().__init__(reactor)
        self._tell = tell
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            self._add(path, _CHANGED)
        except OSError:
            os.close(self._fd)
            raise
        with contextlib.suppress(OSError):
            self._add(os.path.dirname(path) or ".", _GONE | _IN_ONLYDIR)
        self.startReading()

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "file"

    def doRead(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _MAX_EVENTS)
            self._tell()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor no longer reads this."""
        super().connectionLost(reason)
        self.stop()

    def stop(self) -> None:
        """Stop watching."""
        self.stopReading()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _add(self, path: str, events: int) -> None:
        _checked(_libc.inotify_add_watch(self._fd, os.fsencode(path), events))


def _checked(result: int) -> int:
    """The result of a function of the C library.

    @raise OSError: it failed.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
