"""Tests of tfbn.training.memory."""

import os
import resource
from unittest import mock

import keras
import tensorflow as tf

from tests.training import small
from tfbn import models
from tfbn.training import memory


class LeastBytesTest(tf.test.TestCase):
    def test_outputs_of_layers_with_weights(self):
        model = keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.layers.Conv2D(5, 3, padding="same"),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
                keras.layers.Flatten(),
                keras.layers.Dense(7, dtype="mixed_bfloat16"),
            ]
        )
        # float32 8 x 8 x 5, twice, and 7 of bfloat16.
        expected = 10 * (2 * 4 * 320 + 2 * 7)
        self.assertEqual(memory.least_bytes(model, 10), expected)
        # Inside another model they count once.
        outer = keras.Sequential([keras.Input((8, 8, 3)), model])
        self.assertBetween(memory.least_bytes(outer, 10), 1, expected)

    def test_layers_of_unknown_shapes_do_not_count(self):
        model = small.problem("subclassed").make()
        self.assertEqual(memory.least_bytes(model, 10), 0)


class CheckStepTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.model = models.deep_linear(2, 4)  # 2 outputs of 4 floats an example

    def _check(self, available, gpus=()):
        with (
            mock.patch.object(memory, "available_bytes", return_value=available),
            mock.patch.object(
                memory.tf.config, "list_physical_devices", return_value=list(gpus)
            ),
        ):
            memory.check_step(self.model, 2**26)

    def test_too_large(self):
        with self.assertRaisesRegex(
            MemoryError, r"batch_size=67108864, for which .* 2.0 GiB at .*; 1.5 GiB are"
        ):
            self._check(3 * 2**29)

    def test_large_enough_or_on_a_gpu(self):
        self._check(2**31)
        self._check(1, gpus=["GPU:0"])


class AvailableBytesTest(tf.test.TestCase):
    def test_less_than_the_machine_has(self):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self.assertBetween(memory.available_bytes(), 1, total)

    def test_limit_of_the_address_space(self):
        before = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm", encoding="utf-8") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, before[1]))
        try:
            available = memory.available_bytes()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        # Python itself takes some meanwhile.
        self.assertBetween(available, 2**27, 2**28)

    def test_control_group(self):
        folder = self.get_temp_dir()
        self.assertIsNone(memory._of_control_group(folder))
        for name, text in (("max", "1000\n"), ("current", "300\n")):
            with open(os.path.join(folder, f"memory.{name}"), "w") as file:
                file.write(text)
        self.assertEqual(memory._of_control_group(folder), 700)
        with open(os.path.join(folder, "memory.max"), "w") as file:
            file.write("max\n")
        self.assertIsNone(memory._of_control_group(folder))


if __name__ == "__main__":
    tf.test.main()
