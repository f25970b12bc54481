"""The command line, described as data: its sub-commands, arguments and options, with the words that explain them.

The parser, C{--help}, the manual and the completion are made from it, so that none of them knows an option of its own.
"""

from collections.abc import Callable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Final

PROGRAM: "Final" = "jsonrpcs"

SUMMARY: "Final" = "Calls commands of Kamailio, and of every server that speaks as its module jsonrpcs does."

METHOD: "Final" = "method"
TARGET: "Final" = "target"
FILE: "Final" = "file"
DIRECTORY: "Final" = "directory"
PARAMETER: "Final" = "parameter"
TOPIC: "Final" = "topic"
SHELL: "Final" = "shell"
"""What a value is, for completion: the name of a method, a target or a profile, a file, a directory, a parameter of the
method before, a method or a sub-command, one of L{SHELLS}."""

SHELLS: "Final" = ("bash", "zsh", "fish")
"""Those whose words can be completed."""


class Option:
    """An option.

    @ivar name: without the dashes.
    @ivar help: what it does: one sentence.
    @ivar value: what its value is called; empty: it takes no value.
    @ivar short: its letter; empty: it has none.
    @ivar several: whether it may be given several times, each with another value.
    @ivar convert: makes the value of text, or raises C{ValueError} with what is allowed.
    @ivar kind: what completes the value, such as L{TARGET}; empty: nothing does.
    """

    __slots__ = ("convert", "help", "kind", "name", "several", "short", "value")

    def __init__(
        self,
        name: str,
        help: str,
        value: str = "",
        *,
        short: str = "",
        several: bool = False,
        convert: Callable[[str], object] = str,
        kind: str = "",
    ) -> None:
        self.name = name
        self.help = help
        self.value = value
        self.short = short
        self.several = several
        self.convert = convert
        self.kind = kind

    @property
    def attribute(self) -> str:
        """Its name in L{Arguments<jsonrpcs_tx.cli.parser.Arguments>}."""
        return self.name.replace("-", "_")

    @property
    def usage(self) -> str:
        """How it is written: C{-n, --interval SECONDS}."""
        names = f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"
        return f"{names} {self.value}" if self.value else names


class Argument:
    """A word that is not an option.

    @ivar name: what the help calls it.
    @ivar help: what it is: one sentence.
    @ivar optional: whether it may be left out.
    @ivar several: whether it takes all words that are left.
    @ivar kind: what completes it, such as L{METHOD}; empty: nothing does.
    """

    __slots__ = ("help", "kind", "name", "optional", "several")

    def __init__(self, name: str, help: str, *, optional: bool = False, several: bool = False, kind: str = "") -> None:
        self.name = name
        self.help = help
        self.optional = optional
        self.several = several
        self.kind = kind

    @property
    def usage(self) -> str:
        """How a usage line has it: C{METHOD}, C{[PATTERN]}, C{[PARAMETER...]}."""
        shown = f"{self.name}..." if self.several else self.name
        return f"[{shown}]" if self.optional else shown


class SubCommand:
    """A sub-command.

    @ivar name: what is written for it.
    @ivar module: of this package, whose function C{run} takes the L{Arguments<jsonrpcs_tx.cli.parser.Arguments>} and
        returns the exit code.
    @ivar summary: what it does: one sentence.
    @ivar arguments: in their order.
    @ivar options: those that it takes, besides L{GENERAL}.
    @ivar details: what else there is to know: paragraphs.
    @ivar examples: pairs of what is written, and what that does.
    @ivar in_shell: whether only the shell has it.
    """

    __slots__ = ("arguments", "details", "examples", "in_shell", "module", "name", "options", "summary")

    def __init__(
        self,
        name: str,
        module: str,
        summary: str,
        arguments: tuple[Argument, ...],
        options: tuple[Option, ...],
        details: tuple[str, ...] = (),
        examples: tuple[tuple[str, str], ...] = (),
        in_shell: bool = False,
    ) -> None:
        self.name = name
        self.module = module
        self.summary = summary
        self.arguments = arguments
        self.options = options
        self.details = details
        self.examples = examples
        self.in_shell = in_shell

    @property
    def usage(self) -> str:
        """How it is written: C{jsonrpcs watch [OPTION...] METHOD [PARAMETER...]}."""
        words = (self.name, "[OPTION...]", *(argument.usage for argument in self.arguments))
        return " ".join(words if self.in_shell else (PROGRAM, *words))


def seconds(text: str) -> float:
    """A time in seconds, above 0.

    @raise ValueError: it is none.
    """
    allowed = "seconds above 0, at most 86400"
    try:
        value = float(text)
    except ValueError:
        raise ValueError(allowed) from None
    if not 0 < value <= 86_400:
        raise ValueError(allowed)
    return value


def count(text: str) -> int:
    """A number of times, at least 1.

    @raise ValueError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise ValueError("a whole number from 1 on")
    return int(text)


GENERAL: "Final" = (
    Option("help", "Show what there is, or what a sub-command takes, and end.", short="h"),
    Option("version", "Show the version, and end.", short="V"),
)
"""Options that every sub-command takes."""

WHERE: "Final" = (
    Option(
        "to",
        "Where the server is: a URL, several of the same server separated by commas, or the name of a profile. "
        "If given several times, each server is called.",
        "TARGET",
        short="t",
        several=True,
        kind=TARGET,
    ),
    Option("all", "Call every server that `jsonrpcs targets` lists.", short="a"),
    Option("timeout", "Seconds that a call may take, connecting included (5).", "SECONDS", convert=seconds),
    Option("user", "The user for HTTP(S); without a file the password is asked for.", "NAME"),
    Option("password-file", "A file with the password on its first line; only you may read it.", "FILE", kind=FILE),
    Option("tls-ca", "A PEM file with the CAs to trust in place of the system's.", "FILE", kind=FILE),
    Option("tls-certificate", "A PEM file with the certificate to show to the server.", "FILE", kind=FILE),
    Option("tls-private-key", "A PEM file with its key, if that is in another file.", "FILE", kind=FILE),
    Option("reply-dir", "The server's fifo_reply_dir (/tmp).", "DIRECTORY", kind=DIRECTORY),
)
"""Options that say which server is called, and how."""

_ONE: "Final" = tuple(option for option in WHERE if option.name != "all")
"""The same where only one server can be called."""

OUTPUT: "Final" = (
    Option("json", "Print the result as JSON, on one line.", short="j"),
    Option("yaml", "Print the result as YAML.", short="y"),
    Option("raw", "Print the bytes of the reply.", short="r"),
    Option(
        "format",
        "Print the values of the result in this form, as kamcmd does: each %v stands for the next value, and \\n for a "
        "new line.",
        "FORMAT",
        short="f",
    ),
)
"""Options that say how results are printed. Without any, they are printed for people."""

_PARAMS = Option("params", "The parameters as one JSON array or object; - reads it from the standard input.", "JSON")
_CALLED = (
    Argument("METHOD", "The method, such as htable.dump.", kind=METHOD),
    Argument("PARAMETER", "A parameter of the method.", optional=True, several=True, kind=PARAMETER),
)

CALL: "Final" = SubCommand(
    "call",
    "call",
    "Call a method. The word `call` may be left out, unless the method is called as a sub-command is.",
    _CALLED,
    (_PARAMS, *WHERE, *OUTPUT),
    (
        "Parameters have the types that the catalogue of Kamailio's commands, or the server itself, says that the "
        "method takes. Where neither knows the method, a number is a number, and all else is text.",
        "s:1001 is text whatever it looks like, i:1001 is a whole number, f:1.5 a number, and json:[1,2] any JSON.",
    ),
    (
        ("jsonrpcs core.uptime", "calls the server that is found on this machine"),
        ("jsonrpcs --to udp:127.0.0.1:8090 htable.sets a 1001 5", "calls one over UDP"),
        ("jsonrpcs --all dispatcher.reload", "calls all that are known"),
    ),
)
"""What a word that is no sub-command's name means."""

SUBCOMMANDS: "Final" = (
    CALL,
    SubCommand(
        "methods",
        "methods",
        "List the methods of a server.",
        (Argument("PATTERN", "Only those with this in the name; * and ? stand for any characters.", optional=True),),
        (*_ONE, *OUTPUT),
        examples=(
            ("jsonrpcs methods dispatcher", "lists the methods of the dispatcher"),
            (r"jsonrpcs methods -f '%v\n'", "lists the names alone"),
        ),
    ),
    SubCommand(
        "help",
        "helping",
        "Show what a method does and takes, or a sub-command.",
        (Argument("NAME", "A method or a sub-command.", optional=True, kind=TOPIC),),
        _ONE,
        ("If no server can be asked, the catalogue of Kamailio's commands answers.",),
        (("jsonrpcs help dispatcher.set_state", "shows its parameters"),),
    ),
    SubCommand(
        "targets",
        "listing",
        "List the servers that are known, and which of them answer.",
        (),
        (*_ONE, *(option for option in OUTPUT if option.name != "raw")),
        (
            "Known are the profiles, and what is found on this machine: the sockets and FIFOs at Kamailio's usual "
            "places, and those that its kamailio.cfg names.",
        ),
    ),
    SubCommand(
        "watch",
        "watch",
        "Call a method again and again, and mark what changes.",
        _CALLED,
        (
            Option("interval", "Seconds between two calls (2).", "SECONDS", short="n", convert=seconds),
            Option("count", "End after so many calls.", "NUMBER", short="c", convert=count),
            Option("changes", "Show only what has changed."),
            _PARAMS,
            *_ONE,
            OUTPUT[0],
        ),
        ("Of a number that has changed, the difference and the rate per second are shown. Ctrl-C ends it.",),
        (("jsonrpcs watch -n 2 stats.fetchn all", "shows all statistics every two seconds"),),
    ),
    SubCommand(
        "check",
        "check",
        "Call a method and tell in one line whether all is well, for monitoring.",
        _CALLED,
        (
            Option("expect", "What has to be, else it is critical.", "CONDITION", short="e", several=True),
            Option("warn", "What has to be, else it is a warning.", "CONDITION", short="w", several=True),
            _PARAMS,
            *_ONE,
        ),
        (
            "Exit codes are those of Nagios: 0 ok, 1 warning, 2 critical, 3 unknown.",
            "A condition is PATH OPERATOR VALUE, such as uptime>60. The operator is one of = != < <= > >= and ~, which "
            "means that the text contains it. A path is the way to a value, its parts separated by dots: names, "
            "numbers from 0 on in lists, and * for all of them, each of which has to be so. Without a path, it is the "
            "whole result.",
        ),
        (
            ("jsonrpcs check core.uptime --expect 'uptime>60'", "is critical for a minute after a restart"),
            (
                "jsonrpcs check dispatcher.list --expect 'RECORDS.*.SET.TARGETS.*.DEST.FLAGS~A'",
                "is critical if a destination is not active",
            ),
        ),
    ),
    SubCommand(
        "batch",
        "batch",
        "Make the calls of a file, and print each result as a line of JSON.",
        (Argument("FILE", "A file with a call on each line; - is the standard input.", kind=FILE),),
        (Option("keep-going", "Go on after a call that has failed.", short="k"), *_ONE),
        (
            "A line is a method with its parameters, as they are written in a shell, or a JSON-RPC request. Empty "
            "lines and those that begin with # are skipped. A file is read as a whole before the first call is made.",
        ),
        (("jsonrpcs batch --keep-going bans.txt", "makes all calls, and exits with the worst code"),),
    ),
    SubCommand(
        "shell",
        "shell",
        "Open a shell, in which methods and sub-commands are called, and Tab completes them. On a terminal, `jsonrpcs` "
        "alone does so as well.",
        (),
        (*WHERE, *(option for option in OUTPUT if option.name != "raw")),
        (
            "In the shell, a line is a command line without the word `jsonrpcs`. The options that it was opened with "
            "hold for each line that does not have them itself. `help` and ? show help, Ctrl-C cancels a call, and "
            "Ctrl-D leaves.",
            "`_` shows the last result, or a part of it: `_ RECORDS.*.SET.ID`. `_ --save FILE` writes it to a file. "
            "`to TARGET` calls another server from then on. Only another path of the same host and port keeps the user "
            "and the certificates.",
            "Lines are kept in $XDG_STATE_HOME/jsonrpcs/history (~/.local/state). Those that begin with a blank, or "
            "have a password in them, are not.",
        ),
        (("jsonrpcs --to udp:127.0.0.1:8090", "opens a shell for a server"),),
    ),
    SubCommand(
        "completion",
        "completion",
        "Print a script that makes a shell complete the words of `jsonrpcs`.",
        (
            Argument("SHELL", "One of bash, zsh and fish.", kind=SHELL),
            Argument("WORD", "What the script passes on, to be completed.", optional=True, several=True),
        ),
        (),
        (
            "Methods and values, such as the names of tables, are asked from the server, for a second at most, and "
            "kept for a minute in $XDG_CACHE_HOME/jsonrpcs (~/.cache). A server whose password has to be typed in, or "
            "is printed by a command, is not asked.",
        ),
        (
            ('eval "$(jsonrpcs completion bash)"', "in ~/.bashrc; for zsh the same in ~/.zshrc, after compinit"),
            ("jsonrpcs completion fish | source", "in ~/.config/fish/config.fish"),
        ),
    ),
)
"""The sub-commands, in the order in which the help lists them."""

IN_SHELL: "Final" = (
    SubCommand(
        "_",
        "shell",
        "Show the last result.",
        (Argument("PATH", "Only what this leads to, such as RECORDS.*.SET.ID.", optional=True),),
        (
            Option("save", "Write it to a new file, as JSON unless an option says otherwise.", "FILE", kind=FILE),
            *(option for option in OUTPUT if option.name != "raw"),
        ),
        in_shell=True,
    ),
    SubCommand(
        "to",
        "shell",
        "Call another server from now on; without a target, tell which one is called.",
        (Argument("TARGET", "A URL, or the name of a profile.", optional=True, kind=TARGET),),
        WHERE[2:],
        in_shell=True,
    ),
    SubCommand("exit", "shell", "Leave the shell.", (), (), in_shell=True),
)
"""Further sub-commands, which the shell has."""


def find(name: str, in_shell: bool = False) -> SubCommand | None:
    """The sub-command of a name; None: there is none.

    @param in_shell: whether it may be one that only the shell has.
    """
    for subcommand in (*SUBCOMMANDS, *IN_SHELL) if in_shell else SUBCOMMANDS:
        if subcommand.name == name:
            return subcommand
    return None
