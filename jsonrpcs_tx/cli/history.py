"""The history of the shell, in a file of the user's own."""

import os
import re
from collections.abc import Iterable

from prompt_toolkit.history import History

from jsonrpcs_tx.cli.terminal import complain
from jsonrpcs_tx.cli.userdirs import user_directory
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.safefiles import open_regular

MAX_SIZE = 1_048_576
"""Bytes of the largest file. If it is larger, the first half is removed."""

_SECRET = re.compile(r"passw|secret|xkeys|\bha1\b|://[^/\s]*@", re.IGNORECASE)
"""Matches lines that may contain a password. The arrow keys recall them, but they are not written to the file."""


class HistoryFile(History):
    """Keeps lines from one shell to the next. If the file cannot be used, they are kept until the shell is left.

    @param path: the path of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._is_usable = True
        self._complaint = ""

    def load_history_strings(self) -> Iterable[str]:
        """@return: the lines, the newest first."""
        try:
            with open_regular(self._path) as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    raise NotAllowed("it belongs to somebody else", "a file of your own")
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - MAX_SIZE))
                data = file.read(MAX_SIZE)
        except FileNotFoundError:
            return []
        except (OSError, NotAllowed) as error:
            self._give_up(error)
            return []
        if size > MAX_SIZE:
            data = data[MAX_SIZE // 2 :].partition(b"\n")[2]
            self._replace(data)
        lines = data.decode(errors="replace").splitlines()
        return [line for line in reversed(lines) if line.isprintable()]

    def store_string(self, string: str) -> None:
        """Keep a line, unless it starts with a blank or may contain a password."""
        if not self._is_usable or string[:1].isspace() or not string.isprintable() or _SECRET.search(string):
            return
        try:
            os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
            self._write(self._path, os.O_APPEND, f"{string}\n".encode(errors="replace"))
        except OSError as error:
            self._give_up(error)

    def _replace(self, data: bytes) -> None:
        new = f"{self._path}.{os.getpid()}"
        try:
            self._write(new, os.O_EXCL, data)
            os.replace(new, self._path)
        except OSError as error:
            self._give_up(error)

    def _write(self, path: str, flag: int, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flag
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)

    def tell(self) -> None:
        """Complain once if lines cannot be kept. Not to be called while a line is being typed."""
        if self._complaint:
            complain(self._complaint)
            self._complaint = ""

    def _give_up(self, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) else error
        self._complaint = f"{self._path}: {reason}; lines are not kept when the shell is left"
        self._is_usable = False


def usual_path() -> str:
    """The path of the file: in C{$XDG_STATE_HOME}, or in C{~/.local/state}."""
    return f"{user_directory('XDG_STATE_HOME', '~/.local/state')}/jsonrpcs/history"
