"""The door every command goes through: absl flags in, one line and an exit code out."""

import contextlib
import io
import logging
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags

from ssv_tf.base import files, recipes
from ssv_tf.base.errors import FlagError, UserError, ViewpointWarning

_HELP = {"--help", "-help", "-h", "--helpshort"}
_SETTING = re.compile(r"`(\w+)(=[^`]*)?`")

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
    before = set(flags.FLAGS)
    define_flags()
    command_flags = sorted(set(flags.FLAGS) - before)
    if _HELP.intersection(sys.argv[1:]):
        print(help_text(sys.modules[main.__module__].__doc__ or "", command_flags))
        raise SystemExit(0)
    app.run(_guarded(main), flags_parser=_parse)


def help_text(about: str, names: Sequence[str]) -> str:
    """What a command does, and its flags with their defaults."""
    lines = [about.strip(), "", "flags:"]
    for name in names:
        flag = flags.FLAGS[name]
        shown = f"--[no]{name}" if flag.boolean else f"--{name}={_shown(flag.default)}"
        text = " ".join((flag.help or "").split())
        lines.append(f"  {shown}")
        lines += textwrap.wrap(text, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines += ["  --flagfile=FILE", "      Reads flags from a file, such as a recipe of configs/."]
    return "\n".join(lines)


def _shown(default: Any) -> str:
    if default is None:
        return ""
    return ",".join(map(str, default)) if isinstance(default, list) else str(default)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(_expanded(argv))
    except (flags.Error, FlagError, UnicodeError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except RecursionError:  # absl looks for names like a very long unknown one
        print("error: a flag of that length is not known", file=sys.stderr)
        raise SystemExit(2) from None


def _expanded(argv: Sequence[str]) -> list[str]:
    for word in argv[1:]:
        if "\0" in word:
            raise flags.Error(f"a NUL byte in {word!r}")
    return [*argv[:1], *recipes.expanded(argv[1:])]


def _guarded(main: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    def guarded(argv: Sequence[str]) -> None:
        try:
            with _warnings_as_lines():
                main(argv)
        except UserError as error:
            print(f"error: {_one_line(with_flags(str(error)))}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        except OSError as error:  # a path that is too long, a folder that may not be entered
            print(f"error: {_one_line(error)}", file=sys.stderr)
            raise SystemExit(UserError.exit_code) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return guarded


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Shows each ViewpointWarning as a line on stderr."""

    def show(message, category, filename, lineno, file=None, line=None):
        if issubclass(category, ViewpointWarning):
            print(f"warning: {_one_line(with_flags(str(message)))}", file=sys.stderr)
        else:
            others(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ViewpointWarning)
        others, warnings.showwarning = warnings.showwarning, show
        yield


def with_flags(text: str) -> str:
    """The text with the flags of this command for the names of settings in backquotes."""

    def flag(match: re.Match) -> str:
        return f"--{match[1]}{match[2] or ''}" if match[1] in flags.FLAGS else match[0]

    return _SETTING.sub(flag, text)


def _one_line(error: Exception | str) -> str:
    return files.one_line(" ".join(str(error).split()))
