"""What TensorBoard shows of a run beside scalars: its figures and its settings."""

import contextlib
import glob
import importlib.util
import os
from collections.abc import Iterable
from collections.abc import Iterator

from tfbn.recording.summaries import SummaryWriter

# Where a run was, which says nothing about it.
_PLACES = ("run_dir", "data_dir")


def write_figures(folder: str, paths: Iterable[str], step: int) -> None:
    """Writes PNG files as images `figures/NAME`, in place of those written before.

    Args:
        folder: of the event file, made if missing.
        paths: of PNG files.
        step: int, at which TensorBoard shows them.

    Raises:
        OSError: if a file cannot be read or written.
    """
    with _replaced(folder, ".figures.v2") as writer:
        for path in paths:
            name, _ = os.path.splitext(os.path.basename(path))
            with open(path, "rb") as file:
                writer.image(f"figures/{name}", file.read(), step)


def write_hparams(run_dir: str, flagfile: str) -> bool:
    """Writes the settings of a run as the hyperparameters of TensorBoard's table.

    Args:
        run_dir: folder of the run, and of the event file.
        flagfile: a file of lines `--name=value`; others are left out.

    Returns:
        bool, whether the package tensorboard is there, which this needs. Without it
        nothing is written.

    Raises:
        OSError: if a file cannot be read or written.
    """
    if importlib.util.find_spec("tensorboard") is None:
        return False
    with open(flagfile, encoding="utf-8") as file:
        lines = [
            line.rstrip("\n").removeprefix("--") for line in file if line[0] == "-"
        ]
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    values = {name: _typed(text) for name, text in pairs if name not in _PLACES}
    with _replaced(run_dir, ".hparams.v2") as writer:
        writer.hparams(values)
    return True


@contextlib.contextmanager
def _replaced(folder, suffix) -> Iterator[SummaryWriter]:
    """A writer; once it is closed, the event files of this suffix before it go."""
    before = glob.glob(os.path.join(glob.escape(folder), f"*{suffix}"))
    writer = SummaryWriter(folder, suffix)
    try:
        yield writer
    finally:
        writer.close()
    for path in before:
        os.remove(path)


def _typed(text):
    """The bool, number or string that the text of a flag stands for."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text
