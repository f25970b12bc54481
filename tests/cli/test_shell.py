"""The shell on a real terminal: typing, Tab, history, Ctrl-C, Ctrl-D, and servers that come and go."""

import json
import os
import re
import signal
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import Server
from tests.support.cli import Short, command, jsonrpcs, options, plain_environment
from tests.support.clients import our_target
from tests.support.hostile import Hostile, frozen, http
from tests.support.kamailio import Kamailio
from tests.support.screens import Screen

pytestmark = pytest.mark.slow

CTRL_C, CTRL_D, CTRL_R, UP, TAB, ENTER = "\x03", "\x04", "\x12", "\x1b[A", "\t", "\r"


class Opened(Screen):
    """The shell for a target, as soon as it was started.

    @param home: where it keeps its files.
    """

    def __init__(self, home: Path, target: str, *words: str, variables: Mapping[str, str] = {}) -> None:
        homes = {"XDG_STATE_HOME": str(home / "state"), "XDG_CACHE_HOME": str(home / "cache")}
        super().__init__(command("--to", target, *words), plain_environment(**homes, **variables))
        self.prompt = f"^{re.escape(target)}>"
        self.count = 0

    def ready(self) -> None:
        """Wait until the next line can be written."""
        self.count += 1
        self.wait_for(rf"(?s:(?:{self.prompt}.*?){{{self.count - 1}}}){self.prompt}$")

    def enter(self, line: str) -> None:
        """Write a line, and wait until it has been followed."""
        self.type(f"{line}{ENTER}")
        self.ready()

    def shows(self, line: str, *pattern: str) -> None:
        """Write a line, and expect what it prints: a regular expression for each line."""
        self.enter(line)
        below = "\n".join(f"^{one}$" for one in pattern)
        self.wait_for(rf"{self.prompt} {re.escape(line)}\n{below}\n{self.prompt}$")


class Shell(Opened):
    """The shell for a target, at its first prompt."""

    def __init__(self, home: Path, target: str, *words: str, variables: Mapping[str, str] = {}) -> None:
        super().__init__(home, target, *words, variables=variables)
        self.ready()


@pytest.fixture
def target(server: Server) -> str:
    return f"unix:{server.addresses['unix']}"


def test_calls(tmp_path: Path, target: str) -> None:
    """A line is a command line: what it prints, and what goes wrong, is as it is without the shell."""
    with Shell(tmp_path, target) as shell:
        shell.shows("jsonrpc.echo 'a b' 5", "a b", "5")
        shell.shows("jsonrpc.echo a 5 --json", re.escape('["a",5]'))
        shell.shows("jsonrpcs jsonrpc.echo 'a b' 5", "a b", "5")
        shell.shows("core.uptme", re.escape(jsonrpcs("--to", target, "core.uptme").err.rstrip()))
        shell.shows("core.uptime --jsno", "jsonrpcs: --jsno: no such option; did you mean --json.*")
        shell.shows("jsonrpc.echo 'a", "jsonrpcs: no closing quotation; allowed: words as in a shell")
        shell.shows("check jsonrpc.echo a 5 -e 1=5", "OK - .*")
        shell.enter("")
        shell.type(CTRL_D)
        assert shell.end() == 0


def test_real_server(tmp_path: Path, kamailio: Kamailio) -> None:
    """The real Kamailio, with the values that it lists."""
    with Shell(tmp_path, f"unix:{kamailio.unix}") as shell:
        shell.shows("htable.sets a 1001 5", "Ok. Key set to new value.")
        shell.type(f"htable.du{TAB}")
        shell.wait_for("> htable.dump")
        shell.type(f" {TAB}")
        shell.wait_for("> htable.dump a")
        shell.type(CTRL_C)
        shell.ready()
        shell.type(f"dispatcher.remove 2 {TAB}")
        shell.wait_for("sip:127.0.0.1:5090")
        shell.wait_for("sip:127.0.0.1:5091")
        assert "sip:127.0.0.1:5082" not in shell.text
        shell.type(CTRL_D)


def test_completion(tmp_path: Path, target: str) -> None:
    """Tab completes sub-commands, methods, options, values and paths; several are shown with what they mean."""
    (tmp_path / "some file").touch()
    with Shell(tmp_path, target, variables={"HOME": str(tmp_path)}) as shell:
        shell.type(f"targ{TAB}")
        shell.wait_for("> targets")
        shell.type(f" --js{TAB}")
        shell.wait_for("> targets --json")
        shell.type(f"{CTRL_C}htable.get{TAB}")
        shell.wait_for("> htable.get")
        shell.type(f"{CTRL_C}core.p{TAB}")
        shell.wait_for("core.printi +Returns")
        shell.type(f"{CTRL_C}_ --save ~/so{TAB}")
        shell.wait_for("> _ --save '~/some file'")
        shell.type(f"{CTRL_C}--to=ht{TAB}")
        shell.wait_for("^ +--to=https://$")
        shell.type(f"{CTRL_C}{CTRL_D}")
        assert shell.end() == 0


def test_usage_while_typing(tmp_path: Path, target: str) -> None:
    """Below the line stands what the method in it takes."""
    with Shell(tmp_path, target) as shell:
        shell.wait_for("Tab completes, help lists the commands, Ctrl-D leaves")
        shell.type("htable.get ")
        shell.wait_for("^htable.get TABLE KEY  Shows an item")
        shell.type(CTRL_C)


def test_help(tmp_path: Path, target: str) -> None:
    """Help is at hand: for a method in four ways, for the shell, and for its own sub-commands."""
    expected = [re.escape(line) for line in jsonrpcs("--to", target, "help", "core.pwd").out.splitlines()]
    with Shell(tmp_path, target) as shell:
        for line in ("help core.pwd", "core.pwd ?", "core.pwd?", "?core.pwd", "? core.pwd"):
            shell.shows(line, *expected)
        shell.enter("?")
        shell.wait_for("^  METHOD .PARAMETER.... +Call a method.$")
        shell.enter("help _")
        shell.wait_for(r"^Usage: _ \[OPTION...\] \[PATH\]$")
        shell.enter("watch --help")
        shell.wait_for("^Usage: jsonrpcs watch")


def test_last_result(tmp_path: Path, target: str) -> None:
    """The last result can be shown again, in part or in another way, and saved."""
    saved = tmp_path / "saved"
    with Shell(tmp_path, target) as shell:
        shell.shows("_", "jsonrpcs: _: there is no result yet; allowed: after a call")
        shell.enter("corex.list_sockets --json")
        shell.shows("core.nothing", "jsonrpcs: .*")
        shell.shows("_ 0.proto", "udp")
        shell.shows("_ *.proto --json", r'\["udp",.*\]')
        shell.shows("_ 0.nothing", "jsonrpcs: _: '0.nothing' leads nowhere in the last result; allowed: .*")
        shell.enter(f"_ --save {saved}")
        assert json.loads(saved.read_text())[0]["proto"] == "udp"
        assert stat.S_IMODE(saved.stat().st_mode) == 0o600
        exists = f"jsonrpcs: --save: {saved}: the file already exists; allowed: a new one"
        shell.shows(f"_ 0.proto --save {saved}", exists)
        shell.shows(f"_ --save {tmp_path}/no/x", f"jsonrpcs: {tmp_path}/no/x: No such file or directory")
        shell.shows("_ --save /dev/full", "jsonrpcs: --save: /dev/full: the file already exists; allowed: a new one")
        shell.enter(f"_ -y 0.proto --save {saved}.yaml")
        assert Path(f"{saved}.yaml").read_text() == "udp\n"


def test_history(tmp_path: Path, target: str) -> None:
    """Lines are recalled, in this shell and in the next one; those with secrets in this one only."""
    secrets = ("autheph.add_secret s3cret", "--to http://me:s3cret@127.0.0.1:1 core.uptime", " core.echo s3cret")
    with Shell(tmp_path, target) as shell:
        shell.shows("core.echo first", "first")
        for line in secrets:
            shell.enter(line)
        shell.type(f"{UP}{UP}")
        shell.wait_for(rf"(?s:{shell.prompt} {re.escape(secrets[1])}.*){shell.prompt} {re.escape(secrets[1])}$")
        shell.type(f"{CTRL_C}{CTRL_D}")
        assert shell.end() == 0
    file = tmp_path / "state/jsonrpcs/history"
    assert file.read_text() == "core.echo first\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with Shell(tmp_path, target) as shell:
        shell.type(UP)
        shell.wait_for("> core.echo first")
        shell.type(f"{CTRL_C}{CTRL_R}fir")
        shell.wait_for("core.echo first.*")
        shell.type(f"{CTRL_C}{CTRL_C}{CTRL_D}")
        assert shell.end() == 0


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "denied"])
def test_history_that_cannot_be_kept(tmp_path: Path, target: str, kind: str) -> None:
    """What stands in the way of the history is told once; lines are then recalled until the end."""
    place = tmp_path / "state/jsonrpcs"
    place.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(place / "history")
    elif kind == "link":
        (place / "history").symlink_to("/dev/null")
    elif kind == "directory":
        (place / "history").mkdir()
    else:
        place.rmdir()
        place.touch()
    with Shell(tmp_path, target) as shell:
        shell.enter("core.echo one")
        shell.enter("core.echo two")
        shell.type(f"{UP}{UP}")
        shell.wait_for(rf"(?s:{shell.prompt} core.echo one.*){shell.prompt} core.echo one$")
        shell.wait_for("jsonrpcs: .*/history: .*; lines are not kept when the shell is left")
        assert len(re.findall("are not kept", shell.text)) == 1
        shell.type(f"{CTRL_C}{CTRL_D}")
        assert shell.end() == 0


def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C cancels a call, and gives a line up; the shell goes on."""
    with Short() as directory:
        target, server = frozen("unix", directory)
        with server, Shell(tmp_path, target, "--timeout", "600") as shell:
            shell.type(f"core.uptime{ENTER}")
            assert b"core.uptime" in server.recv(1000)
            shell.type(CTRL_C)
            shell.wait_for("^jsonrpcs: cancelled; the server may have run the command$")
            shell.ready()
            shell.type(f"half a line{CTRL_C}")
            shell.ready()
            shell.type(f"exit{ENTER}")
            assert shell.end() == 0


def test_watch(tmp_path: Path, target: str) -> None:
    """Ctrl-C ends what goes on and on, and leads back to the prompt."""
    with Shell(tmp_path, target) as shell:
        shell.type(f"watch -n 0.05 stats.fetchn unix:{ENTER}")
        shell.wait_for(r"\* unix\.requests: \d+  \+1")
        shell.type(CTRL_C)
        shell.count = 0
        shell.ready()
        assert "cancelled" not in shell.text
        shell.type(CTRL_D)
        assert shell.end() == 0


def test_server_that_comes_back(tmp_path: Path) -> None:
    """A server that goes away and comes back is called again, and one may turn to another."""
    with Short() as directory:
        path = directory / "rpc.sock"
        target = f"unix:{path}"
        with Server(directory) as server, Shell(tmp_path, target, "--reply-dir", str(directory)) as shell:
            shell.shows("core.echo here", "here")
            server.stop()
            shell.shows("core.echo gone", f"jsonrpcs: {re.escape(target)}: core.echo: .*")
            with Server(directory) as again:
                shell.shows("core.echo back", "back")
                other = f"tcp:127.0.0.1:{again.addresses['tcp'][1]}"
                shell.shows("to nowhere", "jsonrpcs: nowhere: neither a target nor a profile; allowed: .*(\n.*)*")
                shell.type(f"to {other}{ENTER}")
                shell.prompt, shell.count = f"^{re.escape(other)}>", 0
                shell.ready()
                shell.shows("core.echo there", "there")
                shell.shows("to", re.escape(other))
                shell.shows(f"targets --to {target} --json", r'\[\{.*"answers":"yes".*')


def test_another_path(tmp_path: Path, server: Server) -> None:
    """Another path of the same host and port, such as that of another node, keeps the certificates."""
    target = our_target(server, "https")
    with Shell(tmp_path, target.url, *options(target)[2:]) as shell:
        other = f"{target.url}/other"
        shell.type(f"to {other}{ENTER}")
        shell.prompt, shell.count = f"^{re.escape(other)}>", 0
        shell.ready()
        shell.shows("core.echo there", "there")
        shell.shows(f"--to {target.url} core.echo here", "here")
        elsewhere = target.url.replace("127.0.0.1", "localhost")
        shell.shows(f"--to {elsewhere} core.echo lost", "jsonrpcs: .*: TLS: self-signed certificate.*")


@pytest.mark.parametrize(("status", "asked"), [(b"200 OK", 1), (b"401 Unauthorized", 2)])
def test_password(tmp_path: Path, status: bytes, asked: int) -> None:
    """A password is asked for once, and again after a server has refused it."""
    server = Hostile(http(status=status))
    config = tmp_path / "jsonrpcs/config.toml"
    config.parent.mkdir()
    profile = f'target = "http://127.0.0.1:{server.port}/RPC"\nuser = "me"\npassword_prompt = true\n'
    config.write_text(f"[profiles.a]\n{profile}")
    with Opened(tmp_path, "a", variables={"XDG_CONFIG_HOME": str(tmp_path)}) as shell:
        shell.wait_for("^Password of me for a:$")
        shell.type(f"s3cret{ENTER}")
        shell.ready()
        shell.enter("core.uptime")
        shell.type(f"core.uptime{ENTER}")
        if asked == 2:
            shell.wait_for("(?s:Password of me for a:.*)^Password of me for a:$")
            shell.type(f"s3cret{ENTER}")
        shell.ready()
        assert len(re.findall("Password of", shell.text)) == asked
        assert "s3cret" not in shell.text
        assert all(b"Authorization: Basic" in request for request in server.requests)
    server.close()


def test_password_at_another_path(tmp_path: Path) -> None:
    """Another path of the same host and port has the same users: the password is not asked for again."""
    server = Hostile(http())
    url = f"http://127.0.0.1:{server.port}"
    with Opened(tmp_path, f"{url}/RPC/a", "--user", "me") as shell:
        shell.wait_for(f"^Password of me for {url}:$")
        shell.type(f"s3cret{ENTER}")
        shell.ready()
        shell.enter("core.uptime")
        shell.type(f"to {url}/RPC/b{ENTER}")
        shell.prompt, shell.count = f"^{re.escape(url)}/RPC/b>", 0
        shell.ready()
        shell.enter("core.uptime")
        assert len(re.findall("Password of", shell.text)) == 1
        assert [request[:12] for request in server.requests] == [b"POST /RPC/a ", b"POST /RPC/b "]
        assert all(b"Authorization: Basic" in request for request in server.requests)
    server.close()


def test_hostile_server(tmp_path: Path) -> None:
    """A server's text moves no cursor and runs nothing, in results, in faults or in what is completed."""
    names = json.dumps(["core.\x1b[2J", "core.$(reboot)", "core.\u202eevil", "core.a b"]).encode()
    body = b'{"jsonrpc":"2.0","result":%b,"id":1}' % names
    server = Hostile(http(body))
    target = f"http://127.0.0.1:{server.port}/RPC"
    with Shell(tmp_path, target) as shell:
        shell.type(f"core.{TAB}")
        shell.wait_for(re.escape("core.$(reboot)"))
        shell.wait_for("core.a b")
        assert "evil" not in shell.text
        shell.type(TAB)
        shell.wait_for(re.escape("> 'core.$(reboot)'"))
        shell.type(CTRL_C)
        shell.ready()
        shell.enter("core.uptime")
        shell.wait_for(re.escape("core.\\x1b[2J"))
        assert b"\x1b[2J\x22" not in shell.received
        assert "\u202e" not in shell.text
        shell.type(CTRL_D)
        assert shell.end() == 0
    server.close()


def test_signals(tmp_path: Path, target: str) -> None:
    """A signal ends it in the way that a shell expects, with the terminal as it was."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        with Shell(tmp_path, target) as shell:
            os.kill(shell.pid, number)
            assert shell.end() == -number
            assert "Traceback" not in shell.text


def test_without_terminal(target: str) -> None:
    """Without a terminal there is no shell."""
    done = jsonrpcs("--to", target)
    assert (done.code, done.err) == (2, "jsonrpcs: a method or a sub-command is missing; see jsonrpcs --help\n")
    done = jsonrpcs("shell")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("jsonrpcs: shell: standard input or output is not a terminal; allowed: ")


def test_without_prompt_toolkit(tmp_path: Path, target: str) -> None:
    """Without the package that it needs, one line says how to get it."""
    (tmp_path / "prompt_toolkit.py").write_text("raise ModuleNotFoundError('no', name='prompt_toolkit')")
    environment = plain_environment(PYTHONPATH=str(tmp_path))
    with Screen(command("--to", target), environment) as screen:
        assert screen.end() == 2
        said = re.fullmatch(
            r"jsonrpcs: shell: prompt-toolkit is missing; (.+) -m pip install prompt-toolkit", screen.text
        )
        assert said
        # The script may name its interpreter python3 where the tests run as python.
        assert Path(said[1]).parent == Path(sys.executable).parent
