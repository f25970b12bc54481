"""Writes replies to files where C{store_path} in a request asks for it, as in newer versions of Kamailio.

This is done only if a directory is set for it, and only in that directory. A short document tells the client whether it
was done, in the same bytes as Kamailio's, except that the id is escaped. An error is not stored, but sent to the
client: so only those whom the rules allow a command can write a file.
"""

import contextlib
import os
import re
import secrets
import stat
import time
from typing import Final

from msgspec import UNSET

from jsonrpcs_tx.access.caller import Caller
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.rpc.envelope import Envelope, Id

_log = make_logger(__name__)

MAX_FILES: Final = 1000
"""The most files that the directory may hold for one more to be stored."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""The most bytes that the files of the directory may have in all."""

_LEFTOVER: Final = re.compile(r"\.[0-9a-f]{16}")
_LEFTOVER_AGE: Final = 10.0
"""Seconds after which a temporary file is taken to be left by a crash."""

_STORED = '{\n"jsonrpc": "2.0",\n\t"result": "Stored",\n\t"id": %s\n}'
_FAILED = '{\n"jsonrpc": "2.0",\n\t"error": {\n\t\t"code": 500,\n\t\t"message": "%s"\n\t},\n\t"id": %s\n}'


class _Refused(Exception):
    """A reply may not be stored; the message, in plain ASCII, tells the client why."""


class ReplyStore:
    """Writes replies to files in a directory.

    @param directory: its absolute path.
    @raise ValueError: there is no such directory, or the process may not write to it.
    """

    def __init__(self, directory: str) -> None:
        if not os.path.isdir(directory) or not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            raise ValueError(f"{directory} is not a directory that can be written")
        self._directory = directory
        self._owners: dict[str, Caller | None] = {}

    def put(
        self, path: str, id: Id, body: bytes, caller: Caller | None = None, who: object = "a caller"
    ) -> tuple[bytes, bool]:
        """Write a reply to the file that its request names.

        The file is readable for the process's user alone, and replaces an older one as a whole or not at all. Only the
        caller who has stored a file since the server was started can replace it.

        @param path: the C{store_path} of the request: a name, or the directory's path with a name.
        @param id: the id of the request. The client is told 0 in place of one that is neither a number nor a string.
        @param body: the reply.
        @param caller: who calls; None: there are no rules, and whoever may call everything may replace every file.
        @param who: the caller for the log, also where there are no rules.
        @return: the document that tells the client, and whether the reply was stored.
        """
        literal = "0" if id is None or id is UNSET or type(id) is bool else Envelope.id(id).decode()
        try:
            self._write(path, body, caller)
        except (OSError, ValueError, _Refused) as error:
            _log.warn("{caller}: not stored to {path!r:.200}: {reason}", caller=who, path=path, reason=error)
            told = f"Storing failed: {error}" if isinstance(error, _Refused) else "Storing failed"
            return (_FAILED % (told, literal)).encode(), False
        return (_STORED % literal).encode(), True

    def _write(self, path: str, body: bytes, caller: Caller | None) -> None:
        """@raise OSError: it cannot be written.
        @raise ValueError: there is no such name in the directory.
        @raise _Refused: it may not be written.
        """
        directory, name = os.path.split(path)
        usable = name not in ("", ".", "..") and "\0" not in name and not _LEFTOVER.fullmatch(name)
        if not usable or directory not in ("", self._directory):
            raise ValueError(f"allowed: a name, or one after {self._directory}/")
        place = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._check(place, name, len(body), caller)
            _replace(place, name, body)
        finally:
            os.close(place)
        self._owners[name] = caller

    def _check(self, place: int, name: str, size: int, caller: Caller | None) -> None:
        """@raise _Refused: the file is another caller's, or there is no room.
        @raise OSError: the directory cannot be read.
        """
        names, total = set(), size
        with os.scandir(place) as entries:
            for entry in entries:
                names.add(entry.name)
                if entry.name != name:
                    total += entry.stat(follow_symlinks=False).st_size
                if len(names) > MAX_FILES or (len(names) == MAX_FILES and name not in names):
                    raise _Refused(f"there are {MAX_FILES} files already")
        if total > MAX_BYTES:
            raise _Refused(f"the files would have more than {MAX_BYTES} bytes in all")
        self._owners = {known: owner for known, owner in self._owners.items() if known in names}
        if caller is not None and name in names and self._owners.get(name) != caller:
            raise _Refused("there is a file of that name; allowed: a new name, or one that this caller stored before")

    def remove_leftovers(self) -> None:
        """Remove temporary files that a crash has left in the directory."""
        latest = time.time() - _LEFTOVER_AGE
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            for entry in entries:
                if _LEFTOVER.fullmatch(entry.name):
                    with contextlib.suppress(OSError):
                        found = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(found.st_mode) and found.st_mtime < latest:
                            os.unlink(entry.path)


def _replace(place: int, name: str, body: bytes) -> None:
    """Write a temporary file, and rename it. Whatever has the name already is not opened.

    @param place: a descriptor of the directory.
    @raise OSError: it cannot be written.
    """
    beside = f".{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(beside, flags, 0o600, dir_fd=place), "wb") as file:
            file.write(body)
        os.rename(beside, name, src_dir_fd=place, dst_dir_fd=place)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=place)
        raise
