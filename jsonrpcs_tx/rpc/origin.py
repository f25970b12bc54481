"""Where a document comes from."""

from collections.abc import Hashable

import msgspec

from jsonrpcs_tx.access.caller import Caller


class Origin(msgspec.Struct, frozen=True):
    """Where a document comes from.

    @ivar transport: its name, for messages and counters.
    @ivar asynchronous: the reply may come later; else an asynchronous command is refused.
    @ivar caller: who sends it, to be checked for what he may call; None: he may call everything.
    @ivar client: who shares the limits for one client; None: there is no share, or only one of the transport.
    @ivar at_once: the reply may not come later for any reason: a batch is run whole, however long that takes.
    """

    transport: str
    asynchronous: bool = False
    caller: Caller | None = None
    client: Hashable = None
    at_once: bool = False
