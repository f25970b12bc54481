"""Which words may come next on a command line."""

from collections.abc import Callable, Iterable

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.cli.descriptions import (
    DIRECTORY,
    FILE,
    GENERAL,
    IN_SHELL,
    METHOD,
    PARAMETER,
    SHELL,
    SHELLS,
    SUBCOMMANDS,
    TARGET,
    TOPIC,
    Argument,
    Option,
)
from jsonrpcs_tx.cli.exits import UsageError
from jsonrpcs_tx.cli.parser import Arguments, known_options, read
from jsonrpcs_tx.client.targets import SCHEMES

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.cli.lists import Lists


class Word:
    """A word that may come next.

    @ivar text: the word as the program takes it.
    @ivar help: what it means; empty if that is obvious.
    """

    __slots__ = ("help", "text")

    def __init__(self, text: str, help: str = "") -> None:
        self.text = text
        self.help = help


class Words:
    """The words that may come next.

    @ivar words: the words, in the order in which they are shown.
    @ivar paths: L{FILE} or L{DIRECTORY} if a path may come, which the shell completes itself; empty: no path may come.
    @ivar path: the beginning of the path.
    """

    def __init__(self, words: Iterable[Word] = (), paths: str = "", path: str = "") -> None:
        self.words = list(words)
        self.paths = paths
        self.path = path


def complete(words: list[str], lists: "Callable[[Arguments], Lists]", in_shell: bool = False) -> Words:
    """Complete the last of the words of a command line.

    @param words: without the name of the program; the last one may be empty.
    @param lists: returns the lists of the server that the words before name.
    @param in_shell: whether they are typed in the program's own shell.
    """
    *before, last = words
    option = _waiting(before)
    try:
        arguments, _ = read(before[:-1] if option else before, in_shell)
    except UsageError:
        return Words()
    if option is not None:
        return _of_kind(option.kind, last, arguments, lists)
    if last.startswith("-") and "--" not in before:
        name, equals, value = last.partition("=")
        given = known_options().get(name) if equals and name.startswith("--") else None
        if given is None:
            return Words(_options(last, arguments))
        found = _of_kind(given.kind, value, arguments, lists)
        return Words([Word(f"{name}={word.text}", word.help) for word in found.words], found.paths, found.path)
    if arguments.subcommand is None:
        return _of_kind(TOPIC, last, arguments, lists, in_shell)
    argument = _argument(arguments)
    return _of_kind(argument.kind, last, arguments, lists) if argument else Words()


def _waiting(words: list[str]) -> Option | None:
    """The option at the end that still needs its value; None if there is none."""
    if not words or "--" in words[:-1]:
        return None
    word = words[-1]
    name = word if word.startswith("--") else f"-{word[-1:]}" if word.startswith("-") else ""
    option = known_options().get(name)
    return option if option is not None and option.value else None


def _argument(arguments: Arguments) -> Argument | None:
    """The next argument."""
    assert arguments.subcommand is not None
    known = arguments.subcommand.arguments
    if len(arguments.words) < len(known):
        return known[len(arguments.words)]
    return known[-1] if known and known[-1].several else None


def _options(last: str, arguments: Arguments) -> Iterable[Word]:
    subcommand = arguments.subcommand
    options = (*GENERAL, *(subcommand.options if subcommand else SUBCOMMANDS[0].options))
    words = [Word(f"--{option.name}", option.help) for option in options]
    return _beginning(last, words)


def _of_kind(
    kind: str, last: str, arguments: Arguments, lists: "Callable[[Arguments], Lists]", in_shell: bool = False
) -> Words:
    if kind in (FILE, DIRECTORY):
        return Words(paths=kind, path=last)
    words: list[Word] = []
    if kind == TOPIC:
        words = [Word(one.name, one.summary) for one in (*SUBCOMMANDS, *(IN_SHELL if in_shell else ()))]
    if kind in (TOPIC, METHOD):
        words += map(_method, lists(arguments).methods())
    elif kind == PARAMETER:
        words = [Word(value) for value in lists(arguments).parameter(arguments.words[0], arguments.words[1:])]
    elif kind == TARGET:
        words = _targets()
    elif kind == SHELL:
        words = [Word(name) for name in SHELLS]
    return Words(_beginning(last, words))


def _method(name: str) -> Word:
    entry = catalogue.find(name)
    return Word(name, entry.help if entry is not None else "")


def _targets() -> list[Word]:
    """Profiles, servers on this machine, and the schemes of other targets."""
    from jsonrpcs_tx.cli import configuration, discovery

    words = [Word(f"{scheme}://" if scheme.startswith("http") else f"{scheme}:") for scheme in SCHEMES]
    try:
        settings = configuration.read()
    except UsageError:
        return words
    profiles = [Word(name, "profile") for name in settings.profiles if name.isprintable()]
    found = [
        Word(server.target, server.origin) for server in discovery.servers(settings) if server.target.isprintable()
    ]
    return [*profiles, *found, *words]


def _beginning(start: str, words: Iterable[Word]) -> Iterable[Word]:
    return (word for word in words if word.text.startswith(start))
