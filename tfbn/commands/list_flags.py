"""Flags that hold a list: some of a few names, or shapes."""

import functools
from collections.abc import Sequence

from absl import flags

from tfbn import validation


def define_names(
    name: str,
    default: Sequence[str] | None,
    allowed: Sequence[str],
    help_text: str,
    flag_values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagHolder:
    """Defines a flag whose value is a list of some of `allowed`."""
    parser = _ListParser("names", functools.partial(_name, allowed))
    help_text = f"{help_text} Some of: {', '.join(allowed)}."
    return _define(parser, str, name, default, help_text, flag_values)


def define_shapes(
    name: str,
    default: Sequence[tuple[int, ...]] | None,
    help_text: str,
    flag_values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagHolder:
    """Defines a flag whose value is a list of tuples: 128x8x8x256,1024x256."""
    parser = _ListParser("shapes", _shape)
    return _define(parser, shape_text, name, default, help_text, flag_values)


def shape_text(shape: Sequence[int]) -> str:
    """Returns a shape as the flag spells it: "128x8x8x256"."""
    return "x".join(map(str, shape))


def _define(parser, text_of, name, default, help_text, flag_values):
    flags.disclaim_key_flags()  # --help lists it under the script that calls this
    return flags.DEFINE(
        parser,
        name,
        default,
        help_text,
        flag_values,
        serializer=_ListSerializer(text_of),
    )


class _ListParser(flags.ArgumentParser):
    """Splits at commas and parses each part; no part may come twice, nor none."""

    def __init__(self, what, parse_part):
        self._what = what
        self._parse_part = parse_part

    def parse(self, argument):
        parts = argument.split(",") if isinstance(argument, str) else argument
        values = [self._parse_part(part) for part in parts]
        if not values or len(set(values)) < len(values):
            raise ValueError(f"must be {self._what} separated by commas, each once")
        return values

    def flag_type(self):
        return f"comma separated list of {self._what}"


class _ListSerializer(flags.ArgumentSerializer):
    def __init__(self, text_of):
        self._text_of = text_of

    def serialize(self, value):
        return ",".join(map(self._text_of, value))


def _name(allowed, part):
    if part not in allowed:
        near = validation.suggestion(part, allowed)
        raise ValueError(f"{part!r} is none of {', '.join(allowed)}.{near}")
    return part


def _shape(part):
    sizes = part.split("x") if isinstance(part, str) else part
    try:
        shape = tuple(int(size) for size in sizes)
    except ValueError:
        shape = ()
    if not 2 <= len(shape) <= 5 or min(shape) < 1:
        raise ValueError(
            f"{part!r} is no shape of 2 to 5 positive sizes, such as 128x8x8x256"
        )
    return shape
