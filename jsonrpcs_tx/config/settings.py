"""Every setting, once: its name, default, type, range and help. Options, files and documentation come from here.

Names and defaults are those of the parameters of Kamailio's jsonrpcs module where it has them.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from jsonrpcs_tx.catalogue import nearest
from jsonrpcs_tx.config import kinds
from jsonrpcs_tx.errors import SettingError, UnknownSetting
from jsonrpcs_tx.log import LEAST_DEBUG, MOST_DEBUG
from jsonrpcs_tx.protocols import ALL_BITS, PROTOCOLS

HTTP, FIFO, DATAGRAM, TCP = (PROTOCOLS[name].bit for name in ("http", "fifo", "unix", "tcp"))


SELF_SIGNED_NAME: Final = "tls.pem"
"""The file of the certificate that is made with C{tls_self_signed}, unless C{tls_certificate} names another."""

StrPath: TypeAlias = str | os.PathLike[str]
"""The types of a path; settings hold it as a string."""


OWN_MODULE: Final = "jsonrpcs"
"""The module of Kamailio to whose parameters most settings correspond."""


class _Default:
    """Marks the default of a setting that says what to open, until it is known whether any such setting was given."""


class _DefaultNumber(_Default, int):
    pass


class _DefaultText(_Default, str):
    __slots__ = ()


class _DefaultTexts(_Default, tuple[str, ...]):
    __slots__ = ()


def _setting(
    default: Any,
    kind: kinds.Kind,
    help: str,
    *,
    module: str = OWN_MODULE,
    live: bool = False,
    by_clients: bool = True,
    daemon: Any = None,
    group: str = "",
) -> Any:
    """The definition of a setting; see L{Field}.

    @param by_clients: clients can change it, if it is live.
    @param daemon: its default for C{twistd jsonrpcs}, where that differs.
    @param group: one of L{GROUPS}; default: according to its name, see L{_GROUP_OF}.
    """
    metadata = {"kind": kind, "help": help, "module": module, "live": live, "variable": live and by_clients}
    metadata |= {"daemon": default if daemon is None else daemon, "group": group}
    return attrs.field(default=default, metadata=metadata)


GENERAL: Final = "General"
FIFO_GROUP: Final = "FIFO"
DATAGRAMS: Final = "Datagrams"
CONNECTIONS: Final = "TCP, HTTP and HTTPS"
ACCESS: Final = "Who may call what"
COMMANDS: Final = "Commands"
DESTINATIONS: Final = "Destinations, as in Kamailio's dispatcher"
TABLES: Final = "Hash tables, as in Kamailio's htable"

NODES: Final = "Other servers behind this one, as their gateway"

FLEET: Final = "Servers that act as one, over Redis"

GROUPS: Final = (GENERAL, FIFO_GROUP, DATAGRAMS, CONNECTIONS, ACCESS, COMMANDS, NODES, FLEET, DESTINATIONS, TABLES)
"""What settings are for, in the order in which help and documentation list them."""

_GROUP_OF: Final = {
    "fifo": FIFO_GROUP,
    "dgram": DATAGRAMS,
    **dict.fromkeys(("tcp", "http", "https", "tls", "max"), CONNECTIONS),
    **dict.fromkeys(("rule", "audit"), ACCESS),
    **dict.fromkeys(("load", "commands", "rpc", "async", "store", "shvset"), COMMANDS),
    **dict.fromkeys(("list", "reload", "ds"), DESTINATIONS),
    "htable": TABLES,
    "node": NODES,
    "fleet": FLEET,
}
"""The group of the settings whose names begin with a word; others are L{GENERAL}, unless they name their group."""


def _with_converters(cls: type, fields: list[Any]) -> list[Any]:
    """Have every field parse its value, and name its setting in errors."""

    def parse(value: object, field: Any) -> object:
        kind = field.metadata["kind"]
        try:
            return kind.parse(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise SettingError(field.name, value, kind.allowed, kind.meant(value)) from None

    def convert(value: Any, field: Any) -> object:
        if value is field.default:
            return value
        if not field.metadata["kind"].several:
            return parse(value, field)
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(parse(one, field) for one in values if one != "")

    return [field.evolve(converter=attrs.Converter(convert, takes_field=True)) for field in fields]


@attrs.frozen(kw_only=True, field_transformer=_with_converters)
class Settings:
    """The settings of a server. A value may also be given as a string, as options and files do.

    @raise SettingError: a value is not allowed, or there is no setting of a name.
    """

    transport: int = _setting(
        _DefaultNumber(FIFO | DATAGRAM),
        kinds.integer(0, ALL_BITS),
        "transports to enable, the sum of 1 HTTP and HTTPS, 2 FIFO, 4 datagram, 8 TCP; 0: all that have an address; "
        "default: those whose addresses or certificates are given, or 6 if none are",
    )
    dialect: str = _setting(
        "kamailio",
        kinds.DIALECT,
        "kamailio: answer as Kamailio does; jsonrpc2: follow the JSON-RPC 2.0 specification to the letter",
    )
    compatibility: str = _setting(
        "6.1",
        kinds.COMPATIBILITY,
        "version of Kamailio to answer like; what differs is in docs/kamailio.md",
    )
    pretty_format: int = _setting(
        0,
        kinds.integer(0, 1),
        "1: indent replies as Kamailio does, up to 350,000 bytes and 80,000 tokens, as kamctl relies on; 0: compact",
    )
    run_dir: StrPath = _setting(".", kinds.PATH, "directory that relative paths start from")
    fifo_name: StrPath = _setting(
        _DefaultText("kamailio_rpc.fifo"),
        kinds.FIFO,
        "path of the FIFO that clients write requests to; empty: disabled",
    )
    fifo_mode: int = _setting(0o660, kinds.MODE, "mode of the FIFO, in octal")
    fifo_user: str | int = _setting(
        "", kinds.OWNER, "owner of the FIFO, a user name or number; default: the process's user"
    )
    fifo_group: str | int = _setting(
        "", kinds.OWNER, "group of the FIFO, a name or number; default: the process's group"
    )
    fifo_reply_dir: StrPath = _setting("/tmp/", kinds.PATH, "directory that holds the clients' reply FIFOs")
    fifo_timeout: int = _setting(
        2000,
        kinds.MILLISECONDS,
        "milliseconds from the first byte of a request to its last, and for a client to read its reply",
        live=True,
    )
    fifo_max_request: int = _setting(
        65_456,
        kinds.integer(256, 16_777_216, "bytes"),
        "maximum size of a request over the FIFO or TCP, in bytes; a larger one is refused, and what "
        "follows is skipped up to the next request",
        live=True,
    )
    dgram_socket: Sequence[StrPath] = _setting(
        _DefaultTexts(("kamailio_rpc.sock",)),
        kinds.several(kinds.DGRAM_SOCKET),
        "Unix datagram socket (a path) or UDP address (udp:1.2.3.4:8090, udp:[::1]:8090); may be given more than once",
    )
    dgram_workers: int = _setting(
        1,
        kinds.integer(1, 64),
        "processes that read datagrams; above 1: worker processes, which run stateless commands themselves",
    )
    dgram_mode: int = _setting(0o660, kinds.MODE, "mode of the Unix datagram socket, in octal")
    dgram_user: str | int = _setting(
        "", kinds.OWNER, "owner of the Unix socket, a user name or number; default: the process's user"
    )
    dgram_group: str | int = _setting(
        "", kinds.OWNER, "group of the Unix socket, a name or number; default: the process's group"
    )
    dgram_timeout: int = _setting(
        2000,
        kinds.MILLISECONDS,
        "milliseconds to keep trying to send a reply to a client whose queue is full",
        live=True,
    )
    tcp_socket: str = _setting(_DefaultText(), kinds.TCP_SOCKET, "TCP address for plain JSON, tcp:1.2.3.4:8092")
    http_listen: Sequence[str] = _setting(
        _DefaultTexts(("tcp:8080:interface=127.0.0.1",)),
        kinds.several(kinds.ENDPOINT),
        "Twisted endpoint string to listen on for HTTP; may be given more than once",
    )
    https_listen: Sequence[str] = _setting(
        _DefaultTexts(("tcp:8443:interface=127.0.0.1",)),
        kinds.several(kinds.ENDPOINT),
        "Twisted endpoint string to listen on for HTTPS, if a certificate is set; may be given more than once",
    )
    http_mode: int = _setting(
        0o660, kinds.MODE, "mode of the Unix sockets of HTTP(S), in octal; for one of them: unix:PATH:mode=600"
    )
    http_user: str | int = _setting("", kinds.OWNER, "user that owns the Unix sockets of HTTP(S), by name or number")
    http_group: str | int = _setting("", kinds.OWNER, "group of the Unix sockets of HTTP(S), by name or number")
    http_path: str = _setting("/RPC", kinds.HTTP_PATH, "prefix of the URL paths that are answered")
    http_allow: Sequence[str] = _setting(
        ("127.0.0.0/8", "::1/128"),
        kinds.several(kinds.NETWORK),
        "network whose clients may call over HTTP(S), others are disconnected at once; may be given more than once",
        group=ACCESS,
    )
    http_origin: Sequence[str] = _setting(
        (),
        kinds.several(kinds.ORIGIN),
        "origin of web pages that may call, besides the server's own; may be given more than once",
        group=ACCESS,
    )
    http_host: Sequence[str] = _setting(
        (),
        kinds.several(kinds.HOST),
        "name that clients of HTTP(S) may call the server by, as their Host header has it, besides IP addresses, "
        "localhost, the machine's own name and those in the certificate; given more than once, all may be used; see "
        "docs/access.md",
        group=ACCESS,
    )
    http_proxy: Sequence[str] = _setting(
        (),
        kinds.several(kinds.PROXY),
        "network of proxies whose headers Forwarded and X-Forwarded-For say who calls over HTTP(S); given more than "
        "once, all count; see docs/access.md",
        group=ACCESS,
    )
    http_notification: int = _setting(
        200,
        kinds.NOTIFICATION,
        "HTTP status if there is no reply, as to a notification in dialect jsonrpc2: 200 with an empty body, which "
        "most clients accept, or 204",
    )
    http_users: StrPath = _setting(
        "",
        kinds.FILE,
        "file of users and hashed passwords; only these may then call over HTTP(S), see docs/access.md",
        group=ACCESS,
    )
    rule: Sequence[str] = _setting(
        (),
        kinds.several(kinds.RULE),
        "who may call what, such as udp 192.0.2.0/24 allow dispatcher.* deny core.kill; may be given more than once",
        live=True,
        by_clients=False,
    )
    rule_file: StrPath = _setting(
        "",
        kinds.FILE,
        "file with further rules, one on each line; read again at SIGHUP, see docs/access.md",
        live=True,
        by_clients=False,
    )
    http_max_body: int = _setting(
        1_048_576,
        kinds.integer(256, 1_073_741_824, "bytes"),
        "maximum size of a request body over HTTP(S), in bytes; a larger one gets 413",
        live=True,
    )
    http_timeout: float = _setting(
        60.0,
        kinds.SECONDS,
        "seconds after which an HTTP or TCP connection is closed if it is idle, its request is still incomplete, or "
        "its client has not taken the reply",
        live=True,
    )
    max_connections: int = _setting(
        400,
        kinds.integer(1, 1_000_000),
        "connections that may be open at each address of HTTP, HTTPS and TCP; further ones wait, and for each that "
        "waits the one that has been idle longest is closed, if that is at least a second",
        live=True,
    )
    tls_certificate: StrPath = _setting(
        "", kinds.FILE, "PEM file with the certificate and its chain; turns HTTPS on (with transport 1)"
    )
    tls_private_key: StrPath = _setting(
        "", kinds.FILE, "PEM file with the private key; default: the certificate's file"
    )
    tls_ca: StrPath = _setting(
        "", kinds.FILE, "PEM file with CA certificates; clients then need a certificate that one of them signed"
    )
    tls_self_signed: bool = _setting(
        False,
        kinds.SWITCH,
        "make a self-signed certificate for localhost if there is none yet, in tls.pem unless tls_certificate is set",
    )
    rpc_exec_delta: int = _setting(
        0,
        kinds.integer(0, 86400, "seconds"),
        "minimum number of seconds between two runs of tls.reload, of core.echo_delta and of commands that ask for it",
        module="core",
    )
    async_timeout: float = _setting(
        60.0, kinds.SECONDS, "maximum number of seconds that an asynchronous command may take", live=True
    )
    async_limit: int = _setting(
        1000,
        kinds.integer(1, 100_000),
        "maximum number of asynchronous commands in progress; further calls get 503",
        live=True,
    )
    async_limit_client: int = _setting(
        100,
        kinds.integer(1, 100_000),
        "how many of these one client may have: a user, an address, or for clients on this machine a connection",
        live=True,
    )
    store_path: StrPath = _setting(
        "",
        kinds.FILE,
        "directory for stored replies: a request names a file in its member store_path; empty: disabled",
    )
    load: Sequence[str] = _setting(
        ("system",),
        kinds.several(kinds.NAME),
        "family of commands to load, built-in or an entry point; may be given more than once; all: every family; "
        "default of twistd jsonrpcs: all",
        daemon=("all",),
    )
    commands: Sequence[str] = _setting(
        (),
        kinds.several(kinds.NAME),
        "module with your own commands, package.module or package.module:Class; may be given more than once",
    )
    list_file: StrPath = _setting(
        "",
        kinds.FILE,
        "file that lists the sets of destinations, in the format of Kamailio's dispatcher",
        module="dispatcher",
    )
    reload_delta: int = _setting(
        5,
        kinds.integer(0, 86400, "seconds"),
        "minimum number of seconds between two runs of dispatcher.reload",
        module="dispatcher",
    )
    ds_ping_interval: int = _setting(
        0,
        kinds.integer(0, 86400, "seconds"),
        "seconds between two rounds of probing destinations with SIP requests; 0: disabled",
        module="dispatcher",
    )
    ds_ping_method: str = _setting("OPTIONS", kinds.SIP_METHOD, "method of the probing requests", module="dispatcher")
    ds_ping_from: str = _setting(
        "sip:dispatcher@localhost", kinds.SIP_URI, "From URI of the probing requests", module="dispatcher"
    )
    ds_probing_mode: int = _setting(
        0,
        kinds.integer(0, 3),
        "which destinations are probed: 0 those with the probing flag, 1 all, 2 inactive ones with the flag, "
        "3 those with the flag in the list file",
        module="dispatcher",
    )
    ds_probing_threshold: int = _setting(
        1,
        kinds.integer(1, 1000),
        "number of failed probes after which a destination becomes inactive",
        module="dispatcher",
    )
    ds_inactive_threshold: int = _setting(
        1,
        kinds.integer(1, 1000),
        "number of answered probes after which an inactive destination becomes active",
        module="dispatcher",
    )
    ds_ping_reply_codes: str = _setting(
        "",
        kinds.REPLY_CODES,
        "SIP replies, besides 2xx, that count as an answer: class=4;code=501",
        module="dispatcher",
    )
    ds_ping_latency_stats: int = _setting(
        0,
        kinds.integer(0, 1),
        "1: measure how long destinations take to answer probes, and show that in dispatcher.list",
        module="dispatcher",
    )
    ds_latency_estimator_alpha: int = _setting(
        900,
        kinds.integer(1, 999),
        "weight, in thousandths, of the estimated latency so far when there is a further answer",
        module="dispatcher",
    )
    htable: Sequence[str] = _setting(
        (),
        kinds.several(kinds.HTABLE),
        "hash table for htable.*, a=>size=4;autoexpire=60;initval=0; may be given more than once",
        module="htable",
    )
    shvset: Sequence[str] = _setting(
        (),
        kinds.several(kinds.SHARED),
        "shared variable for pv.shvGet and pv.shvSet with its first value, NAME=i:5 or NAME=s:text; may be given more "
        "than once",
        module="pv",
    )
    htable_db: StrPath = _setting("", kinds.FILE, "SQLite file that keeps hash tables between runs; empty: disabled")
    htable_db_interval: int = _setting(
        60,
        kinds.integer(0, 86400, "seconds"),
        "seconds after which changed hash tables are stored in htable_db, so that a crash loses no more than that; 0: "
        "only at the stop and by htable.store",
    )
    openrpc: str = _setting(
        "/openrpc.json",
        kinds.PAGE_PATH,
        "URL path at which HTTP and HTTPS describe the commands that a client may call, as the command rpc.discover "
        "does, if rules allow that; empty: disabled",
    )
    health: str = _setting(
        "/health",
        kinds.PAGE_PATH,
        "URL path at which HTTP and HTTPS tell load balancers whether the server can do its work, 200 or 503; empty: "
        "disabled",
    )
    health_destinations: bool = _setting(
        False,
        kinds.SWITCH,
        "whether a set without a live destination makes the health check fail; no: it is only reported",
    )
    health_drain: int = _setting(
        0,
        kinds.integer(0, 3600, "seconds"),
        "seconds at the stop in which the health check fails and all else is still answered, so that load balancers "
        "send no more requests",
    )
    console: str = _setting(
        "/console",
        kinds.CONSOLE_PATH,
        "URL path at which HTTP and HTTPS have a console for browsers, which shows and calls what rules allow; empty: "
        "disabled; see docs/console.md",
    )
    console_session: float = _setting(
        28_800.0,
        kinds.SECONDS,
        "seconds after which a user of the console has to sign in again (with http_users)",
    )
    console_idle: float = _setting(
        1800.0, kinds.SECONDS, "seconds without a call after which a user of the console has to sign in again"
    )
    metrics: str = _setting(
        "",
        kinds.PAGE_PATH,
        "URL path, such as /metrics, at which HTTP and HTTPS have metrics for Prometheus, if rules allow the "
        "method metrics; empty: disabled, and nothing is measured",
    )
    metrics_interval: float = _setting(
        15.0, kinds.SECONDS, "seconds between two rounds of questions to each node of a gateway, for metrics"
    )
    node: Sequence[str] = _setting(
        (),
        kinds.several(kinds.NODE),
        "server behind this one, which is then its gateway, NAME=TARGET with options, such as "
        "edge1=unix:/run/kamailio/kamailio_rpc.sock group=edge timeout=2; may be given more than once; see "
        "docs/gateway.md; for nodes that change while it runs, see node_file",
    )
    node_file: StrPath = _setting(
        "",
        kinds.FILE,
        "file with further nodes, one on each line; read again at SIGHUP",
    )
    node_interval: float = _setting(5.0, kinds.SECONDS, "seconds between two checks of whether a node runs")
    fleet: str = _setting(
        "",
        kinds.FLEET,
        "Redis of the fleet that this server is a node of, such as redis://127.0.0.1:6379 or rediss://...; see "
        "docs/fleet.md",
    )
    fleet_name: str = _setting("fleet", kinds.FLEET_NAME, "name of the fleet; several may use one Redis")
    fleet_node: str = _setting("", kinds.FLEET_NAME, "name of this node; default: that of the machine")
    fleet_secret: StrPath = _setting(
        "", kinds.FILE, "file with the secret of the fleet, the same on all nodes, in its first line"
    )
    fleet_share: Sequence[str] = _setting(
        (),
        kinds.several(kinds.FLEET_SHARE),
        "what the nodes share: dispatcher, htable:NAME, cfg:GROUP or shv; may be given more than once",
    )
    fleet_wanted: Sequence[str] = _setting(
        (),
        kinds.several(kinds.FLEET_WANTED),
        "what is set again on a node of the setting node that comes back after a restart, as it was set through the "
        "gateways of the fleet: dispatcher, htable:NAME or cfg:GROUP; may be given more than once",
    )
    fleet_offline: str = _setting(
        "refuse",
        kinds.FLEET_OFFLINE,
        "changes of what is shared while Redis is away: refuse answers them with 503; queue makes them on this node, "
        "and on the others when it is back",
    )
    fleet_timeout: float = _setting(2.0, kinds.SECONDS, "seconds that a change of what is shared may wait for Redis")
    fleet_address: str = _setting(
        "",
        kinds.FLEET_ADDRESS,
        "where the other nodes call this one, such as http://10.0.0.7:8080/RPC; empty: they do not",
    )
    fleet_groups: Sequence[str] = _setting(
        (), kinds.several(kinds.NAME), "group of nodes that this one is in; may be given more than once"
    )
    modparams_version: str = _setting(
        "",
        kinds.VERSION,
        "version of the Kamailio that the file of --modparams is for: KAMAILIO_5_6 and so on are defined in it; empty: "
        "6.1.4 or 5.6.3, as compatibility says",
        module="",
    )
    modparams_define: Sequence[str] = _setting(
        (),
        kinds.several(kinds.DEFINE),
        "define for the file of --modparams, NAME or NAME=VALUE, as kamailio -A takes it; as an option also -A; may be "
        "given more than once",
        module="",
    )
    modparams_modules: Sequence[str] = _setting(
        ("core", "dispatcher", "htable", "pv"),
        kinds.several(kinds.MODULE),
        "module besides jsonrpcs whose parameters are taken from the file of --modparams; may be given more than once; "
        "empty: no others",
        module="",
    )
    fast_paths: bool = _setting(
        True,
        kinds.SWITCH,
        "answer ordinary requests on the direct path; no: all on the general path, to find out which is at fault",
    )
    audit: StrPath = _setting(
        "",
        kinds.FILE,
        "file for the audit log, a line of JSON for each call that changes something or is refused; or journald, for "
        "systemd's journal; empty: disabled; see docs/operations.md",
    )
    audit_level: str = _setting(
        "changes",
        kinds.AUDIT_LEVEL,
        "what the audit log contains besides refused calls; changes: calls that may change something; all: every call",
    )
    audit_required: bool = _setting(
        False,
        kinds.SWITCH,
        "with audit: run no call that changes something before the audit log has a line of it, and refuse it with 503 "
        "if that cannot be written; no: run it, and count the lines that are lost",
    )
    watchdog: int = _setting(
        1000,
        kinds.integer(0, 600_000, "milliseconds"),
        "milliseconds that a command may block the reactor before the log says where; 0: disabled",
    )
    debug: int = _setting(
        2,
        kinds.integer(LEAST_DEBUG, MOST_DEBUG),
        "log level, as Kamailio counts: 3 debug, 2 info, 0 warning, -1 error",
        live=True,
    )

    log_format: str = _setting(
        "text",
        kinds.LOG_FORMAT,
        "how twistd jsonrpcs writes its log: text or json, lines for a file (twistd's --logfile) or standard output; "
        "journald or syslog, entries for the one of this machine (programs have their own log)",
    )

    def __new__(cls, **values: Any) -> "Settings":
        """Check for names that are not settings: the error says what was probably meant.

        @raise UnknownSetting: there is one.
        """
        known = tuple(field.name for field in attrs.fields(cls))
        for name, value in values.items():
            if name not in known:
                raise UnknownSetting(name, value, *nearest(name, known, 1))
        return object.__new__(cls)

    def __attrs_post_init__(self) -> None:
        """Decide what is to be opened, and check what one setting requires of another."""
        if isinstance(self.transport, _Default):
            self._follow_addresses()
        self._forget_defaults()
        for name, bit in _ADDRESSES.items():
            if bit != HTTP and self.transport & bit and not getattr(self, name):
                needs = f"{'a path' if bit == FIFO else 'an address'}, with transport {bit}"
                raise SettingError(name, getattr(self, name), needs)
        if not self.tls_certificate and not self.tls_self_signed:
            for name in ("tls_private_key", "tls_ca"):
                if getattr(self, name):
                    raise SettingError(name, getattr(self, name), "empty without tls_certificate")

    def _follow_addresses(self) -> None:
        """Enable the transports whose addresses are given; HTTPS also for a certificate. If none are, enable those of
        Kamailio's defaults whose address is not given as empty.

        @raise SettingError: an address of HTTPS is given, but no certificate.
        """
        given = {name for name in _ADDRESSES if not isinstance(getattr(self, name), _Default)}
        asked = {name for name in given if getattr(self, name)}
        if not (self.tls_certificate or self.tls_self_signed):
            if "https_listen" in asked:
                needs = "an address with tls_certificate or tls_self_signed"
                raise SettingError("https_listen", ", ".join(self.https_listen), needs)
        elif "https_listen" not in given:
            asked.add("https_listen")
        asked = asked or {"fifo_name", "dgram_socket"} - given
        for name in _ADDRESSES.keys() - asked:
            if not asked or _ADDRESSES[name] == HTTP:
                object.__setattr__(self, name, type(getattr(self, name))())
        bits = {_ADDRESSES[name] for name in asked}
        object.__setattr__(self, "transport", sum(bits))

    def _forget_defaults(self) -> None:
        for name in ("transport", *_ADDRESSES):
            value = getattr(self, name)
            kind = next(kind for kind in (int, str, tuple) if isinstance(value, kind))
            object.__setattr__(self, name, kind(value))

    def enables(self, bit: int) -> bool:
        """Whether transports are enabled.

        @param bit: theirs, see L{jsonrpcs_tx.protocols.Protocol}.
        """
        return not self.transport or bool(self.transport & bit)

    @property
    def certificate(self) -> StrPath:
        """The file with the certificate of HTTPS, as set; empty: there is none, so HTTPS is disabled."""
        return self.tls_certificate or (SELF_SIGNED_NAME if self.tls_self_signed else "")

    def path(self, name: StrPath) -> str:
        """A path as the process sees it: relative paths start from C{run_dir}."""
        return os.path.join(self.run_dir, name)


_ADDRESSES: Final = {
    "fifo_name": FIFO,
    "dgram_socket": DATAGRAM,
    "tcp_socket": TCP,
    "http_listen": HTTP,
    "https_listen": HTTP,
}
"""The settings that say where to listen, and the transports that they are for."""


def listening() -> Collection[str]:
    """The names of the settings that say where to listen."""
    return _ADDRESSES.keys()


@attrs.frozen
class Field:
    """What is known about a setting besides its value.

    @ivar module: Kamailio's module that has it as a parameter; empty: a kamailio.cfg cannot set it.
    @ivar live: it can be changed while a server runs.
    @ivar variable: C{cfg.*} can change it.
    @ivar daemon: its default for C{twistd jsonrpcs}.
    @ivar group: what it is for: one of L{GROUPS}.
    """

    name: str
    default: Any
    kind: kinds.Kind
    help: str
    module: str
    live: bool
    variable: bool
    daemon: Any
    group: str

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
        group = field.metadata["group"] or _GROUP_OF.get(field.name.partition("_")[0], GENERAL)
        yield Field(field.name, field.default, **{**field.metadata, "group": group})


def grouped() -> Iterator[tuple[str, list[Field]]]:
    """All settings by group."""
    known = [*fields()]
    return ((group, [field for field in known if field.group == group]) for group in GROUPS)


def from_values(values: Mapping[str, Any]) -> Settings:
    """Settings from values by name; the others have their defaults.

    @raise SettingError: a name is unknown, or a value is not allowed.
    """
    return Settings(**values)
