"""Completion in real shells, and what their scripts ask for."""

import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from jsonrpcs_tx.cli.lists import SECONDS
from tests.support import PATIENCE, Server
from tests.support.cli import Short, command, jsonrpcs, plain_environment
from tests.support.hostile import Hostile, frozen, http
from tests.support.kamailio import Kamailio
from tests.support.programs import need
from tests.support.screens import Screen

pytestmark = pytest.mark.slow

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(jsonrpcs completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -D; eval "$(jsonrpcs completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "jsonrpcs completion fish | source"),
}
CTRL_U = "\x15"


class RealShell(Screen):
    """A shell with the completion loaded.

    @param home: its directory.
    """

    def __init__(self, name: str, home: Path, **variables: str) -> None:
        need(name, name)
        path = f"{Path(command()[0]).parent}:{os.environ['PATH']}"
        homes = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")}
        words, load = SHELLS[name]
        homes["XDG_CONFIG_HOME"] = str(home / "config")  # where fish writes
        plain = plain_environment(**{**homes, **variables}, PS1="ready> ", INPUTRC="/dev/null")
        super().__init__(words, {**plain, "PATH": path})
        self.type(f"cd {home}; {load}; echo loa''ded\r")
        self.wait_for("^loaded$")
        self.count = 0

    def completes(self, line: str, expected: str) -> None:
        """Write a line, type Tab, and expect the line to become another."""
        self.count += 1
        self.type(f"{line}\t#{self.count}")
        self.wait_for(f"{re.escape(expected)}#{self.count}")
        self.clear()

    def shows(self, line: str, *expected: str) -> None:
        """Write a line, type Tab, and expect what is offered."""
        self.type(f"{line}\t\t\t")
        for one in expected:
            self.wait_for(re.escape(one))
        self.clear()

    def clear(self) -> None:
        """Take back what is in the line. Ctrl-C would do more: what is typed behind it gets lost."""
        self.count += 1
        self.type(f"{CTRL_U}echo cle''ared{self.count}\r")
        self.wait_for(f"^cleared{self.count}$")


@pytest.fixture
def target(server: Server) -> str:
    return f"unix:{server.addresses['unix']}"


@pytest.mark.parametrize("name", SHELLS)
def test_real_shells(name: str, tmp_path: Path, kamailio: Kamailio) -> None:
    """Sub-commands, options, profiles, methods, values with colons in them, and files are completed."""
    config = tmp_path / "config/jsonrpcs/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[profiles.proxy1]\ntarget = "unix:{kamailio.unix}"\n')
    (tmp_path / "root ca.pem").touch()
    with RealShell(name, tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"), JSONRPCS_TO="proxy1") as shell:
        shell.completes("jsonrpcs targ", "jsonrpcs targets ")
        shell.completes("jsonrpcs --time", "jsonrpcs --timeout ")
        shell.completes("jsonrpcs --to pro", "jsonrpcs --to proxy1 ")
        shell.completes("jsonrpcs --to=pro", "jsonrpcs --to=proxy1 ")
        shell.completes("jsonrpcs htable.du", "jsonrpcs htable.dump ")
        shell.completes("jsonrpcs htable.get ", "jsonrpcs htable.get a ")
        remove = "jsonrpcs dispatcher.remove 2 sip:127.0.0.1:5091"
        shell.completes(remove, f"{remove} ")
        shell.completes("jsonrpcs a.b --tls-ca roo", r"jsonrpcs a.b --tls-ca root\ ca.pem ")
        shell.completes("jsonrpcs a.b --tls-ca=roo", r"jsonrpcs a.b --tls-ca=root\ ca.pem ")
        shell.completes("jsonrpcs completion f", "jsonrpcs completion fish ")
        shell.shows("jsonrpcs core.print", "ore.printi", "ore.prints")
        shell.shows("jsonrpcs dispatcher.remove 2 sip", "5090", "5091")


@pytest.mark.parametrize("name", SHELLS)
def test_hostile_server(name: str, tmp_path: Path) -> None:
    """Text by a server does not become part of a command, and cannot control the terminal."""
    names = json.dumps(["evil.$(touch hacked)", "evil2.\x1b[2Jx", "evil3.`touch hacked`"]).encode()
    server = Hostile(http(b'{"jsonrpc":"2.0","result":%b,"id":1}' % names))
    to = f"http://127.0.0.1:{server.port}/RPC"
    with RealShell(name, tmp_path, JSONRPCS_TO=to) as shell:
        shell.completes("jsonrpcs --timeout 0.1 evil.", r"jsonrpcs --timeout 0.1 evil.\$\(touch\ hacked\) ")
        shell.type("jsonrpcs --to udp:127.0.0.1:9 evil.\t\r")
        shell.wait_for("Connection refused")
        shell.shows("jsonrpcs evil", "evil.$" if name != "bash" else r"evil.\$")
        assert b"2Jx" not in shell.received
    server.close()
    assert not (tmp_path / "hacked").exists()


def completed(*words: str, shell: str = "fish", **variables: str) -> list[str]:
    """What a script is told. On a busy machine, a second may end before that."""
    end = time.monotonic() + PATIENCE
    done = jsonrpcs("completion", shell, "--", *words, variables=variables)
    while done.code == -signal.SIGALRM and time.monotonic() < end:
        done = jsonrpcs("completion", shell, "--", *words, variables=variables)
    assert (done.code, done.err) == (0, "")
    return [line.partition("\t")[0] for line in done.out.splitlines()]


def test_cache(tmp_path: Path, server: Server) -> None:
    """A server is asked once a minute, each for itself; what it said is for nobody else to read."""
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    requests = ["--to", f"unix:{server.addresses['unix']}", "cnt.get", "core", "rcv_requests"]
    for transport in ("unix", "fifo"):
        to = f"{transport}:{server.addresses[transport]}"
        words = ("--to", to, "--reply-dir", str(server.reply_dir), "cnt.li")
        assert completed(*words, **cache) == ["cnt.list_groups", "cnt.list_vars"]
        before = int(jsonrpcs(*requests).out)
        assert completed(*words, **cache) == ["cnt.list_groups", "cnt.list_vars"]
        assert int(jsonrpcs(*requests).out) == before + 1
    files = list((tmp_path / "jsonrpcs/lists").iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 2
    assert stat.S_IMODE((tmp_path / "jsonrpcs/lists").stat().st_mode) == 0o700
    for path in files:
        os.utime(path, (time.time() - 61,) * 2)
    before = int(jsonrpcs(*requests).out)
    assert completed(*requests[:2], "cnt.li", **cache) == ["cnt.list_groups", "cnt.list_vars"]
    assert int(jsonrpcs(*requests).out) == before + 2


@pytest.mark.parametrize("what", ["{", "[1]", "[" * 100_000, "", "\udc80"])
def test_bad_cache(tmp_path: Path, server: Server, what: str) -> None:
    """A file in the cache that is not a list is ignored, and the server is asked."""
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    to = f"unix:{server.addresses['unix']}"
    completed("--to", to, "cnt.li", **cache)
    (file,) = (tmp_path / "jsonrpcs/lists").iterdir()
    file.write_text(what, errors="surrogateescape")
    assert completed("--to", to, "cnt.li", **cache) == ["cnt.list_groups", "cnt.list_vars"]


def test_cache_that_cannot_be_kept(tmp_path: Path, server: Server) -> None:
    """Without a place for the cache, the server is asked each time."""
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    for home in ("/proc/nowhere", str(place)):
        to = f"unix:{server.addresses['unix']}"
        assert completed("--to", to, "cnt.li", XDG_CACHE_HOME=home) == ["cnt.list_groups", "cnt.list_vars"]


@pytest.mark.parametrize("scheme", ["unix", "udp", "tcp", "fifo", "http"])
def test_frozen_server(tmp_path: Path, scheme: str) -> None:
    """A server that does not answer is waited for shortly; then the catalogue says what there is, and it is not asked
    again for some time.
    """
    with Short() as directory:
        to, server = frozen(scheme, directory)
        words = ("--to", to, *(["--reply-dir", str(directory)] if scheme == "fifo" else []), "htable.du")
        with server:
            started = time.monotonic()
            assert completed(*words, XDG_CACHE_HOME=str(tmp_path)) == ["htable.dump"]
            assert time.monotonic() - started >= SECONDS
            assert was_asked(server)
            assert completed(*words, XDG_CACHE_HOME=str(tmp_path)) == ["htable.dump"]
            assert not was_asked(server)


def was_asked(server: Any) -> bool:
    """Whether something has come to a frozen server since the last time."""
    asked = False
    while select.select([server], [], [], 0)[0]:
        asked = True
        if not isinstance(server, socket.socket):
            os.read(server.fileno(), 65_536)
        elif server.type == socket.SOCK_STREAM:
            server.accept()[0].close()
        else:
            server.recv(65_536)
    return asked


def test_password_is_not_asked_for(tmp_path: Path) -> None:
    """Nobody is asked for a password, and no command is run for one."""
    config = tmp_path / "jsonrpcs/config.toml"
    config.parent.mkdir()
    asked = tmp_path / "asked"
    config.write_text(
        f'[profiles.a]\ntarget = "http://127.0.0.1:9"\nuser = "me"\npassword_command = "touch {asked}"\n'
        f'[profiles.b]\ntarget = "http://127.0.0.1:9"\nuser = "me"\npassword_prompt = true\n'
    )
    homes = {"XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for words in (["--to", "a"], ["--to", "b"], ["--user", "me", "--to", "http://127.0.0.1:9"]):
        assert completed(*words, "htable.du", **homes) == ["htable.dump"]
    assert not asked.exists()


def test_words_for_bash(tmp_path: Path, target: str) -> None:
    """bash's word begins after a colon or an equals sign, and is written as it is: quotes are ours to see to."""
    assert jsonrpcs("--to", target, "dispatcher.add", "1", "sip:127.0.0.1:5060;transport=tcp").code == 0
    line = f"jsonrpcs --to {target} dispatcher.remove 1 "
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    for typed, part, expected in (
        ("", "", [r"sip:127.0.0.1:5060\;transport=tcp"]),
        ("sip:127", "127", [r"127.0.0.1:5060\;transport=tcp"]),
        ("sip:", "", [r"127.0.0.1:5060\;transport=tcp"]),
        ("'sip:", "sip:", []),
        ("x", "x", []),
    ):
        assert completed(line + typed, part, shell="bash", **cache) == expected
    assert completed("A=b JSONRPCS_TO=x jsonrpcs comp", "comp", shell="bash", **cache) == ["completion"]
    assert completed("jsonrpcs", "", shell="bash", **cache) == []


def test_wrong_usage() -> None:
    """Another shell is refused, with those that there are."""
    done = jsonrpcs("completion", "tcsh")
    message = "jsonrpcs: completion: unknown shell 'tcsh'; allowed: bash, zsh, fish\n"
    assert (done.code, done.out, done.err) == (2, "", message)
    assert jsonrpcs("completion").code == 2


@pytest.mark.parametrize("name", SHELLS)
def test_scripts(name: str) -> None:
    """The scripts are what the shells take, and say nothing when they are loaded."""
    need(name, name)
    script = jsonrpcs("completion", name).out
    done = subprocess.run([name, "-n"], input=script, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert (done.stdout, done.stderr) == ("", "")
