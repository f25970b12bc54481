"""The shell: runs command lines, one after the other."""

import os
import shlex
import sys

from jsonrpcs_tx.cli import call, main, output, usage, where
from jsonrpcs_tx.cli.completing import Words, complete
from jsonrpcs_tx.cli.descriptions import CALL, IN_SHELL, OUTPUT, PROGRAM, WHERE, find
from jsonrpcs_tx.cli.exits import DONE, FORBIDDEN, NothingFound, UsageError
from jsonrpcs_tx.cli.jsonlines import json_line
from jsonrpcs_tx.cli.lists import Lists
from jsonrpcs_tx.cli.parser import Arguments, parse
from jsonrpcs_tx.cli.paths import ALL, values_at
from jsonrpcs_tx.cli.terminal import complain
from jsonrpcs_tx.client.targets import TargetError, parse_target
from jsonrpcs_tx.printable import printable

_NOTHING = object()
"""Stands for the last result before there is one."""

_OF_ANY_SERVER = ("targets", "to")
"""Sub-commands that do not call the current server."""

_OF_CALLS = ("call", "batch", "check")
"""Sub-commands whose calls may go on at the server after Ctrl-C."""


def run(arguments: Arguments) -> int:
    """Read and run lines until the end of input.

    @raise UsageError: there is no terminal, or a package is missing.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("shell: standard input or output is not a terminal; allowed: a terminal, or a batch")
    try:
        from jsonrpcs_tx.cli.prompt import Prompt
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("prompt_toolkit"):
            raise
        raise UsageError(f"shell: prompt-toolkit is missing; {sys.executable} -m pip install prompt-toolkit") from None
    shell = Shell(arguments)
    prompt = Prompt(shell.complete)
    while not shell.is_over:
        try:
            line = prompt.read(shell.name)
        except KeyboardInterrupt:
            continue  # the line is dropped
        except EOFError:
            break
        shell.follow(line)
    return DONE


class Shell:
    """Runs lines.

    @param arguments: the arguments that it was opened with.
    @ivar name: the name of the current server, for the prompt.
    @ivar is_over: whether a line has asked to leave the shell.
    """

    def __init__(self, arguments: Arguments) -> None:
        self.is_over = False
        self._opened_with = arguments
        self._last: object = _NOTHING
        self.name = PROGRAM
        self._authority = ""
        main.guarded(self._look)

    def complete(self, words: list[str]) -> Words:
        """Complete the last of the words in a line."""
        return complete(words, self._lists, in_shell=True)

    def follow(self, line: str) -> None:
        """Run a line, and print its result or its error. Ctrl-C ends it."""
        arguments = Arguments()

        def do() -> int:
            nonlocal arguments
            words = _words(line)
            if not words:
                return DONE
            arguments = parse(words, in_shell=True)
            self._complete(arguments)
            return self._follow(arguments)

        try:
            if main.guarded(do) == FORBIDDEN:
                self._forget_passwords()
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            if arguments.subcommand is not None and arguments.subcommand.name in _OF_CALLS:
                complain("cancelled; the server may have run the command")

    def _follow(self, arguments: Arguments) -> int:
        subcommand, words = arguments.subcommand, arguments.words
        if arguments.help or arguments.version or subcommand is None:
            return main.follow(arguments)
        if subcommand is CALL:
            return call.run(arguments, self._keep)
        if subcommand.name == "help" and (not words or find(words[0], in_shell=True) in IN_SHELL):
            sys.stdout.write(usage.text(find(words[0], in_shell=True)) if words else usage.in_shell())
            return DONE
        own = {"_": self._show, "to": self._turn_to, "exit": self._leave, "shell": self._refuse}
        return own[subcommand.name](arguments) if subcommand.name in own else main.follow(arguments)

    def _keep(self, result: object) -> None:
        self._last = result

    def _show(self, arguments: Arguments) -> int:
        """Print the last result, or save it."""
        if self._last is _NOTHING:
            raise UsageError("_: there is no result yet; allowed: after a call")
        value = _part(self._last, *arguments.words)
        if arguments.save is None:
            sys.stdout.write(output.writer(arguments)(value))
            return DONE
        is_open = not (arguments.json or arguments.yaml or arguments.format)
        text = json_line(value) if is_open else output.writer(arguments)(value)
        _save(os.path.expanduser(arguments.save), text)
        return DONE

    def _turn_to(self, arguments: Arguments) -> int:
        """Call another server from now on."""
        if not arguments.words:
            sys.stdout.write(f"{self.name}\n")
            return DONE
        arguments.to, arguments.all = arguments.words, False
        self._complete(arguments)
        where.servers(arguments)
        before = self._opened_with
        for option in OUTPUT:
            setattr(arguments, option.attribute, getattr(before, option.attribute))
        self._opened_with = arguments
        return self._look()

    def _leave(self, arguments: Arguments) -> int:
        self.is_over = True
        return DONE

    def _refuse(self, arguments: Arguments) -> int:
        raise UsageError("shell: this is the shell already; allowed: to TARGET for another server")

    def _look(self) -> int:
        """Find out which server is called."""
        opened = self._opened_with
        self.name = "all" if opened.all else PROGRAM
        if not opened.all:
            found = where.servers(opened)
            self.name = ", ".join(printable(server.name) for server in found)
            self._authority = _authority(found[0].name) if len(found) == 1 else ""
        return DONE

    def _complete(self, arguments: Arguments) -> None:
        """Add the options that the shell was opened with to those of a line, which go before them. At another path of
        the same server, such as that of another node of a gateway, the user and the certificates are the same.
        """
        opened = self._opened_with
        name = arguments.subcommand.name if arguments.subcommand else ""
        is_elsewhere = bool(arguments.to) or arguments.all or name in _OF_ANY_SERVER
        if arguments.to and not arguments.all and self._authority:
            is_elsewhere = any(_authority(text) != self._authority for text in arguments.to)
        for option in WHERE:
            name = option.attribute
            if not getattr(arguments, name) and (name == "timeout" or not is_elsewhere):
                setattr(arguments, name, getattr(opened, name))
        taken = [option for option in OUTPUT if arguments.subcommand and option in arguments.subcommand.options]
        if not any(getattr(arguments, option.attribute) for option in taken):
            for option in taken:
                setattr(arguments, option.attribute, getattr(opened, option.attribute))

    def _lists(self, arguments: Arguments) -> Lists:
        """The lists of the server that a line names."""
        is_elsewhere = bool(arguments.to) or arguments.all
        self._complete(arguments)

        def find_server() -> "where.Server | None":
            from jsonrpcs_tx.cli import passwords

            try:
                if where.asks_password(arguments) and (is_elsewhere or not passwords.are_known()):
                    return None
                return where.servers(arguments)[0]
            except (UsageError, NothingFound):
                return None

        return Lists(find_server)

    def _forget_passwords(self) -> None:
        """Forget the passwords after one was wrong."""
        from jsonrpcs_tx.cli import passwords

        passwords.forget()


def _authority(text: str) -> str:
    """The scheme, host and port of a target over HTTP or HTTPS; empty: it is another, or the name of a profile."""
    try:
        return where.authority(parse_target(text))
    except TargetError:
        return ""


def _words(line: str) -> list[str]:
    """The words of a line, without the name of the program, which lines from elsewhere begin with; a question mark at
    the start or the end asks for help.

    @raise UsageError: a quote is open.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{str(error).lower()}; allowed: words as in a shell") from None
    if words[:1] == [PROGRAM]:
        del words[0]
    if words and words[0].startswith("?"):
        words = ["help", words[0][1:], *words[1:]]
    elif words and words[-1] == "?":
        words = ["help", *words[:1]] if len(words) > 1 else ["help"]
    elif len(words) == 1 and words[0].endswith("?"):
        words = ["help", words[0][:-1]]
    return [word for word in words if word] if words[:1] == ["help"] else words


def _part(value: object, path: str = "") -> object:
    """The part of a result at a path; a list if the path contains C{*}.

    @raise UsageError: it leads nowhere.
    """
    found = values_at(value, path)
    if not found:
        raise UsageError(f"_: {path!r} leads nowhere in the last result; allowed: such as RECORDS.*.SET.ID")
    return found if ALL in path.split(".") else found[0]


def _save(path: str, text: str) -> None:
    """Write a new file, whole or not at all.

    @raise UsageError: the file exists.
    @raise OSError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"--save: {path}: the file already exists; allowed: a new one") from None
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        os.unlink(path)
        raise OSError(error.errno, error.strerror, path) from None
