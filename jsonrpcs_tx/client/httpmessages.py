"""The part of HTTP that a JSON-RPC client needs: writes POST requests, and parses responses. Does no I/O."""

import re
from binascii import b2a_base64
from functools import lru_cache

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.client.targets import Target

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEAD = 65_536
"""Bytes of the largest head of a response, including interim responses and the framing of a chunked body."""

SHORT_HEAD = 1024
HEADS = 64
"""Parsed heads are remembered: bytes of the largest one, and how many."""

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\r\n]*))?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)


class NotHttp(ValueError):
    """The data is not a response, or not a complete one; the message says why."""


class CutOff(NotHttp):
    """The connection was closed before the response was whole."""


class TooLarge(ValueError):
    """A response is too large."""


def post_head(target: Target) -> bytes:
    """The head of each request to a target, up to the value of Content-Length."""
    authorization = ""
    if target.user is not None:
        pair = f"{target.user}:{target.password or ''}".encode(errors="surrogateescape")
        authorization = f"Authorization: Basic {b2a_base64(pair, newline=False).decode()}\r\n"
    return (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n{authorization}"
        f"User-Agent: jsonrpcs_tx/{__version__}\r\nContent-Type: application/json\r\nContent-Length: "
    ).encode()


def post(head: bytes, document: bytes) -> bytes:
    """A request with a document.

    @param head: see L{post_head}.
    """
    return b"%b%d\r\n\r\n%b" % (head, len(document), document)


class Head:
    """The head of a response. Do not change it: it is shared by responses with the same head.

    @param data: the head without the empty line at its end.
    @ivar status: the status code.
    @ivar reason: the reason phrase.
    @ivar headers: the values by name in lower case; several values of the same name are separated by commas.
    @ivar reusable: whether the connection takes another request after the response.
    @ivar length: bytes of the body; None: not known in advance.
    @ivar chunked: whether the body comes in chunks.
    @raise NotHttp: it is not HTTP.
    """

    def __init__(self, data: bytes) -> None:
        first, *lines = re.split(rb"\r?\n", data)
        status = _STATUS.fullmatch(first)
        if status is None:
            raise NotHttp("the reply is not HTTP")
        minor, number, reason = status.groups()
        self.status: int = int(number)
        self.reason: str = (reason or b"").decode("latin-1")
        self.headers: dict[str, str] = {}
        for line in lines:
            self._note(line)
        self.chunked: bool = False
        self.length: int | None = self._find_length()
        is_open = minor == b"1" and "close" not in self.headers.get("connection", "").lower()
        self.reusable: bool = is_open and (self.chunked or self.length is not None)

    def _note(self, line: bytes) -> None:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise NotHttp("a header of the reply is malformed")
        name, value = field[1].decode().lower(), field[2].decode("latin-1")
        self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def _find_length(self) -> int | None:
        coding = self.headers.get("transfer-encoding")
        length = self.headers.get("content-length")
        if self.status in (204, 304):
            return 0
        if coding is not None:
            if coding.lower() != "chunked":
                raise NotHttp(f"the reply has the transfer coding {coding[:40]!r}, which was not asked for")
            self.chunked = True
            return None
        if length is None:
            return None
        (one, *others) = set(length.split(", "))
        if others or not _LENGTH.fullmatch(one):
            raise NotHttp("the Content-Length of the reply is malformed")
        return int(one)


@lru_cache(HEADS)
def _short_head(data: bytes) -> Head | None:
    """The head that ends at the first CRLF CRLF; None if an empty line with bare line feeds comes before that.

    @raise NotHttp: it is not HTTP.
    """
    end = _END.search(data + b"\r\n\r\n")
    return Head(data) if end is not None and end.start() == len(data) else None


class Response:
    """Parses a response piece by piece.

    @param limit: bytes of the largest body.
    @ivar head: the head; None until it has come.
    @ivar complete: whether the whole response has come.
    @ivar reusable: whether the connection takes another request after it.
    """

    head: Head | None = None
    complete: bool = False
    reusable: bool = False
    _body: bytes | bytearray = b""
    _input: bytearray
    _left = 0
    _read: "Callable[[], bool] | None" = None
    _room_for_head = MAX_HEAD

    def __init__(self, limit: int) -> None:
        self._limit = limit

    @property
    def body(self) -> bytes:
        """The body, as far as it has come."""
        return bytes(self._body)

    def feed(self, data: bytes) -> bool:
        """Parse data that has come.

        @return: whether the response is complete.
        @raise NotHttp: it is not a response.
        @raise TooLarge: it is too large.
        """
        if self._read is None:
            if self._take_whole(data):
                return True
            self._read = self._read_head
            self._input = bytearray()
        self._input += data
        while not self.complete and self._read():
            pass
        if self.complete and self._input:
            self.reusable = False  # more than was asked for
        return self.complete

    def _take_whole(self, data: bytes) -> bool:
        """@return: whether the data is one whole response, as it usually is; if not, nothing is consumed."""
        end = data.find(b"\r\n\r\n", 0, SHORT_HEAD)
        if end < 0:
            return False
        head = _short_head(data[:end])
        body = data[end + 4 :]
        if head is None or head.status < 200 or head.length != len(body) or len(body) > self._limit:
            return False
        self.head, self.reusable, self._body = head, head.reusable, body
        self.complete = True
        return True

    def end(self) -> None:
        """Nothing more comes: the connection is closed.

        @raise CutOff: the response is not whole.
        """
        if self._read == self._read_rest:
            self.complete = True
        if not self.complete:
            raise CutOff

    def _line(self) -> bytes | None:
        """The next line; None: it is not whole yet.

        @raise NotHttp: the head is too large.
        """
        end = self._input.find(b"\n")
        size = len(self._input) if end < 0 else end + 1
        if size > self._room_for_head:
            raise NotHttp(f"the head is larger than {MAX_HEAD} bytes")
        if end < 0:
            return None
        self._room_for_head -= size
        line = bytes(self._input[:end]).removesuffix(b"\r")
        del self._input[:size]
        return line

    def _read_head(self) -> bool:
        end = _END.search(self._input)
        if end is None:
            if len(self._input) >= 5 and not self._input.startswith(b"HTTP/"):
                raise NotHttp("the reply is not HTTP")
            if len(self._input) > self._room_for_head:
                raise NotHttp(f"the head is larger than {MAX_HEAD} bytes")
            return False
        self._room_for_head -= end.end()
        if self._room_for_head < 0:
            raise NotHttp(f"the head is larger than {MAX_HEAD} bytes")
        head = Head(bytes(self._input[: end.start()]))
        del self._input[: end.end()]
        if head.status >= 200:  # not an interim response, such as 100 Continue
            self._begin_body(head)
        return True

    def _begin_body(self, head: Head) -> None:
        self.head, self.reusable, self._body = head, head.reusable, bytearray()
        if head.chunked:
            self._read = self._read_chunk_size
        elif head.length is None:
            self._read = self._read_rest
        else:
            self._check_size(head.length)
            self._left = head.length
            self._read = self._read_counted

    def _check_size(self, size: int) -> None:
        if len(self._body) + size > self._limit:
            raise TooLarge

    def _take(self, size: int) -> None:
        self._check_size(size)
        self._body += self._input[:size]
        del self._input[:size]

    def _read_rest(self) -> bool:
        self._take(len(self._input))
        return False

    def _read_counted(self) -> bool:
        size = min(self._left, len(self._input))
        self._take(size)
        self._left -= size
        self.complete = self._left == 0
        return False

    def _read_chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = _CHUNK.fullmatch(line)
        if size is None:
            raise NotHttp("a chunk of the reply is malformed")
        self._left = int(size[1], 16)
        self._check_size(self._left)
        self._read = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        size = min(self._left, len(self._input))
        self._take(size)
        self._left -= size
        if self._left:
            return False
        self._read = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        line = self._line()
        if line:
            raise NotHttp("a chunk of the reply is malformed")
        self._read = self._read_chunk_size if line is not None else self._read_chunk_end
        return line is not None

    def _read_trailer(self) -> bool:
        line = self._line()
        self.complete = line == b""
        return bool(line)
