"""How private names are looked up: with an error that names the version without one."""

import functools
import importlib
from typing import Any

import keras
import tensorflow as tf


@functools.cache
def of_tensorflow(module: str, name: str) -> Any:
    """What TensorFlow has under a name in one of its modules."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise missing(f"{module}.{name}", "TensorFlow", tf.__version__) from error


def of_keras(owner: Any, name: str) -> Any:
    """An attribute of a module, class or object of Keras."""
    try:
        return getattr(owner, name)
    except AttributeError as error:
        where = f"{type(owner).__name__}.{name}"
        raise missing(where, "Keras", keras.__version__) from error


def missing(name: str, package: str, version: str) -> ImportError:
    """The error where a package has no such name."""
    return ImportError(
        f"tfbn needs {name}, a private name that {package} {version} does not have. "
        f"Install a version of {package} that tfbn was tested with, or report this."
    )
