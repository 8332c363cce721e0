"""The groups of parameters that count as layers, for measurements layer by layer."""

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from typing import NamedTuple

import keras

from tfbn import validation
from tfbn.diagnostics import arguments

Groups = Mapping[str, Iterable[str]] | None

_NORMALIZATION = {"gamma", "beta"}


class LayerGroup(NamedTuple):
    """Parameters that count as one layer.

    Attributes:
        name: str.
        indices: list of int, positions in `model.trainable_variables`.
    """

    name: str
    indices: list[int]


def layer_groups(model: keras.Model, groups: Groups = None) -> list[LayerGroup]:
    """Returns the layer groups of a built model, in the order of its variables.

    Args:
        model: a built Keras model.
        groups: None, or a mapping from the name of a group to the names of its layers,
            the groups in forward order; "block" means all layers inside it, such as
            "block/conv". Layers in no group are left out. By default every layer is a
            group, and a layer that has nothing but gamma and beta belongs to the
            preceding one, whose output it normalises. Where gamma and beta belong is
            not stated in Santurkar et al. ("the parameters of each of the k layers");
            inferred.

    Returns:
        A list of `LayerGroup`, each named by the path of its first layer inside the
        model. A second layer of the same path is named "PATH#2".

    Raises:
        ValueError: if the model is no built Keras model with trainable variables, a
            group names a layer without any, or a layer is in two groups.
    """
    arguments.check_model(model)
    layers = _indices_by_layer(model)
    if groups is None:
        return _default_groups(model, layers)
    return _chosen_groups(groups, layers)


def _indices_by_layer(model):
    layers, path, names = {}, None, set()
    for i, variable in enumerate(model.trainable_variables):
        parent = variable.path.rpartition("/")[0].removeprefix(f"{model.name}/")
        if parent != path or variable.name in names:
            path, names, key = parent, set(), unused(parent, layers)
        layers.setdefault(key, []).append(i)
        names.add(variable.name)
    return layers


def unused(name: str, names: Container[str]) -> str:
    """Returns `name`, or "NAME#2" and so on if `names` contains it."""
    key, number = name, 2
    while key in names:
        key, number = f"{name}#{number}", number + 1
    return key


def _default_groups(model, layers):
    groups = []
    for path, indices in layers.items():
        names = {model.trainable_variables[i].name for i in indices}
        if groups and names <= _NORMALIZATION:
            groups[-1].indices.extend(indices)
        else:
            groups.append(LayerGroup(path, list(indices)))
    return groups


def _chosen_groups(groups, layers):
    if not _is_mapping_of_names(groups):
        raise ValueError(
            "groups must be a mapping of names to lists of layers' names, one or more. "
            f"Received: groups={validation.shown(groups)}."
        )
    chosen, owner = [], {}
    for name, members in groups.items():
        indices = [i for member in members for i in _indices_of(member, name, layers)]
        for i in indices:
            if i in owner:
                raise ValueError(
                    "groups must have each layer once. Received: one in "
                    f"{owner[i]!r} and again in {name!r}."
                )
            owner[i] = name
        chosen.append(LayerGroup(name, indices))
    return chosen


def _is_mapping_of_names(groups):
    return (
        isinstance(groups, Mapping)
        and bool(groups)
        and all(isinstance(members, (list, tuple, set)) for members in groups.values())
    )


def _indices_of(member, name, layers):
    found = [
        i
        for path, indices in layers.items()
        if path == member or path.startswith(f"{member}/")
        for i in indices
    ]
    if not found:
        raise ValueError(
            f"groups must name layers with trainable variables: {', '.join(layers)}. "
            f"Received: {member!r} in group {name!r}."
            f"{validation.suggestion(member, layers)}"
        )
    return found
