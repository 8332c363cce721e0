"""Errors of TensorFlow's file systems as those of Python's."""

import contextlib
import errno
import os
import re

import tensorflow as tf

_CODES = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EROFS,
    errno.EIO,
)
# TensorFlow begins with the operation that failed.
_OPERATION = re.compile(r"^\{\{.*?\}\} ")


@contextlib.contextmanager
def as_os_errors(path):
    """Raises an OSError that names `path` in place of an error of TensorFlow's.

    Args:
        path: str, what the block reads or writes, a file or a folder.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise as_os_error(error, path) from error


def as_os_error(error, path):
    """The OSError of an error out of TensorFlow, or the error itself if it is one."""
    if isinstance(error, OSError):
        return error
    for code in _CODES:
        if os.strerror(code) in str(error):
            return OSError(code, os.strerror(code), path)
    return OSError(f"{path} cannot be used: {first_line(error)}")


def first_line(error):
    """The first line of an error's message, without a full stop, or its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _OPERATION.sub("", lines[0])[:200].rstrip(".")
