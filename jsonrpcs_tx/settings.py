"""Every setting, once: its name, default, type, range and help. Options, files and documentation come from here.

Names and defaults are those of the parameters of Kamailio's jsonrpcs module where it has them.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from jsonrpcs_tx.envelope import DIALECTS
from jsonrpcs_tx.log import LEAST_DEBUG, MOST_DEBUG

HTTP: Final = 1
FIFO: Final = 2
DATAGRAM: Final = 4
TCP: Final = 8


class SettingError(ValueError):
    """A setting has a value that is not allowed.

    @param name: of the setting.
    @param value: as it was given.
    @param allowed: what is allowed, in words.
    """

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name}: {_shown(value)} is not allowed; allowed: {allowed}")
        self.name = name
        self.value = value
        self.allowed = allowed


def _shown(value: object) -> str:
    """A value for a message."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, tables in tables in tables
        return f"a value of type {type(value).__name__} that is too large to be shown"


@attrs.frozen
class Kind:
    """What values a setting takes.

    @ivar parse: makes the value from a string or from a value of the right type; raises ValueError or TypeError.
    @ivar allowed: what is allowed, in words.
    @ivar several: it may be given more than once; the value is a tuple.
    @ivar flag: as an option it stands alone, and means True.
    @ivar show: writes a value as C{parse} takes it.
    """

    parse: Callable[[Any], Any]
    allowed: str
    several: bool = False
    flag: bool = False
    show: Callable[[Any], str] = str


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


def _boolean(value: object) -> bool:
    words = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    return words[str(value).lower()]


def _string(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _directory(value: object) -> str:
    if not _string(value):
        raise ValueError
    return _string(value)


def _owner(value: object) -> str | int:
    """A user or group by name or number; whether it exists is found out at the start."""
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, int) and value < 0):
        raise TypeError
    return int(value) if isinstance(value, str) and value.isdigit() else value


_NETWORK_SOCKET: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%\w]+)\]|(?P<ipv4>[0-9.]+)):(?P<port>[0-9]{1,5})")


def network_address(protocol: str, value: str) -> tuple[str, int] | None:
    """The host and port of C{PROTOCOL:1.2.3.4:8090} or C{PROTOCOL:[::1]:8090}; None where the value is no such thing.

    @raise ValueError: it starts like one, and is none.
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


def _dgram_socket(value: object) -> str:
    address = _string(value)
    if network_address("udp", address) is None and re.match("(udp[46]?|tcp|unix):", address):
        raise ValueError
    return address


def _tcp_socket(value: object) -> str:
    address = _string(value)
    if address and network_address("tcp", address) is None:
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


def _dialect(value: object) -> str:
    if value not in DIALECTS:
        raise ValueError
    return str(value)


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
_htable = _matching(r"\s*[^\s=>;]+\s*(=>.*)?")


def _several(kind: Kind) -> Kind:
    """Any number of values of a kind; a string is one value, an empty one none."""
    return attrs.evolve(kind, several=True, show=lambda values: " ".join(map(kind.show, values)))


_SWITCH = Kind(_boolean, "1, yes or true; 0, no or false", flag=True, show=lambda value: "yes" if value else "no")
_MODE = Kind(_mode, "a file mode in octal, 0001 to 0777 (0 is taken as 0600)", show=lambda mode: f"{mode:04o}")
_FILE = Kind(_string, "a path, or nothing")
_OWNER = Kind(_owner, "a name or a number")
_SECONDS = Kind(_seconds, "a number of seconds above 0, up to 86400", show=lambda value: f"{value:g}")
_MILLISECONDS = integer(1, 600_000, "milliseconds")
_ENDPOINT = Kind(_endpoint, "a Twisted endpoint string such as tcp:8080:interface=127.0.0.1")
_NAME = Kind(_directory, "a name")


def _setting(default: Any, kind: Kind, help: str, module: str = "jsonrpcs") -> Any:
    return attrs.field(default=default, metadata={"kind": kind, "help": help, "module": module})


def _with_converters(cls: type, fields: list[Any]) -> list[Any]:
    """Have every field parse its value, and say in an error which setting it is."""

    def parse(value: object, field: Any) -> object:
        kind = field.metadata["kind"]
        try:
            return kind.parse(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise SettingError(field.name, value, kind.allowed) from None

    def convert(value: Any, field: Any) -> object:
        if not field.metadata["kind"].several:
            return parse(value, field)
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(parse(one, field) for one in values if one != "")

    return [field.evolve(converter=attrs.Converter(convert, takes_field=True)) for field in fields]


@attrs.frozen(kw_only=True, field_transformer=_with_converters)
class Settings:
    """The settings of a server. A value may be given as a string, too, as options and files have it.

    @raise SettingError: a value is not allowed.
    """

    transport: int = _setting(
        6,
        integer(0, HTTP | FIFO | DATAGRAM | TCP),
        "transports to enable: the sum of 1 HTTP and HTTPS, 2 FIFO, 4 datagram, 8 TCP; 0 all whose address is set",
    )
    dialect: str = _setting(
        "kamailio",
        Kind(_dialect, " or ".join(DIALECTS)),
        "kamailio: answer as Kamailio does; jsonrpc2: follow the JSON-RPC 2.0 specification to the letter",
    )
    pretty_format: int = _setting(
        0,
        integer(0, 1),
        "1: lay out replies for people, as kamctl wants them, up to 350,000 bytes; 0, and beyond: compact",
    )
    run_dir: str = _setting(".", Kind(_directory, "a path"), "directory that relative paths lie in")
    fifo_name: str = _setting("kamailio_rpc.fifo", _FILE, "FIFO that requests are written to; nothing: none")
    fifo_mode: int = _setting(0o660, _MODE, "mode of the FIFO, in octal")
    fifo_user: str | int = _setting("", _OWNER, "user that owns the FIFO, by name or number; default: of the process")
    fifo_group: str | int = _setting("", _OWNER, "group of the FIFO, by name or number; default: of the process")
    fifo_reply_dir: str = _setting("/tmp/", Kind(_directory, "a path"), "directory of the clients' reply FIFOs")
    fifo_timeout: int = _setting(
        2000, _MILLISECONDS, "time in ms from the first byte of a request to its last, and for the reader of a reply"
    )
    fifo_max_request: int = _setting(
        65_456, integer(256, 16_777_216, "bytes"), "size in bytes above which a request over the FIFO is given up"
    )
    dgram_socket: Sequence[str] = _setting(
        ("kamailio_rpc.sock",),
        _several(Kind(_dgram_socket, "a path, udp:1.2.3.4:8090 or udp:[::1]:8090")),
        "Unix datagram socket (a path) or UDP address (udp:1.2.3.4:8090, udp:[::1]:8090); "
        "given more than once, all are opened",
    )
    dgram_workers: int = _setting(
        1,
        integer(1, 64),
        "processes that read datagrams; more than 1: workers, which run commands that are free of state",
    )
    dgram_mode: int = _setting(0o660, _MODE, "mode of the Unix datagram socket, in octal")
    dgram_user: str | int = _setting("", _OWNER, "user that owns the Unix socket, by name or number")
    dgram_group: str | int = _setting("", _OWNER, "group of the Unix socket, by name or number")
    dgram_timeout: int = _setting(
        2000, _MILLISECONDS, "how long in ms to try to send a reply to a client whose queue is full"
    )
    tcp_socket: str = _setting(
        "", Kind(_tcp_socket, "tcp:1.2.3.4:8092 or tcp:[::1]:8092"), "TCP address for plain JSON, tcp:1.2.3.4:8092"
    )
    http_listen: Sequence[str] = _setting(
        ("tcp:8080:interface=127.0.0.1",),
        _several(_ENDPOINT),
        "Twisted endpoint string to listen on for HTTP; given more than once, all are opened",
    )
    https_listen: Sequence[str] = _setting(
        ("tcp:8443:interface=127.0.0.1",),
        _several(_ENDPOINT),
        "Twisted endpoint string to listen on for HTTPS, if a certificate is set; given more than once, all are opened",
    )
    http_mode: int = _setting(
        0o660, _MODE, "mode of the Unix sockets of HTTP(S), in octal; for one of them: unix:PATH:mode=600"
    )
    http_user: str | int = _setting("", _OWNER, "user that owns the Unix sockets of HTTP(S), by name or number")
    http_group: str | int = _setting("", _OWNER, "group of the Unix sockets of HTTP(S), by name or number")
    http_path: str = _setting(
        "/RPC", Kind(_http_path, "a path that starts with /, without ? and #"), "URL path that requests start with"
    )
    http_allow: Sequence[str] = _setting(
        ("127.0.0.0/8", "::1/128"),
        _several(Kind(_network, "a network such as 192.0.2.0/24 or an address")),
        "network whose clients may call over HTTP(S), others are closed at once; given more than once, all may",
    )
    http_origin: Sequence[str] = _setting(
        (),
        _several(Kind(_origin, "scheme://host or scheme://host:port")),
        "origin of web pages, besides the server's own, that may call; given more than once, all may",
    )
    http_host: Sequence[str] = _setting(
        (),
        _several(Kind(_host, "a host name, *.example.com for all names below one, or * for any")),
        "name that clients of HTTP(S) may call the server by, as their Host header has it, besides IP addresses, "
        "localhost, the machine's own name and those in the certificate; given more than once, all may be used; see "
        "docs/access.md",
    )
    http_proxy: Sequence[str] = _setting(
        (),
        _several(Kind(_proxy, "a network such as 192.0.2.0/24, an address, or unix for clients of a Unix socket")),
        "network of proxies whose headers Forwarded and X-Forwarded-For say who calls over HTTP(S); given more than "
        "once, all count; see docs/access.md",
    )
    http_notification: int = _setting(
        200,
        Kind(_notification, "200 or 204"),
        "HTTP status where there is no reply, as to a notification in dialect jsonrpc2: 200 with an empty body, which "
        "most clients take, or 204",
    )
    http_users: str = _setting(
        "", _FILE, "file with users and hashed passwords, who alone may call over HTTP(S); see docs/access.md"
    )
    rule: Sequence[str] = _setting(
        (),
        _several(Kind(_string, "a rule, see docs/access.md")),
        "who may call what: udp 192.0.2.0/24 allow dispatcher.* deny core.kill; given more than once, all count",
    )
    http_max_body: int = _setting(
        1_048_576, integer(256, 1_073_741_824, "bytes"), "size in bytes above which a request over HTTP(S) gets 413"
    )
    http_timeout: float = _setting(
        60.0,
        _SECONDS,
        "seconds after which an idle HTTP or TCP connection is closed, or one whose request is not whole, or whose "
        "client has not taken the reply",
    )
    max_connections: int = _setting(
        400,
        integer(1, 1_000_000),
        "connections that may be open at each address of HTTP, HTTPS and TCP; further ones wait, and for one that "
        "waits the one is closed that has been idle for the longest time, if that is a second",
    )
    tls_certificate: str = _setting(
        "", _FILE, "file with the certificate and its chain, in PEM; turns HTTPS on (with transport 1)"
    )
    tls_private_key: str = _setting("", _FILE, "file with the private key, in PEM; default: the certificate's file")
    tls_ca: str = _setting(
        "", _FILE, "file with CA certificates, in PEM; then clients need a certificate of one of them"
    )
    tls_self_signed: bool = _setting(
        False, _SWITCH, "make a self-signed certificate for localhost, tls.pem unless set, where there is none"
    )
    async_timeout: float = _setting(60.0, _SECONDS, "seconds that an asynchronous command may take")
    async_limit: int = _setting(
        1000, integer(1, 100_000), "asynchronous commands that may be in progress at the same time; more get 503"
    )
    async_limit_client: int = _setting(
        100,
        integer(1, 100_000),
        "how many of these may be one client's: a user's, an address's, or from this machine a connection's",
    )
    store_path: str = _setting(
        "",
        _FILE,
        "directory in which clients may have replies stored, with a member store_path of the request that names a "
        "file; nothing: such a member counts for nothing",
    )
    load: Sequence[str] = _setting(
        ("all",),
        _several(_NAME),
        "family of commands to load: a built-in one or an entry point; given more than once, all of these; "
        "all: every one there is",
    )
    commands: Sequence[str] = _setting(
        (),
        _several(_NAME),
        "module with commands of yours, package.module or package.module:Class; may be given more than once",
    )
    list_file: str = _setting(
        "", _FILE, "file with the sets of destinations, in the format of Kamailio's dispatcher", module="dispatcher"
    )
    reload_delta: int = _setting(
        5, integer(0, 86400, "seconds"), "least seconds from one dispatcher.reload to the next", module="dispatcher"
    )
    ds_ping_interval: int = _setting(
        0,
        integer(0, 86400, "seconds"),
        "seconds between two rounds in which destinations are probed with SIP requests; 0: they are not",
        module="dispatcher",
    )
    ds_ping_method: str = _setting(
        "OPTIONS", Kind(_token, "a SIP method"), "method of the SIP requests that probe", module="dispatcher"
    )
    ds_ping_from: str = _setting(
        "sip:dispatcher@localhost", Kind(_sip_uri, "a SIP URI"), "From URI of these", module="dispatcher"
    )
    ds_probing_mode: int = _setting(
        0,
        integer(0, 3),
        "which destinations are probed: 0 those with the probing flag, 1 all, 2 those both inactive and with the "
        "flag, 3 those with the flag in the list file",
        module="dispatcher",
    )
    ds_probing_threshold: int = _setting(
        1, integer(1, 1000), "failed probes after which a destination is inactive", module="dispatcher"
    )
    ds_inactive_threshold: int = _setting(
        1, integer(1, 1000), "answered probes after which an inactive destination is active", module="dispatcher"
    )
    ds_ping_reply_codes: str = _setting(
        "",
        Kind(_reply_codes, "class=C or code=CCC, parted by semicolons"),
        "SIP replies, besides 2xx, that count as an answer: class=4;code=501",
        module="dispatcher",
    )
    htable: Sequence[str] = _setting(
        (),
        _several(Kind(_htable, "NAME=>size=4;autoexpire=60; as in Kamailio's htable")),
        "hash table for htable.*, a=>size=4;autoexpire=60;initval=0; may be given more than once",
        module="htable",
    )
    htable_db: str = _setting(
        "", _FILE, "SQLite file that hash tables are kept in from one run to the next; nothing: they are not kept"
    )
    fast_paths: bool = _setting(
        True,
        Kind(_boolean, _SWITCH.allowed, show=_SWITCH.show),
        "answer ordinary requests on the shortest way; no: all on the general one, to find out which is at fault",
    )
    watchdog: int = _setting(
        1000,
        integer(0, 600_000, "milliseconds"),
        "how long in ms a command may hold up all others before the log says where it is; 0: it is not watched",
    )
    debug: int = _setting(
        2, integer(LEAST_DEBUG, MOST_DEBUG), "log level, as Kamailio counts: 3 debug, 2 info, 0 warning, -1 error"
    )

    def __attrs_post_init__(self) -> None:
        """Check what one setting asks of another."""
        for bit, name, needs in (
            (FIFO, "fifo_name", "a path, with transport 2"),
            (DATAGRAM, "dgram_socket", "an address, with transport 4"),
            (TCP, "tcp_socket", "an address, with transport 8"),
        ):
            if self.transport & bit and not getattr(self, name):
                raise SettingError(name, getattr(self, name), needs)
        if not self.tls_certificate and not self.tls_self_signed:
            for name in ("tls_private_key", "tls_ca"):
                if getattr(self, name):
                    raise SettingError(name, getattr(self, name), "nothing, without tls_certificate")

    def enables(self, bit: int) -> bool:
        """Whether a transport is enabled, L{HTTP}, L{FIFO}, L{DATAGRAM} or L{TCP}."""
        return not self.transport or bool(self.transport & bit)

    def path(self, name: str) -> str:
        """A path as the process sees it: relative ones lie in C{run_dir}."""
        return os.path.join(self.run_dir, name)


@attrs.frozen
class Field:
    """What is known of a setting besides its value.

    @ivar module: Kamailio's module whose C{modparam} it is.
    """

    name: str
    default: Any
    kind: Kind
    help: str
    module: str

    @property
    def option(self) -> str:
        """Its name on the command line, without the dashes before it."""
        return self.name.replace("_", "-")

    @property
    def shown_default(self) -> str:
        return self.kind.show(self.default)


def fields() -> Iterator[Field]:
    """All settings, in the order of their definition."""
    for field in attrs.fields(Settings):
        yield Field(field.name, field.default, **field.metadata)


def from_values(values: Mapping[str, Any]) -> Settings:
    """Settings from values by name, those that are not given at their defaults.

    @raise SettingError: a name is not known or a value is not allowed.
    """
    known = {field.name for field in fields()}
    for name, value in values.items():
        if name not in known:
            raise SettingError(name, value, "one of the settings " + ", ".join(sorted(known)))
    return Settings(**values)


def document() -> str:
    """The reference of all settings, in Markdown: docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Each is given as an option of `twistd jsonrpcs` (`--dgram-socket`), in a TOML file (`--config FILE`),",
        'in a line `modparam("jsonrpcs", "dgram_socket", ...)` (`--modparams`), or as an argument of `Settings`.',
        "An option wins over `--config`, and that over `--modparams`.",
        "",
        "| setting | default | allowed | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for field in fields():
        default = f"`{field.shown_default}`" if field.shown_default else ""
        several = "; several" if field.kind.several else ""
        lines.append(f"| `{field.name}` | {default} | {field.kind.allowed}{several} | {field.help} |")
    return "\n".join(lines) + "\n"
