"""Makes the same call to several servers at once."""

import sys
from collections import deque
from collections.abc import Callable
from threading import Thread

from jsonrpcs_tx.cli import output
from jsonrpcs_tx.cli.calling import Caller, NodesFailed
from jsonrpcs_tx.cli.exits import DONE, CallError, exit_code
from jsonrpcs_tx.cli.jsonlines import json_line
from jsonrpcs_tx.cli.terminal import complain
from jsonrpcs_tx.errors import JsonRpcsError
from jsonrpcs_tx.rpc.faults import Fault

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from typing import TypeVar

    from jsonrpcs_tx.cli.output import Writer
    from jsonrpcs_tx.cli.parser import Arguments
    from jsonrpcs_tx.cli.where import Server
    from jsonrpcs_tx.client.core import Params

    T = TypeVar("T")

MOST = 64
"""The most servers that are called at once."""


class Outcome:
    """The outcome of the call to one server.

    @ivar server: the server.
    @ivar result: the result.
    @ivar error: the error, or None.
    @ivar reply: the bytes of the reply, if they are kept.
    """

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.result: object = None
        self.error: JsonRpcsError | None = None
        self.reply = b""


def call(
    servers: "list[Server]",
    method: str,
    words: list[str],
    params: "Params | None",
    arguments: "Arguments",
    write: "Writer",
) -> int:
    """Call a method of each server, and print the outcomes in the order of the servers.

    @return: the worst exit code.
    """

    def ask(server: "Server") -> Outcome:
        outcome = Outcome(server)
        with Caller(server, arguments.raw) as caller:
            try:
                outcome.result = caller.call(method, words, params)
            except JsonRpcsError as error:
                outcome.error = error
            outcome.reply = caller.reply
        return outcome

    worst = DONE
    for outcome in at_once(ask, servers):
        _show(outcome, arguments, write)
        if outcome.error is not None:
            worst = max(worst, exit_code(outcome.error))
    return worst


def at_once(do: "Callable[[Server], T]", servers: "list[Server]") -> "list[T]":
    """Do something with each server, with L{MOST} of them at a time.

    @return: what C{do} returned, in the order of the servers.
    @raise Exception: the first exception that C{do} raised, in the order of the servers.
    """
    waiting = deque(enumerate(servers))
    done: dict[int, T | Exception] = {}

    def work() -> None:
        while True:
            try:
                place, server = waiting.popleft()
            except IndexError:
                return  # not checked first, since another thread may take the last one in between
            try:
                done[place] = do(server)
            except Exception as error:
                done[place] = error

    threads = [Thread(target=work, daemon=True) for _ in range(min(MOST, len(servers)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes: list[T] = []
    for place in range(len(servers)):
        outcome = done[place]
        if isinstance(outcome, Exception):
            raise outcome
        outcomes.append(outcome)
    return outcomes


def _show(outcome: Outcome, arguments: "Arguments", write: "Writer") -> None:
    """Print the outcome of one call: with C{--json} on a line of its own, otherwise below the name of the server."""
    if arguments.json:
        sys.stdout.write(json_line({"target": outcome.server.name, **as_json(outcome.result, outcome.error)}))
    elif arguments.raw:
        if outcome.reply:
            output.write_raw(outcome.reply)
            sys.stdout.write("\n")
    elif outcome.error is None or isinstance(outcome.error, NodesFailed):
        output.heading(outcome.server.name, arguments)
        sys.stdout.write(write(outcome.result if outcome.error is None else outcome.error.result))
    if outcome.error is not None:
        complain(outcome.error)


def as_json(result: object, error: JsonRpcsError | None) -> dict[str, object]:
    """A result or an error as members of a line of JSON. An error that is not a fault has no code; the faults of nodes
    are among their outcomes, which are the result.
    """
    if error is None or isinstance(error, NodesFailed):
        return {"result": result if error is None else error.result}
    fault = error.error if isinstance(error, CallError) else error
    if isinstance(fault, Fault):
        data = {} if fault.data is None else {"data": fault.data}
        return {"error": {"code": fault.code, "message": fault.text, **data}}
    return {"error": {"code": None, "message": str(error)}}
