"""What a kamailio.cfg says: small files, places, limits, and files that want to do harm."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonrpcs_tx.config import kamailiocfg
from jsonrpcs_tx.config.kamailiocfg import CORE, KamailioCfgError, Parameter
from jsonrpcs_tx.config.kamailiolexer import MOST_INCLUDES_DEEP
from tests.support import REPOSITORY
from tests.support.examples import examples
from tests.support.kamailiocfgs import (
    ENVIRONMENT,
    EXAMPLES,
    HEAD,
    REFUSED,
    REFUSED_HERE,
    TAIL,
    TAKEN,
    TAKEN_HERE,
    write,
)

SECONDS = 20
"""Of processor time, in which a file must be done with."""


def read(directory: Path, text: str, **options: object) -> list[Parameter]:
    """All parameters of a text, by module."""
    path = write(directory, text)
    found = kamailiocfg.read(path, **{"version": "5.6.3", "environment": ENVIRONMENT, **options})  # type: ignore[arg-type]
    return [one for ones in found.values() for one in ones]


def refusal(directory: Path, text: str, **options: object) -> KamailioCfgError:
    with pytest.raises(KamailioCfgError) as caught:
        read(directory, text, **options)
    assert "\n" not in caught.value.reason
    return caught.value


@pytest.mark.parametrize("name", TAKEN)
def test_taken(tmp_path: Path, name: str) -> None:
    """A file that Kamailio takes gives the parameters that it sets."""
    text, expected = TAKEN[name]
    assert [(one.name, one.value) for one in read(tmp_path, HEAD + text + TAIL)] == expected


@pytest.mark.parametrize("name", TAKEN_HERE)
def test_taken_here(tmp_path: Path, name: str) -> None:
    """What only Kamailio can judge is gone past."""
    read(tmp_path, HEAD + TAKEN_HERE[name] + TAIL)


@pytest.mark.parametrize("name", [*REFUSED, *REFUSED_HERE])
def test_refused(tmp_path: Path, name: str) -> None:
    """A file that cannot be read is refused with the file, the line and the reason."""
    text, line, reason = {**REFUSED, **REFUSED_HERE}[name]
    error = refusal(tmp_path, HEAD + text + TAIL)
    assert reason in error.reason
    assert error.line == line
    assert error.file is not None
    assert Path(error.file).parent == tmp_path
    assert str(error) == f"{error.file}: line {line}: {error.reason}; allowed: {error.allowed}"
    assert error.allowed


def test_by_module(tmp_path: Path) -> None:
    """Parameters are by module, with file and line; modules that are loaded are there even without parameters."""
    (tmp_path / "more.cfg").write_text('\n\nmodparam("tm|jsonrpcs", "fr", 5)\n')
    text = (
        'loadmodule "tm.so"\nloadmodule "sl.so"\nloadmodule "jsonrpcs.so"\n'
        '#!define T 7\nrun_dir = "/run"\nmodparam("jsonrpcs",\n "transport", T)\ninclude_file "more.cfg"\n'
    )
    path = tmp_path / "kamailio.cfg"
    path.write_text(text)
    more = str(tmp_path / "more.cfg")
    assert kamailiocfg.read(path) == {
        "tm": [Parameter("tm", "fr", 5, more, 3)],
        "sl": [],
        "jsonrpcs": [
            Parameter("jsonrpcs", "transport", 7, str(path), 6),
            Parameter("jsonrpcs", "fr", 5, more, 3),
        ],
        CORE: [Parameter(CORE, "run_dir", "/run", str(path), 5)],
    }


def test_fragment(tmp_path: Path) -> None:
    """In a file that loads no module, those that are settings here count as loaded."""
    found = read(tmp_path, 'modparam("htable|jsonrpcs", "x", 1)\nmodparam("jsonrpcs", "y", 2)\n')
    assert [(one.module, one.name) for one in found] == [("jsonrpcs", "x"), ("jsonrpcs", "y"), ("htable", "x")]
    assert "no module matches 'tm'" in refusal(tmp_path, 'modparam("tm", "x", 1)').reason
    assert [one.module for one in read(tmp_path, 'modparam("tm", "x", 1)', fragment=("tm",))] == ["tm"]
    error = refusal(tmp_path, '\nmodparam("jsonrpcs", "x", 1)\nloadmodule "jsonrpcs.so"\n')
    assert (error.line, "before a module is loaded" in error.reason) == (2, True)


def test_lines(tmp_path: Path) -> None:
    """Lines are counted through strings, comments, defines of several lines, and what is left out."""
    text = (
        '# 1\n/* 2\n3 */ #!define A "x \\\n y"\n#!ifdef NO\n\n#!endif\nxlog("\n\n")\nA A\n#!define M modparam(\\\n'
        '  "jsonrpcs", "a", 1)\n\nM\n  M modparam("jsonrpcs",\n\n"b", A)\n'
    )
    assert [one.line for one in read(tmp_path, text)] == [15, 16, 16]


def test_bytes(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 stay what they are, in strings and in names of files."""
    path = tmp_path / "kamailio.cfg"
    odd = os.fsdecode(b"\xff\xc3\xa9.cfg")
    (tmp_path / odd).write_bytes(b'modparam("jsonrpcs", "fifo_name", "\xff\xc3\xa9\\xc3\\xa4")\n')
    path.write_bytes(b'include_file "\xff\xc3\xa9.cfg"\n')
    (found,) = kamailiocfg.read(path)["jsonrpcs"]
    assert (found.value, found.path) == ("\udcffé" + "ä", str(tmp_path / odd))


def test_defines_from_outside(tmp_path: Path) -> None:
    """Defines are given as to C{kamailio -A}: names, or names with what they stand for."""
    text = '#!ifdef WITH_RPC\nmodparam("jsonrpcs", "a", NUMBER)\nmodparam("jsonrpcs", "b", TEXT)\n#!endif\n'
    assert read(tmp_path, text) == []
    given = ["WITH_RPC", "NUMBER=0x10", 'TEXT="a=b"']
    assert [one.value for one in read(tmp_path, text, defines=given)] == [16, "a=b"]
    assert "already defined" in refusal(tmp_path, text, defines=["A", "A=1"]).reason
    assert refusal(tmp_path, "#!define A\n", defines=["A"]).line == 1
    assert "'=1' has no name" in refusal(tmp_path, text, defines=["=1"]).reason


def test_version(tmp_path: Path) -> None:
    """The version decides what is defined, and which directives there are."""

    def text(*names: str) -> str:
        return "".join(f'#!ifdef {name}\nmodparam("jsonrpcs", "{name}", 1)\n#!endif\n' for name in names)

    names = ("KAMAILIO_5", "KAMAILIO_5_6", "KAMAILIO_5_6_3", "KAMAILIO_6", "KAMAILIO_6_1", "KAMAILIO_6_1_4", "OS_NAME")
    assert [one.name for one in read(tmp_path, text(*names))] == list(names[:3])
    assert [one.name for one in read(tmp_path, text(*names), version="6.1.4")] == list(names[3:])
    newer = (
        'loadmodule("pv.so")\nloadmodule("jsonrpcs.so", "opts")\n#!define PORT 5060\n#!defexp NEXT 1+PORT\n'
        '#!defexps RPC_NAME "rpc" + (2 * 3)\n#!ifexp KAMAILIO_VERSION >= 6000000 && MOD_pv && OS_NAME == "linux"\n'
        'modparam("jsonrpcs", "next", NEXT)\nmodparam("jsonrpcs", "name", RPC_NAME)\n#!ifexp !MOD_jsonrpcs\nx "\n'
        "#!endif\n#!endif\n#!ifdef NO\n#!ifexp (\n#!endif\n#!endif\n"
    )
    assert [one.value for one in read(tmp_path, newer, version="6.1.4")] == [5061, "rpc6"]
    delta = "rpc_exec_delta = 5\n"
    assert [(one.module, one.value) for one in read(tmp_path, delta, version="6.1.4")] == [(CORE, 5)]
    assert read(tmp_path, delta) == []
    error = refusal(tmp_path, "#!ifexp 1/0\n#!endif\n", version="6.1.4")
    assert (error.line, error.reason[:20]) == (1, "the expression '1/0'")
    for wrong in ("6.1", "6.1.x", "", "5.6.3.1", "\u0665.6.3"):
        assert "is not a version of Kamailio" in refusal(tmp_path, "", version=wrong).reason


def test_noted(tmp_path: Path) -> None:
    """Where errors are only noted, reading goes on after the statement, and ends where nobody can tell what follows."""
    text = (
        'modparam("jsonrpcs", "a", X)\nmodparam("jsonrpcs", "b", 1)\n#!subst "x"\nmodparam("nobody", "c", 1)\n'
        'run_dir = 1\nmodparam("jsonrpcs", "d", 2) include_file "none.cfg" modparam("jsonrpcs", "e", 3)\n'
    )
    noted: list[KamailioCfgError] = []
    found = read(tmp_path, text, note=noted.append)
    assert [(one.name, one.value) for one in found] == [("b", 1), ("d", 2)]
    assert [error.line for error in noted] == [1, 3, 4, 5, 6]
    for path in (tmp_path / "none", "a\0b"):
        noted.clear()
        assert kamailiocfg.read(path, note=noted.append) == {}
        assert [error.line for error in noted] == [None]


def test_where_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name starts from the working directory, and if there is no such file, beside the one that has it."""
    inner, here = tmp_path / "inner", tmp_path / "here"
    inner.mkdir()
    here.mkdir()
    (inner / "main.cfg").write_text('include_file "a.cfg"\nimport_file "b.cfg"\n')
    for directory in (inner, here):
        (directory / "a.cfg").write_text(f'modparam("jsonrpcs", "a", "{directory.name}")\n')
    (inner / "b.cfg").write_text('modparam("jsonrpcs", "b", "inner")\n')
    monkeypatch.chdir(here)
    found = kamailiocfg.read("../inner/main.cfg")["jsonrpcs"]
    assert [(one.value, one.path) for one in found] == [("here", "a.cfg"), ("inner", "../inner/b.cfg")]
    monkeypatch.chdir(inner)
    assert [one.value for one in kamailiocfg.read("main.cfg")["jsonrpcs"]] == ["inner", "inner"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that does not exist, or is not a regular file, is named; what is included may not be endless."""
    for path in (tmp_path / "none", tmp_path, tmp_path / "kamailio.cfg" / "x", Path("a\0b")):
        with pytest.raises(KamailioCfgError, match=r"a readable kamailio\.cfg"):
            kamailiocfg.read(path)
    os.mkfifo(tmp_path / "fifo.cfg")
    for name in ("fifo.cfg", "/dev/zero"):
        error = refusal(tmp_path, f'\nimport_file "{name}"\n')
        assert "is not a regular file" in error.reason
        assert error.line == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_import_without_permission(tmp_path: Path) -> None:
    """A file that is there but cannot be read is an error, even where it may be missing."""
    (tmp_path / "secret.cfg").touch(mode=0)
    assert "Permission denied" in refusal(tmp_path, 'import_file "secret.cfg"\n').reason


def test_main_file_as_pipe(tmp_path: Path) -> None:
    """The file itself may be a pipe, as C{<(m4 kamailio.m4)} is one."""
    reading, writing = os.pipe()
    os.write(writing, b'modparam("jsonrpcs", "a", 1)\n')
    os.close(writing)
    try:
        assert kamailiocfg.read(f"/dev/fd/{reading}")["jsonrpcs"][0].value == 1
    finally:
        os.close(reading)


def laughs(directive: str, levels: int = 40) -> str:
    """A define or a substitution that stands for two of the next, and so on."""
    lines = [directive.format(name=f"A{n:02}", value=f"A{n + 1:02} A{n + 1:02}") for n in range(levels)]
    return "\n".join(lines) + '\nmodparam("jsonrpcs", "x", "A00" ) A00\n'


HARMFUL = {
    "a define of itself": "#!define A A\nA\n",
    "defines of each other": "#!define A x B\n#!define B y A\nA\n",
    "a define of itself by way of a string": '#!define A "\\" A" A\nA\n',
    "defines that laugh": laughs("#!define {name} {value}"),
    "substitutions that laugh": laughs('#!subst "/{name}/{value}/g"'),
    "substitutions that laugh and define": laughs('#!substdef "/{name}/{value}/g"'),
    "a deep chain, used often": "".join(f"#!define A{n} A{n + 1}\n" for n in range(2000)) + "A0 " * 100_000 + "\n",
    "one long line of defines": "#!define A x\n" + "A " * 500_000 + "\n",
    "defines without end": "".join(f"#!define A{n}\n" for n in range(100_000)),
    "substitutions without end": "".join(f'#!subst "/A{n}/B/"\n' for n in range(100_000)),
    "conditions without end": "#!ifdef A\n" * 1_000_000,
    "conditions that hold without end": "#!ifndef A\n" * 1_000_000,
    "a comment without end": "/*" * 1_000_000,
    "a string without end": '"' + "\\\n" * 1_000_000,
    "a string without end, joined": 'modparam("a' + '"\n"' * 1_000_000,
    "parentheses without end": "$(" * 1_000_000,
    "blocks without end": "{" * 1_000_000,
    "a define of a string without end": '#!define A "x\nA ' + "y\n" * 1_000_000,
    "a define of a comment without end": "#!define A /* x\nA " + "y\n" * 1_000_000,
    "an expression for modules": 'modparam("' + "(a*)*" * 150 + 'b", "x", 1)\n',
    "an expression that repeats": 'modparam("((a{1,250}){1,250}){1,250}", "x", 1)\n',
    "an expression that refers back": 'modparam("(a*)*\\\\1", "x", 1)\n',
    "an expression that is nested": 'modparam("' + "(" * 100_000 + '", "x", 1)\n',
    "an expression on long strings": '#!subst "/(a|b)*a(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)x/y/g"\n'
    + ('modparam("jsonrpcs", "x", "' + "ab" * 4000 + '")\n') * 1000,
    "an expression on a very long string": '#!subst "/a*b/c/g"\nmodparam("jsonrpcs", "x", "' + "a" * 1_000_000 + '")\n',
    "replacements that grow": '#!subst "/a/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/g"\n' * 10
    + 'modparam("jsonrpcs", "x", "a")\n',
    "many modules": "".join(f'loadmodule "m{n}.so"\n' for n in range(10_000)),
}
"""Files that would never end, or take all memory."""


@pytest.mark.slow
@pytest.mark.parametrize("name", HARMFUL)
def test_harmful(tmp_path: Path, name: str) -> None:
    """A file that wants to do harm is refused in bounded time."""
    began = time.process_time()
    error = refusal(tmp_path, HARMFUL[name])
    assert time.process_time() - began < SECONDS
    assert len(str(error)) < 1000
    assert error.line


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        'modparam("jsonrpcs", "fifo_name", "/run/rpc.fifo") # a comment\n',
        'route[X] { if ($var(x) =~ "^a") { xlog("L_INFO", "$rm from $fu\\n"); t_relay(); exit; } }\n',
        "#!ifdef NO\n",
        "A A A\n",
        "\n",
    ],
)
def test_many_lines(tmp_path: Path, line: str) -> None:
    """A file of 100,000 lines is read, or refused, in bounded time."""
    text = "#!define A x\n" + line * 100_000
    began = time.process_time()
    if line[0] in "#A":
        refusal(tmp_path, text)
    else:
        assert len(read(tmp_path, text)) == 100_000 * line.startswith("modparam")
    assert time.process_time() - began < SECONDS


@pytest.mark.slow
def test_includes_without_end(tmp_path: Path) -> None:
    """Files that include each other end with an error, however many there are at each level."""
    for level in range(8):
        (tmp_path / f"f{level}.cfg").write_text(f'include_file "f{level + 1}.cfg"\n' * 50)
    (tmp_path / "f8.cfg").write_text("x\n")
    assert "too many files are included" in refusal(tmp_path, 'include_file "f0.cfg"\n').reason
    guarded = '#!ifndef A{n}\n#!define A{n}\ninclude_file "kamailio.cfg"\n#!endif\n'
    text = "".join(guarded.format(n=n) for n in range(MOST_INCLUDES_DEEP))
    assert read(tmp_path, text) == []


@pytest.mark.slow
def test_too_much_text(tmp_path: Path) -> None:
    """What is read in all is limited; a sparse file is not taken for a short one."""
    with (tmp_path / "huge.cfg").open("wb") as file:
        file.truncate(2**40)
    error = refusal(tmp_path, 'include_file "huge.cfg"\n')
    assert "too much text" in error.reason


TOKENS = st.sampled_from(
    [
        *(
            "modparam",
            "modparamx",
            "loadmodule",
            "run_dir",
            "include_file",
            "import_file",
            "event_route",
            "=",
            "(",
            ")",
        ),
        *(
            ",",
            "{",
            "}",
            "7",
            "-",
            '"jsonrpcs"',
            '"transport"',
            "'x'",
            '"',
            "'",
            "\\",
            "/*",
            "*/",
            "//",
            "#",
            "$",
            "$(",
        ),
        *("$env(A)", "\n", "\r\n", " ", "#!define A ", "#!define B A", "#!ifdef A\n", "#!ifndef A\n", "#!else\n"),
        *(
            "#!endif\n",
            "#!ifexp ",
            '#!subst "/A/B/"',
            '#!substdef "/C/D/"',
            "#!defenv A",
            "A",
            "B",
            "C",
            "!!",
            "#!",
            "@",
        ),
        *('"kamailio.cfg"', '"none"', "modparam(A, B, C)", "trydef", "#!trydef A 1\n", "#!redefine A B\n", "[a]"),
    ]
)


@pytest.mark.slow
@given(st.lists(TOKENS | st.text(max_size=3), max_size=60).map("".join), st.sampled_from(["5.6.3", "6.1.4"]))
@examples(400)
def test_any_text(tmp_path_factory: pytest.TempPathFactory, text: str, version: str) -> None:
    """Whatever is in a file, it is read, or refused with a place in it."""
    path = tmp_path_factory.mktemp("any") / "kamailio.cfg"
    path.write_text(text, newline="", errors="surrogatepass")
    try:
        found = kamailiocfg.read(path, version, environment={"A": "B"})
    except KamailioCfgError as error:
        places = [(error.file or "", error.line or 0)]
    else:
        places = [(one.path, one.line) for ones in found.values() for one in ones]
    for name, line in places:
        assert name == str(path)
        assert 1 <= line <= text.count("\n") + 1


@given(st.data())
def test_cut_into_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Between two lines that stand for themselves, a file can be cut into included files."""
    directory = tmp_path_factory.mktemp("cut")
    lines = [f'modparam("jsonrpcs", "p{n}", {n})\n#!define D{n} x\n' for n in range(data.draw(st.integers(1, 6)))]
    (directory / "kamailio.cfg").write_text("".join(lines))
    (directory / "parts.cfg").write_text("".join(f'include_file "part{n}.cfg"\n' for n in range(len(lines))))
    for number, line in enumerate(lines):
        (directory / f"part{number}.cfg").write_text(line.rstrip("\n"))
    whole, parts = (kamailiocfg.read(directory / name)["jsonrpcs"] for name in ("kamailio.cfg", "parts.cfg"))
    assert [(one.name, one.value) for one in whole] == [(one.name, one.value) for one in parts]


def test_examples() -> None:
    """There are files in the manner of those that people have; each sets something for jsonrpcs."""
    assert len(EXAMPLES) >= 9
    for path in EXAMPLES:
        assert kamailiocfg.read(path, environment=ENVIRONMENT)["jsonrpcs"], path


def test_imports_nothing_slow() -> None:
    """A command line that reads a kamailio.cfg does not wait for Twisted."""
    code = "import sys; from jsonrpcs_tx.config import kamailiocfg; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    slow = {"twisted", "zope", "ssl", "msgspec", "attr", "typing", "inspect", "jsonrpcs_tx.config.settings"}
    assert not slow & {name if "config" in name else name.partition(".")[0] for name in done.stdout.split()}
