"""Folders of photos: find, read and fit each picture into a square of the network's size."""

import io
import math
import os
import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from ssv_tf.data.collection import PictureSet, match_names
from ssv_tf.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
CROPS = ("longest", "height")
PADDINGS = ("constant", "edge", "reflect", "blur")
MID_GREY = 127
MAX_PIXELS = 90_000_000
_NAMED_SKIPS = 20
# A picture much larger than the result is first shrunk cheaply to this multiple of it.
_WORKING_MULTIPLE = 4


class BadPicture(Exception):
    """A file that is no usable picture; the message is a short reason, without the name."""


def find_pictures(folder: str | os.PathLike) -> list[Path]:
    """All picture files below a folder, by suffix, sorted by path; hidden ones are left out.

    Links to folders are followed, each folder once, so that a link to a parent does no harm.

    Raises:
      UserError: `folder` is missing or is a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is {'a file' if folder.exists() else 'missing'}, not a folder")
    found, visited = [], set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_warn_unreadable):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if _is_picture_name(name)]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _is_picture_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _warn_unreadable(error: OSError) -> None:
    logging.warning("cannot look into %s: %s", error.filename, error.strerror)


def read_picture(source: str | os.PathLike | bytes, shortest: int | None = None) -> np.ndarray:
    """Reads a JPEG, PNG, WebP or BMP picture, turned as its EXIF orientation says.

    Args:
      source: a path, or the encoded bytes.
      shortest: a large JPEG may be decoded at a half, quarter or eighth of its size as long as
        both sides keep this many pixels. None: full size.

    Returns:
      uint8 [H, W, 3], RGB; transparent parts are mid-grey.

    Raises:
      BadPicture: with a short reason.
    """
    content = source if isinstance(source, bytes) else _read_bytes(Path(source))
    if not content:
        raise BadPicture("empty file")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if shortest:
                image.draft(None, (shortest, shortest))
            if image.width * image.height > MAX_PIXELS:
                raise BadPicture(f"too large ({image.width} x {image.height} pixels)")
            image.load()
            return np.array(_to_rgb(_upright(image)))
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture("not a JPEG, PNG, WebP or BMP picture") from None
    except Exception as error:  # Pillow's readers raise nearly anything on damaged bytes
        raise BadPicture(_reason(error)) from error


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():  # a pipe named x.jpg would block for ever
        raise BadPicture("not a regular file" if path.exists() else "no such file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadPicture(f"cannot be read: {error.strerror}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        return "too large (over twice Pillow's limit of pixels)"
    if "truncated" in text.lower() or "unexpected end" in text.lower():
        return "truncated"
    return f"damaged ({text[:80] or type(error).__name__})"


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF says nothing about the pixels, which are fine
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB of any Pillow mode: 16 bit scaled down, alpha laid over mid-grey."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        ground = Image.new("RGBA", image.size, (MID_GREY, MID_GREY, MID_GREY, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips 16 bit at 255; this keeps the whole range."""
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray(np.clip(np.rint(values / 257.0), 0, 255).astype(np.uint8))


def fit_square(
    picture: np.ndarray,
    resolution: int,
    crop: str = "longest",
    canvas_heights: float = 2.4,
    padding: str = "constant",
) -> np.ndarray:
    """Puts a picture into the middle of a square, one scale for both axes.

    Args:
      picture: uint8 [H, W, 3].
      resolution: side R of the result in pixels.
      crop: "longest": the square is as large as the longest side. "height": it is
        `canvas_heights` times as large as the picture's height, which does not change as the
        object turns; what sticks out at the sides is cut off.
      canvas_heights: side of the square in heights of the picture, for crop="height".
      padding: what fills the rest. "constant": mid-grey; "edge": the border repeated;
        "reflect": the picture mirrored; "blur": the border repeated and blurred.

    Returns:
      uint8 [R, R, 3].

    Raises:
      UserError: an unknown crop or padding, or a canvas that is not positive.
    """
    _check_fit(crop, canvas_heights, padding)
    picture = _shrink(picture, _square_side(picture, crop, canvas_heights), resolution)
    side = _square_side(picture, crop, canvas_heights)
    height, width = picture.shape[:2]
    rows = max(0, math.ceil((side - height) / 2))
    columns = max(0, math.ceil((side - width) / 2))
    canvas = Image.fromarray(_pad(picture, rows, columns, padding))
    # Fractions of a pixel matter at 32 px: the square is exact in `box`, the canvas only covers it.
    left, top = (canvas.width - side) / 2, (canvas.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.array(canvas.resize((resolution, resolution), Image.Resampling.LANCZOS, box))


def _check_fit(crop: str, canvas_heights: float, padding: str) -> None:
    if crop not in CROPS:
        raise UserError(f"crop is one of {', '.join(CROPS)}, not {crop!r}")
    if padding not in PADDINGS:
        raise UserError(f"padding is one of {', '.join(PADDINGS)}, not {padding!r}")
    if not 0 < canvas_heights < math.inf:
        raise UserError(f"canvas_heights is a positive number, not {canvas_heights}")


def _square_side(picture: np.ndarray, crop: str, canvas_heights: float) -> float:
    height, width = picture.shape[:2]
    return float(max(height, width)) if crop == "longest" else canvas_heights * height


def _shrink(picture: np.ndarray, side: float, resolution: int) -> np.ndarray:
    """Area average of a picture whose square is far larger than the result; bounds memory too."""
    scale = _WORKING_MULTIPLE * resolution / side
    if scale >= 1:
        return picture
    height, width = (max(1, round(scale * length)) for length in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def _pad(picture: np.ndarray, rows: int, columns: int, padding: str) -> np.ndarray:
    """[H, W, 3] -> [H + 2 rows, W + 2 columns, 3]."""
    widths = ((rows, rows), (columns, columns), (0, 0))
    if padding == "constant":
        return np.pad(picture, widths, constant_values=MID_GREY)
    if padding == "reflect":
        return np.pad(picture, widths, mode="reflect")
    padded = np.pad(picture, widths, mode="edge")
    if padding == "blur" and (rows or columns):
        blur = ImageFilter.GaussianBlur(max(padded.shape[:2]) / 16)
        blurred = np.array(Image.fromarray(padded).filter(blur))
        height, width = picture.shape[:2]
        blurred[rows : rows + height, columns : columns + width] = picture
        return blurred
    return padded


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
) -> PictureSet:
    """Reads all pictures below a folder; bad ones are named in the log, skipped and counted.

    Args:
      folder: any tree of pictures.
      resolution: side R of the result in pixels.
      crop: see `fit_square`.
      canvas_heights: see `fit_square`.
      padding: see `fit_square`.
      limit: at most this many pictures, drawn by `seed`; None: all.
      seed: of the draw.
      workers: threads; None: one a core.
      only: filenames to keep (as in a labels table); None: all.

    Returns:
      a PictureSet without angles, names relative to `folder`, sorted.

    Raises:
      UserError: no such folder, or not one usable picture.
    """
    _check_fit(crop, canvas_heights, padding)
    paths = _chosen_paths(folder, only, limit, seed)

    def load(name: str) -> np.ndarray | BadPicture:
        try:
            picture = read_picture(paths[name], shortest=_WORKING_MULTIPLE * resolution)
            return fit_square(picture, resolution, crop, canvas_heights, padding)
        except BadPicture as error:
            return error

    images = np.empty((len(paths), resolution, resolution, 3), np.uint8)
    good: list[str] = []
    skipped: list[tuple[str, str]] = []
    for name, loaded in zip(paths, _in_threads(load, paths, workers), strict=True):
        if isinstance(loaded, BadPicture):
            skipped.append((name, str(loaded)))
        else:
            images[len(good)] = loaded
            good.append(name)
    report_skipped(skipped, folder, len(good))
    return PictureSet(good, images[: len(good)], None, skipped)


def _chosen_paths(
    folder: str | os.PathLike, only: Collection[str] | None, limit: int | None, seed: int
) -> dict[str, Path]:
    """Name -> path of the pictures to read, sorted by name."""
    paths = {_name(path, folder): path for path in find_pictures(folder)}
    if not paths:
        raise UserError(f"no picture below {folder} (looked for {', '.join(sorted(SUFFIXES))})")
    names = sorted(paths if only is None else match_names(list(paths), only))
    if not names:
        raise UserError(
            f"none of the {len(only or ())} selected filenames is among the {len(paths)} pictures "
            f"below {folder} (the first picture there is {next(iter(paths))})"
        )
    if limit is not None and limit < len(names):
        chosen = np.random.default_rng(seed).permutation(len(names))[:limit]
        names = [names[i] for i in sorted(chosen)]
    return {name: paths[name] for name in names}


def _name(path: Path, folder: str | os.PathLike) -> str:
    """Name below the folder; bytes that are not UTF-8 are replaced so that it can be printed."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def _in_threads(function, items, workers: int | None):
    """Results of `function` over `items`, in order; Pillow decodes without the interpreter lock."""
    executor = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)))
    try:
        with warnings.catch_warnings():  # a large picture is judged by MAX_PIXELS
            warnings.simplefilter("ignore")
            yield from executor.map(function, items)
    finally:
        executor.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest


def report_skipped(skipped: list[tuple[str, str]], source: str | os.PathLike, usable: int) -> None:
    """Names the first bad pictures in the log and counts the rest; UserError where all are bad."""
    for name, reason in skipped[:_NAMED_SKIPS]:
        logging.warning("skipped %s: %s", name, reason)
    if len(skipped) > _NAMED_SKIPS:
        logging.warning("skipped %d more bad pictures", len(skipped) - _NAMED_SKIPS)
    if not usable:
        name, reason = skipped[0] if skipped else ("it", "no pictures")
        raise UserError(
            f"none of the {len(skipped)} pictures of {source} can be used; {name}: {reason}"
        )
