"""Makes the text of C{--help} from the descriptions."""

import shutil
import textwrap

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

_WIDEST = 100
"""Columns above which lines are no longer easy to read."""


def text(subcommand: SubCommand | None) -> str:
    """The text of C{--help}.

    @param subcommand: the sub-command; None: the program.
    """
    return _of_program() if subcommand is None or subcommand is CALL else _of_subcommand(subcommand)


def in_shell() -> str:
    """The text of C{help} in the shell."""
    shell = next(one for one in SUBCOMMANDS if one.name == "shell")
    others = [one for one in SUBCOMMANDS if one is not shell]
    parts = [
        *(_paragraphs(details) for details in shell.details),
        "A line is one of:\n"
        + _list(
            [("METHOD [PARAMETER...]", "Call a method."), *((one.name, one.summary) for one in (*others, *IN_SHELL))]
        ),
        "`help NAME` shows what a method or a sub-command takes, `methods` lists the methods of the server.\n",
    ]
    return "\n".join(parts)


def _of_program() -> str:
    parts = [
        f"Usage: {PROGRAM} [OPTION...] METHOD [PARAMETER...]\n       {PROGRAM} SUBCOMMAND [OPTION...] [ARGUMENT...]\n",
        _paragraphs(SUMMARY),
        "Sub-commands:\n" + _list([(one.name, one.summary) for one in SUBCOMMANDS]),
        "Parameters:\n" + "\n".join(_paragraphs(details, "  ") for details in CALL.details),
        "Which server:\n" + _options(WHERE),
        "How results are printed:\n" + _options(OUTPUT),
        "Other options:\n" + _options((*GENERAL, *(one for one in CALL.options if one not in (*WHERE, *OUTPUT)))),
        "Exit codes:\n" + _list([(str(code), meaning) for code, meaning in MEANINGS.items()]),
        "Examples:\n" + _list(list(CALL.examples)),
    ]
    return "\n".join(parts)


def _of_subcommand(subcommand: SubCommand) -> str:
    own = tuple(option for option in subcommand.options if option not in (*WHERE, *OUTPUT))
    parts = [
        f"Usage: {subcommand.usage}\n",
        _paragraphs(subcommand.summary),
        *(_paragraphs(details) for details in subcommand.details),
    ]
    if subcommand.arguments:
        parts.append("Arguments:\n" + _list([(one.name, one.help) for one in subcommand.arguments]))
    for title, options in (
        ("Options", own),
        ("Which server", tuple(option for option in WHERE if option in subcommand.options)),
        ("How results are printed", tuple(option for option in OUTPUT if option in subcommand.options)),
    ):
        if options:
            parts.append(f"{title}:\n" + _options(options))
    if subcommand.examples:
        parts.append("Examples:\n" + _list(list(subcommand.examples)))
    return "\n".join(parts)


def _options(options: tuple[Option, ...]) -> str:
    return _list([(option.usage if option.short else f"    {option.usage}", option.help) for option in options])


def _list(rows: list[tuple[str, str]]) -> str:
    """Rows of a term and its meaning, side by side if there is room."""
    room = max(len(term) for term, _ in rows)
    beside = room <= 30
    indent = " " * (room + 4 if beside else 8)
    lines = []
    for term, meaning in rows:
        if beside:
            lines.append(_filled(meaning, f"  {term.ljust(room)}  ", indent))
        else:
            lines += [f"  {term}\n", _filled(meaning, indent, indent)]
    return "".join(lines)


def _paragraphs(words: str, indent: str = "") -> str:
    return _filled(words, indent, indent)


def _filled(words: str, first: str, others: str) -> str:
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    wrapped = textwrap.wrap(
        words,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(wrapped or [first.rstrip()]) + "\n"
