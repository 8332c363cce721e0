"""Tests of tfbn.diagnostics.shared_calls, by the calls that a graph really makes."""

import time

import keras
import tensorflow as tf

from tfbn import diagnostics
from tfbn.diagnostics import layer_calls
from tfbn.diagnostics import shared_calls


@keras.saving.register_keras_serializable("tfbn_tests")
class CountedDense(keras.layers.Dense):
    """Counts its calls."""

    def build(self, input_shape):
        super().build(input_shape)
        self.num_calls = 0

    def call(self, x):
        self.num_calls += 1
        return super().call(x)


class AddedNoise(keras.layers.Layer):
    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def call(self, x):
        return x + keras.random.normal((2, 3), seed=self.seed)


class SharedCallsTest(tf.test.TestCase):
    def test_same_inputs_and_parameters_make_no_new_call(self):
        model, layers = _chain()
        self._trace(model, [{}, {}, {2: 2.0}])
        # The third pass has another kernel in the second layer.
        self.assertEqual([layer.num_calls for layer in layers], [1, 2, 2])

    def test_outputs_are_those_of_the_passes_parameters(self):
        model, _ = _chain()
        x = tf.ones((2, 3))
        passes = [{}, {4: 2.0}, {2: 3.0, 4: 2.0}, {0: 0.5, 2: 3.0, 4: 2.0}]
        outputs = self._trace(model, passes)
        for output, factors in zip(outputs, passes, strict=True):
            for i, factor in factors.items():
                variable = model.trainable_variables[i]
                variable.assign(factor * variable)
            self.assertAllClose(output, model(x), rtol=1e-6)
            for i, factor in factors.items():
                variable = model.trainable_variables[i]
                variable.assign(variable / factor)

    def test_operations_between_layers_do_not_hide_what_is_the_same(self):
        layers = [CountedDense(3) for _ in range(3)]
        x = inputs = keras.Input((3,))
        for layer in layers:
            x = layer(2.0 * x + inputs)
        self._trace(keras.Model(inputs, x), [{}, {4: 2.0}])
        self.assertEqual([layer.num_calls for layer in layers], [1, 1, 2])

    def test_branches_are_no_burden(self):
        """Two ways through each of 30 blocks: 2^30 ways from layer to layer."""
        first, last = CountedDense(3), CountedDense(3)
        inputs = keras.Input((3,))
        x = first(inputs)
        for _ in range(30):
            x = 0.5 * x + 0.25 * x
        model = keras.Model(inputs, last(x))
        begin = time.perf_counter()
        self._trace(model, [{}, {2: 2.0}, {2: 3.0}])
        self.assertEqual([first.num_calls, last.num_calls], [1, 3])
        self._trace(model, [{}, {}])
        self.assertEqual([first.num_calls, last.num_calls], [1, 1])
        self.assertLess(time.perf_counter() - begin, 30.0)

    def test_layers_with_one_seed_are_called_each_time(self):
        # Left out, a call would give the next layer the noise that was its own.
        seed = keras.random.SeedGenerator(1)
        layers = [CountedDense(3), AddedNoise(seed), CountedDense(3), AddedNoise(seed)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        first, second = self._trace(model, [{}, {}])
        self.assertAllEqual(first, second)
        self.assertEqual(model.layers[0].num_calls, 2)

    def _trace(self, model, passes):
        """The outputs of the model in a graph of several passes, each with some
        parameters multiplied: a list of {index: factor}."""
        for layer in layer_calls.all_layers(model):
            layer.num_calls = 0
        state = diagnostics.snapshot(model)

        @tf.function(autograph=False)
        def outputs(parameters, x):
            calls, results = shared_calls.SharedCalls(model), []
            point = list(parameters)
            for factors in passes:
                point = [
                    p if i not in factors else factors[i] * parameters[i]
                    for i, p in enumerate(point)
                ]
                calls.begin_pass(point)
                with layer_calls.intercepted(model, calls):
                    results.append(
                        model.stateless_call(point, state.buffers, x, training=True)[0]
                    )
            return results

        return outputs(state.parameters, tf.ones((2, 3)))


def _chain():
    layers = [CountedDense(3, "tanh") for _ in range(3)]
    return keras.Sequential([keras.Input((3,)), *layers]), layers


if __name__ == "__main__":
    tf.test.main()
