"""Hessians of one network by PyHessian and cockpit, and exactly."""

import time

import backpack
import cockpit
import cockpit.quantities
import numpy as np
import pyhessian
import torch


def network(data):
    """The network of the arrays `kernel0`, `bias0`, ...: dense, with tanh between."""
    layers = []
    for i in range(_depth(data)):
        kernel, bias = data[f"kernel{i}"], data[f"bias{i}"]
        layer = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def exact(data):
    """Largest eigenvalue and trace of the Hessian in float64, all of it computed."""
    with np.load(data) as data:
        model = network(data).double()
        x = torch.from_numpy(data["x"]).double()
        y = torch.from_numpy(data["y"])
    names = [name for name, _ in model.named_parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]
    sizes = [shape.numel() for shape in shapes]

    def loss(flat):
        parts = torch.split(flat, sizes)
        parameters = {
            n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)
        }
        outputs = torch.func.functional_call(model, parameters, (x,))
        return torch.nn.functional.cross_entropy(outputs, y)

    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    matrix = torch.func.hessian(loss)(flat)
    return {
        "top_eigenvalue": torch.linalg.eigvalsh(matrix)[-1].item(),
        "trace": torch.trace(matrix).item(),
    }


def turn(tool, data, seed):
    """Seconds and value of one measurement, model and data in place.

    Args:
        tool: str, one of `TOOLS`.
        data: path of the arrays.
        seed: int, of the random vectors.
    """
    with np.load(data) as data:
        model = network(data)
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    torch.manual_seed(seed)
    begin = time.perf_counter()
    value = TOOLS[tool](model, x, y)
    return {"seconds": time.perf_counter() - begin, "value": float(value)}


def _depth(data):
    return sum(name.startswith("kernel") for name in data)


def _pyhessian(model, x, y):
    loss = torch.nn.CrossEntropyLoss()
    return pyhessian.hessian(model, loss, data=(x, y), cuda=False)


def _pyhessian_top(model, x, y):
    return _pyhessian(model, x, y).eigenvalues()[0][0]


def _pyhessian_tight(model, x, y):
    return _pyhessian(model, x, y).eigenvalues(maxIter=1000, tol=1e-7)[0][0]


def _pyhessian_trace(model, x, y):
    return np.mean(_pyhessian(model, x, y).trace())


def tracked(model, x, y, *quantities, optimizer=None):
    """The output of a `Cockpit` for one step, a dict from quantity to value."""
    backpack.extend(model)
    loss_function = backpack.extend(torch.nn.CrossEntropyLoss())
    each = torch.nn.CrossEntropyLoss(reduction="none")
    dashboard = cockpit.Cockpit(model.parameters(), quantities=list(quantities))
    for step in range(2):  # some quantities compare two
        outputs = model(x)
        info = {
            "batch_size": len(x),
            "individual_losses": each(outputs.detach(), y),
            "loss": loss_function(outputs, y),
            "optimizer": optimizer,
        }
        with dashboard(step, info=info):
            info["loss"].backward(create_graph=dashboard.create_graph(step))
        if optimizer is None:
            break
        optimizer.step()
        optimizer.zero_grad()
    return dashboard.get_output()[0]


def at_first(step):
    """A schedule of cockpit: the first step alone. It asks about step -1, too."""
    return step == 0


def _cockpit_top(model, x, y):
    quantity = cockpit.quantities.HessMaxEV(at_first)
    return tracked(model, x, y, quantity)["HessMaxEV"]


def _cockpit_trace(model, x, y):
    quantity = cockpit.quantities.HessTrace(at_first)
    return np.sum(tracked(model, x, y, quantity)["HessTrace"])


TOOLS = {
    "pyhessian_top": _pyhessian_top,
    "pyhessian_tight": _pyhessian_tight,
    "pyhessian_trace": _pyhessian_trace,
    "cockpit_top": _cockpit_top,
    "cockpit_trace": _cockpit_trace,
}
