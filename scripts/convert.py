"""Writes a model anew, with other batch-norm layers and the same inference.

Usage: python scripts/convert.py IN OUT --to=KIND [flags]   (installed: tfbn-convert)

IN and OUT are .keras files. KIND is keras (Keras's own BatchNormalization: OUT then
loads without tfbn), batch_norm, batch_renorm or noisy_batch_norm. Weights, averages and
names are those of IN. OUT is not compiled. No code from a file is run: a file with
Lambda layers, or with layers that neither Keras nor tfbn knows, is refused; for those
call tfbn.replace_batch_norm on the model.

Example: python scripts/convert.py model.keras renorm.keras --to=batch_renorm --rmax=1.5
--dmax=0.5
"""

import functools
import os

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import keras
from absl import flags

import tfbn
from tfbn.commands import cli
from tfbn.experiment import load_model
from tfbn.experiment import model_files
from tfbn.files import atomic

_KINDS = {
    "keras": keras.layers.BatchNormalization,
    "batch_norm": tfbn.BatchNorm,
    "batch_renorm": tfbn.BatchRenorm,
    "noisy_batch_norm": tfbn.NoisyBatchNorm,
}


def define():
    """Defines the flags."""
    flags.DEFINE_enum("to", None, list(_KINDS), "The layers of OUT.", required=True)
    flags.DEFINE_list(
        "where",
        None,
        "The only layers to replace, by name, separated by commas. Default: all.",
    )
    for name, minimum in (("rmax", 1.0), ("dmax", 0.0)):
        flags.DEFINE_float(
            name,
            None,
            f"batch_renorm: {name}, a constant. Default: the paper's ramp, which is "
            "for long runs from scratch.",
            lower_bound=minimum,
        )
    flags.DEFINE_bool("overwrite", False, "Whether OUT may exist; it is replaced.")


def main(argv):
    """Converts `argv[1]` to `argv[2]`."""
    source, target = _paths(argv[1:])
    factory = _factory()
    model = load_model(source)
    converted = tfbn.replace_batch_norm(model, factory, where=flags.FLAGS.where)
    with atomic.replacement(target) as partial:
        converted.save(partial)
    print(target)


def _paths(paths):
    if len(paths) != 2 or not all(map(model_files.is_path, paths)):
        raise ValueError(
            "two .keras files must be given, the model and where to write the new one. "
            f"Received: {' '.join(paths) or 'none'}."
        )
    if os.path.exists(paths[1]) and not flags.FLAGS.overwrite:
        raise ValueError(
            f"OUT must not exist. Received: {paths[1]}, which does. Choose another "
            "name, or give --overwrite."
        )
    return paths


def _factory():
    bounds = {name: flags.FLAGS[name].value for name in ("rmax", "dmax")}
    given = {name: value for name, value in bounds.items() if value is not None}
    if given and flags.FLAGS.to != "batch_renorm":
        raise ValueError(
            "--rmax and --dmax must be left out without --to=batch_renorm. Received: "
            f"--to={flags.FLAGS.to}."
        )
    kind = _KINDS[flags.FLAGS.to]
    return functools.partial(kind, **given) if given else kind


if __name__ == "__main__":
    define()
    cli.run(main)
