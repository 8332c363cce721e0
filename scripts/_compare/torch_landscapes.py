"""What loss-landscapes has, and the network that PyTorch's probes measure."""

import copy

import loss_landscapes
import loss_landscapes.metrics
import numpy as np
import torch
from _compare import probing
from _compare import serving


def probes():
    """A dict from name to a function without arguments, or an answer."""
    names = (
        "shift linearity top_eigenvalue top_n trace density layers noise_scale"
        " activations alpha tic histograms gradient_tests advice distances"
        " exact_trace"
    )
    nothing = probing.no("evaluates a metric along lines and planes", "read")
    return dict.fromkeys(names.split(), nothing) | {
        "loss_range": probing.partly("random_line, along random directions", "read"),
        "predictiveness": lambda: _left_over("GradientPredictivenessEvaluator"),
        "beta": lambda: _left_over("BetaSmoothnessEvaluator"),
        "surface": _plane,
        "interpolation": _interpolation,
        "batch_norm": probing.yes("in the mode that the model is in", "read"),
        "many_batches": probing.partly("with a metric that one writes", "read"),
        "unchanged": _plane_unchanged,
        "fit": probing.no("a call on a model", "read"),
        "resume": probing.no("keeps no records", "read"),
        "replicas": probing.no("moves one model's weights", "read"),
        "plots": probing.absent(loss_landscapes, "plot"),
    }


def network(norm=False):
    """A small network, with a batch for it."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    middle = [torch.nn.BatchNorm1d(8)] if norm else []
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 8), *middle, torch.nn.Tanh(), torch.nn.Linear(8, 3)
    )
    x = torch.randn(32, 6, generator=generator)
    return model, x, torch.randint(3, (32,), generator=generator)


def same(one, other):
    """Whether two state dicts are equal to the bit."""
    return all(torch.equal(one[name], other[name]) for name in one)


def _metric(x, y):
    return loss_landscapes.metrics.Loss(torch.nn.CrossEntropyLoss(), x, y)


def _plane():
    model, x, y = network()
    options = {"distance": 1, "steps": 5, "normalization": "filter"}
    found = loss_landscapes.random_plane(
        model, _metric(x, y), deepcopy_model=True, **options
    )
    good = found.shape == (5, 5) and np.isfinite(found).all()
    return probing.check(good, "random_plane(normalization='filter')")


def _plane_unchanged():
    model, x, y = network()
    before = copy.deepcopy(model.state_dict())
    loss_landscapes.random_plane(model, _metric(x, y), steps=5)
    if same(before, model.state_dict()):
        return probing.yes("random_plane")
    model.load_state_dict(before)
    loss_landscapes.random_plane(model, _metric(x, y), steps=5, deepcopy_model=True)
    if same(before, model.state_dict()):
        return probing.partly("with deepcopy_model=True, which is not the default")
    return probing.no("random_plane")


def _interpolation():
    model, x, y = network()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.mul_(2.0)
    found = loss_landscapes.linear_interpolation(
        model, other, _metric(x, y), steps=4, deepcopy_model=True
    )
    return probing.check(found.shape == (4,), "linear_interpolation")


def _left_over(name):
    """A class of an earlier layout that the wheel still has."""
    module = __import__(
        "loss_landscapes.common.evaluators.torch.sl_evaluators", fromlist=[name]
    )
    model, x, y = network()
    evaluator = getattr(module, name)(torch.nn.CrossEntropyLoss(), x, y)
    try:
        evaluator(model)
        with torch.no_grad():
            model[0].weight.mul_(1.1)
        value = float(evaluator(model))
    except Exception as error:  # whichever it raises
        return probing.no(f"{name}, of an earlier layout: {serving.one_line(error)}")
    return probing.check(value > 0, f"common.evaluators: {name}")
