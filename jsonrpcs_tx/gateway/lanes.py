"""The queue of changes for one module, and who shares a run. It runs nothing itself."""

from collections.abc import Hashable
from typing import Any, Final

from twisted.internet.defer import Deferred

from jsonrpcs_tx.client.errors import ClientError
from jsonrpcs_tx.client.fairqueue import FairQueue
from jsonrpcs_tx.gateway.answers import Answer
from jsonrpcs_tx.gateway.kinds import Kind
from jsonrpcs_tx.gateway.waiters import Waiter

_OVERHEAD: Final = 1000
"""Approximate bytes that a run takes in addition to its text."""


def size_of(method: str, params: bytes) -> int:
    """Approximate bytes that a run takes."""
    return _OVERHEAD + len(method) + len(params)


class Run:
    """A change that is run once, for one caller or, if it is shared, for several.

    @ivar client: for whom it was made; others may share it. None: for nobody in particular.
    @ivar callers: those who wait for it, in the order in which they came.
    @ivar refusal: the node's answer if the run came too soon after another one; None if it did not.
    @ivar sent: when it was sent, in the clock's seconds.
    @ivar sending: the Deferred of the call; None if it has not been sent.
    @ivar error: why its answer will not come; None if the answer is still expected.
    @ivar overdue: the delayed call that notes that its answer is overdue; None if it has not been sent.
    """

    __slots__ = ("callers", "client", "error", "kind", "method", "overdue", "params", "refusal", "sending", "sent")

    def __init__(self, kind: Kind, method: str, params: bytes, client: Hashable) -> None:
        self.kind: Kind = kind
        self.client: Hashable = client
        self.method: str = method
        self.params: bytes = params
        self.callers: dict[Waiter[Run], None] = {}
        self.refusal: Answer | None = None
        self.sent: float = 0.0
        self.sending: Deferred[Any] | None = None
        self.error: ClientError | None = None
        self.overdue: Any = None

    @property
    def size(self) -> int:
        """Approximate bytes that it takes."""
        return size_of(self.method, self.params)


class Lane:
    """The changes of one module. The order of each client's is kept; the clients take turns.

    Callers who ask for the same reload share one run, as long as it has not begun. A run that has begun may have read
    the old data already, so later callers do not share it. They do not share one that waits before a change of another
    kind either: a reload that is requested after a change must run after it. Nor do they share one that waits behind
    what its own client has asked for before it, or that would come before what they have asked for themselves.

    @ivar running: the run that has been sent.
    """

    __slots__ = ("_changes", "_open", "_queue", "running")

    def __init__(self) -> None:
        self.running: Run | None = None
        self._queue: FairQueue[Run] = FairQueue()
        self._open: dict[tuple[str, bytes], Run] = {}  # runs that may still be shared
        self._changes = 0  # runs in the queue that cannot be shared

    def __len__(self) -> int:
        """How many runs wait."""
        return len(self._queue)

    @property
    def first(self) -> Run | None:
        """The run whose turn is next."""
        return self._queue.next()

    def shared(self, kind: Kind, method: str, params: bytes, client: Hashable) -> Run | None:
        """The run that a call may share; None: it needs its own."""
        run = self._open.get((method, params)) if kind.shared else None
        if run is None or run.client == client:
            return run
        return run if self._queue.first(run.client) is run and self._queue.first(client) is None else None

    def append(self, run: Run) -> None:
        """Put a run at the end of its client's in the queue."""
        self._queue.append(run.client, run)
        if run.kind.shared:
            self._open[run.method, run.params] = run
        else:
            self._open.clear()
            self._changes += 1

    def remove(self, run: Run) -> None:
        """Take a run out of the queue."""
        self._queue.remove(run.client, run)
        self._gone(run)

    def begin(self) -> Run:
        """Make the run whose turn is next the one that is running."""
        run = self._queue.take()
        assert run is not None
        self._gone(run)
        self.running = run
        return run

    def put_back(self, run: Run) -> Run | None:
        """Put the current run back at the head of the queue, since the node did not run it. It may be shared again if
        only reloads wait behind it.

        @return: an equal run that waited behind it and has been removed: its callers share this one from now on. None:
            there is no such run.
        """
        self.running = None
        same = None
        if run.kind.shared and not self._changes:
            same = self._open.get((run.method, run.params))
            if same is not None:
                self.remove(same)
            self._open[run.method, run.params] = run
        if not run.kind.shared:
            self._changes += 1
        self._queue.put_back(run)
        return same

    def _gone(self, run: Run) -> None:
        """A run is no longer in the queue."""
        if not run.kind.shared:
            self._changes -= 1
        elif self._open.get((run.method, run.params)) is run:
            del self._open[run.method, run.params]
