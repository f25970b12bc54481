"""Many calls, as arrays of requests where the server takes them. Does no I/O.

Kamailio takes none, and answers each with an empty result that has no id.
"""

from collections.abc import Callable, Iterator, Sequence

from jsonrpcs_tx.client.core import NotReply, decoded, reply_of
from jsonrpcs_tx.client.errors import ClientError

TYPE_CHECKING = False  # typing's own takes 2 ms to import
if TYPE_CHECKING:
    from jsonrpcs_tx.client.core import Params
    from jsonrpcs_tx.client.steps import Steps

    Calls = Sequence[tuple[str, Params]]

SCHEMES = ("tcp", "http", "https")
"""Where arrays save a round trip for each call; elsewhere many calls may be under way anyhow."""

ARRAY_CALLS = 100
ARRAY_BYTES = 60_000
"""How much one array of requests has at most."""

PROBE_CALLS = 2
PROBE_BYTES = 4_000
"""How much the first array has, by which a server shows whether it takes arrays. Kamailio closes the connection without
a reply if it gets much more than it has room for."""


class Array:
    """A document of several requests.

    @ivar ids: of the requests.
    @ivar method: what they are called in messages.
    @ivar document: as it is sent.
    """

    def __init__(self, ids: Sequence[int], requests: Sequence[bytes]) -> None:
        self.ids = ids
        self.method: str = f"{len(ids)} calls"
        self.document: bytes = b"[" + b",".join(requests) + b"]"

    def outcomes(self, document: bytes) -> list[object]:
        """What it was answered with.

        @return: for each request the result, the fault, or L{NotReply} where the reply to it is missing. Empty: the
            server takes no arrays, and has run nothing of it.
        @raise NotReply: it is not an answer to an array.
        """
        value = decoded(document)
        if isinstance(value, list):
            replies = [reply_of(one) for one in value]
            found = {reply.id: reply.outcome for reply in replies if type(reply.id) is int}
            return [found.get(id, NotReply("the reply to this request is missing")) for id in self.ids]
        reply = reply_of(value)
        if reply.id is None and (reply.outcome == {} or reply.answers(self.ids[0])):
            return []
        raise NotReply("the reply to several requests is not an array")


def batching(
    calls: "Calls", write: "Callable[[str, Params], tuple[int, bytes]]", takes_arrays: bool | None
) -> "Steps[Array | Calls]":
    """Make many calls.

    Yields an L{Array}, and is sent its outcomes (empty: none of it has been run, since the server takes no arrays or is
    not reachable); or calls to be made each by itself, and is sent theirs. Returns the outcomes of all.

    @param write: makes a request, and returns its id with it.
    @param takes_arrays: whether the server does; None: that is not known.
    """
    outcomes: list[object] = [None] * len(calls)
    places: list[int] = []
    requests: list[tuple[int, bytes]] = []
    for place, (method, params) in enumerate(calls):
        try:
            requests.append(write(method, params))
        except ClientError as error:
            outcomes[place] = error
        else:
            places.append(place)
    for part in _parts([document for _, document in requests], bool(takes_arrays)):
        found: list[object] = []
        if takes_arrays is not False and part.stop - part.start > 1:
            found = yield Array(*zip(*requests[part], strict=True))
            takes_arrays = bool(found)
        if not found:
            found = yield [calls[place] for place in places[part]]
        for place, outcome in zip(places[part], found, strict=True):
            outcomes[place] = outcome
    return outcomes


def _parts(requests: Sequence[bytes], is_known: bool) -> Iterator[slice]:
    """Which requests go together in one array.

    @param is_known: whether the server is known to take arrays; if not, the first one is small.
    @return: slices, which cover all of them in their order.
    """
    start = size = 0
    for index, document in enumerate(requests):
        calls, bytes_ = (ARRAY_CALLS, ARRAY_BYTES) if is_known or start else (PROBE_CALLS, PROBE_BYTES)
        if index > start and (index - start >= calls or size + len(document) > bytes_):
            yield slice(start, index)
            start, size = index, 0
        size += len(document) + 1
    if start < len(requests):
        yield slice(start, len(requests))
