"""What cockpit, PyHessian and loss-landscapes have."""

import copy

import cockpit
import cockpit.quantities
import numpy as np
import pyhessian
import torch
from _compare import probing
from _compare import torch_hessian
from _compare import torch_landscapes


def diagnostics():
    """A dict from library to its answers."""
    return {
        "cockpit": probing.answers(_of_cockpit()),
        "pyhessian": probing.answers(_of_pyhessian()),
        "loss_landscapes": probing.answers(torch_landscapes.probes()),
    }


def _of_cockpit():
    quantities = cockpit.quantities
    return {
        "shift": probing.absent(quantities, "shift"),
        "loss_range": probing.partly(
            "Alpha fits a parabola through two steps; no losses along a line", "read"
        ),
        "predictiveness": probing.absent(quantities, "predict"),
        "beta": probing.absent(quantities, "smooth", "beta"),
        "linearity": probing.absent(quantities, "lipschitz", "linearity"),
        "top_eigenvalue": lambda: _tracks("HessMaxEV"),
        "top_n": probing.absent(quantities.HessMaxEV, "top", "num"),
        "trace": lambda: _tracks("HessTrace"),
        "exact_trace": _cockpit_exact_trace,
        "density": probing.absent(quantities, "density", "spectr"),
        "layers": probing.partly("the trace alone", "read"),
        "noise_scale": lambda: _tracks(
            "MeanGSNR", "the mean ratio of signal to noise, not B_simple"
        ),
        "activations": probing.absent(quantities, "activation"),
        "surface": probing.absent(quantities, "surface", "landscape"),
        "interpolation": probing.absent(quantities, "interpol"),
        "alpha": lambda: _tracks("Alpha"),
        "tic": lambda: _tracks("TICDiag"),
        "histograms": lambda: _tracks("GradHist2d"),
        "gradient_tests": lambda: _tracks("NormTest", "", "InnerTest", "OrthoTest"),
        "advice": lambda: _tracks("CABS", "", "EarlyStopping"),
        "distances": lambda: _tracks("UpdateSize", "", "Distance"),
        "batch_norm": _cockpit_batch_norm,
        "many_batches": probing.no("quantities are of the batch of the step", "read"),
        "unchanged": _cockpit_unchanged,
        "fit": probing.partly("a context in a loop that one writes", "read"),
        "resume": probing.no("the log is kept in memory until it is written", "read"),
        "replicas": probing.absent(cockpit.Cockpit, "replica", "process_group"),
        "plots": probing.yes("CockpitPlotter", "read"),
    }


def _of_pyhessian():
    names = (
        "shift loss_range predictiveness beta linearity noise_scale activations surface"
        " interpolation alpha tic histograms gradient_tests advice distances"
        " exact_trace"
    )
    nothing = probing.no("computes eigenvalues, trace and density alone", "read")
    return dict.fromkeys(names.split(), nothing) | {
        "top_eigenvalue": lambda: _close("pyhessian_top"),
        "top_n": _pyhessian_top_n,
        "trace": lambda: _close("pyhessian_trace"),
        "density": _pyhessian_density,
        "layers": probing.absent(pyhessian.hessian, "layer", "param"),
        "batch_norm": _pyhessian_batch_norm,
        "many_batches": _pyhessian_dataloader,
        "unchanged": _pyhessian_unchanged,
        "fit": probing.no("a call on a model", "read"),
        "resume": probing.no("keeps no records", "read"),
        "replicas": probing.absent(pyhessian.hessian, "replica", "process_group"),
        "plots": probing.absent(pyhessian, "plot"),
    }


def _track(names, norm=False):
    model, x, y = torch_landscapes.network(norm)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    quantities = [getattr(cockpit.quantities, n)(torch_hessian.at_first) for n in names]
    return torch_hessian.tracked(model, x, y, *quantities, optimizer=optimizer)


def _tracks(name, but="", *more):
    found = _track([name, *more])
    good = all(n in found and not _empty(found[n]) for n in (name, *more))
    note = ", ".join((name, *more))
    if good and but:
        return probing.partly(f"{note}: {but}")
    return probing.check(good, note)


def _empty(value):
    numbers = [value] if np.isscalar(value) else value
    if isinstance(numbers, dict):
        return not numbers
    return not np.all(np.isfinite(np.asarray(numbers, np.float64)))


def _cockpit_exact_trace():
    model, x, y = torch_landscapes.network()
    expected = torch.trace(_hessian_matrix(model, x, y)).item()
    error = abs(torch_hessian.TOOLS["cockpit_trace"](model, x, y) / expected - 1.0)
    return probing.check(error < 1e-4, f"{error:.0e} off")


def _cockpit_batch_norm():
    works, fails = [], []
    for name in cockpit.quantities.__all__:
        if name in ("Parameters", "Time"):
            continue
        try:
            (works if name in _track([name], norm=True) else fails).append(name)
        except Exception:  # whichever it raises
            fails.append(name)
    note = f"not {', '.join(fails)}"
    return probing.partly(note) if fails else probing.yes("all quantities")


def _cockpit_unchanged():
    model, x, y = torch_landscapes.network(norm=True)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model(x)
    once = copy.deepcopy(model.state_dict())
    model.load_state_dict(before)
    quantity = cockpit.quantities.HessMaxEV(torch_hessian.at_first)
    torch_hessian.tracked(model, x, y, quantity)
    return probing.check(
        torch_landscapes.same(once, model.state_dict()),
        "weights and averages as after a plain step",
    )


def _hessian_matrix(model, x, y):
    parameters = dict(model.named_parameters())
    sizes = [p.numel() for p in parameters.values()]

    def loss(flat):
        parts = torch.split(flat, sizes)
        values = {
            n: part.view(p.shape)
            for part, (n, p) in zip(parts, parameters.items(), strict=True)
        }
        outputs = torch.func.functional_call(model, values, (x,))
        return torch.nn.functional.cross_entropy(outputs, y)

    flat = torch.cat([p.detach().flatten() for p in parameters.values()])
    return torch.autograd.functional.hessian(loss, flat)


def _close(tool):
    model, x, y = torch_landscapes.network()
    matrix = _hessian_matrix(model, x, y)
    top = torch.linalg.eigvalsh(matrix)[-1]
    expected = top if tool.endswith("top") else torch.trace(matrix)
    torch.manual_seed(0)
    value = torch_hessian.TOOLS[tool](model, x, y)
    error = abs(value / expected.item() - 1.0)
    return probing.check(error < 0.2, f"{error:.0e} off the exact value")


def _hessian_of(model, x, y):
    loss = torch.nn.CrossEntropyLoss()
    return pyhessian.hessian(model, loss, data=(x, y), cuda=False)


def _pyhessian_top_n():
    values, vectors = _hessian_of(*torch_landscapes.network()).eigenvalues(top_n=2)
    return probing.check(len(values) == len(vectors) == 2, "eigenvalues(top_n=)")


def _pyhessian_density():
    nodes, _ = _hessian_of(*torch_landscapes.network()).density(iter=10)
    return probing.check(len(nodes[0]) == 10, "density")


def _pyhessian_batch_norm():
    """It calls model.eval(): is its eigenvalue that of the training loss?"""
    model, x, y = torch_landscapes.network(norm=True)
    with torch.no_grad():
        model(x)  # averages that are not those of the batch
    in_training = torch.linalg.eigvalsh(_hessian_matrix(copy.deepcopy(model), x, y))[-1]
    value = _hessian_of(model, x, y).eigenvalues(tol=1e-5)[0][0]
    error = abs(value / in_training.item() - 1.0)
    if error > 0.01:
        return probing.no(
            f"it sets eval mode: {error:.0%} off the Hessian of the training loss"
        )
    return probing.yes(f"{error:.0e} off")


def _pyhessian_dataloader():
    model, x, y = torch_landscapes.network()
    batches = [(x[:16], y[:16]), (x[16:], y[16:])]
    loss = torch.nn.CrossEntropyLoss()
    found = pyhessian.hessian(model, loss, dataloader=batches, cuda=False)
    value = found.eigenvalues()[0][0]
    error = abs(value / _hessian_of(model, x, y).eigenvalues()[0][0] - 1.0)
    return probing.check(error < 0.01, f"dataloader: {error:.0e} off one batch")


def _pyhessian_unchanged():
    model, x, y = torch_landscapes.network(norm=True)
    before = copy.deepcopy(model.state_dict())
    _hessian_of(model, x, y).eigenvalues()
    if not torch_landscapes.same(before, model.state_dict()):
        return probing.no("weights or averages change")
    if not model.training:
        return probing.partly("weights and averages do; the mode is eval afterwards")
    return probing.yes()
