"""What the layers of PyTorch and torchrl have."""

import numpy as np
import torch
import torch.distributed
import torch.optim.swa_utils
import torch.utils.checkpoint
import torchrl.modules
from _compare import probing

_BN = {
    "torch": torch.nn.BatchNorm1d,
    "torchrl": torchrl.modules.BatchRenorm1d,
}


def features():
    """A dict from library to its answers."""
    return {library: probing.answers(_probes(library)) for library in _BN}


def _probes(library):
    cls = _BN[library]
    absent = {
        "masks": probing.absent(cls.forward, "mask"),
        "virtual_batches": probing.absent(cls, "virtual", "ghost"),
        "axes": probing.absent(cls, "axis", "dim"),
        "noise": probing.absent(cls, "noise", "stddev"),
        "lp": probing.absent(cls, "order"),
    }
    probes = {
        "second_derivatives": lambda: _second_derivatives(cls),
        "mixed_precision": lambda: _mixed_precision(cls),
        "nonfinite": lambda: _nonfinite(cls),
        "recalibration": lambda: _recalibration(cls),
        "freezing": lambda: _freezing(cls),
        "unbiased": lambda: _unbiased(cls),
        "recomputation": lambda: _recomputation(cls),
        "folding": lambda: _folding(cls),
    }
    return absent | probes | (_of_torch() if library == "torch" else _of_torchrl())


def _of_torch():
    cls = torch.nn.BatchNorm1d
    no_renorm = probing.absent(cls, "renorm", "rmax", "max_r")
    return {
        "renorm": no_renorm,
        "schedule": no_renorm,
        "synchronized": _synchronized,
        "synchronized_renorm": no_renorm,
        "surgery": probing.partly(
            "convert_sync_batchnorm, to synchronized layers only", "read"
        ),
        "cumulative": _cumulative,
        "no_averages": _no_averages,
    }


def _of_torchrl():
    cls = torchrl.modules.BatchRenorm1d
    not_synchronized = probing.absent(cls, "sync", "process_group")
    return {
        "renorm": _renorm,
        "schedule": _schedule,
        "synchronized": not_synchronized,
        "synchronized_renorm": not_synchronized,
        "surgery": probing.absent(torchrl.modules, "replace_batch", "convert_batch"),
        "cumulative": lambda: _cumulative(cls),
        "no_averages": probing.absent(cls, "track"),
    }


def _x(shape=(16, 6), **options):
    return torch.from_numpy(probing.data(shape, **options))


def _warmed_up(features, **options):
    layer = torchrl.modules.BatchRenorm1d(features, **options)
    layer.num_batches_tracked.fill_(layer.warmup_steps)
    return layer


def _renorm():
    x, layer = _x(), _warmed_up(6)
    layer.running_mean.fill_(1.5)
    layer.running_var.fill_(4.0)
    error = probing.distance(layer(x).detach(), (x - 1.5) / 2.0)
    return probing.check(
        error < 1e-4, "within the bounds, training computes what inference does"
    )


def _schedule():
    """The output's scale is r; with smooth=True it grows with the calls."""
    x = _x((512, 2))
    layer = torchrl.modules.BatchRenorm1d(2, momentum=0, warmup_steps=2, smooth=True)
    layer.running_var.fill_(0.25)
    scales = [layer(x).std().item() for _ in range(5)]
    seen = ", ".join(f"{scale:.1f}" for scale in scales)
    if not scales[0] < scales[1] < scales[2]:
        return probing.no(f"scales of the output: {seen}")
    return probing.partly(
        "one warm-up, a step or a ramp of fixed form; it does not stop: scales of the "
        f"output {seen} where warmup_steps is 2 and max_r 3"
    )


def _synchronized():
    """In a process group of one: what it refuses, it refuses there too."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        torch.nn.SyncBatchNorm(6)(_x())
    except ValueError as error:
        return probing.partly(f"SyncBatchNorm; on a CPU: {error}")
    finally:
        torch.distributed.destroy_process_group()
    return probing.yes("SyncBatchNorm")


def _second_derivatives(cls):
    errors = {}
    shapes = [(12, 3)] + [(3, 3, 4, 4)]
    for shape in shapes:
        if len(shape) == 4 and cls is torch.nn.BatchNorm1d:
            layer = torch.nn.BatchNorm2d(3)
        else:
            layer = cls(3)
        weights = _x(shape, seed=7, offset=0.5)

        def loss(x, layer=layer, weights=weights):
            return torch.sum(weights * torch.sin(layer(x)))

        def gradient(x, loss=loss):
            x = torch.from_numpy(x).requires_grad_()
            return torch.autograd.grad(loss(x), x)[0].numpy()

        def product(x, v, loss=loss):
            x, v = torch.from_numpy(x).requires_grad_(), torch.from_numpy(v)
            first = torch.autograd.grad(loss(x), x, create_graph=True)[0]
            return torch.autograd.grad(first, x, v)[0]

        errors[len(shape)] = probing.second_derivative_error(
            product, gradient, probing.data(shape)
        )
    note = "error of a Hessian-vector product: " + ", ".join(
        f"{error:.0e} ({axes} axes)" for axes, error in errors.items()
    )
    most = probing.SECOND_DERIVATIVE_TOLERANCE
    return probing.check(all(e < most for e in errors.values()), note)


def _mixed_precision(cls):
    x = _x((64, 3), offset=20.0).bfloat16()
    layer = cls(3)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    error = probing.distance(
        y.detach().float(), probing.normalized(x.float().numpy(), 1e-5)
    )
    dtype = str(y.dtype).removeprefix("torch.")
    note = f"bfloat16: output {dtype}, {error:.0e} off"
    if error > 0.01:
        return probing.no(note)
    return probing.yes(note) if y.dtype == torch.bfloat16 else probing.partly(note)


def _nonfinite(cls):
    layer, x = cls(6), _x()
    x[3, 2] = np.nan
    layer(x)
    finite = bool(torch.isfinite(layer.running_mean).all())
    return probing.check(finite, "")


def _recalibration(cls):
    model, x = torch.nn.Sequential(cls(6)), _x()
    torch.optim.swa_utils.update_bn([x], model)
    error = probing.distance(model[0].running_mean, x.mean(0))
    if error > 1e-5:
        return probing.no("torch.optim.swa_utils.update_bn passes it by")
    return probing.yes("torch.optim.swa_utils.update_bn")


def _unbiased(cls):
    """One call, from averages of 0: what moves the variance."""
    layer, x = cls(6, momentum=0.5), _x()
    layer.running_var.zero_()
    layer(x)
    moved = (layer.running_var / (0.5 * x.var(0))).mean().item()
    return probing.check(abs(moved - 1.0) < 1e-3, "")


def _freezing(cls):
    model, x = torch.nn.Sequential(cls(6, eps=0.0)), _x()
    model[0].eval()
    if probing.distance(model(x).detach(), x) > 1e-5:
        return probing.no("eval()")
    return probing.partly("eval(), layer by layer, until model.train()")


def _recomputation(cls):
    layer, x = cls(6, momentum=0.5), _x().requires_grad_()
    y = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
    (y**3).sum().backward()
    moved = float((layer.running_mean / x.detach().mean(0)).mean())
    note = f"torch.utils.checkpoint: {moved:.2f} of the way, not 0.50"
    return probing.check(abs(moved - 0.5) < 1e-3, note)


def _folding(cls):
    linear, layer, x = torch.nn.Conv1d(6, 4, 1).eval(), cls(4).eval(), _x((5, 6, 3))
    layer.running_mean.fill_(0.5)
    layer.running_var.fill_(3.0)
    fused = torch.nn.utils.fuse_conv_bn_eval(linear, layer)
    error = probing.distance(fused(x).detach(), layer(linear(x)).detach())
    return probing.check(error < 1e-4, "torch.nn.utils.fuse_conv_bn_eval")


def _cumulative(cls=torch.nn.BatchNorm1d):
    layer, batches = cls(6, momentum=None), [_x(seed=seed) for seed in range(3)]
    for x in batches:
        layer(x)
    error = probing.distance(layer.running_mean, torch.cat(batches).mean(0))
    return probing.check(error < 1e-5, "momentum=None")


def _no_averages():
    layer = torch.nn.BatchNorm1d(6, track_running_stats=False).eval()
    error = probing.distance(
        layer(_x()).detach(), probing.normalized(probing.data(), 1e-5)
    )
    return probing.check(error < 1e-4, "track_running_stats=False")
