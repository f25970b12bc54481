"""Profiles, and servers that are found on this machine."""

import contextlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Server
from tests.support.cli import Done, Short, command, jsonrpcs, plain_environment
from tests.support.users import write

pytestmark = pytest.mark.slow


class Home:
    """A user's configuration directory.

    @ivar path: of the configuration.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "jsonrpcs" / "config.toml"
        self.path.parent.mkdir()

    def write(self, text: str, mode: int = 0o600) -> None:
        """Configure the program, which finds no server of this machine unless it is told where to look."""
        where = "" if "run_dirs" in text else "run_dirs = []\nkamailio_cfgs = []\n"
        self.path.write_text(where + text)
        self.path.chmod(mode)

    def run(self, *words: str, **variables: str) -> Done:
        return jsonrpcs(*words, variables={"XDG_CONFIG_HOME": str(self.directory), **variables})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants to know who calls over HTTP."""
    directory = tmp_path_factory.mktemp("guarded")
    write(directory / "users", "ann")
    with Server(directory, "--http-users=users") as running:
        yield running


def test_profile(home: Home, server: Server) -> None:
    """A profile is a name for a target with its options."""
    to = f"unix:{server.addresses['unix']}"
    home.write(f'[profiles.here]\ntarget = "{to}"\ntimeout = 2.5\n[profiles.nowhere]\ntarget = "unix:/nowhere/x"\n')
    assert home.run("--to", "here", "core.version").out.startswith("jsonrpcs_tx ")
    assert home.run("core.version", JSONRPCS_TO="here").code == 0
    done = home.run("--to", "nowhere", "core.version")
    assert (done.code, done.err[:63]) == (3, "jsonrpcs: nowhere: unix:/nowhere/x: core.version: No such file ")
    assert home.run("--to", "nowere", "core.version").err.endswith("; did you mean nowhere?\n")
    assert home.run("--to", "unixd:/run/x", "core.version").err.endswith("; did you mean unix:/run/x?\n")
    (home.directory / "x.sock").touch()
    done = jsonrpcs("--to", "x.sock", "core.version", directory=home.directory)
    assert done.err.endswith("; did you mean unix:x.sock or fifo:x.sock?\n")
    done = home.run("core.version", JSONRPCS_TO="other")
    assert (done.code, done.err[:47]) == (2, "jsonrpcs: JSONRPCS_TO: other: neither a target ")
    home.write(f'default = "other"\n[profiles.here]\ntarget = "{to}"\n[profiles.nowhere]\ntarget = "unix:/nowhere/x"\n')
    done = home.run("core.version")
    assert (done.code, f"{home.path}: default: other: neither a target nor a profile" in done.err) == (2, True)
    done = home.run("--to", "/run/x.sock", "core.version")
    assert (done.code, "; did you mean unix:/run/x.sock or fifo:/run/x.sock?" in done.err) == (2, True)
    assert home.run("--to", "here", "targest").err.endswith("; did you mean jsonrpcs targets?\n")
    assert home.run("--to", "here", "core.printi", "s:x").err.endswith("; see jsonrpcs help core.printi\n")
    assert home.run("--to", "here", "no.such").err.startswith("jsonrpcs: here: no.such: 500 ")
    done = home.run("--to", "other", "core.version")
    assert (
        done.code,
        done.err.startswith("jsonrpcs: other: neither a target nor a profile; allowed: here, nowhere, unix:"),
    ) == (
        2,
        True,
    )


def test_default(home: Home, server: Server) -> None:
    """The default profile is meant where nothing is named."""
    home.write(f'default = "here"\n[profiles.here]\ntarget = "unix:{server.addresses["unix"]}"\n')
    assert home.run("core.version").out.startswith("jsonrpcs_tx ")


def test_tls(home: Home, server: Server) -> None:
    """A profile has what TLS needs."""
    host, port = server.addresses["https"]
    ca = server.directory / "tls.pem"
    home.write(f'[profiles.tls]\ntarget = "https://{host}:{port}"\ntls_ca = "{ca}"\n')
    assert home.run("--to", "tls", "core.version").out.startswith("jsonrpcs_tx ")


@pytest.mark.parametrize("way", ["password", "password_file", "password_command", "option", "none"])
def test_password(home: Home, guarded: Server, way: str) -> None:
    """A password comes from the profile, a file or a command; without one the server refuses."""
    secret = home.directory / "secret"
    secret.write_text("ann\nmore\n")
    secret.chmod(0o600)
    line = {
        "password": 'password = "ann"',
        "password_file": f'password_file = "{secret}"',
        "password_command": f'password_command = "cat {secret}"',
    }.get(way, "")
    user = 'user = "ann"\n' if line else ""
    host, port = guarded.addresses["http"]
    home.write(f'[profiles.guarded]\ntarget = "http://{host}:{port}"\n{user}{line}\n')
    words = ["--user", "ann", "--password-file", str(secret)] if way == "option" else []
    done = home.run("--to", "guarded", "core.version", *words)
    if way == "none":
        assert (done.code, "401 Unauthorized; set user and password" in done.err) == (5, True)
    else:
        assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("mode", [0o604, 0o644])
def test_password_that_others_can_read(home: Home, mode: int) -> None:
    """A file with a password that others can read is refused; one without may be read."""
    text = '[profiles.a]\ntarget = "http://127.0.0.1:1"\nuser = "ann"\n'
    home.write(text + 'password = "x"\n', mode)
    done = home.run("--to", "a", "core.version")
    message = (
        f"jsonrpcs: {home.path}: it has a password, and others may read it (mode {mode:04o}); allowed: chmod 600\n"
    )
    assert (done.code, done.err) == (2, message)
    home.write(text.replace("http://", "http://ann:x@").replace('user = "ann"\n', ""), mode)
    assert home.run("--to", "a", "core.version").err == message
    secret = home.directory / "secret"
    secret.write_text("x")
    secret.chmod(mode)
    home.write(text + f'password_file = "{secret}"\n', mode)
    assert home.run("--to", "a", "core.version").err == message.replace(str(home.path), str(secret))
    home.write(text, mode)
    assert home.run("--to", "a", "core.version").code == 3


def test_file_that_others_can_write(home: Home) -> None:
    """What others can change says nothing: it might run their commands."""
    home.write('[profiles.a]\ntarget = "unix:/nowhere/x"\n', 0o666)
    done = home.run("--to", "a", "core.version")
    assert (done.code, "others may write it (mode 0666); allowed: chmod go-w" in done.err) == (2, True)
    home.path.chmod(0o600)
    home.path.parent.chmod(0o777)
    done = home.run("--to", "a", "core.version")
    assert (done.code, "others could replace it: " in done.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "Expected '=' after a key in a key/value pair (at end of document); allowed: TOML"),
        ("other = 1", "unknown setting other; allowed: default, profiles, run_dirs, kamailio_cfgs"),
        ("default = 5", "default: 5 is not allowed; allowed: a text that is not empty"),
        ("profiles = 5", "profiles: 5 is not allowed; allowed: tables [profiles.NAME]"),
        ("profiles.a = 5", "profiles.a is not a table; allowed: [profiles.a]"),
        ("[profiles.a]", "profiles.a: target is missing; allowed: a URL, such as unix:/run/kamailio/kamailio_rpc.sock"),
        ('[profiles.a]\ntarget = "udp:x:1"\npassword = 12', "profiles.a: password is not allowed; allowed: a text"),
        ("[profiles.a]\ntarget = 5", "profiles.a: target: 5 is not allowed; allowed: a text that is not empty"),
        ('[profiles.a]\nurl = "x"', "profiles.a: unknown setting url; allowed: target, user, password, "),
        (
            '[profiles.a]\ntarget = "udp:x:1"\ntimeout = 0',
            "profiles.a: timeout: 0 is not allowed; allowed: seconds above 0",
        ),
        (
            '[profiles.a]\ntarget = "udp:x:1"\ntimeout = nan',
            "profiles.a: timeout: nan is not allowed; allowed: seconds above",
        ),
        (
            '[profiles.a]\ntarget = "udp:x:1"\npassword = "x"',
            "profiles.a: a password without a user; allowed: user and",
        ),
        (
            '[profiles.a]\ntarget = "http://x"\nuser = "u"\npassword = "x"\npassword_file = "y"',
            "profiles.a: password and password_file are given; allowed: one of them",
        ),
    ],
)
def test_wrong_configuration(home: Home, text: str, message: str) -> None:
    """A mistake is one line that says where it is, and what is allowed."""
    home.write(text)
    done = home.run("--to", "a", "core.version")
    assert (done.code, done.out) == (2, "")
    place = f"jsonrpcs: {home.path}: "
    assert done.err.startswith(place + message)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('password_file = "/nowhere/x"', "/nowhere/x: No such file or directory; allowed: a file that can be read"),
        ('password_file = "/dev/zero"', "/dev/zero: not a regular file; allowed: one that can be read"),
        (
            'password_command = "exit 3"',
            "password_command: it has ended with exit code 3; allowed: one that prints the",
        ),
        ('password_command = "true"', "password_command: it prints nothing; allowed: one that prints the password"),
        (
            "password_prompt = true",
            "a: the password of ann cannot be asked for; allowed: a terminal, or a file with it",
        ),
    ],
)
def test_no_password(home: Home, setting: str, message: str) -> None:
    """Where the password cannot be got, nothing is called."""
    home.write(f'[profiles.a]\ntarget = "http://127.0.0.1:1"\nuser = "ann"\n{setting}\n')
    done = home.run("--to", "a", "core.version")
    assert (done.code, message in done.err) == (2, True)


def test_password_is_asked_for(home: Home, guarded: Server) -> None:
    """A password can be typed in at the terminal, which does not show it."""
    host, port = guarded.addresses["http"]
    home.write(f'[profiles.a]\ntarget = "http://{host}:{port}"\nuser = "ann"\npassword_prompt = true\n')
    words = command("--to", "a", "core.version")
    process, terminal = os.forkpty()
    if not process:
        os.execve(words[0], words, plain_environment(XDG_CONFIG_HOME=str(home.directory)))
    shown = b""
    while b"Password of ann for a: " not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"ann\n")
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while data := os.read(terminal, 1000):
            shown += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert re.fullmatch(rb"Password of ann for a: \r\njsonrpcs_tx [^\r\n]+\r\n", shown)


def test_nothing_is_found(home: Home) -> None:
    """Where no server is, that is said, with what to do."""
    home.write('run_dirs = ["/nowhere"]\nkamailio_cfgs = ["/nowhere/kamailio.cfg"]\n')
    done = home.run("core.version")
    message = "no server was found in /nowhere, /nowhere/kamailio.cfg; say where it is: --to TARGET, or JSONRPCS_TO"
    assert (done.code, done.out, done.err) == (3, "", f"jsonrpcs: {message}\n")
    for words in (["targets"], ["--all", "core.version"]):
        assert (home.run(*words).code, home.run(*words).out) == (3, "")
    done = home.run("help", "core.uptime")
    assert (done.code, done.out.startswith("core.uptime\n")) == (0, True)


def test_usual_places(home: Home) -> None:
    """The socket and the FIFO at their usual places are one server, found without being named."""
    with Short() as directory, Server(directory, "--dgram-socket=kamailio_rpc.sock", "--fifo-name=kamailio_rpc.fifo"):
        home.write(f'run_dirs = ["{directory}"]\nkamailio_cfgs = []\n')
        assert home.run("core.version").out.startswith("jsonrpcs_tx ")
        target = f"unix:{directory}/kamailio_rpc.sock,fifo:{directory}/kamailio_rpc.fifo"
        rows = json.loads(home.run("targets", "--json").out)
        assert [(row["target"], row["answers"], row["known from"]) for row in rows] == [(target, "yes", str(directory))]
        (directory / "kamailio_rpc.sock").unlink()
        row = json.loads(home.run("targets", "--json", "--timeout", "0.5").out)[0]  # its replies go elsewhere
        assert row["target"] == f"fifo:{directory}/kamailio_rpc.fifo"


def test_places_in_kamailio_cfg(home: Home) -> None:
    """What the modparam lines of a kamailio.cfg name is found."""
    with Short() as directory, Server(directory) as server:
        host, port = server.addresses["udp4"]
        cfg = directory / "kamailio.cfg"
        cfg.write_text(
            "#!KAMAILIO\n"
            f'modparam("jsonrpcs", "dgram_socket", "{directory}/rpc.sock")\n'
            f'modparam("jsonrpcs", "dgram_socket", "udp4:{host}:{port}")\n'
            f'modparam("jsonrpcs", "fifo_name", "{directory}/rpc.fifo")\n'
            f'modparam("jsonrpcs", "fifo_reply_dir", "{server.reply_dir}")\n'
            '# modparam("jsonrpcs", "fifo_name", "/nowhere")\n'
        )
        home.write(f'run_dirs = ["{directory}"]\nkamailio_cfgs = ["{cfg}"]\n')
        target = f"unix:{directory}/rpc.sock,fifo:{directory}/rpc.fifo,udp:{host}:{port}"
        (row,) = json.loads(home.run("targets", "--json").out)
        assert (row["target"], row["known from"], row["answers"]) == (target, str(cfg), "yes")
        assert home.run("core.version").out.startswith("jsonrpcs_tx ")
        (directory / "rpc.sock").unlink()
        assert home.run("core.version").out.startswith("jsonrpcs_tx ")  # the reply comes to fifo_reply_dir


def test_names_in_kamailio_cfg(home: Home) -> None:
    """A kamailio.cfg is read as Kamailio reads it: with defines, and names that start from C{run_dir}."""
    with Short() as directory, Server(directory):
        cfg = directory / "kamailio.cfg"
        (directory / "more.cfg").write_text(f'run_dir = "{directory}"\n')
        cfg.write_text(
            '#!KAMAILIO\n#!define WITH_RPC\ninclude_file "more.cfg"\nloadmodule "jsonrpcs.so"\n'
            '#!substdef "!NAME_OF_RPC!rpc!g"\n#!ifdef WITH_RPC\n'
            'modparam("json.*", "dgram_socket", "NAME_OF_RPC" ".sock")\n#!endif\n'
            'modparam("nobody", "what is wrong", "is passed over")\n'
        )
        home.write(f'run_dirs = ["/nowhere"]\nkamailio_cfgs = ["{cfg}"]\n')
        (row,) = json.loads(home.run("targets", "--json").out)
        assert (row["target"], row["answers"]) == (f"unix:{directory}/rpc.sock", "yes")


def test_several_are_found(home: Home, server: Server) -> None:
    """Where several servers are found, one has to be named, or all are called."""
    with Short() as first, Short() as second:
        for directory in (first, second):
            os.symlink(server.addresses["unix"] if directory == first else "/dev/null", directory / "kamailio_rpc.sock")
            os.mkfifo(directory / "kamailio_rpc.fifo")
        home.write(f'run_dirs = ["{first}", "{second}"]\nkamailio_cfgs = []\n')
        done = home.run("core.version")
        assert (done.code, done.err.startswith("jsonrpcs: several servers were found: unix:")) == (2, True)
        done = home.run("core.version", "--all", "--json")
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert (done.code, ["result" in line for line in lines]) == (3, [True, False])


def test_targets(home: Home, server: Server) -> None:
    """All servers that are known are listed, each once, with who answers."""
    unix = f"unix:{server.addresses['unix']}"
    home.write(f'[profiles.here]\ntarget = "{unix}"\n[profiles.gone]\ntarget = "udp:127.0.0.1:1"\n')
    done = home.run("targets", JSONRPCS_TO="tcp:127.0.0.1:1")
    lines = done.out.splitlines()
    assert done.code == 0
    assert [line.split()[:2] for line in lines[1:]] == [
        ["here", unix],
        ["gone", "udp:127.0.0.1:1"],
        ["tcp:127.0.0.1:1", "JSONRPCS_TO"],
    ]
    assert [line.split()[0] for line in lines[:1]] == ["name"]
    assert ["yes" in line for line in lines[1:]] == [True, False, False]
    done = home.run("core.version", "--all", "--json", JSONRPCS_TO="here")
    assert (done.code, [json.loads(line)["target"] for line in done.out.splitlines()]) == (3, ["here", "gone"])


def test_shell_words(home: Home) -> None:
    """A password is never among the words of a command line, nor in a message."""
    home.write('[profiles.a]\ntarget = "http://ann:secret@127.0.0.1:1"\n')
    for words in (["--to", "a"], ["--to", "http://ann:secret@127.0.0.1:1"], ["--to", "http://ann:secret@x:y"]):
        done = home.run(*words, "core.version")
        assert done.code in (2, 3)
        assert "secret" not in done.out + done.err, shlex.join(words)
