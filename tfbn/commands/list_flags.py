"""Flags that hold a list: some of a few names, or shapes."""

from absl import flags

from tfbn import validation


def define_names(name, default, allowed, help_text, flag_values=flags.FLAGS):
    """Defines a flag whose value is a list of some of `allowed`."""
    parser = _ListParser("names", _NameParser(allowed))
    help_text = f"{help_text} Some of: {', '.join(allowed)}."
    return _define(parser, str, name, default, help_text, flag_values)


def define_shapes(name, default, help_text, flag_values=flags.FLAGS):
    """Defines a flag whose value is a list of tuples: 128x8x8x256,1024x256."""
    parser = _ListParser("shapes", _ShapeParser())
    return _define(parser, shape_text, name, default, help_text, flag_values)


def shape_text(shape):
    """The opposite of what the flag reads: "128x8x8x256"."""
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

    def __init__(self, what, parser):
        self._what = what
        self._parser = parser

    def parse(self, argument):
        parts = argument.split(",") if isinstance(argument, str) else argument
        values = [self._parser.parse(part) for part in parts]
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


class _NameParser:
    def __init__(self, allowed):
        self._allowed = allowed

    def parse(self, part):
        if part not in self._allowed:
            near = validation.suggestion(part, self._allowed)
            raise ValueError(f"{part!r} is none of {', '.join(self._allowed)}.{near}")
        return part


class _ShapeParser:
    def parse(self, part):
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
