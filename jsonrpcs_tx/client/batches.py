"""Makes many calls, as arrays of requests if the server takes them. Does no I/O.

Kamailio does not, and answers an array with an empty result without an id.
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
"""The schemes over which arrays save a round trip for each call."""

ARRAY_CALLS = 100
ARRAY_BYTES = 60_000
"""The most calls and bytes in one array of requests."""

PROBE_CALLS = 2
PROBE_BYTES = 4_000
"""The most calls and bytes in the first array, which shows whether the server takes arrays. It is small, because
Kamailio closes the connection without a reply if a request does not fit in its buffer."""


class Array:
    """A document of several requests.

    @ivar ids: the ids of the requests.
    @ivar method: the name of the array in messages.
    @ivar document: the document to send.
    """

    def __init__(self, ids: Sequence[int], requests: Sequence[bytes]) -> None:
        self.ids = ids
        self.method: str = f"{len(ids)} calls"
        self.document: bytes = b"[" + b",".join(requests) + b"]"

    def outcomes(self, document: bytes) -> list[object]:
        """The outcomes in the reply to the array.

        @return: for each request the result, the fault, or L{NotReply} if its reply is missing. Empty: the server does
            not take arrays, and has not run any of the requests.
        @raise NotReply: the document is not a reply to an array.
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

    Yields an L{Array}, and is sent its outcomes (empty: nothing has been run, since the server does not take arrays or
    is not reachable); or yields calls to make one by one, and is sent their outcomes. Returns the outcomes of all.

    @param write: makes a request, and returns its id and the document.
    @param takes_arrays: whether the server takes arrays; None: not known.
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
    """Divide requests into arrays.

    @param is_known: whether the server is known to take arrays; if not, the first array is small.
    @return: slices, which cover all requests in order.
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
