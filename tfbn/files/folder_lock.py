"""One process at a time in a folder."""

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NAME = ".lock"


class FolderLock:
    """Keeps other processes out of a folder, as long as they ask too.

    The operating system lets go of the lock when the process ends, however it ends. On
    a file system without locks, and on Windows, nobody is kept out.

    Args:
        folder: str, an existing folder.

    Raises:
        ValueError: if another process has it.
    """

    def __init__(self, folder):
        # Not "w": what is in there is the process that has it.
        self._file = open(os.path.join(folder, _NAME), "a+", encoding="utf-8")
        try:
            if _taken(self._file):
                self._file.seek(0)
                raise ValueError(_message(folder, self._file.read()))
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
        except BaseException:
            self._file.close()
            raise

    def release(self):
        """Lets other processes in."""
        self._file.close()


def check_free(folder):
    """Raises a ValueError if another process has the lock of a folder."""
    path = os.path.join(folder, _NAME)
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        if _taken(file):
            raise ValueError(_message(folder, file.read()))


def _taken(file):
    """Takes the lock until the file is closed; whether another process has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the file system has no locks
        return False
    return False


def _message(folder, owner):
    return (
        "run_dir must not be in use by another process. Received: run_dir="
        f"{folder}, which process {owner.strip() or 'unknown'} is using. Wait for it, "
        "stop it, or choose another folder."
    )
