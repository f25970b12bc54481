"""How values are shown in the log: printable text only, cut where it is long, and whom a line is about.

What a client sends reaches the log with its control characters, line breaks, bidirectional overrides and lone
surrogates escaped.
"""

from collections.abc import Mapping
from io import StringIO
from typing import Any, Final, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from jsonrpcs_tx.printable import printable

MAX_VALUE: Final = 500
"""Characters of one value in a message; for bytes, bytes."""

MAX_TEXT: Final = 16_384
"""Characters of a whole message that comes from elsewhere, and of a traceback."""

_ANY_SIZE: Final = 2**64
"""Integers below it are shown as numbers; larger ones may be too long to be formatted."""


def printable_lines(text: str) -> str:
    """A text of several lines, each printable; the middle of one longer than L{MAX_TEXT} is left out."""
    if len(text) > MAX_TEXT:
        text = f"{text[: MAX_TEXT // 2]}\n... ({len(text):,} in all)\n{text[-MAX_TEXT // 2 :]}"
    return "\n".join(map(printable, text.rstrip("\n").split("\n")))


def shown(value: object) -> Any:
    """A value as a message may show it: a number, or printable text that is cut after L{MAX_VALUE} characters."""
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < _ANY_SIZE):
        return value
    if isinstance(value, bytes | bytearray):
        return _cut(bytes(value[:MAX_VALUE]).decode(errors="backslashreplace"), len(value))
    text = value if isinstance(value, str) else safe_str(value)
    return _cut(text[:MAX_VALUE], len(text))


def _cut(start: str, size: int) -> str:
    return printable(start) if size <= MAX_VALUE else f"{printable(start)}... ({size:,} in all)"


class Party(NamedTuple):
    """Whom a line is about.

    @ivar text: in words: C{192.0.2.1:5060}, C{[2001:db8::1]:5060}, a path, C{http 192.0.2.1 user='ann'}.
    @ivar fields: the same as fields: C{peer}, an IP address or a path, C{port}, and what its type tells.
    """

    text: str
    fields: Mapping[str, Any]

    @property
    def source(self) -> Any:
        """The key that tells apart whom lines are about: for IP addresses the host, whatever the port."""
        return self.fields.get("peer", self.text)


def party(value: Any) -> Party:
    """Whom a line is about, from what a transport knows of it.

    @param value: an address as sockets or Twisted have them, or a text; or an object whose C{log_fields()} returns the
        fields, and whose C{str()} is the text.
    """
    if hasattr(value, "log_fields"):
        try:
            fields = value.log_fields()
        except Exception:  # of a connection that has ended, for example
            fields = {}
        return Party(shown(value), {name: shown(field) for name, field in fields.items()})
    if isinstance(value, UNIXAddress):
        value = value.name
    if value is None or value in (b"", ""):
        return Party("a Unix socket without a name", {})
    if isinstance(value, IPv4Address | IPv6Address):
        value = value.host, value.port
    if isinstance(value, tuple) and len(value) >= 2:
        host, port = shown(value[0]), shown(value[1])
        return Party(f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}", {"peer": host, "port": port})
    return Party(shown(value), {"peer": shown(value)})


class PrintableFailure(Failure):
    """A failure whose traceback shows the message of its exception, which may hold anything, in one printable line."""

    def __init__(self, failure: Failure) -> None:
        self.__dict__.update(failure.__dict__)

    def printTraceback(self, file: Any = None, elideFrameworkCode: bool = False, detail: str = "default") -> None:
        """Write the traceback to a file, see C{Failure.printTraceback}."""
        text = StringIO()
        super().printTraceback(text, elideFrameworkCode, detail)
        lines, message = text.getvalue(), self.getErrorMessage()
        if message:
            lines = lines.replace(message, str(shown(message)))
        file.write(printable_lines(lines) + "\n")
