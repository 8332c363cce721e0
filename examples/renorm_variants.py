"""Other ways to keep BatchRenorm steady while its bounds open.

A deep dense network is trained at a high learning rate with bounds that open early, to
3 and 5: the averages lag behind growing weights, r and d multiply from layer to layer,
and the loss rises far above that of BatchNorm. `momentum_warmup` and `drift_correction`
are tfbn's ways out, and the bounds 1.5 and 0.5 (docs/renorm.md). Three others:

* `tied_momentum`: a momentum that belongs to the schedule. In the paper the averages
  see 5,000 x (1 - 0.99) = 50 of their time constants before the bounds open; here they
  do as well;
* `kernel_scale`: both options, with a scale that is not estimated from the batch but
  known: the growth of the kernel's norm over its moving average;
* `blended`: no r and d, but averages that take in the batch before they normalise it,
  through which the gradient is taken.

All arms of a seed begin with the same kernels and see the same batches. The table has
the largest training loss after a fifth of the run, means of ten steps, in the mean
seed, and over that of BatchNorm of the same seed, in the worst one.

Usage: python examples/renorm_variants.py [--seeds=3] [--dataset=cifar10
           --data_dir=DIR]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from absl import app
from absl import flags

import tfbn
from tfbn import data
from tfbn import schedules

_DATASET = flags.DEFINE_enum("dataset", "shapes", ["shapes", "cifar10"], "The images.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of CIFAR-10, as of TFDS.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of repetitions.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 300, "Steps of training.", lower_bound=50)
_RATE = flags.DEFINE_float("learning_rate", 0.3, "That of SGD.")
_LAYERS = flags.DEFINE_integer("layers", 12, "Normalised layers.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 256, "Units of each.", lower_bound=1)
_BATCH = 128


class AveragedNorm(keras.layers.Layer):
    """Moving averages of `[samples, channels]`, a scale and an offset; see subclasses.

    Args:
        dense: the layer whose outputs are normalised.
        rmax, dmax: the bounds, floats or schedules.
    """

    def __init__(self, dense, rmax, dmax, momentum=0.99, epsilon=1e-3):
        super().__init__()
        self.dense, self.rmax, self.dmax = dense, rmax, dmax
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, shape):
        channels = shape[-1:]
        self.gamma = self.add_weight(shape=channels, initializer="ones")
        self.beta = self.add_weight(shape=channels, initializer="zeros")
        averages = {"trainable": False, "initializer": "zeros"}
        self.mean = self.add_weight(shape=channels, **averages)
        self.variance = self.add_weight(
            shape=channels, initializer="ones", trainable=False
        )
        self.step = self.add_weight(shape=(), dtype="int64", **averages)
        self.log_norm = self.add_weight(shape=(), **averages)
        self.log_norm.assign(self._log_norm_now())

    def call(self, x, training=False):
        if not training:
            return self._affine((x - self.mean) / self._stddev(self.variance))
        mean, variance = tf.nn.moments(x, [0])
        y = self._affine(self.normalized(x, mean, variance))
        with tf.control_dependencies([y]):
            self._average(self.mean, mean)
            self._average(self.variance, variance)
            self._average(self.log_norm, self._log_norm_now())
            self.step.assign_add(1)
        return y

    def normalized(self, x, mean, variance):
        """What the batch becomes before gamma and beta."""
        raise NotImplementedError

    def _affine(self, x):
        return x * self.gamma + self.beta

    def _stddev(self, variance):
        return tf.sqrt(variance + self.epsilon)

    def _average(self, average, value):
        momentum = self._momentum_now()
        average.assign(momentum * average + (1 - momentum) * value)

    def _momentum_now(self):
        return self.momentum

    def _log_norm_now(self):
        return tf.math.log(tf.norm(self.dense.kernel))


class KernelScaledRenorm(AveragedNorm):
    """BatchRenorm whose s is the growth of the kernel's norm over its average.

    The momentum warms up, as the first averages know nothing of the inputs.
    """

    def _momentum_now(self):
        t = tf.cast(self.step, tf.float32)
        return tf.minimum(self.momentum, (1 + t) / (10 + t))

    def normalized(self, x, mean, variance):
        s = tf.exp(self._log_norm_now() - self.log_norm)
        stddev, average = self._stddev(variance), self._stddev(self.variance)
        rmax, dmax = (schedules.evaluate(b, self.step) for b in (self.rmax, self.dmax))
        r = tf.clip_by_value(stddev / (s * average), 1 / rmax, rmax)
        d = tf.clip_by_value((mean / s - self.mean) / average, -dmax, dmax)
        return (x - mean) / stddev * tf.stop_gradient(r) + tf.stop_gradient(d)


class BlendedNorm(AveragedNorm):
    """Normalises by the averages that have taken in the batch.

    The share of the batch falls from 1 to 1 - momentum as rmax rises from 1 to its end.
    """

    def normalized(self, x, mean, variance):
        begin, end = (schedules.evaluate(self.rmax, t) for t in (0, _STEPS.value))
        opened = (schedules.evaluate(self.rmax, self.step) - begin) / (end - begin)
        kept = self.momentum * opened
        mean = kept * self.mean + (1 - kept) * mean
        variance = kept * self.variance + (1 - kept) * variance
        return (x - mean) / self._stddev(variance)


def arms(steps):
    """Name of an arm -> function from a dense layer to its normalisation."""
    wide = dict(zip(("rmax", "dmax"), schedules.ioffe_2017(steps), strict=True))
    narrow = schedules.ioffe_2017(steps, rmax=1.5, dmax=0.5)
    narrow = dict(zip(("rmax", "dmax"), narrow, strict=True))
    options = {"momentum_warmup": True, "drift_correction": True}
    plain_steps = next(t for t in range(steps) if schedules.evaluate(wide["dmax"], t))
    tied = max(0.0, 1.0 - 50.0 / plain_steps)
    return {
        "batch_norm": lambda _: tfbn.BatchNorm(),
        "batch_renorm": lambda _: tfbn.BatchRenorm(**wide),
        "both_options": lambda _: tfbn.BatchRenorm(**wide, **options),
        "narrow": lambda _: tfbn.BatchRenorm(**narrow),
        "narrow_both": lambda _: tfbn.BatchRenorm(**narrow, **options),
        "tied_momentum": lambda _: tfbn.BatchRenorm(momentum=tied, **wide),
        "kernel_scale": lambda dense: KernelScaledRenorm(dense, **wide),
        "blended": lambda dense: BlendedNorm(dense, **wide),
    }


def network(norm):
    """Dense layers, each with a normalisation, and one of logits."""
    x = inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.Flatten()(x)
    for _ in range(_LAYERS.value):
        dense = keras.layers.Dense(_WIDTH.value, use_bias=False)
        x = dense(x)
        x = keras.layers.ReLU()(norm(dense)(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def losses(norm, images, labels, seed):
    """The training loss of each step."""
    keras.utils.set_random_seed(seed)
    model = network(norm)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(_RATE.value)
    optimizer.build(model.trainable_variables)

    @tf.function(autograph=False)
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return value

    batches = data.IIDBatches(len(images), _BATCH, seed)
    rows = [batches.indices(i) for i in range(_STEPS.value)]
    return [float(step(tf.constant(images[r]), tf.constant(labels[r]))) for r in rows]


def largest(values):
    """The largest mean of ten steps after a fifth of the run; NaN if one is."""
    means = np.mean(np.reshape(values[: len(values) // 10 * 10], (-1, 10)), axis=1)
    return np.max(means[len(means) // 5 :])


def main(argv):
    """Trains, seed by seed, and prints the table."""
    del argv
    tf.get_logger().setLevel("ERROR")  # each arm is traced, as it has to be
    split = data.load(_DATASET.value, data_dir=_DATA_DIR.value).train
    found = {name: [] for name in arms(_STEPS.value)}
    for seed in range(_SEEDS.value):
        for name, norm in arms(_STEPS.value).items():
            found[name].append(largest(losses(norm, split.inputs, split.targets, seed)))
        row = ", ".join(f"{name} {values[-1]:.3g}" for name, values in found.items())
        print(f"seed {seed}: {row}", flush=True)
    print(f"{'arm':20} largest loss   over batch_norm's, at most")
    for name, values in found.items():
        ratio = np.max(np.divide(values, found["batch_norm"]))
        print(f"{name:20} {np.mean(values):12.3g}   {ratio:.3g}")


if __name__ == "__main__":
    app.run(main)
