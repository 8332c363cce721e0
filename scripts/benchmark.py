"""Measures tfbn's BatchNorm and BatchRenorm beside those of Keras.

Usage: python scripts/benchmark.py [flags]

Prints Markdown tables, and writes all numbers as JSON with --out. Its sections:

  layers      time of a layer's forward and backward pass in training
  inference   time of its forward pass in inference
  small       time of eager calls and of graphs on small inputs
  exactness   its error against float64, also on data with an offset
  network     time of a training step of VGG-A
  memory      peak memory of training steps of VGG-A
  diagnostics time and memory of measuring internal covariate shift in four networks
  first_step  time to trace the first training step of two networks, and to run it
  thresholds  time and error with other values of the constants of tfbn.ops

The last two are measured only if they are named in --sections.

The calls to compare take turns in one process, so ratios are less sensitive than times
to other work on the machine.

Example: python scripts/benchmark.py --out=benchmark.json
         python scripts/benchmark.py --from=benchmark.json > benchmark.md
"""

import functools

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import _results
import tensorflow as tf
from _benchmark import candidates
from _benchmark import diagnostics
from _benchmark import exactness
from _benchmark import first_step
from _benchmark import layers
from _benchmark import memory
from _benchmark import network
from _benchmark import small
from _benchmark import tables
from _benchmark import thresholds
from _benchmark import timing
from absl import flags

from tfbn.commands import cli
from tfbn.commands import list_flags

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
    [name for name in tables.SECTIONS if name not in tables.LONG],
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
    "Dtypes; half precision by Keras's mixed policies. Default: float32 for layers and "
    "inference, all for exactness, float32 and bfloat16 for network and memory.",
)
_NETWORKS = list_flags.define_names(
    "networks",
    list(diagnostics.NETWORKS),
    tuple(diagnostics.NETWORKS),
    "Networks of the section diagnostics.",
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 30, "Number of times that each call is timed.", lower_bound=1
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

_SETTINGS = (
    _SECTIONS,
    _SHAPES,
    _DTYPES,
    _NETWORKS,
    _ROUNDS,
    _BATCH_SIZE,
    _WIDTH,
    _SEED,
)
_CONSTANTS = {
    "warmups": timing.WARMUPS,
    "epsilon": candidates.EPSILON,
    "rmax": candidates.RMAX,
    "dmax": candidates.DMAX,
    "memory_steps": memory.STEPS,
}


def main(argv):
    """Measures, prints and writes; or prints what was measured before."""
    cli.refuse_arguments(argv)
    if _FROM.value:
        print(_results.earlier(_FROM.value, _OUT.value, tables.render))
        return
    # TensorFlow warns of functions with the same code, which are intended here.
    tf.get_logger().setLevel("ERROR")
    with _results.written_to(_OUT.value) as results:
        results |= _results.about(*_SETTINGS, **_CONSTANTS) | {"sections": {}}
        print(tables.head(results), flush=True)
        for section in _SECTIONS.value:
            rows = _MEASURES[section]()
            results["sections"][section] = rows
            print(f"\n{tables.section(section, rows)}", flush=True)


def _layers(measure):
    return measure(
        _SHAPES.value or _LAYER_SHAPES,
        _DTYPES.value or ["float32"],
        rounds=_ROUNDS.value,
        seed=_SEED.value,
        progress=_results.progress,
    )


def _exactness():
    return exactness.measure(
        _SHAPES.value or _EXACTNESS_SHAPES,
        _DTYPES.value or ["float32", "bfloat16", "float16"],
        seed=_SEED.value,
        progress=_results.progress,
    )


def _vgg(measure, **options):
    return measure(
        _DTYPES.value or ["float32", "bfloat16"],
        batch_size=_BATCH_SIZE.value,
        width=_WIDTH.value,
        seed=_SEED.value,
        progress=_results.progress,
        **options,
    )


_MEASURES = {
    "layers": functools.partial(_layers, layers.training),
    "inference": functools.partial(_layers, layers.inference),
    "small": lambda: small.measure(
        rounds=_ROUNDS.value, seed=_SEED.value, progress=_results.progress
    ),
    "exactness": _exactness,
    "network": lambda: _vgg(network.measure, rounds=_ROUNDS.value),
    "memory": lambda: _vgg(memory.measure),
    "diagnostics": lambda: diagnostics.measure(
        _NETWORKS.value,
        batch_size=_BATCH_SIZE.value,
        rounds=_ROUNDS.value,
        seed=_SEED.value,
        progress=_results.progress,
    ),
    "first_step": lambda: first_step.measure(
        rounds=_ROUNDS.value, seed=_SEED.value, progress=_results.progress
    ),
    "thresholds": lambda: thresholds.measure(
        rounds=_ROUNDS.value, seed=_SEED.value, progress=_results.progress
    ),
}


if __name__ == "__main__":
    cli.run(main)
