"""How long commands take, by method, and what errors there are, by transport: what metrics tell besides counters.

Measuring a call must cost next to nothing, so what is known of a method is a plain row of integers, and the bucket of a
duration is its number of bits. The rows of worker processes are in memory that the main process sees.
"""

from collections.abc import Container, Sequence
from typing import Final, TypeAlias

from jsonrpcs_tx.rpc.replies import FAULTS

MAX_METHODS: Final = 500
"""Methods that are measured by themselves; all others are measured together."""

BITS: Final = 64
"""The cells of a row that count durations: cell C{n} those of 2**(n-1) to 2**n - 1 nanoseconds."""

SUM: Final = BITS
"""The cell of a row with the sum of all durations, in nanoseconds."""

FAILED: Final = BITS + 1
"""The cell of a row that counts the calls that were answered with an error."""

WIDTH: Final = BITS + 2
"""The cells of a row."""

Row: TypeAlias = "list[int] | memoryview[int]"
"""What is known of one method; or, of a transport, how many errors of each of L{KINDS} there were."""

KINDS: Final = (
    *(FAULTS, "forbidden", "parse_errors", "invalid_requests", "methods_not_found", "invalid_params"),
    "internal_errors",
)
"""The kinds of errors: the names of the counters in the group C{jsonrpc} that count them."""

KIND_CELL: Final = {kind: cell for cell, kind in enumerate(KINDS)}
"""The cell of each kind in the row of a transport."""


def new_row() -> Row:
    """A row in the memory of this process."""
    return [0] * WIDTH


class Measures:
    """What is measured.

    @param commands: the methods that there are. Others are measured together, whatever clients call them.
    @ivar rows: what is known of each method that was called.
    @ivar errors: the errors of each transport.
    """

    def __init__(self, commands: Container[str]) -> None:
        self.rows: _RowsByMethod = _RowsByMethod(commands)
        self.errors: dict[str, Row] = _RowsByTransport()

    def shared(self, transport: str, methods: Sequence[str]) -> list[Row]:
        """The rows to which a worker process adds, in the same order in every process: those of the transport's errors
        and of all other methods, and one for each method.
        """
        return [self.errors[transport], self.rows.other, *map(self.rows.__getitem__, methods)]

    def share(self, transport: str, methods: Sequence[str], rows: Sequence[Row]) -> None:
        """In a worker process: measure in rows that the main process sees; see L{shared} for their order."""
        self.errors[transport], self.rows.other, *by_method = rows
        self.rows.update(zip(methods, by_method, strict=True))
        self.rows.commands = frozenset()


class _RowsByMethod(dict[str, Row]):
    """The rows of methods, made when each is first called.

    @ivar commands: the methods that may have one.
    @ivar other: the row of all other methods.
    """

    def __init__(self, commands: Container[str]) -> None:
        self.commands = commands
        self.other: Row = new_row()

    def __missing__(self, method: str) -> Row:
        if method not in self.commands or len(self) >= MAX_METHODS:
            return self.other
        self[method] = row = new_row()
        return row


class _RowsByTransport(dict[str, Row]):
    def __missing__(self, transport: str) -> Row:
        self[transport] = row = new_row()
        return row
