"""What a document is answered with."""

from typing import Final, final

import msgspec

FAULTS: Final = "faults"
"""The counter of the errors of commands."""


@final
class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a document is answered with.

    @ivar body: the reply document; empty where the client gets none (dialect C{jsonrpc2}, notifications).
    @ivar code: 200, or the code of the fault; of a batch always 200; 207 where only some of those
        who were asked have given a result; 204 where the client gets no result.
    @ivar text: OK, or the text of the fault, whole.
    @ivar fault: it is a fault, whatever its code, and whether the client gets it or not.
    @ivar outcome: C{refused} by rules, C{cancelled} or C{timed out}; of a call to a node C{not sent}, C{no answer},
        or C{fault} if the node has answered it; empty: nothing of that.
    @ivar kind: of a fault, the counter in the group C{jsonrpc} that it counts in.
    """

    body: bytes
    code: int = 200
    text: str = "OK"
    fault: bool = False
    outcome: str = ""
    kind: str = FAULTS


SOME: Final = 207
"""The code of a reply in which only some of those who were asked have given a result (HTTP's Multi-Status)."""

NO_REPLY: Final = Reply(b"", 204, "No Content")
