"""Bad arguments of data sets and samplers."""

import functools
import math

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

_SETS = [
    *base.rows(data.load, "name", "mean 'cifar10'?", "cifar", "CIFAR-10"),
    *base.rows(data.load, "name", "must be one of 'cifar10'", None, 3, ["mnist"]),
    *base.rows(data.shapes, "num_train", "at least 1", 0, -1),
    *base.rows(data.shapes, "num_train", "must be an integer", 1e3, "10", None),
    *base.rows(data.shapes, "num_test", "must be an integer", 2.0, True),
    *base.rows(data.shapes, "num_train", "must fit into memory", 10**12),
    *base.rows(data.shapes, "num_test", "must fit into memory", 10**12),
    *base.rows(data.gaussian, "num_examples", "at least 1", 0),
    *base.rows(data.gaussian, "num_examples", "at most", 10**30),
    *base.rows(data.gaussian, "num_examples", "must fit into memory", 10**15),
    *base.rows(data.gaussian, "units", "must be an integer", True, 10.0, (10,)),
    *base.rows(data.gaussian, "units", "must fit into memory", 10**10),
]
for _draw in (functools.partial(data.load, "shapes"), data.shapes, data.gaussian):
    _SETS += [
        *base.rows(_draw, "seed", "at least 0", -1),
        *base.rows(_draw, "seed", "must be an integer", 0.5, None, "0", math.nan),
        *base.rows(_draw, "seed", "at most", 2**63),
    ]

_SAMPLERS = [
    *base.rows(_iid, "num_examples", "at least 1", 0),
    *base.rows(_iid, "num_examples", "must be an integer", True, "10"),
    *base.rows(_iid, "batch_size", "at least 1", 0, -4),
    *base.rows(_iid, "batch_size", "at most the number of examples, 10", 11, 10**12),
    *base.rows(_iid, "batch_size", "must be an integer", 2.0, None),
    *base.rows(_class_biased, "labels_per_batch", "at least 1", 0),
    *base.rows(_class_biased, "labels_per_batch", "must be an integer", True),
    *base.rows(_class_biased, "labels_per_batch", "fit into memory", 10**15),
    *base.rows(_class_biased, "images_per_label", "of every label", 5),
    *base.rows(_class_biased, "images_per_label", "must be an integer", 1.5),
    *base.rows(_domain_biased, "batch_size", "of every domain", 5),
    *base.rows(_domain_biased, "steps_per_domain", "at least 1", 0, -3),
    *base.rows(_domain_biased, "steps_per_domain", "must be an integer", True, 2.5),
    *base.rows(_make, "kind", "mean 'class_biased'?", "class_bias"),
    *base.rows(_make, "kind", "must be one of 'iid'", None, 0),
    *base.rows(_make_class_biased, "batch_size", "a multiple of images_per_label", 5),
    *base.rows(_make_class_biased, "batch_size", "must be an integer", "4"),
]
for _sampler in (_iid, _class_biased, _domain_biased):
    _SAMPLERS += [
        *base.rows(_sampler, "seed", "at least 0", -1),
        *base.rows(_sampler, "seed", "must be an integer", 0.5, False, None),
        *base.rows(_sampler().indices, "step", "at least 0", -1),
        *base.rows(_sampler().indices, "step", "must be an integer", 1.0, True, "3"),
        *base.rows(_sampler().indices, "step", "at most", 10**30),
    ]

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
    (_dataset, "test", None, "must be a Split", "type NoneType"),
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
    @parameterized.parameters(*_SETS, *_SAMPLERS)
    def test_refused(self, *row):
        self.assert_refused(base.Row(*row))

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
