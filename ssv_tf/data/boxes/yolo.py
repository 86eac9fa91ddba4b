"""Boxes of YOLO text files: one file a picture, one line `class cx cy w h` an object."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import folder
from ssv_tf.data.boxes.box import Box, Edges, number
from ssv_tf.data.boxes.masks import PolygonMask
from ssv_tf.data.boxes.names import PictureNames

NAMES_FILES = ("classes.txt", "obj.names", "classes.names")
_LEVELS_ABOVE = 2  # DATA/classes.txt of DATA/labels/train/a.txt
_MOST_BYTES = 100_000_000


def read(path: Path, names: PictureNames, class_names: Path | None = None) -> Iterator[Box]:
    """The boxes of a file, or of all text files of a folder.

    Numbers are shares of the picture's sides. A line with more points than two is a polygon, whose
    box is the one around it.

    Args:
      path: the file or folder.
      names: of the pictures.
      class_names: a file with one name a line, the first for class 0; None: one of `NAMES_FILES`
        beside the boxes or up to two folders above them, or no names.

    Raises:
      UserError: a file that cannot be read as text.
    """
    top = _top(path)
    names_file = class_names or _names_file(top)
    known = _text(names_file).strip().splitlines() if names_file else []
    known = [name.strip() for name in known]
    for file in sorted(files_of(path)):
        name, problem = names.find_stem(file.relative_to(top).as_posix())
        for line in filter(None, map(str.strip, _text(file).splitlines())):
            yield _box(name, line.split(), known, problem)


def files_of(path: Path) -> list[Path]:
    """The text files of boxes: `path` itself, or those below it."""
    if not path.is_dir():
        return [path]
    texts = (file for file in folder.walk(path) if file.suffix.lower() == ".txt")
    return [file for file in texts if file.name not in NAMES_FILES]


def check_named(path: Path, boxes: Iterable[Box], classes: Sequence[str]) -> None:
    """Raises SettingError where the boxes have numbers alone, and `classes` are asked for by name.

    Args:
      path: the file or folder that `read` took the boxes from, without `class_names`.
      boxes: those.
      classes: which are asked for.
    """
    there = {box.class_name for box in boxes if not box.problem}
    has_numbers = there and all(map(str.isdecimal, there))
    if not has_numbers or there & set(classes) or _names_file(_top(path)):
        return
    *first, last = NAMES_FILES
    raise SettingError(
        f"`classes={','.join(classes)}`: the boxes have numbers for classes, and no "
        f"{', '.join(first)} or {last} lies in {', '.join(map(str, _places(_top(path))))}; "
        "write one there, a name a line, the first for class 0"
    )


def _top(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _places(top: Path) -> list[Path]:
    """Where a file of names is looked for, in this order."""
    whole = Path(os.path.abspath(top))
    return [whole, *whole.parents[:_LEVELS_ABOVE]]


def _names_file(top: Path) -> Path | None:
    candidates = (place / name for place in _places(top) for name in NAMES_FILES)
    return next((candidate for candidate in candidates if os.path.isfile(candidate)), None)


def _text(path: Path) -> str:
    try:
        return files.read_regular(path, _MOST_BYTES).decode("utf-8-sig")
    except files.Unreadable as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None


def _box(name: str, words: Sequence[str], known: list[str], problem: str) -> Box:
    try:
        numbers = [number(word) for word in words[1:]]
        edges, mask = _shape(numbers)
    except ValueError as error:
        return Box(name, None, problem=problem or str(error))
    return Box(
        name, edges, in_shares=True, class_name=_class(words[0], known), mask=mask, problem=problem
    )


def _shape(numbers: list[float]) -> tuple[Edges, PolygonMask | None]:
    """Of four numbers, with or without a confidence; or of a polygon."""
    if len(numbers) in (4, 5):
        x, y, width, height = numbers[:4]
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2), None
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        across, down = numbers[::2], numbers[1::2]
        return (min(across), min(down), max(across), max(down)), PolygonMask(tuple(numbers))
    raise ValueError("no line `class cx cy w h`")


def _class(word: str, known: list[str]) -> str:
    return known[int(word)] if word.isdecimal() and int(word) < len(known) else word
