"""Replies that are written to files: what C{store_path} in a request asks for, as in newer versions of Kamailio.

Only where a directory is set for it, and only in that directory. The client is told in a short document whether that
was done, in the same bytes as Kamailio's, but for an id, which is escaped.
"""

import contextlib
import json
import os
import secrets
from typing import Any, Final

import msgspec

from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

TRANSPORTS: Final = frozenset(("fifo", "unix", "udp", "tcp"))
"""Those over which C{store_path} counts; over HTTP it does not."""

_STORED = '{\n"jsonrpc": "2.0",\n\t"result": "Stored",\n\t"id": %s\n}'
_FAILED = '{\n"jsonrpc": "2.0",\n\t"error": {\n\t\t"code": 500,\n\t\t"message": "Storing failed"\n\t},\n\t"id": %s\n}'


class _Document(msgspec.Struct):
    store_path: str
    id: Any = 0


class ReplyStore:
    """Writes replies to files in a directory.

    @param directory: its absolute path.
    @raise ValueError: it is not there.
    """

    def __init__(self, directory: str) -> None:
        if not os.path.isdir(directory):
            raise ValueError(f"{directory} is not a directory")
        self._directory = directory

    def put(self, document: bytes, body: bytes) -> tuple[bytes, bool] | None:
        """Write a reply to the file that its request names, if it names one.

        The file belongs to the process alone, and is there whole, in the place of one that was there, or not at all.

        @param document: the request. Its C{store_path} is a name, or the directory's path with a name.
        @param body: the reply.
        @return: the document that tells the client, and whether the reply was stored; None if it is not to be.
        """
        if b"store_path" not in document:
            return None
        try:
            asked = msgspec.json.decode(document, type=_Document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None  # no request, as its reply says, or a batch
        id = json.dumps(asked.id) if type(asked.id) in (str, int, float) else "0"
        try:
            self._write(asked.store_path, body)
        except (OSError, ValueError) as error:
            _log.warn("not stored to {path!r:.200}: {reason}", path=asked.store_path, reason=error)
            return (_FAILED % id).encode(), False
        return (_STORED % id).encode(), True

    def _write(self, path: str, body: bytes) -> None:
        """@raise OSError: it cannot be written.
        @raise ValueError: there is no such name in the directory.
        """
        directory, name = os.path.split(path)
        if name in ("", ".", "..") or "\0" in name or directory not in ("", self._directory):
            raise ValueError(f"allowed: a name, or one after {self._directory}/")
        place = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        beside = f".{secrets.token_hex(8)}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(beside, flags, 0o600, dir_fd=place), "wb") as file:
                file.write(body)
            os.rename(beside, name, src_dir_fd=place, dst_dir_fd=place)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=place)
            raise
        finally:
            os.close(place)
