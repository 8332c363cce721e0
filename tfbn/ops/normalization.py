"""The operations of the layers, each by the implementation that serves the call."""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import MutableMapping
from typing import Any

import tensorflow as tf

from tfbn.ops import compiled_calls
from tfbn.ops import requests
from tfbn.ops import shared_functions
from tfbn.ops.batch import wide_dtype
from tfbn.ops.implementations import choose
from tfbn.ops.statistics import Statistics
from tfbn.ops.training_step import TrainingStep
from tfbn.ops.training_step import Weights


def batch_norm(
    x: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    *,
    axis: int,
    epsilon: float,
    correction: Callable | None = None,
    averages: MutableMapping[str, tf.Tensor] | None = None,
    update: Callable | None = None,
    mask: tf.Tensor | None = None,
    synchronized: bool = False,
    virtual_batch_size: int | None = None,
    virtual_batch_order: str = "consecutive",
) -> tuple[tf.Tensor, Statistics | None]:
    """Normalises with the statistics of the batch (Ioffe & Szegedy 2015).

    `y = gamma * (r * (x - mean) / sqrt(var + epsilon) + d) + beta`, with the biased
    variance. Derivatives of any order go through mean and variance. None go through r
    and d: second derivatives also treat them as constants.

    In forward mode, open the `tf.autodiff.ForwardAccumulator` inside the `tf.function`
    if there is one. Around it, TensorFlow cannot tell the function that it is watched:
    where the CPU kernels serve, a first derivative then fails and a second is wrong.

    Args:
        x: float tensor. In half precision, statistics are float32.
        gamma: `[channels]` or None (1).
        beta: `[channels]` or None (0).
        axis: int >= 0, the channel axis.
        epsilon: float.
        correction: None (r = 1, d = 0) or a function of the batch's `Statistics`, and
            of `averages` if there are any, that returns Batch Renormalization's
            `(r, d)`. Both have the shape of the statistics: `[channels]` or `[virtual
            batches, channels]`.
        averages: None or a mapping from names to `[channels]` tensors or scalars.
        update: None or a function of `averages` and of the statistics below that sets
            new averages after the normalisation. With averages, `correction` and
            `update` must depend on nothing but their arguments: if they are hashable,
            layers with equal ones are traced once.
        mask: boolean tensor of the rank of `x`, or None.
        synchronized: bool, take the statistics over all replicas.
        virtual_batch_size: int or None, normalise groups of so many samples; what
            remains is a group too.
        virtual_batch_order: "consecutive" or "interleaved", which samples are a group:
            those that follow each other, or sample i is in group i mod the number of
            groups.

    Returns:
        `(y, statistics)`: y in the dtype of `x`. `statistics.spread` is the variance.
        Statistics are `[channels]`, means over the virtual batches if there are any;
        no gradient flows through them. With `update`, None takes their place.
    """
    weights = Weights(_tensor_or_none(gamma), _tensor_or_none(beta))
    mask = _tensor_or_none(mask)
    request = requests.request(
        "batch_norm",
        x,
        axis,
        weights,
        mask=mask,
        synchronized=synchronized,
        virtual_batch_size=virtual_batch_size,
        virtual_batch_order=virtual_batch_order,
    )
    averages = {} if averages is None else averages
    options = {"epsilon": epsilon, "correction": correction, "update": update}
    may_share = _may_share(correction, update, averages)
    by_functions = (
        may_share
        and not compiled_calls.applies(request)
        and shared_functions.serve(request)
    )
    options["by_functions"] = by_functions
    # Reading them takes time, which eager calls can save.
    reads = correction is not None or by_functions
    tensors = x, weights, mask, dict(averages) if reads else {}
    y, statistics, updated = compiled_calls.call(
        _batch_norm, options, request, *tensors, shared=may_share
    )
    if update is None:
        return y, statistics
    if updated is None:
        update(averages, statistics)
    else:
        for name in averages:
            averages[name] = updated[name]
    return y, None


def _batch_norm(
    request, x, weights, mask, averages, *, epsilon, correction, update, by_functions
):
    """`(y, statistics or None, updated averages or None)`: one of the last two."""
    implementation: Any = choose(request)
    wide = tf.cast(x, implementation.compute_dtype(x.dtype))
    step = TrainingStep(implementation, request, epsilon, correction)
    backward: Callable
    if by_functions:
        forward = shared_functions.forward(step, update)
        y, statistics, updated, *saved = forward(wide, weights, averages, mask)
        backward = functools.partial(shared_functions.backward(step), mask)
    else:
        y, statistics, *saved = step.forward(wide, weights, averages, mask)
        updated, backward = None, step.backward

    @tf.custom_gradient
    def normalized(x, *weights):
        del x, weights  # only for the gradients to arrive at
        return y, gradients

    def gradients(dy):
        again = request.of_gradient([wide, dy])
        if implementation.supports(again):
            dx, *others = backward(dy, weights, *saved)
            return tf.cast(dx, wide.dtype), *others
        return _other_gradients(step, again, wide, mask, dy, weights, saved[-1])

    y = normalized(wide, *(weight for weight in weights if weight is not None))
    return tf.cast(y, x.dtype), statistics, updated


def _other_gradients(step, request, x, mask, dy, weights, r_and_d):
    """The gradients of a step, by the implementation that serves their request."""
    implementation: Any = choose(request)
    dtype = implementation.compute_dtype(x.dtype)
    step = dataclasses.replace(step, implementation=implementation, request=request)
    normalizer = step.normalizer(tf.cast(x, dtype), mask)
    dx, *others = step.backward(tf.cast(dy, dtype), weights, normalizer, r_and_d)
    return tf.cast(dx, x.dtype), *others


def _may_share(correction, update, averages):
    """Whether equal calls may be one function: they depend on their tensors alone."""
    try:
        hash((correction, update))
    except TypeError:  # as of a schedule of the user's
        return False
    return correction is None or bool(averages)


def _tensor_or_none(weight):
    return None if weight is None else tf.convert_to_tensor(weight)


def normalize(
    x: tf.Tensor,
    mean: tf.Tensor,
    scale: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    *,
    axis: int,
) -> tf.Tensor:
    """`gamma * (x - mean) / scale + beta` with given `[channels]` statistics.

    Args:
        x: float tensor; half precision is computed in float32.
        mean, scale, gamma, beta: `[channels]`; the last two may be None (1 and 0).
        axis: int >= 0, the channel axis.
    """
    mean, scale, gamma, beta = map(_tensor_or_none, (mean, scale, gamma, beta))
    request = requests.request("normalize", x, axis, (mean, scale, gamma, beta))
    implementation: Any = choose(request)
    dtype = wide_dtype(x.dtype)
    mean, scale = (tf.cast(s, dtype) for s in (mean, scale))
    gain = 1.0 / scale if gamma is None else tf.cast(gamma, dtype) / scale
    offset = tf.zeros_like(mean) if beta is None else tf.cast(beta, dtype)
    wide = tf.cast(x, implementation.compute_dtype(x.dtype))
    return tf.cast(implementation.normalize(wide, mean, gain, offset, request), x.dtype)


def lp_batch_norm(
    x: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    *,
    axis: int,
    epsilon: float,
    order: int | str,
    centered: bool = False,
    literal: bool = False,
    averages: MutableMapping[str, tf.Tensor] | None = None,
    update: Callable | None = None,
    mask: tf.Tensor | None = None,
    synchronized: bool = False,
    virtual_batch_size: int | None = None,
    virtual_batch_order: str = "consecutive",
) -> tuple[tf.Tensor, Statistics | None]:
    """Normalises with the batch's mean and l_p norm (Santurkar et al. 2018, sec. 3.3).

    `y = gamma * (x - mean(x)) / (norm_p(x) + epsilon) + beta`.

    Args:
        x, gamma, beta, axis, epsilon: as in `batch_norm`.
        order: 1, 2 or "inf".
        centered: bool, take the norm of `x - mean(x)` instead of `x`.
        literal: bool, divide the norm of the m elements by m. Otherwise the norm is
            the power mean `(mean |x|^p)^(1/p)`, and max|x| for "inf".
        averages, update, mask, synchronized, virtual_batch_size, virtual_batch_order:
            as in `batch_norm`.

    Returns:
        `(y, statistics)` as `batch_norm`; `statistics.spread` is the norm.
    """
    request = requests.request(
        "lp_batch_norm",
        x,
        axis,
        mask=mask,
        synchronized=synchronized,
        virtual_batch_size=virtual_batch_size,
        virtual_batch_order=virtual_batch_order,
    )
    options = {
        "epsilon": epsilon,
        "order": order,
        "centered": centered,
        "literal": literal,
    }
    y, statistics = compiled_calls.call(
        _lp_batch_norm, options, request, x, gamma, beta, mask
    )
    if update is None:
        return y, statistics
    update(averages, statistics)
    return y, None


def _lp_batch_norm(request, x, gamma, beta, mask, **options):
    implementation: Any = choose(request)
    wide = tf.cast(x, implementation.compute_dtype(x.dtype))
    y, statistics = implementation.lp_batch_norm(
        wide, gamma, beta, request, mask=mask, **options
    )
    return tf.cast(y, x.dtype), statistics.map(tf.stop_gradient)


def serving_path(
    x: tf.Tensor,
    axis: int,
    *,
    mask: tf.Tensor | None = None,
    synchronized: bool = False,
    virtual_batch_size: int | None = None,
) -> str:
    """The name of the implementation of `batch_norm` that serves such a call.

    For float32 and half precision with the channels last, computed on a CPU and not
    compiled by XLA, if there are neither virtual batches nor statistics shared by
    replicas: "cpu_kernels", or without oneDNN "cpu_sums", from 2^16 elements on;
    "wide_sums" of fewer, and with a mask of fewer than 2^18; "by_size" if only the
    running graph knows. "one_pass" with a mask otherwise, and if XLA compiles the call
    for an accelerator. "formula" for all others. docs/numerics.md has the exact rules.

    Args:
        x, axis, mask, synchronized, virtual_batch_size: as in `batch_norm`.
    """
    request = requests.request(
        "batch_norm",
        x,
        axis,
        mask=mask,
        synchronized=synchronized,
        virtual_batch_size=virtual_batch_size,
    )
    return choose(request).NAME
