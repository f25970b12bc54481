"""Calls a method of one server, or of several at once."""

import sys

from jsonrpcs_tx.cli import output
from jsonrpcs_tx.cli.calling import Caller, NodesFailed, given_params
from jsonrpcs_tx.cli.exits import DONE
from jsonrpcs_tx.cli.where import servers

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonrpcs_tx.cli.parser import Arguments


def run(arguments: "Arguments", keep: "Callable[[object], None] | None" = None) -> int:
    """Call a method, and print the result or what went wrong.

    @param keep: is called with the result of a single server.
    """
    write = output.writer(arguments)
    method, *words = arguments.words
    params = given_params(arguments)
    meant = servers(arguments)
    if len(meant) > 1:
        from jsonrpcs_tx.cli import several

        return several.call(meant, method, words, params, arguments, write)
    failed = None
    with Caller(meant[0], arguments.raw) as caller:
        try:
            result = caller.call(method, words, params)
        except NodesFailed as error:
            failed, result = error, error.result
        finally:
            if caller.reply:
                output.write_raw(caller.reply)
    if keep is not None:
        keep(result)
    if not arguments.raw:
        sys.stdout.write(write(result))
    if failed is not None:
        raise failed
    return DONE
