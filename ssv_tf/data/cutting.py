"""The crops of one picture: cut out, with the background that was asked for, encoded, written."""

import dataclasses
import functools
import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import reading
from ssv_tf.data.boxes import choosing
from ssv_tf.data.boxes.box import Box
from ssv_tf.data.boxes.choosing import Pixels, Rules
from ssv_tf.data.boxes.masks import AlphaMask
from ssv_tf.data.framing import Framing

KEEP, BLACK, MEAN = "keep", "black", "mean"
_STAMP = "ssv_tf.crop"  # in each crop: what it was made from
_COMPRESSION = 3  # of 9; in less than half the time of the usual 6, a twentieth larger
_HEAD_BYTES = 512  # of a crop, with its stamp


@dataclasses.dataclass(frozen=True)
class Cut:
    """How crops are cut.

    Attributes:
      rules: which boxes.
      around: the framing whose square is filled from the picture where that changes neither the
        object's scale nor its place; None: the box alone.
      background: "keep", "black", "mean" or a folder's name.
      backgrounds: the pictures of that folder.
    """

    rules: Rules
    around: Framing | None = None
    background: str = KEEP
    backgrounds: tuple[Path, ...] = ()


@dataclasses.dataclass(frozen=True)
class Task:
    """One picture, all of its boxes, and the file for the crop of each."""

    name: str
    path: Path
    boxes: tuple[Box, ...]
    targets: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a box: `pixels` of the picture that its file shows, or a reason why not."""

    box: Box
    target: Path
    pixels: Pixels | None = None
    reason: str = ""
    is_new: bool = False


def cut_all(task: Task, how: Cut) -> list[Outcome] | str:
    """Writes the crops of a picture that are not there yet.

    Returns:
      an outcome for each box; or why the picture cannot be read.

    Raises:
      UserError: a crop cannot be written, or another file has its name.
    """
    try:
        return _Picture(task, how).outcomes()
    except reading.BadPicture as error:
        return str(error)


class _Picture:
    """A picture that is decoded when the first of its crops is missing."""

    def __init__(self, task: Task, how: Cut) -> None:
        self._task, self._how = task, how
        self._content = reading.read_bytes(task.path)
        self._width, self._height = reading.upright_size(self._content)

    def outcomes(self) -> list[Outcome]:
        boxes = [self._with_edges(box) for box in self._task.boxes]
        verdicts = choosing.choose(boxes, self._width, self._height, self._how.rules)
        return [
            Outcome(box, target, verdict.pixels, verdict.reason)
            if verdict.reason or verdict.pixels is None
            else self._written(box, target, verdict.pixels)
            for box, target, verdict in zip(boxes, self._task.targets, verdicts, strict=True)
        ]

    def _with_edges(self, box: Box) -> Box:
        """The box with the edges of its mask where it has none; or with a problem."""
        if box.problem or box.edges is not None:
            return box
        try:
            return dataclasses.replace(box, edges=_extent(self._opacity(box)))
        except ValueError as error:
            return dataclasses.replace(box, problem=str(error))

    def _opacity(self, box: Box) -> np.ndarray:
        """uint8 [H, W]; ValueError where there is none."""
        if box.mask is None:
            raise ValueError("no mask to take its background out with")
        if not isinstance(box.mask, AlphaMask):
            try:
                return box.mask.opacity(self._width, self._height)
            except reading.BadPicture as error:
                raise ValueError(f"its mask cannot be read ({error})") from None
        opacity = self._layers[..., 3]
        if opacity.min() == 255:
            raise ValueError("no transparent pixel")
        return opacity

    def _written(self, box: Box, target: Path, pixels: Pixels) -> Outcome:
        """Writes the crop unless it is there."""
        pixels, opacity = self._around(pixels), None
        if self._how.background != KEEP:
            try:
                opacity = _part(self._opacity(box), pixels)
            except ValueError as error:
                return Outcome(box, target, reason=str(error))
        stamp = self._stamp(pixels, opacity)
        is_new = not is_there(target, stamp)
        if is_new:
            files.write_atomically(target, _png(self._cut(box, pixels, opacity, target), stamp))
        return Outcome(box, target, pixels, is_new=is_new)

    def _around(self, pixels: Pixels) -> Pixels:
        """The box, widened as far as the framing's square and the picture go on both sides."""
        framing = self._how.around
        if framing is None:
            return pixels
        left, top, right, bottom = pixels
        side = framing.side(right - left, bottom - top)
        across = _reach(left, right, self._width, side)
        down = 0 if framing.crop == "height" else _reach(top, bottom, self._height, side)
        return left - across, top - down, right + across, bottom + down

    def _cut(
        self, box: Box, pixels: Pixels, opacity: np.ndarray | None, target: Path
    ) -> np.ndarray:
        if opacity is None:
            return _part(self._colours, pixels)
        whole = self._layers if isinstance(box.mask, AlphaMask) else self._colours
        colours = _part(whole, pixels)[..., :3].astype(np.float32)
        share = opacity[..., None] / np.float32(255)
        behind = self._behind(colours, share, target)
        return np.rint(colours * share + behind * (1 - share)).astype(np.uint8)

    def _behind(self, colours: np.ndarray, share: np.ndarray, target: Path) -> np.ndarray:
        if self._how.background == BLACK:
            return np.zeros_like(colours)
        if self._how.background == MEAN:
            weights = np.broadcast_to(1 - share, colours.shape)
            total = np.maximum(weights.sum(axis=(0, 1)), 1e-6)
            return np.broadcast_to((colours * weights).sum(axis=(0, 1)) / total, colours.shape)
        height, width = colours.shape[:2]
        return _other_background(self._how.backgrounds, target.name, width, height)

    @functools.cached_property
    def _colours(self) -> np.ndarray:
        return self._checked(reading.read_picture(self._content))

    @functools.cached_property
    def _layers(self) -> np.ndarray:
        return self._checked(reading.read_rgba(self._content))

    def _checked(self, picture: np.ndarray) -> np.ndarray:
        if picture.shape[:2] != (self._height, self._width):
            raise reading.BadPicture("damaged (its header says another size)")
        return picture

    def _stamp(self, pixels: Pixels, opacity: np.ndarray | None) -> str:
        about = [self._task.name, len(self._content), pixels, self._how.background]
        if opacity is not None:
            about.append(zlib.crc32(opacity.tobytes()))
        return hashlib.sha256(repr(about).encode("utf-8", "surrogateescape")).hexdigest()


def is_there(target: Path, stamp: str) -> bool:
    """Whether a crop lies there that was made from the same.

    Raises:
      UserError: what lies there is no crop of ours.
    """
    try:
        with target.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from error
    if _STAMP.encode() not in head:
        raise UserError(
            f"{target} is no crop that this command wrote; move it, or name a new folder"
        )
    return stamp.encode() in head


def _png(picture: np.ndarray, stamp: str) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text(_STAMP, stamp)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", pnginfo=text, compress_level=_COMPRESSION)
    return stream.getvalue()


def _part(whole: np.ndarray, pixels: Pixels) -> np.ndarray:
    left, top, right, bottom = pixels
    return whole[top:bottom, left:right]


def _reach(low: int, high: int, length: int, side: float) -> int:
    """By how much a range can grow on both sides, to `side` and within the picture."""
    return max(0, min(int((side - (high - low)) // 2), low, length - high))


def _extent(opacity: np.ndarray) -> tuple[float, float, float, float]:
    """Edges of the pixels that are more opaque than not; ValueError where there are none."""
    rows, columns = (np.flatnonzero((opacity > 127).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("its mask is empty")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _other_background(paths: tuple[Path, ...], name: str, width: int, height: int) -> np.ndarray:
    """float32 [height, width, 3] of a picture that the crop's name draws; bad ones are passed."""
    start = zlib.crc32(name.encode("utf-8", "surrogateescape"))
    for step in range(len(paths)):
        try:
            path = paths[(start + step) % len(paths)]
            picture = reading.read_picture(path, shortest=max(width, height))
        except reading.BadPicture:
            continue
        return np.asarray(ImageOps.fit(Image.fromarray(picture), (width, height)), np.float32)
    raise UserError("none of the pictures of `backgrounds` can be read")
