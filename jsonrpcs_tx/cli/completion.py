"""Prints the scripts with which shells complete words, and the words that these ask for."""

import os
import re
import signal
import sys

from jsonrpcs_tx.cli import where
from jsonrpcs_tx.cli.completing import Words, complete
from jsonrpcs_tx.cli.descriptions import SHELLS
from jsonrpcs_tx.cli.exits import DONE, NothingFound, UsageError
from jsonrpcs_tx.cli.lists import Lists
from jsonrpcs_tx.cli.splitting import Unfinished

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonrpcs_tx.cli.parser import Arguments

SECONDS = 1.0
"""Seconds after which completion gives up, for example because of a slow name server."""

_ASSIGNMENT = re.compile(r"\w+=")
_PLAIN = re.compile(r"[^\w@%+:,./=-]", re.ASCII)
"""A character with a meaning in a shell."""


def run(arguments: "Arguments") -> int:
    """Print a script, or the completions of the words that it passes on."""
    shell, *words = arguments.words
    if shell not in SHELLS:
        raise UsageError(f"completion: unknown shell {shell!r}; allowed: {', '.join(SHELLS)}")
    if words:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        sys.stdout.write("".join(f"{line}\n" for line in _COMPLETED[shell](words)))
        return DONE
    with open(os.path.join(os.path.dirname(__file__), "scripts", f"jsonrpcs.{shell}"), encoding="utf-8") as script:
        sys.stdout.write(script.read())
    return DONE


def lists_of(arguments: "Arguments") -> Lists:
    """The lists of the server that a command line names. Nobody is asked for a password."""

    def find() -> "where.Server | None":
        try:
            if where.asks_password(arguments):
                return None
            return where.servers(arguments)[0]
        except (UsageError, NothingFound):
            return None

    return Lists(find)


def _for_bash(words: list[str]) -> list[str]:
    """@param words: the line up to the cursor, and the word at its end as bash sees it, which begins after a colon or
        an equals sign in it.
    @return: the words that may replace the one at the end.
    """
    line, part = words[0], words[1] if len(words) > 1 else ""
    unfinished = Unfinished(line)
    given = unfinished.words
    while len(given) > 1 and _ASSIGNMENT.match(given[0]):
        del given[0]
    if len(given) < 2:
        return []
    found = complete(given[1:], lists_of)
    if found.paths:
        return [f":{found.paths}"]
    before = given[-1][: len(given[-1]) - len(Unfinished(part).words[-1])]
    if not given[-1].endswith(Unfinished(part).words[-1]):
        before = ""
    texts = [word.text[len(before) :] for word in found.words]
    if unfinished.quote:
        return [text for text in texts if not _PLAIN.search(text)]
    return [_PLAIN.sub(lambda special: f"\\{special[0]}", text) for text in texts]


def _for_zsh(words: list[str]) -> list[str]:
    """@return: C{WORD:HELP}, with a backslash before colons in the word."""
    found = complete(words, lists_of)
    return _lines(found, lambda text, help: "{}:{}".format(text.replace("\\", "\\\\").replace(":", "\\:"), help))


def _for_fish(words: list[str]) -> list[str]:
    """@return: C{WORD}, a tab, C{HELP}."""
    return _lines(complete(words, lists_of), lambda text, help: f"{text}\t{help}")


def _lines(found: Words, line: "Callable[[str, str], str]") -> list[str]:
    return [f":{found.paths}"] if found.paths else [line(word.text, word.help) for word in found.words]


_COMPLETED = {"bash": _for_bash, "zsh": _for_zsh, "fish": _for_fish}
