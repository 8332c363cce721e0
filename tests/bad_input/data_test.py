"""Bad arrays of data sets, and bad sizes of samplers.

For single arguments see arguments_test.py.
"""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.bad_input import base
from tfbn import data

_IMAGES = np.zeros((8, 4, 4, 3), "uint8")
_LABELS = np.arange(8) % 2
_ONES = np.ones(3, "float32")
_SPLIT = data.Split(_IMAGES, _LABELS, _LABELS)


def _split(inputs=_IMAGES, targets=_LABELS, domains=None):
    return data.Split(inputs, targets, domains)


def _dataset(
    name="d", train=_SPLIT, test=_SPLIT, num_classes=2, mean=_ONES, stddev=_ONES
):
    return data.Dataset(name, train, test, num_classes, mean, stddev)


def _iid(num_examples=10, batch_size=4, seed=0):
    return data.IIDBatches(num_examples, batch_size, seed)


def _class_biased(labels=_LABELS, labels_per_batch=2, images_per_label=2, seed=0):
    return data.ClassBiasedBatches(labels, labels_per_batch, images_per_label, seed)


def _domain_biased(domains=_LABELS, batch_size=2, steps_per_domain=3, seed=0):
    return data.DomainBiasedBatches(domains, batch_size, steps_per_domain, seed)


_make = functools.partial(data.make_batches, split=_SPLIT, batch_size=4)
_make_class_biased = functools.partial(data.make_batches, "class_biased", _SPLIT)

# What an argument may be wrong in beside its type and range.
_ARGUMENTS = (
    (data.shapes, "num_train", 10**12, "must fit into memory"),
    (data.gaussian, "num_examples", 10**15, "must fit into memory"),
    (data.gaussian, "units", 10**10, "must fit into memory"),
    (_iid, "batch_size", 11, "at most the number of examples, 10"),
    (_class_biased, "labels_per_batch", 10**15, "fit into memory"),
    (_class_biased, "images_per_label", 5, "of every label"),
    (_domain_biased, "batch_size", 5, "of every domain"),
    (_make, "kind", "class_bias", "mean 'class_biased'?"),
    (_make_class_biased, "batch_size", 5, "a multiple of images_per_label"),
    (_iid().indices, "step", -1, "at least 0"),
    (_class_biased().indices, "step", 1.0, "must be an integer"),
    (_domain_biased().indices, "step", 10**30, "at most"),
)

# An array is shown by its shape and dtype: `(call, argument, array, rule, shown)`.
_ARRAYS = [
    (_split, "inputs", [[1.0]], "must be a NumPy array", "type list"),
    (_split, "inputs", None, "must be a NumPy array", "type NoneType"),
    (_split, "inputs", tf.zeros((8, 4)), "must be a NumPy array", "EagerTensor"),
    (_split, "inputs", np.zeros((8, 3)), "uint8 or float32", "dtype float64"),
    (_split, "inputs", np.zeros((8, 3), object), "uint8 or float32", "dtype object"),
    (_split, "inputs", np.zeros(8, "uint8"), "from 2 to 5 axes", "shape (8,)"),
    (_split, "inputs", _IMAGES[:0], "at least one example", "shape (0, 4, 4, 3)"),
    (_split, "targets", _LABELS.astype("int32"), "int64 or float32", "dtype int32"),
    (_split, "targets", _LABELS[:5], "so 8", "targets of shape (5,)"),
    (_split, "targets", np.int64(3), "must be a NumPy array", "type int64"),
    (_split, "domains", _LABELS[:3], "so 8", "domains of shape (3,)"),
    (_split, "domains", _LABELS[:, None], "from 1 to 1 axes", "shape (8, 1)"),
    (_split, "domains", _LABELS + 0.5, "of dtype int64", "dtype float64"),
    (_dataset, "mean", _ONES[:2], "so 3", "mean of shape (2,)"),
    (_dataset, "mean", np.ones(3), "of dtype float32", "dtype float64"),
    (_dataset, "mean", 1.0, "must be a NumPy array", "type float"),
    (_dataset, "mean", _ONES * np.nan, "must be finite", "mean=[nan nan nan]"),
    (_dataset, "stddev", _ONES * 0, "greater than 0", "stddev=[0. 0. 0.]"),
    (_dataset, "stddev", _ONES * np.nan, "must be finite", "stddev=[nan nan nan]"),
    (_dataset, "stddev", _ONES * np.inf, "must be finite", "stddev=[inf inf inf]"),
    (_dataset, "train", _IMAGES, "must be a Split", "type ndarray"),
    (_dataset, "test", _IMAGES, "must be a Split", "type ndarray"),
    (_dataset, "num_classes", 0, "at least 1", "num_classes=0"),
    (_dataset, "num_classes", 2.0, "must be an integer", "num_classes=2.0"),
    (_class_biased, "labels", None, "1-D integer array", "None"),
    (_class_biased, "labels", "labels", "1-D integer array", "shape () and dtype <U6"),
    (_class_biased, "labels", 3, "1-D integer array", "shape ()"),
    (_class_biased, "labels", np.zeros(3), "1-D integer array", "dtype float64"),
    (_class_biased, "labels", np.zeros(3, bool), "1-D integer array", "dtype bool"),
    (_class_biased, "labels", _IMAGES, "1-D integer array", "shape (8, 4, 4, 3)"),
    (_class_biased, "labels", [[1, 2], [3]], "1-D integer array", "dtype object"),
    (_class_biased, "labels", np.zeros(0, int), "at least one example", "labels=[]"),
    (_domain_biased, "domains", None, "1-D integer array", "None"),
    (_domain_biased, "domains", np.zeros((2, 2), int), "1-D integer array", "(2, 2)"),
    (_domain_biased, "domains", np.ones(9, int), "at least two", "only [1]"),
    (_make, "split", _IMAGES, "must be a Split", "type ndarray"),
    (data.load, "data_dir", 3, "must be a path or None", "data_dir=3"),
]


class DataTest(base.BadInputTest):
    @parameterized.parameters(*_ARGUMENTS)
    def test_refused(self, call, argument, value, rule):
        self.assert_refused(call, argument, value, rule)

    @parameterized.parameters(*_ARRAYS)
    def test_array_refused(self, call, argument, value, rule, shown):
        options = {"name": "shapes"} if call is data.load else {}
        options = {"kind": "iid"} if call is _make else options
        with self.assertRaises(ValueError) as caught:
            call(**options, **{argument: value})
        said, _, received = str(caught.exception).partition("Received: ")
        self.assertIn(f"{argument} must", said)
        self.assertIn(rule, said)
        self.assertIn(shown, received)

    @parameterized.parameters(
        ({"num_classes": 1}, "labels from 0 to 1, num_classes=1"),
        ({"train": data.Split(_IMAGES, _LABELS - 1)}, "labels from -1 to 0"),
        ({"test": data.Split(_IMAGES, _LABELS + 1)}, "labels from 1 to 2"),
        ({"train": data.Split(_IMAGES, np.ones(8, "float32"))}, "dtype float32"),
    )
    def test_labels_of_no_class(self, arguments, message):
        with self.assertRaisesRegex(ValueError, f"targets must.*Received.*{message}"):
            _dataset(**arguments)

    def test_not_refused(self):
        self.assertLen(_iid(np.int64(10), np.int32(4)).indices(np.int64(3)), 4)
        self.assertIsNotNone(_class_biased(list(_LABELS)))


if __name__ == "__main__":
    tf.test.main()
