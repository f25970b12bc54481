"""Entries for systemd's journal, by its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

import errno
import fcntl
import os
import re
import socket
from array import array
from collections.abc import Mapping
from typing import Final

SOCKET: Final = "/run/systemd/journal/socket"
"""Where the journal listens for entries."""

MAX_ENTRY: Final = 16 * 1024 * 1024
"""Bytes of an entry, well below what the journal itself refuses (64 MB)."""

_NAME: Final = re.compile("[A-Z][A-Z0-9_]{0,63}")
_TOO_LARGE: Final = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Journal:
    """Sends entries to the journal, without ever waiting for it.

    @param path: of its socket. It is looked up for each entry, so that a restarted journal is found.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def send(self, fields: Mapping[str, str | bytes]) -> None:
        """Send an entry.

        @param fields: by name, such as C{MESSAGE} and C{PRIORITY}; a value may be any bytes, or text, of which lone
            surrogates are escaped. The journal adds the trusted fields (C{_PID}, C{_UID} and so on) itself.
        @raise ValueError: the journal does not accept a name (allowed: capital letters, digits and C{_}, beginning with
            a letter, up to 64), or the entry has more than L{MAX_ENTRY} bytes.
        @raise OSError: the entry is lost: C{BlockingIOError} where the journal does not keep up, C{FileNotFoundError}
            or C{ConnectionRefusedError} where it does not run, anything of C{memfd_create}.
        """
        entry = encode(fields)
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_as_file(entry)

    def close(self) -> None:
        """Close the socket, after which nothing can be sent."""
        self._socket.close()

    def _send_as_file(self, entry: bytes) -> None:
        """Send an entry that is too large for a datagram, as a sealed file in memory."""
        with open(os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb", buffering=0) as file:
            view = memoryview(entry)
            while view:
                view = view[file.write(view) :]
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            descriptor = array("i", [file.fileno()])
            self._socket.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)], 0, self._path)


def encode(fields: Mapping[str, str | bytes]) -> bytes:
    """An entry in the form that the journal takes: C{NAME=value} on a line, or a name, a size and a value that has line
    breaks.

    @raise ValueError: see L{Journal.send}.
    """
    parts: list[bytes] = []
    for name, value in fields.items():
        if not _NAME.fullmatch(name):
            wanted = "up to 64 capital letters, digits and _, beginning with a letter"
            raise ValueError(f"journal field {name!r:.100}: must be {wanted}")
        data = value.encode(errors="backslashreplace") if isinstance(value, str) else value
        if b"\n" in data:
            parts += (name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n")
        else:
            parts += (name.encode(), b"=", data, b"\n")
    entry = b"".join(parts)
    if len(entry) > MAX_ENTRY:
        raise ValueError(f"journal entry of {len(entry):,} bytes: at most {MAX_ENTRY:,} are allowed")
    return entry
