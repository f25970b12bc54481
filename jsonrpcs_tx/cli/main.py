"""The entry point of the program: from its arguments to its exit code."""

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
    """Run the program and end the process, without Python's slow cleanup."""
    gc.disable()  # until everything is loaded
    os._exit(main())


def main(words: list[str] | None = None) -> int:
    """Run the program. Errors are one line on standard error.

    @param words: the words of the command line, without the program's name; None: those of this process.
    @return: the exit code.
    """
    try:
        import signal

        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGHUP, _end)
        return _run(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        return _die(signal.SIGINT)
    except BrokenPipeError:  # the reader has closed the pipe
        return _die(signal.SIGPIPE)
    except _Ended as ended:
        return _die(ended.number)


class _Ended(BaseException):
    """A signal asks the program to end. Connections are closed and temporary files removed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, frame: "FrameType | None") -> None:
    raise _Ended(number)


def _die(number: int) -> int:
    """End by a signal's default action, so that a shell sees why."""
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
    """Do something. Errors are one line on standard error.

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
    except OSError as error:  # of standard output or a file; errors of calls are ClientErrors
        terminal.complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or error)
        return FAULT
    return code


def follow(arguments: "Arguments") -> int:
    """Run a command line."""
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
