"""Which code serves a request: a list of implementations, the fastest first.

A new one is a module with the functions of `Implementation` and a line in
`IMPLEMENTATIONS`. docs/numerics.md explains when each is chosen, and why.
"""

import contextvars
from contextlib import AbstractContextManager
from typing import Protocol

import tensorflow as tf

from tfbn import _scopes
from tfbn import validation
from tfbn.ops import by_size
from tfbn.ops import cpu_kernels
from tfbn.ops import cpu_sums
from tfbn.ops import formula
from tfbn.ops import lp_formula
from tfbn.ops import one_pass
from tfbn.ops import wide_sums
from tfbn.ops.requests import Request


class Implementation(Protocol):
    """What a module in `IMPLEMENTATIONS` has.

    For the operations that it supports it also has: for "batch_norm", a class
    `Normalizer(x, request, epsilon, mask)`, which `saved` and `of_saved` take from one
    function of a graph to another; for "normalize", `normalize(x, mean, gain, offset,
    request)`; for "lp_batch_norm", a function of that name.
    """

    NAME: str

    def supports(self, request: Request) -> bool:
        """Whether it can serve the request, within the accuracy tfbn promises."""

    def is_faster(self, request: Request) -> bool:
        """Whether it is at least as fast as those after it in the list."""

    def compute_dtype(self, dtype: tf.DType) -> tf.DType:
        """The dtype of the inputs that it takes for calls with `dtype`."""


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    cpu_sums,
    cpu_kernels,
    by_size,
    wide_sums,
    one_pass,
    formula,
    lp_formula,
)


def choose(request: Request) -> Implementation:
    """The implementation that serves a request."""
    preferred = _preferred.get()
    if preferred is not None and preferred.supports(request):
        return preferred
    return next(
        implementation
        for implementation in IMPLEMENTATIONS
        if implementation.supports(request) and implementation.is_faster(request)
    )


def preferring(name: str) -> AbstractContextManager[None]:
    """While open, the implementation `name` serves all that it supports.

    Also what another serves faster: for tests and benchmarks.

    Args:
        name: str, the `NAME` of one of `IMPLEMENTATIONS`.

    Raises:
        ValueError: for another name.
    """
    named = {implementation.NAME: implementation for implementation in IMPLEMENTATIONS}
    chosen = named[validation.choice("name", name, tuple(named))]
    return _scopes.holding(_preferred, chosen)


_preferred: contextvars.ContextVar[Implementation | None] = contextvars.ContextVar(
    "preferred", default=None
)
