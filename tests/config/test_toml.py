"""TOML: where each value is in a file, and that what is written is read back as the same."""

import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx import ConfigError, SettingError
from jsonrpcs_tx.config import kinds
from jsonrpcs_tx.config.settings import Field, fields, from_values
from jsonrpcs_tx.config.sources import OPTION, Given, Sources
from jsonrpcs_tx.config.toml import read_toml, show_settings, write_value
from jsonrpcs_tx.problems import FIRST, AllProblems


def read(directory: Path, text: str) -> dict[str, Given]:
    path = directory / "settings.toml"
    path.write_text(text, encoding="utf-8", newline="")
    values = read_toml(str(path))
    assert values is not None
    return values


def lines_of(directory: Path, text: str) -> dict[str, list[int]]:
    """The lines of each value of a document."""
    return {name: [source.line for source in given.sources] for name, given in read(directory, text).items()}


def test_lines(tmp_path: Path) -> None:
    """Each name has its line, and each value of an array the line where it begins; comments, strings and tables that
    look like something else are what they are.
    """
    text = '''
# a = 1
one = "x"  # two = 2
  'two' = """
three = 3
"""
"fo\\u0075r" = [ "a", 'b',
  # "c",
  "d # ]", [1,
  2], { x = "]", y = [1, 2] },
  \'\'\'e
  \'\'\', "f"
]
empty = []
five.a = 1
five.b = [1,
2]
quoted = "a\\"b = ["
date = 2020-01-01T00:00:00Z
many = """a""b"""""
[table]
one = 5
six = 6
["other = 1".x]
[[third]]
a = 1
[[third]]
'''
    assert lines_of(tmp_path, text) == {
        "one": [3],
        "two": [4],
        "four": [7, 7, 9, 9, 10, 11, 12],
        "empty": [14],
        "five": [15],
        "quoted": [18],
        "date": [19],
        "many": [20],
        "table": [21],
        "other = 1": [24],
        "third": [25],
    }


def test_line_ends(tmp_path: Path) -> None:
    """Lines count the same with carriage returns, and without an end of the last one."""
    assert lines_of(tmp_path, 'a = 1\r\n\r\nb = [\r\n"x",\r\n"y"]') == {"a": [1], "b": [4, 5]}


VALUES = st.recursive(
    st.text() | st.integers(-9, 9) | st.booleans(), lambda inner: st.lists(inner, max_size=4), max_leaves=8
)
GAPS = st.sampled_from(["", " ", "\n", '\n# ] = [ "\n', "  \n\n"])


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=6), st.data())
def test_any_document(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is in a document, and however it is laid out, every value is found, in the line where it was put."""
    text = ""
    lines: dict[str, list[int]] = {}
    for name, value in values.items():
        text += data.draw(st.sampled_from(["", "\n", "# x = 1\n", "\t"]))
        begins = text.count("\n") + 1
        text += f"{write_value(name, kinds.NAME)} = "
        if isinstance(value, list):
            text += "["
            lines[name] = []
            for one in value:
                text += data.draw(GAPS)
                lines[name].append(text.count("\n") + 1)
                text += write_value(one, kinds.NAME) + data.draw(GAPS) + ","
            text += data.draw(GAPS) + "]"
        else:
            text += write_value(value, kinds.NAME)
        lines[name] = lines.get(name) or [begins]
        text += "\n"
    assert tomllib.loads(text) == values
    assert lines_of(tmp_path_factory.getbasetemp(), text) == lines


def test_syntax_errors(tmp_path: Path) -> None:
    """What is not TOML is an error with file and line, whatever it is."""
    path = tmp_path / "settings.toml"
    for text, line in (
        (b"a = 1\nb = \n", 2),
        (b"a = [\n1\n", 3),
        (b"a = 1\na = 2\n", 2),
        (b"a = 1\n\nb = '\xff'\n", 3),
        (b"a = " + b"9" * 5000, 1),
        (b"a = " + b"[" * 5000, 1),
    ):
        path.write_bytes(text)
        with pytest.raises(ConfigError) as caught:
            read_toml(str(path))
        assert (caught.value.file, caught.value.line) == (str(path), line)


@pytest.mark.parametrize("name", ["fifo_mode", "dgram_mode", "http_mode"])
def test_modes(tmp_path: Path, name: str) -> None:
    """A mode is octal: a decimal number is refused, even one that would be a mode, which is another than it says."""
    for literal, mode in (("0o660", 0o660), ('"0660"', "0660"), ('"660"', "660"), ("0x1b0", 0o660), ("0", 0)):
        assert read(tmp_path, f"{name} = {literal}")[name].value == mode
    for literal, meant in (("660", '0o660 or "0660"'), ("440", '0o440 or "0440"'), ("+6_00", '0o600 or "0600"')):
        with pytest.raises(ConfigError, match=f"{name}: .* is a decimal number, .*; allowed: {meant}"):
            read(tmp_path, f"# mode\n{name} = {literal}  # of the file")
    with pytest.raises(ConfigError, match="allowed: one in octal, such as 0o660"):
        read(tmp_path, f"{name} = 480")
    with pytest.raises(SettingError, match=r'660 is not allowed; .*; did you mean 0o660 or "0660"\?'):
        from_values({name: 660})


def acceptable(field: Field) -> st.SearchStrategy[Any]:
    """Values that a setting takes, with what it makes of them."""
    text = st.text() | st.sampled_from(
        ["a", "tcp:[::1]:0", "udp:127.0.0.1:0", "tcp:0", "::1", "/x", "https://a", "sip:a@b", "class=4", "0640", "yes"]
    )
    value = st.integers(-5, 100_000) | st.floats(0.001, 80_000) | st.booleans() | text

    def takes(value: Any) -> bool:
        try:
            field.kind.parse(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            return False
        return True

    if field.kind.several:
        return st.just([*field.default]) | st.lists(value, max_size=5).map(lambda values: [*filter(takes, values)])
    return st.just(field.default) | value.map(lambda one: one if takes(one) else field.default)


@given(st.data())
def test_shown_settings(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever the settings are, --config reads the same ones from what --show-settings prints, but for passwords."""
    chosen = data.draw(st.sets(st.sampled_from([field.name for field in fields()])))
    values = {field.name: data.draw(acceptable(field)) for field in fields() if field.name in chosen}
    sources = Sources(
        {
            name: Given(value, (OPTION,) * max(1, len(value) if isinstance(value, list) else 1))
            for name, value in values.items()
        }
    )
    settings = sources.settings(AllProblems(), {"load": ("all",)})
    shown = show_settings(settings, sources)
    again = Sources(read(tmp_path_factory.getbasetemp(), shown)).settings(FIRST, {})
    assert again == attrs.evolve(settings, node=kinds.several(kinds.NODE).public(settings.node))


def test_shown_places(tmp_path: Path) -> None:
    """Each setting is shown with where it comes from."""
    given = read(tmp_path, 'transport = 0\nrule = [\n"any deny a",\n"any deny b"]\nload = ["core"]')
    sources = Sources(given, {"load": Given(["core", "system"], (OPTION, OPTION))})
    lines = show_settings(sources.settings(FIRST, {}), sources).splitlines()
    path = tmp_path / "settings.toml"
    assert f"transport = 0  # {path}:1" in lines
    assert 'run_dir = "."  # default' in lines
    at = lines.index("rule = [")
    assert lines[at + 1 : at + 4] == [f'    "any deny a",  # {path}:3', f'    "any deny b",  # {path}:4', "]"]
    at = lines.index("load = [")
    assert lines[at + 1 : at + 3] == ['    "core",  # option', '    "system",  # option']


def test_shown_anyway(tmp_path: Path) -> None:
    """What TOML cannot express is an error; the name of a file cannot end the comment that it is in."""
    sources = Sources({"fifo_name": Given("\udcff", (OPTION,))})
    with pytest.raises(ConfigError, match=r"fifo_name: '\\udcff' cannot be shown"):
        show_settings(sources.settings(FIRST, {}), sources)
    hostile = tmp_path / "a\ntransport = 15\n.toml"
    hostile.write_text("debug = 3\n")
    found = read_toml(str(hostile))
    assert found is not None
    sources = Sources(found)
    shown = tomllib.loads(show_settings(sources.settings(FIRST, {}), sources))
    assert (shown["transport"], shown["debug"]) == (6, 3)
