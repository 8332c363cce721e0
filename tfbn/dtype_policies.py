"""The dtype policy that new layers get."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def default(policy: str | keras.DTypePolicy) -> Iterator[None]:
    """Makes `policy` the dtype policy of the layers that are made in the context."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
