"""Fine-tunes a network with BatchNorm on other images, a few at a time.

A convolutional network is trained on images of one kind and then on images of another:
the cold half of the built-in shapes after the warm one, or CIFAR-10 with swapped
colours and less contrast after CIFAR-10. Fine-tuning sees batches so small that their
statistics are noise. What should the batch-norm layers do?

* `batch_norm`: go on as before;
* `frozen`: keep their averages and their gamma and beta (`tfbn.freeze_batch_norm`);
* `batch_renorm`: `tfbn.replace_batch_norm`, with bounds of 3 and 5;
* `batch_renorm_tight`: the same with `tfbn.schedules.fine_tuning()`, 1.5 and 0.5;
* `drift`, `drift_tight`: both with `drift_correction=True`.

All arms of a seed begin with the same weights and see the same batches. The table has
the test accuracy on the other images, and the mean difference to `batch_norm` with its
95 % interval (Student's t over the seeds; for several seeds it needs scipy).

Usage: python examples/fine_tuning.py [--seeds=3] [--dataset=cifar10 --data_dir=DIR]
"""

import functools
import json
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
_FIRST_STEPS = flags.DEFINE_integer("first_steps", 600, "Steps of training, before.")
_STEPS = flags.DEFINE_integer("steps", 500, "Steps of fine-tuning.")
_BATCH = flags.DEFINE_integer("batch_size", 4, "Examples in a batch of fine-tuning.")
_RATE = flags.DEFINE_float("learning_rate", 0.005, "That of fine-tuning.")
_RESULTS = flags.DEFINE_string(
    "results", None, "JSON file of the accuracies; seeds that it has are not repeated."
)


def network(num_classes):
    """Four convolutions, each with batch normalisation."""
    layers = [keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 127.5, -1)]
    for filters in (16, 32, 64, 64):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        ]
    layers += [keras.layers.Flatten(), keras.layers.Dense(num_classes)]
    return keras.Sequential(layers)


def renormalized(model, rmax, dmax, **options):
    """A copy with BatchRenorm, which begins with the averages of the model."""
    renorm = functools.partial(tfbn.BatchRenorm, rmax=rmax, dmax=dmax, **options)
    return tfbn.replace_batch_norm(model, renorm, verbose=False)


def plain(model):
    """A copy as it is."""
    return tfbn.replace_batch_norm(
        model, keras.layers.BatchNormalization, verbose=False
    )


def frozen(model):
    """A copy whose batch-norm layers stay as they are."""
    copy = plain(model)
    tfbn.freeze_batch_norm(copy)
    return copy


_WIDE, _TIGHT = (3.0, 5.0), schedules.fine_tuning()
ARMS = {
    "batch_norm": plain,
    "frozen": frozen,
    "batch_renorm": lambda model: renormalized(model, *_WIDE),
    "batch_renorm_tight": lambda model: renormalized(model, *_TIGHT),
    "drift": lambda model: renormalized(model, *_WIDE, drift_correction=True),
    "drift_tight": lambda model: renormalized(model, *_TIGHT, drift_correction=True),
}


def domains(name, data_dir):
    """`[(train, test), (train, test)]` before and after: pairs of images and labels."""
    dataset = data.load(name, data_dir=data_dir)
    splits = dataset.train, dataset.test
    if name == "shapes":
        return [
            [(s.inputs[s.domains == i], s.targets[s.domains == i]) for s in splits]
            for i in (0, 1)
        ]
    before = [(s.inputs, s.targets) for s in splits]
    return [before, [(recoloured(x), y) for x, y in before]]


def recoloured(images):
    """Images with swapped colours and half of the contrast."""
    return (images[..., ::-1] // 2 + 96).astype(np.uint8)


def train(model, images, labels, *, steps, batch_size, learning_rate, seed):
    """Some steps of SGD with momentum, on shuffled batches that the seed decides."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(learning_rate, 0.9), loss)
    batches = data.IIDBatches(len(images), batch_size, seed)
    order = np.stack([batches.indices(step) for step in range(steps)])
    dataset = tf.data.Dataset.from_tensor_slices(order).map(
        lambda rows: (tf.gather(images, rows), tf.gather(labels, rows))
    )
    model.fit(dataset, shuffle=False, verbose=0)


def accuracies(seed, before, after):
    """Arm -> test accuracy on the images of `after`, once fine-tuned."""
    (first, _), (second, test) = before, after
    keras.utils.set_random_seed(seed)
    model = network(10)
    train(
        model,
        *first,
        steps=_FIRST_STEPS.value,
        batch_size=64,
        learning_rate=0.05,
        seed=seed,
    )
    found = {"before fine-tuning": _accuracy(model, test)}
    for name, copied in ARMS.items():
        arm = copied(model)
        train(
            arm,
            *second,
            steps=_STEPS.value,
            batch_size=_BATCH.value,
            learning_rate=_RATE.value,
            seed=seed + 1000,
        )
        found[name] = _accuracy(arm, test)
    return found


def _accuracy(model, test):
    logits = model.predict(test[0], batch_size=500, verbose=0)
    return float(np.mean(np.argmax(logits, axis=1) == test[1]))


def table(results):
    """Returns the table of a list of what `accuracies` returns."""
    lines = [f"{'arm':20} accuracy   minus batch_norm"]
    for name in results[0]:
        values = np.array([result[name] for result in results])
        line = f"{name:20} {values.mean():7.1%}"
        if name in ARMS and name != "batch_norm" and len(results) > 1:
            change = values - np.array([result["batch_norm"] for result in results])
            line += f"   {change.mean():+.1%} ± {_half_interval(change):.1%}"
        lines.append(line)
    return "\n".join(lines)


def _half_interval(values):
    """Half of the 95 % interval of a mean, by Student's t."""
    from scipy import stats  # which nothing but this table needs

    low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
    return (high - low) / 2.0


def main(argv):
    """Fine-tunes, seed by seed, and prints the table."""
    del argv
    tf.get_logger().setLevel("ERROR")  # each arm is traced, as it has to be
    before, after = domains(_DATASET.value, _DATA_DIR.value)
    done = {}
    if _RESULTS.value and os.path.exists(_RESULTS.value):
        with open(_RESULTS.value, encoding="utf-8") as file:
            done = json.load(file)
    for seed in range(_SEEDS.value):
        if str(seed) not in done:
            done[str(seed)] = accuracies(seed, before, after)
            if _RESULTS.value:
                with open(_RESULTS.value, "w", encoding="utf-8") as file:
                    json.dump(done, file, indent=1)
        print(f"seed {seed}:", _row(done[str(seed)]), flush=True)
    print(table([done[str(seed)] for seed in range(_SEEDS.value)]))


def _row(found):
    return ", ".join(f"{name} {value:.1%}" for name, value in found.items())


if __name__ == "__main__":
    app.run(main)
