"""The command line of C{twistd jsonrpcs} besides what each setting takes: mistakes, flags, and what only prints."""

import os
import platform
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from twisted.scripts._twistd_unix import ServerOptions

from jsonrpcs_tx import SettingError, Settings, __version__
from jsonrpcs_tx.config.settings import GROUPS, fields, from_values, grouped
from jsonrpcs_tx.config.usage import example
from jsonrpcs_tx.options import Options, Refusal
from twisted import __version__ as twisted_version


def parse(*words: str) -> Settings:
    options = Options()
    options.parseOptions(words)
    return options.settings


def refusal(*words: str) -> str:
    with pytest.raises(Refusal) as caught:
        parse(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flags() -> None:
    """A flag is yes without a value, and takes one after an equals sign or as the next word."""
    for words, wanted in (
        (["--tls-self-signed"], True),
        (["--tls-self-signed=yes"], True),
        (["--tls-self-signed=no"], False),
        (["--tls-self-signed", "no"], False),
        (["--tls-self-signed", "TRUE"], True),
        (["--tls-self-signed=0"], False),
        (["--tls-self-signed", "--debug=3"], True),
        (["--tls-self", "--tls-self-signed", "no"], False),
        (["--tls-self-signed", "no", "--tls-self"], True),
        ([], False),
    ):
        assert parse(*words).tls_self_signed is wanted, words
    assert parse("--fast-paths").fast_paths is True
    assert parse("--fast-paths=no").fast_paths is False
    assert refusal("--tls-self-signed=maybe").startswith("jsonrpcs: tls_self_signed: 'maybe' is not allowed")
    assert refusal("--tls-self-signed", "maybe").startswith("jsonrpcs: 'maybe' is not an option; allowed: ")


def test_values_that_look_like_options() -> None:
    """The value of an option is its value, whatever it looks like."""
    assert parse("--fifo-name", "--tls-self-signed").fifo_name == "--tls-self-signed"
    assert parse("--fifo-name", "--no-such", "--tls-self-signed").tls_self_signed is True
    assert parse("--fifo-na", "--x").fifo_name == "--x"
    assert refusal("--fifo-name", "--check", "--debug=77").startswith("jsonrpcs: debug: '77' is not allowed")
    assert parse("--fifo-name=--tls-self-signed").tls_self_signed is False


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("dgram_sokcet", "dgram_socket"),
        ("dgram_sockets", "dgram_socket"),
        ("fifo_nmae", "fifo_name"),
        ("http_listn", "http_listen"),
        ("rules_file", "rule_file"),
        ("tls_cert", None),
        ("Debug", "debug"),
        ("x", None),
        ("", None),
        ("a" * 100_000, None),
    ],
)
def test_misspelt(written: str, meant: str | None, tmp_path: Path) -> None:
    """For a name that is not a setting, the error has the nearest one, wherever it is written, and not all of them."""
    end = f"did you mean {meant}?" if meant else "allowed: the settings in docs/settings.md"
    values: dict[str, Any] = {written: 1}
    with pytest.raises(SettingError) as caught:
        from_values(values)
    assert str(caught.value) == f"{written:.100}: no such setting; {end}"
    with pytest.raises(SettingError):
        Settings(**values)
    (tmp_path / "s.toml").write_text(f'transport = 2\n"{written}" = 1\n')
    assert refusal("--config", f"{tmp_path}/s.toml") == f"jsonrpcs: {tmp_path}/s.toml:2: {caught.value}"
    if written:  # Kamailio's grammar has no empty name
        (tmp_path / "k.cfg").write_text(f'\nmodparam("jsonrpcs", "{written}", 1)\n')
        assert refusal("--modparams", f"{tmp_path}/k.cfg") == f"jsonrpcs: {tmp_path}/k.cfg:2: {caught.value}"


def test_misspelt_options() -> None:
    """So does the one for an option, even one that is not a setting, before its value is looked at."""
    assert refusal("--dgram-sokcet", "x") == "jsonrpcs: --dgram-sokcet: no such setting; did you mean --dgram-socket?"
    assert refusal("--dgram_socket=x").endswith("did you mean --dgram-socket?")
    assert refusal("--cofnig=x").endswith("did you mean --config?")
    assert refusal("--chekc").endswith("did you mean --check?")
    assert refusal("--fifo=x") == "jsonrpcs: option --fifo not a unique prefix"
    assert refusal("extra").startswith("jsonrpcs: 'extra' is not an option; allowed: --config FILE and other options")
    options = Options()
    options.parent = ServerOptions()
    with pytest.raises(Refusal) as refused:
        options.parseOptions(["--logfile", "x"])
    assert str(refused.value) == "jsonrpcs: --logfile: no such setting; did you mean twistd --logfile ... jsonrpcs?"
    assert refusal("--config") == "jsonrpcs: option --config requires argument"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command line prints, that ends with 0."""
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code in (None, 0)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version is the package's own, with those of what it runs on."""
    wanted = f"jsonrpcs_tx {__version__}, Twisted {twisted_version}, Python {platform.python_version()}\n"
    assert printed(capsys, "--version") == wanted


def test_help_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--help fits the width of the terminal."""
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, printed(capsys, "--help").splitlines()[3:])) < 80


def test_groups() -> None:
    """Every setting is in one group, and no group is empty."""
    found = [(group, [field.name for field in those]) for group, those in grouped()]
    assert [group for group, _ in found] == list(GROUPS)
    assert all(names for _, names in found)
    assert sorted(name for _, names in found for name in names) == sorted(field.name for field in fields())


def uncommented(text: str) -> dict[str, Any]:
    """What the example says when its settings are no comments."""
    return tomllib.loads(re.sub(r"^# ", "", text, flags=re.MULTILINE))


def test_example(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The example has every setting with its default and its help, and changes nothing as it is."""
    text = printed(capsys, "--example-config")
    assert text == example()
    path = tmp_path / "example.toml"
    path.write_text(text)
    assert parse("--config", str(path)) == parse()
    values = uncommented(text)
    assert list(values) == [field.name for _, those in grouped() for field in those]
    settings = from_values(values)
    words = " ".join(text.replace("\n## ", " ").split())
    for field in fields():
        assert getattr(settings, field.name) == field.daemon, field.name
        assert " ".join(field.help.split()) in words, field.name


@pytest.mark.parametrize("field", [*fields()], ids=lambda field: field.name)
def test_example_one_by_one(field: Any, tmp_path: Path) -> None:
    """Each setting of the example can be uncommented alone, and then has its default."""
    line = re.search(rf"^# ({field.name} = .*)$", example(), re.MULTILINE)
    assert line is not None
    path = tmp_path / "example.toml"
    path.write_text(line[1])
    if field.name == "https_listen":  # it needs a certificate
        path.write_text(f"{line[1]}\ntls_self_signed = true\n")
    assert getattr(parse("--config", str(path)), field.name) == field.daemon


def test_show_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--show-settings prints what --config reads as the same settings, and where each comes from."""
    (tmp_path / "k.cfg").write_text('\nmodparam("jsonrpcs", "fifo_mode", 0600)\n')
    (tmp_path / "s.toml").write_text("dgram_socket = 'a'\n")
    words = ["--modparams", f"{tmp_path}/k.cfg", "-c", f"{tmp_path}/s.toml", "--debug=3"]
    shown = printed(capsys, *words, "--show-settings")
    assert f"fifo_mode = 0o600  # modparam {tmp_path}/k.cfg:2\n" in shown
    assert f'dgram_socket = ["a"]  # {tmp_path}/s.toml:1\n' in shown
    assert "debug = 3  # option\n" in shown
    assert "transport = 6  # default\n" in shown
    assert 'dialect = "kamailio"  # default\n' in shown
    (tmp_path / "shown.toml").write_text(shown)
    assert parse("-c", f"{tmp_path}/shown.toml") == parse(*words)
    assert sorted(os.listdir(tmp_path)) == ["k.cfg", "s.toml", "shown.toml"]
