"""Short programs that show what the errors of other libraries come from.

The script runs each in its interpreter; the page has the program and what it printed.
"""

from typing import NamedTuple

from _compare import serving


class Finding(NamedTuple):
    """Something seen in a library.

    Attributes:
        title: str, a heading.
        peer: str, a key of the peers, or "here".
        note: str, what to expect and what the code does.
        code: str, a program.
    """

    title: str
    peer: str
    note: str
    code: str


_TORCHRL_WARM_UP = """
import torch
from torchrl.modules import BatchRenorm1d

x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
options = {"momentum": 0.0, "max_d": 2.0, "warmup_steps": 100}
smooths = False, True
layers = {smooth: BatchRenorm1d(1, smooth=smooth, **options) for smooth in smooths}
for layer in layers.values():
    layer.running_mean.fill_(1.0)  # so that d is about -1, within its bounds
for call in range(501):
    means = {smooth: layer(x).mean().item() for smooth, layer in layers.items()}
    if call in (0, 50, 99, 100, 142, 200, 500):
        print(f"call {call}: mean of the output {means[False]:.2f};", end=" ")
        print(f"with smooth=True {means[True]:.2f}")
"""

_TORCHRL_COMPILE = """
import torch
from torchrl.modules import BatchRenorm1d


def gradient(compiled):
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 1000, 4, generator=generator, dtype=torch.float64)
    layer = BatchRenorm1d(4, warmup_steps=10).double()
    layer.running_var.fill_(4.0)
    layer.num_batches_tracked.fill_(10)
    if compiled:
        layer.compile()
    (found,) = torch.autograd.grad(layer(x.requires_grad_()), x, w)
    return found, layer.running_var.sqrt()


eager, stddev_after = gradient(compiled=False)
ratio = gradient(compiled=True)[0] / eager
print("compiled / eager, by channel:", [f"{r:.4f}" for r in ratio.median(0)[0]])
print("stddev before / after the call:", [f"{2 / s:.4f}" for s in stddev_after])
"""

_TORCH_CHANNELS_LAST = """
import torch

x = 1e4 + torch.randn(128, 64, 32, 32, generator=torch.Generator().manual_seed(0))
layer = torch.nn.BatchNorm2d(64)
for format in (torch.contiguous_format, torch.channels_last):
    y = layer(x.contiguous(memory_format=format))
    print(format, f"standard deviations {y.std((0, 2, 3)).min():.3f}", end="")
    print(f" to {y.std((0, 2, 3)).max():.3f}")
"""

_SBX_OFFSET = """
import jax
import numpy as np
from sbx.common.jax_layers import BatchRenorm

unit = np.random.default_rng(0).standard_normal((1024, 256))
layer = BatchRenorm(use_running_average=False, warmup_steps=0)
for offset in (0.0, 1e2, 1e3, 1e4):
    x = np.float32(unit + offset)
    variables = layer.init(jax.random.key(0), x)
    state = variables["batch_stats"]
    state = {**state, "mean": np.full(256, offset, np.float32)}
    variables = {**variables, "batch_stats": state}
    y, _ = layer.apply(variables, x, mutable=["batch_stats"])
    stddev = y.std(0)
    print(f"offset {offset:g}: standard deviations", end=" ")
    print(f"{stddev.min():.3f} to {stddev.max():.3f}")
"""

_TF_KERAS_OFFSET = """
import numpy as np
import tensorflow as tf
import tf_keras

unit = np.random.default_rng(0).standard_normal((128, 32, 32, 64))
layer = tf_keras.layers.BatchNormalization()
compiled = tf.function(layer, jit_compile=True)
for offset in (0.0, 1e2, 1e3, 1e4):
    x = tf.constant(unit + offset, tf.float32)
    for name, function in (("eager", layer), ("jit", compiled)):
        stddev = function(x, training=True).numpy().std((0, 1, 2))
        print(f"offset {offset:g}, {name}: standard deviations", end=" ")
        print(f"{stddev.min():.3f} to {stddev.max():.3f}")
"""

FINDINGS = {
    "torchrl_warm_up": Finding(
        "torchrl: r and d grow on after the warm-up",
        "torch",
        "From the call `warmup_steps` on, the mean of the output is to be d, here "
        "-0.97. The factor of r - 1 and d is `num_batches_tracked // warmup_steps`, "
        "with `smooth=True` their quotient, and the counter is not held at "
        "`warmup_steps`: the result of `clamp_max` is not assigned. So r and d pass "
        "their bounds, too.",
        _TORCHRL_WARM_UP,
    ),
    "torchrl_compile": Finding(
        "torchrl under torch.compile: the gradient has the r of the next call",
        "torch",
        "In float64, against the eager gradient. The compiled backward pass computes "
        "r again from `running_var`, which the forward pass has updated by then.",
        _TORCHRL_COMPILE,
    ),
    "torch_channels_last": Finding(
        "torch: the variance with the channels last",
        "torch",
        "The standard deviation of each channel of the output is to be 1.",
        _TORCH_CHANNELS_LAST,
    ),
    "sbx_offset": Finding(
        "sbx and Flax: the variance as E[x^2] - E[x]^2",
        "jax",
        "The standard deviation of each channel of the output is to be that of the "
        "data, 0.947 to 1.058. Flax's `BatchNorm` has `use_fast_variance=False` "
        "against this; sbx's `BatchRenorm` takes Flax's default, True.",
        _SBX_OFFSET,
    ),
    "tf_keras_offset": Finding(
        "tf_keras: the fused kernel on data with an offset",
        "here",
        "The standard deviation of each channel of the output is to be 1.",
        _TF_KERAS_OFFSET,
    ),
}


def measure(peers, *, progress):
    """Dict from the name of each finding that can run here to what it printed."""
    found = {}
    for name, finding in FINDINGS.items():
        if finding.peer not in ("here", *peers):
            continue
        progress(f"findings: {name}")
        code = finding.code
        if finding.peer == "here":
            found[name] = serving.printed(code)
        else:
            found[name] = peers[finding.peer].ask("printed", code=code)
    return found
