"""The layout of `.weights.h5` and `.keras` files: groups that mirror the objects.

An object has its variables in the group `vars`, and a group for each attribute. A list
has a group for each element: its class in snake case, with a number from the second on.
"""

import re
from typing import Any

import h5py
import keras

from tfbn.layers import conversion
from tfbn.loading import hdf5

_VARIABLES = "vars"
_LAYERS = ("layers", "_layer_checkpoint_dependencies")  # now, and in tf_keras 2.13


def convert(model: keras.Model, file: h5py.File, path: str) -> None:
    """Writes a `.weights.h5` file of a model with the weights of another file.

    Raises:
        hdf5.Misfit: if the file does not fit.
    """
    model.save_weights(path)
    with h5py.File(path, "r+") as target:
        _transfer(file, target, model, "")


def _transfer(source, target, owner, where):
    """Copies into `target`, the group of `owner`, what `source` has for it."""
    if _is_state_of_training(owner):
        return
    if isinstance(owner, dict):
        owner = list(owner.values())
    children = hdf5.groups(target)
    if _VARIABLES in children:
        _transfer_variables(source, children.pop(_VARIABLES), owner, where)
    owners = {name: _member(owner, name, group) for name, group in children.items()}
    saved = _children(source)
    names = _pairs(saved, children, owners, owner, where)
    if isinstance(owner, (list, tuple)):
        _check_nothing_is_left(saved.keys() - names.values(), saved, where)
    for name, group in children.items():
        _transfer(saved.get(names[name]), group, owners[name], f"{where}/{name}")


def _transfer_variables(source, target, owner, where):
    wanted = hdf5.datasets(target)
    vars_ = {} if source is None else hdf5.groups(source).get(_VARIABLES, {})
    saved = hdf5.datasets(vars_) if vars_ else {}
    where = where.strip("/") or "the model"
    if not saved and _may_be_absent(owner):
        return
    if conversion.converts(owner):
        shapes = sorted({dataset.shape for dataset in wanted.values()} | {()})
        values = [hdf5.read(d, f"{where}/{key}", shapes) for key, d in saved.items()]
        values = conversion.layer_weights(owner, values)
        found = {str(i): value for i, value in enumerate(values)}
    else:
        found = saved
    if found.keys() != wanted.keys():
        raise hdf5.Misfit(
            f"{where} has {len(found)} weights in it and {len(wanted)} in the model."
        )
    for key, dataset in wanted.items():
        value = found[key]
        if isinstance(value, h5py.Dataset):
            value = hdf5.read(value, f"{where}/{key}", [dataset.shape])
        hdf5.write(dataset, value)


def _pairs(saved, children, owners, owner, where):
    """`{name in the model: name in the file}`: the same, but for batch-norm layers."""
    names = {name: name for name in children}
    if not isinstance(owner, (list, tuple)):
        if _LAYERS[0] in names and _LAYERS[0] not in saved:
            names[_LAYERS[0]] = _LAYERS[1]
        return names
    norms = [name for name in children if conversion.converts(owners[name])]
    kinds = {*conversion.CLASSES_IN_FILES, *map(_kind, norms)}
    stored = [name for name in saved if _kind(name) in kinds]
    labels = {_label(saved[name]): name for name in stored}
    same_names = labels.keys() == {owners[name].name for name in norms}
    several = len({_kind(name) for name in stored}) > 1
    if set(norms) == set(stored) and not (several and same_names):
        return names
    if len(norms) != len(stored):
        raise hdf5.Misfit(
            f"{where.strip('/')} has {len(stored)} batch-norm layers in it and "
            f"{len(norms)} in the model."
        )
    if same_names:
        return names | {name: labels[owners[name].name] for name in norms}
    if several:
        raise hdf5.Misfit(
            f"{where.strip('/')} has batch-norm layers of several classes in it, whose "
            "order it does not hold. Give the layers of the model the names that they "
            f"have in it: {', '.join(map(str, labels))}."
        )
    position = {id(layer): i for i, layer in enumerate(owner)}
    norms.sort(key=lambda name: position[id(owners[name])])
    stored.sort(key=_number)
    return names | dict(zip(norms, stored, strict=True))


def _check_nothing_is_left(names, saved, where):
    for name in sorted(names):
        if _has_weights(saved[name]):
            raise hdf5.Misfit(f"the model has no {where.strip('/')}/{name}.")


def _has_weights(group):
    inner = hdf5.groups(group)
    if _VARIABLES in inner and hdf5.datasets(inner.pop(_VARIABLES)):
        return True
    return any(_has_weights(child) for child in inner.values())


def _children(source):
    if source is None:
        return {}
    return {n: g for n, g in hdf5.groups(source).items() if n != _VARIABLES}


def _member(owner: Any, name: str, group: h5py.Group) -> Any:
    """The object of a group of `owner`'s own file, or None if it is not found."""
    if not isinstance(owner, (list, tuple)):
        return getattr(owner, name, None)
    if _kind(name) == "container":
        found = [i for i in owner if isinstance(i, (list, tuple, dict))]
        return found[_number(name)]
    label = _label(group)
    found = [element for element in owner if getattr(element, "name", "") == label]
    return found[0] if len(found) == 1 else None


def _is_state_of_training(owner):
    return isinstance(owner, (keras.optimizers.Optimizer, keras.metrics.Metric))


def _may_be_absent(owner):
    """Seeds, which NoisyBatchNorm has and others do not, keep their state."""
    return owner is not None and not isinstance(owner, keras.layers.Layer)


def _label(group):
    """The name of the layer that a group is of; older files have none."""
    inner = hdf5.groups(group)
    return inner[_VARIABLES].attrs.get("name") if _VARIABLES in inner else None


def _kind(name):
    return re.sub(r"_\d+$", "", name)


def _number(name):
    number = re.search(r"_(\d+)$", name)
    return int(number[1]) if number else 0
