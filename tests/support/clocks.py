"""Clocks that only tests advance."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from jsonrpcs_tx.datagrams import sendroom
from jsonrpcs_tx.transports import waiting


@contextmanager
def steady() -> Iterator[None]:
    """Sending takes no time, so that a busy machine does not delay the next attempt."""
    with ExitStack() as stack:
        for module in (sendroom, waiting):
            stack.enter_context(patch.object(module, "perf_counter", lambda: 0.0))
        yield
