"""Computes planes that several metrics need only once for a scene."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

Arguments = ParamSpec("Arguments")
R = TypeVar("R")

#: Room for results. A megapixel in float64 takes 8 MiB.
_ROOM_BYTES = 2**30


class _Memory:
    """Results by function and arguments. When room runs out, those that were unused for the longest time
    are dropped.
    """

    def __init__(self, outer: _Memory | None) -> None:
        self._outer = outer
        self._kept: OrderedDict[tuple[Any, ...], tuple[Any, tuple[Any, ...]]] = OrderedDict()
        self._bytes = 0

    def recall(self, make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if self._outer and not any(isinstance(value, np.ndarray) for value in args):
            return self._outer.recall(make, args)
        key = (make, *(id(value) if isinstance(value, np.ndarray) else value for value in args))
        if key not in self._kept:
            # The arguments are kept with the result, because the id of an array is reused once the array is gone.
            self._kept[key] = (make(*args), args)
            self._bytes += _size(self._kept[key][0])
            while self._bytes > _ROOM_BYTES and len(self._kept) > 1:
                _, (gone, _) = self._kept.popitem(last=False)
                self._bytes -= _size(gone)
        self._kept.move_to_end(key)
        return self._kept[key][0]


def _size(result: Any) -> int:
    parts = result if isinstance(result, tuple) else (result,)
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


_memory: ContextVar[_Memory | None] = ContextVar("memory", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Inside this context, functions marked `shared` compute once for the same arrays. Do not change those arrays.

    Results that depend on no array, such as filters of a size, are kept until the outermost context ends.
    """
    token = _memory.set(_Memory(_memory.get()))
    try:
        yield
    finally:
        _memory.reset(token)


def shared(function: Callable[Arguments, R]) -> Callable[Arguments, R]:
    """Marks a function whose result several metrics need. Arrays are compared by identity, the rest by value."""

    @wraps(function)
    def remembering(*args: Arguments.args, **named: Arguments.kwargs) -> R:
        memory = _memory.get()
        if memory is None or named:
            return function(*args, **named)
        result: R = memory.recall(function, args)
        return result

    return remembering
