"""The reference for framing: documents found by counting brackets, byte by byte."""

from jsonrpcs_tx.transports.framing import Framer

LIMIT = 65_456

REQUEST = b'{"jsonrpc":"2.0","method":"m","id":1}'


def feed(framer: Framer, *pieces: bytes) -> list[bytes]:
    """Everything that comes out while the pieces go in."""
    return [document for piece in pieces for document in framer.feed(piece)]


def single_bytes(stream: bytes) -> list[bytes]:
    return [stream[place : place + 1] for place in range(len(stream))]


def counted(stream: bytes) -> list[bytes]:
    """The whole documents of a stream, found by counting brackets byte by byte."""
    documents: list[bytes] = []
    start, depth, in_string, escaped = 0, 0, False, False
    for place, byte in enumerate(single_bytes(stream)):
        if not depth:
            if byte in (b"{", b"["):
                start, depth = place, 1
                opening, closing = byte, b"}" if byte == b"{" else b"]"
        elif in_string:
            in_string = escaped or byte != b'"'
            escaped = not escaped and byte == b"\\"
        elif byte == b'"':
            in_string = True
        elif byte in (opening, closing):
            depth += 1 if byte == opening else -1
            if not depth:
                documents.append(stream[start : place + 1])
    return documents


def documents_of(pieces: list[bytes]) -> list[bytes]:
    return [piece for piece in pieces if piece[:1] in (b"{", b"[")]


def verdict(pieces: list[bytes]) -> list[bytes]:
    """The pieces, with all garbage between two documents joined: where garbage is cut depends on how it arrives."""
    joined: list[bytes] = []
    garbage = b""
    for piece in pieces:
        if piece[:1] in (b"{", b"["):
            joined += [garbage, piece]
            garbage = b""
        else:
            garbage += b"".join(piece.split())
    return [piece for piece in [*joined, garbage] if piece]
