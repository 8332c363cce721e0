"""Computes the averages of batch-norm layers anew ("precise batch norm")."""

from collections.abc import Iterable

import keras

from tfbn import validation
from tfbn.calibration import averages
from tfbn.calibration import batches
from tfbn.calibration import passes
from tfbn.surgery import finding

NORMALIZE_BY = ("batch", "population")


def recalibrate(
    model: keras.Model,
    dataset: Iterable,
    num_batches: int | None = None,
    *,
    normalize_by: str = "batch",
) -> None:
    """Replaces the moving averages of a model by the statistics of some data.

    Moving averages are of the last batches of training, and of the weights that there
    were then. They are wrong after weights have been averaged (EMA, SWA), replaced or
    pruned, for data from elsewhere, and where they lag behind fast training. With N
    elements of a channel in all batches together,

    ```
    moving_mean     = sum(x) / N
    moving_variance = sum((x - moving_mean)^2) / N
    ```

    exact for batches of any sizes: float64 sums about each batch's mean, pooled as by
    Chan et al. 1979. Nothing else changes: no weight, no `step`, seed, optimizer or
    flag. The model runs in inference mode, so without dropout and noise. (The paper of
    batch normalisation, arXiv 1502.03167, Alg. 2, lines 8 to 12, takes the mean over
    batches of their unbiased variances; Keras's averages are of biased ones.)

    Batch-norm layers of Keras and tfbn at any depth are recalibrated, except for those
    with `trainable=False`. `BatchRenorm` and Keras's layer with `renorm=True` get
    `moving_stddev = sqrt(moving_variance + epsilon)`, and the renorm averages are the
    moving averages; `LpBatchNorm` gets the mean of its batches' norms, weighted with
    their sizes, as no norm of all data corresponds to what it does in training.

    Args:
        model: a built Keras model. It is changed, and need not be compiled.
        dataset: batches, as a `tf.data.Dataset`, a `keras.utils.PyDataset` or another
            iterable: of inputs, or of tuples `(inputs, ...)` such as
            `(inputs, targets)`, as for `model.fit`. Batches as large as in training,
            drawn at random from the training data.
        num_batches: int >= 1, how many of them. Default None: all.
        normalize_by: what the inputs of a layer were normalised by in the layers
            before it. "batch": by the statistics of their batch, as in training, so
            that one pass over the data is enough (Wu & Johnson 2021, arXiv 2105.07576,
            sec. 3; `torch.optim.swa_utils.update_bn`). "population": by the averages
            that these layers have just been given, as in inference; one layer after the
            other, with a pass over the data for each, on average half as long. If one
            batch holds all data, both are the same. Default "batch".

    Raises:
        ValueError: if the model is not built or has no batch-norm layers that are not
            frozen, for data that are not batches of its inputs, are not finite or end
            before `num_batches`, or an argument outside its range. The averages are
            then as before.

    Example:

    ```python
    tfbn.recalibrate(model, train_dataset, num_batches=100)
    ```
    """
    finding.check_built(model)
    mode = validation.choice("normalize_by", normalize_by, NORMALIZE_BY)
    if num_batches is not None:
        num_batches = validation.integer("num_batches", num_batches, minimum=1)
    source = batches.Batches(dataset, num_batches, several=mode == "population")
    layers = layers_of(model)
    # All state that inference could move: averages, seeds, states of other layers.
    state = [(v, v.numpy()) for v in model.variables if not v.trainable]
    try:
        found = passes.population_statistics(model, layers, source, mode)
    finally:
        for variable, value in state:
            variable.assign(value)
    for layer, pooled in found:
        averages.assign(layer, pooled)


def layers_of(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The layers to recalibrate.

    Raises:
        ValueError: if there are none.
    """
    found = [layer for layer in finding.batch_norms(model) if averages.has(layer)]
    if not found:
        raise ValueError(
            f"model must contain batch-norm layers. Received: {model.name}, which has "
            "none."
        )
    layers = [layer for layer in found if layer.trainable]
    if not layers:
        raise ValueError(
            "model must have batch-norm layers that are not frozen. Received: "
            f"{model.name}, whose {len(found)} have trainable=False. Call "
            "tfbn.unfreeze_batch_norm before, or set the flag of some."
        )
    return layers
