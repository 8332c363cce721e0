"""Averages the weights of a network, and computes its batch-norm averages anew.

Weights that are averaged over many steps are often better than those of the last one.
But the moving averages of batch normalisation are then of other weights than those that
they are used with: `tfbn.recalibrate` replaces them by the statistics of training
images. A small convolutional network is trained on the built-in shapes, and its test
accuracy measured with

* `last`: the weights of the last step;
* `EMA`: their exponential moving average, by Keras (`use_ema=True`);
* `SWA`: the mean of the weights at the ends of the last epochs (Izmailov et al. 2018);

each with the moving averages of training, and recalibrated. For SWA the moving averages
of training are those of the last step.

The table has the mean accuracy over the seeds and what recalibration adds, with its
95 % interval (Student's t; for several seeds it needs scipy).

Usage: python examples/averaged_weights.py [--seeds=3] [--epochs=10]
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

_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of repetitions.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 10, "Of training.", lower_bound=1)
_SWA = flags.DEFINE_integer("swa_epochs", 5, "The last ones.", lower_bound=1)
_RATE = flags.DEFINE_float("learning_rate", 0.03, "Constant, of SGD with momentum 0.9.")
_EMA = flags.DEFINE_float("ema_momentum", 0.99, "That of the EMA of weights.")
_NORM = flags.DEFINE_float("norm_momentum", 0.99, "That of the moving averages.")

_BATCH = 64
_TRAIN, _TEST = 2000, 1000  # images


def network():
    """Three convolutions, each with batch normalisation."""
    layers = [keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 127.5, -1)]
    for filters in (16, 32, 32):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            tfbn.BatchNorm(momentum=_NORM.value),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        ]
    layers += [keras.layers.Flatten(), keras.layers.Dense(10)]
    return keras.Sequential(layers)


class Snapshots(keras.callbacks.Callback):
    """Keeps the weights at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


def train(images, labels):
    """A trained network, and name -> its weights, one array each."""
    model, snapshots = network(), Snapshots()
    optimizer = keras.optimizers.SGD(
        _RATE.value, 0.9, use_ema=True, ema_momentum=_EMA.value
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(
        images,
        labels,
        batch_size=_BATCH,
        epochs=_EPOCHS.value,
        callbacks=[snapshots],
        verbose=0,
    )
    *_, last = snapshots.weights
    # fit has ended with EMA weights, and with the moving averages of the last step.
    return model, {
        "last": last,
        "EMA": model.get_weights(),
        "SWA": _mean(model, snapshots.weights[-_SWA.value :]),
    }


def _mean(model, snapshots):
    """The mean of what is trained; of moving averages, those of the last step."""
    is_trained = [weight.trainable for weight in model.weights]
    return [
        np.mean(values, axis=0) if trained else values[-1]
        for trained, values in zip(
            is_trained, zip(*snapshots, strict=True), strict=True
        )
    ]


def accuracies(seed, dataset):
    """Name of weights -> test accuracy as trained, and recalibrated."""
    keras.utils.set_random_seed(seed)
    x, y = dataset.train.inputs, dataset.train.targets
    test = dataset.test.inputs, dataset.test.targets
    model, weights = train(x, y)
    batches = tf.data.Dataset.from_tensor_slices(x).batch(_BATCH).take(20)
    found = {}
    for name, values in weights.items():
        model.set_weights(values)
        before = _accuracy(model, test)
        tfbn.recalibrate(model, batches)
        found[name] = before, _accuracy(model, test)
    return found


def _accuracy(model, test):
    return model.evaluate(*test, batch_size=500, verbose=0, return_dict=True)[
        "accuracy"
    ]


def table(results):
    """Returns the table of a list of what `accuracies` returns."""
    lines = ["weights  as trained  recalibrated  gain"]
    for name in results[0]:
        before, after = np.array([result[name] for result in results]).T
        gain = after - before
        half = f" ± {_half_interval(gain):.1%}" if len(results) > 1 else ""
        lines.append(
            f"{name:8} {before.mean():10.1%} {after.mean():13.1%}  "
            f"{gain.mean():+.1%}{half}"
        )
    return "\n".join(lines)


def _half_interval(values):
    """Half of the 95 % interval of a mean, by Student's t."""
    from scipy import stats  # which nothing but this table needs

    low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
    return (high - low) / 2.0


def main(argv):
    """Trains, seed by seed, and prints the table."""
    del argv
    tf.get_logger().setLevel("ERROR")  # each network is traced, as it has to be
    dataset = data.shapes(num_train=_TRAIN, num_test=_TEST)
    results = []
    for seed in range(_SEEDS.value):
        results.append(accuracies(seed, dataset))
        pairs = (f"{name} {a:.1%} -> {b:.1%}" for name, (a, b) in results[-1].items())
        print(f"seed {seed}:", ", ".join(pairs), flush=True)
    print(table(results))


if __name__ == "__main__":
    app.run(main)
