"""The kinds of values that settings take: how each is read, shown, and described."""

import ipaddress
import os
import re
from collections.abc import Callable, Collection
from typing import Any, Final

import attrs

from jsonrpcs_tx.catalogue.compatibility import COMPATIBILITIES
from jsonrpcs_tx.errors import without_passwords

DIALECTS: Final = ("kamailio", "jsonrpc2")
"""The names of the dialects; L{jsonrpcs_tx.rpc.envelope} says what they are."""

AUDIT_LEVELS: Final = ("changes", "all")
"""What the audit log may contain."""

FLEET_OFFLINES: Final = ("refuse", "queue")
"""What becomes of changes that servers share while Redis is away."""

LOG_FORMATS: Final = ("text", "json", "journald", "syslog")
"""The names of the formats of the log; L{jsonrpcs_tx.logs.formats} says what they are."""


@attrs.frozen
class Kind:
    """What values a setting takes.

    @ivar parse: makes the value from a string or from a value of the right type; raises ValueError or TypeError.
    @ivar allowed: what is allowed, in words.
    @ivar several: it may be given more than once; the value is a tuple.
    @ivar flag: as an option it needs no value, and then means True.
    @ivar show: writes a value as C{parse} takes it.
    @ivar public: the value as it may be shown, without a password.
    @ivar meant: what a value that is not allowed was probably meant to be; empty if that is unclear.
    """

    parse: Callable[[Any], Any]
    allowed: str
    several: bool = False
    flag: bool = False
    show: Callable[[Any], str] = str
    meant: Callable[[object], str] = lambda value: ""
    public: Callable[[Any], Any] = lambda value: value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def integer(least: int, most: int, unit: str = "") -> Kind:
    """A whole number in a range."""

    def parse(value: object) -> int:
        number = _integer(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return Kind(parse, f"{least} to {most}{unit and ' ' + unit}")


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = float(value)
    if not 0 < number <= 86400:
        raise ValueError
    return number


def _mode(value: object) -> int:
    mode = int(value.removeprefix("0o"), 8) if isinstance(value, str) else _integer(value)
    if not 0 <= mode <= 0o777:
        raise ValueError
    return mode


def octal(value: object) -> str:
    """What a decimal number written as a mode was probably meant to be: C{0o660 or "0660"} for 660; empty for other
    values.
    """
    digits = str(value) if type(value) is int else ""
    return f'0o{digits} or "0{digits}"' if re.fullmatch("[0-7]{3}", digits) else ""


BOOLEANS: Final = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
"""The words for yes and no, in lower case."""


def _boolean(value: object) -> bool:
    return BOOLEANS[str(value).lower()]


def _string(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _path(value: object) -> str:
    """A path as a string, whatever its type."""
    return _string(os.fspath(value) if isinstance(value, os.PathLike) else value)


def _some_path(value: object) -> str:
    if not _path(value):
        raise ValueError
    return _path(value)


def _name(value: object) -> str:
    if not _string(value):
        raise ValueError
    return _string(value)


def _owner(value: object) -> str | int:
    """A user or group by name or number; whether it exists is checked at the start."""
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, int) and value < 0):
        raise TypeError
    return int(value) if isinstance(value, str) and value.isdigit() else value


_NETWORK_SOCKET: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%\w]+)\]|(?P<ipv4>[0-9.]+)):(?P<port>[0-9]{1,5})")


def network_address(protocol: str, value: str) -> tuple[str, int] | None:
    """The host and port of C{PROTOCOL:1.2.3.4:8090} or C{PROTOCOL:[::1]:8090}; None where the value has another form.

    @raise ValueError: it starts like an address, but is invalid.
    """
    if not value.startswith(protocol + ":"):
        return None
    match = _NETWORK_SOCKET.fullmatch(value, len(protocol) + 1)
    if match is None:
        raise ValueError
    host, port = match["ipv6"] or match["ipv4"], int(match["port"])
    ipaddress.ip_address(host)
    if port > 65535:
        raise ValueError
    return host, port


PASSED: Final = "systemd:"
"""The beginning of the address of a socket or FIFO that systemd passes; its name follows."""

_PASSED_NAME: Final = re.compile(PASSED + r"([^:=/\s]{1,255})")


def passed_name(value: str) -> str | None:
    """The name of a socket or FIFO that systemd passes (C{FileDescriptorName} in systemd.socket(5)), of
    C{systemd:NAME}; None where the value has another form.
    """
    match = _PASSED_NAME.fullmatch(value)
    return None if match is None else match[1]


def _fifo(value: object) -> str:
    path = _path(value)
    if path.startswith(PASSED) and passed_name(path) is None:
        raise ValueError
    return path


def _dgram_socket(value: object) -> str:
    address = _fifo(value)
    if network_address("udp", address) is None and re.match("(udp[46]?|tcp|unix):", address):
        raise ValueError
    return address


def _tcp_socket(value: object) -> str:
    address = _string(value)
    if address and network_address("tcp", address) is None and passed_name(address) is None:
        raise ValueError
    return address


def _endpoint(value: object) -> str:
    """A Twisted server endpoint string; its kind is looked up at the start, when the reactor is known."""
    description = _string(value)
    if description and not re.match(r"\w+:", description):
        raise ValueError
    return description


def _network(value: object) -> str:
    return str(ipaddress.ip_network(_string(value)))


def _http_path(value: object) -> str:
    if not re.fullmatch(r"/[!-~]*", _string(value)) or re.search("[?#]", _string(value)):
        raise ValueError
    return _string(value)


def _http_path_or_none(value: object) -> str:
    return _http_path(value) if value != "" else ""


def _console_path(value: object) -> str:
    """A path that browsers keep as it is, and that has others below it."""
    text = _string(value)
    if text and not re.fullmatch(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+", text):
        raise ValueError
    return text


def _origin(value: object) -> str:
    if not re.fullmatch(r"https?://[!-.0-~]+", _string(value)):
        raise ValueError
    return _string(value).lower()


def _proxy(value: object) -> str:
    return "unix" if value == "unix" else _network(value)


def _notification(value: object) -> int:
    if _integer(value) not in (200, 204):
        raise ValueError
    return _integer(value)


def _one_of(names: Collection[str]) -> "Kind":
    """The kind of a value that is one of some names; in a file, a number may stand for a name."""

    def parse(value: object) -> str:
        if str(value) not in names:
            raise ValueError
        return str(value)

    return Kind(parse, ", ".join((*list(names)[:-2], " or ".join(list(names)[-2:]))))


def _matching(pattern: str) -> Callable[[object], str]:
    """The check that a value is a string that a pattern matches as a whole."""

    def check(value: object) -> str:
        if not re.fullmatch(pattern, _string(value)):
            raise ValueError
        return _string(value)

    return check


_token = _matching(r"(?a:[\w.!%*+`'~-]+)")
_sip_uri = _matching(r"sips?:[!-~]+")
_reply_codes = _matching(r"((class=[1-6]|code=[1-6]\d\d)(;|$))*")
_host = _matching(r"\*|(?a:(\*\.)?[\w-]+(\.[\w-]+)*\.?)")
_shared = _matching(r"[^\s=]+=(i:[+-]?[0-9]{1,18}|s:.*)")
_htable = _matching(r"\s*[^\s=>;]+\s*(=>.*)?")
_version = _matching(r"(?a:\d{1,3}\.\d{1,3}\.\d{1,3})?")
_define = _matching(r"(?s:[^=]+(=.*)?)")
_module = _matching("core|dispatcher|htable|pv")


def _fleet_name(value: object) -> str:
    text = _string(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", text):
        raise ValueError
    return text


def _fleet_share(value: object) -> str:
    text = _string(value)
    if not re.fullmatch(r"dispatcher|shv|(htable|cfg):[^\s:]{1,100}", text):
        raise ValueError
    return text


def _fleet_wanted(value: object) -> str:
    text = _fleet_share(value)
    if text == "shv":
        raise ValueError
    return text


def several(kind: Kind) -> Kind:
    """Any number of values of a kind. A string is one value, and an empty string is none."""
    return attrs.evolve(
        kind,
        several=True,
        show=lambda values: " ".join(map(kind.show, values)),
        public=lambda values: tuple(map(kind.public, values)),
    )


SWITCH: Final = Kind(_boolean, "1, yes or true; 0, no or false", flag=True, show=lambda value: "yes" if value else "no")
MODE: Final = Kind(
    _mode,
    "a file mode in octal, 0001 to 0777 (0 is taken as 0600)",
    show=lambda mode: f"{mode:04o}",
    meant=octal,
)
FILE: Final = Kind(_path, "a path, or empty")
FIFO: Final = Kind(_fifo, "a path, systemd:NAME, or empty")
OWNER: Final = Kind(_owner, "a name or a number")
SECONDS: Final = Kind(_seconds, "a number of seconds above 0, up to 86400", show=lambda value: f"{value:g}")
MILLISECONDS: Final = integer(1, 600_000, "milliseconds")
ENDPOINT: Final = Kind(_endpoint, "a Twisted endpoint string such as tcp:8080:interface=127.0.0.1")
NAME: Final = Kind(_name, "a name")
AUDIT_LEVEL: Final = _one_of(AUDIT_LEVELS)
DIALECT: Final = _one_of(DIALECTS)
COMPATIBILITY: Final = _one_of(COMPATIBILITIES)
LOG_FORMAT: Final = _one_of(LOG_FORMATS)
PATH: Final = Kind(_some_path, "a path")
DGRAM_SOCKET: Final = Kind(_dgram_socket, "a path, udp:1.2.3.4:8090, udp:[::1]:8090 or systemd:NAME")
TCP_SOCKET: Final = Kind(_tcp_socket, "tcp:1.2.3.4:8092, tcp:[::1]:8092 or systemd:NAME")
HTTP_PATH: Final = Kind(_http_path, "a path that starts with /, without ? and #")
PAGE_PATH: Final = Kind(_http_path_or_none, f"{HTTP_PATH.allowed}; or empty")
CONSOLE_PATH: Final = Kind(
    _console_path, "a path that starts with /, of letters, digits and any of ._~-, without / at its end; or empty"
)
NETWORK: Final = Kind(_network, "a network such as 192.0.2.0/24 or an address")
ORIGIN: Final = Kind(_origin, "scheme://host or scheme://host:port")
NODE: Final = Kind(_string, "NAME=TARGET, see docs/gateway.md", public=without_passwords)
FLEET: Final = Kind(_string, "where Redis is, see docs/fleet.md; or empty", public=without_passwords)
FLEET_ADDRESS: Final = Kind(_string, "a target, see docs/client.md; or empty", public=without_passwords)
FLEET_NAME: Final = Kind(_fleet_name, "up to 64 letters, digits, '.', '_' and '-'")
FLEET_SHARE: Final = Kind(_fleet_share, "dispatcher, htable:NAME, cfg:GROUP or shv")
FLEET_WANTED: Final = Kind(_fleet_wanted, "dispatcher, htable:NAME or cfg:GROUP")
FLEET_OFFLINE: Final = _one_of(FLEET_OFFLINES)
RULE: Final = Kind(_string, "a rule, see docs/access.md")
SIP_METHOD: Final = Kind(_token, "a SIP method")
SIP_URI: Final = Kind(_sip_uri, "a SIP URI")
REPLY_CODES: Final = Kind(_reply_codes, "class=C or code=CCC, separated by semicolons")
HTABLE: Final = Kind(_htable, "NAME=>size=4;autoexpire=60; as in Kamailio's htable")
SHARED: Final = Kind(_shared, "NAME=i:NUMBER or NAME=s:TEXT")
HOST: Final = Kind(_host, "a host name, *.example.com for all names below one, or * for any")
VERSION: Final = Kind(_version, "three numbers, such as 5.6.3, or empty")
DEFINE: Final = Kind(_define, "NAME or NAME=VALUE")
MODULE: Final = Kind(_module, "core, dispatcher, htable or pv")
PROXY: Final = Kind(_proxy, "a network such as 192.0.2.0/24, an address, or unix for clients of a Unix socket")
NOTIFICATION: Final = Kind(_notification, "200 or 204")
