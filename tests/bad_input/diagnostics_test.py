"""Bad arguments of the diagnostics, their meters and the callback."""

import functools
import math
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.bad_input import base
from tfbn import callbacks
from tfbn import diagnostics
from tfbn.recording import cadence
from tfbn.recording import records

_X, _Y = np.ones((6, 4), "float32"), np.ones((6, 2), "float32")
_MSE = keras.losses.MeanSquaredError()


@functools.cache
def _model():
    """A small one with batch normalisation, `block/dense`, `block/norm`, `head`."""
    block = keras.Sequential(
        [keras.layers.Dense(3, name="dense"), tfbn.BatchNorm(name="norm")], name="block"
    )
    return keras.Sequential(
        [keras.Input((4,)), block, keras.layers.Dense(2, name="head")], name="net"
    )


def _with_model(function, **options):
    """`function` of the model, the loss and the batch, made when it is called."""

    def call(**changed):
        arguments = {"model": _model(), "loss": _MSE, "x": _X, "y": _Y, **options}
        if function is diagnostics.activation_moments:
            del arguments["loss"], arguments["y"]
        return function(**arguments | changed)

    return call


def _meter(function, **options):
    """The same without a batch."""

    def call(**changed):
        arguments = {"model": _model(), "loss": _MSE, **options}
        if function is diagnostics.ActivationMeter:
            del arguments["loss"]
        return function(**arguments | changed)

    return call


_ICS = _with_model(diagnostics.internal_covariate_shift, learning_rate=0.1)
_LANDSCAPE = _with_model(diagnostics.landscape, step_sizes=[0.1])
_ACTIVATIONS = _with_model(diagnostics.activation_moments)
_EIGENVALUE = _with_model(diagnostics.hessian_top_eigenvalue)
_SURFACE = _with_model(diagnostics.loss_surface, radii=[0.0, 1.0])
_IDENTITIES = _with_model(diagnostics.gradient_identities)
_CALLBACK = functools.partial(callbacks.Diagnostics, ["ics"], _X, _Y)
_STEP_SIZES = functools.partial(diagnostics.relative_step_sizes, 0.1)

_ROWS = [
    *base.rows(_ICS, "learning_rate", "greater than 0", 0.0, -0.1),
    *base.rows(_ICS, "learning_rate", "must be a number", "0.1", None, True),
    *base.rows(_ICS, "learning_rate", "must be finite", math.nan, math.inf, 10**400),
    *base.rows(_ICS, "groups", "mapping of names", ["head"], "head", 3),
    *base.rows(_ICS, "groups", "mapping of names", {}, {"a": "head"}, {"a": 3}),
    *base.rows(_LANDSCAPE, "step_sizes", "finite numbers greater than 0", [], [0.0]),
    *base.rows(_LANDSCAPE, "step_sizes", "greater than 0", [-1.0], [math.nan], [1e400]),
    *base.rows(_LANDSCAPE, "step_sizes", "greater than 0", 0.1, "0.1", None, [[0.1]]),
    *base.rows(_LANDSCAPE, "direction", "must be one of", "uphill", None, 3),
    *base.rows(_LANDSCAPE, "seed", "at least 0", -1),
    *base.rows(_LANDSCAPE, "seed", "must be an integer", 0.5, None),
    *base.rows(_LANDSCAPE, "seed", "at most", 10**30),
    *base.rows(_STEP_SIZES, "low", "greater than 0", 0.0),
    *base.rows(_STEP_SIZES, "high", "greater than 0.5", 0.5, 0.1),
    *base.rows(_STEP_SIZES, "points", "at least 2", 1),
    *base.rows(_STEP_SIZES, "points", "must be an integer", 8.0),
    *base.rows(_STEP_SIZES, "points", "must fit into memory", 10**15),
    *base.rows(_ACTIVATIONS, "layers", "a list of names", "head", 3),
    *base.rows(_ACTIVATIONS, "layers", "one or more", [], {}),
    *base.rows(_ACTIVATIONS, "unit", "at least 0", -1),
    *base.rows(_ACTIVATIONS, "unit", "must be an integer", 1.0, "0"),
    *base.rows(_ACTIVATIONS, "num_bins", "at least 1", 0),
    *base.rows(_ACTIVATIONS, "num_bins", "must fit into memory", 10**15),
    *base.rows(_EIGENVALUE, "iterations", "at least 1", 0),
    *base.rows(_EIGENVALUE, "iterations", "must be an integer", 2.0, "20"),
    *base.rows(_EIGENVALUE, "tolerance", "at least 0", -1e-3),
    *base.rows(_EIGENVALUE, "tolerance", "must be finite", math.nan),
    *base.rows(_EIGENVALUE, "seed", "at least 0", -1),
    *base.rows(_EIGENVALUE, "group", "mean 'head'?", "haed"),
    *base.rows(_SURFACE, "radii", "finite numbers", [], [math.inf], "x", 1.0, [[1.0]]),
    *base.rows(_SURFACE, "dimensions", "one of 1, 2", 0, 3, "2", None, [1]),
    *base.rows(_SURFACE, "seed", "at least 0", -1),
    *base.rows(_SURFACE, "include_vectors", "True or False", 1),
    *base.rows(_IDENTITIES, "layers", "a list of names", "block/norm", 3),
    *base.rows(_CALLBACK, "every", "at least 1", 0, -1),
    *base.rows(_CALLBACK, "every", "must be an integer", 2.5, "100", None),
    *base.rows(_CALLBACK, "spacing", "mean 'log'?", "logg"),
    *base.rows(_CALLBACK, "loss", "a function loss(y_true, y_pred)", "mse", 3),
    *base.rows(_CALLBACK, "jit_compile", "True or False", "auto", None),
    *base.rows(_CALLBACK, "log_dir", "a path or None", 3, ["runs"]),
    *base.rows(
        functools.partial(callbacks.Diagnostics, x=_X, y=_Y),
        "diagnostics",
        "a list of names",
        "ics",
        [],
        None,
        3,
    ),
    *base.rows(cadence.Cadence, "every", "at least 0", -1),
    *base.rows(cadence.Cadence, "every", "must be an integer", 1.5, None),
]
for _made in (
    _meter(diagnostics.CovariateShiftMeter),
    _meter(diagnostics.LandscapeMeter),
    _meter(diagnostics.ActivationMeter),
    _meter(diagnostics.CurvatureMeter),
    _meter(diagnostics.SurfaceMeter),
):
    _ROWS += [
        *base.rows(_made, "training", "True or False", "yes", None, 1),
        *base.rows(_made, "jit_compile", "True or False", "auto", None),
    ]
_ROWS += [
    *base.rows(_meter(diagnostics.GradientIdentityMeter), "jit_compile", "True", 1),
    *base.rows(_meter(diagnostics.CurvatureMeter), "per_layer", "True or False", 1),
    *base.rows(_meter(diagnostics.CovariateShiftMeter), "update", "mean 'sgd'?", "SDG"),
]

# `(call, argument, value, rule, what is received)` of what is not shown whole.
_OTHERS = [
    (_ACTIVATIONS, "layers", ["haed"], "mean 'head'?", "'haed'"),
    (_ACTIVATIONS, "layers", [None], "layers must name", "None"),
    (_IDENTITIES, "layers", ["hed"], "layers must name", "'hed'"),
    (_ICS, "groups", {"a": ["haed"]}, "mean 'head'?", "'haed' in group 'a'"),
    (_ICS, "groups", {"a": ["head"], "b": ["head"]}, "once", "again in 'b'"),
    (_CALLBACK, "diagnostics", ["icss"], "mean 'ics'?", "diagnostics='icss'"),
]
_BATCHES = [
    ({"x": _X[:5]}, "x and y must hold the same number", r"\(5, 4\), \(6, 2\)"),
    ({"x": _X[:0], "y": _Y[:0]}, "x and y must hold", r"\(0, 4\), \(0, 2\)"),
    ({"x": _X[:, :3]}, "x must be a batch that model net takes", r"\(6, 3\)"),
    ({"y": _Y[:, :0]}, "y must fit the loss", r"\(6, 0\)"),
    ({"x": "batch"}, "x must be a batch that model net takes", "Invalid input shape"),
    ({"x": None}, "x must be", "None"),
    ({"loss": None}, "loss must be a function", "loss=None"),
    ({"loss": "mse"}, "loss must be a function", "loss='mse'"),
    ({"loss": lambda a, b: b}, "must be a scalar", r"shape \(6, 2\)"),
    ({"loss": lambda a, b: None}, "y must fit the loss", "None"),
    ({"model": None}, "model must be a Keras model", "model=None"),
    ({"model": keras.layers.Dense}, "model must be a Keras model", "Dense"),
    ({"model": keras.Sequential(name="raw")}, "model must be built", "raw"),
]


class ArgumentsTest(base.BadInputTest):
    @parameterized.parameters(*_ROWS)
    def test_refused(self, *row):
        self.assert_refused(base.Row(*row))

    @parameterized.parameters(*_OTHERS)
    def test_names_refused(self, call, argument, value, rule, received):
        if call is _CALLBACK:
            call = functools.partial(callbacks.Diagnostics, x=_X, y=_Y)
        with self.assertRaises(ValueError) as caught:
            call(**{argument: value})
        message = str(caught.exception)
        self.assertIn(rule, message)
        self.assertIn(f"{argument} must", message)
        self.assertIn(received, message.partition("Received: ")[2])


class BatchesTest(base.BadInputTest):
    @parameterized.product(call=(_ICS, _LANDSCAPE, _SURFACE), case=_BATCHES)
    def test_refused(self, call, case):
        arguments, rule, received = case
        with self.assertRaisesRegex(ValueError, rf"{rule}.*Received: .*{received}"):
            call(**arguments)


class RecordsTest(base.BadInputTest):
    def test_one_path_is_no_list(self):
        with self.assertRaisesRegex(ValueError, "paths must be a list.*paths='runs'"):
            records.read_runs("runs")

    @parameterized.parameters(
        ({"kind": ""}, "kind must be a non-empty string.*kind=''"),
        ({"kind": 3}, "kind must be a non-empty string.*kind=3"),
        ({"step": -1}, "step must be .*step=-1"),
        ({"step": 1.5}, "step must be .*step=1.5"),
        ({"step": True}, "step must be .*step=True"),
        ({"step": "1"}, "step must be .*step='1'"),
        ({"loss": {1, 2}}, r"loss must be a number.*\{1, 2\}"),
        ({"loss": 1j}, "loss must be a number.*1j"),
        ({"loss": b"x"}, "loss must be a number.*b'x'"),
    )
    def test_nothing_is_written(self, values, message):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        with records.RecordWriter(folder) as writer:
            with self.assertRaisesRegex(ValueError, message):
                writer.write(**{"kind": "train", "step": 1, **values})
        self.assertEmpty(os.listdir(folder))


if __name__ == "__main__":
    tf.test.main()
