"""Other gateways before the same nodes, with which this one acts together."""

from collections.abc import Callable, Hashable
from typing import Any

from twisted.internet.defer import Deferred

from jsonrpcs_tx.gateway.answers import Answer

Send = Callable[[str, bytes, float], Deferred[Answer]]
"""Sends a call: the method, its parameters as JSON, and the seconds that it may take."""


class Peers:
    """The other gateways: this is what is done if there are none. A node is a L{jsonrpcs_tx.gateway.node.Node}."""

    def send(
        self, node: Any, method: str, params: bytes, seconds: float, client: Hashable, send: Send
    ) -> Deferred[Answer]:
        """Send a change, that is a call which does not only read, when its turn has come among those of all gateways.

        @param client: whose call it is.
        @return: fires with the answer, or fails, as C{send} does.
        """
        return send(method, params, seconds)

    def came(self, node: Any) -> None:
        """A node is seen to run, but was not before, or it is a different process than before."""

    def told(self, node: Any) -> dict[str, Any]:
        """What is told of a node beyond what this gateway knows by itself."""
        return {}


ALONE = Peers()
"""There are no other gateways."""
