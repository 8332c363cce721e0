"""Tests of loading by name, without a network.

The TFDS path is tested on a few images that are stored as TFDS stores them, and on the
real CIFAR-10 where a prepared copy is near: in `../shared/tfds`, seen from the
repository's root, or in the folder that TFBN_TFDS_DIR names.
"""

import os
import pathlib
import socket
import sys
import tempfile
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from absl.testing import parameterized

from tests.data import prepared
from tfbn import data
from tfbn.data import tfds_images


def _new_folder(test):
    """An empty folder of the test's own."""
    return tempfile.mkdtemp(dir=test.get_temp_dir())


def _real_cifar10():
    """The folder of a prepared CIFAR-10, or None."""
    root = pathlib.Path(__file__).resolve().parents[2]
    folders = [os.environ.get("TFBN_TFDS_DIR"), root.parent / "shared" / "tfds"]
    return next((f for f in folders if f and pathlib.Path(f, "cifar10").exists()), None)


class LoadTest(tf.test.TestCase, parameterized.TestCase):
    def test_shapes_with_a_seed(self):
        dataset = data.load("shapes", seed=3)
        self.assertEqual((len(dataset.train), len(dataset.test)), (10_000, 2_000))
        same = data.shapes(num_train=40, num_test=1, seed=3)
        self.assertAllEqual(dataset.train.inputs[:40], same.train.inputs)

    def test_gaussian_with_a_seed(self):
        expected = data.gaussian(seed=3).train.targets
        self.assertAllEqual(data.load("gaussian", seed=3).train.targets, expected)

    def test_drawn_data_do_not_import_tfds(self):
        with mock.patch.dict(sys.modules, {"tensorflow_datasets": None}):
            self.assertEqual(data.load("gaussian").name, "gaussian")

    def test_refuses_an_unknown_name(self):
        for name, near in {"shape": "shapes", "cifar100x": "cifar100"}.items():
            message = f"cifar10, .*or a .npz file.*dataset='{name}'. .*'{near}'"
            with self.assertRaisesRegex(data.DataError, message):
                data.load(name)

    @parameterized.parameters(
        ({"seed": -1}, "seed=-1"),
        ({"name": ""}, "dataset=''"),
        ({"name": 3}, "dataset=3"),
        ({"data_dir": 3}, "data_dir=3"),
    )
    def test_refuses(self, changed, message):
        with self.assertRaisesRegex(ValueError, f"Received: {message}"):
            data.load(**{"name": "gaussian"} | changed)


class PreparedTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("cifar10", "mnist", "cifar100", "fashion_mnist")
    def test_reads_what_is_stored_in_its_order(self, name):
        data_dir = _new_folder(self)
        splits = {
            "train": prepared.draw(name, 25, seed=0),
            "test": prepared.draw(name, 7, seed=1),
        }
        prepared.write(data_dir, name, splits)
        # Several batches, the last of them not full.
        with mock.patch.object(tfds_images, "_BATCH", 10):
            dataset = data.load(name, data_dir=data_dir)
        for split, (images, labels) in splits.items():
            self.assertAllEqual(getattr(dataset, split).inputs, images)
            self.assertAllEqual(getattr(dataset, split).targets, labels)
            self.assertIsNone(getattr(dataset, split).domains)
        self.assertEqual(dataset.name, name)
        self.assertEqual(dataset.num_classes, 100 if name == "cifar100" else 10)
        pixels = splits["train"][0].astype(np.float64)
        self.assertAllClose(dataset.mean, pixels.mean(axis=(0, 1, 2)))
        self.assertAllClose(dataset.stddev, pixels.std(axis=(0, 1, 2)))

    def test_leaves_the_log_as_it_was(self):
        data_dir = _new_folder(self)
        images = prepared.draw("mnist", 2, seed=0)
        prepared.write(data_dir, "mnist", {"train": images, "test": images})
        verbosity = logging.get_verbosity()
        data.load("mnist", data_dir=data_dir)
        self.assertEqual(logging.get_verbosity(), verbosity)

    @parameterized.parameters(
        ("coco", "with the features image, image/filename, image/id, objects"),
        ("imagenet2012", r"images of shape \(None, None, 3\) and dtype uint8"),
        ("iris", "with the features features, label"),
    )
    def test_refuses_a_data_set_of_another_kind(self, name, message):
        with self.assertRaisesRegex(data.DataError, f"dataset={name} .*{message}"):
            data.load(name, data_dir=_new_folder(self))

    def test_refuses_a_folder_without_the_data_set(self):
        name = "mnist"
        data_dir = os.path.join(_new_folder(self), "nothing")
        with self.assertRaisesRegex(
            data.DataError,
            f"data_dir must hold {name}.*data_dir='{data_dir}'.*is missing. "
            f"Leave data_dir out to download it, or run: tfds build {name} "
            f"--data_dir={data_dir}",
        ) as caught:
            data.load(name, data_dir=data_dir)
        self.assertNotIn("\n", str(caught.exception))
        self.assertFalse(os.path.exists(data_dir))

    def test_refuses_another_file_format(self):
        data_dir = _new_folder(self)
        images = prepared.draw("mnist", 2, seed=0)
        prepared.write(data_dir, "mnist", {"train": images, "test": images})
        (metadata,) = pathlib.Path(data_dir).glob("*/*/dataset_info.json")
        text = metadata.read_text().replace('"tfrecord"', '"array_record"')
        metadata.write_text(text)
        with self.assertRaisesRegex(
            data.DataError, "Received: array_record.*--file_format=tfrecord"
        ):
            data.load("mnist", data_dir=data_dir)

    def test_expands_the_tilde(self):
        home = _new_folder(self)
        with mock.patch.dict(os.environ, {"HOME": home, "USERPROFILE": home}):
            with self.assertRaisesRegex(data.DataError, os.path.join(home, "data")):
                data.load("mnist", data_dir="~/data")

    @pytest.mark.long
    def test_real_cifar10(self):
        data_dir = _real_cifar10()
        if data_dir is None:
            self.skipTest("no prepared CIFAR-10 near")
        dataset = data.load("cifar10", data_dir=data_dir)
        self.assertEqual(dataset.train.inputs.shape, (50_000, 32, 32, 3))
        self.assertAllEqual(np.bincount(dataset.train.targets), [5000] * 10)
        self.assertAllEqual(np.bincount(dataset.test.targets), [1000] * 10)
        # The moments of the original pixels; a copy stored as JPEG is 1.4 off.
        self.assertAllClose(dataset.mean, [125.3, 123.0, 113.9], atol=2)
        self.assertAllClose(dataset.stddev, [63.0, 62.1, 66.7], atol=2)


class DownloadTest(tf.test.TestCase, parameterized.TestCase):
    """Without data_dir, in an empty TFDS folder; nothing here reaches a network."""

    def setUp(self):
        super().setUp()
        import tensorflow_datasets as tfds

        self.folder = _new_folder(self)
        self.builder = tfds.builder("cifar10", data_dir=self.folder)
        self.download = mock.Mock()
        self.builder.download_and_prepare = self.download
        self.resolve = mock.Mock()
        for patch in (
            mock.patch.object(tfds, "builder", return_value=self.builder),
            mock.patch.object(socket, "getaddrinfo", self.resolve),
            mock.patch("urllib.request.getproxies", return_value={}),
        ):
            self.enter_context(patch)

    def test_downloads_what_is_not_there(self):
        def prepare():
            images = prepared.draw("cifar10", 5, seed=0)
            prepared.write(self.folder, "cifar10", {"train": images, "test": images})
            self.builder.info.read_from_directory(self.builder.data_path)

        self.download.side_effect = prepare
        self.assertLen(data.load("cifar10").train, 5)
        self.download.assert_called_once_with()

    def test_no_network_is_one_line_at_once(self):
        self.resolve.side_effect = socket.gaierror(-2, "Name or service not known")
        with self.assertRaisesRegex(
            data.DataError,
            "cifar10 could not be downloaded .*Name or service not known.*"
            "Check the network.*--data_dir.*--dataset=shapes",
        ) as caught:
            data.load("cifar10")
        self.assertNotIn("\n", str(caught.exception))
        self.download.assert_not_called()

    @parameterized.parameters(
        (ConnectionError("Max retries exceeded\nwith url"), "Max retries exceeded"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (TimeoutError(), r"TimeoutError\(\)"),
    )
    def test_a_failing_download_is_one_line(self, error, cause):
        self.download.side_effect = error
        with self.assertRaisesRegex(data.DataError, cause) as caught:
            data.load("cifar10")
        self.assertNotIn("\n", str(caught.exception))
        self.assertIs(caught.exception.__cause__, error)

    def test_behind_a_proxy_names_are_not_resolved(self):
        self.resolve.side_effect = socket.gaierror(-2, "Name or service not known")
        self.download.side_effect = ConnectionError("the proxy refused")
        proxies = {"https": "http://proxy.example:3128"}
        with mock.patch("urllib.request.getproxies", return_value=proxies):
            with self.assertRaisesRegex(data.DataError, "the proxy refused"):
                data.load("cifar10")

    def test_a_missing_package_is_named(self):
        self.download.side_effect = ModuleNotFoundError(
            "No module named 'importlib_resources'", name="importlib_resources"
        )
        with self.assertRaisesRegex(
            data.DataError, "pip install importlib_resources.*--dataset=shapes"
        ):
            data.load("cifar10")

    def test_tfds_not_installed(self):
        with mock.patch.dict(sys.modules, {"tensorflow_datasets": None}):
            with self.assertRaisesRegex(
                data.DataError, r"pip install tensorflow_datasets"
            ):
                data.load("cifar10")


if __name__ == "__main__":
    tf.test.main()
