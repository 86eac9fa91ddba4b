"""The door every command goes through: absl flags in, one line and an exit code out."""

import importlib.util
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from ssv_tf.base import files
from ssv_tf.base.errors import UserError

try:
    if importlib.util.find_spec("keras"):  # a machine that only writes records has none
        from ssv_tf.base import backend  # noqa: F401  (before anything else loads Keras)
except UserError as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None

_LARGEST_FLAG_FILE = 10_000_000  # bytes

for _name in ("tensorflow", "jax"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def run(main: Callable[[Sequence[str]], None], define_flags: Callable[[], None]) -> None:
    """Runs `main(argv)` under absl; a UserError becomes one line on stderr and its exit code.

    Args:
      main: the command; gets argv with the flags taken out.
      define_flags: registers the command's flags; called once, before parsing.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal cannot
            stream.reconfigure(errors="backslashreplace")
    define_flags()
    app.run(_guarded(main), flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(_with_flag_file_check(argv))
    except (flags.Error, UnicodeError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def _with_flag_file_check(argv: Sequence[str]) -> Sequence[str]:
    for word in argv[1:]:
        if "\0" in word:
            raise flags.Error(f"a NUL byte in {word!r}")
        if word.startswith(("--flagfile=", "-flagfile=")):
            path = word.split("=", 1)[1]
            if not os.path.isfile(path):
                raise flags.Error(f"--flagfile: no such file: {path}")
            _check_text(path)
    return argv


def _check_text(path: str) -> None:
    try:
        content = files.read_regular(path, _LARGEST_FLAG_FILE)
    except files.Unreadable as error:
        raise flags.Error(f"--flagfile={path}: {error}") from None
    if b"\0" in content:
        raise flags.Error(f"--flagfile={path}: a NUL byte, so it is no text")


def _guarded(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    def guarded(argv: Sequence[str]) -> None:
        try:
            main(argv)
        except UserError as error:
            print(f"error: {_one_line(error)}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        except OSError as error:  # a path that is too long, a folder that may not be entered
            print(f"error: {_one_line(error)}", file=sys.stderr)
            raise SystemExit(UserError.exit_code) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return guarded


def _one_line(error: Exception) -> str:
    return files.one_line(" ".join(str(error).split()))
