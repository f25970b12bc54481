"""Counters and gauges: who registered them, removal and replacement."""

import pytest

from jsonrpcs_tx.state.counters import Counters


def test_name_is_taken_once() -> None:
    """A second counter or gauge of a name is an error that says who registered the first."""
    counters = Counters()
    counters.counter("shop", "orders")
    for add in (
        lambda: counters.counter("shop", "orders"),
        lambda: counters.gauge("shop", "orders", "what there is", lambda: 1),
    ):
        with pytest.raises(
            ValueError, match=r"shop:orders: registered before by .*test_counters \(.*counters\.py:\d+\)"
        ):
            add()


def test_removal() -> None:
    """A counter, or a whole group, is removed, and its name is free again."""
    counters = Counters()
    orders = counters.counter("shop", "orders")
    counters.gauge("shop", "customers", "", lambda: 1)
    counters.counter("stock", "items")
    counters.remove("shop", "orders")
    orders.value += 1  # whoever holds it may count on
    assert counters.get("shop", "orders") is None
    assert [counter.name for counter in counters.select("shop:")] == ["customers"]
    counters.counter("shop", "orders")
    counters.remove("shop")
    assert counters.groups() == ["stock"]
    for name in (None, "orders"):
        with pytest.raises(ValueError, match=f"counter shop:{name or r'[*]'}: there is no such counter"):
            counters.remove("shop", name)


def test_replacement() -> None:
    """A counter or gauge that replaces another is read in its place."""
    counters = Counters()
    old = counters.counter("shop", "orders", "old")
    new = counters.counter("shop", "orders", "new", replace=True)
    old.value += 5
    assert counters.get("shop", "orders") is new
    counters.gauge("shop", "orders", "now", lambda: 7, replace=True)
    assert [counter.read() for counter in counters.select("all")] == [7]
