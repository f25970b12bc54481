"""The plot of docs/performance.md: CPU time of an echo, by transport and server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot


def plot(rows: Sequence[Any], path: Path) -> None:
    """Draw the rows of kind C{echo} to a file; L{bench.__main__.Row}."""
    rows = [row for row in rows if row.kind == "echo"]
    transports = list(dict.fromkeys(row.transport for row in rows))
    peers = list(dict.fromkeys(row.peer for row in rows))
    figure, axes = pyplot.subplots(1, len(transports), figsize=(3 * len(transports), 3.2), squeeze=False)
    for axis, transport in zip(axes[0], transports, strict=True):
        shown = [row for row in rows if row.transport == transport]
        colors = [f"C{peers.index(row.peer)}" for row in shown]
        bars = axis.bar([row.peer for row in shown], [row.cpu_min * 1e6 for row in shown], color=colors)
        axis.bar_label(bars, fmt="%.0f")
        axis.set_title(transport)
        axis.tick_params("x", rotation=60)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("CPU time per echo in µs")
    figure.tight_layout()
    figure.savefig(path)
