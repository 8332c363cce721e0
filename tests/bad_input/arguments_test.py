"""One wrong value for each argument of each public function and class.

The arguments come from the signatures, so a new one is tested without a line here: it
has to refuse an object of an unknown class. Where a number has a range, `OUTSIDE` has a
value beyond it. What the rules themselves accept is tested in validation_test.py.
"""

import dataclasses
import functools
import inspect

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.bad_input import base
from tfbn import callbacks
from tfbn import data
from tfbn import diagnostics
from tfbn import experiment
from tfbn import models
from tfbn import schedules

# By argument: the nearest value outside the range, and what the message says of it.
OUTSIDE = {
    "momentum": (1.5, "at least 0 and at most 1"),
    "renorm_momentum": (-0.1, "at least 0 and at most 1"),
    "epsilon": (0.0, "greater than 0"),
    "virtual_batch_size": (0, "at least 1"),
    "virtual_batch_order": ("random", "one of 'consecutive', 'interleaved'"),
    "rmax": (0.5, "at least 1"),
    "dmax": (-1.0, "at least 0"),
    "order": (3, "one of 1, 2, 'inf'"),
    "mean_range": (-0.5, "at least 0"),
    "stddev_max": (0.5, "at least 1"),
    "mean_jitter": (-0.5, "at least 0"),
    "stddev_jitter": (-0.5, "at least 0"),
    "seed": (-1, "at least 0"),
    "begin_step": (-1, "at least 0"),
    "end_step": (10, "greater than begin_step"),
    "total_steps": (0, "at least 1"),
    "reference_steps": (0, "at least 1"),
    "width": (0.0, "greater than 0"),
    "dropout": (1.0, "at least 0 and less than 1"),
    "l2_penalty": (-1e-4, "at least 0"),
    "num_classes": (0, "at least 1"),
    "hidden_units": ((100, 0), "at least 1"),
    "classifier_grid": (0, "at least 1"),
    "units": (0, "at least 1"),
    "num_train": (0, "at least 1"),
    "num_test": (0, "at least 1"),
    "num_examples": (0, "at least 1"),
    "batch_size": (0, "at least 1"),
    "labels_per_batch": (0, "at least 1"),
    "images_per_label": (0, "at least 1"),
    "steps_per_domain": (0, "at least 1"),
    "learning_rate": (0.0, "greater than 0"),
    "unit": (-1, "at least 0"),
    "num_bins": (0, "at least 1"),
    "iterations": (0, "at least 1"),
    "tolerance": (-1e-3, "at least 0"),
    "products": (1, "at least 2"),
    "method": ("hutch", "must be one of"),
    "dimensions": (3, "one of 1, 2"),
    "radii": ([np.inf], "finite"),
    "step_sizes": ([0.0], "greater than 0"),
    "low": (0.0, "greater than 0"),
    "high": (0.1, "greater than 0.5"),
    "points": (1, "at least 2"),
    "direction": ("uphill", "must be one of"),
    "kind": ("class_bias", "mean 'class_biased'?"),
    "every": (-1, "at least"),
    "spacing": ("logg", "mean 'log'?"),
}
# An argument of the same name, with another rule.
OTHER_RULES = {
    (models.vgg, "depth"): ("a", "mean 'A'?"),
    (models.deep_linear, "depth"): (0, "at least 1"),
    (models.vgg, "norm_after"): ((9,), "convolutions from 1 to 8"),
    (models.vgg, "input_shape"): ((31, 32, 3), "at least 32"),
    (models.mlp, "input_shape"): ((0,), "a list of integers"),
}

_IMAGES, _LABELS = np.zeros((8, 4, 4, 3), "uint8"), np.arange(8) % 2
_SPLIT = data.Split(_IMAGES, _LABELS, _LABELS)


_Later = functools.partial  # what is made when a test needs it


@functools.cache
def _model():
    return keras.Sequential(
        [keras.Input((4,)), tfbn.BatchNorm(), keras.layers.Dense(2)], name="net"
    )


def _parameters():
    return [v.value for v in _model().trainable_variables]


# What required arguments get while another one is wrong.
GOOD = {
    "initial_value": 1.0,
    "final_value": 3.0,
    "begin_step": 10,
    "end_step": 20,
    "name": "shapes",
    "train": _SPLIT,
    "test": _SPLIT,
    "num_classes": 2,
    "mean": np.ones(3, "float32"),
    "stddev": np.ones(3, "float32"),
    "inputs": _IMAGES,
    "targets": _LABELS,
    "labels": _LABELS,
    "domains": _LABELS,
    "labels_per_batch": 2,
    "num_examples": 10,
    "batch_size": 2,
    "steps_per_domain": 3,
    "kind": "iid",
    "split": _SPLIT,
    "model": _Later(_model),
    "loss": keras.losses.MeanSquaredError(),
    "x": np.ones((6, 4), "float32"),
    "y": np.ones((6, 2), "float32"),
    "learning_rate": 0.1,
    "step_sizes": [0.1],
    "radii": [0.0, 1.0],
    "diagnostics": ["ics"],
    "sampler": data.IIDBatches(6, 2),
    "parameters": _Later(_parameters),
}

# Arguments that are checked elsewhere or not at all, and why.
UNCHECKED = {
    "Dataset.name": "a label, for which there is no rule",
    "Diagnostics.x": "checked in the first call, with the model",
    "Diagnostics.y": "checked in the first call, with the model",
    "BatchNorm.renorm_momentum": "part of a Keras config, of no effect without renorm",
    "make_batches.images_per_label": "the sampler's",
    "make_batches.steps_per_domain": "the sampler's",
    "filter_normalized_directions.parameters": "made by TensorFlow, not by hand",
    "load.name": "called dataset, as the flag is; see tests/data/loading_test.py",
    "total_shift.shifts": "a result of internal_covariate_shift",
    "total_shift.name": "a label, for which there is no rule",
}
# What the files of diagnostics declare; no user makes one.
_DECLARATIONS = ("Diagnostic", "Meter", "RecordKind", "TrainingStep")
# Classes that need a model of another kind; their own tests check the arguments.
ELSEWHERE = ("ReplicationMeter", *_DECLARATIONS)


def _public():
    """The functions and classes that users pass arguments to."""
    yield from (getattr(tfbn, name) for name in tfbn.layers.__all__)
    yield from (schedules.LinearRamp, schedules.ioffe_2017, callbacks.Diagnostics)
    for package in (models, data, diagnostics):
        for name in package.__all__:
            value = getattr(package, name)
            # Not the results, named tuples, nor what has no signature: exceptions.
            if inspect.isfunction(value) or _has_own_init(value):
                if name not in ELSEWHERE:
                    yield value


def _has_own_init(value):
    return (
        inspect.isclass(value)
        and not hasattr(value, "_fields")
        and "__init__" in vars(value)
    )


def _cases():
    for function in _public():
        every, required = base.parameters(function)
        for argument in every:
            if not _is_unchecked(function, argument):
                wrong = OUTSIDE.get(argument, (base.Wrong(), " must "))
                wrong = OTHER_RULES.get((function, argument), wrong)
                # Of a batch, y too, which a dataset does without.
                others = [*required, "y"] if "x" in required else required
                others = [n for n in others if n in every and n != argument]
                name = f"{function.__name__}_{argument}"
                yield name, function, argument, *wrong, others


def _is_unchecked(function, argument):
    owners = inspect.getmro(function) if inspect.isclass(function) else [function]
    names = (f"{owner.__name__}.{argument}" for owner in owners)
    # BatchRenorm has a renorm_momentum of its own.
    return function is not tfbn.BatchRenorm and any(n in UNCHECKED for n in names)


class ArgumentsTest(base.BadInputTest):
    @parameterized.named_parameters(*_cases())
    def test_refused(self, function, argument, value, rule, others):
        given = {name: GOOD[name] for name in others}
        given = {k: v() if isinstance(v, _Later) else v for k, v in given.items()}
        self.assert_refused(function, argument, value, rule, **given)

    @parameterized.named_parameters(
        (field.name, field) for field in dataclasses.fields(experiment.TrainConfig)
    )
    def test_option(self, field):
        is_number = isinstance(field.default, (int, float))
        value = (
            -1 if is_number and not isinstance(field.default, bool) else base.Wrong()
        )
        self.assert_refused(experiment.TrainConfig, field.name, value)


if __name__ == "__main__":
    tf.test.main()
