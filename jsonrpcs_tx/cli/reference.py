"""Generates the manual page and the reference in docs/cli.md from the descriptions of the command line.

C{python -m jsonrpcs_tx.cli.reference docs} writes both to a directory.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from jsonrpcs_tx.cli.descriptions import (
    CALL,
    GENERAL,
    IN_SHELL,
    OUTPUT,
    PROGRAM,
    SUBCOMMANDS,
    SUMMARY,
    WHERE,
    Option,
    SubCommand,
)
from jsonrpcs_tx.cli.exits import MEANINGS

Rows = list[tuple[str, str]]
"""Terms and what they mean. A term is printed literally."""

ENVIRONMENT: Rows = [
    ("JSONRPCS_TO", "The target, or the name of a profile, if `--to` is not given."),
    ("NO_COLOR", "If it is set and not empty, nothing is coloured."),
    ("XDG_CONFIG_HOME", "Where the configuration is (~/.config)."),
    ("XDG_CACHE_HOME", "Where the completion caches the lists of servers (~/.cache)."),
    ("XDG_STATE_HOME", "Where the shell keeps its history (~/.local/state)."),
]

FILES: Rows = [
    ("/etc/jsonrpcs/config.toml", "The configuration of the machine."),
    ("~/.config/jsonrpcs/config.toml", "Your own configuration, which overrides it."),
    ("~/.local/state/jsonrpcs/history", "The history of the shell."),
    ("~/.cache/jsonrpcs/", "The lists of servers from the last minute, for completion."),
]

SETTINGS: Rows = [
    ("default", "The profile to use if no server is named."),
    ("run_dirs", "Directories in which the socket and the FIFO of a Kamailio may be (/run/kamailio)."),
    (
        "kamailio_cfgs",
        "Configurations of Kamailio, whose modparam lines say where it listens (/etc/kamailio/kamailio.cfg and "
        "/usr/local/etc/kamailio/kamailio.cfg).",
    ),
    ("profiles", "Tables, one for each server: `[profiles.NAME]`."),
]
"""The settings of the configuration."""

PROFILE: Rows = [
    ("target", "Where the server is, as for `--to`."),
    ("user", "The user for HTTP(S)."),
    ("password", "The password. If it is given, only you may read the file."),
    ("password_file", "A file with the password on its first line; only you may read it."),
    ("password_command", "A command that prints the password, such as `pass show proxy1`."),
    ("password_prompt", "If it is true, the program asks for the password."),
    ("tls_ca", "As the option `--tls-ca`."),
    ("tls_certificate", "As the option `--tls-certificate`."),
    ("tls_private_key", "As the option `--tls-private-key`."),
    ("reply_dir", "As the option `--reply-dir`."),
    ("timeout", "Seconds that a call may take, including the time to connect (5)."),
]
"""The settings of a profile."""

FOUND = (
    "Without `--to` and JSONRPCS_TO, the default profile of the configuration is used. Without that, it is the only "
    "server on this machine: the socket and the FIFO in /run/kamailio, or those that a kamailio.cfg names."
)
CONFIGURED = (
    "The configuration is a file in TOML that only you, or root, may write. A profile gives a server a name, and may "
    "have the user, the password and the options to call it."
)


def document() -> str:
    """The reference, in Markdown: docs/cli.md from its heading C{## Reference} on."""
    page = _Markdown()
    page.heading(2, "Reference")
    page.code(_synopsis())
    _fill(page)
    return page.text()


def manual() -> str:
    """The manual page, for man: docs/jsonrpcs.1."""
    page = _Roff()
    page.heading(2, "NAME")
    page.paragraph(f"{PROGRAM} - call commands of Kamailio and of compatible servers")
    page.heading(2, "SYNOPSIS")
    page.code(_synopsis())
    page.heading(2, "DESCRIPTION")
    page.paragraph(SUMMARY)
    _fill(page)
    return page.text()


def _synopsis() -> list[str]:
    return [
        f"{PROGRAM} [OPTION...] METHOD [PARAMETER...]",
        f"{PROGRAM} SUBCOMMAND [OPTION...] [ARGUMENT...]",
        f"{PROGRAM} [OPTION...]",
    ]


def _fill(page: "_Page") -> None:
    page.heading(3, "Parameters")
    for details in CALL.details:
        page.paragraph(details)
    page.heading(3, "Which server")
    page.paragraph(FOUND)
    page.rows(_options(WHERE))
    page.heading(3, "How results are printed")
    page.paragraph("Without any of these options, they are printed for people.")
    page.rows(_options(OUTPUT))
    page.heading(3, "Other options")
    page.rows(_options(GENERAL))
    page.heading(3, "Sub-commands")
    for subcommand in SUBCOMMANDS:
        _fill_subcommand(page, subcommand)
    page.heading(3, "In the shell")
    for subcommand in IN_SHELL:
        _fill_subcommand(page, subcommand)
    page.heading(3, "Exit codes")
    page.paragraph("All sub-commands have these, except `check`, which has those of Nagios.")
    page.rows([(str(code), f"{meaning[0].upper()}{meaning[1:]}.") for code, meaning in MEANINGS.items()])
    page.heading(3, "Configuration")
    page.paragraph(CONFIGURED)
    page.code(['default = "proxy1"', "", "[profiles.proxy1]", 'target = "unix:/run/kamailio/kamailio_rpc.sock"'])
    page.rows(SETTINGS)
    page.paragraph("A profile has:")
    page.rows(PROFILE)
    page.heading(3, "Environment")
    page.rows(ENVIRONMENT)
    page.heading(3, "Files")
    page.rows(FILES)


def _fill_subcommand(page: "_Page", subcommand: SubCommand) -> None:
    page.heading(4, subcommand.usage)
    for words in (subcommand.summary, *(() if subcommand is CALL else subcommand.details)):
        page.paragraph(words)
    own = [option for option in subcommand.options if option not in (*WHERE, *OUTPUT)]
    if subcommand.arguments or own:
        page.rows([*((one.name, one.help) for one in subcommand.arguments), *_options(own)])
    taken = [
        title
        for options, title in ((WHERE[1:], "which server is called"), (OUTPUT[:1], "how results are printed"))
        if any(option in subcommand.options for option in options)
    ]
    if taken:
        page.paragraph(f"It takes the options that say {' and '.join(taken)}{_but(subcommand)}.")
    if subcommand.examples:
        page.rows([(line, f"{meaning[0].upper()}{meaning[1:]}.") for line, meaning in subcommand.examples])


def _but(subcommand: SubCommand) -> str:
    """The options of a group that a sub-command lacks."""
    groups = (group for group in (WHERE, OUTPUT) if any(option in subcommand.options for option in group))
    lacking = [option for group in groups for option in group if option not in subcommand.options]
    return f", except {', '.join(f'`--{option.name}`' for option in lacking)}" if lacking else ""


def _options(options: Iterable[Option]) -> Rows:
    return [(option.usage, option.help) for option in options]


class _Page:
    """A page that is being written."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def heading(self, level: int, title: str) -> None:
        raise NotImplementedError

    def paragraph(self, words: str) -> None:
        raise NotImplementedError

    def code(self, lines: list[str]) -> None:
        raise NotImplementedError

    def rows(self, rows: Rows) -> None:
        raise NotImplementedError

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


class _Markdown(_Page):
    def heading(self, level: int, title: str) -> None:
        shown = f"`{title.removeprefix(f'{PROGRAM} ')}`" if level == 4 else title
        self._lines += [*([""] if self._lines else []), f"{'#' * level} {shown}"]

    def paragraph(self, words: str) -> None:
        self._lines += ["", _markdown(words)]

    def code(self, lines: list[str]) -> None:
        self._lines += ["", "```text", *lines, "```"]

    def rows(self, rows: Rows) -> None:
        self._lines += ["", *(f"- `{term}`: {_markdown(meaning)}" for term, meaning in rows)]


class _Roff(_Page):
    def __init__(self) -> None:
        super().__init__()
        self._lines += ['.\\" Made by jsonrpcs_tx.cli.reference from the descriptions of the command line.', ".TH"]
        self._lines[-1] += f' {PROGRAM.upper()} 1 "" jsonrpcs_tx "User commands"'

    def heading(self, level: int, title: str) -> None:
        shown = _roff(title.upper() if level < 4 else title)
        self._lines.append(f".SH {shown}" if level < 4 else f".SS {shown}")

    def paragraph(self, words: str) -> None:
        self._lines += [".PP", _roff(words)]

    def code(self, lines: list[str]) -> None:
        self._lines += [".PP", ".nf", *(_roff(line) for line in lines), ".fi"]

    def rows(self, rows: Rows) -> None:
        for term, meaning in rows:
            self._lines += [".TP", f"\\fB{_roff(term)}\\fP", _roff(meaning)]

    def text(self) -> str:
        """@return: the page, without a paragraph right after a heading, which roff would warn of."""
        text = super().text()
        return re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", text, flags=re.MULTILINE)


def _markdown(words: str) -> str:
    """Text in Markdown, in which only the parts in backquotes are code."""
    parts = words.split("`")
    parts[::2] = [re.sub(r"([*_<\\|\[])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


_ROFF = {"\\": "\\e", "-": "\\-", "'": "\\(aq", '"': "\\(dq", "^": "\\(ha", "~": "\\(ti"}


def _roff(words: str) -> str:
    """Text in roff, in which the parts in backquotes are bold."""
    parts = ["".join(_ROFF.get(character, character) for character in part) for part in words.split("`")]
    parts[1::2] = [f"\\fB{part}\\fP" for part in parts[1::2]]
    text = "".join(parts)
    return f"\\&{text}" if text.startswith(".") else text


def head(page: str) -> str:
    """The part of docs/cli.md before the reference."""
    return page.partition("## Reference\n")[0]


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    page = docs / "cli.md"
    page.write_text(head(page.read_text()) + document())
    (docs / f"{PROGRAM}.1").write_text(manual())
