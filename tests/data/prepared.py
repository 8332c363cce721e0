"""Small data sets as TFDS prepares them, of random images."""

import pathlib

import numpy as np
import tensorflow as tf

SIZES = {
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
}


def draw(name, number, seed):
    """Random images, which PNG stores without loss, and labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(256, size=(number, *SIZES[name])).astype(np.uint8)
    return images, rng.integers(10, size=number)


def write(data_dir, name, splits, *, num_files=1):
    """Stores splits {name: (images, labels)} as TFDS would after a download."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=SIZES[name], encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )
    version = str(tfds.builder_cls(name).VERSION)
    folder = pathlib.Path(data_dir, name, version)
    folder.mkdir(parents=True)
    for split, (images, labels) in splits.items():
        for i, part in enumerate(np.array_split(np.arange(len(labels)), num_files)):
            path = folder / f"{name}-{split}.tfrecord-{i:05}-of-{num_files:05}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for place in part:
                    example = {"image": images[place], "label": labels[place]}
                    writer.write(features.serialize_example(example))
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, check_data=False
    )
    return folder
