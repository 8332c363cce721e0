"""What all scripts share: help, one-line errors and exit statuses.

A script ends with

    if __name__ == "__main__":
        cli.run(main)
"""

import functools
import os
import sys
from collections.abc import Callable
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging

from tfbn.commands.scripts_folder import SCRIPTS


def run(
    main: Callable[[list[str]], int | None],
    argv: list[str] | None = None,
    *,
    prepare: Callable[[Sequence[str]], Sequence[str]] | None = None,
):
    """Parses the flags, calls `main` with the arguments left over, and exits.

    Exit status: what `main` returns (None is 0); 0 after `--help`; 2 and one line
    `<script>: error: <message>` on stderr for wrong input, which is a wrong flag, an
    OSError, or a ValueError raised by tfbn or the script itself; 1 and such a line if
    the task failed, which is a FloatingPointError of theirs or a MemoryError; 130 after
    Ctrl-C. Any other exception is a bug and keeps its traceback, as does a ValueError
    from inside a library. `--verbosity=1` also shows the traceback of a one-line error.

    Args:
        main: takes the script's name followed by the arguments that are not flags.
        argv: what to parse instead of `sys.argv`, with the script's name first.
        prepare: function from argv to the arguments to parse; a ValueError or OSError
            that it raises is reported like one from `main`.
    """
    parse = functools.partial(_parse, prepare)
    app.run(functools.partial(_call, main), argv=argv, flags_parser=parse)


def refuse_arguments(argv: Sequence[str]):
    """Raises a ValueError if something beside flags was given to a script."""
    if len(argv) > 1:
        raise ValueError(
            f"{argv[1]!r} is no flag. Flags are written --name=value; see --help."
        )


def add_help_section(title: str) -> None:
    """Has `--help` list the flags whose module is called `title`, after the script's.

    A title that was added before keeps its place.
    """
    _help_sections.setdefault(title)


def _parse(prepare, argv):
    if {"--help", "-help", "-h", "-?"} & set(argv[1:]):
        print(_help())
        raise SystemExit(0)
    try:
        return flags.FLAGS(argv if prepare is None else prepare(argv))
    except (flags.Error, ValueError, OSError) as error:
        _exit_with_line(error)
    except SystemExit as request:
        # absl's --helpfull and its like exit with status 1, but help is no failure.
        raise SystemExit(0) from request


def _help():
    parts = [sys.modules["__main__"].__doc__ or f"Usage: {_script()} [flags]"]
    parts.append(flags.FLAGS.main_module_help())
    parts += map(flags.FLAGS.module_help, _help_sections)
    parts.append("--helpfull lists absl's own flags, too.")
    return "\n\n".join(part.strip("\n") for part in parts if part)


def _call(main, argv):
    try:
        return main(argv)
    except (*_WRONG_INPUT, *_NO_RESULT) as error:
        if isinstance(error, _OF_LIBRARIES_TOO) and not _raised_by_us(error):
            raise
        logging.debug("Traceback of the error:", exc_info=True)
        _exit_with_line(error, status=2 if isinstance(error, _WRONG_INPUT) else 1)
    except KeyboardInterrupt:
        print(f"{_script()}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _raised_by_us(error) -> bool:
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    code = frame.tb_frame
    path = os.path.abspath(code.f_code.co_filename)
    package = code.f_globals.get("__name__", "").partition(".")[0]
    return package in ("__main__", "tfbn") or path.startswith(SCRIPTS + os.sep)


_help_sections: dict[str, None] = {}

# Python's message about a flag's value, and what it means.
_RULES = {
    "invalid literal for int() with base 10:": "must be an integer.",
    "could not convert string to float:": "must be a number.",
}
_WRONG_INPUT = (ValueError, OSError, app.UsageError)
_NO_RESULT = (FloatingPointError, MemoryError)
_OF_LIBRARIES_TOO = (ValueError, FloatingPointError)


def _exit_with_line(error, status=2):
    print(f"{_script()}: error: {_one_line(error)}", file=sys.stderr)
    raise SystemExit(status) from error


def _one_line(error) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    message = " ".join(str(error).split()).removeprefix("ERROR:: ")
    if isinstance(error, flags.IllegalFlagValueError):
        for words, rule in _RULES.items():
            message = message.replace(words, f"{rule} Received:")
    return message or type(error).__name__


def _script() -> str:
    return os.path.basename(sys.argv[0])
