"""Caches the lists of servers in files of the user's own, so that completion rarely has to ask a server."""

import json
import os
import re
from hashlib import sha256
from time import time

from jsonrpcs_tx.cli.userdirs import user_directory
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.safefiles import open_regular, weak_place

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.client.targets import Target

LIFE = 60.0
"""Seconds for which a list is valid."""

FAILURE_LIFE = 10.0
"""Seconds for which a server that does not answer is not asked again."""

MAX_SIZE = 1_048_576
"""Bytes of the largest file."""

_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}(\.[0-9]+)?")
"""The name of a file."""

_MOST_FILES = 200
"""Files that are kept; if there are more, all are removed."""


class ListCache:
    """The lists of one server. If the files cannot be written, nothing is kept.

    @param target: the server. Each user and each certificate has its own lists, since rules may show other methods.
    """

    def __init__(self, target: "Target") -> None:
        self._directory = f"{user_directory('XDG_CACHE_HOME', '~/.cache')}/jsonrpcs/lists"
        key = "\n".join(f"{one} {one.user} {one.tls_certificate}" for one in target.each)
        self._start = sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]

    def get(self, question: tuple[str, ...]) -> list[str] | None:
        """A cached list.

        @param question: the command with its parameters.
        @return: the list; None if it is missing or expired.
        """
        try:
            with open_regular(self._path(question)) as file:
                status = os.fstat(file.fileno())
                kept = json.loads(file.read(MAX_SIZE))
        except (OSError, NotAllowed, ValueError, RecursionError):
            return None
        if status.st_uid != os.geteuid() or not _is_list(kept):
            return None
        age = time() - status.st_mtime
        return kept if 0 <= age < (LIFE if kept else FAILURE_LIFE) else None

    def put(self, question: tuple[str, ...], listed: list[str]) -> None:
        """Keep a list; an empty one if the server did not answer."""
        path = self._path(question)
        new = f"{path}.{os.getpid()}"
        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            if weak_place(path) is not None:
                return
            if len(os.listdir(self._directory)) > _MOST_FILES:
                self._clear()
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "w", encoding="ascii") as file:
                    json.dump(listed, file)
                os.replace(new, path)
            except OSError:
                os.unlink(new)
        except OSError:
            return

    def _path(self, question: tuple[str, ...]) -> str:
        end = sha256("\n".join(question).encode(errors="surrogateescape")).hexdigest()[:16]
        return f"{self._directory}/{self._start}-{end}"

    def _clear(self) -> None:
        for name in os.listdir(self._directory):
            if _NAME.fullmatch(name):
                os.unlink(f"{self._directory}/{name}")


def _is_list(kept: object) -> bool:
    return isinstance(kept, list) and all(isinstance(one, str) for one in kept)
