"""The commands ``jsonrpc.*``: those about the JSON-RPC server itself."""

from typing import Any

from jsonrpcs_tx.rpc.binding import MISSING, Text
from jsonrpcs_tx.rpc.registry import command


class JsonRpc:
    """Needs nothing of the server."""

    @command("jsonrpc.echo", stateless=True, changes=False)
    def echo(self, text: Text = MISSING, number: int = MISSING) -> list[Any]:
        """Returns a string and a number unchanged."""
        if text is MISSING or number is MISSING:
            return [value for value in (text, number) if value is not MISSING]
        return [text, number]
