"""TensorFlow's file errors as Python's OSError."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

import tensorflow as tf

_CODES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EROFS,
    errno.EIO,
)
# TensorFlow's messages begin with the operation that failed.
_OPERATION = re.compile(r"^\{\{.*?\}\} ")


@contextlib.contextmanager
def as_os_errors(path: str) -> Iterator[None]:
    """Converts TensorFlow's errors in the block to an OSError that names `path`.

    Args:
        path: file or folder that the block reads or writes.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise as_os_error(error, path) from error


def as_os_error(error: Exception, path: str) -> OSError:
    """Converts an error of TensorFlow to an OSError; an OSError is returned as is."""
    if isinstance(error, OSError):
        return error
    for code in _CODES:
        if os.strerror(code) in str(error):
            return OSError(code, os.strerror(code), path)
    return OSError(f"{path} cannot be used: {first_line(error)}")


def first_line(error: Exception) -> str:
    """The first line of an error's message without its full stop, or its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _OPERATION.sub("", lines[0])[:200].rstrip(".")
