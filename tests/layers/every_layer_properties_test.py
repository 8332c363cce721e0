"""Property tests of what all normalisation layers do alike."""

import dataclasses
import json

import hypothesis
import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

import tfbn
from tests import strategies
from tests import testing_utils
from tests.layers import exact_training
from tests.layers import properties

LAYERS = (
    (tfbn.BatchNorm, {}),
    (tfbn.BatchRenorm, {"rmax": 3.0, "dmax": 5.0}),
    (tfbn.BatchRenorm, {"renorm_momentum": 0.3}),
    (tfbn.LpBatchNorm, {"order": 1}),
    (tfbn.LpBatchNorm, {"order": 2, "centered": True, "literal": True}),
    (tfbn.LpBatchNorm, {"order": "inf"}),
    (tfbn.NoisyBatchNorm, {"seed": 7, "mean_range": 0.25}),
)


def layers():
    """`(class, its own arguments)`."""
    return st.sampled_from(LAYERS)


def without_counters(layer):
    """The state but for what counts calls."""
    state = testing_utils.state(layer)
    return {k: v for k, v in state.items() if v.dtype.kind == "f"}


class UnusableBatchesTest(tf.test.TestCase):
    @strategies.examples(3)
    @hypothesis.given(
        strategies.batches(),
        properties.options(),
        layers(),
        st.sampled_from((np.nan, np.inf, -np.inf)),
    )
    def test_a_non_finite_element_leaves_the_averages(self, batch, plain, layer, value):
        """Every bit of them, and in each channel."""
        hypothesis.assume(np.any(batch.kept))
        layer = properties.make(layer[0], batch, **plain, **layer[1])
        x = batch.x.copy()
        used = np.argwhere(batch.kept)
        x[tuple(used[np.random.default_rng(batch.seed).integers(len(used))])] = value
        before = without_counters(layer)
        exact_training.train_on(layer, x, batch.upstream, batch.mask)
        testing_utils.assert_same_state(without_counters(layer), before)

    @strategies.examples(2)
    @hypothesis.given(
        strategies.batches(shape_axis=strategies.sample_shapes(), virtual=False),
        properties.options(),
        layers(),
        st.sampled_from(("no samples", "none kept")),
    )
    def test_an_empty_batch_leaves_the_averages(self, batch, plain, layer, kind):
        layer = properties.make(layer[0], batch, **plain, **layer[1])
        x, upstream, mask = batch.samples(slice(None))
        if kind == "no samples":
            x, upstream, mask = x[:0], upstream[:0], None
        else:
            mask = np.zeros(x.shape[:1], bool)
        before = without_counters(layer)
        y, _ = exact_training.train_on(layer, x, upstream, mask)
        self.assertEqual(y.shape, x.shape)
        testing_utils.assert_same_state(without_counters(layer), before)


class ConfigTest(tf.test.TestCase):
    @strategies.examples(3)
    @hypothesis.given(strategies.batches(), properties.options(), layers())
    def test_makes_the_same_layer(self, batch, plain, layer):
        """By way of JSON."""
        layer = properties.make(layer[0], batch, **plain, **layer[1])
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        again = keras.saving.deserialize_keras_object(config)
        self.assertIs(type(again), type(layer))
        self.assertEqual(again.get_config(), layer.get_config())
        self.assertEqual(
            [w.path for w in again.weights], [w.path for w in layer.weights]
        )
        again.set_weights(layer.get_weights())
        results = []
        for each in (layer, again):
            y, gradients = exact_training.train(each, batch)
            results.append((y, *gradients, *each.get_weights()))
        for one, two in zip(*results, strict=True):
            properties.assert_same(one, two)


class VirtualBatchesTest(properties.PropertiesTestCase):
    @strategies.examples(2)
    @hypothesis.given(
        strategies.batches(dtypes=("float32",), shape_axis=strategies.sample_shapes()),
        layers(),
    )
    def test_averages_are_means_over_the_groups(self, batch, layer):
        """Of those that hold anything, each with an average of its own."""
        hypothesis.assume(np.any(batch.kept))
        layer_class, own = layer
        name = "moving_mean"
        whole = properties.make(layer_class, batch, momentum=0.0, **own)
        exact_training.train(whole, batch)
        alone = dataclasses.replace(batch, groups=1)
        means = []
        for chosen in np.split(np.arange(batch.shape[0]), batch.groups):
            if not np.any(batch.kept[chosen]):
                continue
            part = properties.make(layer_class, alone, momentum=0.0, **own)
            exact_training.train_on(part, *batch.samples(chosen))
            means.append(strategies.wide(getattr(part, name)))
        size = np.max(np.abs(batch.rows(batch.clean)), axis=0)
        tolerance = 2.0 * exact_training.ULPS * 2.0**-24 * size
        expected = exact_training.Expected(np.mean(means, axis=0), tolerance)
        self.assert_expected(getattr(whole, name), expected, "float32", name)


if __name__ == "__main__":
    tf.test.main()
