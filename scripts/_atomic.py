"""Files that are there as a whole or not at all."""

import contextlib
import os


@contextlib.contextmanager
def replacing(path, mode="w"):
    """Opens a file that takes the place of `path` if the block ends without an error.

    It is opened at once, so that a path that cannot be written fails before the work.
    Missing folders are made.
    """
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    if os.path.isdir(path):
        raise IsADirectoryError(None, "Is a directory", path)
    # In the same folder, since os.replace is atomic only inside one file system.
    partial = f"{path}.{os.getpid()}.partial"
    try:
        encoding = None if "b" in mode else "utf-8"
        with open(partial, mode, encoding=encoding) as file:
            yield file
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
