"""Files with a secret in their first line: a password, a key."""

import os
from typing import Final

from jsonrpcs_tx.errors import NotAllowed
from jsonrpcs_tx.files.safefiles import open_regular, weak_place
from jsonrpcs_tx.log import make_logger

_log = make_logger(__name__)

MAX_SECRET: Final = 1024
"""Bytes of a file with a secret."""


def read_secret(path: str, option: str, what: str = "password") -> str:
    """The first line of a file, without its end. Whether others can read or replace the file is logged.

    @param option: what names the file, for messages.
    @param what: what the secret is, for messages.
    @raise NotAllowed: the line is empty, or the file is too large or cannot be read.
    """
    allowed = f"a file with the {what} in its first line, of up to {MAX_SECRET} bytes"
    try:
        with open_regular(path) as file:
            data = file.read(MAX_SECRET + 1)
            if os.fstat(file.fileno()).st_mode & 0o004:
                _log.warn("{path} can be read by everybody; allow only the server's user", path=path)
        weakness = weak_place(path)
    except OSError as error:
        raise NotAllowed(f"{option}: {path}: {error.strerror}", allowed) from None
    except NotAllowed as error:
        raise NotAllowed(f"{option}: {path}: {error.reason}", error.allowed) from None
    if weakness is not None:
        _log.warn("others could replace {path}: {weakness}", path=path, weakness=weakness)
    line = data.split(b"\n", 1)[0].removesuffix(b"\r")
    if not line or len(data) > MAX_SECRET:
        raise NotAllowed(f"{option}: {path}: it is empty or too large", allowed)
    return line.decode(errors="surrogateescape")
