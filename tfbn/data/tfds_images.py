"""Image data sets from TensorFlow Datasets, read into memory.

`tensorflow_datasets` is imported only here and only when a data set is asked for: it is
slow to import, and the built-in data sets do without it.
"""

import contextlib
import os
import re
import socket
import urllib.request
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from tfbn import validation
from tfbn.data.dataset import DataError
from tfbn.data.dataset import Dataset
from tfbn.data.dataset import Split
from tfbn.data.dataset import channel_moments

# Where TFDS downloads a data set from; most come prepared from the last.
_HOSTS = {"cifar10": "www.cs.toronto.edu", "cifar100": "www.cs.toronto.edu"}
_OTHER_HOST = "storage.googleapis.com"

_BATCH = 1000

# What TensorFlow and TFDS write around the reason of an error.
_AROUND = re.compile(
    r"\{\{.*?\}\}|\[Op:\w+\]( name:)?"
    r"|Error in user-defined function passed to .*? with iterator: \S+: "
    r'|Failed to construct dataset ".*", builder_kwargs ".*": '
)


def load_images(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    others: Sequence[str] = (),
) -> Dataset:
    """Loads an image classification data set into NumPy arrays.

    Args:
        name: str, a data set of TFDS that has a label and an image of fixed shape for
            each example, and the splits train and test.
        data_dir: str or path, a folder that holds the data set as TFDS prepares it; it
            is read and never written. None (default): TFDS's own folder
            (`~/tensorflow_datasets`, or `TFDS_DATA_DIR`), downloading once.
        others: names to suggest for an unknown one, beside TFDS's.

    Returns:
        A `Dataset`, in the order in which TFDS stores it.

    Raises:
        DataError: if the data set is unknown or of another kind, `data_dir` does not
            hold it, its files are damaged, unreadable or hold fewer or more examples
            than they should, the download fails, or TFDS cannot be imported.
    """
    tfds = _import_tfds(name)
    _check_known(tfds, name, others)
    if data_dir is not None:
        # A shell leaves the tilde of `--data_dir=~/data` alone, and so does TFDS.
        data_dir = os.path.expanduser(data_dir)
        if os.path.isfile(data_dir):
            raise DataError(
                f"data_dir must be a folder. Received: data_dir={data_dir!r}, a file."
            )
    with _quiet(tfds):
        builder = _prepared_builder(tfds, name, data_dir)
        remedy = _remedy(name, builder.data_path, data_dir)
        train, test = (
            _read_split(builder, split, remedy) for split in ("train", "test")
        )
    mean, stddev = channel_moments(train.inputs)
    num_classes = builder.info.features["label"].num_classes
    return Dataset(name, train, test, num_classes, mean, stddev)


def _check_known(tfds, name, others):
    try:
        tfds.builder_cls(name)
    # TFDS raises errors of many types for names that it cannot parse.
    except Exception as error:
        known = [*others, *tfds.list_builders(with_community_datasets=False)]
        raise DataError(
            f"dataset must be one of {', '.join(others)}, another image classification "
            "data set of TensorFlow Datasets, or a .npz file. Received: dataset="
            f"{validation.shown(name)}.{validation.suggestion(name, known)}"
        ) from error


def _check_features(tfds, builder, name):
    """Raises unless each example has an image of fixed shape and a label."""
    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        features = {}
    names = ("image", "label")
    image, label = (features[n] if n in features else None for n in names)
    kinds = tfds.features
    if not isinstance(image, kinds.Image) or not isinstance(label, kinds.ClassLabel):
        wrong = f"the features {', '.join(features) or None}"
    elif None in image.shape or image.dtype != np.uint8:
        wrong = (
            f"images of shape {image.shape} and dtype {tf.as_dtype(image.dtype).name}"
        )
    else:
        return
    raise DataError(
        "dataset must have the features image, uint8 of a fixed shape, and label. "
        f"Received: dataset={name} with {wrong}."
    )


def _import_tfds(name):
    """The `tensorflow_datasets` module."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(_no_download(name, error)) from error
    return tensorflow_datasets


@contextlib.contextmanager
def _quiet(tfds):
    """Keeps TFDS's progress bars and log of folders off the terminal."""
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
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    # TFDS reads dataset_info.json here; a damaged one raises errors of many types.
    except Exception as error:
        root = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
        folder = os.path.join(root, name, str(tfds.builder_cls(name).VERSION))
        path = os.path.join(folder, "dataset_info.json")
        raise _unreadable(path, error, _remedy(name, folder, data_dir)) from error
    _check_features(tfds, builder, name)
    if builder.is_prepared():
        return builder
    if data_dir is not None:
        raise DataError(
            f"data_dir must hold {name} as TFDS prepares it. Received: data_dir="
            f"{data_dir!r}, where {builder.data_path}/dataset_info.json is missing. "
            f"Leave data_dir out to download it, or run: {_build(name, data_dir)}"
        )
    try:
        _check_host(_HOSTS.get(name, _OTHER_HOST))
        builder.download_and_prepare()
    # Downloads, archives and full disks raise errors of many types.
    except Exception as error:
        raise DataError(_no_download(name, error)) from error
    return builder


def _check_host(host):
    """Fails at once without a network; TFDS itself retries for minutes."""
    # Behind a proxy, names need not resolve here.
    if not urllib.request.getproxies():
        socket.getaddrinfo(host, 443)


def _no_download(name, error):
    """One line: why a data set could not be downloaded, and what to do."""
    if isinstance(error, ImportError):
        missing = error.name or "tensorflow-datasets"
        remedy = f"Install it (pip install {missing})"
    else:
        remedy = "Check the network"
    return (
        f"{name} could not be downloaded ({_cause(error)}). {remedy}, give the folder "
        "of a prepared copy (--data_dir), or use the built-in data (--dataset=shapes)."
    )


def _build(name, data_dir):
    """The command that prepares a data set."""
    return f"tfds build {name} --data_dir={data_dir}"


def _remedy(name, folder, data_dir):
    """How to repair a damaged copy."""
    if data_dir is None:
        return f"Remove the folder {folder}, to have it downloaded again."
    return f"Remove the folder {folder} and run: {_build(name, data_dir)}"


def _unreadable(path, error, remedy):
    """The DataError for a file that is damaged, missing or not readable."""
    if isinstance(error, (PermissionError, tf.errors.PermissionDeniedError)):
        remedy = "Give yourself the right to read it."
    return DataError(f"{path} cannot be read ({_cause(error, path)}). {remedy}")


def _cause(error, path=""):
    """Type and first line of an error, without a path that the message has."""
    message = _AROUND.sub("", str(error)).replace(f"{path}; ", "").strip()
    line = message.partition("\n")[0][:200].strip(" .")
    return f"{type(error).__name__}: {line}" if line else repr(error)


def _read_split(builder, split, remedy):
    """One split in memory, in the order of its files.

    Records are parsed and decoded here in batches: faster than `builder.as_dataset`,
    which works record by record, with the same pixels.
    """
    info, name = builder.info, builder.info.name
    if info.file_format.value != "tfrecord":
        raise DataError(
            f"{info.name} must be stored as TFRecord. Received: "
            f"{info.file_format.value} files in {builder.data_path}. Build it again "
            "by tfds build with --file_format=tfrecord."
        )
    if split not in info.splits or not info.splits[split].num_examples:
        raise DataError(
            f"{builder.data_path}/dataset_info.json must list a {split} split with "
            f"examples. Received: splits {list(info.splits)}. If {name} has none, take "
            f"another data set; else the copy is damaged: {remedy}"
        )
    stored, read = info.splits[split], []
    for path, expected in zip(stored.filepaths, stored.shard_lengths, strict=True):
        batches = _read_file(str(path), info.features, remedy)
        found = sum(len(labels) for _, labels in batches)
        if found != expected:
            raise DataError(
                f"{path} must hold the {expected} examples of the {split} split that "
                f"dataset_info.json lists. Received: {found} examples. {remedy}"
            )
        read += batches
    images, labels = zip(*read, strict=True)
    return Split(np.concatenate(images), np.concatenate(labels))


def _read_file(path, features, remedy):
    """The examples of a TFRecord file: a list of batches `(images, labels)`."""
    shape, num_classes = features["image"].shape, features["label"].num_classes
    batches = (
        tf.data.TFRecordDataset(path)
        .batch(_BATCH)
        .map(lambda batch: _decode(batch, shape), num_parallel_calls=tf.data.AUTOTUNE)
    )
    try:
        read = list(batches.as_numpy_iterator())
    # TensorFlow quotes a malformed record as UTF-8, which its bytes need not be.
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, remedy) from error
    for _, labels in read:
        wrong = labels[(labels < 0) | (labels >= num_classes)]
        if wrong.size:
            raise DataError(
                f"{path} must hold labels from 0 to {num_classes - 1}. "
                f"Received: label {wrong[0]}. {remedy}"
            )
    return read


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
