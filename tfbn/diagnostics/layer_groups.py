"""Which parameters of a model make up a layer, for measurements layer by layer."""

from typing import NamedTuple

_NORMALIZATION = {"gamma", "beta"}


class LayerGroup(NamedTuple):
    """Parameters that count as one layer.

    Attributes:
        name: str.
        indices: list of int, places in `model.trainable_variables`.
    """

    name: str
    indices: list


def layer_groups(model, groups=None):
    """The layer groups of a built model, in the order of its trainable variables.

    Args:
        model: a built Keras model.
        groups: None, or a mapping of a group's name to the names of its layers, the
            groups in forward order. By default each layer is a group, and a layer that
            has nothing but gamma and beta belongs to the one before it, whose output
            it normalises. Santurkar et al. speak of "the parameters of each of the k
            layers" and do not say where gamma and beta belong.

    Returns:
        A list of `LayerGroup`.

    Raises:
        ValueError: if the model has no trainable variables, or a group names a layer
            without any.
    """
    layers = _indices_by_layer(model)
    if groups is None:
        return _default_groups(model, layers)
    return [_chosen_group(n, members, layers) for n, members in groups.items()]


def _indices_by_layer(model):
    layers = {}
    for i, variable in enumerate(model.trainable_variables):
        layers.setdefault(variable.path.rpartition("/")[0], []).append(i)
    if not layers:
        raise ValueError(
            f"model must have trainable variables. Received: {model.name} with none. "
            "Build it by calling it on a batch, and see that it is not frozen."
        )
    return layers


def _default_groups(model, layers):
    groups = []
    for path, indices in layers.items():
        names = {model.trainable_variables[i].name for i in indices}
        if groups and names <= _NORMALIZATION:
            groups[-1].indices.extend(indices)
        else:
            groups.append(LayerGroup(path, list(indices)))
    return groups


def _chosen_group(name, members, layers):
    unknown = [m for m in members if m not in layers]
    if unknown:
        raise ValueError(
            f"groups must name layers with trainable variables: {', '.join(layers)}. "
            f"Received: {unknown[0]!r} in group {name!r}."
        )
    return LayerGroup(name, [i for m in members for i in layers[m]])
