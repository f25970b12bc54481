"""Small kamailio.cfg files with their meaning; tests compare our reading and Kamailio's with that."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support import DATA

HEAD: Final = """#!KAMAILIO
debug=2
log_stderror=yes
auto_aliases=no
listen=udp:127.0.0.1:15060
loadmodule "kex.so"
loadmodule "jsonrpcs.so"
"""
"""What is before each text: seven lines."""

TAIL: Final = "\nrequest_route { exit; }\n"

FILES: Final[Mapping[str, str]] = {
    "block.cfg": "exit;\n",
    "define.cfg": "#!define INCLUDED 7",
    "open.cfg": "#!ifdef OPEN\n",
    "circle.cfg": 'include_file "circle.cfg"\n',
    "string.cfg": 'modparam("jsonrpcs", "fifo_name", "abc',
    "inner/first.cfg": 'include_file "second.cfg"\n',
    "inner/second.cfg": "#!define SECOND 7\n",
}
"""Files that the texts include."""

ENVIRONMENT: Final[Mapping[str, str]] = {
    "SEVEN": "7",
    "MODULE": "jsonrpcs",
    "BLANKS": "a b",
    "PATH": os.environ["PATH"],
}

EXAMPLES: Final = tuple(sorted((DATA / "kamailio").glob("*.cfg")))
"""Complete files, like those that people have."""


def write(directory: Path, text: str) -> Path:
    """Write a text with what must come before and after it, and the files that it may include."""
    for name, content in FILES.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(content, newline="")
    path = directory / "kamailio.cfg"
    path.write_text(text, newline="")
    return path


def _transport(value: object) -> str:
    return f'modparam("jsonrpcs", "transport", {value})'


def _fifo(value: object) -> str:
    return f'modparam("jsonrpcs", "fifo_name", {value})'


WRONG: Final = 'modparam("nobody", "nothing", 1)\n'
"""A line that must not be read."""

_T, _F = "transport", "fifo_name"

TAKEN: Final[Mapping[str, tuple[str, list[tuple[str, int | str]]]]] = {
    # statements
    "nothing": ("", []),
    "plain": (_transport(7), [(_T, 7)]),
    "semicolon": (_transport(7) + ";", [(_T, 7)]),
    "two on a line": (_transport(7) + " " + _transport(6), [(_T, 7), (_T, 6)]),
    "blanks": ('modparam  (  "jsonrpcs"  ,\t"transport"  ,  7  )', [(_T, 7)]),
    "lines": ('modparam\n(\n"jsonrpcs"\n,\n"transport"\n,\n7\n)', [(_T, 7)]),
    "escaped line ends": ('modparam \\\n ( "jsonrpcs", \\\n "transport", 7)', [(_T, 7)]),
    "carriage returns": (
        '#!ifdef NO\r\nnonsense "\r\n#!endif\r\nmodparam("jsonrpcs",\r\n"transport",7)\r\n',
        [(_T, 7)],
    ),
    "single quotes": ("modparam('jsonrpcs', 'fifo_name', 'a\\n')", [(_F, "a\\n")]),
    "empty string": (_fifo('""'), [(_F, "")]),
    "run_dir": ('run_dir = "/tmp/x"', [("run_dir", "/tmp/x")]),
    "rundir": ('rundir="/tmp/x"', [("run_dir", "/tmp/x")]),
    "path of a module": (
        'loadmodule "/usr/lib/x86_64-linux-gnu/kamailio/modules/pv.so"\n#!ifndef MOD_pv\n' + WRONG + "#!endif\n",
        [],
    ),
    "module without ending": ('loadmodule "pv"\n#!ifndef MOD_pv\n' + WRONG + "#!endif\n", []),
    "loadmodulex": ('#!define M pv\nloadmodulex "$def(M).so"\n#!ifndef MOD_pv\n' + WRONG + "#!endif\n", []),
    # numbers
    "negative": (_transport(-7), [(_T, -7)]),
    "minus and blank": (_transport("- 7"), [(_T, -7)]),
    "octal": ('modparam("jsonrpcs", "fifo_mode", 0640)', [("fifo_mode", 0o640)]),
    "hexadecimal": (_transport("0x7"), [(_T, 7)]),
    "binary": (_transport("111b"), [(_T, 7)]),
    "yes": (_transport("yes"), [(_T, 1)]),
    "off": (_transport("off"), [(_T, 0)]),
    "inet6": (_transport("inet6"), [(_T, 10)]),
    "largest": (_transport(2**31 - 1), [(_T, 2**31 - 1)]),
    # strings
    "joined": ('modparam("json" "rpcs", "fifo_name", "a"\n\n"b"  "c")', [(_F, "abc")]),
    "escapes": (_fifo(r'"a\tb\"c\\d\x41\x4a3\101\q\1"'), [(_F, 'a\tb"c\\dAJ3A\\q\\1')]),
    "escaped line end in a string": (_fifo('"a\\\nb"'), [(_F, "ab")]),
    "line end in a string": (_fifo('"a\nb"'), [(_F, "a\nb")]),
    "comment signs in strings": (_fifo('"/a//b/*c#d"'), [(_F, "/a//b/*c#d")]),
    "dollar without modparamx": (_fifo('"$nope(X)"'), [(_F, "$nope(X)")]),
    # comments
    "comments": ("# " + WRONG + "// " + WRONG + "/* " + WRONG + "*/ ## " + WRONG + _transport(7), [(_T, 7)]),
    "comments within": ('modparam("jsonrpcs",# )\n"transport"/* ) */,7 // x\n)', [(_T, 7)]),
    "nested comments": ("/* /* */ " + WRONG + "*/ " + _transport(7), [(_T, 7)]),
    "quotes in comments": ("# don't\n/* \" */\n// it's\n" + _transport(7), [(_T, 7)]),
    # modules
    "expression": ('modparam("json.*", "transport", 7)', [(_T, 7)]),
    "anchors": ('modparam("^jsonrpcs$", "transport", 7)', [(_T, 7)]),
    "alternatives": ('modparam("mi_fifo|jsonrpcs|xmlrpc", "transport", 7)', [(_T, 7)]),
    "case": ('modparam("JSONrpcs", "transport", 7)', [(_T, 7)]),
    "class": ('modparam("[[:alpha:]]+rpcs", "transport", 7)', [(_T, 7)]),
    # defines
    "define": ("#!define T 7\n" + _transport("T"), [(_T, 7)]),
    "def": ("!!def T 7\n" + _transport("T"), [(_T, 7)]),
    "define of a define": ("#!define A B\n#!define B C\n#!define C 7\n" + _transport("A"), [(_T, 7)]),
    "define of words": ('#!define T "jsonrpcs", "transport", 7\nmodparam(T)', [(_T, 7)]),
    "define of a statement": ("#!define T " + _transport(7) + "\nT T", [(_T, 7), (_T, 7)]),
    "define on lines": ('#!define T "jsonrpcs", \\\n  "transport", \\\n 7\nmodparam(T)', [(_T, 7)]),
    "define with a comment": ("#!define T 7 # seven\n" + 'modparam("jsonrpcs", "transport", T\n)', [(_T, 7)]),
    "define without a value": ("#!define T\n" + _transport("T 7"), [(_T, 7)]),
    "define after something": ("debug=3 #!define T 7\n" + _transport("T"), [(_T, 7)]),
    "define that starts a string": ('#!define T "a\n' + _fifo('T b"'), [(_F, "a b")]),
    "define before a string": ('#!define T "a"\n' + _fifo('T "b"'), [(_F, "ab")]),
    "define of a condition": ("#!define T #!ifdef NO\nT\n" + WRONG + "#!endif\n" + _transport(7), [(_T, 7)]),
    "define of an include": ('#!define T include_file "define.cfg"\nT\n' + _transport("INCLUDED"), [(_T, 7)]),
    "define of a word of Kamailio": ("#!define debug x\n#!define on 5\n" + _transport("on"), [(_T, 1)]),
    "define in a block": ("route[X] { exit;\n#!define T 7\n}\n" + _transport("T"), [(_T, 7)]),
    "define as a name within": ("#!define fifo 7\n" + _fifo('"fifo"'), [(_F, "fifo")]),
    "define for loadmodule": ('#!define M "pv.so"\nloadmodule M', []),
    "trydef": ("#!trydef T 7\n#!trydefine T 6\n" + _transport("T"), [(_T, 7)]),
    "redefine": ("#!define T 7\n#!redefine T 6\n" + _transport("T"), [(_T, 6)]),
    "redef of nothing": ("#!redef T 6\n" + _transport("T"), [(_T, 6)]),
    "defenv": ("#!defenv SEVEN\n" + _transport("SEVEN"), [(_T, 7)]),
    "defenv of another name": ("#!defenv T=SEVEN\n" + _transport("T"), [(_T, 7)]),
    "defenv and more": ("#!defenv T=SEVEN " + _transport("T"), [(_T, 7)]),
    "defenvs": ("#!defenvs T=BLANKS\n" + _fifo("T"), [(_F, "a b")]),
    "defenv of an odd name": ("#!defenv 9-x=SEVEN\n#!trydefenv /*\n" + _transport(7), [(_T, 7)]),
    "trydefenv": ("#!trydefenv NOT_SET\n#!ifdef NOT_SET\n" + WRONG + "#!endif\n", []),
    "trydefenvs": ("#!trydefenvs T=MODULE\n" + 'modparam(T, "transport", 7)', [(_T, 7)]),
    # conditions
    "versions": ("".join(f"#!ifndef KAMAILIO_{one}\n{WRONG}#!endif\n" for one in ("5", "5_6", "5_6_3")), []),
    "other versions": (
        "".join(f"#!ifdef {one}\n{WRONG}#!endif\n" for one in ("KAMAILIO_6", "KAMAILIO_5_7", "KAMAILIO_VERSION")),
        [],
    ),
    "modules": ("#!ifndef MOD_jsonrpcs\n" + WRONG + "#!else\n" + _transport(7) + "\n#!endif\n", [(_T, 7)]),
    "ifdef and more": ("#!ifdef NO # a comment\n" + WRONG + "#!endif\n", []),
    "indented": ("  #!ifdef NO\n" + WRONG + "\t!!else\n" + _transport(7) + "\n  #!endif \t\n", [(_T, 7)]),
    "else and else": ("#!ifdef NO\n#!else\n#!else\n" + WRONG + "#!endif\n", []),
    "nested": (
        "#!ifdef NO\n#!ifdef KAMAILIO_5\n"
        + WRONG
        + "#!else\n"
        + WRONG
        + "#!endif\n#!else\n#!ifndef NO\n"
        + _transport(7)
        + "\n#!endif\n#!endif\n",
        [(_T, 7)],
    ),
    "anything in what is left out": ("#!ifdef NO\n\" ' /* $( }\n#!define NO\n#!endif\n" + _transport(7), [(_T, 7)]),
    "a comment ends what is left out": ("#!ifdef NO\n##!endif\n" + _transport(7), [(_T, 7)]),
    "a string ends what is left out": ('#!ifdef NO\n"#!endif\n' + _transport(7), [(_T, 7)]),
    "a comment ends nothing else": (
        "#!ifdef KAMAILIO_5\n##!endif\n##!else\n" + _transport(7) + "\n#!endif\n",
        [(_T, 7)],
    ),
    "not a directive": ("#!nonsense\n#!\n#!/bin/sh\n#! define T\n# !ifdef NO\n" + _transport(7), [(_T, 7)]),
    # substitutions
    "subst": ('#!subst "/FIFO/rpc/"\n' + _fifo('"/FIFO.FIFO"'), [(_F, "/rpc.FIFO")]),
    "subst everywhere": ('#!subst "/FIFO/rpc/g"\n' + _fifo('"/FIFO.FIFO"'), [(_F, "/rpc.rpc")]),
    "subst with groups": (
        '#!subst "!([a-c]+)-(x|xy)!<\\\\2\\\\1\\\\0>!gi"\n' + _fifo('"ab-xy,C-X"'),
        [(_F, "<xyabab-xy>,<XCC-X>")],
    ),
    "subst of lines": ('#!subst "/^b$/c/g"\n' + _fifo('"a\\nb\\nb"'), [(_F, "a\nc\nc")]),
    "subst at the beginning once": ('#!subst "/^a/b/g"\n' + _fifo('"aaa"'), [(_F, "baa")]),
    "subst after subst": ('#!subst "/A/B/"\n#!subst "/B/C/g"\n' + _fifo('"AB"'), [(_F, "CC")]),
    "subst after joining": ('#!subst "/AB/c/"\n' + _fifo('"xA" "By"'), [(_F, "xcy")]),
    "subst in single quotes": ("#!subst '/FIFO/rpc/'\n" + _fifo("'FIFO'"), [(_F, "rpc")]),
    "subst of an include": ('#!subst "/TT/define/"\ninclude_file "TT.cfg"\n' + _transport("INCLUDED"), [(_T, 7)]),
    "subst of a subst": ('#!substdef "!A!B!g"\n#!substdef "!A!7!g"\n' + _transport("B"), [(_T, 7)]),
    "subst with an escaped separator": ('#!subst "!a\\\\!b!c!"\n' + _fifo('"a!b"'), [(_F, "c")]),
    "subst on two lines": ('#!subst\n"/A/" "b/"\n' + _fifo('"A"'), [(_F, "b")]),
    "subst with nothing": ('#!subst "/A//"\n' + _fifo('"bAc"'), [(_F, "bc")]),
    "subst with environment": ('#!subst "/A/<$env(SEVEN)>/"\n' + _fifo('"bA"'), [(_F, "b<7>")]),
    "substdef": (
        '#!substdef "!TT!7!g"\nmodparam("jsonrpcs", "fifo_name", "/TT") ' + _transport("TT"),
        [(_F, "/7"), (_T, 7)],
    ),
    "substdef and a statement": ('#!substdef "!TT!jsonrpcs!g" modparam("TT", "transport", 7)', [(_T, 7)]),
    "substdef with environment": (
        '#!substdef "!TT!$env(SEVEN)!g"\n' + _transport("TT") + _fifo('"TT"'),
        [(_T, 7), (_F, "7")],
    ),
    "substdef with define": (
        '#!define A jsonrpcs\n#!substdef "!TT!$def(A)!g"\nmodparam("TT", "transport", 7)',
        [(_T, 7)],
    ),
    "substdefs": ('#!substdefs "!TT!a b!g"\n' + _fifo("TT") + _fifo('"/TT"'), [(_F, "a b"), (_F, "/a b")]),
    # pseudo-variables
    "modparamx": (
        '#!define A 7\nmodparamx("jsonrpcs", "fifo_name", "/$env(SEVEN)/$(env(MODULE))/$def(A)/$$")',
        [(_F, "/7/jsonrpcs/7/$")],
    ),
    "modparamx with a variable": ('modparamx("jsonrpcs", "fifo_name", $env(SEVEN))', [(_F, "7")]),
    "modparamx with names": ('#!define A fifo_name\nmodparamx("$env(MODULE)", "$def(A)", "x")', [(_F, "x")]),
    "modparamx with a number": ('modparamx("jsonrpcs", "transport", -7)', [(_T, -7)]),
    # files
    "include": ('include_file "define.cfg"\n' + _transport("INCLUDED"), [(_T, 7)]),
    "include with a sign": ('!!include_file "define.cfg"\n' + _transport("INCLUDED"), [(_T, 7)]),
    "include beside": ('#!include_file "inner/first.cfg"\n' + _transport("SECOND"), [(_T, 7)]),
    "include on the next line": ('include_file\n"define.cfg"\n' + _transport("INCLUDED"), [(_T, 7)]),
    "include with an escape": ('include_file "def\\ine.cfg"\n' + _transport("INCLUDED"), [(_T, 7)]),
    "include in a block": ('route[X] {\ninclude_file "block.cfg"\n}\n' + _transport(7), [(_T, 7)]),
    "include in a statement": ('modparam("jsonrpcs", "transport", include_file "define.cfg"\nINCLUDED)', [(_T, 7)]),
    "include with an open condition": ('#!define OPEN\ninclude_file "open.cfg"\n#!endif\n' + _transport(7), [(_T, 7)]),
    "import": ('import_file "define.cfg"\n' + _transport("INCLUDED"), [(_T, 7)]),
    "import of nothing": (
        'import_file "nothing.cfg" # comment\n#!import_file "/nothing.cfg"\n' + _transport(7),
        [(_T, 7)],
    ),
    # blocks
    "blocks": (
        'loadmodule "pv.so"\nroute[X] { $var(x) = "a\'b}"; $var(y) = $(var(x){s.select,1,"}); if ($var(x) == "{") '
        "{ exit; } }\n" + _transport(7),
        [(_T, 7)],
    ),
    "events and selects": (
        'event_route[htable:mod-init] { exit; }\nroute[X] { if (@ruri.user == "x") exit; }\n' + _transport(7),
        [(_T, 7)],
    ),
}
"""Texts that both accept, with the parameters that they set, in order."""

REFUSED: Final[Mapping[str, tuple[str, int, str]]] = {
    "plus": (_transport("+7"), 8, "'+' has no value"),
    "digit nine": (_transport("09"), 8, "'09' has no value"),
    "large X": (_transport("0X7"), 8, "'0X7' has no value"),
    "a word": (_transport("T"), 8, "'T' has no value"),
    "no parenthesis": ('modparam "jsonrpcs", "transport", 7', 8, "'(' is missing before 'jsonrpcs'"),
    "no value": ('modparam("jsonrpcs", "transport")', 8, "',' is missing before ')'"),
    "no end": ('modparam("jsonrpcs", "transport", 7', 9, "')' is missing before 'request_route'"),
    "word as name": ('modparam("jsonrpcs", transport, 7)', 8, "'transport' is not a string"),
    "comment between strings": ('modparam("json"/* */ "rpcs", "transport", 7)', 8, "',' is missing"),
    "joined single quotes": ("modparam('json' 'rpcs', 'transport', 7)", 8, "',' is missing"),
    "joined by a define": ('#!define X "b"\n' + _fifo('"a" X'), 9, "')' is missing before 'b'"),
    "variable in modparam": (_fifo("$env(SEVEN)"), 8, "has no value"),
    "unknown module": ('modparam("nobody", "x", 7)', 8, "no module matches 'nobody'"),
    "module that is loaded later": (
        'modparam("htable", "htable", "a=>size=4;")\nloadmodule "htable.so"',
        8,
        "no module",
    ),
    "no expression": ('modparam("json(", "transport", 7)', 8, "( without )"),
    "empty module": ('modparam("", "transport", 7)', 8, "no module matches ''"),
    "module with a line end": ('modparam("json\nrpcs", "transport", 7)', 9, "no module matches"),
    "loaded twice": ('loadmodule "kex"', 8, "kex is already loaded"),
    "loadmodule without quotes": ("loadmodule pv.so", 8, "'pv' is not a string"),
    "loadmodule in parentheses": ('loadmodule("pv.so")', 8, "'(' is not a string"),
    "run_dir without quotes": ("run_dir=/tmp/x", 8, "'/' is not a string"),
    "modparam in a block": ("route[X] { " + _transport(7) + " }", 8, "modparam is within a block"),
    "subst in a block": ('route[X] { exit;\n#!subst "!A!B!g"\n}', 9, "subst is within a block"),
    "block not closed": ("route[X] { exit;", 10, "a block is not closed"),
    "block not opened": ("}", 8, "} without {"),
    "string not closed": (_fifo('"abc'), 8, "a string is not closed"),
    "string not closed in another file": ('include_file "string.cfg"', 1, "a string is not closed"),
    # defines
    "defined twice": ("#!define T 7\n#!define T 7\n", 9, "T is already defined"),
    "no undef": ("#!define T 7\n#!undef T\n#!define T 6\n", 10, "T is already defined"),
    "dash in a name": ("#!define T-U 7\n", 8, "#!define has no name"),
    "dash in a condition": ("#!ifdef T-U\n#!endif\n", 8, "#!ifdef has no name"),
    "define without a value as one": ("#!define T\n" + _transport("T"), 9, "')' has no value"),
    "define with a comment that hides": ("#!define T 7 # seven\n" + _transport("T"), 10, "')' is missing"),
    "define that begins with a line end": ("#!define T \\\n 7\n" + _transport("T"), 10, "'\\\\' has no value"),
    "define in a comment": ("//!define T 7\n" + _transport("T"), 9, "'T' has no value"),
    "define of a word of Kamailio as value": ("#!define debug 7\n" + _transport("debug"), 9, "'debug' has no value"),
    "environment variable not set": ("#!defenv NOT_SET\n", 8, "the environment variable NOT_SET is not set"),
    "environment variable without a name": ("#!defenv T=\n", 8, "is wrong"),
    "environment variable with more": ("#!defenv T=SEVEN;\n", 8, "SEVEN; is not set"),
    "defenv twice": ("#!define SEVEN\n#!defenv SEVEN\n", 9, "SEVEN is already defined"),
    "trydefenv of a define": ("#!define SEVEN\n#!trydefenv SEVEN\n", 9, "SEVEN is already defined"),
    "substdef of a define": ('#!define A 1\n#!substdef "!A!B!g"\n', 9, "A is already defined"),
    # conditions
    "endif and more": ("#!ifdef NO\n#!endif # NO\n", 12, "1 of #!ifdef, #!ifndef and #!ifexp are not ended"),
    "no endif": ("#!ifdef KAMAILIO_5\n", 11, "1 of #!ifdef"),
    "endif alone": ("#!endif\n", 8, "#!endif without"),
    # substitutions
    "subst without quotes": ("#!subst /A/B/\n", 8, "'/' is not a string"),
    "substdef without quotes": ("#!substdef TT\n", 8, "'TT' is not a string"),
    "subst without a separator": ('#!subst "/TT"\n', 8, "has no second /"),
    "subst without an end": ('#!subst "/TT/x"\n', 8, "has no third /"),
    "subst too short": ('#!subst "!!"\n', 8, "is wrong"),
    "subst with a backslash": (r'#!subst "\\a\\b\\"' + "\n", 8, "is wrong"),
    "subst with a flag": ('#!subst "/T/x/q"\n', 8, "the unknown flag 'q'"),
    "subst without an expression": ('#!subst "!A(!B!g"\n', 8, "( without )"),
    "subst with a variable": ('#!subst "!A!$nope(x)!g"\n', 8, "$nope(x) has no value"),
    "substdef without a name": ('#!substdef "!!x!"\n', 8, "has no name"),
    "subst where no string is": ('#!subst "/TT/7/"\n' + _transport("TT"), 9, "'TT' has no value"),
    "modparamx with an unknown variable": ('modparamx("jsonrpcs", "fifo_name", "$nope(X)")', 8, "has no value"),
    "modparamx with an end": ('modparamx("jsonrpcs", "fifo_name", "a$")', 8, "'$' has no value"),
    "modparamx with an open variable": ('modparamx("jsonrpcs", "fifo_name", "$env(SEVEN")', 8, "has no value"),
    "modparamx with a transformation": (
        'modparamx("jsonrpcs", "fifo_name", "$(env(SEVEN){s.len})")',
        8,
        "has no value",
    ),
    # files
    "include of nothing": ('include_file "nothing.cfg"', 8, "there is no such file"),
    "include of a directory": ('include_file "/tmp"', 8, "Is a directory"),
    "include and a semicolon": ('import_file "nothing.cfg";', 8, "the name of a file is"),
    "include in single quotes": ("include_file 'define.cfg'", 8, "the name of a file is"),
    "include by a define": ('#!define N "define.cfg"\ninclude_file N', 9, "the name of a file is 'N'"),
    "include without a name": ('include_file ""', 8, "the name of a file is"),
    "include with a long name": (f'include_file "{"x" * 126}"', 8, "the name of a file is"),
    "include in a circle": ('include_file "circle.cfg"', 1, "too deep"),
}
"""Texts that both refuse, with the line and the reason."""

REFUSED_HERE: Final[Mapping[str, tuple[str, int, str]]] = {
    "name with a digit first": ("#!define 9T 7\n", 8, "#!define has no name"),
    "name on the next line": ("#!define \nT 7\n", 8, "#!define has no name"),
    "condition on the next line": ("#!ifdef \nNO\n#!endif\n", 8, "#!ifdef has no name"),
    "else alone": ("#!else\n", 8, "#!else without"),
    "ifexp": ("#!ifexp 1 == 1\n", 8, "#!ifexp needs Kamailio 5.7"),
    "comment not closed": ("/* abc", 8, "a comment is not closed"),
    "comment half closed": ("/* /* */ " + WRONG, 8, "a comment is not closed"),
    "large number": (_transport(2**32 + 7), 8, "has more than 32 bits"),
    "NUL": (_fifo('"a\0b"'), 8, "there is a NUL byte"),
    "NUL by escape": (_fifo(r'"a\x00b"'), 8, "a string has a NUL byte"),
    "subst of nothing": ('#!subst "/x*/y/"\n' + _fifo('"abc"'), 9, "matches nothing at all"),
    "subst that is too long": (f'#!subst "/A/{"x" * 1100}/"\n' + _fifo('"A"'), 9, "too long for Kamailio"),
    "variable not set": ('modparamx("jsonrpcs", "fifo_name", "a$env(NOT_SET)")', 8, "has no value"),
    "variable without a define": ('modparamx("jsonrpcs", "fifo_name", "a$def(NOT_SET)")', 8, "has no value"),
    "variable of a request": ('modparamx("jsonrpcs", "fifo_name", "a$retcode")', 8, "has no value"),
}
"""Texts that Kamailio takes and we refuse, since it would quietly do something else than they say."""

TAKEN_HERE: Final[Mapping[str, str]] = {
    "unknown parameter": 'modparam("kex", "nothing", 7)',
    "unknown word": "nonsense here\n",
    "unknown function": "route[X] { nonsense(); }\n",
    "module that is not installed": 'loadmodule "nonsense.so"\n',
}
"""Texts that Kamailio refuses and we take, since only Kamailio knows about that."""
