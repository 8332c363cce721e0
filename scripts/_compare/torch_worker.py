"""Layers of PyTorch and torchrl, for scripts/compare.py."""

import importlib.metadata

import torch
import torchrl.modules
from _compare import serving
from _compare import torch_diagnostics
from _compare import torch_features
from _compare import torch_hessian

PACKAGES = ("torch", "torchrl", "cockpit-for-pytorch", "pyhessian", "loss-landscapes")


def versions():
    """The versions of what is compared."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def batch_norm(case):
    """A `BatchNorm2d` or `BatchNorm1d`."""
    x = case["x"]
    kind = torch.nn.BatchNorm2d if x.ndim == 4 else torch.nn.BatchNorm1d
    return kind(x.shape[-1], eps=case["epsilon"])


def renorm(case):
    """A `BatchRenorm1d` at the end of its warm-up, with the averages of the case."""
    layer = torchrl.modules.BatchRenorm1d(
        case["x"].shape[-1],
        eps=case["epsilon"],
        max_r=case["rmax"],
        max_d=case["dmax"],
    )
    layer.running_mean.fill_(float(case["moving_mean"]))
    layer.running_var.fill_(float(case["moving_stddev"]) ** 2)
    layer.num_batches_tracked.fill_(case.get("calls", layer.warmup_steps))
    return layer


def make(name, case):
    """A training call of a new layer; images lie channels last unless "contiguous"."""
    library, _, mode = name.partition(":")
    layer = {"torch": batch_norm, "torchrl": renorm}[library](case).train()
    if mode == "compile":
        layer.compile()
    x, upstream = tensor(case["x"]), tensor(case["upstream"])
    if mode == "contiguous":
        x, upstream = x.contiguous(), upstream.contiguous()
    x.requires_grad_()

    def call():
        y = layer(x)
        return y, *torch.autograd.grad(y, (x, layer.weight, layer.bias), upstream)

    return call


def tensor(array):
    """An array with the channels last as a tensor; images get PyTorch's axes."""
    result = torch.from_numpy(array)
    return result.permute(0, 3, 1, 2) if array.ndim == 4 else result


def to_numpy(result):
    """A tensor as an array with the channels last."""
    result = result.detach()
    return (result.permute(0, 2, 3, 1) if result.ndim == 4 else result).numpy()


if __name__ == "__main__":
    calls = serving.Calls(make, to_numpy)
    answers = {
        "versions": versions,
        "printed": serving.printed,
        "features": torch_features.features,
        "diagnostics": torch_diagnostics.diagnostics,
        "hessian": torch_hessian.turn,
        "exact_hessian": torch_hessian.exact,
    }
    serving.serve({**answers, **calls.answers()})
