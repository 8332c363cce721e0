"""Replaces the batch-norm layers of a model by layers of another class."""

import collections
import functools
from collections.abc import Callable
from collections.abc import Iterable

import keras

from tfbn import validation
from tfbn.layers import BatchRenorm
from tfbn.layers import conversion
from tfbn.surgery import factories
from tfbn.surgery import finding
from tfbn.surgery.copying import Copier

Where = Callable[[keras.layers.Layer], bool] | str | Iterable[str]


def replace_batch_norm(
    model: keras.Model,
    factory: Callable[..., keras.layers.Layer] = BatchRenorm,
    *,
    where: Where | None = None,
    verbose: bool = True,
) -> keras.Model:
    """A copy of a model, with other layers in place of its batch-norm layers.

    Layers of Keras and of tfbn are replaced at any depth: in functional and sequential
    models, in models inside models, in wrappers such as `TimeDistributed`, and in
    custom layers and subclassed models that hold them in attributes, lists, tuples or
    dicts. A layer that is called in several places is replaced by one. Inference of the
    copy is that of the model: weights, averages, names, data types, `trainable`, seeds
    and the arguments of calls are the same. The model stays as it is and shares nothing
    with the copy, which is not compiled, as the state of an optimizer belongs to the
    weights of the model: `copy.compile_from_config(model.get_compile_config())` gives
    it the same settings.

    Not carried over is what only one of the two layers has: BatchRenorm's `step` (then
    0) and renorm averages (the moving averages), the noise of NoisyBatchNorm,
    virtual batches. An `LpBatchNorm`, which has averages of another meaning, stays.

    Args:
        model: a built Keras model. Its custom layers, and a subclassed model, must have
            `get_config`, and make their batch-norm layers in the constructor.
        factory: what makes each layer: a subclass of
            `keras.layers.BatchNormalization`, a `functools.partial` of one, such as
            `functools.partial(tfbn.BatchRenorm, rmax=1.5, dmax=0.5)`, or a function. A
            class gets all arguments of the layer that it knows, so that
            `tfbn.BatchRenorm` keeps the renorm of Keras's layers and virtual batches;
            those that a partial fixes come first. A function gets as keywords what all
            these layers have: `name`, `trainable`, `dtype`, `axis`, `momentum`,
            `epsilon`, `center`, `scale`, `synchronized` and the initializers,
            regularizers and constraints. The layer must have the same axis, epsilon,
            center and scale. Default `tfbn.BatchRenorm`, with bounds for long runs from
            scratch. `keras.layers.BatchNormalization` is the way back.
        where: which layers to replace: a function of the layer that returns a bool, or
            names or paths of layers. Default None: all.
        verbose: bool, whether to print a line that counts what was replaced and names
            what was not. Default True.

    Returns:
        A new model of the same class. A functional model whose class has a constructor
        of its own becomes a `keras.Model` of the same graph, a subclass of Sequential a
        `keras.Sequential`; the line says so.

    Raises:
        ValueError: if the model is not built, has no batch-norm layers, or cannot be
            copied, if `where` matches none, or for a factory that makes other layers.

    Example:

    ```python
    rmax, dmax = tfbn.schedules.fine_tuning()
    renorm = functools.partial(tfbn.BatchRenorm, rmax=rmax, dmax=dmax)
    model = tfbn.replace_batch_norm(keras.applications.ResNet50V2(), renorm)
    ```
    """
    finding.check_built(model)
    verbose = validation.boolean("verbose", verbose)
    factories.check(factory)
    found = finding.batch_norms(model)
    chosen = _chosen(found, where, model.name)
    copier = Copier(model, chosen, functools.partial(factories.make, factory))
    copy = copier.copied_model()
    if verbose:
        print(_summary(model, found, chosen, copier), flush=True)
    return copy


def _chosen(found, where, name):
    """Those of the layers to replace."""
    able = [layer for layer in found if conversion.converts(layer)]
    if not able:
        others = ", ".join(sorted({type(layer).__name__ for layer in found}))
        raise ValueError(
            "model must contain batch-norm layers with averages of mean and variance. "
            f"Received: {name}, which has {others or 'none'}."
        )
    if where is None:
        return able
    if callable(where):
        chosen = [layer for layer in able if where(layer)]
    else:
        names = finding.checked_names(where)
        chosen = [layer for layer in able if names & finding.names_of(layer)]
        unknown = names - {n for layer in able for n in finding.names_of(layer)}
        finding.refuse_unknown(unknown, able)
    if not chosen:
        raise ValueError(
            f"where must match some of the {len(able)} batch-norm layers. Received: "
            f"where={validation.shown(where)}, which matches none of {able[0].name}, "
            f"..., {able[-1].name}."
        )
    return chosen


def _summary(model, found, chosen, copier):
    before = collections.Counter(type(layer).__name__ for layer in chosen)
    after = collections.Counter(type(n).__name__ for n in copier.replacements)
    line = (
        f"{model.name}: replaced {len(chosen)} of {len(found)} batch-norm layers, "
        f"{_counted(before)} by {_counted(after)}."
    )
    ids = {id(layer) for layer in chosen}
    left = [layer.name for layer in found if id(layer) not in ids]
    if left:
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        line += f" Left as they are: {', '.join(left[:_SHOWN])}{more}."
    for name, class_before, class_after in copier.other_models:
        line += f" {name} is a {class_after} now, not a {class_before}."
    return line


def _counted(kinds):
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items())


_SHOWN = 5
