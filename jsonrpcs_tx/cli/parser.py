"""Parses a command line according to L{descriptions<jsonrpcs_tx.cli.descriptions>}.

Importing the standard library's parser would take as long as a whole call.
"""

from jsonrpcs_tx.cli.descriptions import CALL, GENERAL, IN_SHELL, PROGRAM, SUBCOMMANDS, Option, SubCommand, find
from jsonrpcs_tx.cli.exits import UsageError

_HELP = f"see {PROGRAM} --help"


class Arguments:
    """A parsed command line: each option by its name, with its default if it was not given.

    @ivar subcommand: the sub-command; None if neither a sub-command nor a method was given.
    @ivar words: the arguments of the sub-command.
    """

    def __init__(self) -> None:
        self.subcommand: SubCommand | None = None
        self.words: list[str] = []
        self.help = False
        self.version = False
        self.to: list[str] = []
        self.all = False
        self.timeout: float | None = None
        self.user: str | None = None
        self.password_file: str | None = None
        self.tls_ca: str | None = None
        self.tls_certificate: str | None = None
        self.tls_private_key: str | None = None
        self.reply_dir: str | None = None
        self.json = False
        self.yaml = False
        self.raw = False
        self.format: str | None = None
        self.params: str | None = None
        self.interval: float = 2.0
        self.count: int | None = None
        self.changes = False
        self.expect: list[str] = []
        self.warn: list[str] = []
        self.keep_going = False
        self.save: str | None = None


def parse(words: list[str], in_shell: bool = False) -> Arguments:
    """Parse a command line.

    @param words: without the name of the program.
    @param in_shell: whether it was typed in the program's own shell.
    @raise UsageError: it is wrong.
    """
    arguments, given = read(words, in_shell)
    if arguments.subcommand is not None and not (arguments.help or arguments.version):
        _check(arguments.subcommand, arguments.words, given)
    return arguments


def read(words: list[str], in_shell: bool = False) -> tuple[Arguments, list[Option]]:
    """Parse a command line that may be incomplete.

    Options may be anywhere before C{--}. A number that starts with a dash is not an option.

    @return: the arguments so far, and the options that were given.
    @raise UsageError: there is no such option, or its value is missing or not allowed.
    """
    arguments = Arguments()
    given: list[Option] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            arguments.words += rest
        elif word[:1] != "-" or word == "-" or _is_number(word):
            arguments.words.append(word)
        elif word[:2] == "--":
            given.append(_long(word, rest, arguments))
        else:
            given += _short(word, rest, arguments)
    if arguments.words:
        subcommand = find(arguments.words[0], in_shell)
        if subcommand is not None:
            del arguments.words[0]
        arguments.subcommand = subcommand or CALL
    return arguments, given


def known_options() -> dict[str, Option]:
    """All options, by their names with the dashes: long ones and letters."""
    options = {}
    for option in (*GENERAL, *(option for subcommand in (*SUBCOMMANDS, *IN_SHELL) for option in subcommand.options)):
        options[f"--{option.name}"] = option
        if option.short:
            options[f"-{option.short}"] = option
    return options


def _long(word: str, rest: "_Words", arguments: Arguments) -> Option:
    name, is_given, value = word.partition("=")
    option = _option(name)
    if option.value:
        _set(arguments, option, name, value if is_given else _next(name, option, rest))
    elif is_given:
        raise UsageError(f"{name}: it does not take a value; {_HELP}")
    else:
        setattr(arguments, option.attribute, True)
    return option


def _short(word: str, rest: "_Words", arguments: Arguments) -> list[Option]:
    """Letters after one dash. The last one may take a value, with or without a blank before it."""
    given = []
    for place in range(1, len(word)):
        name, value = f"-{word[place]}", word[place + 1 :]
        option = _option(name)
        given.append(option)
        if option.value:
            _set(arguments, option, name, value or _next(name, option, rest))
            break
        setattr(arguments, option.attribute, True)
    return given


def _option(name: str) -> Option:
    option = known_options().get(name)
    if option is None:
        from jsonrpcs_tx.catalogue import nearest

        near = nearest(name, tuple(known_options()), 1)
        advice = f"did you mean {near[0]}, or s:{name} for text?" if near else f"{_HELP}, or write s:{name} for text"
        raise UsageError(f"{name}: no such option; {advice}")
    return option


def _next(name: str, option: Option, rest: "_Words") -> str:
    value = next(rest, None)
    if value is None:
        raise UsageError(f"{name}: {option.value} is missing; {_HELP}")
    return value


def _set(arguments: Arguments, option: Option, name: str, text: str) -> None:
    try:
        value = option.convert(text)
    except ValueError as error:
        raise UsageError(f"{name}: {text!r} is not allowed; allowed: {error}") from None
    if option.several:
        getattr(arguments, option.attribute).append(value)
    else:
        setattr(arguments, option.attribute, value)


def _check(subcommand: SubCommand, words: list[str], given: list[Option]) -> None:
    """Check that a sub-command takes the words and the options.

    @raise UsageError: it does not take one, or a word is missing.
    """
    for option in given:
        if option not in subcommand.options:
            raise UsageError(f"--{option.name}: {subcommand.name} does not take this option; {_of(subcommand)}")
    needed = [argument.name for argument in subcommand.arguments if not argument.optional]
    if len(words) < len(needed):
        raise UsageError(f"{subcommand.name}: {needed[len(words)]} is missing; usage: {subcommand.usage}")
    for name, word in zip(needed, words, strict=False):
        if not word:
            raise UsageError(f"{subcommand.name}: {name} is empty; usage: {subcommand.usage}")
    most = len(subcommand.arguments)
    if len(words) > most and not any(argument.several for argument in subcommand.arguments):
        raise UsageError(f"{subcommand.name}: unexpected word {words[most]!r}; usage: {subcommand.usage}")


def _of(subcommand: SubCommand) -> str:
    return f"see {PROGRAM} {subcommand.name} --help"


def _is_number(word: str) -> bool:
    return word[1:2].isdigit() or (word[1:2] == "." and word[2:3].isdigit())


TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    _Words: TypeAlias = Iterator[str]
