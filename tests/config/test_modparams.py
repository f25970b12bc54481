"""Which parameters of a kamailio.cfg become settings, and what is told of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from jsonrpcs_tx.config.modparams import Taken, read_modparams
from jsonrpcs_tx.config.settings import Settings
from jsonrpcs_tx.errors import ConfigError
from jsonrpcs_tx.log import debug, set_debug
from jsonrpcs_tx.options import Options, Refusal, makeService
from tests.support.logs import warnings

MODULES = "".join(f'loadmodule "{name}.so"\n' for name in ("tm", "jsonrpcs", "dispatcher", "htable"))


@pytest.fixture(autouse=True)
def _debug_level() -> Iterator[None]:
    level = debug()
    yield
    set_debug(level)


def write(directory: Path, *lines: str) -> str:
    path = directory / "kamailio.cfg"
    path.write_text(MODULES + "\n".join(lines) + "\n")
    return str(path)


def settings(directory: Path, *lines: str, options: tuple[str, ...] = ()) -> Settings:
    return parsed(directory, *lines, options=options).settings


def parsed(directory: Path, *lines: str, options: tuple[str, ...] = ()) -> Options:
    parsed = Options()
    parsed.parseOptions(["--modparams", write(directory, *lines), *options])
    return parsed


def refusal(directory: Path, *lines: str, options: tuple[str, ...] = ()) -> str:
    """The line with which C{twistd jsonrpcs} ends."""
    with pytest.raises(Refusal) as caught:
        makeService(parsed(directory, *lines, options=options))
    return str(caught.value)


def test_a_whole_file(tmp_path: Path) -> None:
    """Parameters of our modules become settings; those of other modules, and those without a setting here, do not."""
    found = settings(
        tmp_path,
        "#!define RPC_DIR /run",
        '#!substdef "!RPCDIR!/run/rpc!g"',
        'run_dir = "/run"',
        'modparam("tm", "fr_timer", 30000) modparam("tm", "transport", 9)',
        'modparam("mi_fifo|jsonrpcs", "fifo_name", "RPCDIR/#1//2.fifo") # theirs and ours',
        "modparam('jsonrpcs','dgram_socket','udp:127.0.0.1:9090')",
        'modparam("jsonrpcs", "transport", 6)',
        'modparam("jsonrpcs", "fifo_mode", 0600)',
        'modparam("jsonrpcs", "fifo_user", 12) modparam("jsonrpcs", "fifo_group", "staff")',
        'modparam("jsonrpcs", "http_listen", "tcp:1") modparam("jsonrpcs", "http_listen", "tcp:2")',
        'modparam("dispatcher", "list_file", "/etc/dispatcher.list")',
        'modparam("dispatcher", "force_dst", 1)',
        'modparam("htable", "htable", "a=>size=8;autoexpire=60;")',
        'modparam("htable", "htable", "b=>size=4;")',
        'modparam("htable", "timer_interval", 5)',
        'request_route { xlog("modparam is not called here, jsonrpcs\\n"); }',
    )
    assert found == Settings(
        load="all",
        run_dir="/run",
        transport=6,
        pretty_format=1,
        fifo_name="/run/rpc/#1//2.fifo",
        fifo_mode=0o600,
        fifo_user=12,
        fifo_group="staff",
        dgram_socket="udp:127.0.0.1:9090",
        http_listen=["tcp:1", "tcp:2"],
        list_file="/etc/dispatcher.list",
        htable=["a=>size=8;autoexpire=60;", "b=>size=4;"],
    )


def test_places(tmp_path: Path) -> None:
    """It is known of each setting which lines of which files have set it: one line, or one for each of its values."""
    (tmp_path / "more.cfg").write_text('\nmodparam("htable", "htable", "b=>size=4;")\n')
    path = write(
        tmp_path,
        'modparam("jsonrpcs", "transport", 2)',
        'modparam("htable", "htable", "a=>size=4;")',
        'include_file "more.cfg"',
        'modparam("jsonrpcs", "transport", 4)',
    )
    given = read_modparams(path).given
    sources = {name: [(Path(source.file).name, source.line) for source in one.sources] for name, one in given.items()}
    assert sources == {"transport": [("kamailio.cfg", 8)], "htable": [("kamailio.cfg", 6), ("more.cfg", 2)]}
    assert {name: one.value for name, one in given.items()} == {"transport": 4, "htable": ["a=>size=4;", "b=>size=4;"]}
    assert {source.how for one in given.values() for source in one.sources} == {"modparam"}


def test_last_value(tmp_path: Path) -> None:
    """Of a parameter of Kamailio's the last value counts, as there."""
    lines = [f'modparam("jsonrpcs", "{name}", "{value}")' for value in "ab" for name in ("fifo_name", "dgram_socket")]
    found = settings(tmp_path, *lines)
    assert (found.fifo_name, found.dgram_socket) == ("b", ("b",))


def test_pretty_format(tmp_path: Path) -> None:
    """With a kamailio.cfg C{pretty_format} is 1 unless something else is said, without one it is 0."""
    assert settings(tmp_path).pretty_format == 1
    assert settings(tmp_path, 'modparam("jsonrpcs", "pretty_format", 0)').pretty_format == 0
    assert settings(tmp_path, options=("--pretty-format=0",)).pretty_format == 0
    (tmp_path / "settings.toml").write_text("pretty_format = 0")
    assert settings(tmp_path, options=("--config", str(tmp_path / "settings.toml"))).pretty_format == 0
    alone = Options()
    alone.parseOptions([])
    assert alone.settings.pretty_format == 0


def test_transports(tmp_path: Path) -> None:
    """FIFO and socket are there unless something says otherwise; other addresses come on top."""
    both = (6, "kamailio_rpc.fifo", ("kamailio_rpc.sock",))

    def transports(*lines: str, options: tuple[str, ...] = ()) -> tuple[object, ...]:
        found = settings(tmp_path, *lines, options=options)
        return found.transport, found.fifo_name, found.dgram_socket

    assert transports() == both
    assert transports('modparam("jsonrpcs", "fifo_name", "a")') == (6, "a", both[2])
    assert transports('modparam("jsonrpcs", "dgram_socket", "a")') == (6, both[1], ("a",))
    assert transports('modparam("jsonrpcs", "transport", 2)')[0] == 2
    assert transports(options=("--http-listen=tcp:0",)) == (7, *both[1:])
    assert transports(options=("--fifo-name=",))[0] == 4


def test_other_modules(tmp_path: Path) -> None:
    """Parameters of other modules are taken from those that are named, and not from others, right or wrong."""
    lines = (
        'run_dir = "/run"',
        'modparam("dispatcher", "ds_ping_method", "INFO")',
        'modparam("htable", "htable", "a=>size=4;")',
    )

    def taken(*modules: str) -> tuple[object, ...]:
        found = settings(tmp_path, *lines, options=tuple(f"--modparams-modules={module}" for module in modules))
        return found.run_dir, found.ds_ping_method, found.htable

    assert taken() == taken("core", "dispatcher", "htable") == ("/run", "INFO", ("a=>size=4;",))
    assert taken("") == (".", "OPTIONS", ())
    assert taken("htable") == (".", "OPTIONS", ("a=>size=4;",))
    (tmp_path / "settings.toml").write_text("modparams_modules = []")
    config = ("--config", str(tmp_path / "settings.toml"))
    assert settings(tmp_path, *lines, 'modparam("htable", "nothing", 1)', options=config).htable == ()
    assert "modparams_modules: 'tm' is not allowed" in refusal(tmp_path, options=("--modparams-modules=tm",))


def test_families_that_are_not_loaded(tmp_path: Path) -> None:
    """Parameters of a module whose commands are not loaded count for nothing, wherever C{load} is set."""
    lines = ('modparam("htable", "htable", "a=>size=4;")', 'modparam("dispatcher", "list_file", "/none")')

    def taken(*more: str, options: tuple[str, ...] = ()) -> tuple[object, ...]:
        found = settings(tmp_path, *lines, *more, options=options)
        return found.htable, found.list_file

    assert taken() == (("a=>size=4;",), "/none")
    assert taken('modparam("jsonrpcs", "load", "htable")') == (("a=>size=4;",), "")
    assert taken(options=("--load=core",)) == ((), "")
    assert taken('modparam("jsonrpcs", "load", "htable")', options=("--load=dispatcher",)) == ((), "/none")
    (tmp_path / "settings.toml").write_text('load = ["core", "dispatcher"]')
    assert taken(options=("--config", str(tmp_path / "settings.toml"))) == ((), "/none")


def test_how_it_is_read(tmp_path: Path) -> None:
    """The version and defines are given as options or in TOML; C{-A} is that of C{kamailio}."""
    lines = (
        "#!ifdef KAMAILIO_6_0",
        'modparam("jsonrpcs", "fifo_timeout", 61)',
        "#!endif",
        "#!ifdef WITH_RPC",
        'modparam("jsonrpcs", "dgram_timeout", NUMBER)',
        "#!endif",
    )
    assert settings(tmp_path, *lines) == settings(tmp_path)
    found = settings(tmp_path, *lines, options=("--modparams-version=6.0.5", "-A", "WITH_RPC", "-A", "NUMBER=5"))
    assert (found.fifo_timeout, found.dgram_timeout) == (61, 5)
    assert (found.modparams_version, found.modparams_define) == ("6.0.5", ("WITH_RPC", "NUMBER=5"))
    (tmp_path / "settings.toml").write_text('modparams_define = ["WITH_RPC", "NUMBER=6"]\nmodparams_version = "6.0.0"')
    config = ("--config", str(tmp_path / "settings.toml"))
    assert settings(tmp_path, *lines, options=config).dgram_timeout == 6
    found = settings(tmp_path, *lines, options=(*config, "--modparams-define=WITH_RPC", "-ANUMBER=0x7"))
    assert found.dgram_timeout == 7
    assert "no such parameter" in refusal(tmp_path, 'modparam("jsonrpcs", "modparams_version", "6.1.4")')


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('modparam("jsonrpcs", "fifo_nmae", "x")', "fifo_nmae: no such setting; did you mean fifo_name?"),
        (
            'modparam("jsonrpcs", "fifo\\nname", "x")',
            r"'fifo\nname': no such parameter of jsonrpcs; allowed: dgram_group, ",
        ),
        ('modparam("json.*", "list_file", "x")', "list_file: no such parameter of jsonrpcs; allowed: dgram_group, "),
        ('modparam("htable", "htabel", "x")', "htabel: no such parameter of htable; allowed: array_size_suffix, "),
        ('modparam("dispatcher", "htable", "x")', "htable: no such parameter of dispatcher; allowed: attrs_col, "),
        ('modparam("jsonrpcs", "transport", "7")', "transport: '7' has the wrong type; allowed: a number"),
        ('modparam("jsonrpcs", "fifo_name", 7)', "fifo_name: 7 has the wrong type; allowed: a string in quotes"),
        ('modparam("htable", "timer_interval", "x")', "timer_interval: 'x' has the wrong type; allowed: a number"),
        ('modparam("jsonrpcs", "debug", UNDEFINED)', "debug: 'UNDEFINED' has no value; allowed: a number, "),
        ('modparam("jsonrpcs", "debug" 3)', "modparam: ',' is missing before '3'; allowed: modparam("),
        ('modparam("jsonrpcs", "transport", 99)', "transport: 99 is not allowed; allowed: 0 to 15"),
        ('modparam("jsonrpcs", "http_listen", "x")', "http_listen: 'x' is not allowed; allowed: a Twisted endpoint"),
        ('modparam("htable", "htable", "a=>size=x;")', "htable: 'a=>size=x;' is not allowed; allowed: size from 0"),
        (
            'modparam("dispatcher", "list_file", "/none/here")',
            "list_file: /none/here: No such file or directory; ",
        ),
        ('include_file "none.cfg"', "none.cfg or "),
    ],
)
def test_errors(tmp_path: Path, line: str, reason: str) -> None:
    """What is wrong with a parameter stops the start, with file and line, whatever finds that out."""
    lines = ('modparam("htable", "htable", "b=>size=4;")', "/* two", "lines */", line)
    message = refusal(tmp_path, *lines, options=("--compatibility=5.6",))
    assert message.startswith(f"jsonrpcs: {tmp_path / 'kamailio.cfg'}:8: {reason}")


def test_errors_elsewhere(tmp_path: Path) -> None:
    """An error in what is given otherwise is not told to be in the file."""
    lines = ('modparam("jsonrpcs", "transport", 4)', 'modparam("jsonrpcs", "fifo_timeout", 5)')
    assert refusal(tmp_path, *lines, options=("--transport=99",)).startswith("jsonrpcs: transport: '99' is not allowed")
    with pytest.raises(ConfigError, match=r"none: No such file or directory; allowed: a readable kamailio\.cfg"):
        read_modparams(str(tmp_path / "none"))


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """C{--check} tells all errors in a file, each with its line."""
    lines = (
        'modparam("jsonrpcs", "transport", "7")',
        'modparam("jsonrpcs", "fifo_timeout", 0)',
        'modparam("jsonrpcs", "debug", UNDEFINED)',
        'modparam("nobody", "nothing", 1)',
        'include_file "none.cfg"',
    )
    with pytest.raises(SystemExit):
        parsed(tmp_path, *lines, options=("--check",))
    told = capsys.readouterr().err
    assert sorted(int(line) for line in re.findall(r"kamailio\.cfg:(\d+): ", told)) == [5, 6, 7, 8, 9]


def test_newer_parameters(tmp_path: Path) -> None:
    """A parameter that nobody knows is an error, unless a newer Kamailio may have it."""
    line = 'modparam("dispatcher", "ds_from_the_future", 1)'
    assert "no such parameter" in refusal(tmp_path, line, options=("--compatibility=5.6",))
    options = parsed(
        tmp_path, line, options=("--modparams-version=6.1.4", "--fifo-name=", "--dgram-socket=udp:127.0.0.1:0")
    )
    with capturedLogs() as events:
        makeService(options)
    (warning,) = warnings(events)
    assert re.fullmatch(r".*: line 5: ignored ds_from_the_future, an unknown parameter of dispatcher", warning)
    assert "no such setting" in refusal(
        tmp_path, 'modparam("jsonrpcs", "future", 1)', options=("--modparams-version=6.1.4",)
    )


def test_version(tmp_path: Path) -> None:
    """Without C{modparams_version} the version is what C{compatibility} says."""
    lines = ("#!ifdef KAMAILIO_5_6_3", 'modparam("jsonrpcs", "fifo_timeout", 56)', "#!endif")
    newer = ("#!ifdef KAMAILIO_6_1_4", 'modparam("jsonrpcs", "fifo_timeout", 61)', "#!endif")
    assert settings(tmp_path, *lines, *newer).fifo_timeout == 61
    assert settings(tmp_path, *lines, *newer, options=("--compatibility=5.6",)).fifo_timeout == 56
    options = ("--compatibility=5.6", "--modparams-version=6.1.4")
    assert settings(tmp_path, *lines, *newer, options=options).fifo_timeout == 61


def test_log(tmp_path: Path) -> None:
    """The log says how many settings were taken from which file, at the level that is set."""
    lines = ('modparam("jsonrpcs", "transport", 6)', 'modparam("jsonrpcs", "transport", 4)', 'modparam("tm", "x", 1)')
    tables = ('modparam("htable", "htable", "a=>colour=4;")', 'modparam("htable", "htable", "b=>size=4;")')
    options = parsed(tmp_path, *lines, *tables)
    with capturedLogs() as events:
        makeService(options)
    messages = [formatEvent(event) for event in events]
    assert f"took 2 settings from {tmp_path / 'kamailio.cfg'}" in messages
    known = "known: size, autoexpire, initval, updateexpire"
    assert warnings(events) == [f"htable: a: unknown attribute colour is ignored; {known}"]
    options = parsed(tmp_path, *lines, *tables, 'modparam("jsonrpcs", "debug", 0)')
    with capturedLogs() as events:
        makeService(options)
    assert not [event for event in events if "took" in str(formatEvent(event))]


def test_nothing_is_taken(tmp_path: Path) -> None:
    """A file without parameters of ours is fine."""
    assert read_modparams(write(tmp_path)) == Taken(write(tmp_path), {})
