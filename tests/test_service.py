"""The service, the twistd plugin and jsonrpcs.tac: settings from everywhere, start, stop, and installation."""

import importlib.util
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import SkipTest

import attrs
import pytest
from twisted.application.service import Application, IService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from jsonrpcs_tx import Fault, JsonRpcService, SettingError, Settings, StartError, command, makeService
from jsonrpcs_tx.config import kinds
from jsonrpcs_tx.config.settings import GROUPS, fields, from_values
from jsonrpcs_tx.config.toml import write_value
from jsonrpcs_tx.log import debug, set_debug
from jsonrpcs_tx.options import Options, Refusal
from jsonrpcs_tx.options import makeService as make_twistd_service
from tests import support
from tests.support import (
    DATAGRAM_SOCKETS,
    DATAGRAM_TRANSPORTS,
    ECHO,
    ECHO_REPLY,
    IPV6,
    PATIENCE,
    REPOSITORY,
    TRANSPORTS,
    Server,
    datagram_call,
    http_call,
)

DATAGRAM_PROTOCOLS = [name.rstrip("46") for name in DATAGRAM_TRANSPORTS]
SAMPLES: dict[str, tuple[Any, Any]] = {
    "transport": ("7", 7),
    "dialect": ("jsonrpc2", "jsonrpc2"),
    "compatibility": ("5.6", "5.6"),
    "pretty_format": ("1", 1),
    "run_dir": ("/run", "/run"),
    "fifo_name": ("my.fifo", "my.fifo"),
    "fifo_mode": ("0640", 0o640),
    "fifo_user": ("nobody", "nobody"),
    "fifo_group": ("1000", 1000),
    "fifo_reply_dir": ("/var/tmp", "/var/tmp"),
    "fifo_timeout": ("100", 100),
    "fifo_max_request": ("1024", 1024),
    "dgram_socket": (["my.sock", "udp:127.0.0.1:0"], ("my.sock", "udp:127.0.0.1:0")),
    "dgram_workers": ("2", 2),
    "dgram_mode": ("0600", 0o600),
    "dgram_user": ("7", 7),
    "dgram_group": ("nogroup", "nogroup"),
    "dgram_timeout": ("99", 99),
    "tcp_socket": ("tcp:[::1]:0", "tcp:[::1]:0"),
    "http_listen": (["tcp:0", "unix:http"], ("tcp:0", "unix:http")),
    "https_listen": (["tcp6:0"], ("tcp6:0",)),
    "http_mode": ("0666", 0o666),
    "http_user": ("nobody", "nobody"),
    "http_group": (12, 12),
    "http_path": ("/x", "/x"),
    "http_allow": (["192.0.2.0/24", "::1"], ("192.0.2.0/24", "::1/128")),
    "http_origin": (["https://A.example:1"], ("https://a.example:1",)),
    "http_host": (["rpc.example.com", "*.example.net", "*"], ("rpc.example.com", "*.example.net", "*")),
    "http_proxy": (["10.0.0.0/8", "::1", "unix"], ("10.0.0.0/8", "::1/128", "unix")),
    "http_notification": ("204", 204),
    "http_users": ("users", "users"),
    "rule": (["any deny core.kill"], ("any deny core.kill",)),
    "rule_file": ("rules", "rules"),
    "http_max_body": ("5000", 5000),
    "http_timeout": ("2.5", 2.5),
    "max_connections": ("10", 10),
    "tls_certificate": ("c.pem", "c.pem"),
    "tls_private_key": ("k.pem", "k.pem"),
    "tls_ca": ("ca.pem", "ca.pem"),
    "tls_self_signed": ("yes", True),
    "rpc_exec_delta": ("3", 3),
    "async_timeout": ("0.5", 0.5),
    "async_limit": ("5", 5),
    "async_limit_client": ("2", 2),
    "store_path": ("stored", "stored"),
    "load": (["core", "system"], ("core", "system")),
    "commands": (["a.b", "c:D"], ("a.b", "c:D")),
    "list_file": ("list", "list"),
    "reload_delta": ("0", 0),
    "ds_ping_interval": ("30", 30),
    "ds_ping_method": ("INFO", "INFO"),
    "ds_ping_from": ("sip:a@b", "sip:a@b"),
    "ds_probing_mode": ("1", 1),
    "ds_probing_threshold": ("3", 3),
    "ds_inactive_threshold": ("4", 4),
    "ds_ping_reply_codes": ("class=4;code=501", "class=4;code=501"),
    "ds_ping_latency_stats": ("1", 1),
    "ds_latency_estimator_alpha": ("500", 500),
    "htable": (["a=>size=4;", "b"], ("a=>size=4;", "b")),
    "shvset": ("a=i:5", ("a=i:5",)),
    "htable_db": ("t.db", "t.db"),
    "htable_db_interval": ("0", 0),
    "openrpc": ("/rpc.json", "/rpc.json"),
    "health": ("/alive", "/alive"),
    "health_destinations": ("yes", True),
    "health_drain": ("5", 5),
    "console": ("/admin/console", "/admin/console"),
    "console_session": ("600", 600.0),
    "console_idle": ("60", 60.0),
    "metrics": ("/metrics", "/metrics"),
    "metrics_interval": ("2.5", 2.5),
    "node": (["a=unix:/x group=g", "b=http://h/RPC"], ("a=unix:/x group=g", "b=http://h/RPC")),
    "node_file": ("nodes", "nodes"),
    "node_interval": ("2.5", 2.5),
    "fleet": ("redis+unix:/run/redis.sock", "redis+unix:/run/redis.sock"),
    "fleet_name": ("site.1", "site.1"),
    "fleet_node": ("edge1", "edge1"),
    "fleet_secret": ("fleet.secret", "fleet.secret"),
    "fleet_share": ("htable:ban", ("htable:ban",)),
    "fleet_wanted": ("cfg:core", ("cfg:core",)),
    "fleet_offline": ("queue", "queue"),
    "fleet_timeout": ("0.5", 0.5),
    "fleet_address": ("unix:/run/a", "unix:/run/a"),
    "fleet_groups": ("edge", ("edge",)),
    "modparams_version": ("6.1.4", "6.1.4"),
    "modparams_define": (["WITH_RPC", "N=1"], ("WITH_RPC", "N=1")),
    "modparams_modules": (["htable"], ("htable",)),
    "fast_paths": ("no", False),
    "audit": ("audit.log", "audit.log"),
    "audit_level": ("all", "all"),
    "audit_required": ("yes", True),
    "watchdog": ("0", 0),
    "debug": ("-1", -1),
    "log_format": ("json", "json"),
}
"""Of each setting a value other than its default, as text, and as it comes out."""

BAD: dict[str, list[Any]] = {
    "transport": ["-1", "16", "x", "", 1.0, True, None, [1, 2]],
    "dialect": ["", "Kamailio", "jsonrpc", 2],
    "compatibility": ["5.5", 6, "kamailio"],
    "pretty_format": ["2", -1, "yes"],
    "run_dir": ["", 1, "a\0b"],
    "fifo_name": [1, "a\0b", ["a", "b"]],
    "fifo_mode": ["0888", "rw", "01000", -1, 0o1000, ""],
    "fifo_user": [-1, 1.5, True, None],
    "fifo_group": [-1, False, ["a"]],
    "fifo_reply_dir": ["", None],
    "fifo_timeout": ["0", "600001", "1s"],
    "fifo_max_request": ["255", 16_777_217],
    "dgram_socket": [
        *("udp:", "udp:127.0.0.1", "udp:localhost:1", "udp:1.2.3:4", "udp:::1:8", "udp:[::1]", "udp:1.2.3.4:65536"),
        *("udp:1.2.3.4:-1", "udp:[1.2.3.4]x:1", "udp4:1.2.3.4:5", "tcp:1.2.3.4:5", "unix:a", "a\0b", 5),
    ],
    "dgram_workers": ["0", "65"],
    "dgram_mode": ["9", "1777"],
    "dgram_user": [-1],
    "dgram_group": [-1],
    "dgram_timeout": ["0", "-5"],
    "tcp_socket": ["udp:127.0.0.1:1", "127.0.0.1:1", "tcp:1", "tcp:host:1", "tcp:127.0.0.1:99999"],
    "http_listen": ["8080", "127.0.0.1:8080", 8080],
    "https_listen": ["8443", ":8443"],
    "http_mode": ["0999", -1],
    "http_user": [-1, 1.5],
    "http_group": [True],
    "http_path": ["", "RPC", "/a b", "/\u00e9", "/\r\n"],
    "http_allow": ["localhost", "10.0.0.0/33", "10.0.0.1/8", "::1/129", 10],
    "http_origin": ["example.com", "ftp://example.com", "https://", "https://a/b", "https://a b", "*"],
    "http_host": ["http://a", "a/b", "a:80", "a b", "*a", "a.*", ".a", "a..b", 1],
    "http_proxy": ["localhost", "10.0.0.1/8", "unix:", 1],
    "http_notification": ["202", 0, "x", True],
    "http_users": [1],
    "rule": [1],
    "rule_file": [1],
    "http_max_body": ["255", 2**30 + 1, "1M"],
    "http_timeout": ["0", "-1", "nan", "inf", "86401", True],
    "max_connections": ["0", "-1", "1000001", "many", 1.5],
    "tls_certificate": [1],
    "tls_private_key": [1],
    "tls_ca": [1],
    "tls_self_signed": ["maybe", "", 2],
    "rpc_exec_delta": ["-1", "x"],
    "async_timeout": ["0", "1e9"],
    "async_limit": ["0", 100_001, "x"],
    "async_limit_client": ["0", 100_001, "x"],
    "store_path": [1],
    "load": [1],
    "commands": [1, None],
    "list_file": [1],
    "reload_delta": ["-1"],
    "ds_ping_interval": ["-1", "86401"],
    "ds_ping_method": ["", "A B", "A\r\nB"],
    "ds_ping_from": ["", "a@b", "tel:1", "sip:a\r\nb"],
    "ds_probing_mode": ["4"],
    "ds_probing_threshold": ["0"],
    "ds_inactive_threshold": ["0"],
    "ds_ping_reply_codes": ["class=7", "code=99", "200", "class=4,code=501"],
    "ds_ping_latency_stats": ["2"],
    "ds_latency_estimator_alpha": ["0", "1000", "0.9"],
    "htable": ["=>size=4", "a=size=4", "a b"],
    "shvset": ["a", "a=x:5", "a=i:x", "=i:5"],
    "htable_db": [1],
    "htable_db_interval": ["-1", 86_401, "x"],
    "openrpc": ["rpc.json", "/a?b", 1],
    "health": ["alive", "/a?b", 1],
    "health_destinations": ["maybe"],
    "health_drain": ["-1", 3601, "x"],
    "console": ["console", "/", "/console/", "/a/../b", "/a;b", 1],
    "console_session": ["0", 86401, "x"],
    "console_idle": ["0", 86401, "x"],
    "metrics": ["metrics", "/a?b", 1],
    "metrics_interval": ["0", 86401, "x"],
    "node": [1, None],
    "node_file": [1],
    "node_interval": ["0", 86401, "x"],
    "fleet": [1],
    "fleet_name": ["{a}", "a b", 1],
    "fleet_node": ["a b", 1],
    "fleet_secret": [1],
    "fleet_share": ["htable", "x:y", "cfg:", 1],
    "fleet_wanted": ["shv", "cfg", 1],
    "fleet_offline": ["", "keep", 1],
    "fleet_timeout": ["0", 86401, "x"],
    "fleet_address": [1],
    "fleet_groups": [1],
    "modparams_version": ["6.1", "6", "x.y.z", 6],
    "modparams_define": ["=1", 1],
    "modparams_modules": ["tm", 1],
    "fast_paths": ["perhaps"],
    "audit": [7, None],
    "audit_level": ["", "none", 7],
    "audit_required": ["perhaps"],
    "watchdog": ["-1", 600_001, "x"],
    "debug": ["-6", "10"],
    "log_format": ["xml", ""],
}
"""Of each setting what it does not take."""

COMMANDS = '''
from jsonrpcs_tx import command

@command("own.greet")
def greet() -> str:
    """Greets."""
    return "from the module"

class Greeter:
    """Commands that know the service."""

    def __init__(self, service):
        self._service = service

    @command("own.families")
    def families(self):
        """Lists the families."""
        return self._service.families
'''


@command("own.nothing")
def greet() -> None:
    """Does nothing."""


def make_short_directory(test: SynchronousTestCase) -> Path:
    """An empty directory, whose absolute path is short enough for a socket; removed at the test's end."""
    directory = tempfile.TemporaryDirectory()
    test.addCleanup(directory.cleanup)
    return Path(directory.name).resolve()


def call(method: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": [], "id": 1}).encode()


def result(reply: bytes) -> Any:
    return json.loads(reply)["result"]


def parse(*arguments: str) -> Settings:
    """The settings from a command line of C{twistd jsonrpcs}."""
    options = Options()
    options.parseOptions(arguments)
    return options.settings


def values_of(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in SAMPLES}


def option_name(name: str) -> str:
    return "--" + name.replace("_", "-")


class DirectoryCase(SynchronousTestCase):
    """An empty directory."""

    def setUp(self) -> None:
        self.addCleanup(set_debug, debug())
        self.directory = make_short_directory(self)

    def write(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    def refusal(self, *arguments: str) -> str:
        """The one line with which a command line is refused."""
        with pytest.raises(Refusal) as caught:
            make_twistd_service(parsed(*arguments))
        line = str(caught.value)
        assert line.startswith("jsonrpcs: ")
        assert "\n" not in line
        return line


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(arguments)
    return options


class SettingsTests(DirectoryCase):
    """Each setting from each place, and what each does not take."""

    def test_tables_are_complete(self) -> None:
        """Every setting is in the tables of these tests."""
        names = [field.name for field in fields()]
        assert names == list(SAMPLES) == list(BAD)
        for field in fields():
            assert SAMPLES[field.name][1] != getattr(Settings(), field.name), field.name

    def test_options(self) -> None:
        """Each setting is taken as an option; what may be given several times is."""
        arguments: list[str] = []
        for name, (text, _) in SAMPLES.items():
            if name == "tls_self_signed":
                arguments.append(option_name(name))
            else:
                arguments += [f"{option_name(name)}={one}" for one in (text if isinstance(text, list) else [text])]
        assert values_of(parse(*arguments)) == {name: value for name, (_, value) in SAMPLES.items()}

    def test_toml(self) -> None:
        """Each setting is taken from TOML, as text and as TOML's own types."""
        for column in (0, 1):
            known = {field.name: field.kind for field in fields()}
            write = write_value if column else lambda value, kind: json.dumps(value)
            lines = [f"{name} = {write(sample[column], known[name])}" for name, sample in SAMPLES.items()]
            path = self.write("settings.toml", "\n".join(lines))
            assert values_of(parse("--config", path)) == {name: value for name, (_, value) in SAMPLES.items()}
        path = self.write("octal.toml", "fifo_mode = 0o600\ndgram_socket = 'one.sock'")
        settings = parse("-c", path)
        assert (settings.fifo_mode, settings.dgram_socket) == (0o600, ("one.sock",))

    def test_modparams(self) -> None:
        """Each setting is taken from a modparam line of its module, except those that say how to read it."""
        lines = []
        for field in fields():
            text, value = SAMPLES[field.name]
            for one in text if isinstance(text, list) else [value if isinstance(value, int) else text]:
                written = int(one) if isinstance(one, int) else f'"{one}"'
                modparam = f'modparam("{field.module}", "{field.name}", {written})'
                lines.append(f"{field.name} = {written}" if field.module == "core" else modparam * bool(field.module))
        lines += [f'modparam("jsonrpcs", "load", "{family}")' for family in ("dispatcher", "htable", "pv")]
        settings = parse("--modparams", self.write("kamailio.cfg", "\n".join(lines)))
        expected = {name: value for name, (_, value) in SAMPLES.items()}
        expected["dgram_socket"] = expected["dgram_socket"][-1:]  # one, as in Kamailio
        expected["load"] += ("dispatcher", "htable", "pv")  # whose parameters would not count otherwise
        for field in fields():
            if not field.module:
                expected[field.name] = field.default
        assert values_of(settings) == expected

    def test_precedence(self) -> None:
        """An option wins over the TOML file, and that over the modparam lines, one setting at a time."""
        modparams = self.write(
            "kamailio.cfg",
            "".join(f'modparam("jsonrpcs", "{name}", 3)\n' for name in ("transport", "debug", "dgram_timeout"))
            + 'modparam("jsonrpcs", "dgram_socket", "modparam")',
        )
        config = self.write("settings.toml", 'transport = 2\ndebug = 2\ndgram_socket = ["toml", "toml2"]')
        settings = parse("--debug", "1", "--dgram-socket", "option", "--config", config, "--modparams", modparams)
        assert (settings.debug, settings.transport, settings.dgram_timeout) == (1, 2, 3)
        assert settings.dgram_socket == ("option",)
        assert parse("--config", config, "--modparams", modparams).dgram_socket == ("toml", "toml2")

    def test_bad_values(self) -> None:
        """What a setting does not take is an error with its name, the value and what is allowed."""
        allowed = {field.name: field.kind.allowed for field in fields()}
        for name, bad in BAD.items():
            for value in bad:
                with pytest.raises(SettingError) as caught:
                    from_values({name: value})
                error = caught.value
                assert (error.name, error.allowed) == (name, allowed[name])
                assert str(error).partition("; did you")[0] == (
                    f"{name}: {error.value!r} is not allowed; allowed: {allowed[name]}"
                )
                if not isinstance(value, list):
                    assert error.value == value

    @pytest.mark.slow
    def test_bad_options(self) -> None:
        """An option with what it does not take is refused in one line that names it."""
        for name, bad in BAD.items():
            if name != "tls_self_signed":
                for value in (one for one in bad if isinstance(one, str) and "\0" not in one):
                    assert self.refusal(f"{option_name(name)}={value}").startswith(f"jsonrpcs: {name}: {value!r} ")

    def test_settings_that_need_others(self) -> None:
        """A setting without another that it needs is an error."""
        for values, name in (
            ({"transport": 2, "fifo_name": ""}, "fifo_name"),
            ({"transport": 4, "dgram_socket": []}, "dgram_socket"),
            ({"transport": 4, "dgram_socket": ""}, "dgram_socket"),
            ({"transport": 8}, "tcp_socket"),
            ({"tls_private_key": "k.pem"}, "tls_private_key"),
            ({"tls_ca": "ca.pem"}, "tls_ca"),
        ):
            with pytest.raises(SettingError) as caught:
                from_values(values)
            assert caught.value.name == name

    @pytest.mark.slow
    def test_transports_follow_addresses(self) -> None:
        """Those transports are opened whose addresses are given; Kamailio's where none is."""
        here: dict[str, Any] = {"run_dir": str(self.directory)}
        tcp = "tcp:0:interface=127.0.0.1"
        table: list[tuple[dict[str, Any], list[str]]] = [
            ({}, ["unix", "fifo"]),
            ({"dialect": "jsonrpc2"}, ["unix", "fifo"]),
            ({"fifo_name": "kamailio_rpc.fifo"}, ["fifo"]),
            ({"dgram_socket": ["kamailio_rpc.sock"]}, ["unix"]),
            ({"dgram_socket": "udp:127.0.0.1:0", "fifo_name": "f"}, ["udp", "fifo"]),
            ({"tcp_socket": "tcp:127.0.0.1:0"}, ["tcp"]),
            ({"http_listen": tcp}, ["http"]),
            ({"http_listen": "tcp:8080:interface=127.0.0.1"}, ["http"]),
            ({"https_listen": tcp, "tls_self_signed": True}, ["https"]),
            ({"tls_self_signed": True}, ["https"]),
            ({"tls_certificate": "c.pem", "http_listen": tcp}, ["http", "https"]),
            ({"tls_self_signed": True, "https_listen": (), "http_listen": tcp}, ["http"]),
            ({"fifo_name": ""}, ["unix"]),
            ({"dgram_socket": ()}, ["fifo"]),
            ({"fifo_name": "", "dgram_socket": ()}, []),
            ({"transport": 0}, ["unix", "fifo", "http"]),
            ({"transport": 1}, ["http"]),
            ({"transport": 1, "tls_self_signed": True}, ["http", "https"]),
            ({"transport": 6, "http_listen": tcp}, ["unix", "fifo"]),
        ]
        for values, opened in table:
            for settings in (Settings(**here, **values), from_values({**here, **values})):
                made = makeService(settings, reactor, [greet])
                assert [one.protocol for one in made.transports()] == opened, values
                assert type(settings.transport) is int
                assert [one.protocol for one in makeService(attrs.evolve(settings), reactor).transports()] == opened

    def test_https_without_certificate(self) -> None:
        """An address of HTTPS alone, without a certificate, opens nothing, so it is refused."""
        allowed = "https_listen: 'tcp:0' is not allowed; allowed: an address with tls_certificate or tls_self_signed$"
        with pytest.raises(SettingError, match=allowed):
            Settings(https_listen="tcp:0")

    def test_paths(self) -> None:
        """A path may be any object that represents one, and is a string from then on."""
        for field in fields():
            if field.kind in (kinds.PATH, kinds.FILE) or field.name == "dgram_socket":
                settings = from_values({"tls_self_signed": True, field.name: Path("/a") / "b"})
                value = getattr(settings, field.name)
                assert value in ("/a/b", ("/a/b",)), field.name
        assert Settings(dgram_socket=[Path("a"), "udp:127.0.0.1:0"]).dgram_socket == ("a", "udp:127.0.0.1:0")
        assert Settings(run_dir=Path("/a")).path(Path("b")) == "/a/b"
        for wrong in (Path("/"), b"/tmp", 5):
            with pytest.raises(SettingError, match="load: "):
                Settings(load=wrong)  # type: ignore[arg-type] # that is refused
        with pytest.raises(SettingError, match="run_dir: "):
            Settings(run_dir=b"/tmp")  # type: ignore[arg-type] # that is refused

    def test_unknown_names(self) -> None:
        """An unknown setting is an error that names the known ones."""
        path = self.write("settings.toml", "fifo_nmae = 'x'")
        line = self.refusal("--config", path)
        assert "fifo_nmae" in line
        assert "fifo_name" in line

    def test_bad_files(self) -> None:
        """A file of settings that is not there, or cannot be read as what it should be, is named."""
        missing = str(self.directory / "none")
        assert self.refusal("--config", missing).startswith(f"jsonrpcs: config: {missing}: No such file")
        assert self.refusal("--modparams", missing).startswith(f"jsonrpcs: {missing}: No such file")
        for text in ("fifo_name = ", "= 1", "[", "a = 1\na = 2"):
            path = self.write("bad.toml", text)
            assert re.match(f"jsonrpcs: {re.escape(path)}:[12]: ", self.refusal("--config", path))
        (self.directory / "bad.toml").write_bytes(b"a = '\xff'")
        assert "allowed: TOML" in self.refusal("--config", path)


class LoadTests(DirectoryCase):
    """Where commands come from."""

    def announce(self, text: str) -> None:
        """Install a package that announces a family by an entry point, for this test."""
        package = self.directory / "fruit-1.0.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: fruit\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text(f"[jsonrpcs_tx.commands]\n{text}\n")
        (self.directory / "fruit_commands.py").write_text(COMMANDS)
        self.patch(sys, "path", [str(self.directory), *sys.path])
        self.addCleanup(sys.modules.pop, "fruit_commands", None)

    def test_families(self) -> None:
        """Only the families that are wanted are loaded, each once: C{system} without a word, all for a daemon."""
        wanted = makeService(Settings(load=["system", "core", "core"]), reactor)
        assert sorted(wanted.families) == ["core", "system"]
        assert {name.partition(".")[0] for name in wanted.registry} == {
            "core",
            "system",
            "rpc",
        }  # rpc.discover is of system
        everything = makeService(parse(), reactor)
        assert set(everything.families) > {"core", "system"}
        assert makeService(Settings(), reactor).families == ["system"]
        assert makeService(Settings(load=[]), reactor).families == []

    def test_unknown_family(self) -> None:
        """A family that is not there is an error that lists those that are."""
        line = self.refusal("--load", "core", "--load", "nonsense")
        assert re.match(r"jsonrpcs: load: 'nonsense' is not allowed; allowed: all, .*\bcore\b", line)

    def test_entry_points(self) -> None:
        """A family that an installed package announces is loaded by name and with all."""
        self.announce("fruit = fruit_commands\ngreeter = fruit_commands:Greeter")
        named = makeService(Settings(load="fruit"), reactor)
        assert (named.families, list(named.registry)) == (["fruit"], ["own.greet"])
        for settings in (parse(), Settings(load="all")):
            everything = makeService(settings, reactor)
            assert {"fruit", "greeter", "core"} <= set(everything.families)
            assert {"own.greet", "own.families", "core.echo"} <= set(everything.registry)
        assert makeService(Settings(load=["core", "system"]), reactor).families == ["core", "system"]

    def test_broken_entry_point(self) -> None:
        """A family that cannot be imported is an error with the reason."""
        self.announce("fruit = no_such_module")
        line = self.refusal("--load", "fruit")
        assert "load: 'fruit'" in line
        assert "no_such_module" in line

    def test_unknown_commands(self) -> None:
        """A module of commands that cannot be imported, or has none, is an error in one line with the reason."""
        self.patch(sys, "path", [str(self.directory), *sys.path])
        self.write("own_broken.py", "1 / 0")
        self.write("own_syntax.py", "def (")
        self.write("own_empty.py", "")
        self.write("own_taken.py", 'from jsonrpcs_tx import command\n@command("core.echo")\ndef echo(): return 1\n')
        for name, words in (
            ("no.such.module", "commands: 'no.such.module'"),
            ("own_broken", "division by zero"),
            ("own_syntax", "commands: 'own_syntax'"),
            ("own_empty:Nothing", "Nothing"),
            ("own_empty", "own_empty"),
            ("own_taken", "core.echo"),
            (":", "commands: ':'"),
        ):
            self.addCleanup(sys.modules.pop, name, None)
            assert words in self.refusal("--commands", name), name


class ServiceCase(TestCase):
    """Servers in this process, in an empty directory."""

    def setUp(self) -> None:
        self.addCleanup(set_debug, debug())
        self.directory = make_short_directory(self)

    def make(self, *sources: object, **options: Any) -> JsonRpcService:
        usual: dict[str, Any] = {
            "load": "all",
            "run_dir": str(self.directory),
            "fifo_reply_dir": str(self.directory),
            "dgram_socket": list(DATAGRAM_SOCKETS),
            "tcp_socket": "tcp:127.0.0.1:0",
            "http_listen": "tcp:0:interface=127.0.0.1",
            "https_listen": "tcp:0:interface=127.0.0.1",
            "tls_self_signed": True,
        }
        service = makeService(Settings(**{**usual, **options}), reactor, sources)
        self.addCleanup(service.stopService)
        return service

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


class ChangeTests(ServiceCase):
    """Settings that are changed while a server runs."""

    def test_change(self) -> None:
        """What can be changed takes effect, the log level too."""
        service = self.make(debug=2)
        service.change(async_limit=7, debug=3)
        assert (service.dispatcher.delayed.slots.limit, service.settings.debug, debug()) == (7, 3, 3)

    def test_refused(self) -> None:
        """A setting that is set at the start, one that is not known, or a bad value is refused, with what is allowed;
        and nothing is changed, not even what could be."""
        service = self.make(debug=2)
        before = service.settings
        for values, words in (
            ({"rule": ["udp allow"]}, "rule: 'udp allow' is not allowed; allowed: methods after allow"),
            ({"rule": "user=ann allow *"}, "user= with the setting http_users"),
            ({"fast_paths": False}, "fast_paths: .*; allowed: a change of fifo_timeout, .*, debug;"),
            ({"dialect": "jsonrpc2"}, "dialect: 'jsonrpc2' is not allowed; allowed: a change of"),
            ({"colour": "red"}, "colour: 'red' is not allowed; allowed: a change of"),
            ({"async_timeout": -1}, "async_timeout: -1 is not allowed; allowed: a number of seconds"),
            ({"debug": 10}, "debug: 10 is not allowed"),
        ):
            with pytest.raises(SettingError, match=words):
                service.change(**{"debug": 3, "async_limit": 7, **values})
            assert service.settings is before
            assert (service.dispatcher.delayed.slots.limit, debug()) == (before.async_limit, 2)


def protocols(service: JsonRpcService) -> list[str]:
    return [listener.protocol for listener in service.listeners()]


class ServiceTests(ServiceCase):
    """What listens, from when to when."""

    @pytest.mark.slow
    async def test_transport_sums(self) -> None:
        """The sum of the setting transport says what is listened on; 0 is all."""
        parts = {1: ["http", "https"], 2: ["fifo"], 4: DATAGRAM_PROTOCOLS, 8: ["tcp"]}
        for total in range(16):
            service = self.make(transport=total, load="jsonrpc")
            assert protocols(service) == []
            service.startService()
            wanted = [name for bit, names in parts.items() if not total or total & bit for name in names]
            assert sorted(protocols(service)) == sorted(wanted), total
            await service.stopService()
            assert protocols(service) == []

    async def test_all_that_have_an_address(self) -> None:
        """With transport 0 what has no address, or no certificate, is left out."""
        service = self.make(
            transport=0, dgram_socket=[], fifo_name="", tcp_socket="", tls_self_signed=False, http_listen=[]
        )
        service.startService()
        assert service.listeners() == []

    async def test_several_addresses(self) -> None:
        """Each of several HTTP and HTTPS addresses is listened on, Unix sockets too."""
        kind, host = ("tcp6", "::1") if IPV6 else ("tcp", "127.0.0.1")
        interface = host.replace(":", "\\:")
        service = self.make(
            transport=1,
            http_listen=["tcp:0:interface=127.0.0.1", f"{kind}:0:interface={interface}", f"unix:{self.directory}/http"],
            https_listen=["tcp:0:interface=127.0.0.1"] * 2,
        )
        service.startService()
        assert protocols(service) == ["http", "http", "http", "https", "https"]
        http = service.listeners()
        reply = await deferToThread(http_call, "http", (http[1].host, http[1].port), ECHO)
        assert (http[1].host, reply.body) == (host, ECHO_REPLY)
        assert (http[2].host, http[2].port) == (f"{self.directory}/http", None)

    async def test_addresses_are_logged(self) -> None:
        """Each address that is listened on is logged at the start, with the port that it got."""
        service = self.make(transport=0)
        with capturedLogs() as events:
            service.startService()
        lines = [formatEvent(event) for event in events]
        assert len(service.listeners()) == len(TRANSPORTS)
        for listener in service.listeners():
            assert f"listening on {listener}" in lines
        assert f"listening on fifo {self.directory}/kamailio_rpc.fifo" in lines

    async def test_only_its_files_are_removed(self) -> None:
        """At the stop the FIFO and the socket file are gone, and nothing else."""
        (self.directory / "other").write_text("")
        service = self.make(transport=0)
        service.startService()
        assert self.files() == {"other", "kamailio_rpc.fifo", "rpc.sock", "tls.pem"}
        modes = [stat.S_IFMT((self.directory / name).stat().st_mode) for name in ("kamailio_rpc.fifo", "rpc.sock")]
        assert modes == [stat.S_IFIFO, stat.S_IFSOCK]
        await service.stopService()
        assert self.files() == {"other", "tls.pem"}

    async def test_files_of_others_stay(self) -> None:
        """Files that somebody put in the place of the server's own are left alone at the stop."""
        service = self.make(transport=6)
        service.startService()
        for name in ("kamailio_rpc.fifo", "rpc.sock"):
            (self.directory / name).unlink()
            (self.directory / name).write_text("somebody else's")
        await service.stopService()
        assert self.files() == {"kamailio_rpc.fifo", "rpc.sock"}

    async def test_restart(self) -> None:
        """A server that was stopped can be started again, and answers."""
        service = self.make(transport=0)
        for _ in range(3):
            service.startService()
            assert len(service.listeners()) == len(TRANSPORTS)
            addresses = {listener.protocol: listener for listener in service.listeners()}
            udp, http = next(one for one in service.listeners() if one.protocol == "udp"), addresses["http"]
            assert await deferToThread(datagram_call, (udp.host, udp.port), ECHO) == ECHO_REPLY
            assert await deferToThread(datagram_call, addresses["unix"].host, ECHO) == ECHO_REPLY
            assert (await deferToThread(http_call, "http", (http.host, http.port), ECHO)).body == ECHO_REPLY
            await service.stopService()

    async def test_stop_without_start(self) -> None:
        """Stopping a server that was never started, or is stopped already, does nothing."""
        service = self.make(transport=0)
        await service.stopService()
        service.startService()
        await service.stopService()
        await service.stopService()
        assert self.files() == {"tls.pem"}

    async def test_part_of_an_application(self) -> None:
        """A server starts and stops with the application that it is a part of."""
        application = Application("test")
        service = self.make(transport=6)
        service.setServiceParent(application)
        parent = IService(application)
        parent.privilegedStartService()
        assert sorted(protocols(service)) == sorted(["fifo", *DATAGRAM_PROTOCOLS])
        parent.startService()
        assert sorted(protocols(service)) == sorted(["fifo", *DATAGRAM_PROTOCOLS])
        await parent.stopService()
        assert self.files() == set()

    async def test_address_in_use(self) -> None:
        """An address that is in use keeps the server from starting, with the setting, the address and the reason."""
        first = self.make(transport=0)
        first.startService()
        used = {listener.protocol: listener for listener in first.listeners() if listener.host != "::1"}
        for setting, protocol, transport, value in (
            ("dgram_socket", "udp", 4, "udp:127.0.0.1:{port}"),
            ("dgram_socket", "unix", 4, "rpc.sock"),
            ("fifo_name", "fifo", 2, "kamailio_rpc.fifo"),
            ("http_listen", "http", 1, "tcp:{port}:interface=127.0.0.1"),
            ("https_listen", "https", 1, "tcp:{port}:interface=127.0.0.1"),
            ("tcp_socket", "tcp", 8, "tcp:127.0.0.1:{port}"),
        ):
            value = value.format(port=used[protocol].port)
            service = self.make(transport=transport, **{setting: value})
            with pytest.raises(StartError, match=f"^{setting}: .* in use.*; allowed: [^\n]+$"):
                service.startService()
            await service.stopService()
            assert service.listeners() == []
        assert len(first.listeners()) == len(TRANSPORTS)
        assert {"kamailio_rpc.fifo", "rpc.sock"} < self.files()

    async def test_nothing_stays_of_a_failed_start(self) -> None:
        """A server that fails to start has removed the FIFO and the socket that it had made by then."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            service = self.make(transport=7, http_listen=f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
            with pytest.raises(StartError):
                service.startService()
        assert self.files() == set()

    async def test_invalid_endpoints(self) -> None:
        """A string that names no endpoint keeps the server from starting, with the setting and the string."""
        for value in ("nonsense:1", "tcp:x", "tcp:0:interface=256.1.1.1", "ssl:0:privateKey=none"):
            service = self.make(transport=1, http_listen=value)
            with pytest.raises(StartError, match=f"^http_listen: {value}: [^\n]+; allowed: [^\n]+$"):
                service.startService()
            await service.stopService()


class EmbeddingTests(ServiceCase):
    """The server in a program of somebody else's."""

    class Commands:
        @command("test.fault")
        def fault(self) -> None:
            raise Fault(404, "Not There")

        @command("test.later")
        async def later(self) -> str:
            return "later"

    async def test_jsonrpc_exec(self) -> None:
        """jsonrpc_exec takes a document, as bytes or text, and gives back code, text and body."""
        service = self.make(self.Commands())
        for document, code, text, start in (
            (ECHO, 200, "OK", ECHO_REPLY),
            (ECHO.decode(), 200, "OK", ECHO_REPLY),
            (call("test.fault"), 404, "Not There", b'{"jsonrpc":"2.0","error":{"code":404,"message":"Not There"}'),
            (call("no.such"), 500, "Method Not Found", b'{"jsonrpc":"2.0","error":{"code":500,'),
            ("{", -32700, "Parse Error", b'{"jsonrpc":"2.0","error":{"code":-32700,'),
            ("\u00e9", -32700, "Parse Error", b'{"jsonrpc":"2.0","error":{"code":-32700,'),
            (
                call("test.later"),
                500,
                "test.later is asynchronous: it needs HTTP or HTTPS",
                b'{"jsonrpc":"2.0","error"',
            ),
        ):
            reply = service.jsonrpc_exec(document)
            assert (reply.code, reply.text, reply.body[: len(start)]) == (code, text, start), document

    async def test_jsonrpc_dispatch(self) -> None:
        """jsonrpc_dispatch answers in a site of somebody else's, at its path and below, with its own rules."""
        root = Resource()
        service = self.make(self.Commands(), http_max_body=1000)
        root.putChild(b"manage", service.jsonrpc_dispatch)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Site(root))
        self.addCleanup(port.stopListening)

        def ask(document: bytes, **options: Any) -> Deferred[support.HttpReply]:
            address = ("127.0.0.1", port.getHost().port)
            return deferToThread(http_call, "http", address, document, **{"path": "/manage", **options})

        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for path in ("/manage", "/manage/", "/manage/RPC"):
            reply = await ask(ECHO, path=path, headers=form)
            assert (reply.status, reply.body, reply.headers["content-type"]) == (200, ECHO_REPLY, "application/json")
        assert (await ask(ECHO, path="/elsewhere")).status == 404
        assert (await ask(ECHO, method="PUT")).headers["allow"] == "POST, GET"
        assert (await ask(ECHO, headers={"Origin": "http://evil.example"})).status == 403
        assert (await ask(ECHO.ljust(1001))).status == 413
        reply = await ask(call("test.fault"))
        assert (reply.status, reply.reason) == (404, "Not There")
        assert result((await ask(call("test.later"))).body) == "later"

    async def test_commands_at_any_time(self) -> None:
        """A program may add commands while the server runs."""
        service = self.make()
        service.startService()
        service.registry.add(self.Commands())
        assert service.jsonrpc_exec(call("test.fault")).code == 404


class TwistdCase(DirectoryCase):
    """Real processes of twistd."""

    def twistd(self, *arguments: str, inherits: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run it to its end, or until it has become a daemon."""
        return support.run_twistd(self.directory, *arguments, inherits=inherits)

    def twistd_and_daemon(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it, and the daemon that it becomes, to the end of both."""
        ended, held = os.pipe()
        self.addCleanup(os.close, ended)
        try:
            done = self.twistd(*arguments, inherits=(held,))
        finally:
            os.close(held)
        assert select.select([ended], [], [], PATIENCE)[0], "the daemon goes on"
        return done

    def run_daemon(self, *arguments: str) -> Callable[[], None]:
        """Start a daemon, with its pid file and its log in the directory.

        @return: ends it by SIGTERM, and waits for that.
        """
        done = self.twistd("--pidfile=daemon.pid", "--logfile=daemon.log", *arguments)
        assert done.returncode == 0, done.stderr + done.stdout
        assert done.stdout == ""
        process = os.pidfd_open(int((self.directory / "daemon.pid").read_text()))
        self.addCleanup(os.close, process)

        def end(number: int = signal.SIGTERM) -> bool:
            try:
                signal.pidfd_send_signal(process, number)
            except ProcessLookupError:
                return True
            return bool(select.select([process], [], [], PATIENCE)[0])

        self.addCleanup(end, signal.SIGKILL)

        def stop() -> None:
            assert end(), "the daemon did not end"

        return stop

    def log(self) -> str:
        return (self.directory / "daemon.log").read_text()

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


def udp_address(log: str) -> tuple[str, int]:
    match = re.search(r"listening on udp ([\d.]+):(\d+)", log)
    assert match, log
    return match[1], int(match[2])


@pytest.mark.slow
class PluginTests(TwistdCase):
    """C{twistd jsonrpcs}."""

    arguments = ("jsonrpcs", "--dgram-socket=rpc.sock", "--dgram-socket=udp:127.0.0.1:0", "--fifo-name=rpc.fifo")

    def test_help(self) -> None:
        """--help lists every setting with its default, in groups, and twistd lists the plugin."""
        done = self.twistd("jsonrpcs", "--help")
        assert (done.returncode, done.stderr) == (0, "")
        text = " ".join(done.stdout.split())
        for field in fields():
            value = "[=no]" if field.kind.flag else "="
            described = f"{option_name(field.name)}{value} {field.help} [default: {field.kind.show(field.daemon)}]"
            assert " ".join(described.split()) in text, field.name
        headings = [line.removesuffix(":") for line in done.stdout.splitlines() if re.fullmatch(r"\S.*:", line)]
        assert headings == ["What to do", *GROUPS]
        assert re.search(r"^ +jsonrpcs +JSON-RPC over FIFO", self.twistd("--help").stdout, re.MULTILINE)

    def test_foreground(self) -> None:
        """It serves in the foreground until SIGTERM or SIGINT, and leaves no files."""
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server(self.directory) as server:
                for transport in support.TRANSPORTS:
                    assert server.call(transport, ECHO) == ECHO_REPLY
                assert server.stop(number) == -number
            assert self.files() == {"replies", "tls.pem"}

    def test_daemon(self) -> None:
        """As a daemon it listens when its parent ends, logs to the file, and is stopped by its pid."""
        stop = self.run_daemon(*self.arguments, "--fifo-reply-dir", ".")
        assert {"daemon.pid", "rpc.sock", "rpc.fifo"} < self.files()
        assert datagram_call(udp_address(self.log()), ECHO) == ECHO_REPLY
        assert datagram_call(str(self.directory / "rpc.sock"), ECHO) == ECHO_REPLY
        stop()
        assert self.files() == {"daemon.log"}

    def test_wrong_setting(self) -> None:
        """A wrong setting ends it with one line and a status that says so, in the foreground and as a daemon."""
        for mode in (["-n"], ["--pidfile=p", "--logfile=l"]):
            done = self.twistd(*mode, "jsonrpcs", "--dgram-mode", "0999")
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == (
                "jsonrpcs: dgram_mode: '0999' is not allowed; "
                "allowed: a file mode in octal, 0001 to 0777 (0 is taken as 0600)\n"
            )
        assert self.files() == set()

    def test_unknown_module(self) -> None:
        """A module of commands that is not there ends it with one line and a status that says so."""
        done = self.twistd("-n", "jsonrpcs", "--commands", "no_such_module")
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        assert done.stderr == (
            "jsonrpcs: commands: 'no_such_module' is not allowed; "
            "allowed: a module that can be imported (No module named 'no_such_module')\n"
        )

    def test_address_in_use(self) -> None:
        """An address in use ends it with one line and a status that says so, and leaves no files."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            done = self.twistd("-n", *self.arguments, "--transport=7", f"--http-listen={endpoint}")
        output = done.stdout + done.stderr
        assert done.returncode == 1
        assert "Traceback" not in output
        assert re.search(
            rf"jsonrpcs: http_listen: {endpoint}: Address already in use; allowed: a free address of this machine\n\Z",
            output,
        )
        assert self.files() == set()

    def test_daemon_with_address_in_use(self) -> None:
        """A daemon that finds its address in use says so in its log, its parent fails and prints the same line, whole,
        and no files are left.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            done = self.twistd_and_daemon(
                *("--pidfile=daemon.pid", "--logfile=daemon.log", *self.arguments),
                *("--transport=7", f"--http-listen={endpoint}"),
            )
        assert done.returncode == 1
        line = f"jsonrpcs: http_listen: {endpoint}: Address already in use; allowed: a free address of this machine\n"
        assert (done.stdout, done.stderr) == ("", line)
        assert line in self.log()
        assert self.files() <= {"daemon.log", "daemon.pid"}

    def test_commands_of_the_directory(self) -> None:
        """Modules of commands, and classes in them, are found in the directory that it runs in."""
        self.write("own_commands.py", COMMANDS)
        arguments = ("--commands=own_commands", "--commands=own_commands:Greeter", "--load=core", "--load=jsonrpc")
        with Server(self.directory, *arguments) as server:
            assert result(server.call("unix", call("own.greet"))) == "from the module"
            assert result(server.call("unix", call("own.families"))) == ["core", "jsonrpc"]
            assert json.loads(server.call("unix", call("system.listMethods")))["error"]["code"] == 500

    def test_announced_commands(self) -> None:
        """A family that a package on PYTHONPATH announces is loaded by itself."""
        package = self.directory / "lib" / "own-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text("[jsonrpcs_tx.commands]\nown = own_commands:Greeter\n")
        self.write("lib/own_commands.py", COMMANDS)
        path = f"{REPOSITORY}:{package.parent}"
        environment = {**support.environment(), "PYTHONPATH": path}
        self.patch(support, "environment", lambda: environment)
        with Server(self.directory) as server:
            assert "own" in result(server.call("unix", call("own.families")))


@pytest.mark.slow
class TacTests(TwistdCase):
    """jsonrpcs.tac."""

    def setUp(self) -> None:
        super().setUp()
        source = (REPOSITORY / "jsonrpcs.tac").read_text()
        free = source.replace(":8090", ":0")
        assert free != source
        self.write("jsonrpcs.tac", free)

    def greet(self, address: tuple[str, int]) -> list[str]:
        document = b'{"jsonrpc":"2.0","method":"greeter.greet","params":["Ann",2],"id":1}'
        greetings: list[str] = result(datagram_call(address, document))
        return greetings

    def test_foreground(self) -> None:
        """It serves in the foreground, with its own command and the built-in ones, until SIGTERM."""
        with Server(self.directory, command=("-ny", "jsonrpcs.tac")) as server:
            assert self.greet(server.addresses["udp4"]) == ["Hello, Ann!"] * 2
            assert datagram_call(str(self.directory / "kamailio_rpc.sock"), ECHO) == ECHO_REPLY
            assert server.stop() == -signal.SIGTERM
        assert self.files() == {"jsonrpcs.tac", "replies"}

    def test_daemon(self) -> None:
        """It serves as a daemon until it is stopped by its pid."""
        stop = self.run_daemon("-y", "jsonrpcs.tac")
        assert self.greet(udp_address(self.log())) == ["Hello, Ann!"] * 2
        stop()
        assert self.files() == {"jsonrpcs.tac", "daemon.log"}


@pytest.mark.slow
class WheelTests(TwistdCase):
    """The package as it is installed."""

    def test_installed_from_a_wheel(self) -> None:
        """A wheel that is built from this tree, and installed somewhere, runs without the tree."""
        for module in ("build", "hatchling", "pip"):
            if importlib.util.find_spec(module) is None:
                assert "CI" not in os.environ, f"{module} is not installed"
                raise SkipTest(f"{module} is not installed")
        target = self.directory / "lib"
        self.python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(self.directory), str(REPOSITORY))
        (wheel,) = self.directory.glob("jsonrpcs_tx-*.whl")
        self.python("-m", "pip", "-q", "install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
        environment = {**support.environment(), "PYTHONPATH": str(target)}
        self.patch(support, "environment", lambda: environment)
        assert str(target) in self.python("-c", "import jsonrpcs_tx; print(jsonrpcs_tx)")
        # An editable install has a plugin file of its own, which may come first; the same one is in the wheel.
        plugin = Path("twisted", "plugins", "jsonrpcs_plugin.py")
        assert (target / plugin).read_bytes() == (REPOSITORY / plugin).read_bytes()
        assert (target / "jsonrpcs_tx" / "py.typed").exists()
        installed = {path.name for path in target.iterdir() if not path.name.endswith(".dist-info")}
        assert installed <= {"jsonrpcs_tx", "twisted", "bin", "share"}, "names that other distributions may want"
        with Server(self.directory) as server:
            assert server.call("udp4", ECHO) == ECHO_REPLY
            assert server.call("https", ECHO) == ECHO_REPLY

    def python(self, *arguments: str) -> str:
        """Run Python in the directory, and return what it prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env={**support.environment(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
            timeout=6 * PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
