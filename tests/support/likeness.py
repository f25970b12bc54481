"""Whether two replies have the same shape."""

from typing import Any


def is_like(ours: Any, theirs: Any, open_keys: bool = False) -> bool:
    """Whether two values have the same keys and types. Each element of a list must be like one of the other."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if open_keys:
            return all(any(is_like(mine, value) for value in theirs.values()) for mine in ours.values())
        return ours.keys() == theirs.keys() and all(is_like(ours[key], theirs[key]) for key in ours)
    if isinstance(theirs, list) and isinstance(ours, list):
        return all(any(is_like(mine, value) for value in theirs) for mine in ours)
    return type(ours) is type(theirs)
