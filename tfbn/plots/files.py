"""Figures as files."""

import os
from collections.abc import Mapping

from matplotlib.figure import Figure

from tfbn.files import atomic

FILE_FORMATS = ("png", "pdf", "svg")


def save(
    figures: Mapping[str, Figure],
    directory: str | os.PathLike,
    file_format: str = "png",
    dpi: int = 150,
) -> list[str]:
    """Writes figures as `<directory>/<name>.<file_format>`.

    A file is replaced as a whole or not at all, so a viewer never finds half of one.

    Args:
        figures: name -> figure.
        directory: folder to write into, made if missing.
        file_format: "png", "pdf" or "svg".
        dpi: dots per inch of a "png"; most figures are 10 inches wide.

    Returns:
        The paths of the files, in the order of `figures`.

    Raises:
        ValueError: if `file_format` is none of these.
        OSError: if the folder or a file cannot be written.
    """
    if file_format not in FILE_FORMATS:
        raise ValueError(
            f"`file_format` must be one of {', '.join(FILE_FORMATS)}. "
            f"Received: file_format={file_format!r}."
        )
    os.makedirs(directory, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = os.path.join(directory, f"{name}.{file_format}")
        with atomic.replacement(path) as partial:
            figure.savefig(partial, format=file_format, dpi=dpi)
        paths.append(path)
    return paths
