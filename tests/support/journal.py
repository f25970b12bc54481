"""A journal that accepts entries as systemd's does."""

import array
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.support import PATIENCE

_ALL_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class FakeJournal:
    """Listens where the journal would.

    @param path: of its socket, which is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(PATIENCE)

    def read(self) -> dict[str, bytes]:
        """Wait for the next entry."""
        size = array.array("i").itemsize
        data, ancillary, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(size))
        if ancillary:
            assert data == b""
            (descriptor,) = array.array("i", ancillary[0][2])
            with open(descriptor, "rb") as file:
                assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == _ALL_SEALS
                assert file.tell() == os.fstat(descriptor).st_size
                file.seek(0)
                data = file.read()
        return dict(fields_of(data))

    def read_all(self) -> list[dict[str, bytes]]:
        """The entries received so far."""
        self._socket.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.read())
        except BlockingIOError:
            return found
        finally:
            self._socket.settimeout(PATIENCE)

    def close(self) -> None:
        """Stop listening, as a journal that has ended."""
        self._socket.close()
        self.path.unlink()


def fields_of(entry: bytes) -> Iterator[tuple[str, bytes]]:
    """The fields of an entry."""
    while entry:
        line, _, rest = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        yield name.decode("ascii"), value
        entry = rest
