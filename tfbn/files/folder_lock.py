"""A lock that admits one process at a time to a folder."""

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NAME = ".lock"


class FolderLock:
    """Keeps other processes that use this lock out of a folder.

    The operating system releases the lock when the process ends, however it ends. On
    Windows, and on a file system without locks, no process is kept out.

    Args:
        folder: an existing folder.

    Raises:
        ValueError: if another process holds the lock.
    """

    def __init__(self, folder: str):
        # Not "w": the file holds the id of the process that has the lock.
        self._file = open(os.path.join(folder, _NAME), "a+", encoding="utf-8")
        try:
            _acquire(self._file, folder)
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
        except BaseException:
            self._file.close()
            raise

    def release(self) -> None:
        """Lets other processes use the folder again."""
        self._file.close()


def check_free(folder: str) -> None:
    """Raises a ValueError if another process holds the lock of a folder."""
    path = os.path.join(folder, _NAME)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            _acquire(file, folder)


def _acquire(file, folder):
    """Takes the lock until the file is closed."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        raise ValueError(
            "run_dir must not be in use by another process. Received: run_dir="
            f"{folder}, which process {owner} is using. Wait for it, stop it, or "
            "choose another folder."
        ) from None
    except OSError:  # the file system has no locks
        return
