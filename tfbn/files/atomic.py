"""Files that are there as a whole or not at all."""

import contextlib
import os


@contextlib.contextmanager
def replacing(path, mode="w"):
    """Opens a file that takes the place of `path` if the block ends without an error.

    It is opened at once, so that a path that cannot be written fails before the work.
    Missing folders are made.

    Args:
        path: str.
        mode: "w" (UTF-8 text) or "wb".
    """
    with replacement(path) as partial:
        encoding = None if "b" in mode else "utf-8"
        with open(partial, mode, encoding=encoding) as file:
            yield file


@contextlib.contextmanager
def replacement(path):
    """The name of a file that takes the place of `path`, for what opens files itself.

    The block writes the file of that name, which ends as `path` does. Missing folders
    are made.

    Args:
        path: str.

    Raises:
        OSError: what the block raises, of `path` if it names no other file.
    """
    folder, name = os.path.split(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    if os.path.isdir(path):
        raise IsADirectoryError(None, "Is a directory", path)
    # In the same folder, since os.replace is atomic only inside one file system.
    partial = os.path.join(folder, f"{_PARTIAL}{os.getpid()}.{name}")
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


def sweep(folder):
    """Removes what processes that were killed while replacing left in a folder.

    Only for a folder that no process is writing to. Folders inside of it are swept too.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(_PARTIAL):
                os.remove(os.path.join(place, name))


_PARTIAL = ".partial."
