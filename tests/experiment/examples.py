"""Values of options, made from their declarations."""


def other(option):
    """A right value that is not the default."""
    if option.choices:
        return next(c for c in option.choices if c != option.default)
    return {
        bool: lambda: not option.default,
        int: lambda: option.default + 1,
        float: lambda: option.default / 2 if option.default > 1 else 0.25,
        str: lambda: "he_uniform" if "initializer" in option.name else "other",
        tuple: lambda: (7,),
    }[option.type]()


def wrong(option):
    """A value of the right type that breaks the rule, or None if there is none."""
    if option.choices:
        return f"{option.choices[0]}x"
    if option.type is int:
        return int(option.minimum or 0) - 1
    if option.type is tuple:
        return (int(option.minimum or 0) - 1,)
    if option.type is float:
        return float("nan")
    return None
