"""A data set by its name, or from a file."""

import dataclasses
import os
from collections.abc import Callable

from tfbn import validation
from tfbn.data import npz
from tfbn.data import tfds_images
from tfbn.data._gaussian import gaussian
from tfbn.data._shapes import shapes
from tfbn.data.dataset import Dataset
from tfbn.options import Option
from tfbn.registry import Registry


@dataclasses.dataclass(frozen=True)
class Source:
    """What is known of a data set before it is loaded.

    Attributes:
        name: str.
        generate: function `(seed)` -> `Dataset`, or None if TFDS has the data set.
        options: the options that it takes.
        task: "classification" or "regression".
        has_domains: bool, whether each example has a domain.
    """

    name: str
    generate: Callable[..., Dataset] | None
    options: tuple[Option, ...] = ()
    task: str = "classification"
    has_domains: bool = False


_SEED = Option("data_seed", 0, "Seed of the generated data sets, shapes and gaussian.")
SOURCES = Registry(
    "dataset",
    Source("cifar10", None),
    Source("mnist", None),
    Source("shapes", shapes, (_SEED,), has_domains=True),
    Source("gaussian", gaussian, (_SEED,), task="regression"),
)
DATASETS = SOURCES.names


def load(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    seed: int = 0,
) -> Dataset:
    """Loads or generates a data set.

    Args:
        name: str. "shapes" (images) and "gaussian" (regression) are generated. A path
            that ends in `.npz` is a file as of `load_npz`. Any other name is that of an
            image classification data set of TensorFlow Datasets, such as "cifar10",
            "mnist" or "cifar100".
        data_dir: str or path, a folder that holds the data set as TFDS prepares it; it
            is only read. None (default): TFDS's own folder, with a download if the
            data set is not there. Ignored unless the data set comes from TFDS.
        seed: int >= 0, default 0, of generated data. Ignored otherwise.

    Returns:
        A `Dataset`.

    Raises:
        DataError: a ValueError, if the data set is unknown, missing, damaged or of
            another kind.
        ValueError: if an argument breaks its rule.
    """
    seed = validation.integer("seed", seed, minimum=0)
    if data_dir is not None and not isinstance(data_dir, (str, os.PathLike)):
        raise ValueError(
            "data_dir must be a path or None. Received: "
            f"data_dir={validation.shown(data_dir)}."
        )
    if not isinstance(name, (str, os.PathLike)) or not str(name):
        raise ValueError(
            "dataset must be the name of a data set or a .npz file. Received: "
            f"dataset={validation.shown(name)}."
        )
    name = os.fspath(name)
    if npz.is_path(name):
        return npz.load_npz(name)
    if name in SOURCES and SOURCES[name].generate is not None:
        return SOURCES[name].generate(seed=seed)
    return tfds_images.load_images(name, data_dir, others=DATASETS)
