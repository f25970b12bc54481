"""Finds JSON documents in a stream of bytes that has no other frame, as FIFO and TCP clients send them. Does no I/O."""

import re
from typing import Final

_FLAT = re.compile(rb'\s*+(\{[^{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^{}"]*+)*+\})', re.DOTALL)
"""A whole document without inner objects: the ordinary one, found in one go."""

_START = re.compile(rb"[{\[]")
_BRACKETS: Final = {
    ord("{"): re.compile(rb'[{}"]'),
    ord("["): re.compile(rb'[\[\]"]'),
}
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_REQUEST_START = re.compile(rb'\{\s*"(?:jsonrpc|method|params|id|reply_name)"\s*:')
_REQUEST_START_SIZE: Final = 256
"""Bytes that are kept while looking for the start of a request, so that one which comes in pieces is seen."""


class Framer:
    """Cuts a stream into documents.

    A document starts with a brace or a bracket and ends with the one that closes it; those within strings do not
    count. What is no document is handed out too, in pieces, so that it can be answered or logged. Of a document that
    is given up, the rest is searched for the start of another request.

    @param limit: the most bytes of a document; a longer one is given up.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._position = 0
        self._depth = 0
        self._in_string = False
        self._skipping = False

    @property
    def unfinished(self) -> bool:
        """Whether the rest of a document is still to come."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read.

        @return: the documents that it completes, in order.
        """
        if not self._buffer and not self._skipping:
            match = _FLAT.match(data)
            if match is not None and len(match[1]) <= self._limit:
                rest = data[match.end() :]
                return [match[1]] if not rest or rest.isspace() else [match[1], *self.feed(rest)]
        self._buffer += data
        documents: list[bytes] = []
        while self._step(documents):
            pass
        return documents

    def give_up(self) -> list[bytes]:
        """End an unfinished document: no more of it will come.

        @return: what there is of it, and the documents that follow in it.
        """
        pieces: list[bytes] = []
        if self._skipping:
            self._reset(b"")
        while self._buffer:
            pieces += self._cut_off()
        return pieces

    def _step(self, documents: list[bytes]) -> bool:
        """Take one document from the buffer.

        @return: whether there may be another.
        """
        if self._skipping and not self._skip():
            return False
        if not self._depth and not self._find_start(documents):
            return False
        if self._find_end():
            documents.append(self._buffer[: self._position])
            self._reset(self._buffer[self._position :])
            return True
        if len(self._buffer) > self._limit:
            documents.append(self._buffer)
            self._skipping = True
            self._reset(self._buffer[1:])
            return True
        return False

    def _skip(self) -> bool:
        """Drop what is left of a document that was too long, up to the start of the next request."""
        match = _REQUEST_START.search(self._buffer)
        if match is None:
            self._buffer = self._buffer[-_REQUEST_START_SIZE:]
            return False
        self._skipping = False
        self._reset(self._buffer[match.start() :])
        return True

    def _find_start(self, documents: list[bytes]) -> bool:
        match = _START.search(self._buffer)
        end = len(self._buffer) if match is None else match.start()
        garbage = self._buffer[:end].strip()
        if garbage:
            documents.append(garbage)
        self._reset(self._buffer[end:])
        if match is None:
            return False
        self._depth = self._position = 1
        return True

    def _find_end(self) -> bool:
        """Move the position behind the bracket that closes the document, or as far as the buffer goes."""
        buffer = self._buffer
        brackets = _BRACKETS[buffer[0]]
        while True:
            if self._in_string:
                match = _STRING_REST.match(buffer, self._position)
                assert match is not None  # it matches nothing, too
                self._position = match.end()
                if buffer[self._position : self._position + 1] != b'"':
                    return False
                self._position += 1
                self._in_string = False
            bracket = brackets.search(buffer, self._position)
            if bracket is None:
                self._position = len(buffer)
                return False
            self._position = bracket.end()
            if bracket[0] == b'"':
                self._in_string = True
            elif bracket[0] in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    return True

    def _cut_off(self) -> list[bytes]:
        match = _REQUEST_START.search(self._buffer, 1)
        end = len(self._buffer) if match is None else match.start()
        piece, rest = self._buffer[:end], self._buffer[end:]
        self._reset(b"")
        return [piece, *self.feed(rest)]

    def _reset(self, buffer: bytes) -> None:
        self._buffer = buffer
        self._position = self._depth = 0
        self._in_string = False
