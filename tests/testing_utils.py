"""Helpers of the tests: float64 NumPy references, random data, ways to run.

The references are written from the papers (Ioffe & Szegedy 2015, Ioffe 2017, Santurkar
et al. 2018) and share nothing with the code under test. All of them work on arrays
with the channels last; `channels_last` brings others into that form.
"""

import contextlib
import dataclasses
import functools
import gc
import io
import math
import os
import resource
import runpy
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl import app
from absl import flags
from tensorflow.python.eager import context

NUM_LOGICAL_CPUS = 2

MODES = ("eager", "graph", "xla")

# What XLA's compiler rewrites stays; only the machine code of it is made fast, and runs
# slowly. With the default a test of a compiled layer compiles four times as long.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def start_tensorflow():
    """Sets what TensorFlow takes only before it starts; tests/conftest.py calls it.

    The CPU is split in two for the tests of distribution. And each pytest worker, with
    its child processes, uses its share of the cores: threads of several workers on one
    core wait for each other, which costs a tenth of the time of layers and ops.

    XLA compiles by `XLA_FLAGS`, unless that is set (`XLA_FLAGS= pytest ...` for its
    defaults). The numerics have a long test by the defaults in exactness_test.
    """
    num_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if num_workers > 1:
        share = max(1, len(os.sched_getaffinity(0)) // num_workers)
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(share))
    # What has been imported stays, and need not be looked through again and again: a
    # tenth of the time of all tests.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * NUM_LOGICAL_CPUS
    )
    if "XLA_FLAGS" not in os.environ:
        # XLA reads them once; child processes are those of a user again.
        with mock.patch.dict(os.environ, XLA_FLAGS=XLA_FLAGS):
            tf.function(tf.negative, jit_compile=True, autograph=False)(0.0)
    _keep_kernels()


def _keep_kernels():
    """Has a new seed leave the kernels of eager operations in their cache.

    Each test's setUp sets one, and to make a kernel anew takes a millisecond. Kernels
    hold the state of TensorFlow's stateful random operations. Neither tfbn nor Keras
    uses those; neither may a test, whose numbers would depend on the tests before it.
    """
    context.pywrap_tfe.TFE_ContextClearCaches = lambda context_handle: None


# absl defines them once in a process, in the name of whoever calls it: were that within
# a flagsaver, they would be gone with its end.
app.define_help_flags()
_HELP_FLAGS = ("help", "helpshort", "helpfull", "helpxml")


@functools.cache
def two_cpus_strategy():
    """The MirroredStrategy over two logical CPUs.

    One for the process: TensorFlow numbers the collective operations of each strategy
    from the same start, and takes those of a second one for the first one's.
    """
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < NUM_LOGICAL_CPUS:
        raise RuntimeError(
            "TensorFlow runs with one logical CPU. Run tests by pytest, whose "
            "tests/conftest.py splits it."
        )
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def in_mode(function, mode):
    """`function` as it is, as a tf.function, or compiled by XLA.

    Without AutoGraph, as inside of a Keras layer: it would convert and wrap each
    function of tfbn, a fifth of the time of tests/ops.
    """
    if mode == "eager":
        return function
    return tf.function(function, jit_compile=mode == "xla", autograph=False)


def count_traces(function, **options):
    """`(traced, traces)`: `function` as a tf.function and a list that grows by one
    element whenever it is traced."""
    traces = []

    @tf.function(**options)
    def traced(*args):
        traces.append(args)
        return function(*args)

    return traced, traces


def relative_error(actual, expected):
    """max|actual - expected| / max|expected|, over all elements."""
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    if actual.shape != expected.shape:
        raise AssertionError(f"Shapes differ: {actual.shape}, {expected.shape}")
    return np.max(np.abs(actual - expected)) / np.max(np.abs(expected))


def random_batch(rng, shape, axis=-1, *, offset=None, dtype="float32"):
    """Normal data whose channels differ in scale, with non-zero means.

    With an `offset` all channels have that mean and unit variance.
    """
    channels = shape[axis]
    if offset is None:
        scales = np.geomspace(0.3, 4.0, channels)
        means = np.linspace(-2.0, 3.0, channels) + 0.5
    else:
        scales, means = np.ones(channels), np.full(channels, offset)
    unit = np.moveaxis(rng.normal(size=shape), axis, -1)
    return np.moveaxis(unit * scales + means, -1, axis).astype(dtype)


def set_random_state(layer, rng):
    """Gives each float weight positive random values, unequal between channels."""
    for weight in layer.weights:
        if weight.dtype in ("float32", "float64"):
            weight.assign(rng.uniform(0.5, 2.0, size=weight.shape))


def state(layer):
    """The weights of a layer, by name, as NumPy arrays."""
    return {w.name: w.numpy() for w in layer.weights}


def assert_same_state(actual, expected):
    """Of `state`: equal bit for bit, NaN included."""
    if list(actual) != list(expected):
        raise AssertionError(f"Names differ: {list(actual)}, {list(expected)}")
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def trainer(layer, mask=None, mode="graph"):
    """A function `(x, upstream) -> (y, gradients)`: a training call and the gradients
    of sum(upstream * y) for the input, then for each trainable weight (gamma, beta).

    `mode` is one of `MODES` or "unknown_size".
    """
    options = {} if mask is None else {"mask": tf.constant(mask)}

    def call(x, upstream):
        variables = [w.value for w in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True, **options)
            loss = tf.reduce_sum(upstream * tf.cast(y, upstream.dtype))
        return y, tape.gradient(loss, [x, *variables])

    if mode == "unknown_size":
        return in_mode(lambda x, upstream: call(of_unknown_size(x), upstream), "graph")
    return in_mode(call, mode)


def train_call(layer, x, upstream, mask=None, mode="eager", dtype="float32"):
    """One call of `trainer` with arrays."""
    call = trainer(layer, mask, mode)
    return call(tf.constant(x, dtype), tf.constant(upstream, dtype))


def of_unknown_size(x):
    """`x` as a graph for batches of any size sees it."""
    return tf.compat.v1.placeholder_with_default(x, [None, *x.shape[1:]])


def value_and_gradients(function, mode="eager"):
    """A function `(arguments, upstream) -> (y, rest, gradients)` of another one.

    `y, *rest = function(*arguments)`; the gradients are those of sum(upstream * y)
    for each argument.
    """

    def call(arguments, upstream):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            y, *rest = function(*arguments)
        return y, rest, tape.gradient(y, arguments, upstream)

    return in_mode(call, mode)


def hessian_vector_products(loss, mode="eager"):
    """A function `(arguments, directions) -> (by tapes, forward)` of a scalar one.

    Both are the products of the Hessian of `loss(*arguments)` with the directions, one
    for each argument: by a tape in a tape, and by a ForwardAccumulator around one.
    """

    def gradient(arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = loss(*arguments)
        return tape.gradient(value, arguments)

    def call(arguments, directions):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            gradients = gradient(arguments)
            product = sum(
                tf.reduce_sum(g * d) for g, d in zip(gradients, directions, strict=True)
            )
        by_tapes = tape.gradient(product, arguments)
        with tf.autodiff.ForwardAccumulator(arguments, directions) as accumulator:
            gradients = gradient(arguments)
        return by_tapes, accumulator.jvp(gradients)

    return in_mode(call, mode)


def accelerator(kind):
    """Has TensorFlow list a device of this kind, "GPU" or "TPU"; None for none."""
    list_devices = tf.config.list_logical_devices
    return mock.patch.object(
        tf.config,
        "list_logical_devices",
        lambda device=None: [device] if device == kind else list_devices(device),
    )


def operations(function, *arguments):
    """The types of the operations that a tf.function runs, in branches too."""
    graph = function.get_concrete_function(*arguments).graph
    types = {operation.type for operation in graph.get_operations()}
    for branch in graph.as_graph_def().library.function:
        types.update(node.op for node in branch.node_def)
    return types


def channels_last(x, axis=-1):
    """`x` in float64 as an [elements, channels] matrix; `axis` may be a tuple."""
    x, last = np.asarray(x, np.float64), _last(axis)
    x = np.moveaxis(x, axis, last)
    return x.reshape(-1, math.prod(x.shape[last[0] :]))


def like(matrix, shape, axis=-1):
    """The opposite of `channels_last`."""
    moved = np.moveaxis(np.empty(shape), axis, _last(axis)).shape
    return np.moveaxis(matrix.reshape(moved), _last(axis), axis)


def _last(axis):
    return [*range(-np.size(axis), 0)]


def _kept(keep, x):
    """`keep` with a column for each channel, or one for all."""
    keep = np.ones(len(x), bool) if keep is None else keep
    return keep.reshape(len(x), -1)


@dataclasses.dataclass
class Renorm:
    """Algorithm 1 of Ioffe 2017 on an [elements, channels] matrix.

    With r = 1 and d = 0 (the defaults) it is batch normalisation. `keep` selects the
    rows, or elements, that take part in the statistics.
    """

    x: np.ndarray
    epsilon: float
    gamma: np.ndarray | float = 1.0
    beta: np.ndarray | float = 0.0
    r: np.ndarray | float = 1.0
    d: np.ndarray | float = 0.0
    keep: np.ndarray | None = None

    def __post_init__(self):
        kept = _kept(self.keep, self.x)
        self.count = np.sum(kept, axis=0)
        self.share = kept / np.maximum(self.count, 1)  # of nothing: 0
        self.mean = np.sum(np.where(kept, self.x, 0.0) * self.share, axis=0)
        centred = np.where(kept, self.x - self.mean, 0.0)
        self.variance = np.sum(centred**2 * self.share, axis=0)
        self.sigma = np.sqrt(self.variance + self.epsilon)

    def correct(self, mean, stddev, rmax, dmax, drift_correction=False):
        """Sets r and d from the averages before the update."""
        common = 1.0
        if drift_correction:
            filled = np.broadcast_to(self.count > 0, self.sigma.shape)
            logs = np.log(self.sigma / stddev)[filled]
            common = np.exp(np.mean(logs)) if logs.size else 1.0
        self.r = np.clip(self.sigma / common / stddev, 1.0 / rmax, rmax)
        self.d = np.clip((self.mean / common - mean) / stddev, -dmax, dmax)
        return self

    @property
    def normalized(self):
        return (self.x - self.mean) / self.sigma * self.r + self.d

    @property
    def output(self):
        return self.gamma * self.normalized + self.beta

    def gradients(self, upstream):
        """Those of sum(upstream * output) for x, gamma and beta (section 3's
        backpropagation formulas; r and d are constants)."""
        dxh = upstream * self.gamma
        centred = self.x - self.mean
        dsigma = np.sum(dxh * centred, axis=0) * -self.r / self.sigma**2
        dmean = np.sum(dxh, axis=0) * -self.r / self.sigma
        dx = dxh * self.r / self.sigma
        dx += self.share * (dsigma * centred / self.sigma + dmean)
        dgamma = np.sum(upstream * self.normalized, axis=0)
        return dx, dgamma, np.sum(upstream, axis=0)


@dataclasses.dataclass
class LpNorm:
    """Normalisation by an l_p norm of an [elements, channels] matrix.

    By the docstring of tfbn.LpBatchNorm, with the names of `Renorm`. The gradient of
    the norm is that of TensorFlow where it has none: several largest elements share it,
    and it is 0 at 0.
    """

    x: np.ndarray
    epsilon: float
    gamma: np.ndarray | float = 1.0
    beta: np.ndarray | float = 0.0
    keep: np.ndarray | None = None
    order: int | str = 1
    centered: bool = False
    literal: bool = False

    def __post_init__(self):
        self.kept = _kept(self.keep, self.x)
        rows = np.where(self.kept, self.x, 0.0)
        self.count = np.sum(self.kept, axis=0)
        self.divisor = np.maximum(self.count, 1)
        # About a kept element, for the digits of a large mean.
        first = np.argmax(self.kept, axis=0)[np.newaxis]
        shift = np.take_along_axis(rows, np.broadcast_to(first, rows[:1].shape), 0)[0]
        rest = np.sum((rows - shift) * self.kept, axis=0) / self.divisor
        self.mean = shift + rest
        self.centred = self.x - shift - rest
        centred = np.where(self.kept, self.centred, 0.0)
        self.measured = centred if self.centered else rows
        powers = {1: 0.0, 2: -0.5, "inf": -1.0}
        self.factor = self.divisor ** powers[self.order] if self.literal else 1.0
        self.power_mean = self._power_mean()
        self.norm = self.power_mean * self.factor
        self.scale = self.norm + self.epsilon

    def _power_mean(self):
        sizes = np.abs(self.measured)
        if self.order == "inf":
            return np.max(sizes, axis=0, initial=0.0)
        total = np.sum(sizes**self.order, axis=0) / self.divisor
        return total ** (1.0 / self.order)

    @property
    def normalized(self):
        return self.centred / self.scale

    @property
    def output(self):
        return self.gamma * self.normalized + self.beta

    def norm_gradient(self):
        """That of the norm for each element."""
        if self.order == 1:
            gradient = np.sign(self.measured) / self.divisor
        elif self.order == 2:
            norm = np.where(self.power_mean > 0.0, self.power_mean, 1.0)
            gradient = self.measured / (self.divisor * norm)
        else:
            largest = (np.abs(self.measured) == self.power_mean) & self.kept
            gradient = np.sign(self.measured) * largest
            gradient = gradient / np.maximum(np.sum(largest, axis=0), 1)
        if self.centered:
            gradient = gradient - self.kept * np.sum(gradient, axis=0) / self.divisor
        return gradient * self.factor

    def gradients(self, upstream):
        """Those of sum(upstream * output) for x, gamma and beta."""
        gain = self.gamma / self.scale
        direct = upstream - self.kept * np.sum(upstream, axis=0) / self.divisor
        slope = -np.sum(upstream * self.centred, axis=0) * gain / self.scale
        dx = gain * direct + slope * self.norm_gradient()
        dgamma = np.sum(upstream * self.normalized, axis=0)
        return dx, dgamma, np.sum(upstream, axis=0)


class VirtualBatches:
    """Each group of rows by itself.

    Statistics are the means of the groups', for each channel of those of which `keep`
    leaves anything.

    Args:
        parts: the indices of the rows of each group; or the number of groups, of
            consecutive rows.
        make: `Renorm` or `LpNorm`, or a function with their first five arguments.
    """

    def __init__(self, x, parts, epsilon, gamma=1.0, beta=0.0, keep=None, make=Renorm):
        if isinstance(parts, int):
            parts = np.split(np.arange(len(x)), parts)
        self.parts = parts
        self.groups = [
            make(
                x[rows], epsilon, gamma, beta, keep=None if keep is None else keep[rows]
            )
            for rows in parts
        ]
        self.filled = [group for group in self.groups if np.any(group.count)]
        filled = np.stack([group.count > 0 for group in self.groups])
        self.any_filled = np.any(filled, axis=0)
        self.shares = filled / np.maximum(np.sum(filled, axis=0), 1)

    def average(self, statistic):
        """The mean over the groups that are not empty; of none, 0."""
        values = np.stack([getattr(group, statistic) for group in self.groups])
        return np.sum(values * self.shares, axis=0)

    mean = property(lambda self: self.average("mean"))
    variance = property(lambda self: self.average("variance"))
    sigma = property(lambda self: self.average("sigma"))
    norm = property(lambda self: self.average("norm"))

    def correct(self, *averages_and_bounds):
        """Sets r and d of each group from the same averages."""
        for group in self.groups:
            group.correct(*averages_and_bounds)
        return self

    @property
    def output(self):
        return self._in_order([group.output for group in self.groups])

    def gradients(self, upstream):
        """As those of `Renorm`: gamma and beta serve all groups."""
        dx, dgamma, dbeta = zip(
            *(
                group.gradients(upstream[rows])
                for group, rows in zip(self.groups, self.parts, strict=True)
            ),
            strict=True,
        )
        return self._in_order(dx), sum(dgamma), sum(dbeta)

    def _in_order(self, values):
        return np.concatenate(values)[np.argsort(np.concatenate(self.parts))]


class TrainingCall:
    """What a training call of a tfbn layer has to give, in float64.

    Of the layer's weights and options when this is made, before the call.

    Args:
        layer: a built BatchNorm, BatchRenorm or LpBatchNorm.
        x: the input.
        mask: None or a bool array, as the layer takes it.
    """

    def __init__(self, layer, x, mask=None):
        self.layer, self.before = layer, state(layer)
        self.shape = x.shape
        self.axis = sorted(int(axis) % x.ndim for axis in np.atleast_1d(layer.axis))
        wide = {k: v.astype("float64").reshape(-1) for k, v in self.before.items()}
        self.wide = wide
        options = ("order", "centered", "literal")
        options = {
            name: getattr(layer, name) for name in options if hasattr(layer, name)
        }
        self.groups = VirtualBatches(
            channels_last(x, self.axis),
            self._parts(len(x), math.prod(x.shape)),
            layer.epsilon,
            wide.get("gamma", 1.0),
            wide.get("beta", 0.0),
            keep=self._keep(mask),
            make=functools.partial(LpNorm, **options) if options else Renorm,
        )
        if "step" in wide:
            kind = "renorm" if "renorm_mean" in wide else "moving"
            rmax, dmax = (float(bound) for bound in layer.bounds())
            floor = layer.epsilon**0.5
            stddev = np.maximum(wide[f"{kind}_stddev"], floor)
            self.groups.correct(
                wide[f"{kind}_mean"], stddev, rmax, dmax, layer.drift_correction
            )

    def _parts(self, samples, elements):
        """The rows of each virtual batch."""
        size = self.layer.virtual_batch_size or samples
        number = -(-samples // size)
        groups = [np.arange(i, min(i + size, samples)) for i in range(0, samples, size)]
        if self.layer.virtual_batch_order == "interleaved":
            groups = [np.arange(i, samples, number) for i in range(number)]
        rows = elements // math.prod(self.shape[i] for i in self.axis) // samples
        return [
            (group[:, np.newaxis] * rows + np.arange(rows)).ravel() for group in groups
        ]

    def _keep(self, mask):
        if mask is None:
            return None
        mask = np.broadcast_to(mask[..., np.newaxis], self.shape)
        return channels_last(mask, self.axis) > 0

    @property
    def output(self):
        return like(self.groups.output, self.shape, self.axis)

    def gradients(self, upstream):
        """Those of sum(upstream * output) for the input and each trainable weight."""
        upstream = channels_last(upstream, self.axis)
        dx, dgamma, dbeta = self.groups.gradients(upstream)
        rest = [dgamma] * self.layer.scale + [dbeta] * self.layer.center
        weight_shape = self.before["moving_mean"].shape
        rest = [gradient.reshape(weight_shape) for gradient in rest]
        return [like(dx, self.shape, self.axis), *rest]

    def after(self):
        """The state after the call, by name."""
        after = dict(self.wide)
        momenta = {"moving": self.layer.momentum}
        if "renorm_mean" in after:
            momenta["renorm"] = self.layer.renorm_momentum
        if getattr(self.layer, "momentum_warmup", False):
            largest = (1.0 + after["step"]) / (10.0 + after["step"])
            momenta = {kind: min(m, largest) for kind, m in momenta.items()}
        batch = {
            "mean": "mean",
            "variance": "variance",
            "stddev": "sigma",
            "norm": "norm",
        }
        for name, before in self.wide.items():
            kind, _, statistic = name.partition("_")
            if kind in momenta:
                m = momenta[kind]
                value = self.groups.average(batch.get(statistic, statistic))
                after[name] = m * before + (1.0 - m) * value
        if "step" in after:
            variance = after["moving_stddev"] ** 2 - self.layer.epsilon
            after["moving_variance"] = np.maximum(variance, 0.0)
        for name, before in self.wide.items():
            after[name] = np.where(self.groups.any_filled, after[name], before)
        if "step" in after:
            after["step"] = self.wide["step"] + 1
        return {k: v.reshape(self.before[k].shape) for k, v in after.items()}


def lp_norm(x, order, **options):
    """The norm of each column of x, as LpBatchNorm's docstring defines it."""
    return LpNorm(x, 0.0, order=order, **options).norm


def lp_output(x, order, epsilon, gamma=1.0, beta=0.0, **options):
    return LpNorm(x, epsilon, gamma, beta, order=order, **options).output


def numeric_gradient(function, x, delta=1e-6):
    """Central differences of a scalar function of a float64 array."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        original = x[index]
        values = []
        for change in (delta, -delta):
            x[index] = original + change
            values.append(function(x))
        x[index] = original
        gradient[index] = (values[0] - values[1]) / (2.0 * delta)
    return gradient


def directional_difference(function, arguments, directions, delta=1e-5):
    """Of float64 arrays `function(*arguments)`, a list of them, along `directions`.

    Central differences, of two steps for an error of the fourth order.
    """

    def central(step):
        ahead, behind = (
            function(*(a + s * d for a, d in zip(arguments, directions, strict=True)))
            for s in (step, -step)
        )
        return [(a - b) / (2.0 * step) for a, b in zip(ahead, behind, strict=True)]

    pairs = zip(central(delta), central(2.0 * delta), strict=True)
    return [(4.0 * near - far) / 3.0 for near, far in pairs]


@contextlib.contextmanager
def files_of_at_most(size):
    """The process can write no file beyond `size` bytes: the nearest to a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def graphs_as_traced():
    """TensorFlow runs graphs without rewriting them first.

    For tests of what is around the steps of a run: for small networks that takes a
    quarter of a run's time.
    """
    options = tf.config.optimizer.get_experimental_options()
    before = {"disable_meta_optimizer": options.get("disable_meta_optimizer", False)}
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options(before)


def folder_contents(folder):
    """A dict from the relative path of all in a folder to bytes; of folders, None."""
    found = {}
    for parent, folders, files in os.walk(folder):
        relative = os.path.relpath(parent, folder)
        found |= {os.path.normpath(os.path.join(relative, f)): None for f in folders}
        for name in files:
            with open(os.path.join(parent, name), "rb") as file:
                path = os.path.normpath(os.path.join(relative, name))
                found[path] = file.read()
    return found


@contextlib.contextmanager
def flags_of_its_own():
    """Takes the flags that scripts have defined away, and puts them back."""
    values = flags.FLAGS
    absl = set(_HELP_FLAGS) | {
        flag.name
        for module, defined in values.flags_by_module_dict().items()
        for flag in defined
        if module.startswith("absl.")
    }
    others = {name: values[name] for name in values if name not in absl}
    for name in others:
        delattr(values, name)
    try:
        yield
    finally:
        for name in set(values) - absl:
            delattr(values, name)
        for name, flag in others.items():
            values[name] = flag


def run_script(path, *arguments):
    """Exit status, stdout and stderr of a script, run in this process as `__main__`.

    The folder of the script has to be in `sys.path`.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", [path, *arguments]),
        flags_of_its_own(),
    ):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as request:
            return request.code or 0, out.getvalue(), err.getvalue()
    raise AssertionError(f"{path} did not exit.")


def one_layer_model(layer, input_shape, **options):
    """A functional model of one layer; `input_shape` has no batch axis."""
    inputs = keras.Input(input_shape, **options)
    return keras.Model(inputs, layer(inputs))


def squared_error(y_true, y_pred):
    """A loss for Keras models: half the sum of all squares."""
    return 0.5 * tf.reduce_sum(tf.square(y_pred - tf.cast(y_true, y_pred.dtype)))


def cross_entropy(y_true, y_pred):
    """A loss for Keras models: the mean over the examples; logits and labels."""
    return tf.reduce_mean(
        keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    )


def classification_batch(shape, num_classes, *, size=16, seed=0, dtype="float32"):
    """`(x, y)`: normal inputs of `shape`, with a random label each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, *shape)).astype(dtype)
    return x, rng.integers(0, num_classes, size)


def live_gradients(model, weights, x, y):
    """`(loss, gradients)` of the cross entropy at other weights, in float64.

    By a training call of the model itself, whose variables, averages and seeds
    included, are put back afterwards.
    """
    kept = [v.numpy().copy() for v in model.variables]
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    with tf.GradientTape() as tape:
        loss = cross_entropy(y, model(x, training=True))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, value in zip(model.variables, kept, strict=True):
        variable.assign(value)
    # Not IndexedSlices, as those of an embedding are.
    return float(loss), [
        tf.convert_to_tensor(g).numpy().astype("float64") for g in gradients
    ]
