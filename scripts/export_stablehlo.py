"""Exports the layers' training step as StableHLO, to be timed with JAX elsewhere.

Usage: python scripts/export_stablehlo.py --out_dir=DIR [flags]

XLA compiles StableHLO for any device, and JAX runs it. A machine with a GPU or TPU that
has JAX but no TensorFlow can therefore time what TensorFlow hands to XLA. For each
layer, shape and dtype this writes

  NAME.stablehlo  the function (x, dy, gamma, beta, moving averages; BatchRenorm's
                  step as int32) -> (y, dx, dgamma, dbeta, new moving averages)
  NAME.npz        its inputs in000, in001, ... and, at --check_shape, its results
                  out000, ... as TensorFlow computes them

An input stored as "normal:SEED:SIZES:DTYPE" is drawn when it is needed, by
numpy.random.default_rng(SEED).standard_normal(SIZES, dtype="float32"); a fifth part is
a factor.

With --networks it also writes training steps of whole networks: VGG-A in batches of
512 and ResNet50V2 in batches of 64, with each layer in turn.

The other machine needs JAX for its device (`pip install jax`), the folder DIR and the
file scripts/run_stablehlo.py:

  python run_stablehlo.py DIR/*.stablehlo

Example: python scripts/export_stablehlo.py --out_dir=stablehlo --layers=tfbn_bn
"""

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import tensorflow as tf
from _ahead_of_time import programs
from _benchmark import candidates
from _benchmark import stablehlo
from absl import flags

from tfbn import ops
from tfbn.commands import cli
from tfbn.commands import list_flags

_OUT_DIR = flags.DEFINE_string(
    "out_dir", None, "Folder for the files, made if missing.", required=True
)
_LAYERS = list_flags.define_names(
    "layers", list(candidates.NAMES), tuple(candidates.NAMES), "Layers to export."
)
_SHAPES = list_flags.define_shapes(
    "shapes",
    [(256, 56, 56, 64), (256, 14, 14, 512)],
    "Inputs to time, channels last, such as 256x56x56x64,1024x256.",
)
_CHECK_SHAPE = list_flags.define_shapes(
    "check_shape", [(8, 6, 5, 24)], "Inputs whose results are stored too."
)
_DTYPES = list_flags.define_names(
    "dtypes",
    ["float32", "bfloat16"],
    ("float32", "bfloat16", "float16"),
    "Dtypes of the inputs; the halves by Keras's mixed policies.",
)
_NETWORKS = list_flags.define_names(
    "networks", ["none"], ("none", "VGG-A", "ResNet50V2"), "Networks to export."
)
_TARGET = flags.DEFINE_enum(
    "target", "gpu", ops.TARGETS, "The device that XLA is to compile the modules for."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the inputs.", lower_bound=0)


def main(argv):
    """Exports, and prints the path of each module."""
    cli.refuse_arguments(argv)
    # TensorFlow warns of functions with the same code, which are intended here.
    tf.get_logger().setLevel("ERROR")
    for name in _LAYERS.value:
        for dtype in _DTYPES.value:
            for shape in [*_CHECK_SHAPE.value, *_SHAPES.value]:
                path, _ = stablehlo.export(
                    _OUT_DIR.value,
                    name,
                    shape,
                    dtype,
                    seed=_SEED.value,
                    check=shape in _CHECK_SHAPE.value,
                    target=_TARGET.value,
                )
                print(path, flush=True)
    for program in programs.all_programs(["networks"]):
        if program.variant in _NETWORKS.value and program.dtype in _DTYPES.value:
            path, _ = stablehlo.export_program(
                _OUT_DIR.value, program, seed=_SEED.value, target=_TARGET.value
            )
            print(path, flush=True)


if __name__ == "__main__":
    cli.run(main)
