"""docs/kamctl.md: every sub-command of the installed kamctl and kamcli, and what becomes of it beside this server."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support import PATIENCE, REPOSITORY, Server, environment
from tests.support.kamailio import Kamailio
from tests.support.programs import need

pytestmark = pytest.mark.slow

PAGE = REPOSITORY / "docs" / "kamctl.md"
OUTCOMES = ("works", "differs", "not here")
PARAMETERS = {
    "rpc": ["core.echo", "a"],
    "rpcprint": ["core.echo", "a"],
    "jsonrpc": ["core.echo", "a"],
    "monitor": ["1"],
    "console": ["1"],
    "moni": ["1"],
    "con": ["1"],
    "tls gen-certs": ["localhost"],
    "tls rootCA": ["."],
    "tls userCERT": ["ann", "."],
    "config show": ["jsonrpc"],
    "kamcli moni": ["--no-refresh"],
}
"""What a sub-command needs, to be run."""
CONFIGURATION = """
[ca]
default_ca = own
[own]
dir = ./rootCA
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir/certs
certificate = $dir/cacert.pem
private_key = $dir/private/cakey.pem
default_days = 1
default_md = sha256
policy = policy
[policy]
commonName = supplied
[req]
prompt = no
encrypt_key = no
default_keyfile = ./private/cakey.pem
distinguished_name = name
[name]
commonName = localhost
"""
"""Of openssl, as C{kamctl tls} expects it beside itself."""


@attrs.frozen
class Row:
    """A row of a table.

    @ivar names: the sub-commands, with their own sub-commands.
    @ivar calls: the commands that they call; empty: any, or none.
    """

    names: tuple[str, ...]
    calls: tuple[str, ...]
    outcome: str


def rows(program: str) -> list[Row]:
    """The table of a program."""
    section = PAGE.read_text().partition(f"\n## {program}\n")[2].partition("\n## ")[0]
    cells = [re.split(r" ?\| ?", line.strip("|")) for line in section.splitlines() if line.startswith("| `")]
    return [Row(tuple(_names(first)), tuple(_quoted(calls)), outcome) for first, calls, outcome, *_ in cells]


def _quoted(text: str) -> list[str]:
    return re.findall("`([^`]+)`", text)


def _names(cell: str) -> list[str]:
    """Of C{`a`, `b`: `c`}: a c, b c; of C{`a`, `b`}: a, b."""
    heads, _, subs = cell.partition(":")
    return [f"{head} {sub}" for head in _quoted(heads) for sub in _quoted(subs)] or _quoted(heads)


def kamctl_commands() -> set[str]:
    """The sub-commands of kamctl, from the program, whose help leaves some out."""
    path = shutil.which("kamctl")
    assert path is not None
    script = Path(path).read_text()
    functions = dict(re.findall(r"^(\w+)\(\)\s*\{\n(.*?)^\}", script, re.MULTILINE | re.DOTALL))
    found: set[str] = set()
    switch = script.rpartition("\ncase $1 in\n")[2]
    for labels, body in re.findall(r"^\t([\w|]+)\)\n(.*?)^\t\t;;", switch, re.MULTILINE | re.DOTALL):
        called = re.search(r'^\t\t(\w+) "\$@"', body, re.MULTILINE)
        inner = functions.get(called[1], "") if called else ""
        subs = [sub for group in re.findall(r'^\t\t"?([\w|-]+)"?\)', inner, re.MULTILINE) for sub in group.split("|")]
        for label in labels.split("|"):
            found |= {label} if not subs or label in subs else {f"{label} {sub}" for sub in subs}
    return found


def kamcli_commands() -> set[str]:
    """The sub-commands of kamcli, from its help."""
    found: set[str] = set()
    for name in _listed():
        subs = _listed(name)
        found |= {f"{name} {sub}" for sub in subs} if subs else {name}
    return found


def _listed(*words: str) -> list[str]:
    """The commands that the help of kamcli lists."""
    command = ["kamcli", *words, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    return re.findall(r"^  (\w+) ", shown.partition("\nCommands:\n")[2], re.MULTILINE)


@pytest.mark.parametrize(("program", "package"), [("kamctl", "kamailio"), ("kamcli", "kamcli")])
def test_every_command_is_listed(program: str, package: str) -> None:
    """The table names each sub-command of the program once, and no others."""
    need(program, package)
    named = [name for row in rows(program) for name in row.names]
    assert len(named) == len(set(named))
    assert set(named) == {"kamctl": kamctl_commands, "kamcli": kamcli_commands}[program]()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--pretty-format=1", "--compatibility=5.6", "--fifo-reply-dir=/tmp/", *Kamailio.OPTIONS)
    with Server(tmp_path_factory.mktemp("server"), *options) as running:
        yield running


def test_outcomes(server: Server) -> None:
    """What works calls commands that the server has; what is not here calls at least one that it has not."""
    listed = json.loads(server.call("unix", b'{"jsonrpc":"2.0","method":"system.listMethods","id":1}'))["result"]
    for program in ("kamctl", "kamcli"):
        for row in rows(program):
            assert row.outcome in OUTCOMES, row
            if row.outcome == "not here" and "trap" not in row.names:  # gdb is what fails there
                assert not set(row.calls) & set(listed), row
            elif row.outcome != "not here":
                assert set(row.calls) <= set(listed), row


WORKING = [(program, name) for program in ("kamctl", "kamcli") for row in rows(program)
           if row.outcome != "not here" for name in row.names]  # fmt: skip


@pytest.mark.parametrize(("program", "name"), WORKING)
def test_works(server: Server, tmp_path: Path, program: str, name: str) -> None:
    """What works, or differs, succeeds beside a running server; what it prints has no error."""
    need(program, {"kamctl": "kamailio"}.get(program, program))
    options: list[str] = []
    if program == "kamcli":
        settings = tmp_path / "kamcli.ini"
        unix = server.addresses["unix"]
        reply = server.directory / "kamcli.sock"
        settings.write_text(
            f"[jsonrpc]\ntransport=socket\nsrvaddr={unix}\nrcvaddr={reply}\noutformat=json\n"
            "[db]\ntype=sqlite\n[cmdaliases]\nalias=address\n"
        )
        options = ["-c", str(settings)]
    if name.startswith("tls ") and program == "kamctl":
        _certificates(tmp_path, made=name == "tls userCERT")
    parameters = PARAMETERS.get(f"{program} {name}", PARAMETERS.get(name, []))
    done = subprocess.run(
        [program, *options, *name.split(), *parameters],
        cwd=tmp_path,
        env={**environment(), "RPCFIFOPATH": server.addresses["fifo"], "HOME": str(tmp_path), "TERM": "xterm"},
        input="y\ny\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert '"error"' not in done.stdout
    assert "ERROR" not in done.stdout + done.stderr
    assert done.stdout + done.stderr


def _certificates(directory: Path, made: bool) -> None:
    """What C{kamctl tls} needs in a directory.

    @param made: there is a root CA already.
    """
    for name in ("ca.conf", "ann.conf", "request.conf"):
        (directory / name).write_text(CONFIGURATION)
    if made:
        need("openssl", "openssl")
        subprocess.run(["kamctl", "tls", "rootCA", "."], cwd=directory, capture_output=True, check=True)
