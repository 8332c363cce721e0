"""Copies a model layer by layer, with other layers in place of chosen ones."""

import inspect
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras

from tfbn import _compat
from tfbn import dtype_policies
from tfbn.surgery import sublayers
from tfbn.surgery import transfer


class Copier:
    """Copies a model. Each layer has one copy, however many places it is in.

    `keras.models.clone_model` keeps the layers inside models that are inside the model,
    unless it is recursive, never looks into other layers, and leaves out flags of
    models. Functional and sequential models are made anew here from their copied
    layers. Other layers are made from their configuration, and the copies of their
    sublayers then take the place of those that their constructor made.

    Args:
        model: a built model.
        chosen: its layers to replace.
        make: makes the new layer, not built yet, for a layer that is replaced. Where it
            is of the same class, it gets all state, else what
            `conversion.layer_weights` makes of the weights.

    Attributes:
        replacements: the new layers.
        other_models: `(name, class, class of the copy)` of models that lose theirs.
    """

    def __init__(
        self,
        model: keras.Model,
        chosen: Sequence[keras.layers.BatchNormalization],
        make: Callable[[keras.layers.Layer], keras.layers.BatchNormalization],
    ):
        self.replacements: list[keras.layers.BatchNormalization] = []
        self.other_models: list[tuple[str, str, str]] = []
        self._model, self._make = model, make
        self._chosen = {id(layer) for layer in chosen}
        self._copies: dict[int, Any] = {}
        self._pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
        self._discarded: list[keras.layers.Layer] = []
        classes = map(type, [model, *_compat.flatten_layers(model)])
        self._classes = {kind.__name__: kind for kind in classes}

    def copied_model(self) -> keras.Model:
        """The copy, built, with the weights of the model.

        Raises:
            ValueError: if a layer cannot be copied, or a chosen one not be replaced.
        """
        with keras.saving.custom_object_scope(self._classes):
            copy = self._copy(self._model)
            if not copy.built:
                copy.build_from_config(self._model.get_build_config())
        for layer in self._discarded:
            if layer.built:
                raise ValueError(
                    "model must hold its layers in attributes, lists, tuples or dicts. "
                    f"Received: {self._model.name}, which calls {layer.name} from "
                    "another place, where it cannot be replaced."
                )
        transfer.transfer(self._pairs, self._chosen)
        return copy

    def _copy(self, layer):
        """The one copy of a layer, or of an operation in a functional graph."""
        if id(layer) not in self._copies:
            self._keep(layer, self._new(layer))
        return self._copies[id(layer)]

    def _keep(self, layer, copy):
        self._copies[id(layer)] = copy
        if isinstance(layer, keras.layers.Layer):
            self._pairs.append((layer, copy))

    def _new(self, layer):
        if id(layer) in self._chosen:
            made = self._make(layer)
            if any(made is other for other in self.replacements):
                raise ValueError(
                    "factory must return a new layer in each call. Received: the same "
                    f"one again, for {layer.name}."
                )
            self.replacements.append(made)
            return made
        if not isinstance(layer, keras.layers.Layer):
            return _operation(layer)
        if isinstance(layer, keras.Function):
            return self._functional(layer)
        if isinstance(layer, keras.Sequential):
            return self._sequential(layer)
        copy = _from_config(layer)
        self._adopt(layer, copy)
        return copy

    def _functional(self, model):
        _check_call(model, _functional_class(model))
        layers = {id(x.output): x for x in model.layers if _is_input(x)}
        inputs = keras.tree.map_structure(
            lambda x: self._copy(layers[id(x)]).output, model.input
        )
        outputs = _compat.run_through_graph(model, inputs, self._copy)
        kind = type(model)
        if not _takes_a_graph(kind):
            self.other_models.append((model.name, kind.__name__, "keras.Model"))
            kind = keras.Model
        with dtype_policies.default(model.dtype_policy):
            return kind(inputs, outputs, name=model.name)

    def _sequential(self, model):
        _check_call(model, keras.Sequential)
        layers = [self._copy(layer) for layer in model.layers]
        if type(model) is not keras.Sequential:
            kinds = type(model).__name__, "keras.Sequential"
            self.other_models.append((model.name, *kinds))
        # Built by no call yet, or by one on several tensors, it has none.
        inputs = [x for x in _compat.sublayers(model) if _is_input(x)]
        layers = [*(self._copy(x).output for x in inputs), *layers]
        with dtype_policies.default(model.dtype_policy):
            return keras.Sequential(layers, name=model.name)

    def _adopt(self, layer, copy):
        """Puts copies in place of the sublayers that the constructor of `copy` made."""
        inner, made = map(_compat.sublayers, (layer, copy))
        if list(map(_kind, inner)) != list(map(_kind, made)):
            self._refuse_late_layers(layer)
            return
        for old, new in zip(inner, made, strict=True):
            adopted = self._adopted(old, new)
            if adopted is not new:
                if not new.built:
                    self._discarded.append(new)
                sublayers.substitute(copy, new, adopted)
            # What comes out of the configuration of a wrapper is built already.
            if copy.built and not adopted.built:
                adopted.build_from_config(old.get_build_config())

    def _adopted(self, layer, made):
        """The copy of a sublayer: `made`, if that will do."""
        if id(layer) in self._copies:
            return self._copies[id(layer)]
        is_graph = isinstance(layer, (keras.Function, keras.Sequential))
        is_other = made is layer or type(made) is not type(layer)
        if id(layer) in self._chosen or is_graph or is_other:
            return self._copy(layer)
        made.name = layer.name
        self._adopt(layer, made)
        self._keep(layer, made)
        return made

    def _refuse_late_layers(self, layer):
        inside = _compat.flatten_layers(layer)
        late = [inner.name for inner in inside if id(inner) in self._chosen]
        if late:
            raise ValueError(
                "model must have layers that make their batch-norm layers in the "
                f"constructor. Received: {layer.name} of class {type(layer).__name__}, "
                f"which makes {late[0]} later. Leave it out by the argument where."
            )


def _is_input(layer):
    return isinstance(layer, keras.layers.InputLayer)


def _kind(layer):
    """The class of a layer; one for all batch-norm layers, which may be replaced."""
    norm = keras.layers.BatchNormalization
    return norm if isinstance(layer, norm) else type(layer)


def _operation(operation):
    """A copy of an operation, which has no state; itself, if it has no config."""
    try:
        return type(operation).from_config(operation.get_config())
    except (NotImplementedError, TypeError, ValueError):
        return operation


def _from_config(layer):
    if type(layer) is keras.layers.Lambda:
        return _compat.copy_of_lambda(layer)
    try:
        with dtype_policies.default(layer.dtype_policy):
            return type(layer).from_config(layer.get_config())
    except Exception as error:  # a class can fail in any way
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"model must have layers that get_config describes. Received: {layer.name} "
            f"of class {type(layer).__name__}, which cannot be copied: {reason}"
        ) from error


def _functional_class(model):
    """Keras's class of functional models, which has no public name."""
    return next(
        kind for kind in type(model).__mro__ if keras.Function in kind.__bases__
    )


def _check_call(model, base):
    """Refuses a model whose class replaces what its graph or its list computes."""
    kind: Any = type(model)
    if kind.call is not base.call:
        raise ValueError(
            f"model must compute its graph. Received: {model.name}, whose class "
            f"{kind.__name__} has a call method of its own."
        )


def _takes_a_graph(kind):
    """Whether the constructor of a class is that of a functional model."""
    arguments = inspect.getfullargspec(kind.__init__)
    takes_all = arguments.varargs is not None and arguments.varkw is not None
    return takes_all or arguments.args[1:] == ["inputs", "outputs", "name"]
