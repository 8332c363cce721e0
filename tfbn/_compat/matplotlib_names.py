"""Private and version-bound names of matplotlib."""

import importlib.metadata
from typing import Any

from tfbn._compat.lookup import missing


def stop_aligning_ylabel(axis: Any) -> None:
    """Takes a panel out of the alignment of its figure's y labels.

    matplotlib aligns labels with those of a removed panel too, for as long as that is
    in memory, and fails.
    """
    try:
        aligned = axis.figure._align_label_groups["y"]
    except (AttributeError, KeyError) as error:
        version = importlib.metadata.version("matplotlib")
        where = "Figure._align_label_groups"
        raise missing(where, "matplotlib", version) from error
    aligned.remove(axis)
