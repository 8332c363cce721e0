"""How far a long measurement is, for whoever wants to show it."""

import contextlib
import contextvars
from collections.abc import Callable
from collections.abc import Iterator

Listener = Callable[[int, int], None]  # (parts done, parts in all)

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar(
    "listener", default=None
)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Calls `listener(done, total)` at each `report` while open."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report(done: int, total: int) -> None:
    """Says that `done` of at most `total` parts of a measurement are done."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)
