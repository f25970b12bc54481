"""The entry point of the program: from its words to its exit code."""

import gc
import os
import sys

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

    from jsonrpcs_tx.cli.parser import Arguments


def program() -> "NoReturn":
    """Run the program and end the process, without the time that Python takes to clean up."""
    gc.disable()  # until all is loaded
    os._exit(main())


def main(words: list[str] | None = None) -> int:
    """Run the program. What goes wrong is one line on the standard error.

    @param words: of the command line, without the program's name; None: those of this process.
    @return: the exit code.
    """
    try:
        import signal

        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGHUP, _end)
        return _run(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        return _die(signal.SIGINT)
    except BrokenPipeError:  # whoever reads has had enough
        return _die(signal.SIGPIPE)
    except _Ended as ended:
        return _die(ended.number)


class _Ended(BaseException):
    """A signal asks the program to end. What is open is closed, and what was made is removed, on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, frame: "FrameType | None") -> None:
    raise _Ended(number)


def _die(number: int) -> int:
    """End as a program does that leaves a signal alone, so that a shell knows."""
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number


def _run(words: list[str]) -> int:
    from jsonrpcs_tx.cli import terminal
    from jsonrpcs_tx.cli.parser import parse

    terminal.prepare()

    def do() -> int:
        arguments = parse(words)
        if arguments.subcommand is None and not (arguments.help or arguments.version) and _is_on_terminal():
            arguments = parse([*words, "shell"])
        return follow(arguments)

    return guarded(do)


def _is_on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def guarded(do: "Callable[[], int]") -> int:
    """Do something. What goes wrong is one line on the standard error.

    @return: the exit code.
    """
    from jsonrpcs_tx.cli import terminal
    from jsonrpcs_tx.cli.exits import FAULT, exit_code
    from jsonrpcs_tx.errors import JsonRpcsError

    try:
        code = do()
        sys.stdout.flush()
    except JsonRpcsError as error:
        terminal.complain(error)
        return exit_code(error)
    except BrokenPipeError:
        raise
    except RecursionError:
        terminal.complain("the result is nested too deeply to be printed in this way; --raw and --json print it")
        return FAULT
    except OSError as error:  # of the standard output or a file; those of a call are ClientErrors
        terminal.complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error)
        return FAULT
    return code


def follow(arguments: "Arguments") -> int:
    """Do what a command line says."""
    if arguments.version:
        from jsonrpcs_tx._version import __version__

        sys.stdout.write(f"jsonrpcs {__version__}\n")
        return 0
    if arguments.help or arguments.subcommand is None:
        return _help(arguments)
    module = __import__(f"jsonrpcs_tx.cli.{arguments.subcommand.module}", fromlist=["run"])
    gc.enable()
    code: int = module.run(arguments)
    return code


def _help(arguments: "Arguments") -> int:
    from jsonrpcs_tx.cli import usage
    from jsonrpcs_tx.cli.exits import UsageError

    if not arguments.help:
        raise UsageError("a method or a sub-command is missing; see jsonrpcs --help")
    sys.stdout.write(usage.text(arguments.subcommand))
    return 0


if __name__ == "__main__":
    program()
