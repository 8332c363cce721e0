"""Tests of data sets in .npz files."""

import os
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import data

_RNG = np.random.default_rng(0)
_X = _RNG.integers(256, size=(6, 4, 5, 3)).astype(np.uint8)
_Y = np.array([0, 2, 1, 1, 0, 2])
_GOOD = {"x": _X, "y": _Y, "x_test": _X[:2], "y_test": _Y[:2]}


class NpzTest(tf.test.TestCase, parameterized.TestCase):
    def load(self, **arrays):
        self.path = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), "own.npz")
        np.savez(self.path, **{k: v for k, v in arrays.items() if v is not None})
        return data.load(self.path)

    @parameterized.parameters(np.int64, np.uint8, np.int32)
    def test_classification(self, dtype):
        columns = {"y": _Y[:, np.newaxis].astype(dtype)}  # as in keras.datasets
        dataset = self.load(**_GOOD | columns)
        self.assertEqual((dataset.name, dataset.num_classes), ("own", 3))
        self.assertAllEqual(dataset.train.targets, _Y)
        self.assertAllEqual(dataset.train.inputs, _X)
        self.assertAllEqual(dataset.test.targets, _Y[:2])
        standardized = dataset.standardize(_X).numpy().reshape(-1, 3)
        self.assertAllClose(standardized.mean(axis=0), np.zeros(3), atol=1e-5)
        self.assertAllClose(standardized.std(axis=0), np.ones(3), rtol=1e-5)

    def test_classes_of_the_test_split_count(self):
        self.assertEqual(self.load(**_GOOD | {"y_test": _Y[:2] + 5}).num_classes, 8)

    @parameterized.parameters(((6,), np.float64), ((6, 2), np.float32))
    def test_regression_of_inputs_as_they_are(self, shape, dtype):
        x = _RNG.normal(5.0, 3.0, (6, 4)).astype(np.float32)
        y = _RNG.normal(size=shape).astype(dtype)
        dataset = self.load(x=x, y=y)
        self.assertIsNone(dataset.num_classes)
        self.assertIsNone(dataset.test)
        self.assertAllEqual(dataset.train.targets, y.reshape(6, -1).astype(np.float32))
        self.assertAllEqual(dataset.standardize(x), x)

    @parameterized.named_parameters(
        ("missing", {"y_test": None}, "arrays x, y, x_test, y_test.*y_test is missing"),
        ("no x", {"x": None}, "x is missing"),
        ("dtype of x", {"x": _X.astype(np.float64)}, "x must be of uint8 .* float64"),
        ("dtype of y", {"y": np.array(["a"] * 6)}, "y must be of integers .* <U1"),
        ("another y_test", {"y_test": np.zeros(2)}, "y_test must be .* float64"),
        ("axes of x", {"x": _X[:, 0, 0, 0]}, r"x must have .*\(6,\)"),
        ("no example", {"x": _X[:0], "y": _Y[:0]}, "x must have .* at least one"),
        ("axes of y", {"y": np.eye(6, dtype=int)}, r"y must have .*\(6, 6\)"),
        ("lengths", {"y": _Y[:5]}, "x and y must be equally long.* 6 and 5"),
        (
            "shape of x_test",
            {"x_test": _X[:2, :3]},
            r"x_test must be .*'n', 4, 5",
        ),
        ("negative label", {"y": _Y - 1}, "y must hold labels from 0.*-1"),
        (
            "not finite",
            {"x": np.full((6, 2), np.nan, np.float32), "x_test": None, "y_test": None},
            "x must be finite",
        ),
        ("objects", {"y": np.array([{}] * 6)}, "objects, which is not loaded"),
    )
    def test_wrong_array_is_one_line(self, changed, message):
        with self.assertRaisesRegex(data.DataError, message) as caught:
            self.load(**_GOOD | changed)
        self.assertStartsWith(str(caught.exception), self.path)
        self.assertIn("Received: ", str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_wrong_file_is_one_line(self):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        path = os.path.join(folder, "own.npz")
        with self.assertRaisesRegex(data.DataError, f"{path}, which does not exist"):
            data.load(path)
        np.savez(path, **_GOOD)
        with open(path, "rb") as file:
            whole = file.read()
        with open(os.path.join(folder, "one.npy"), "wb") as file:
            np.save(file, _X)
        with open(file.name, "rb") as file:
            one_array = file.read()
        for content in (b"text", b"", whole[: len(whole) // 2], one_array):
            with open(path, "wb") as file:
                file.write(content)
            with self.assertRaisesRegex(data.DataError, f"^{path} must be a file that"):
                data.load(path)


if __name__ == "__main__":
    tf.test.main()
