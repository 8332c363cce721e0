"""What holds while a `with` block is open."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def holding(variable: contextvars.ContextVar[T], value: T) -> Iterator[None]:
    """Gives a context variable a value while open; afterwards it has that of before."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
