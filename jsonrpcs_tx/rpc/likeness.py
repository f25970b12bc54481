"""Finds functions whose signatures say the same, without reading them: that takes longer than all else that a command
takes when it is added.
"""

from collections.abc import Callable, Hashable
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FunctionType, GenericAlias, MethodType
from typing import Any, Final

_PLAIN: Final = (str, int, float, bool, type(None))
"""The types of defaults that are compared, by their C{repr}: 1, 1.0 and True are equal."""

_MARKS: Final = ("__wrapped__", "__signature__", "_is_coroutine_mark")
"""Attributes that say that a function is other than its code."""


def likeness_of(function: Callable[..., Any]) -> Hashable:
    """A value that is equal for functions and methods whose parameters have the same names, kinds, defaults and
    annotations, and that are of the same kind (C{def}, C{async def}, generators).

    @return: None if the function is anything else, or has a default or an annotation that is not plain: such as a
        string, whose meaning depends on the module.
    """
    bound = type(function) is MethodType
    plain: Any = function.__func__ if bound else function  # type: ignore[attr-defined] # it is a method
    if type(plain) is not FunctionType or any(mark in plain.__dict__ for mark in _MARKS):
        return None
    code, annotations = plain.__code__, plain.__annotations__
    defaults = (plain.__defaults__ or (), plain.__kwdefaults__ or {})
    if not all(type(one) in _PLAIN for one in (*defaults[0], *defaults[1].values())):
        return None
    if not all(map(_is_plain, annotations.values())):
        return None
    count = code.co_argcount + code.co_kwonlyargcount + _stars(code.co_flags)
    shape = code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, code.co_flags, code.co_varnames[:count]
    return bound, shape, repr(defaults), tuple(annotations.items())


def _stars(flags: int) -> int:
    """How many of C{*args} and C{**kwargs} there are."""
    return bool(flags & CO_VARARGS) + bool(flags & CO_VARKEYWORDS)


def _is_plain(annotation: Any) -> bool:
    """Whether an annotation is a class, or made of classes as C{list[int]} is; one that is equal to itself alone."""
    if type(annotation) is GenericAlias:
        return all(map(_is_plain, annotation.__args__))
    return annotation is None or type(annotation) is type
