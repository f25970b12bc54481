"""C{twistd jsonrpcs --check}: what is wrong before the start, all at once, each with its file and line."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet import reactor

from jsonrpcs_tx import JsonRpcsError, SettingError, Settings, StartError, check, command, makeService
from jsonrpcs_tx.state.tables import Tables
from jsonrpcs_tx.state.tablestore import TableStore
from tests import support
from tests.support import PATIENCE, run_twistd, twistd, users
from tests.support.files import STRANGER
from tests.support.programs import need
from tests.support.tls import make_identity

Planted = tuple[list[str], list[str]]
"""A command line, and how the line of each mistake in it begins, or a pattern that it matches as a whole."""

CONFIG = ["--config", "settings.toml"]


def write(directory: Path, **files: str) -> None:
    """Write files, whose names have C{_} in place of a dot."""
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)


def plant_values(directory: Path) -> Planted:
    """Names and values in TOML and options."""
    write(
        directory,
        settings_toml="""# Settings
        fifo_nmae = "x"
        fifo_mode = 660
        dgram_timeout = 0
        http_allow = [
            "127.0.0.1",  # a comment with "quotes" and ]
            '10.0.0.1/8',
        ]
        dialect = "jsonrpc"
        "debug" = 10
        http_path = "RPC"
        ds_ping_reply_codes = "200"
        tls_ca = "ca.pem"
        """,
    )
    return [*CONFIG, "--dgram-sokcet=x"], [
        "--dgram-sokcet: no such setting; did you mean --dgram-socket?",
        "settings.toml:2: fifo_nmae: no such setting; did you mean fifo_name?",
        'settings.toml:3: fifo_mode: 660 is a decimal number, 0o1224 in octal; allowed: 0o660 or "0660"',
        "settings.toml:4: dgram_timeout: 0 is not allowed; allowed: 1 to ",
        "settings.toml:7: http_allow: '10.0.0.1/8' is not allowed",
        "settings.toml:9: dialect: 'jsonrpc' is not allowed",
        "settings.toml:10: debug: 10 is not allowed",
        "settings.toml:11: http_path: 'RPC' is not allowed",
        "settings.toml:12: ds_ping_reply_codes: '200' is not allowed",
        "settings.toml:13: tls_ca: 'ca.pem' is not allowed; allowed: empty without tls_certificate",
    ]


def plant_modparams(directory: Path) -> Planted:
    """Lines of a kamailio.cfg, and options."""
    write(
        directory,
        kamailio_cfg="""#!KAMAILIO
        modparam("jsonrpcs", "transport", 99)
        modparam("jsonrpcs", "fifo_timout", 5)
        modparam("jsonrpcs", "fifo_reply_dir", UNDEFINED)
        modparam("jsonrpcs", "dgram_mode", "0999")
        # modparam("jsonrpcs", "debug", 77)
        modparam("htable", "htable", "=>size=4")
        modparam("dispatcher", "ds_probing_mode", 4)
        """,
    )
    options = ["--pretty-format=2", "--watchdog", "x", "--tcp-socket=tcp:1", "--async-limit=0"]
    return ["--modparams", "kamailio.cfg", *options], [
        "kamailio.cfg:2: transport: 99 is not allowed",
        "kamailio.cfg:3: fifo_timout: no such setting; did you mean fifo_timeout?",
        "kamailio.cfg:4: fifo_reply_dir: 'UNDEFINED' has no value",
        "kamailio.cfg:5: dgram_mode: '0999' has the wrong type",
        "kamailio.cfg:7: htable: '=>size=4' is not allowed",
        "kamailio.cfg:8: ds_probing_mode: 4 is not allowed",
        "pretty_format: '2' is not allowed",
        "watchdog: 'x' is not allowed",
        "tcp_socket: 'tcp:1' is not allowed",
        "async_limit: '0' is not allowed",
    ]


def plant_access(directory: Path) -> Planted:
    """Rules and users."""
    write(
        directory,
        settings_toml="""transport = 1
        rule = [
            "any deny core.kill",
            "udp allow",
            "fifo user=ann allow *",
            "https tls=ops allow *",
        ]
        rule_file = "rules"
        http_users = "users"
        """,
        rules="# rules\nudp 1.2.3.4/33 allow *\n\nany deny\nunix uid=nobody-here allow *\n",
        users="# users\nann:secret\nno colon\nbob:$scrypt$n=3\n:x\n",
    )
    (directory / "users").chmod(0o600)
    rules = re.escape(f"{directory}/rules")
    return CONFIG, [
        "settings.toml:4: rule: 'udp allow' is not allowed; allowed: methods after allow",
        "settings.toml:5: rule: 'fifo user=ann allow *' is not allowed",
        "settings.toml:6: rule: 'https tls=ops allow *' is not allowed; allowed: tls= with the setting tls_ca",
        rf"{rules}:2: rule_file: 'udp 1\.2\.3\.4/33 allow \*'; allowed: .*",
        rf"{rules}:4: rule_file: 'any deny'; allowed: .*",
        rf"{rules}:5: rule_file: 'unix uid=nobody-here allow \*'; allowed: .*nobody-here.*",
        "./users:2: http_users: not a known hash",
        "./users:3: http_users: no colon",
        "./users:4: http_users: not a known hash",
        "./users:5: http_users: '' cannot be a user's name",
    ]


def plant_files(directory: Path) -> Planted:
    """Certificates, the list of destinations, and files and directories that are not what they should be."""
    write(
        directory,
        settings_toml="""transport = 1
        tls_certificate = "cert.pem"
        tls_private_key = "no-key.pem"
        tls_ca = "ca.pem"
        list_file = "list"
        http_users = "directory"
        rule_file = "no-rules"
        store_path = "no-store"
        """,
        cert_pem="no certificate",
        ca_pem="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        list="# list\n1 sip:192.0.2.1\n1\nx sip:192.0.2.2\n1 http:192.0.2.3\n1 sip:192.0.2.4 99\n",
    )
    (directory / "directory").mkdir()
    return CONFIG, [
        "settings.toml:2: tls_certificate: ./cert.pem: no certificate",
        "settings.toml:3: tls_private_key: ./no-key.pem: No such file",
        "settings.toml:4: tls_ca: ./ca.pem: no certificate",
        "./list:3: list_file: 1 fields",
        "./list:4: list_file: 'x'",
        "./list:5: list_file: URI 'http:192.0.2.3'",
        "./list:6: list_file: flags 99",
        "settings.toml:6: http_users: ./directory: ",
        rf"settings\.toml:7: rule_file: {re.escape(str(directory))}/no-rules: No such file.*",
        "settings.toml:8: store_path: 'no-store' is not allowed; allowed: a directory that is there",
    ]


def plant_places(directory: Path) -> Planted:
    """Owners, addresses and directories."""
    write(
        directory,
        settings_toml="""transport = 15
        fifo_name = "no-directory/fifo"
        fifo_user = "nobody-here"
        fifo_group = 4294967295
        fifo_reply_dir = "no-replies"
        dgram_socket = [
            "udp:127.0.0.1:0",
            "udp:0.0.0.0:0",
            "file",
        ]
        dgram_group = "nobody-here"
        tcp_socket = "tcp:[::]:0"
        http_listen = [
            "tcp:x",
            "tcp:99999:interface=127.0.0.1",
            "tcp:0:interface=127.0.0.1",
        ]
        """,
        file="",
    )
    return CONFIG, [
        "settings.toml:2: fifo_name: ./no-directory/fifo: No such file",
        "settings.toml:3: fifo_user: 'nobody-here': does not exist here",
        "settings.toml:4: fifo_group: 4294967295: is too high",
        "settings.toml:5: fifo_reply_dir: ./no-replies: No such file",
        "settings.toml:8: dgram_socket: udp:0.0.0.0:0: reaches beyond this machine",
        rf"settings\.toml:9: dgram_socket: {re.escape(str(directory))}/file: not a socket; .*",
        "settings.toml:11: dgram_group: 'nobody-here': does not exist here",
        "settings.toml:12: tcp_socket: tcp6:0:interface=.*: reaches beyond this machine; .*",
        "settings.toml:14: http_listen: tcp:x: ",
        "settings.toml:15: http_listen: tcp:99999:interface=127.0.0.1: port must be 0-65535",
    ]


def plant_modules(directory: Path) -> Planted:
    """Families and modules of commands, tables, a key, and a rule that asks for what cannot be known."""
    for name in ("cert", "other"):
        identity = make_identity("server.example")
        (directory / f"{name}.pem").write_bytes(identity.pem)
        (directory / f"{name}.key").write_bytes(identity.key_pem())
    write(
        directory,
        settings_toml="""transport = 1
        load = ["system", "core", "coer"]
        commands = [
            "leaving_commands",
            "broken_commands",
            "empty_commands",
            "taken_commands",
        ]
        htable = ["a=>size=4", "b=>size=x",
            "a"]
        htable_db = "text"
        tls_certificate = "cert.pem"
        tls_private_key = "other.key"
        rule_file = "rules"
        """,
        text="not a file of hash tables\n" * 10,
        rules="any deny core.kill\nhttp user=ann allow *\n",
    )
    (directory / "broken_commands.py").write_text("1 / 0\n")
    (directory / "leaving_commands.py").write_text("raise SystemExit(0)\n")
    (directory / "empty_commands.py").write_text("")
    (directory / "taken_commands.py").write_text(
        'from jsonrpcs_tx import command\n@command("core.echo")\ndef echo(): return 1\n'
    )
    rules = re.escape(f"{directory}/rules")
    return CONFIG, [
        "settings.toml:2: load: 'coer' is not allowed",
        "settings.toml:4: commands: 'leaving_commands' is not allowed; allowed: a module that can be imported (0)",
        r"settings\.toml:5: commands: 'broken_commands' is not allowed.*division by zero.*",
        r"settings\.toml:6: commands: 'empty_commands' is not allowed.*holds no commands.*",
        r"settings\.toml:7: commands: 'taken_commands' is not allowed.*core\.echo.*",
        "settings.toml:9: htable: 'b=>size=x' is not allowed",
        "settings.toml:10: htable: 'a' is not allowed; allowed: each table once",
        "settings.toml:11: htable_db: ./text: not a file of hash tables",
        "settings.toml:13: tls_private_key: ./other.key: not the key of ./cert.pem",
        rf"{rules}:2: rule_file: 'http user=ann allow \*'; allowed: user= with the setting http_users, or in a program "
        "a checker or site_authenticates",
    ]


PLANT: list[Callable[[Path], Planted]] = [
    plant_values,
    plant_modparams,
    plant_access,
    plant_files,
    plant_places,
    plant_modules,
]


def lines_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What twistd printed, without the name before each line."""
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith("jsonrpcs: ") for line in lines), lines
    return [line.removeprefix("jsonrpcs: ") for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANT)
def test_planted_mistakes(plant: Callable[[Path], Planted], tmp_path: Path) -> None:
    """Each of ten mistakes is found in one run, with its file and line, and nothing besides them. The start ends with
    one of them, in the same words.
    """
    arguments, wanted = plant(tmp_path)
    assert len(wanted) == 10
    done = run_twistd(tmp_path, "jsonrpcs", "--check", *arguments)
    *lines, last = lines_of(done)
    for one in wanted:
        assert [line for line in lines if line.startswith(one) or re.fullmatch(one, line)], f"{one}\n{done.stderr}"
    assert (len(lines), last, done.returncode) == (10, "10 errors", 1), done.stderr
    started = run_twistd(tmp_path, "-n", "--pidfile=", "jsonrpcs", *arguments)
    assert started.returncode == 1
    (line,) = lines_of(started)
    assert line in lines


def prepare_everything(directory: Path) -> list[str]:
    """A configuration with everything that the start reads or makes, without a mistake.

    @return: the command line.
    """
    (directory / "store").mkdir()
    leftover = directory / "store" / ".0123456789abcdef"  # the start removes it
    leftover.touch()
    os.utime(leftover, (1, 1))
    (directory / "replies").mkdir()
    identity = make_identity("server.example")
    (directory / "ca.pem").write_bytes(identity.pem)
    users.write(directory / "users", "ann")
    (directory / "users").chmod(0o600)
    tables = Tables(reactor)
    store = TableStore(str(directory / "tables.db"))
    table = tables.define("a=>size=4")
    table.set("key", "value")
    store.store(table)
    store.close()
    write(
        directory,
        settings_toml="""transport = 0
        fifo_name = "fifo"
        fifo_reply_dir = "replies"
        dgram_socket = ["socket", "udp:127.0.0.1:0"]
        tcp_socket = "tcp:127.0.0.1:0"
        http_listen = ["tcp:0:interface=127.0.0.1", "unix:http", "haproxy:tcp:0:interface=127.0.0.1"]
        https_listen = ["tcp:0:interface=127.0.0.1"]
        tls_self_signed = "yes"
        tls_ca = "ca.pem"
        http_users = "users"
        rule_file = "rules"
        list_file = "list"
        htable = ["a=>size=4"]
        htable_db = "tables.db"
        store_path = "store"
        ds_ping_interval = 1
        dgram_workers = 2
        commands = ["own_commands"]
        """,
        rules="http user=ann allow *\nhttps tls=* allow *\n",
        list="1 sip:127.0.0.1:5060\n",
    )
    (directory / "own_commands.py").write_text(
        'from jsonrpcs_tx import command\n@command("own.nothing", stateless=True)\ndef nothing(): pass\n'
    )
    return ["jsonrpcs", "--check", *CONFIG]


def picture(directory: Path) -> dict[str, tuple[int, ...]]:
    """All that is in a directory, with what changes when it is written."""
    found: dict[str, tuple[int, ...]] = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


@pytest.mark.slow
def test_nothing_is_opened(tmp_path: Path) -> None:
    """A check of everything makes and changes no file, binds no socket, and finds nothing wrong."""
    need("strace", "strace")
    arguments = prepare_everything(tmp_path)
    before = picture(tmp_path)
    trace = tmp_path.parent / f"{tmp_path.name}.trace"
    calls = "bind,listen,open,openat,creat,mkdir,mkdirat,mknod,mknodat,unlink,unlinkat,rename,renameat,renameat2"
    done = subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", f"trace={calls}", twistd(), *arguments],
        cwd=tmp_path,
        env={**support.environment(), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
    )
    assert (lines_of(done), done.returncode) == (["no errors"], 0)
    assert picture(tmp_path) == before
    traced = trace.read_text()
    assert re.search(r"openat\(.*settings\.toml", traced)
    assert not re.findall(r"^.*\b(?:bind|listen|mknod|mknodat)\(.*$", traced, re.MULTILINE)
    for line in traced.splitlines():
        if str(tmp_path) in line or not re.search(r'\("?/|AT_FDCWD, "/', line):  # what is relative is in the directory
            assert not re.search(r"\bO_(?:WRONLY|RDWR|CREAT)\b|\b(?:unlink|rename|mkdir)", line), line


@pytest.mark.slow
def test_beside_a_running_server(tmp_path: Path) -> None:
    """A check of what a running server uses finds nothing wrong: it is run before a restart."""
    arguments = ["--fifo-name=fifo", "--htable=a", "--htable-db=tables.db", "--store-path=store", "--load=all"]
    (tmp_path / "store").mkdir()
    with support.Server(tmp_path, *arguments) as server:
        used = [
            *("--dgram-socket", str(server.addresses["unix"])),
            *(f"--http-listen=tcp:{server.addresses['http'][1]}:interface=127.0.0.1", "--tls-self-signed"),
        ]
        done = run_twistd(tmp_path, "jsonrpcs", *arguments, *used, "--check")
        assert (lines_of(done), done.returncode) == (["no errors"], 0)
        assert server.call("unix", support.ECHO) == support.ECHO_REPLY


@pytest.mark.slow
def test_one_error_and_warnings(tmp_path: Path) -> None:
    """One error is counted as one; what the server would only warn of is told, and is no error."""
    done = run_twistd(tmp_path, "jsonrpcs", "--check", "--debug=77")
    assert (lines_of(done)[1:], done.returncode) == (["1 error"], 1)
    users.write(tmp_path / "users", "ann")
    (tmp_path / "users").chmod(0o644)
    done = run_twistd(tmp_path, "jsonrpcs", "--check", "--http-users=users")
    (warning, last) = lines_of(done)
    assert warning.startswith("warning: ./users can be read or written by everybody")
    assert (last, done.returncode) == ("no errors", 0)


@pytest.mark.slow
def test_unreadable_configuration(tmp_path: Path) -> None:
    """A file that is not TOML is one error; what depends on what it says is not guessed at, all else is checked."""
    write(tmp_path, settings_toml='transport = 4\ndgram_socket = ["udp:127.0.0.1:0"\nfifo_name = "x"\n')
    done = run_twistd(tmp_path, "jsonrpcs", "--check", *CONFIG, "--run-dir=/no/such", "--debug=77")
    lines = lines_of(done)
    assert re.match(r"settings\.toml:[23]: ", lines[0])
    assert lines[1:] == ["debug: '77' is not allowed; allowed: -5 to 9", "2 errors"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user")
def test_without_write_access(public: Path) -> None:
    """Without the right to write where twistd or the server would, a daemon is refused in one line that says what and
    where, and a check finds all of it.
    """
    directory = public
    other = directory / "other"
    other.mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"), twistd(), *arguments],
            cwd=directory,
            env={**support.environment(), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    if run("--version").returncode:
        pytest.skip("another user cannot reach the package")
    socket = f"dgram_socket: {directory}/other/kamailio_rpc.sock: Permission denied"
    for arguments, word in (
        ((), f"twistd --logfile: {directory}/twistd.log: Permission denied"),
        (("--logfile=/dev/null",), f"twistd --pidfile: {directory}/twistd.pid: Permission denied"),
        (("-n",), f"twistd --pidfile: {directory}/twistd.pid: Permission denied"),
        (("-n", "--pidfile=no/x"), f"twistd --pidfile: {directory}/no/x: No such file or directory"),
        (("--logfile=other", "--pidfile="), f"twistd --logfile: {other}: Is a directory"),
        (("--logfile=/dev/null", "--pidfile="), socket),
        (("-n", "--pidfile="), socket),
        (("--logfile=/dev/null", "--pidfile=", "--rundir=none"), "twistd --rundir: none: No such file or directory"),
    ):
        done = run(*arguments, "jsonrpcs", "--run-dir", str(other))
        (line,) = lines_of(done)
        assert line.startswith(word)
        assert done.returncode == 1
    found = lines_of(run("jsonrpcs", "--check", "--run-dir", str(other)))
    assert [line.split(": ")[0] for line in found] == [
        *("twistd --logfile", "twistd --pidfile", "dgram_socket", "fifo_name", "4 errors")
    ]
    owner = ("--run-dir=/tmp", "--fifo-user=0", "--fifo-mode=060")
    owners = lines_of(run("--pidfile=", "-n", "jsonrpcs", "--check", *owner))
    assert [line.split(": ")[0] for line in owners] == ["fifo_user, fifo_group", "fifo_mode", "2 errors"]
    assert sorted(os.listdir(directory)) == ["other"]


@command("core.echo")
def echo() -> None:
    """Takes a name that is taken."""


class TestPrograms:
    """C{jsonrpcs_tx.check}."""

    def test_all_errors(self, tmp_path: Path) -> None:
        """All errors are returned; makeService, or the start, raises the first that it meets."""
        (tmp_path / "rules").write_text("any deny core.kill\nudp allow\nnonsense\n")
        settings = Settings(
            run_dir=tmp_path, rule_file="rules", fifo_name="none/fifo", dgram_socket="udp:0.0.0.0:0", load="coer"
        )
        found = check(settings, reactor)
        assert [type(error) for error in found] == [SettingError, StartError, StartError, StartError, StartError]
        rules = str(tmp_path / "rules")
        assert [(error.file, error.line) for error in found[:3]] == [(None, None), (rules, 2), (rules, 3)]
        with pytest.raises(JsonRpcsError) as caught:
            makeService(settings, reactor)
        assert str(caught.value) == str(found[0])
        assert os.listdir(tmp_path) == ["rules"]

    def test_nothing_wrong(self, tmp_path: Path) -> None:
        """Where nothing is wrong, the list is empty and nothing was made."""
        assert check(Settings(run_dir=tmp_path, tls_self_signed=True, fifo_name="fifo"), reactor) == []
        assert os.listdir(tmp_path) == []

    def test_own_commands(self, tmp_path: Path) -> None:
        """Mistakes in what the program itself hands over are raised, as by makeService."""
        settings = Settings(run_dir=tmp_path, load="core")
        for make in (check, makeService):
            with pytest.raises(ValueError, match=r"core\.echo"):
                make(settings, reactor, [echo])

    def test_interfaces(self, tmp_path: Path) -> None:
        """An address with a network interface that is not there is an error, and not an exception of another kind."""
        value = "udp:[fe80::1%none]:0"
        (error,) = check(Settings(run_dir=tmp_path, dgram_socket=value), reactor)
        assert str(error).startswith(f"dgram_socket: {value}: ")

    def test_tables(self, tmp_path: Path) -> None:
        """A file of hash tables is looked into without SQLite's opening it: damage and bad rows are found."""
        path = tmp_path / "tables.db"
        store = TableStore(str(path))
        table = Tables(reactor).define("a")
        for number in range(2000):
            table.set(f"key{number}", "x" * 50)
        store.store(table)
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.close()
        settings = Settings(run_dir=tmp_path, htable="a", htable_db="tables.db", dgram_socket="udp:127.0.0.1:0")
        before = picture(tmp_path)
        assert check(settings, reactor) == []
        assert picture(tmp_path) == before
        data = bytearray(path.read_bytes())
        data[8192:12288] = os.urandom(4096)
        path.write_bytes(data)
        (error,) = check(settings, reactor)
        assert str(error).startswith(f"htable_db: {path}: damaged")
