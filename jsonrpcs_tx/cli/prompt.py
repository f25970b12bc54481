"""Reads the lines of the shell from a terminal. The only module that imports prompt_toolkit, with its history."""

import os
import shlex
import signal
from collections.abc import Callable, Iterable
from types import FrameType

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples

from jsonrpcs_tx import catalogue
from jsonrpcs_tx.cli.completing import Words
from jsonrpcs_tx.cli.descriptions import DIRECTORY
from jsonrpcs_tx.cli.history import HistoryFile, usual_path
from jsonrpcs_tx.cli.splitting import Unfinished


class Prompt:
    """Asks for lines, with history and completion, and shows the usage of the method in the line.

    @param complete: completes the last of the words before the cursor.
    """

    def __init__(self, complete: Callable[[list[str]], Words]) -> None:
        self._signals: list[int] = []
        self._history = HistoryFile(usual_path())
        self._session: PromptSession[str] = PromptSession(
            history=self._history,
            completer=_Completer(complete),
            complete_while_typing=False,
            complete_in_thread=True,
            enable_history_search=True,
            enable_suspend=True,
            bottom_toolbar=_usage,
        )

    def read(self, name: str) -> str:
        """The next line.

        @param name: the name in the prompt; printable.
        @raise EOFError: Ctrl-D was typed.
        @raise KeyboardInterrupt: Ctrl-C was typed.
        """
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            line = self._session.prompt([("bold", name), ("", "> ")], pre_run=self._leave_if_told)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for told in self._signals:
            os.kill(os.getpid(), told)  # now that no event loop would swallow what the handler raises
        self._history.tell()
        return line

    def _note(self, number: int, frame: FrameType | None) -> None:
        """A signal asks the program to end."""
        self._signals.append(number)
        loop = self._session.app.loop
        if loop is not None:
            loop.call_soon_threadsafe(self._leave_if_told)

    def _leave_if_told(self) -> None:
        app = self._session.app
        if self._signals and app.future is not None and not app.future.done():
            app.exit(result="")


def _usage() -> StyleAndTextTuples:
    """The catalogue's usage and help of the method in the line."""
    for word in Unfinished(get_app().current_buffer.document.current_line).words:
        entry = catalogue.find(word)
        if entry is not None:
            return [("bold", entry.usage), ("", f"  {entry.help}")]
    return [("", "Tab completes, help lists the commands, Ctrl-D leaves")]


class _Completer(Completer):
    def __init__(self, complete: Callable[[list[str]], Words]) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = Unfinished(document.current_line_before_cursor)
        found = self._complete(line.words)
        at = -len(line.last)
        if found.paths:
            before = line.words[-1].removesuffix(found.path)
            paths = PathCompleter(expanduser=True, only_directories=found.paths == DIRECTORY)
            for path in paths.get_completions(Document(found.path), complete_event):
                if path.text.isprintable():
                    text = shlex.quote(f"{before}{found.path}{path.text}")
                    yield Completion(text, at, display=path.display)
        for word in found.words:
            yield Completion(shlex.quote(word.text), at, display=word.text, display_meta=word.help)
