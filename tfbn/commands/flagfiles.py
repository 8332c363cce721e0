"""Flags made from `TrainConfig`, and flagfiles found in scripts/configs/."""

import os

from absl import flags

from tfbn import validation
from tfbn.commands.scripts_folder import CONFIGS
from tfbn.experiment import TrainConfig
from tfbn.experiment import config as config_lib


def define(names=None, flag_values=flags.FLAGS):
    """Defines one flag for each field of `TrainConfig`, as flags of the script.

    Args:
        names: of the fields, or None for all of them.
        flag_values: where to define them.
    """
    flags.disclaim_key_flags()  # --help lists them under the script that calls this
    for field in config_lib.fields():
        if names is None or field.name in names:
            _DEFINE[field.type](field, flag_values)


def from_flags(flag_values=flags.FLAGS):
    """The `TrainConfig` that the parsed flags describe."""
    names = [field.name for field in config_lib.fields()]
    return TrainConfig(**_values(names, flag_values))


def from_file(path):
    """The `TrainConfig` that a flagfile describes, such as a run's flags.cfg.

    Raises:
        ValueError: if there is no such file, or it holds a flag that there is not.
    """
    flag_values = flags.FlagValues()
    define(flag_values=flag_values)
    arguments = _expand([f"--flagfile={path}"], including=())
    try:
        flag_values(["", *arguments])
        return from_flags(flag_values)
    except (flags.Error, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def given(names, flag_values=flags.FLAGS):
    """A dict of those of the fields `names` whose flags were given."""
    return _values([n for n in names if flag_values[n].present], flag_values)


def _values(names, flag_values):
    values = {name: flag_values[name].value for name in names}
    for field in config_lib.fields():
        if field.name in values and field.type == tuple[int, ...]:
            values[field.name] = _integers(field.name, values[field.name])
    return values


def expand_flagfiles(argv):
    """`argv` with each `--flagfile=NAME` replaced by the flags in that file.

    absl looks a flagfile up in the current folder alone, and so the flagfiles that it
    includes. Here a name that is not there is looked up beside the file that includes
    it, and in scripts/configs/.

    Raises:
        ValueError: if there is no such file, it is no text, or it includes itself.
    """
    return _expand(list(argv), including=())


def _expand(arguments, including):
    expanded, arguments = [], iter(arguments)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in ("-flagfile", "--flagfile"):
            expanded.append(argument)
            continue
        path = _find(value if equals else next(arguments, ""), including)
        expanded += _expand(_lines(path), (*including, path))
    return expanded


def _find(name, including):
    folders = ["", *(os.path.dirname(path) for path in including[-1:]), CONFIGS]
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and path in including:
            raise ValueError(
                f"flagfile must not include itself. Received: flagfile={path} in "
                f"{including[-1]}."
            )
        if os.path.isfile(path):
            return path
    known = sorted(f for f in os.listdir(CONFIGS) if not f.startswith("_"))
    raise ValueError(
        f"flagfile must name a file, in the current folder or one of scripts/configs/: "
        f"{', '.join(known)}. Received: flagfile={name!r}."
        f"{validation.suggestion(name, known)}"
    )


def _lines(path):
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"flagfile must be a text file in UTF-8. Received: flagfile={path}. {error}"
        ) from error
    for number, line in enumerate(lines, start=1):
        if line and not line.startswith(("-", "#", "//")):
            raise ValueError(
                f"{path}, line {number} must be a flag such as --norm=batch_norm or a "
                f"comment that begins with #. Received: {validation.shown(line)}."
            )
    return [line for line in lines if line.startswith("-")]


def _integers(name, values):
    try:
        return tuple(int(value) for value in values)
    except ValueError:
        raise ValueError(
            f"{name} must be integers separated by commas. Received: "
            f"{name}={','.join(values)!r}."
        ) from None


def _help(field):
    return config_lib.help_of(field.name)


def _define_text(field, flag_values):
    # Not DEFINE_enum: TrainConfig tells which of the choices a wrong one is near.
    choices = field.metadata.get("choices")
    help_text = f"<{'|'.join(choices)}>: {_help(field)}" if choices else _help(field)
    flags.DEFINE_string(field.name, field.default, help_text, flag_values=flag_values)


def _definer(define_flag):
    def define_field(field, flag_values):
        default = field.default
        default = list(default) if isinstance(default, tuple) else default
        define_flag(field.name, default, _help(field), flag_values=flag_values)

    return define_field


_DEFINE = {
    str: _define_text,
    bool: _definer(flags.DEFINE_bool),
    int: _definer(flags.DEFINE_integer),
    float: _definer(flags.DEFINE_float),
    tuple[int, ...]: _definer(flags.DEFINE_list),
}
