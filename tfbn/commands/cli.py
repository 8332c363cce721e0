"""What all scripts share: one-line errors and exit statuses.

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
    argv: Sequence[str] | None = None,
    *,
    prepare: Callable[[Sequence[str]], Sequence[str]] | None = None,
):
    """Parses the flags, calls `main` with the arguments left over, and exits.

    Exit status: what `main` returns (None is 0); 0 after `--help`; 2 with one line
    `<script>: error: <message>` on stderr after a wrong flag, an OSError, or a
    ValueError that tfbn or a script raised itself: so they report wrong input; 1 with
    such a line after a FloatingPointError of theirs or a MemoryError: what was asked
    for did not work out; 130 after Ctrl-C. Any other exception is an error of the
    program and keeps its traceback, a ValueError from inside a library too.
    `--verbosity=1` shows the traceback behind a one-line error as well.

    Args:
        main: takes the script's name followed by the arguments that are no flags.
        argv: what to parse instead of `sys.argv`, with the script's name first.
        prepare: a function from argv to what is parsed instead; a ValueError or
            OSError that it raises is reported like one out of `main`.
    """
    parse = functools.partial(_parse, prepare)
    app.run(functools.partial(_call, main), argv=argv, flags_parser=parse)


def refuse_arguments(argv: Sequence[str]):
    """Raises a ValueError if something beside flags was given to a script."""
    if len(argv) > 1:
        raise ValueError(
            f"{argv[1]!r} is no flag. Flags are written --name=value; see --help."
        )


def _parse(prepare, argv):
    try:
        return flags.FLAGS(argv if prepare is None else prepare(argv))
    except (flags.Error, ValueError, OSError) as error:
        _exit_with_line(error)
    except SystemExit as request:
        # Only the help flags exit here. absl gives them status 1, but asking for help
        # is no failure.
        raise SystemExit(0) from request


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


# What Python says of a flag's value, and what it means.
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
