"""Finds JSON documents in a stream of bytes that has no other frame, as FIFO and TCP clients send them. Does no I/O."""

import re
from typing import Final

_FLAT = re.compile(rb'\s*+(\{[^{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^{}"]*+)*+\})\s*+', re.DOTALL)
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


_MAX_SEARCHES: Final = 16
"""How often the rest of a document that is given up is searched for whole ones, lest one takes long that is made of
nothing but beginnings; after that, only what follows its last beginning is."""


class Framer:
    """Cuts a stream into documents.

    A document starts with a brace or a bracket and ends with the one that closes it; those within strings do not
    count. What is no document is handed out too, in pieces, so that it can be answered or logged. Of a document that
    is given up, the rest is searched for the start of another request. No byte is handed out twice.

    @param limit: the most bytes of a document; of a longer one no more than that is handed out.
    @ivar limit: may be set at any time.
    """

    _begin: int
    _position: int
    _depth: int
    _in_string: bool

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = b""
        self._skipping = False
        self._restart(0)

    @property
    def unfinished(self) -> bool:
        """Whether the rest of a document is still to come."""
        return bool(self._buffer) or self._skipping

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read.

        @return: the documents that it completes, in order.
        """
        if not self._buffer and not self._skipping:
            match = _FLAT.match(data)
            if match is not None and match.end() == len(data) and len(match[1]) <= self.limit:
                return [match[1]]
        self._buffer += data
        return self._take_all()

    def give_up(self) -> list[bytes]:
        """End an unfinished document: no more of it will come.

        @return: what there is of it, and the documents that follow in it.
        """
        pieces: list[bytes] = []
        if self._skipping:
            self._skipping = False
            self._buffer = b""
        searches = 0
        while self._buffer:
            match = _REQUEST_START.search(self._buffer, 1) if searches < _MAX_SEARCHES else None
            end = len(self._buffer) if match is None else match.start()
            pieces.append(self._buffer[:end])
            self._buffer = self._buffer[end:]
            self._restart(0)
            if b"}" in self._buffer:
                searches += 1
                pieces += self._take_all()
        return pieces

    def _take_all(self) -> list[bytes]:
        """Take what is complete from the buffer."""
        documents: list[bytes] = []
        searches = 0
        while not self._skipping or self._skip(last=searches > _MAX_SEARCHES):
            if not self._depth:
                flat = _FLAT.match(self._buffer, self._begin)
                if flat is not None and len(flat[1]) <= self.limit:
                    documents.append(flat[1])
                    self._restart(flat.end())
                    continue
                if not self._find_start(documents):
                    break
            whole = self._find_end()
            if whole and self._position - self._begin <= self.limit:
                documents.append(self._buffer[self._begin : self._position])
                self._restart(self._position)
            elif whole or len(self._buffer) - self._begin > self.limit:
                documents.append(self._cut_off())
                searches += 1
            else:
                break
        self._buffer = self._buffer[self._begin :]
        self._position -= self._begin
        self._begin = 0
        return documents

    def _cut_off(self) -> bytes:
        """Take what may be handed out of a document that is too long; the rest of it is skipped."""
        end = self._begin + self.limit
        match = _REQUEST_START.search(self._buffer, self._begin + 1, end)
        piece = self._buffer[self._begin : end if match is None else match.start()]
        self._restart(self._begin + len(piece))
        self._skipping = True
        return piece

    def _skip(self, last: bool) -> bool:
        """Drop what is left of a document that was too long, up to the start of the next request, or of the last one.

        @return: whether there is one.
        """
        match = _REQUEST_START.search(self._buffer, self._begin)
        if last and match is not None:
            *_, match = _REQUEST_START.finditer(self._buffer, self._begin)
        if match is None:
            self._restart(max(self._begin, len(self._buffer) - _REQUEST_START_SIZE))
            return False
        self._skipping = False
        self._restart(match.start())
        return True

    def _find_start(self, documents: list[bytes]) -> bool:
        """Go to the bracket that starts the next document, and hand out what is before it.

        @return: whether there is one.
        """
        match = _START.search(self._buffer, self._begin)
        start = len(self._buffer) if match is None else match.start()
        garbage = self._buffer[self._begin : start].strip()
        if garbage:
            documents.append(garbage)
        self._restart(start)
        if match is None:
            return False
        self._depth = 1
        self._position = start + 1
        return True

    def _find_end(self) -> bool:
        """Move the position behind the bracket that closes the document, or as far as the buffer and the limit go."""
        buffer = self._buffer
        brackets = _BRACKETS[buffer[self._begin]]
        end = self._begin + self.limit + 1
        while True:
            if self._in_string:
                match = _STRING_REST.match(buffer, self._position)
                assert match is not None  # it matches nothing, too
                self._position = match.end()
                if buffer[self._position : self._position + 1] != b'"':
                    return False
                self._position += 1
                self._in_string = False
            bracket = brackets.search(buffer, self._position, end)
            if bracket is None:
                self._position = min(len(buffer), end)
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

    def _restart(self, begin: int) -> None:
        """Look for a document from a place in the buffer on."""
        self._begin = self._position = begin
        self._depth = 0
        self._in_string = False
