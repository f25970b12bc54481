"""Makes the calls of a file, one after the other, and prints each result as a line of JSON."""

import sys
from time import monotonic

from jsonrpcs_tx.cli.calling import Caller
from jsonrpcs_tx.cli.exits import DONE, CallError, UsageError, exit_code
from jsonrpcs_tx.cli.jsonlines import json_line
from jsonrpcs_tx.cli.several import as_json
from jsonrpcs_tx.cli.terminal import complain
from jsonrpcs_tx.cli.where import server
from jsonrpcs_tx.client.documents import NotJson, decode

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self, TextIO

    from jsonrpcs_tx.cli.parser import Arguments
    from jsonrpcs_tx.client.core import Params

STDIN = "-"

_WIDTH = 30
"""Columns of the bar."""

_STEP = 0.1
"""Seconds between two updates of the bar."""


class Call:
    """A call in a file.

    @ivar line: the number of its line, from 1.
    @ivar method: the method.
    @ivar words: its parameters as words.
    @ivar params: its parameters as values; None: they are words.
    @ivar wrong: why it cannot be made; None if it can.
    @ivar ids: the member C{id} of a JSON request, if it has one; otherwise empty.
    """

    def __init__(
        self,
        line: int,
        method: str = "",
        words: "Iterable[str]" = (),
        params: "Params | None" = None,
        wrong: UsageError | None = None,
        **ids: object,
    ) -> None:
        self.line = line
        self.wrong = wrong
        self.method = method
        self.words = list(words)
        self.params = params
        self.ids = ids


def run(arguments: "Arguments") -> int:
    """Make the calls, and print each result at once.

    @return: the code of the first call that failed, or with C{--keep-going} the worst code.
    @raise UsageError: a line of a file is not a call; then nothing has been run.
    """
    path = arguments.words[0]
    meant = server(arguments)
    if path == STDIN:
        return _run(Caller(meant), calls(sys.stdin), None, arguments.keep_going)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            whole = list(calls(file))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; allowed: a file that can be read, or -") from None
    for one in whole:
        if one.wrong is not None:
            raise UsageError(f"{path}: {one.wrong}")
    return _run(Caller(meant), whole, len(whole), arguments.keep_going)


def calls(lines: "Iterable[str]") -> "Iterator[Call]":
    """The calls in lines; for an invalid line, a call with the error."""
    for number, line in enumerate(lines, 1):
        line = line.strip()
        try:
            if line[:1] in ("{", "["):
                yield from _of_json(number, line)
            elif line and line[0] != "#":
                yield _of_words(number, line)
        except UsageError as error:
            yield Call(number, wrong=error)


def _of_words(number: int, line: str) -> Call:
    from shlex import split

    try:
        method, *words = split(line)
    except ValueError as error:
        raise UsageError(f"line {number}: {str(error).lower()}; allowed: words as in a shell") from None
    return Call(number, method, words)


def _of_json(number: int, line: str) -> "Iterator[Call]":
    try:
        document = decode(line.encode(errors="surrogateescape"))
    except NotJson as error:
        raise UsageError(f"line {number}: {error}; allowed: a request in JSON") from None
    for request in document if isinstance(document, list) else [document]:
        found = request if isinstance(request, dict) else {}
        method, params = found.get("method"), found.get("params", [])
        if not isinstance(method, str) or not isinstance(params, list | dict):
            raise UsageError(f"line {number}: not a request; allowed: method as text, params as an array or object")
        yield Call(number, method, params=params, **({"id": found["id"]} if "id" in found else {}))


def _run(caller: Caller, asked: "Iterable[Call]", count: int | None, keep_going: bool) -> int:
    worst = DONE
    with caller, _Bar(count) as bar:
        for call in asked:
            outcome = _outcome(caller, call)
            error = outcome if isinstance(outcome, CallError | UsageError) else None
            bar.clear()
            _print(call, outcome, error)
            if error is not None:
                complain(error if call.wrong else f"line {call.line}: {error}")
                worst = max(worst, exit_code(error))
                if not keep_going:
                    break
            bar.step(error is not None)
    return worst


def _outcome(caller: Caller, call: Call) -> object:
    """@return: the result or the error."""
    if call.wrong is not None:
        return call.wrong
    try:
        return caller.call(call.method, call.words, call.params)
    except (CallError, UsageError) as error:
        return error


def _print(call: Call, outcome: object, error: "CallError | UsageError | None") -> None:
    known = {"line": call.line, **({"method": call.method} if call.method else {}), **call.ids}
    sys.stdout.write(json_line({**known, **as_json(outcome, error)}))
    sys.stdout.flush()


class _Bar:
    """Shows the progress on a terminal.

    @param count: the number of calls; None: not known.
    """

    def __init__(self, count: int | None) -> None:
        self._stream: TextIO | None = sys.stderr if sys.stderr.isatty() else None
        self._is_below_results = sys.stdout.isatty()
        self._count = count
        self._done = self._failed = 0
        self._shown = 0.0
        self._is_there = False

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.clear()

    def step(self, failed: bool) -> None:
        """One more call is done."""
        self._done += 1
        self._failed += failed
        if self._stream is not None and (self._is_below_results or monotonic() - self._shown >= _STEP):
            self._shown = monotonic()
            self._stream.write(f"\r{self._picture()}")
            self._stream.flush()
            self._is_there = True

    def clear(self) -> None:
        """Remove the bar, so that a line can be printed."""
        if self._stream is not None and self._is_there:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._is_there = False

    def _picture(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        if self._count is None:
            return f"{self._done}{failed}"
        filled = _WIDTH * self._done // self._count
        return f"[{'#' * filled}{' ' * (_WIDTH - filled)}] {self._done}/{self._count}{failed}"
