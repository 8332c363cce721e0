"""The tables hold what they are there for: many bad values, of every area."""

import unittest

import tensorflow as tf
from absl.testing import parameterized

from tests.bad_input import data_test
from tests.bad_input import diagnostics_test
from tests.bad_input import layers_test
from tests.bad_input import schedules_and_models_test
from tests.bad_input import scripts_test
from tests.bad_input import training_test

# A row is a test; so many bad values there are at least.
LEAST_ROWS = {
    data_test: 80,
    diagnostics_test: 80,
    layers_test: 80,
    schedules_and_models_test: 80,
    scripts_test: 80,
    training_test: 60,
}


class TablesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*LEAST_ROWS)
    def test_rows(self, module):
        tests = unittest.defaultTestLoader.loadTestsFromModule(module)
        self.assertGreaterEqual(tests.countTestCases(), LEAST_ROWS[module])


if __name__ == "__main__":
    tf.test.main()
