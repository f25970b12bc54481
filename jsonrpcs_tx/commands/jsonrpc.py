"""The commands ``jsonrpc.*``: those about the JSON-RPC server itself."""

from collections.abc import Callable
from typing import Any

from jsonrpcs_tx.rpc.binding import MISSING, Text
from jsonrpcs_tx.rpc.registry import command
from jsonrpcs_tx.state.health import METHOD


class JsonRpc:
    """
    @param report: gives the health, see L{jsonrpcs_tx.state.health.Health.report}.
    """

    def __init__(self, report: Callable[[], dict[str, Any]]) -> None:
        self._report = report

    @command(METHOD, changes=False)
    def health(self) -> dict[str, Any]:
        """Returns whether the server can do its work, and if not, why: the same as GET /health."""
        return self._report()

    @command("jsonrpc.echo", stateless=True, changes=False)
    def echo(self, text: Text = MISSING, number: int = MISSING) -> list[Any]:
        """Returns a string and a number unchanged."""
        if text is MISSING or number is MISSING:
            return [value for value in (text, number) if value is not MISSING]
        return [text, number]
