"""Image data sets from TensorFlow Datasets, read into memory.

`tensorflow_datasets` is imported only here and only when a data set is asked for: it is
slow to import, and the built-in data sets do without it.
"""

import contextlib
import os
import socket
import urllib.request

import numpy as np
import tensorflow as tf
from absl import logging

from tfbn.data.dataset import Dataset
from tfbn.data.dataset import Split
from tfbn.data.dataset import channel_moments

# Where TFDS fetches each data set from.
_HOSTS = {"cifar10": "www.cs.toronto.edu", "mnist": "storage.googleapis.com"}
NAMES = tuple(_HOSTS)

_BATCH = 1000


class DataError(ValueError):
    """A data set cannot be had: not prepared where it should be, or no download."""


def load_images(name, data_dir=None):
    """Loads `cifar10` or `mnist` into NumPy arrays.

    Args:
        name: str, one of `NAMES`.
        data_dir: str or path, a folder that holds the data set as TFDS prepares it; it
            is read and never written. None (default): TFDS's own folder
            (`~/tensorflow_datasets`, or `TFDS_DATA_DIR`), downloading once.

    Returns:
        A `Dataset`, in the order in which TFDS stores it.

    Raises:
        DataError: if `data_dir` does not hold the data set, the download fails, or TFDS
            does not import.
    """
    tfds = _import_tfds(name)
    if data_dir is not None:
        # A shell leaves the tilde of `--data_dir=~/data` alone, and so does TFDS.
        data_dir = os.path.expanduser(data_dir)
    with _quiet(tfds):
        builder = _prepared_builder(tfds, name, data_dir)
        train, test = (_read_split(builder, split) for split in ("train", "test"))
    mean, stddev = channel_moments(train.inputs)
    num_classes = builder.info.features["label"].num_classes
    return Dataset(name, train, test, num_classes, mean, stddev)


def _import_tfds(name):
    """The `tensorflow_datasets` module."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(_no_download(name, error)) from error
    return tensorflow_datasets


@contextlib.contextmanager
def _quiet(tfds):
    """Keeps TFDS's progress bars and its chatter of folders off the terminal."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.display_progress_bar(enable=False)
    try:
        yield
    finally:
        tfds.display_progress_bar(enable=True)
        logging.set_verbosity(verbosity)


def _prepared_builder(tfds, name, data_dir):
    """The TFDS builder of a data set that is on disk."""
    builder = tfds.builder(name, data_dir=data_dir)
    if builder.is_prepared():
        return builder
    if data_dir is not None:
        raise DataError(
            f"data_dir must hold {name} as TFDS prepares it. Received: data_dir="
            f"{data_dir!r}, where {builder.data_path} is missing. Leave data_dir "
            f"out to download it, or run: tfds build {name} --data_dir={data_dir}"
        )
    try:
        _check_host(_HOSTS[name])
        builder.download_and_prepare()
    # Whatever a download, an unpacking or a full disk raises, the user's case is one.
    except Exception as error:
        raise DataError(_no_download(name, error)) from error
    return builder


def _check_host(host):
    """Fails at once where there is no network; TFDS itself retries for minutes."""
    # Behind a proxy names need not resolve here.
    if not urllib.request.getproxies():
        socket.getaddrinfo(host, 443)


def _no_download(name, error):
    """One line on why a data set could not be had and what to do."""
    lines = str(error).strip().splitlines()
    cause = f"{type(error).__name__}: {lines[0][:200]}" if lines else repr(error)
    if isinstance(error, ImportError):
        missing = error.name or "tensorflow-datasets"
        remedy = f"Install it (pip install {missing})"
    else:
        remedy = "Check the network"
    return (
        f"{name} could not be downloaded ({cause}). {remedy}, give the folder of a "
        "prepared copy (--data_dir), or use the built-in data (--dataset=shapes)."
    )


def _read_split(builder, split):
    """One split in memory, in the order of its files.

    The records are parsed and decoded here, a batch a task: the same pixels as from
    `builder.as_dataset`, which works record by record, in less time.
    """
    info = builder.info
    if info.file_format.value != "tfrecord":
        raise DataError(
            f"{info.name} must be stored as TFRecord. Received: "
            f"{info.file_format.value} files in {builder.data_path}. Build it again "
            "by tfds build with --file_format=tfrecord."
        )
    records = tf.data.TFRecordDataset([str(p) for p in info.splits[split].filepaths])
    shape = info.features["image"].shape
    batches = records.batch(_BATCH).map(
        lambda batch: _decode(batch, shape), num_parallel_calls=tf.data.AUTOTUNE
    )
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return Split(np.concatenate(images), np.concatenate(labels))


def _decode(records, shape):
    """Records (strings `[n]`) as uint8 images `[n, *shape]` and int64 labels `[n]`."""
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    examples = tf.io.parse_example(records, features)
    images = tf.map_fn(
        lambda image: tf.io.decode_image(image, shape[-1], expand_animations=False),
        examples["image"],
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )
    return images, examples["label"]
