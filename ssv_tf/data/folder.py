"""Folders of photos: find, read and fit each picture into a square of the network's size."""

import contextlib
import os
import re
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from absl import logging

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import read_policy
from ssv_tf.data.collection import PictureSet
from ssv_tf.data.framing import CROPS, PADDINGS, Framing, fit_square
from ssv_tf.data.names import examples, match_names, warn_of_file_names
from ssv_tf.data.reading import FORMATS, MAX_PIXELS, MID_GREY, BadPicture, read_picture

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

__all__ = [
    "CROPS", "FORMATS", "MAX_PIXELS", "MID_GREY", "PADDINGS", "SUFFIXES", "BadPicture",
    "find_pictures", "fit_square", "load_folder", "read_picture",
]  # fmt: skip
SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .heic .heif".split())
# Pictures too, which are not read; cameras' raw files among them.
_OTHER_SUFFIXES = frozenset(
    ".avif .jxl .jp2 .psd .svg .ico .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf".split()
)
_THUMBNAILS = {"@eaDir", "__MACOSX"}  # folders of small copies that file servers and archives make
CONTACT_SHEET = "contact_sheet.png"  # of the same command
_SHEET = re.compile(r"contact_sheet(_\d+)?\.png")
_DRAWN = re.compile(r"(.+)_axes(_\d+)?\.png")  # by `ssv_tf.predict --draw_dir`


def find_pictures(folder: str | os.PathLike) -> list[Path]:
    """All picture files below a folder, by suffix, sorted by path; hidden ones are left out.

    So is what a run wrote: a run's folder below `folder`, and drawings of `predict` (`_axes.png`)
    that lie beside their pictures. A line in the log names them. Another one counts pictures of
    kinds that are not read.

    Links to folders are followed, each folder once, so that a link to a parent does no harm.

    Raises:
      UserError: `folder` is missing or is a file.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        there = "a file" if os.path.exists(folder) else "missing"
        raise UserError(f"{folder} is {there}, not a folder")
    all_paths = list(walk(folder))
    _tell_unread([path.relative_to(folder) for path in all_paths])
    paths = _without_drawings([path for path in all_paths if is_picture_name(path.name)])
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def is_picture_name(name: str) -> bool:
    """Whether a file is a picture by its suffix, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _tell_unread(paths: list[Path]) -> None:
    """A line in the log on pictures of kinds that are not read."""
    kinds: dict[str, list[str]] = {}
    for path in paths:
        if (suffix := path.suffix.lower()) in _OTHER_SUFFIXES:
            kinds.setdefault(suffix, []).append(files.printable(path.as_posix()))
    if kinds:
        counted = ", ".join(
            f"{len(names)} {suffix} ({files.one_line(min(names))}{', ...' if names[1:] else ''})"
            for suffix, names in sorted(kinds.items())
        )
        total = sum(map(len, kinds.values()))
        logging.warning("left out %d pictures of kinds that are not read: %s", total, counted)


def _without_drawings(paths: list[Path]) -> list[Path]:
    """The paths without NAME_axes.png and NAME_axes_2.png where a picture NAME is there too.

    The contact sheet beside such drawings goes with them.
    """
    known = {path.with_suffix("") for path in paths}
    drawn = {path for path in paths if (match := _DRAWN.fullmatch(path.name))
             and path.with_name(match[1]) in known}  # fmt: skip
    places = {path.parent for path in drawn}
    drawn |= {path for path in paths if _SHEET.fullmatch(path.name) and path.parent in places}
    if drawn:
        logging.info("%d drawings (%s) are left out", len(drawn), files.one_line(min(drawn).name))
    return [path for path in paths if path not in drawn]


def _is_written_by_a_run(path: Path) -> bool:
    """Whether a folder is a run's, which holds turntables and no photos."""
    return (path / "options.json").is_file() and (path / "models").is_dir()


def _is_searched(directory: str, name: str) -> bool:
    if name.startswith(".") or name in _THUMBNAILS:
        return False
    if _is_written_by_a_run(Path(directory, name)):
        logging.info(
            "%s is the folder of a run and is left out", files.one_line(f"{directory}/{name}")
        )
        return False
    return True


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder, each folder once however links lead there; no hidden ones."""
    visited = set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        try:
            status = os.stat(directory)
        except OSError as error:  # gone since its name was read
            _warn_unreadable(error)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if _is_searched(directory, name))
        yield from (Path(directory, name) for name in names if not name.startswith("."))


def _warn_unreadable(error: OSError) -> None:
    directory = files.one_line(str(error.filename))
    logging.warning("cannot look into %s: %s", directory, error.strerror)


def load_folder(
    folder: str | os.PathLike,
    resolution: int,
    crop: str = "longest",
    canvas_heights: float = 2.4,
    padding: str = "constant",
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    only: Collection[str] | None = None,
    bad_pictures: str = read_policy.SKIP,
) -> PictureSet:
    """Reads all pictures below a folder; bad ones are named in the log, skipped and counted.

    Args:
      folder: any tree of pictures.
      resolution: side R of the result in pixels.
      crop: see `framing.Framing`.
      canvas_heights: see `framing.Framing`.
      padding: see `framing.Framing`.
      limit: at most this many pictures, drawn by `seed`; None: all.
      seed: of the draw.
      workers: threads; None: one a core.
      only: filenames to keep (as in a labels table); None: all. One that is no picture here
        counts as a bad picture.
      bad_pictures: "skip", or "stop" at the first one.

    Returns:
      a PictureSet without angles, names relative to `folder`, sorted.

    Raises:
      UserError: no such folder, or not one usable picture, or a bad one under "stop".
    """
    framing = Framing(resolution, crop, canvas_heights, padding)
    read_policy.check_policy(bad_pictures)
    paths, skipped = choose_paths(folder, only, limit, seed)
    if skipped and bad_pictures == read_policy.STOP:
        read_policy.stop_at(*skipped[0])

    def load(name: str) -> np.ndarray | BadPicture:
        try:
            return framing.read(paths[name])
        except BadPicture as error:
            return error

    images = np.empty((len(paths), resolution, resolution, 3), np.uint8)
    names: list[str] = []
    with contextlib.closing(in_threads(load, paths, workers)) as results:
        for name, loaded in zip(paths, results, strict=True):
            if not isinstance(loaded, BadPicture):
                images[len(names)] = loaded
                names.append(name)
            elif bad_pictures == read_policy.STOP:
                read_policy.stop_at(str(paths[name]), str(loaded))
            else:
                skipped.append((name, str(loaded)))
    read_policy.report_skipped(skipped, folder, len(names))
    return PictureSet(names, images[: len(names)], None, skipped)


def choose_paths(
    folder: str | os.PathLike,
    only: Collection[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """The pictures that `load_folder` would read with the same arguments.

    Returns:
      {name: path}, sorted by name; (name, reason) of each that is not there.

    Raises:
      UserError: no such folder, or no picture chosen.
    """
    pictures = find_pictures(folder)
    if not pictures:
        raise UserError(f"no picture below {folder} (looked for {', '.join(sorted(SUFFIXES))})")
    paths, skipped = named(pictures, folder)
    names = sorted(paths)
    if only is not None:
        matched = match_names(list(paths), sorted(only), skipped, folder)
        warn_of_file_names(matched, folder)
        names = sorted(matched)
    if not names:
        raise UserError(
            f"none of the {len(only or ())} selected filenames is among the {len(paths)} pictures "
            f"below {folder} (the table has {examples(sorted(only or ()))}; the folder has "
            f"{examples(paths)})"
        )
    if limit is not None and limit < len(names):
        chosen = np.random.default_rng(seed).permutation(len(names))[:limit]
        names = [names[i] for i in sorted(chosen)]
    return {name: paths[name] for name in names}, skipped


def named(
    pictures: list[Path], folder: str | os.PathLike
) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """(printable name -> path; (name, reason) of a file that has no such name to itself)."""
    paths: dict[str, Path] = {}
    skipped = []
    for path in pictures:
        name = files.printable(path.relative_to(folder).as_posix())
        if name in paths:
            skipped.append((name, "another file's name reads the same; rename one of them"))
        paths.setdefault(name, path)
    return paths, skipped


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int | None
) -> Generator[_Result, None, None]:
    """Results of `function` over `items`, in order; Pillow decodes without the interpreter lock."""
    executor = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)))
    try:
        yield from executor.map(function, items)
    finally:
        executor.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
