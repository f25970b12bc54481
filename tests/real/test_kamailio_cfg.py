"""How we read a kamailio.cfg, beside Kamailio: what each takes and refuses, and what a server has that is started."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from jsonrpcs_tx.client.blocking import Client
from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.config import kamailiocfg
from jsonrpcs_tx.config.kamailiocfg import KamailioCfgError
from jsonrpcs_tx.config.kamailiowords import KEYWORDS, NUMBERS
from jsonrpcs_tx.config.modparams import _TYPES, VERSIONS, read_modparams
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.options import Options
from jsonrpcs_tx.state.tables import read_definition
from tests.support import PATIENCE
from tests.support.kamailiocfgs import (
    ENVIRONMENT,
    EXAMPLES,
    HEAD,
    REFUSED,
    REFUSED_HERE,
    TAIL,
    TAKEN,
    TAKEN_HERE,
    WRONG,
    write,
)
from tests.support.ports import free_port
from tests.support.programs import need

pytestmark = pytest.mark.slow

PACKAGED: Final = Path("/etc/kamailio/kamailio.cfg")
SEEDS: Final = range(30)


@pytest.fixture(autouse=True)
def kamailio() -> None:
    need("kamailio", "kamailio")


def takes(path: Path, *arguments: str) -> bool:
    """Whether C{kamailio -c} takes a file."""
    command = ["kamailio", "-c", "-f", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=PATIENCE, check=False)
    return done.returncode == 0


def takes_text(directory: Path, text: str) -> bool:
    return takes(write(directory, HEAD + text + TAIL))


@pytest.mark.parametrize("name", [*TAKEN, *REFUSED_HERE])
def test_taken(tmp_path: Path, name: str) -> None:
    """Kamailio takes what we take, and that of which we say that it does."""
    text = TAKEN[name][0] if name in TAKEN else REFUSED_HERE[name][0]
    assert takes_text(tmp_path, text)


@pytest.mark.parametrize("name", [*REFUSED, *TAKEN_HERE])
def test_refused(tmp_path: Path, name: str) -> None:
    """Kamailio refuses what we refuse, and that of which we say that it does."""
    text = REFUSED[name][0] if name in REFUSED else TAKEN_HERE[name]
    assert not takes_text(tmp_path, text)


def test_wrong_line(tmp_path: Path) -> None:
    """The line of which the cases say that it must not be read would be refused."""
    assert not takes_text(tmp_path, WRONG)


@pytest.mark.parametrize("name", sorted(KEYWORDS))
def test_words(tmp_path: Path, name: str) -> None:
    """A define of the same name does not replace a word of Kamailio; those that are numbers are."""
    text = f'#!define {name} "jsonrpcs"\n'
    path = write(tmp_path, f'{HEAD}{text}modparam({name}, "transport", 7){TAIL}')
    assert not takes(path)
    if name in NUMBERS:
        path = write(tmp_path, f'{HEAD}{text}modparam("jsonrpcs", "transport", {name}){TAIL}')
        assert takes(path)


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in _TYPES.items() for name in names])
def test_types(tmp_path: Path, module: str, name: str) -> None:
    """A parameter takes a number, a string or both, as Kamailio's does."""
    if name == "rpc_exec_delta":
        assert not takes_text(tmp_path, f"{name} = 1\n")  # it came later
        return
    if module == "core":
        assert takes_text(tmp_path, f'{name} = "x"\n')
        assert not takes_text(tmp_path, f"{name} = 1\n")
        return
    load = "" if module == "jsonrpcs" else f'loadmodule "tm.so"\nloadmodule "{module}.so"\n'
    string = {"htable": '"a=>size=4;"', "pv": '"a=i:1"'}.get(name if name == "htable" else module, '"1"')
    for value, kind in (("1", int), (string, str)):
        taken = takes_text(tmp_path, f'{load}modparam("{module}", "{name}", {value})\n')
        assert taken == (kind in _TYPES[module][name]), value


class Running:
    """Kamailio with a file, in a directory of its own, on the loopback interface.

    @ivar directory: where relative names of sockets start from.
    """

    def __init__(self, path: Path, directory: Path, arguments: Sequence[str] = ()) -> None:
        self.directory = directory
        port = free_port()
        command = ["kamailio", "-DD", "-E", "-f", str(path), "-P", str(directory / "pid"), "-w", str(path.parent)]
        command += ["-l", f"udp:127.0.0.1:{port}", *arguments]
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=ENVIRONMENT, cwd=path.parent, start_new_session=True
            )

    def wait_for(self, target: str) -> None:
        """Wait until a target answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.raw(target, "core.version")
            except (ClientError, OSError):
                assert self._process.poll() is None, self._log.read_text()[-3000:]
                assert time.monotonic() < deadline, (target, sorted(os.listdir(self.directory)))
                time.sleep(0.02)
            else:
                return

    def raw(self, target: str, method: str) -> bytes:
        document = json.dumps({"jsonrpc": "2.0", "method": method, "id": 1}).encode()
        with Client(target, 2) as client:
            reply = client.raw(document)
        assert reply is not None
        return reply

    def call(self, target: str, method: str) -> Any:
        reply = json.loads(self.raw(target, method))
        assert "result" in reply, (method, reply)
        return reply["result"]

    def sockets(self) -> dict[str, tuple[int, int, int, bool]]:
        """The FIFOs and sockets in the directory, with mode, owner and whether each is a FIFO."""
        found = {}
        for path in self.directory.iterdir():
            facts = path.lstat()
            of_jsonrpcs = path.name != "kamailio_ctl"
            if of_jsonrpcs and (stat.S_ISFIFO(facts.st_mode) or stat.S_ISSOCK(facts.st_mode)):
                fifo = stat.S_ISFIFO(facts.st_mode)
                found[path.name] = (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, fifo)
        return found

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:  # it may miss the signal while it starts, or hang at the end
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


@contextmanager
def running(path: Path, arguments: Sequence[str] = (), run_dir: bool = True) -> Iterator[Running]:
    """Kamailio with a file.

    @param run_dir: its command line says where sockets are to be.
    """
    with tempfile.TemporaryDirectory(prefix="kam") as directory:  # its paths are short enough for sockets
        server = Running(path, Path(directory), [*arguments, *(["-Y", directory] if run_dir else [])])
        try:
            yield server
        finally:
            server.stop()


def settings_of(path: Path, *arguments: str) -> Settings:
    """What C{twistd jsonrpcs --modparams} makes of a file."""
    options = Options()
    options.parseOptions(["--modparams", str(path), "--compatibility=5.6", *arguments])
    return options.settings


def check(path: Path, defines: Mapping[str, str] | None = None) -> Settings:
    """Start Kamailio with a file: what it has is what we read there."""
    given = [f"{name}={value}" if value else name for name, value in (defines or {}).items()]
    ours = [argument for one in given for argument in ("-A", one)]
    with running(path, ours) as server:
        settings = settings_of(path, f"--run-dir={server.directory}", *ours)
        expected = {}
        targets = []
        if settings.enables(2):
            name = str(settings.fifo_name)
            expected[name] = (settings.fifo_mode, *owners(settings.fifo_user, settings.fifo_group), True)
            targets.append(f"fifo:{server.directory / name}")
        if settings.enables(4):
            name = str(settings.dgram_socket[-1])
            expected[name] = (settings.dgram_mode, *owners(settings.dgram_user, settings.dgram_group), False)
            targets.append(f"unix:{server.directory / name}")
        for target in targets:
            server.wait_for(target)
        assert server.sockets() == expected
        reply = server.raw(targets[0], "core.version")
        assert (b"\n\t" in reply) == bool(settings.pretty_format)
        loaded = kamailiocfg.read(path, VERSIONS["5.6"], given, ENVIRONMENT)
        if "htable" in loaded:
            check_tables(server, targets[0], settings)
        if "kex" in loaded:
            check_defines(server, targets[0], path, given)
    return settings


def check_tables(server: Running, target: str, settings: Settings) -> None:
    ours = {
        one.name: (one.slots, one.autoexpire, int(one.updateexpire)) for one in map(read_definition, settings.htable)
    }
    tables = server.call(target, "htable.listTables") if ours else []  # without any it is an error
    theirs = {one["name"]: (one["size"], one["expire"], one["updateexpire"]) for one in tables}
    assert theirs == ours


def check_defines(server: Running, target: str, path: Path, given: Sequence[str]) -> None:
    """All defines at the end of the file have the values that they have here."""
    theirs = {one["name"]: one["value"] for one in server.call(target, "core.ppdefines_full")}
    reader = kamailiocfg._Reader(str(path), VERSIONS["5.6"], given, ENVIRONMENT, ())
    reader.read()
    ours = {name: value or "none" for name, value in reader.preprocessor.defines.items()}
    assert theirs == ours


def owners(user: str | int, group: str | int) -> tuple[int, int]:
    """What Kamailio makes of the owners that we read: with the name of a user comes the group of that user, unless
    a group is named as well.
    """
    uid, gid = (value if isinstance(value, int) else 0 for value in (user, group))
    return uid, gid if not (user and isinstance(user, str)) else 0  # all names here are root's


class Writer:
    """Writes a configuration at random, in as many ways as there are."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        self.names = 0
        self.modules: list[str] = []
        self.defines: dict[str, str] = {}

    def name(self) -> str:
        self.names += 1
        return f"N{self.names:03}X"

    def chance(self, one_in: int) -> bool:
        return self.random.randrange(one_in) == 0

    def choose(self, *ways: str) -> str:
        return self.random.choice(ways)

    # Values

    def number(self, value: int) -> tuple[str, str]:
        """Lines that come before, and an expression for a number."""
        text = self.choose(str(value), f"0{value:o}", f"0x{value:x}", f"{value:b}b")
        if value in (0, 1) and self.chance(2):
            text = self.choose(*(("no", "false", "off") if value == 0 else ("yes", "true", "on")))
        return self.defined(text)

    def string(self, value: str, evaluated: bool = False) -> tuple[str, str]:
        """Lines that come before, and an expression for a string."""
        way = self.random.randrange(8)
        if way == 0:
            return "", f"'{value}'"
        if way == 1:
            cut = self.random.randrange(len(value) + 1)
            return "", f'"{value[:cut]}"{self.choose(" ", "", chr(10), chr(9))}"{value[cut:]}"'
        if way == 2:
            escaped = "".join(self.choose(one, f"\\x{ord(one):02x}", f"\\{ord(one):03o}") for one in value)
            return "", f'"{escaped}"'
        if way == 3:
            name = self.name()
            flags = self.choose("", "g", "i", "ig")
            return f'{self.sign()}{self.choose("substdef", "subst")} "!{name}!{value}!{flags}"\n', f'"{name}"'
        if way == 4:
            name = self.name()
            return f'{self.sign()}substdefs "+{name}+{value}+"\n', name
        if way == 5 and evaluated:
            name = self.name()
            return f"#!define {name} {value}\n", f'"$def({name})"'
        before, text = self.defined(f'"{value}"')
        return before, text

    def defined(self, text: str) -> tuple[str, str]:
        """Perhaps a text by way of defines."""
        before = ""
        while self.chance(2):
            name = self.name()
            way = self.random.randrange(5)
            if way == 0:
                before += f"{self.sign()}trydef {name} {text}\n{self.sign()}trydef {name} nonsense\n"
            elif way == 1:
                before += f"{self.sign()}define {name} nonsense\n{self.sign()}redef {name} {text}\n"
            elif way == 2 and len(text) > 1 and " " not in text:
                before += f"{self.sign()}{self.choose('define', 'def')} {name}\t {text[0]}\\\n{text[1:]}\n"
            elif way == 3:
                self.defines[name] = text
            else:
                before += f"{self.sign()}define {name} {text}\n"
            text = name
        return before, text

    # What is around

    def sign(self) -> str:
        return self.choose("#!", "!!")

    def blank(self) -> str:
        return self.choose("", "", "", " ", "\t", "\n", " /* , ) */ ", " # \" ' )\n", " // (\n")

    def around(self, text: str) -> str:
        """Perhaps put lines into another file, or a condition, beside others that do not count."""
        way = self.random.randrange(8)
        if way == 0:
            self.names += 1
            name = f"part{self.names}.cfg"
            (self.directory / name).write_text(text)
            return f'{self.choose("", "#!", "!!")}{self.choose("include_file", "import_file")} "{name}"\n'
        if way == 1:
            return f"#!ifdef {self.name()}\n{WRONG}#!else\n{text}#!endif\n"
        if way == 2:
            return (
                f"!!ifndef {self.name()} # comment\n{text}  #!else\n#!ifdef X\n\" ' /* ( {{\n#!endif\n{WRONG}#!endif\n"
            )
        if way == 3:
            return f"#!ifdef KAMAILIO_5_{self.choose('6', '7')}\n#!endif\n{text}"
        if way == 4:
            return f"/* /* {WRONG} */ */\n{text}# {WRONG}"
        if way == 5:
            return f'import_file "missing.cfg"\n#!trydefenv MISSING\n{text}'
        return text

    def parameter(self, module: str, name: str, value: str | int) -> str:
        """A line that sets a parameter."""
        statement = self.choose("modparam", "modparam", "modparamx")
        before, text = self.number(value) if isinstance(value, int) else self.string(value, statement == "modparamx")
        pattern = self.choose(module, f"{module}|nobody", f"({module[0]}{module[1:]})", module.upper())
        if module == "jsonrpcs" and self.chance(4):
            pattern = "json.*"
        earlier, modules = self.string(pattern)
        if statement == "modparam" and self.chance(4):
            earlier, modules = "", f'"^{module}$"'  # not a pseudo-variable
        parts = ["(", modules, ",", f'"{name}"', ",", text, ")"]
        line = statement + "".join(self.blank() + part for part in parts)
        if self.chance(6) and "\n" not in line and "#" not in line and "//" not in line:
            alias = self.name()
            line = f"#!define {alias} {line}\n{alias}"
        return self.around(f"{before}{earlier}{line}{self.choose('', ';', ' # comment')}\n")

    def write(self) -> Path:
        """Write a file."""
        rng = self.random
        values: list[tuple[str, str, str | int]] = []
        if not self.chance(4):
            values.append(("jsonrpcs", "transport", rng.choice([0, 2, 4, 6, 7])))
        root: list[str | int] = ["root", 1]
        options: list[tuple[str, str | int]] = [
            ("fifo_name", self.choose("a.fifo", "rpc-1.fifo", "x_y")),
            ("fifo_mode", rng.choice([0o600, 0o640, 0o660, 0o666, 0o770])),
            ("dgram_mode", rng.choice([0o600, 0o640, 0o660, 0o700])),
            ("dgram_socket", self.choose("a.sock", "some.other.sock", "socket")),
            ("pretty_format", rng.choice([0, 1])),
            ("fifo_user", rng.choice(root)),
            ("fifo_group", rng.choice(root)),
            ("dgram_user", 1),
            ("dgram_group", rng.choice(root)),
            ("fifo_reply_dir", "/tmp/"),
            ("dgram_timeout", rng.randrange(1, 5000)),
        ]
        for name, value in options:
            if not self.chance(3):
                values.append(("jsonrpcs", name, value))
                if self.chance(4):
                    values.append(("jsonrpcs", name, value))
        values += [
            ("htable", "htable", f"t{number}=>size={rng.randrange(3, 9)};autoexpire={rng.randrange(100)};")
            for number in range(rng.randrange(4))
        ]
        rng.shuffle(values)
        lines = ["#!KAMAILIO\n"] * rng.randrange(2)
        lines += ["debug=2\n", "log_stderror=yes\n", "auto_aliases=no\n", "children=1\n"]
        modules = ["tm", "sl", "xhttp", "kex", "pv", "htable", "cfg_rpc", "jsonrpcs"]  # xhttp for transports 0 and 7
        for module in modules:
            before, text = self.string(module + self.choose("", ".so"))
            lines.append(self.around(f"{before}loadmodule {text}\n"))
        lines += [self.parameter(*value) for value in values]
        lines.append('request_route {\n#!ifdef NOT\n}\n#!endif\n\tif ($ru == "}") { exit; } # {\n}\n')
        lines.append("event_route[xhttp:request] { jsonrpc_dispatch(); }\n")
        path = self.directory / "kamailio.cfg"
        path.write_text("".join(lines))
        return path


@pytest.mark.parametrize("seed", SEEDS)
def test_generated(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is started with a generated file has what we read in it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    writer = Writer(seed, tmp_path)
    path = writer.write()
    check(path, defines=writer.defines)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is started with a file like those that people have has what we read in it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    check(path)


def test_packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The configuration that Debian's package has gives what a server that is started with it has."""
    if not PACKAGED.exists():
        pytest.skip(f"needs {PACKAGED}")
    settings = check(PACKAGED)
    assert settings.pretty_format == 1
    assert read_modparams(str(PACKAGED)).given
    with_local = shutil.copytree(PACKAGED.parent, tmp_path / "etc") / PACKAGED.name
    (with_local.parent / "kamailio-local.cfg").write_text("#!define WITH_ANTIFLOOD\n")
    assert {one.name for one in map(read_definition, check(with_local).htable)} == {"ipban"}


@pytest.mark.parametrize("pretty", [None, 0, 1])
def test_pretty_format(tmp_path: Path, pretty: int | None) -> None:
    """Where C{pretty_format} is not set, Kamailio lays replies out, and so do we with C{--modparams}."""
    line = "" if pretty is None else f'modparam("jsonrpcs", "pretty_format", {pretty})\n'
    text = f'#!KAMAILIO\nlog_stderror=yes\nauto_aliases=no\nloadmodule "jsonrpcs.so"\n{line}{TAIL}'
    path = tmp_path / "kamailio.cfg"
    path.write_text(text)
    assert check(path).pretty_format == (1 if pretty is None else pretty)
    assert Settings().pretty_format == 0


def test_last_value(tmp_path: Path) -> None:
    """Of several values of a parameter the last counts, in Kamailio for C{dgram_socket} as well."""
    names = [(name, value) for value in ("first", "second") for name in ("fifo_name", "dgram_socket")]
    lines = [f'modparam("jsonrpcs", "{name}", "{value}.{name}")' for name, value in names]
    path = tmp_path / "kamailio.cfg"
    path.write_text(
        "\n".join(['#!KAMAILIO\nlog_stderror=yes\nauto_aliases=no\nloadmodule "jsonrpcs.so"', *lines, TAIL])
    )
    settings = check(path)
    assert (settings.fifo_name, settings.dgram_socket) == ("second.fifo_name", ("second.dgram_socket",))


def test_run_dir(tmp_path: Path) -> None:
    """Relative names start from C{run_dir}."""
    with tempfile.TemporaryDirectory(prefix="kam") as directory:
        path = tmp_path / "kamailio.cfg"
        text = f'run_dir = "{directory}"\nlog_stderror=yes\nauto_aliases=no\nloadmodule "jsonrpcs.so"\n{TAIL}'
        path.write_text(text)
        assert settings_of(path).run_dir == directory
        with running(path, run_dir=False) as server:
            server.wait_for(f"unix:{directory}/kamailio_rpc.sock")


@pytest.mark.parametrize("seed", range(300))
def test_broken(tmp_path: Path, seed: int) -> None:
    """Of a file from which something is cut, or to which something is added, we refuse only what Kamailio refuses."""
    writer = Writer(1000 + seed // 3, tmp_path)
    path = writer.write()
    rng = random.Random(seed)
    text = path.read_text()
    for _ in range(rng.randrange(1, 3)):
        start = rng.randrange(len(text))
        added = rng.choice(
            ["", "", '"', "'", "(", ")", "#", "/*", "*/", "#!endif\n", "#!else\n", "\\", "\n", "N001X ", ","]
        )
        text = text[:start] + added + text[start + rng.randrange(4) :]
    path.write_text(text)
    given = [f"{name}={value}" if value else name for name, value in writer.defines.items()]
    try:
        kamailiocfg.read(path, VERSIONS["5.6"], given, ENVIRONMENT)
    except KamailioCfgError as error:
        reason = error.reason
    else:
        return
    theirs = takes(path, *(argument for one in given for argument in ("-A", one)))
    assert not theirs or any(word in reason for word in HERE), reason


HERE: Final = ("#!else without", "has no name", "a comment is not closed", "more than 32 bits", "matches nothing")
"""The reasons for which only we refuse a file."""
