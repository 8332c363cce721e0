"""Files that are complete or absent, also when the process is killed."""

import contextlib
import os
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def replacing(path: str, mode: str = "w") -> Iterator[IO]:
    """Opens a file that replaces `path` if the block ends without an error.

    A path that cannot be written fails at once, before the work in the block. Missing
    folders are made.

    Args:
        path: str.
        mode: "w" (UTF-8 text) or "wb".
    """
    with replacement(path) as partial:
        encoding = None if "b" in mode else "utf-8"
        with open(partial, mode, encoding=encoding) as file:
            yield file


@contextlib.contextmanager
def replacement(path: str) -> Iterator[str]:
    """Yields the name of a file that replaces `path` after the block.

    For libraries that open files themselves. The name ends as `path` does. Missing
    folders are made.

    Args:
        path: str.

    Raises:
        OSError: what the block raises, naming `path` unless it names another file.
    """
    folder, name = os.path.split(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    if os.path.isdir(path):
        raise IsADirectoryError(None, "Is a directory", path)
    # In the same folder, since os.replace is atomic only inside one file system.
    partial = os.path.join(folder, f"{PARTIAL}{os.getpid()}.{name}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, partial):
            raise
        raise OSError(error.errno, os.strerror(error.errno), path) from error
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def sweep(folder: str) -> None:
    """Removes the partial files that killed processes left in a folder and below it.

    Only for a folder that no process is writing to.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PARTIAL):
                os.remove(os.path.join(place, name))


# Begins the names of what `sweep` removes.
PARTIAL = ".partial."
