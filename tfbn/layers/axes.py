"""The `axis` argument of the layers."""

from collections.abc import Sequence

from tfbn import validation


def checked_axis(axis: int | Sequence[int]) -> int | tuple[int, ...]:
    """Returns `axis` as an int or a tuple of several; ValueError if it is neither."""
    axes: tuple = tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    if not axes or any(isinstance(i, bool) or not _is_integer(i) for i in axes):
        raise ValueError(
            "axis must be an integer or a tuple of integers. "
            f"Received: axis={validation.shown(axis)} of type {type(axis).__name__}."
        )
    axes = tuple(map(int, axes))
    return axes[0] if len(axes) == 1 else axes  # tf_keras's configs hold lists


def channel_axes(
    axis: int | tuple[int, ...], input_shape: Sequence[int | None]
) -> list[int]:
    """Returns `axis` counted from the front, checked against the input's shape."""
    rank, axes = len(input_shape), axis if isinstance(axis, tuple) else (axis,)
    received = f"Received: axis={axis}, input shape {tuple(input_shape)}."
    if rank < 2:
        raise ValueError(
            "inputs must have a batch axis and a channel axis. "
            f"Received: input shape {tuple(input_shape)}."
        )
    if not all(-rank <= i < rank for i in axes):
        raise ValueError(
            f"axis must be in [{-rank}, {rank}) for inputs of rank {rank}. {received}"
        )
    from_front = sorted({i % rank for i in axes})
    if len(from_front) < len(axes):
        raise ValueError(f"axis must not name an axis twice. {received}")
    if len(from_front) == rank:
        raise ValueError(f"axis must leave an axis to take statistics of. {received}")
    if any(input_shape[i] is None for i in from_front):
        raise ValueError(
            "inputs must have a known number of channels. Received: input shape "
            f"{tuple(input_shape)} with axis={axis}. Give the input a fixed size there."
        )
    return from_front


def _is_integer(value):
    return hasattr(value, "__index__")


def axis_config(axis: int | tuple[int, ...]) -> int | list[int]:
    """What a config holds of `axis`: JSON has no tuples."""
    return [*axis] if isinstance(axis, tuple) else axis
