"""Pictures as a person has them in Python: files, folders, globs, Pillow images, arrays, mixed."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import folder, patterns, read_policy, reading

Picture: TypeAlias = str | os.PathLike[str] | Image.Image | np.ndarray
Pictures: TypeAlias = Picture | Iterable[Picture]
Skip: TypeAlias = Callable[[str, str], None]
"""Gets the name of a picture that cannot be used, and why."""

_AT_ONCE = 64  # pictures of a part; so many more are read while the caller works at it


class Item(NamedTuple):
    """One picture: the name it goes by, and where its pixels are."""

    name: str
    source: Path | Image.Image | np.ndarray


class Ledger:
    """Pictures that cannot be used: counted and passed on, or the first ends it all.

    Args:
      policy: "skip" or "stop".
      on_skip: called for each one that is left out, as it comes.
    """

    def __init__(self, policy: str = read_policy.SKIP, on_skip: Skip | None = None) -> None:
        read_policy.check_policy(policy)
        self.policy, self.on_skip = policy, on_skip
        self.skipped: list[tuple[str, str]] = []

    def skip(self, name: str, reason: str) -> None:
        """Counts a picture; UserError under "stop"."""
        if self.policy == read_policy.STOP:
            read_policy.stop_at(name, reason)
        self.skipped.append((name, reason))
        if self.on_skip is not None:
            self.on_skip(name, reason)

    def none_read(self) -> str:
        """A sentence for when no picture was left."""
        if not self.skipped:
            return "no pictures were given"
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:3])
        return f"none of the {len(self.skipped)} pictures could be read ({reasons})"


def expand(pictures: Pictures, ledger: Ledger) -> list[Item]:
    """Every picture that is meant, in order; a file that is named twice is there once.

    Args:
      pictures: one or several of: a file, a folder (searched all the way down), a glob (** too), a
        Pillow image, an array, uint8 [H, W], [H, W, 3 or 4] or [n, H, W, 3]. A picture in memory
        goes by `picture_0`, `picture_1`, ... by its place among all.
      ledger: gets the words that lead to nothing.

    Raises:
      ValueError: an array of another kind, or something that is no picture.
    """
    items: list[Item] = []
    known: set[Path] = set()
    for given in _listed(pictures):
        if isinstance(given, (str, os.PathLike)):
            paths = find(given)
            if not paths:
                ledger.skip(files.printable(given), _why_missing(given))
            fresh = [path for path in dict.fromkeys(paths) if path not in known]
            known.update(fresh)
            items += [Item(files.printable(path), path) for path in fresh]
        else:
            first = len(items)
            items += [Item(f"picture_{first + i}", one) for i, one in enumerate(_in_memory(given))]
    return items


def find(word: str | os.PathLike) -> list[Path]:
    """The files that a word means; a file that is there is taken by its name, glob or not."""
    path = Path(word)
    if os.path.isdir(path):
        return folder.find_pictures(path)
    if os.path.lexists(path):  # a link to nothing too: reading it tells the reason
        return [path]
    return patterns.find_matches(os.fspath(word))


def read(source: Path | Image.Image | np.ndarray, shortest: int | None = None) -> np.ndarray:
    """Pixels of one picture, uint8 [H, W, 3].

    Args:
      source: of an `Item`.
      shortest: see `reading.read_picture`.

    Raises:
      reading.BadPicture: with a short reason.
    """
    if isinstance(source, Path):
        return reading.read_picture(source, shortest=shortest)
    if isinstance(source, Image.Image):
        return reading.read_image(source)
    if source.ndim == 3 and source.shape[2] == 3:
        return source
    return reading.read_image(Image.fromarray(source))


def read_squares(
    items: Sequence[Item], square: Callable[[Item], np.ndarray], ledger: Ledger
) -> Iterator[tuple[list[Item], np.ndarray]]:
    """Squares of pictures, read on every core ahead of the caller, a bounded number in memory.

    Args:
      items: the pictures.
      square: uint8 [R, R, 3] of one; raises `reading.BadPicture`.
      ledger: gets those that cannot be read.

    Yields:
      (those that could be read, uint8 [n, R, R, 3]) of each part, n from 1.
    """
    executor = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    parts = (
        [(item, _begun(executor, square, item)) for item in items[start : start + _AT_ONCE]]
        for start in range(0, len(items), _AT_ONCE)
    )
    try:
        coming = next(parts, None)
        while coming is not None:
            part, coming = coming, next(parts, None)
            readable, images = [], []
            for item, result in part:
                try:
                    images.append(result())
                    readable.append(item)
                except reading.BadPicture as error:
                    ledger.skip(item.name, str(error))
            if readable:
                yield readable, np.stack(images)
    finally:
        executor.shutdown(cancel_futures=True)  # neither an error nor Ctrl-C waits for the rest


def _begun(
    executor: ThreadPoolExecutor, square: Callable[[Item], np.ndarray], item: Item
) -> Callable[[], np.ndarray]:
    """Waits for the square of a picture, which is read meanwhile."""
    if isinstance(item.source, Image.Image):  # two may share a file that is not yet read
        return functools.partial(square, item)
    return executor.submit(square, item).result


def one(picture: Picture) -> Item:
    """The picture, where exactly one is meant.

    Raises:
      UserError: none, or several.
    """
    ledger = Ledger(read_policy.STOP)
    items = expand(picture, ledger)
    if len(items) != 1:
        raise UserError(f"one picture is needed, got {len(items)}")
    return items[0]


def _listed(pictures: Pictures) -> Iterable[Picture]:
    if isinstance(pictures, (str, os.PathLike, Image.Image, np.ndarray)):
        return [pictures]
    try:
        return list(pictures)
    except TypeError:
        raise ValueError(f"{type(pictures).__name__} is no picture, {_NEED}") from None


def _in_memory(given: Picture) -> Sequence[Image.Image | np.ndarray]:
    if isinstance(given, Image.Image):
        return [given]
    if not isinstance(given, np.ndarray):
        raise ValueError(f"{type(given).__name__} is no picture, {_NEED}")
    shape = given.shape
    several = given.ndim == 4 and shape[3] == 3
    single = given.ndim == 2 or (given.ndim == 3 and shape[2] in (3, 4))
    if given.dtype != np.uint8 or not (several or single) or 0 in shape[int(several) :]:
        raise ValueError(f"an array of {given.dtype} {list(shape)} is no picture, {_NEED}")
    return list(given) if several else [given]


_NEED = "give a path, a Pillow image or an array, uint8 [H, W, 3] or [n, H, W, 3]"


def _why_missing(word: str | os.PathLike) -> str:
    if os.path.isdir(word):
        return "no picture there"
    try:
        os.stat(word)
    except OSError as error:
        return files.why_unreadable(error, word)
    except ValueError:  # a NUL
        pass
    return "no such file"
