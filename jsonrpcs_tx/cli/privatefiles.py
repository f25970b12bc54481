"""Reads files of the user's own, safely: they decide where passwords are sent, and which commands are run."""

import os
import stat

from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.files.safefiles import open_regular, weak_place

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = 1_048_576
"""Bytes of the largest file."""


def read_toml(path: str) -> "dict[str, Any]":
    """The values of a configuration file. A file with a password must not be readable by others.

    @raise UsageError: it cannot be read, is not TOML, or others could read or change it.
    """
    import tomllib

    data, mode = _read(path)
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}; allowed: TOML") from None
    if _has_password(values):
        _check_secret(path, mode)
    return values


def read_password(path: str) -> str:
    """The password on the first line of a file that others cannot read.

    @raise UsageError: the line is empty, or others could read or change the file.
    """
    data, mode = _read(path)
    _check_secret(path, mode)
    try:
        password = data.partition(b"\n")[0].rstrip(b"\r").decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: the password is not UTF-8; allowed: UTF-8") from None
    if not password:
        raise UsageError(f"{path}: the first line is empty; allowed: a password on it")
    return password


def _read(path: str) -> tuple[bytes, int]:
    """A file that only its owner, this user or root, could have written, with its mode."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_SIZE + 1)
        weak = weak_place(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; allowed: a file that can be read") from None
    except NotAllowed as error:
        raise UsageError(f"{path}: {error}") from None
    if status.st_uid not in (0, os.geteuid()):
        raise UsageError(f"{path}: it belongs to user {status.st_uid}; allowed: a file of your own, or of root")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(f"{path}: others may write it (mode {_octal(status.st_mode)}); allowed: chmod go-w")
    if weak is not None:
        raise UsageError(f"{path}: others could replace it: {weak}; allowed: directories that only you may change")
    if len(data) > MAX_SIZE:
        raise UsageError(f"{path}: it is larger than {MAX_SIZE} bytes; allowed: at most that")
    return data, status.st_mode


def _check_secret(path: str, mode: int) -> None:
    """Check that others cannot read a file with a password. A group may read a file of root's."""
    if mode & stat.S_IROTH or (mode & stat.S_IRGRP and os.stat(path).st_uid != 0):
        raise UsageError(f"{path}: it has a password, and others may read it (mode {_octal(mode)}); allowed: chmod 600")


def _has_password(values: "dict[str, Any]") -> bool:
    profiles = values.get("profiles")
    each = profiles.values() if isinstance(profiles, dict) else ()
    return any(isinstance(one, dict) and ("password" in one or "@" in str(one.get("target"))) for one in each)


def _octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"
