"""``twistd jsonrpcs``: the options, made from the settings, and the server for them."""

import os
import platform
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, chdir
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs
from twisted.application.service import IService
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from twisted.python import usage
from zope.interface import provider

from jsonrpcs_tx._version import __version__
from jsonrpcs_tx.catalogue import nearest
from jsonrpcs_tx.config import modparams
from jsonrpcs_tx.config.kinds import BOOLEANS
from jsonrpcs_tx.config.problems import FIRST, AllProblems, Problems
from jsonrpcs_tx.config.settings import Field, Settings, fields
from jsonrpcs_tx.config.sources import OPTION, Given, Sources, add_value
from jsonrpcs_tx.config.toml import read_toml, show_settings
from jsonrpcs_tx.config.usage import example
from jsonrpcs_tx.config.usage import usage as grouped_usage
from jsonrpcs_tx.errors import JsonRpcsError, StartError, UnknownSetting
from jsonrpcs_tx.log import make_logger
from jsonrpcs_tx.logs.daemon import DaemonLog
from jsonrpcs_tx.logs.twistdfiles import TwistdFiles
from jsonrpcs_tx.state.memory import give_back_large_blocks, loading
from twisted import __version__ as twisted_version

if TYPE_CHECKING:
    from jsonrpcs_tx.service import JsonRpcService

_FLAGS: Final = frozenset(field.option for field in fields() if field.kind.flag)
"""The options that need no value."""

_log = make_logger(__name__)


class Refusal(SystemExit, Exception):
    """Ends twistd with one line instead of a traceback. It is also an Exception, so that a daemon's parent is told."""


class Options(usage.Options):
    """The options of C{twistd jsonrpcs}: one for each setting, the files that settings are read from, and what to do
    instead of starting.

    An option takes precedence over C{--config}, which takes precedence over C{--modparams}.

    @ivar settings: the settings, once the options are parsed.
    @ivar sources: where they come from.
    @ivar taken: what was taken from the file of C{--modparams}; None without one.
    @ivar files: those that twistd makes; none outside twistd.
    """

    synopsis = "[options]"
    longdesc = "A JSON-RPC management server that speaks what Kamailio's jsonrpcs module speaks."
    optParameters: list[Any] = [
        ["config", "c", None, "TOML file with settings: dgram_socket = [...]"],
        ["modparams", None, None, 'kamailio.cfg to read settings from: its lines modparam("jsonrpcs", ...)'],
    ]
    optFlags: list[Any] = [
        ["check", None, "report everything that would keep the server from starting, open nothing, and exit: 0 or 1"],
        ["show-settings", None, "print the settings and where each comes from, in TOML that --config takes, and exit"],
    ]

    settings: Settings
    taken: modparams.Taken | None = None

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Given] = {}
        self.sources: Sources = Sources()
        self.files: TwistdFiles = TwistdFiles()
        self._problems = AllProblems()

    def opt_version(self) -> NoReturn:
        """print the versions of jsonrpcs_tx, Twisted and Python, and exit."""
        sys.stdout.write(f"jsonrpcs_tx {__version__}, Twisted {twisted_version}, Python {platform.python_version()}\n")
        raise SystemExit(0)

    def opt_example_config(self) -> NoReturn:
        """print a file for --config with every setting, its help and its default, and exit."""
        sys.stdout.write(example())
        raise SystemExit(0)

    def opt_help(self) -> NoReturn:
        """print this, and exit."""
        sys.stdout.write(f"{self}\n")
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """The options with their help, in groups."""
        settings = {field.option for field in fields()}
        names = [name for name in self.longOpt if name.rstrip("=") not in settings]
        short = {"config=": "-c, "}
        own = [(f"{short.get(name, '')}--{name}", self.docs[name.rstrip("=")].rstrip(".")) for name in names]
        return f"\n{self.longdesc}\n\n" + grouped_usage(own, width or int(os.environ.get("COLUMNS", "80")))

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the words of a command line; see C{usage.Options}.

        @raise Refusal: they cannot be used, or the files that they name.
        """
        words = list(sys.argv[1:] if options is None else options)
        try:
            super().parseOptions(list(self._prepare(words)))
        except usage.UsageError as error:
            raise Refusal(f"jsonrpcs: {error}") from None
        except JsonRpcsError as error:
            raise self.refusal(error) from None

    def _prepare(self, words: Iterable[str]) -> Iterator[str]:
        """The words of a command line as getopt takes them: without unknown options, and with a value after every flag.

        @raise UnknownSetting: there is an unknown option.
        """
        takes_value = {name.rstrip("="): name.endswith("=") for name in self.longOpt}
        rest = deque(words)
        while rest:
            word = rest.popleft()
            written, equals, value = word.removeprefix("--").partition("=")
            if not word.startswith("--") or not written:
                yield word
                if word == "-c" and rest:
                    yield rest.popleft()
                continue
            begun = [name for name in takes_value if name.startswith(written)]
            name = begun[0] if len(begun) == 1 else written
            if not begun:
                self._problems.note(self._unknown(written, value, tuple(takes_value)))
                while not equals and rest and not rest[0].startswith("-"):
                    rest.popleft()
            elif name in _FLAGS and not equals:
                has_value = rest and rest[0].lower() in BOOLEANS
                yield f"{word}={rest.popleft() if has_value else 'yes'}"
            else:
                yield word
                if takes_value.get(name) and not equals and rest:
                    yield rest.popleft()

    def _unknown(self, written: str, value: str, known: tuple[str, ...]) -> UnknownSetting:
        """What is wrong with an option that is not one of these. For one of twistd's own options, says that it belongs
        before C{jsonrpcs}.
        """
        of_twistd = () if self.parent is None else {name.rstrip("=") for name in self.parent.longOpt}
        if written in of_twistd:
            return UnknownSetting(f"--{written}", value, f"twistd --{written} ... jsonrpcs")
        return UnknownSetting(f"--{written}", value, *(f"--{name}" for name in nearest(written, known, 1)))

    def parseArgs(self, *words: str) -> None:
        """Refuse words that are not options.

        @raise usage.UsageError: there is one.
        """
        if words:
            raise usage.UsageError(
                f"{words[0]!r:.100} is not an option; allowed: --config FILE and other options, see --help"
            )

    def postOptions(self) -> None:
        problems = self._problems
        config = {} if self["config"] is None else read_toml(self["config"], problems)
        self.sources = Sources(config or {}, self.given)
        defaults = {field.name: field.daemon for field in fields() if field.daemon != field.default}
        if self["modparams"] is not None:
            self.taken = modparams.take(self["modparams"], self.sources, defaults, problems)
            self.sources = Sources(self.taken.given, self.sources.given)
            defaults |= modparams.DEFAULTS
        self.settings = self.sources.settings(problems, defaults)
        if self.parent is not None:
            self.files = TwistdFiles(self.parent["pidfile"] or "")
            with problems.noted():
                if not self.parent["logger"]:
                    self.files.log = DaemonLog(self.settings.log_format, self.parent)
        if self["check"]:
            if config is not None:
                self._check_server(problems)
            self._report(problems)
        elif problems.found:
            raise problems.found[0]
        if self["show-settings"]:
            sys.stdout.write(show_settings(self.settings, self.sources))
        if self["check"] or self["show-settings"]:
            raise SystemExit(0)

    def _check_server(self, problems: Problems) -> None:
        """Check what the start checks, in the directories in which it would do so."""
        globalLogBeginner.beginLoggingTo([_print_warning], redirectStandardIO=False)
        self.files.check(problems)
        _check_in_place(self, make_server(self, problems), problems)

    def _report(self, problems: AllProblems) -> None:
        """Print all doubts and problems, and exit if there are problems."""
        for doubt in problems.doubts:
            sys.stderr.write(f"jsonrpcs: warning: {self._explained(doubt)}\n")
        found = self.sources.in_order(problems.found)
        for error in found:
            sys.stderr.write(f"{self.refusal(error)}\n")
        number = len(found)
        sys.stderr.write(f"jsonrpcs: {number or 'no'} error{'' if number == 1 else 's'}\n")
        if found:
            raise SystemExit(1)

    def refusal(self, error: Exception) -> Refusal:
        """The exception that ends twistd because of an error."""
        return Refusal(f"jsonrpcs: {self._explained(error)}")

    def _explained(self, error: Exception) -> str:
        """What is wrong, and where, on one line."""
        text = self.sources.explain(error) if isinstance(error, JsonRpcsError) else str(error)
        return " ".join(text.splitlines())


def _option(field: Field) -> Any:
    """The method by which usage.Options takes an option."""

    def take(self: Options, value: str) -> None:
        add_value(self.given, field.name, value, OPTION, field.kind.several)

    take.__doc__ = field.help
    return take


for _field in fields():
    setattr(Options, f"opt_{_field.name}", _option(_field))

Options.opt_A = Options.opt_modparams_define  # type: ignore[attr-defined] # made above


@provider(ILogObserver)
def _print_warning(event: LogEvent) -> None:
    """Print a warning of the package."""
    if event["log_level"] >= LogLevel.warn and event.get("log_namespace", "").startswith("jsonrpcs_tx"):
        sys.stderr.write(f"jsonrpcs: warning: {formatEvent(event)}\n")


def _check_in_place(options: usage.Options, server: "JsonRpcService", problems: Problems) -> None:
    """Check what the start checks, in the directory that twistd would change to first.

    @param problems: takes what is wrong.
    """
    directory = "." if options.parent is None else options.parent["rundir"]
    with ExitStack() as stack:
        try:
            stack.enter_context(chdir(directory))
        except OSError as error:
            problems.note(StartError("twistd --rundir", directory, error.strerror, "a directory"))
        else:
            server.check(problems)


def make_server(options: Options, problems: Problems) -> "JsonRpcService":
    """The server of C{twistd jsonrpcs}. Modules of commands are also looked for in the working directory; other files
    are looked for in the directory to which twistd changes at the start.

    @param problems: takes what is wrong.
    """
    from jsonrpcs_tx import compose  # which takes most of the time of a start: --help does without it

    settings, twistd = options.settings, options.parent
    if settings.commands and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    if twistd is None:
        return compose.assemble(settings, problems)
    if os.path.realpath(twistd["rundir"]) != os.getcwd():
        run_dir = os.path.abspath(os.path.join(twistd["rundir"], settings.run_dir))
        settings = attrs.evolve(settings, run_dir=run_dir)
    server = compose.assemble(settings, problems, uid=twistd["uid"], gid=twistd["gid"])
    if server.user is not None:
        options.files.check_as(server.user, problems)
    return server


def makeService(options: Options) -> IService:
    """The service of C{twistd jsonrpcs}."""
    give_back_large_blocks()
    try:
        options.files.check(FIRST)
        with loading():
            from jsonrpcs_tx.daemon.service import DaemonService, tell_whole_refusals

            server = make_server(options, FIRST)
        if options.parent is not None and options.parent["chroot"] is None:
            _check_in_place(options, server, FIRST)  # while errors still go to the terminal
        service = DaemonService(server, options.files, options.refusal)
        tell_whole_refusals()
    except (JsonRpcsError, ValueError, TypeError) as error:
        raise options.refusal(error) from None
    if options.taken is not None:
        _log_taken(options.taken)
    return service


def _log_taken(taken: modparams.Taken) -> None:
    _log.info("took {count} settings from {path}", count=len(taken.given), path=taken.path)
    for one in taken.unknown:
        message = "{path}: line {line}: ignored {name}, an unknown parameter of {module}"
        _log.warn(message, path=one.path, line=one.line, name=one.name, module=one.module)
