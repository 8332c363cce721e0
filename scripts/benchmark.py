"""Measures tfbn's BatchNorm and BatchRenorm beside those of Keras.

Usage: python scripts/benchmark.py [flags]

Prints Markdown tables, and writes all numbers as JSON with --out. Its sections:

  layers      time of a layer's forward and backward in training
  inference   time of its forward in inference
  exactness   its error against float64, on data with an offset too
  network     time of a training step of VGG-A
  memory      peak memory of training steps of VGG-A
  diagnostics time and memory of measuring internal covariate shift in four networks
  thresholds  time and error of the constants of tfbn.ops beside other values of them;
              only if named in --sections

What is compared takes turns in one process. So ratios bear with other work on the
machine better than times do.

Example: python scripts/benchmark.py --out=benchmark.json
         python scripts/benchmark.py --from=benchmark.json > benchmark.md
"""

import contextlib
import datetime
import functools
import json
import sys

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import tensorflow as tf
from _benchmark import candidates
from _benchmark import diagnostics
from _benchmark import exactness
from _benchmark import layers
from _benchmark import memory
from _benchmark import network
from _benchmark import tables
from _benchmark import thresholds
from _benchmark import timing
from absl import flags

from tfbn import environment
from tfbn.commands import cli
from tfbn.commands import list_flags
from tfbn.files import atomic

_LAYER_SHAPES = [
    (128, 32, 32, 64),
    (128, 8, 8, 256),
    (128, 2, 2, 512),
    (1024, 256),
    (8, 56, 56, 64),
    (4, 16, 32, 32, 32),
]
_EXACTNESS_SHAPES = [(128, 32, 32, 64), (64, 8, 8, 16)]

_SECTIONS = list_flags.define_names(
    "sections",
    [name for name in tables.SECTIONS if name != "thresholds"],
    tuple(tables.SECTIONS),
    "What to measure.",
)
_SHAPES = list_flags.define_shapes(
    "shapes",
    None,
    "Inputs of layers, inference and exactness, channels last, such as "
    "128x8x8x256,1024x256. Default: six for the times, two for the errors.",
)
_DTYPES = list_flags.define_names(
    "dtypes",
    None,
    ("float32", "bfloat16", "float16"),
    "Dtypes; the halves by Keras's mixed policies. Default: float32 for layers and "
    "inference, all for exactness, float32 and bfloat16 for network and memory.",
)
_NETWORKS = list_flags.define_names(
    "networks",
    list(diagnostics.NETWORKS),
    tuple(diagnostics.NETWORKS),
    "Networks of diagnostics.",
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 30, "Times that each call is timed.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    128,
    "Images in a step of network, memory, diagnostics.",
    lower_bound=1,
)
_WIDTH = flags.DEFINE_float(
    "width", 1.0, "Multiplies VGG's channels in network and memory.", lower_bound=0.01
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of data and order.", lower_bound=0)
_OUT = flags.DEFINE_string("out", None, "JSON file for the results.")
_FROM = flags.DEFINE_string(
    "from", None, "JSON file of an earlier run: prints its tables, measures nothing."
)


def main(argv):
    """Measures, prints and writes; or prints what was measured before."""
    cli.refuse_arguments(argv)
    if _FROM.value:
        print(_earlier(_FROM.value))
        return
    # It warns of functions of equal code, which here are wanted.
    tf.get_logger().setLevel("ERROR")
    with _opened(_OUT.value) as file:
        results = _about()
        print(tables.environment(results), flush=True)
        for section in _SECTIONS.value:
            rows = _MEASURES[section]()
            results["sections"][section] = rows
            print(f"\n{tables.section(section, rows)}", flush=True)
        if file is not None:
            json.dump(results, file, indent=1, allow_nan=False)


def _about():
    """The results before any is measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": environment.machine(),
        "versions": environment.versions(),
        "settings": {
            "sections": _SECTIONS.value,
            "shapes": _SHAPES.value,
            "dtypes": _DTYPES.value,
            "networks": _NETWORKS.value,
            "rounds": _ROUNDS.value,
            "warmups": timing.WARMUPS,
            "batch_size": _BATCH_SIZE.value,
            "width": _WIDTH.value,
            "seed": _SEED.value,
            "epsilon": candidates.EPSILON,
            "rmax": candidates.RMAX,
            "dmax": candidates.DMAX,
            "memory_steps": memory.STEPS,
        },
        "sections": {},
    }


def _opened(path):
    return atomic.replacing(path) if path else contextlib.nullcontext()


def _earlier(path):
    """The tables of the results in a file."""
    if _OUT.value:
        raise ValueError("--from measures nothing to write. Leave out --out.")
    with open(path, encoding="utf-8") as file:
        try:
            return tables.render(json.load(file))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"--from must name a file that --out has written. Received: {path}."
            ) from error


def _progress(text):
    print(text, file=sys.stderr, flush=True)


def _layers(measure):
    return measure(
        _SHAPES.value or _LAYER_SHAPES,
        _DTYPES.value or ["float32"],
        rounds=_ROUNDS.value,
        seed=_SEED.value,
        progress=_progress,
    )


def _exactness():
    return exactness.measure(
        _SHAPES.value or _EXACTNESS_SHAPES,
        _DTYPES.value or ["float32", "bfloat16", "float16"],
        seed=_SEED.value,
        progress=_progress,
    )


def _vgg(measure, **options):
    return measure(
        _DTYPES.value or ["float32", "bfloat16"],
        batch_size=_BATCH_SIZE.value,
        width=_WIDTH.value,
        seed=_SEED.value,
        progress=_progress,
        **options,
    )


_MEASURES = {
    "layers": functools.partial(_layers, layers.training),
    "inference": functools.partial(_layers, layers.inference),
    "exactness": _exactness,
    "network": lambda: _vgg(network.measure, rounds=_ROUNDS.value),
    "memory": lambda: _vgg(memory.measure),
    "diagnostics": lambda: diagnostics.measure(
        _NETWORKS.value,
        batch_size=_BATCH_SIZE.value,
        rounds=_ROUNDS.value,
        seed=_SEED.value,
        progress=_progress,
    ),
    "thresholds": lambda: thresholds.measure(
        rounds=_ROUNDS.value, seed=_SEED.value, progress=_progress
    ),
}


if __name__ == "__main__":
    cli.run(main)
