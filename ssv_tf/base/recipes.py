"""Recipes, flag files that come with the package: found by name or path, from wherever one stands.

`--flagfile=configs/cars.flags` reads the file of that name where there is one, and else the one of
the package, so that an installed package needs no source tree.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssv_tf.base import files
from ssv_tf.base.errors import FlagError

FOLDER = Path(__file__).resolve().parents[1] / "configs"
SUFFIX = ".flags"

_LARGEST = 10_000_000  # bytes of a flag file
_DEEPEST = 20  # files that name files
_NOT_FOR_USERS = {"chaos"}


def names() -> list[str]:
    """Recipes of the package: configs/cars.flags is cars."""
    return sorted({path.stem for path in FOLDER.glob(f"*{SUFFIX}")} - _NOT_FOR_USERS)


def description(name: str) -> str:
    """What a recipe is for: the first sentence of its file."""
    text = find(name).read_text(encoding="utf-8")
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    return re.split(r"\.(?: |$)|[:(] ?(?=--|python)", comment, maxsplit=1)[0].strip()


def find(path: str | os.PathLike) -> Path:
    """A flag file: the one at `path`, else the package's of that name (with or without suffix).

    Raises:
      FlagError: there is none.
    """
    if os.path.isfile(path):
        return Path(path)
    folder, name = os.path.split(path)
    packaged = FOLDER / (name if name.endswith(SUFFIX) else name + SUFFIX)
    if folder in ("", "configs") and packaged.stem in names():
        return packaged
    raise FlagError(f"no such file: {os.fspath(path)}")


def expanded(words: Sequence[str], depth: int = 0) -> Iterator[str]:
    """Words of a command line with what flag files hold in their place, files in files too.

    Raises:
      FlagError: a file that is missing or is no text, or files that name each other.
    """
    for number, word in enumerate(words):
        if word == "--":
            yield from words[number:]
            return
        if not word.startswith(("--flagfile=", "-flagfile=")):
            yield word
            continue
        path = word.split("=", 1)[1]
        if depth == _DEEPEST:
            raise FlagError(f"--flagfile={path}: flag files name each other")
        yield from expanded(_lines(path), depth + 1)


def _lines(path: str) -> list[str]:
    try:
        content = files.read_regular(find(path), _LARGEST)
    except FlagError as error:
        raise FlagError(f"--flagfile: {error}") from None
    except files.Unreadable as error:
        raise FlagError(f"--flagfile={path}: {error}") from None
    if b"\0" in content:
        raise FlagError(f"--flagfile={path}: a NUL byte, so it is no text")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FlagError(f"--flagfile={path}: {error}") from None
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith(("#", "//"))]
