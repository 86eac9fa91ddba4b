"""Which filename of a table belongs to which picture, however the table writes it."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from absl import logging

from ssv_tf.base import files
from ssv_tf.base.errors import UserError

_DRIVE = re.compile(r"^[a-z]:(?=/)")
_SHOWN = 3
_PicturePath = tuple[str, str, str]  # a picture's name, its whole path, that as `_plain` makes it
_PathsByName = dict[str, list[_PicturePath]]  # by the file's name as `_plain` makes it
_ABSENT = "in the table, but no such picture"


def match_names(
    names: Sequence[str],
    keys: Iterable[str],
    left: list[tuple[str, str]] | None = None,
    folder: str | os.PathLike | None = None,
) -> dict[str, str]:
    """Which filename of a table belongs to which picture.

    By path first: a filename is the picture's path below the data folder, or the end of its whole
    path. `00001.jpg` finds `images/00001.jpg`, so that a table may lie beside a folder of pictures,
    and `cars/00001.jpg` finds `00001.jpg` of a folder `cars`. Capital letters, backslashes, a drive
    and how an umlaut is composed make no difference where nothing else fits.

    By the file's name second, and only where not one path fits, as of a table that was made on
    another machine: then the picture that shares most of the path's end counts.

    Args:
      names: the pictures' paths below the data folder.
      keys: the table's filenames.
      left: takes (filename, reason) of each filename that finds no picture, or one that another
        filename has found.
      folder: the data folder.

    Returns:
      picture name -> filename, of the pictures that have one.

    Raises:
      UserError: a filename fits two pictures or, by the file's name, two filenames fit one.
    """
    keys, left = list(keys), [] if left is None else left
    paths = _paths_by_name(names, folder)
    matched, missing = _by_path(set(names), keys, paths, left)
    if missing and not matched:
        matched, missing = _by_file_name(missing, paths)
    left += [(key, _ABSENT) for key in missing]
    return matched


def warn_of_file_names(matched: Mapping[str, str], folder: str | os.PathLike | None = None) -> None:
    """Logs that `match_names` had to go by the files' names alone, where it did."""
    name, key = next(iter(matched.items()), ("", ""))
    [paths] = _paths_by_name([name], folder).values()
    if name != key and not _ends_about_alike(key, paths[0]):
        logging.warning(
            "no path of the table fits; matched %d by the file's name alone, as %s to %s",
            len(matched), files.one_line(key), files.one_line(name),
        )  # fmt: skip


def examples(names: Iterable[str]) -> str:
    """Up to three of the names, in words."""
    shown = [files.one_line(name)[:100] for name in list(names)[: _SHOWN + 1]]
    more = ", ..." if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more if shown else "none"


def _by_path(
    known: set[str], keys: list[str], paths: _PathsByName, left: list[tuple[str, str]]
) -> tuple[dict[str, str], list[str]]:
    """({picture: filename}, the filenames that fit no path).

    What fits letter by letter comes before what fits but for its case.
    """
    matched = {key: key for key in keys if key in known}
    missing = [key for key in keys if key not in known]
    for fits in (_ends_alike, _ends_about_alike):
        pending, missing = missing, []
        for key in pending:
            there = paths.get(_last(_plain(key)), [])
            fitting = [path[0] for path in there if fits(key, path)]
            if len(fitting) > 1:
                raise _ambiguous(key, fitting)
            if not fitting:
                missing.append(key)
            elif matched.setdefault(fitting[0], key) != key:
                left.append((key, f"the same picture as {matched[fitting[0]]} in the table"))
    return matched, missing


def _ends_alike(key: str, path: _PicturePath) -> bool:
    """Whether a picture's path ends with a filename, letter by letter."""
    return f"/{path[1]}".endswith(f"/{key.lstrip('/')}")


def _ends_about_alike(key: str, path: _PicturePath) -> bool:
    """The same but for case, slashes and composed letters."""
    return f"/{path[2]}".endswith(f"/{_plain(key).lstrip('/')}")


def _by_file_name(keys: list[str], paths: _PathsByName) -> tuple[dict[str, str], list[str]]:
    """({picture: filename}, the filenames whose last part is no picture's)."""
    chosen: dict[str, tuple[int, list[str]]] = {}
    missing = []
    for key in keys:
        plain = _plain(key)
        there = paths.get(_last(plain), [])
        if not there:
            missing.append(key)
            continue
        shared = [_shared_parts(plain, whole) for _, _, whole in there]
        fitting = [path[0] for path, n in zip(there, shared, strict=True) if n == max(shared)]
        if len(fitting) > 1:
            raise _ambiguous(key, fitting)
        most, rivals = chosen.get(fitting[0], (0, []))
        if max(shared) > most:
            missing += rivals
            chosen[fitting[0]] = max(shared), [key]
        elif max(shared) == most:
            rivals.append(key)
        else:
            missing.append(key)
    for name, (_, rivals) in chosen.items():
        if len(rivals) > 1:
            raise UserError(
                f"no path of the table fits, and the file's name of {rivals[0]} and of {rivals[1]} "
                f"is that of {name}; give the folder that holds both"
            )
    return {name: rivals[0] for name, (_, rivals) in chosen.items()}, missing


def _ambiguous(key: str, fitting: list[str]) -> UserError:
    return UserError(
        f"the filename {key} fits {fitting[0]} and {fitting[1]}; give it with its folder"
    )


def _paths_by_name(names: Sequence[str], folder: str | os.PathLike | None) -> _PathsByName:
    start = "" if folder is None else f"{os.path.abspath(os.fspath(folder))}/"
    paths: _PathsByName = {}
    for name in names:
        plain = _plain(start + name)
        paths.setdefault(_last(plain), []).append((name, start + name, plain))
    return paths


def _plain(path: str) -> str:
    r"""A path that compares whatever wrote it: `C:\Pics\A.JPG` is /pics/a.jpg."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())
    return _DRIVE.sub("", text.replace("\\", "/")).removeprefix("./")


def _last(plain: str) -> str:
    return PurePosixPath(plain).name


def _shared_parts(first: str, second: str) -> int:
    """How many parts at the end of two paths agree."""
    pairs = zip(reversed(first.split("/")), reversed(second.split("/")), strict=False)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
