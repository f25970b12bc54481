"""Every setting, once: its name, default, type, range and help. Options, files and documentation come from here.

Names and defaults are those of the parameters of Kamailio's jsonrpcs module where it has them.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from jsonrpcs_tx.config import kinds
from jsonrpcs_tx.errors import SettingError
from jsonrpcs_tx.log import LEAST_DEBUG, MOST_DEBUG

HTTP: Final = 1
FIFO: Final = 2
DATAGRAM: Final = 4
TCP: Final = 8


def _setting(default: Any, kind: kinds.Kind, help: str, *, module: str = "jsonrpcs", live: bool = False) -> Any:
    return attrs.field(default=default, metadata={"kind": kind, "help": help, "module": module, "live": live})


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
        kinds.integer(0, HTTP | FIFO | DATAGRAM | TCP),
        "transports to enable: the sum of 1 HTTP and HTTPS, 2 FIFO, 4 datagram, 8 TCP; 0 all whose address is set",
    )
    dialect: str = _setting(
        "kamailio",
        kinds.DIALECT,
        "kamailio: answer as Kamailio does; jsonrpc2: follow the JSON-RPC 2.0 specification to the letter",
    )
    pretty_format: int = _setting(
        0, kinds.integer(0, 1), "1: lay out replies for people, as kamctl wants them; 0: compact"
    )
    run_dir: str = _setting(".", kinds.PATH, "directory that relative paths lie in")
    fifo_name: str = _setting("kamailio_rpc.fifo", kinds.FILE, "FIFO that requests are written to; nothing: none")
    fifo_mode: int = _setting(0o660, kinds.MODE, "mode of the FIFO, in octal")
    fifo_user: str | int = _setting(
        "", kinds.OWNER, "user that owns the FIFO, by name or number; default: of the process"
    )
    fifo_group: str | int = _setting("", kinds.OWNER, "group of the FIFO, by name or number; default: of the process")
    fifo_reply_dir: str = _setting("/tmp/", kinds.PATH, "directory of the clients' reply FIFOs")
    fifo_timeout: int = _setting(
        2000,
        kinds.MILLISECONDS,
        "how long in ms to wait for the rest of a request, and for the reader of a reply",
        live=True,
    )
    fifo_max_request: int = _setting(
        65_456,
        kinds.integer(256, 16_777_216, "bytes"),
        "size in bytes above which a request over the FIFO is given up",
        live=True,
    )
    dgram_socket: Sequence[str] = _setting(
        ("kamailio_rpc.sock",),
        kinds.several(kinds.DGRAM_SOCKET),
        "Unix datagram socket (a path) or UDP address (udp:1.2.3.4:8090, udp:[::1]:8090); "
        "given more than once, all are opened",
    )
    dgram_workers: int = _setting(
        1,
        kinds.integer(1, 64),
        "processes that read datagrams; more than 1: workers, which run commands that are free of state",
    )
    dgram_mode: int = _setting(0o660, kinds.MODE, "mode of the Unix datagram socket, in octal")
    dgram_user: str | int = _setting("", kinds.OWNER, "user that owns the Unix socket, by name or number")
    dgram_group: str | int = _setting("", kinds.OWNER, "group of the Unix socket, by name or number")
    dgram_timeout: int = _setting(
        2000,
        kinds.MILLISECONDS,
        "how long in ms to try to send a reply to a client whose queue is full",
        live=True,
    )
    tcp_socket: str = _setting("", kinds.TCP_SOCKET, "TCP address for plain JSON, tcp:1.2.3.4:8092")
    http_listen: Sequence[str] = _setting(
        ("tcp:8080:interface=127.0.0.1",),
        kinds.several(kinds.ENDPOINT),
        "Twisted endpoint string to listen on for HTTP; given more than once, all are opened",
    )
    https_listen: Sequence[str] = _setting(
        ("tcp:8443:interface=127.0.0.1",),
        kinds.several(kinds.ENDPOINT),
        "Twisted endpoint string to listen on for HTTPS, if a certificate is set; given more than once, all are opened",
    )
    http_path: str = _setting("/RPC", kinds.HTTP_PATH, "URL path that requests start with")
    http_allow: Sequence[str] = _setting(
        ("127.0.0.0/8", "::1/128"),
        kinds.several(kinds.NETWORK),
        "network whose clients may call over HTTP(S); given more than once, all may",
    )
    http_origin: Sequence[str] = _setting(
        (),
        kinds.several(kinds.ORIGIN),
        "origin of web pages, besides the server's own, that may call; given more than once, all may",
    )
    http_users: str = _setting(
        "", kinds.FILE, "file with users and hashed passwords, who alone may call over HTTP(S); see docs/access.md"
    )
    rule: Sequence[str] = _setting(
        (),
        kinds.several(kinds.RULE),
        "who may call what: udp 192.0.2.0/24 allow dispatcher.* deny core.kill; given more than once, all count",
    )
    http_max_body: int = _setting(
        1_048_576,
        kinds.integer(256, 1_073_741_824, "bytes"),
        "size in bytes above which a request over HTTP(S) gets 413",
        live=True,
    )
    http_timeout: float = _setting(
        60.0,
        kinds.SECONDS,
        "seconds after which an idle HTTP or TCP connection is closed, or one whose request is not whole",
        live=True,
    )
    max_connections: int = _setting(
        400,
        kinds.integer(1, 1_000_000),
        "connections that may be open at each address of HTTP, HTTPS and TCP; for a further one the one that was idle "
        "for the longest time is closed",
        live=True,
    )
    tls_certificate: str = _setting(
        "", kinds.FILE, "file with the certificate and its chain, in PEM; turns HTTPS on (with transport 1)"
    )
    tls_private_key: str = _setting(
        "", kinds.FILE, "file with the private key, in PEM; default: the certificate's file"
    )
    tls_ca: str = _setting(
        "", kinds.FILE, "file with CA certificates, in PEM; then clients need a certificate of one of them"
    )
    tls_self_signed: bool = _setting(
        False, kinds.SWITCH, "make a self-signed certificate for localhost, tls.pem unless set, where there is none"
    )
    async_timeout: float = _setting(60.0, kinds.SECONDS, "seconds that an asynchronous command may take", live=True)
    async_limit: int = _setting(
        1000,
        kinds.integer(1, 100_000),
        "asynchronous commands that may be at work at the same time; more get 503",
        live=True,
    )
    store_path: str = _setting(
        "",
        kinds.FILE,
        "directory in which clients may have replies stored, with a member store_path of the request that names a "
        "file; nothing: such a member counts for nothing",
    )
    load: Sequence[str] = _setting(
        ("all",),
        kinds.several(kinds.NAME),
        "family of commands to load: a built-in one or an entry point; given more than once, all of these; "
        "all: every one there is",
    )
    commands: Sequence[str] = _setting(
        (),
        kinds.several(kinds.NAME),
        "module with commands of yours, package.module or package.module:Class; may be given more than once",
    )
    list_file: str = _setting(
        "",
        kinds.FILE,
        "file with the sets of destinations, in the format of Kamailio's dispatcher",
        module="dispatcher",
    )
    reload_delta: int = _setting(
        5,
        kinds.integer(0, 86400, "seconds"),
        "least seconds from one dispatcher.reload to the next",
        module="dispatcher",
    )
    ds_ping_interval: int = _setting(
        0,
        kinds.integer(0, 86400, "seconds"),
        "seconds between two rounds in which destinations are probed with SIP requests; 0: they are not",
        module="dispatcher",
    )
    ds_ping_method: str = _setting(
        "OPTIONS", kinds.SIP_METHOD, "method of the SIP requests that probe", module="dispatcher"
    )
    ds_ping_from: str = _setting("sip:dispatcher@localhost", kinds.SIP_URI, "From URI of these", module="dispatcher")
    ds_probing_mode: int = _setting(
        0,
        kinds.integer(0, 3),
        "which destinations are probed: 0 those with the probing flag, 1 all, 2 those both inactive and with the "
        "flag, 3 those with the flag in the list file",
        module="dispatcher",
    )
    ds_probing_threshold: int = _setting(
        1, kinds.integer(1, 1000), "failed probes after which a destination is inactive", module="dispatcher"
    )
    ds_inactive_threshold: int = _setting(
        1, kinds.integer(1, 1000), "answered probes after which an inactive destination is active", module="dispatcher"
    )
    ds_ping_reply_codes: str = _setting(
        "",
        kinds.REPLY_CODES,
        "SIP replies, besides 2xx, that count as an answer: class=4;code=501",
        module="dispatcher",
    )
    htable: Sequence[str] = _setting(
        (),
        kinds.several(kinds.HTABLE),
        "hash table for htable.*, a=>size=4;autoexpire=60;initval=0; may be given more than once",
        module="htable",
    )
    htable_db: str = _setting(
        "", kinds.FILE, "SQLite file that hash tables are kept in from one run to the next; nothing: they are not kept"
    )
    fast_paths: bool = _setting(
        True,
        kinds.YES_OR_NO,
        "answer ordinary requests on the shortest way; no: all on the general one, to find out which is at fault",
    )
    watchdog: int = _setting(
        1000,
        kinds.integer(0, 600_000, "milliseconds"),
        "how long in ms a command may hold up all others before the log says where it is; 0: it is not watched",
    )
    debug: int = _setting(
        2, kinds.integer(LEAST_DEBUG, MOST_DEBUG), "log level, as Kamailio counts: 3 debug, 2 info, 0 warning, -1 error"
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
    @ivar live: it can be changed while a server runs.
    """

    name: str
    default: Any
    kind: kinds.Kind
    help: str
    module: str
    live: bool

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
