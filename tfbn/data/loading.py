"""A data set by its name."""

import os

from tfbn import validation
from tfbn.data import tfds_images
from tfbn.data._gaussian import gaussian
from tfbn.data._shapes import shapes

DATASETS = (*tfds_images.NAMES, "shapes", "gaussian")


def load(name, *, data_dir=None, seed=0):
    """Loads or draws a data set.

    Args:
        name: str, one of `DATASETS`: "cifar10" and "mnist" come from TensorFlow
            Datasets, "shapes" (images) and "gaussian" (regression) are drawn here.
        data_dir: str or path, a folder with a prepared copy, which is only read; None
            (default) means TFDS's own folder, downloading where needed. "shapes" and
            "gaussian" need no folder and do not look at it.
        seed: int >= 0, default 0, of what is drawn here. "cifar10" and "mnist" are
            always the same.

    Returns:
        A `Dataset`.

    Raises:
        DataError: a ValueError, if the data set cannot be had.
        ValueError: if the name is unknown or the seed no non-negative int.
    """
    validation.choice("name", name, DATASETS)
    seed = validation.integer("seed", seed, minimum=0)
    if data_dir is not None and not isinstance(data_dir, (str, os.PathLike)):
        raise ValueError(
            "data_dir must be a path or None. Received: "
            f"data_dir={validation.shown(data_dir)}."
        )
    if name == "shapes":
        return shapes(seed=seed)
    if name == "gaussian":
        return gaussian(seed=seed)
    return tfds_images.load_images(name, data_dir)
