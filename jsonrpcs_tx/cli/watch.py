"""Calls a method again and again, and marks what changes."""

import shutil
import sys
import time

from jsonrpcs_tx.cli import where
from jsonrpcs_tx.cli.calling import Caller, NodesFailed, given_params
from jsonrpcs_tx.cli.changes import Changes
from jsonrpcs_tx.cli.exits import DONE, CallError, exit_code
from jsonrpcs_tx.cli.jsonlines import json_line
from jsonrpcs_tx.cli.terminal import BOLD, CHANGED, END, colours, complain
from jsonrpcs_tx.printable import printable

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.cli.parser import Arguments

_TOP = "\x1b[H"
_REST_OF_LINE, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"


def run(arguments: "Arguments") -> int:
    """Print the result again and again: on a terminal in the same place, else one below the other.

    A call that fails is told, and the next one is made, unless it can never succeed.

    @return: the code of the last call.
    """
    method, *words = arguments.words
    params = given_params(arguments)
    meant = where.server(arguments)
    screen = _Screen(f"{meant.name}: {method}", arguments)
    code = DONE
    rounds = 0
    due = time.monotonic()
    with Caller(meant) as caller:
        while True:
            try:
                result = caller.call(method, words, params)
            except CallError as error:
                code = exit_code(error)
                if isinstance(error, NodesFailed):
                    screen.show(error.result)
                complain(error)
            else:
                code = DONE
                screen.show(result)
            rounds += 1
            if rounds == arguments.count:
                return code
            due = max(due + arguments.interval, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


class _Screen:
    """Shows results.

    @param title: what is watched.
    """

    def __init__(self, title: str, arguments: "Arguments") -> None:
        self._title = title
        self._only_changes = arguments.changes
        self._as_json = arguments.json
        self._is_terminal = sys.stdout.isatty() and not arguments.json
        self._painted = colours(sys.stdout)
        self._changes = Changes()

    def show(self, result: object) -> None:
        """Show a result."""
        if self._as_json:
            sys.stdout.write(json_line(result))
        else:
            self._show(result)
        sys.stdout.flush()

    def _show(self, result: object) -> None:
        lines = [
            self._line(path, value, change)
            for path, value, change in self._changes.of(result, time.monotonic())
            if change or not (self._only_changes and self._changes.rounds > 1)
        ]
        title = f"{self._title}   {time.strftime('%Y-%m-%d %H:%M:%S')}"
        if not self._is_terminal:
            sys.stdout.write("".join(f"{line}\n" for line in (f"# {title}", *lines)))
            return
        size = shutil.get_terminal_size()
        room = max(size.lines - 2, 1)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"... {len(lines) - room + 1} more"]
        head = f"{BOLD}{title}{END}" if self._painted else title
        end = f"{_REST_OF_LINE}\n"
        sys.stdout.write(f"{_TOP}{head}{end}{''.join(f'{line}{end}' for line in lines)}{_REST_OF_SCREEN}")

    def _line(self, path: str, value: str, change: str) -> str:
        """A value, with what has changed."""
        name = f"{printable(path)}: " if path else ""
        if not change:
            return f"  {name}{value}"
        marked = f"{name}{value}  {change}"
        return f"{CHANGED}* {marked}{END}" if self._painted else f"* {marked}"
