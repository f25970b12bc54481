"""Asks the kernel which Unix sockets have something to read, as ss(8) does (sock_diag(7))."""

import socket
import struct
from collections.abc import Iterator
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_DUMP: Final = 0x301
"""NLM_F_REQUEST and NLM_F_DUMP."""
_ERROR: Final = 2
_DONE: Final = 3
_SHOW_NAME: Final = 0x01
_SHOW_QUEUE: Final = 0x10
_NAME: Final = 0
_QUEUE: Final = 4
_ANY: Final = 0xFFFFFFFF

_PATIENCE: Final = 0.02
"""Seconds; the kernel answers at once."""

_header = struct.Struct("=IHHII")
"""Header of a message: its length, type, flags, sequence number and port."""
_question = struct.Struct("=BBHIIIII")
"""A unix_diag_req: family, protocol, padding, states, inode, what to show, cookie."""
_ANSWER_SIZE: Final = 16
"""Bytes of a unix_diag_msg, which is followed by attributes."""
_attribute = struct.Struct("=HH")
"""Header of an attribute: its length and type."""
_length = struct.Struct("=I")

_QUESTION: Final = _header.pack(_header.size + _question.size, _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0) + _question.pack(
    socket.AF_UNIX, 0, 0, _ANY, 0, _SHOW_NAME | _SHOW_QUEUE, _ANY, _ANY
)


def sockets_with_unread() -> set[bytes]:
    """The names of all bound Unix sockets that have something to read, as they were bound.

    For a datagram socket only the first datagram counts, and an empty one does not.

    @return: their names, those in the abstract namespace with a NUL in front; empty where the kernel does not tell.
    """
    names: set[bytes] = set()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
            sock.settimeout(_PATIENCE)
            sock.send(_QUESTION)
            while True:
                for kind, body in _parts(sock.recv(1_048_576), _header):
                    if kind in (_DONE, _ERROR):
                        return names
                    facts = dict(_parts(body[_ANSWER_SIZE:], _attribute))
                    name = facts.get(_NAME)
                    if name and any(facts.get(_QUEUE, b"")[: _length.size]):
                        names.add(name if name[:1] == b"\0" else name.rstrip(b"\0"))
    except OSError:
        return names


def _parts(data: bytes, head: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """The messages in what netlink sent, or the attributes in a message: the type and the body of each."""
    start = 0
    while start + head.size <= len(data):
        length, kind, *_ = head.unpack_from(data, start)
        yield kind, data[start + head.size : start + length]
        start += max(head.size, (length + 3) & ~3)
