"""Flags made from `TrainConfig`, and flagfiles found in scripts/configs/."""

import os
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from absl import flags
from absl import logging

from tfbn import validation
from tfbn.commands import cli
from tfbn.commands.scripts_folder import CONFIGS
from tfbn.experiment import TrainConfig
from tfbn.experiment import config as config_lib
from tfbn.training import run_directory


def define(
    names: Iterable[str] | None = None, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """Defines one flag for each option of `TrainConfig`.

    `--help` lists them by the sections of `TrainConfig`.

    Args:
        names: of the options, or None for all of them.
        flag_values: where to define them.
    """
    for section in config_lib.SECTIONS:
        cli.add_help_section(section.title)
        for option in section.options:
            if names is None or option.name in names:
                _define(option, section.title, flag_values)


def from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> TrainConfig:
    """The `TrainConfig` that the parsed flags describe."""
    return TrainConfig(**_values(config_lib.OPTIONS, flag_values))


def from_file(path: str) -> TrainConfig:
    """The `TrainConfig` that a flagfile describes, such as a run's flags.cfg.

    Raises:
        ValueError: if there is no such file, or it has an unknown flag or a wrong
            value.
    """
    flag_values = flags.FlagValues()
    define(flag_values=flag_values)
    arguments = expand_flagfiles([f"--flagfile={path}"])
    try:
        flag_values(["", *arguments])
        return from_flags(flag_values)
    except (flags.Error, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def given(
    names: Iterable[str], flag_values: flags.FlagValues = flags.FLAGS
) -> dict[str, Any]:
    """The values of those of the options `names` whose flags were given."""
    return _values([n for n in names if flag_values[n].present], flag_values)


def _values(names, flag_values):
    values = {name: flag_values[name].value for name in names}
    for name, value in values.items():
        if config_lib.OPTIONS[name].type is tuple:
            values[name] = _integers(name, value)
    return values


def expand_flagfiles(argv: Sequence[str]) -> list[str]:
    """`argv` with each `--flagfile=NAME` replaced by the flags in that file.

    absl looks up a flagfile, and those that it includes, in the current folder only.
    Here one that is not there is looked up beside the file that includes it, and in
    scripts/configs/.

    Flags from the flags.cfg of a run that do not apply to what is chosen are left out:
    tfbn 0.1.0 wrote all flags, and another --norm may be given behind such a file.

    Raises:
        ValueError: if there is no such file, it is not text, or it includes itself.
    """
    expanded = _expand(argv, including=())
    return _without_inert(expanded)


class _Recorded(str):
    """A flag out of the flags.cfg of a run."""


def _without_inert(arguments):
    if not any(isinstance(argument, _Recorded) for argument in arguments):
        return arguments
    values = flags.FlagValues()
    define(flag_values=values)
    try:
        values(["", *arguments], known_only=True)
        inert = config_lib.not_taken(values.flag_values_dict())
    except (flags.Error, ValueError):
        return arguments  # a wrong flag; parsing reports it
    kept, left_out = [], []
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if isinstance(argument, _Recorded) and name in inert:
            option = config_lib.OPTIONS[name]
            if value != option.text(option.default):
                left_out.append(argument)
        else:
            kept.append(argument)
    if left_out:
        logging.info("Flags of the run that do not apply: %s", " ".join(left_out))
    return kept


def _expand(arguments, including):
    expanded, arguments = [], iter(arguments)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in ("-flagfile", "--flagfile"):
            expanded.append(argument)
            continue
        path = _find(value if equals else next(arguments, ""), including)
        lines = _lines(path)
        if os.path.basename(path) == run_directory.FLAGS_FILE:
            lines = [_Recorded(line) for line in lines]
        expanded += _expand(lines, (*including, path))
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


def _define(option, title, flag_values):
    default, help_text = option.default, option.help
    if option.choices:
        # Not DEFINE_enum: TrainConfig suggests the choice nearest to a wrong one.
        help_text = f"<{'|'.join(option.choices)}>: {help_text}"
    if option.type is tuple:
        default = list(default)
    define_flag = _DEFINE[option.type]
    define_flag(
        option.name, default, help_text, flag_values=flag_values, module_name=title
    )


_DEFINE = {
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    tuple: flags.DEFINE_list,
}
