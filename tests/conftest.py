"""Settings of the tests: TensorFlow's start."""

from tests import testing_utils

testing_utils.start_tensorflow()
