"""The command line, described as data: its sub-commands, arguments and options, with the words that explain them.

The parser, C{--help}, the manual and the completion are made from it, so that none of them knows an option of its own.
"""

from collections.abc import Callable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import Final

PROGRAM: "Final" = "jsonrpcs"

SUMMARY: "Final" = "Calls commands of Kamailio, and of any server that speaks the protocol of its module jsonrpcs."

METHOD: "Final" = "method"
TARGET: "Final" = "target"
FILE: "Final" = "file"
DIRECTORY: "Final" = "directory"
PARAMETER: "Final" = "parameter"
TOPIC: "Final" = "topic"
SHELL: "Final" = "shell"
"""Kinds of values, for completion: the name of a method, a target or a profile, a file, a directory, a parameter of the
method before it, a method or a sub-command, one of L{SHELLS}."""

SHELLS: "Final" = ("bash", "zsh", "fish")
"""The shells for which there is completion."""


class Option:
    """An option.

    @ivar name: its name without the dashes.
    @ivar help: what it does, in one sentence.
    @ivar value: the name of its value in the help; empty: it does not take one.
    @ivar short: its letter, or empty.
    @ivar several: whether it may be given several times, each with another value.
    @ivar convert: converts the text of the value, or raises C{ValueError} with what is allowed.
    @ivar kind: the kind of the value for completion, such as L{TARGET}; empty: it cannot be completed.
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
        """Its syntax: C{-n, --interval SECONDS}."""
        names = f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"
        return f"{names} {self.value}" if self.value else names


class Argument:
    """A word that is not an option.

    @ivar name: its name in the help.
    @ivar help: what it is, in one sentence.
    @ivar optional: whether it may be left out.
    @ivar several: whether it takes all remaining words.
    @ivar kind: its kind for completion, such as L{METHOD}; empty: it cannot be completed.
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
        """Its syntax in a usage line: C{METHOD}, C{[PATTERN]}, C{[PARAMETER...]}."""
        shown = f"{self.name}..." if self.several else self.name
        return f"[{shown}]" if self.optional else shown


class SubCommand:
    """A sub-command.

    @ivar name: its name.
    @ivar module: the module of this package whose function C{run} takes the
        L{Arguments<jsonrpcs_tx.cli.parser.Arguments>} and returns the exit code.
    @ivar summary: what it does, in one sentence.
    @ivar arguments: its arguments, in order.
    @ivar options: the options that it takes in addition to L{GENERAL}.
    @ivar details: further paragraphs of its help.
    @ivar examples: pairs of a command line and what it does.
    @ivar in_shell: whether it exists in the shell only.
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
        """Its syntax: C{jsonrpcs watch [OPTION...] METHOD [PARAMETER...]}."""
        words = (self.name, "[OPTION...]", *(argument.usage for argument in self.arguments))
        return " ".join(words if self.in_shell else (PROGRAM, *words))


def seconds(text: str) -> float:
    """A time in seconds, above 0.

    @raise ValueError: the text is not one.
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

    @raise ValueError: the text is not one.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise ValueError("a whole number, at least 1")
    return int(text)


GENERAL: "Final" = (
    Option("help", "Show the help of the program or of a sub-command, and exit.", short="h"),
    Option("version", "Show the version, and exit.", short="V"),
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
    Option("timeout", "Seconds that a call may take, including the time to connect (5).", "SECONDS", convert=seconds),
    Option("user", "The user for HTTP(S); without `--password-file`, the program asks for the password.", "NAME"),
    Option("password-file", "A file with the password on its first line; only you may read it.", "FILE", kind=FILE),
    Option("tls-ca", "A PEM file with the CAs to trust instead of the system's.", "FILE", kind=FILE),
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
        "Print the values of the result in this format, as kamcmd does: each %v stands for the next value, and \\n for "
        "a new line.",
        "FORMAT",
        short="f",
    ),
)
"""Options that say how results are printed. Without any, they are printed for people."""

_PARAMS = Option("params", "The parameters as one JSON array or object; - reads it from standard input.", "JSON")
_CALLED = (
    Argument("METHOD", "The method, such as htable.dump.", kind=METHOD),
    Argument("PARAMETER", "A parameter of the method.", optional=True, several=True, kind=PARAMETER),
)

CALL: "Final" = SubCommand(
    "call",
    "call",
    "Call a method. The word `call` may be left out, unless the method has the name of a sub-command.",
    _CALLED,
    (_PARAMS, *WHERE, *OUTPUT),
    (
        "The catalogue of Kamailio's commands, or the server itself, says which types the parameters of a method have. "
        "If neither knows the method, words that look like numbers are numbers, and all others are text.",
        "A prefix sets the type: s:1001 is text, i:1001 a whole number, f:1.5 a number, and json:[1,2] any JSON.",
    ),
    (
        ("jsonrpcs core.uptime", "calls the server on this machine"),
        ("jsonrpcs --to udp:127.0.0.1:8090 htable.sets a 1001 5", "calls a server over UDP"),
        ("jsonrpcs --all dispatcher.reload", "calls all known servers"),
    ),
)
"""The sub-command to use if the first word is not the name of one."""

SUBCOMMANDS: "Final" = (
    CALL,
    SubCommand(
        "methods",
        "methods",
        "List the methods of a server.",
        (Argument("PATTERN", "Only methods with this in their name; * and ? are wildcards.", optional=True),),
        (*_ONE, *OUTPUT),
        examples=(
            ("jsonrpcs methods dispatcher", "lists the methods of the dispatcher"),
            (r"jsonrpcs methods -f '%v\n'", "lists only the names"),
        ),
    ),
    SubCommand(
        "help",
        "helping",
        "Show what a method or a sub-command does, and which parameters it takes.",
        (Argument("NAME", "A method or a sub-command.", optional=True, kind=TOPIC),),
        _ONE,
        ("If no server answers, the help comes from the catalogue of Kamailio's commands alone.",),
        (("jsonrpcs help dispatcher.set_state", "shows its parameters"),),
    ),
    SubCommand(
        "targets",
        "listing",
        "List the known servers, and which of them answer.",
        (),
        (*_ONE, *(option for option in OUTPUT if option.name != "raw")),
        (
            "These are the profiles, and the servers on this machine: the sockets and FIFOs at Kamailio's usual "
            "places, and those that its kamailio.cfg names.",
        ),
    ),
    SubCommand(
        "watch",
        "watch",
        "Call a method repeatedly, and mark what changes.",
        _CALLED,
        (
            Option("interval", "Seconds between two calls (2).", "SECONDS", short="n", convert=seconds),
            Option("count", "Stop after this number of calls.", "NUMBER", short="c", convert=count),
            Option("changes", "Show only what has changed."),
            _PARAMS,
            *_ONE,
            OUTPUT[0],
        ),
        ("For a number that has changed, the difference and the rate per second are shown. Ctrl-C stops it.",),
        (("jsonrpcs watch -n 2 stats.fetchn all", "shows all statistics every two seconds"),),
    ),
    SubCommand(
        "check",
        "check",
        "Call a method, and print in one line whether all is well, for monitoring.",
        _CALLED,
        (
            Option("expect", "A condition; if not met, the state is critical.", "CONDITION", short="e", several=True),
            Option("warn", "A condition; if not met, the state is warning.", "CONDITION", short="w", several=True),
            _PARAMS,
            *_ONE,
        ),
        (
            "The exit codes are those of Nagios: 0 OK, 1 warning, 2 critical, 3 unknown.",
            "A condition is PATH OPERATOR VALUE, such as uptime>60. The operator is one of = != < <= > >= and ~, which "
            "means that the text contains the value. A path leads to a value. Its parts are separated by dots: names, "
            "positions in lists from 0, and * for all values, each of which must meet the condition. Without a path, "
            "the condition is about the whole result.",
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
        "Make the calls in a file, and print each result as a line of JSON.",
        (Argument("FILE", "A file with one call per line; - is standard input.", kind=FILE),),
        (Option("keep-going", "Continue after a failed call.", short="k"), *_ONE),
        (
            "A line is a method with its parameters, written as in a shell, or a JSON-RPC request. Empty lines and "
            "lines that start with # are skipped. The whole file is read before the first call is made.",
        ),
        (("jsonrpcs batch --keep-going bans.txt", "makes all calls, and exits with the worst code"),),
    ),
    SubCommand(
        "shell",
        "shell",
        "Open a shell for methods and sub-commands, with Tab completion. On a terminal, `jsonrpcs` alone opens it.",
        (),
        (*WHERE, *(option for option in OUTPUT if option.name != "raw")),
        (
            "In the shell, a line is a command line without the word `jsonrpcs`. The options that the shell was opened "
            "with are the defaults for each line. `help` and ? show help, Ctrl-C cancels a call, and Ctrl-D leaves the "
            "shell.",
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
            Argument("WORD", "Used by the script: the words to complete.", optional=True, several=True),
        ),
        (),
        (
            "Methods and values, such as the names of tables, are requested from the server, which takes a second at "
            "most, and cached for a minute in $XDG_CACHE_HOME/jsonrpcs (~/.cache). A server whose password has to be "
            "typed in, or is printed by a command, is not asked.",
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
        (Argument("PATH", "Only the part at this path, such as RECORDS.*.SET.ID.", optional=True),),
        (
            Option("save", "Write it to a new file, as JSON unless an option says otherwise.", "FILE", kind=FILE),
            *(option for option in OUTPUT if option.name != "raw"),
        ),
        in_shell=True,
    ),
    SubCommand(
        "to",
        "shell",
        "Switch to another server; without a target, show the current one.",
        (Argument("TARGET", "A URL, or the name of a profile.", optional=True, kind=TARGET),),
        WHERE[2:],
        in_shell=True,
    ),
    SubCommand("exit", "shell", "Leave the shell.", (), (), in_shell=True),
)
"""Further sub-commands, in the shell only."""


def find(name: str, in_shell: bool = False) -> SubCommand | None:
    """The sub-command of a name, or None.

    @param in_shell: whether to include those that exist in the shell only.
    """
    for subcommand in (*SUBCOMMANDS, *IN_SHELL) if in_shell else SUBCOMMANDS:
        if subcommand.name == name:
            return subcommand
    return None
