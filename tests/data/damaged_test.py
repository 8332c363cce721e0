"""Damaged copies of data sets: one line that names the file, and what to do."""

import os
import pathlib
import shutil
import tempfile
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from tests.data import prepared
from tfbn import data

_NAME = "mnist"
_SPLITS = {
    "train": prepared.draw(_NAME, 9, seed=0),
    "test": prepared.draw(_NAME, 4, seed=1),
}
# Of the second of two files with 5 and 4 examples.
_TRAIN = f"{_NAME}-train.tfrecord-00001-of-00002"


def _records(path):
    return [r.numpy() for r in tf.data.TFRecordDataset(str(path))]


def _write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def _change_example(path, place, change):
    """Calls `change` on the features of a record; its checksums stay right."""
    records = _records(path)
    example = tf.train.Example.FromString(records[place])
    change(example.features.feature)
    records[place] = example.SerializeToString()
    _write(path, records)


def _flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def _set_image(image):
    def change(features):
        features["image"].bytes_list.value[0] = image

    return change


def _set_label(*labels):
    def change(features):
        features["label"].int64_list.value[:] = labels

    return change


def _encoded(encode=tf.io.encode_png, height=28):
    return encode(_SPLITS["train"][0][0, :height]).numpy()


# What happens to the file, and what the error has to say of it.
DAMAGES = {
    "missing": (lambda path: path.unlink(), "NotFoundError: .*No such file"),
    "cut": (
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        "DataLossError: truncated record",
    ),
    "bit_of_a_record": (lambda path: _flip(path, 100), "DataLossError: corrupted"),
    "a_folder": (
        lambda path: (path.unlink(), path.mkdir()),
        "FailedPreconditionError: .*Is a directory",
    ),
    "damaged_png": (
        lambda path: _change_example(path, 1, _set_image(_encoded()[:-99])),
        "InvalidArgumentError: .*PNG",
    ),
    "damaged_jpeg": (
        lambda path: _change_example(
            path, 1, _set_image(_encoded(tf.io.encode_jpeg)[:-99])
        ),
        "InvalidArgumentError: .*JPEG",
    ),
    "image_of_another_size": (
        lambda path: _change_example(path, 1, _set_image(_encoded(height=27))),
        "InvalidArgumentError",
    ),
    "without_a_label": (
        lambda path: _change_example(path, 1, lambda features: features.pop("label")),
        "InvalidArgumentError: .*label .*required",
    ),
    "two_labels": (
        lambda path: _change_example(path, 1, _set_label(1, 2)),
        "InvalidArgumentError: .*label",
    ),
    "no_example": (
        lambda path: _write(path, [b"\xff" * 9]),
        "UnicodeDecodeError: ",
    ),
    "label_too_large": (
        lambda path: _change_example(path, 1, _set_label(10)),
        "must hold labels from 0 to 9. Received: label 10",
    ),
    "label_below_0": (
        lambda path: _change_example(path, 1, _set_label(-1)),
        "must hold labels from 0 to 9. Received: label -1",
    ),
    "empty": (
        lambda path: path.write_bytes(b""),
        "must hold the 4 examples of the train split .* Received: 0 examples",
    ),
    "an_example_less": (
        lambda path: _write(path, _records(path)[:-1]),
        "must hold the 4 examples of the train split .* Received: 3 examples",
    ),
    "an_example_more": (
        lambda path: _write(path, _records(path)[:1] + _records(path)),
        "must hold the 4 examples of the train split .* Received: 5 examples",
    ),
}


# Likewise for dataset_info.json.
DAMAGED_METADATA = {
    "empty": ("", "ParseError: Failed to load JSON"),
    "cut": ('{"name": "mnist", "spl', "ParseError: Failed to load JSON"),
    "of_something_else": ("{}", "AssertionError: .*do not match"),
    "no_text": ("\xff", "UnicodeDecodeError: "),
}


class DamagedTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.made)
        cls.version = prepared.write(cls.made, _NAME, _SPLITS, num_files=2).name

    def setUp(self):
        super().setUp()
        self.data_dir = tempfile.mkdtemp(dir=self.get_temp_dir())
        shutil.copytree(self.made, self.data_dir, dirs_exist_ok=True)
        self.folder = pathlib.Path(self.data_dir, _NAME, self.version)

    def assert_refused(self, path, message, remedy=None):
        """The line says what is wrong with `path`, and the remedy."""
        with self.assertRaises(data.DataError) as caught:
            data.load(_NAME, data_dir=self.data_dir)
        line = str(caught.exception)
        self.assertRegex(line, f"^{path} .*{message}")
        self.assertEndsWith(
            line,
            remedy
            or f"Remove the folder {self.folder} and run: tfds build {_NAME} "
            f"--data_dir={self.data_dir}",
        )
        self.assertNotRegex(line, r"\n|\{\{|\[Op|builder_kwargs|Iterator::|\.\)")
        self.assertLess(len(line.replace(self.data_dir, "")), 500)

    def test_undamaged(self):
        dataset = data.load(_NAME, data_dir=self.data_dir)
        for split, (images, labels) in _SPLITS.items():
            self.assertAllEqual(getattr(dataset, split).inputs, images)
            self.assertAllEqual(getattr(dataset, split).targets, labels)

    @parameterized.named_parameters((name, *row) for name, row in DAMAGES.items())
    def test_file_of_examples(self, damage, message):
        path = self.folder / _TRAIN
        damage(path)
        self.assert_refused(path, message)

    def test_the_other_split(self):
        path = self.folder / _TRAIN.replace("train", "test")
        _write(path, _records(path)[1:])
        self.assert_refused(path, "2 examples of the test split .* 1 examples")

    @parameterized.named_parameters(
        (name, *row) for name, row in DAMAGED_METADATA.items()
    )
    def test_metadata(self, text, message):
        path = self.folder / "dataset_info.json"
        path.write_text(text, encoding="latin-1")
        self.assert_refused(path, f"cannot be read .*{message}")

    @parameterized.parameters('"train"', '"test"')
    def test_metadata_without_a_split(self, split):
        path = self.folder / "dataset_info.json"
        path.write_text(path.read_text().replace(split, '"other"'))
        split = split.strip('"')
        self.assert_refused(path, f"a {split} split .* Received: splits .*'other'")

    def test_metadata_of_an_empty_split(self):
        path = self.folder / "dataset_info.json"
        text = path.read_text()
        for number in ("5", "4"):
            text = text.replace(f'"{number}"', '"0"')
        path.write_text(text)
        self.assert_refused(path, "a train split with examples")

    @parameterized.parameters("", "{}", '{"featuresDict": 3}')
    def test_features_are_those_of_the_class(self, text):
        """TFDS knows cifar10 and mnist without their features.json."""
        (self.folder / "features.json").write_text(text)
        self.assertLen(data.load(_NAME, data_dir=self.data_dir).train, 9)

    def test_examples_of_another_user(self):
        """Root may read everything, so the error is TensorFlow's without its cause."""
        path = self.folder / f"{_NAME}-train.tfrecord-00000-of-00002"
        error = tf.errors.PermissionDeniedError(
            None, None, f"{path}; Permission denied"
        )
        with mock.patch.object(tf.data.Dataset, "as_numpy_iterator", side_effect=error):
            self.assert_refused(
                path, "PermissionDeniedError", "Give yourself the right to read it."
            )

    def test_metadata_of_another_user(self):
        path = self.folder / "dataset_info.json"
        error = PermissionError(13, "Permission denied", str(path))
        with mock.patch("tensorflow_datasets.builder", side_effect=error):
            self.assert_refused(
                path, "PermissionError", "Give yourself the right to read it."
            )

    def test_the_folder_of_tfds_is_filled_again_by_itself(self):
        path = self.folder / _TRAIN
        path.unlink()
        with mock.patch.dict(os.environ, {"TFDS_DATA_DIR": self.data_dir}):
            with self.assertRaisesRegex(data.DataError, f"^{path} .*") as caught:
                self.load_from_the_default_folder()
        self.assertEndsWith(
            str(caught.exception),
            f"Remove the folder {self.folder}, to have it downloaded again.",
        )

    def load_from_the_default_folder(self):
        """As where TFDS_DATA_DIR was set before TFDS was imported, which reads it."""
        import tensorflow_datasets as tfds

        builder = tfds.builder

        def build(name, data_dir):
            return builder(name, data_dir=data_dir or self.data_dir)

        with mock.patch.object(tfds, "builder", build):
            data.load(_NAME)

    def test_metadata_in_the_folder_of_tfds(self):
        path = self.folder / "dataset_info.json"
        path.write_text("")
        with mock.patch.dict(os.environ, {"TFDS_DATA_DIR": self.data_dir}):
            with self.assertRaisesRegex(data.DataError, f"^{path} .*downloaded again"):
                self.load_from_the_default_folder()

    def test_data_dir_is_a_file(self):
        path = self.folder / _TRAIN
        with self.assertRaisesRegex(
            data.DataError, f"data_dir must be a folder. Received: data_dir='{path}'"
        ):
            data.load(_NAME, data_dir=str(path))


if __name__ == "__main__":
    tf.test.main()
