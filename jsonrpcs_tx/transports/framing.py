"""Finds JSON documents in a byte stream without other framing, as FIFO and TCP clients send them. Does no I/O."""

import re
from enum import Enum
from typing import Final

_STRING_REST: Final = rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+'
_OUTSIDE: Final = rb'[^{}"\n]*+(?:\n\s*+(?!\[)[^{}"\n]*+)*+'
_FLAT = re.compile(rb'\s*+(\{%s(?:"%s"%s)*+\})\s*+' % (_OUTSIDE, _STRING_REST, _OUTSIDE))
"""A whole document without inner objects, and without an array that starts a line: the ordinary case, found at once."""

_BACKSLASH: Final = ord("\\")
_NEWLINE: Final = ord("\n")

_START = re.compile(rb"[{\[]")
_MARK: Final = re.compile(rb'[{}\[\]"\n]')
"""The bytes that matter outside of strings."""

_CLOSING: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_STRING_END = re.compile(_STRING_REST + rb'("?)')
_BLANKS = re.compile(rb"\s*+")
_BLANK: Final = b" \t\n\r\v\f"

_REQUEST_START = re.compile(rb'(?:\[\s*+)?\{\s*"(?:jsonrpc|method|params|id|reply_name)"\s*:')
_REQUEST_START_SIZE: Final = 256
"""Bytes that are kept while looking for the start of a request, so that one that comes in pieces is found."""


_MAX_SEARCHES: Final = 5
"""How many times the rest of a document that is given up is searched for whole documents, so that one made of nothing
but beginnings does not take long; after that, only what follows its last beginning is searched.
"""


class _End(Enum):
    """How a document ends in what has come so far."""

    NOT_YET = 0
    WHOLE = 1
    BROKEN = 2
    """What follows on the next line cannot belong to it."""


class Framer:
    """Cuts a stream into documents.

    A document starts with a brace or a bracket and ends with the one that closes it; those within strings do not
    count. It also ends with a line after which no JSON can go on: within a string, or where the next line starts with a
    brace or a bracket and no value may stand there. So the fragment of a client that died does not hold up others.

    Anything else is handed out as well, in pieces, so that it can be answered or logged. The rest of a document that is
    given up, or that ends with a line, is searched for the start of another request. No byte is handed out twice, and
    it makes no difference where the stream is cut.

    @param limit: the most bytes of a document, as C{fifo_max_request} in the settings says; no more of a longer one is
        handed out.
    @ivar limit: may be set at any time.
    """

    _begin: int
    _position: int
    _depth: int
    _in_string: bool
    _after_newline: bool
    _open: bytearray

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = b""
        self._skipping = False
        self._begun = 0
        self._searches = 0
        self._restart(0)

    @property
    def unfinished(self) -> int:
        """The number of the document whose rest is still to come, counted from 1; 0 if all are whole."""
        return self._begun if self._buffer or self._skipping else 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read.

        @return: the documents that it completes, in order.
        """
        if self._buffer or self._skipping:
            self._buffer += data
            return self._take_all()
        documents, end = _take_flat(data, 0, self.limit)
        if end < len(data):
            self._buffer = data[end:]
            documents += self._take_all()
        return documents

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
                flat, begin = _take_flat(self._buffer, self._begin, self.limit)
                if flat:
                    documents += flat
                    self._searches = 0
                    self._restart(begin)
                if not self._find_start(documents):
                    break
            end = self._find_end()
            if end is _End.NOT_YET and len(self._buffer) - self._begin <= self.limit:
                break
            if end is _End.NOT_YET or self._position - self._begin > self.limit:
                documents.append(self._cut_off())
                searches += 1
            elif end is _End.WHOLE:
                documents.append(self._buffer[self._begin : self._position])
                self._searches = 0
                self._restart(self._position)
            else:
                documents.append(self._cut_at_line())
        self._buffer = self._buffer[self._begin :]
        self._position -= self._begin
        self._begin = 0
        return documents

    def _cut_at_line(self) -> bytes:
        """Take a document that ends with a line, up to the start of a request within it."""
        match = None
        if self._searches < _MAX_SEARCHES:
            match = _REQUEST_START.search(self._buffer, self._begin + 1, self._position)
        self._searches = 0 if match is None else self._searches + 1
        piece = self._buffer[self._begin : self._position if match is None else match.start()]
        self._restart(self._begin + len(piece))
        return piece.rstrip()

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
        self._begun += 1
        self._depth = 1
        self._open.append(self._buffer[start])
        self._position = start + 1
        return True

    def _find_end(self) -> _End:
        """Move the position behind the bracket or the line that ends the document, or as far as the buffer and the
        limit go.
        """
        buffer, open_ones = self._buffer, self._open
        opening = buffer[self._begin]
        closing = _CLOSING[opening]
        end = self._begin + self.limit + 1
        while True:
            if self._in_string:
                string = _STRING_END.match(buffer, self._position)
                assert string is not None  # it also matches the empty string
                self._position = string.end()
                if not string[1]:
                    return self._within_string()
                self._in_string = False
            elif self._after_newline:
                blanks = _BLANKS.match(buffer, self._position, end)
                assert blanks is not None  # it also matches the empty string
                self._position = blanks.end()
                if self._position >= min(len(buffer), end):
                    return _End.NOT_YET
                self._after_newline = False
                if buffer[self._position] in b"{[" and not self._may_hold_value():
                    return _End.BROKEN
            mark = _MARK.search(buffer, self._position, end)
            if mark is None:
                self._position = min(len(buffer), end)
                return _End.NOT_YET
            self._position = mark.end()
            kind = buffer[mark.start()]
            if kind == 0x22:
                self._in_string = True
            elif kind == 0x0A:
                self._after_newline = True
            elif kind in b"{[":
                open_ones.append(kind)
                self._depth += kind == opening
            else:
                if open_ones:
                    open_ones.pop()
                self._depth -= kind == closing
                if not self._depth:
                    return _End.WHOLE

    def _within_string(self) -> _End:
        """How the document ends where its string does not: not yet, or with the line."""
        if self._buffer.startswith(b"\\\n", self._position):
            self._position += 1
        return _End.BROKEN if self._buffer.startswith(b"\n", self._position) else _End.NOT_YET

    def _may_hold_value(self) -> bool:
        """Whether JSON allows an object or an array here, after what precedes the whitespace before the position."""
        last = self._position - 1
        while self._buffer[last] in _BLANK:
            last -= 1
        byte = self._buffer[last]
        return byte in b"[:" or (byte == 0x2C and self._open[-1:] == b"[")

    def _restart(self, begin: int) -> None:
        """Look for a document from a place in the buffer on."""
        self._begin = self._position = begin
        self._depth = 0
        self._in_string = self._after_newline = False
        self._open = bytearray()


def _take_flat(data: bytes, begin: int, limit: int) -> tuple[list[bytes], int]:
    """Take the ordinary documents that come next, one after the other, which is most of what comes.

    @param begin: where the first one starts, if it is one.
    @return: the documents, and where the last one ends.
    """
    documents: list[bytes] = []
    size = len(data)
    while begin < size:
        end = data.find(b"}", begin) + 1
        document = data[begin:end]
        # Whether an integer is in bytes is found out several times as fast as whether other bytes are.
        if document.rfind(b"{") or document.count(b'"') & 1 or _BACKSLASH in document or _NEWLINE in document:
            flat = _FLAT.match(data, begin)  # it is not as plain as can be
            if flat is None:
                break
            document, end = flat[1], flat.end()
        elif end < size and data[end] == _NEWLINE:
            end += 1
        if len(document) > limit:
            break
        documents.append(document)
        begin = end
    return documents, begin
