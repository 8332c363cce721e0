"""How far a long measurement is, for whoever wants to show it."""

import contextvars
from collections.abc import Callable
from contextlib import AbstractContextManager

from tfbn import _scopes

Listener = Callable[[int, int], None]  # (parts done, parts in all)

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar(
    "listener", default=None
)


def listening(listener: Listener) -> AbstractContextManager[None]:
    """Calls `listener(done, total)` at each `report` while open."""
    return _scopes.holding(_listener, listener)


def report(done: int, total: int) -> None:
    """Says that `done` of at most `total` parts of a measurement are done."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)
