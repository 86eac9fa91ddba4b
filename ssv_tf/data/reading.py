"""Reads one picture file, whatever it holds: RGB pixels, or a short reason why not.

Memory and time are bounded before anything is decoded: by the file's size, its pixels, and the
number of segments, chunks and scans, each of which costs something however few bytes it has.
"""

import contextlib
import ctypes
import functools
import io
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ssv_tf.base import files
from ssv_tf.data import picture_parts

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_HEIC = "HEIF"  # Pillow's name of it, once `pillow_heif` is registered
_NAMES = "JPEG, PNG, WebP, BMP, GIF or TIFF"
MID_GREY = 127
MAX_PIXELS = 90_000_000
_MAX_WEBP_PIXELS = 40_000_000  # its decoder takes 15 bytes a pixel
MAX_BYTES = 400_000_000  # a BMP of MAX_PIXELS with alpha fits
# From here on a picture is read alone, and converted to RGB a strip at a time.
_LARGE_PIXELS = 16_000_000
_STRIP_PIXELS = 2_000_000
DRAFT_SCALES = (8, 4, 2)
DRAFT_STRETCH = 256
_large_picture = threading.Lock()

_KNOWN_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF",
    b"BM",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
)
# Beginnings of what often lies among pictures: (offset, bytes, what to call it).
_OTHER_KINDS = (
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\n", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphe", "HEIC, which pip install 'ssv-tf[heic]' reads"),
    (4, b"ftypmif1", "HEIC, which pip install 'ssv-tf[heic]' reads"),
    (4, b"ftyp", "video"),
)

# Pillow warns of large pictures and of odd metadata, by line of its own code: judged below instead.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadPicture(Exception):
    """A file that is no usable picture; the message is a short reason, without the name."""


def read_picture(source: str | os.PathLike | bytes, shortest: int | None = None) -> np.ndarray:
    """Reads a JPEG, PNG, WebP, BMP, GIF or TIFF picture, turned as its EXIF orientation says.

    HEIC too, where `pillow_heif` is installed (extra `heic`). Of an animation, or a TIFF of many
    pages, it is the first frame (of a PNG, the picture shown where none moves). Colour profiles
    are not applied.

    Args:
      source: a path, or the encoded bytes.
      shortest: a large JPEG may be decoded at a half, quarter or eighth of its size, and any other
        picture above 16 million pixels averaged, as long as both sides keep this many pixels.
        None: full size.

    Returns:
      uint8 [H, W, 3], RGB; transparent parts are mid-grey.

    Raises:
      BadPicture: with a short reason.
    """
    content = source if isinstance(source, bytes) else read_bytes(source)
    with _reasons(content):
        return np.array(_decoded(content, shortest))


def read_rgb(source: str | os.PathLike | bytes, shortest: int | None = None) -> Image.Image:
    """As `read_picture`, an RGB image of Pillow: two copies fewer for who goes on with Pillow."""
    content = source if isinstance(source, bytes) else read_bytes(source)
    with _reasons(content):
        return _decoded(content, shortest)


def read_rgba(content: bytes) -> np.ndarray:
    """As `read_picture` at full size, with the opacity and the colours below it as they are.

    Args:
      content: the encoded picture.

    Returns:
      uint8 [H, W, 4]; opacity is 255 where the picture has none.

    Raises:
      BadPicture: with a short reason.
    """
    with _reasons(content), _opened(content) as image:
        is_large = image.width * image.height > _LARGE_PIXELS
        with _large_picture if is_large else contextlib.nullcontext():
            upright = _upright(image)
            return np.array((_eight_bit(upright) if _is_deep(image) else upright).convert("RGBA"))


def upright_size(content: bytes) -> tuple[int, int]:
    """Width and height that `read_picture` gives at full size, from the header alone.

    Raises:
      BadPicture: with a short reason.
    """
    with _reasons(content), _opened(content) as image:
        if image.format == "TIFF":  # Pillow has turned its size already
            return image.size
        try:
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        except Exception:  # as in `_upright`
            turned = False
        return (image.height, image.width) if turned else (image.width, image.height)


@contextlib.contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    with Image.open(io.BytesIO(content), formats=_formats(content)) as image:
        _check_pixels(image)
        yield image


@contextlib.contextmanager
def _reasons(content: bytes) -> Iterator[None]:
    """Whatever is wrong with the bytes, or goes wrong in the block, becomes a BadPicture."""
    try:
        if not content:
            raise BadPicture("empty file")
        if trouble := picture_parts.trouble(content):
            raise BadPicture(trouble)
        yield
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture(_unidentified(content)) from None
    except Exception as error:  # Pillow's readers raise nearly anything on damaged bytes
        raise BadPicture(_reason(error)) from error


def read_image(image: Image.Image) -> np.ndarray:
    """The pixels of a Pillow image, as those of its file would be read at full size.

    Args:
      image: of any mode; it stays as it is, but for being loaded.

    Returns:
      uint8 [H, W, 3], RGB; turned as its EXIF orientation says, transparent parts mid-grey.

    Raises:
      BadPicture: with a short reason.
    """
    try:
        _check_pixels(image)
        return np.array(_to_rgb(_upright(image)))
    except BadPicture:
        raise
    except Exception as error:  # a lazy image reads its file now
        raise BadPicture(_reason(error)) from error


def read_bytes(path: str | os.PathLike) -> bytes:
    """What a regular file of bounded size holds, still encoded.

    Raises:
      BadPicture: with a short reason.
    """
    try:
        return files.read_regular(path, MAX_BYTES)
    except files.Unreadable as error:
        raise BadPicture(str(error)) from None


def _decoded(content: bytes, shortest: int | None) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=_formats(content)) as image:
        if "progressive" in image.info:  # its decoder keeps all of it, however it is drafted
            _check_pixels(image)
        if shortest and (scale := draft_scale(image.size, shortest)) > 1:
            image.draft(None, (image.width // scale, image.height // scale))
        _check_pixels(image)
        if image.width * image.height <= _LARGE_PIXELS:
            image.load()
            return _to_rgb(_upright(image, in_place=True))
        with _large_picture:
            image.load()
            return _upright(_in_strips(image, shortest))


def draft_scale(size: Sequence[int], shortest: int) -> int:
    """What the sides of a JPEG may be divided by as it is decoded: 8, 4, 2 or 1.

    Both keep `shortest` pixels. A side that is no multiple ends with a pixel that is there in part
    only and counts as a whole one: a stretch by 1 / DRAFT_STRETCH at most.
    """

    def fits(scale: int) -> bool:
        return all(
            length >= scale * shortest and -length % scale * DRAFT_STRETCH <= length
            for length in size
        )

    return next(filter(fits, DRAFT_SCALES), 1)


def _check_pixels(image: Image.Image) -> None:
    if image.format == "TIFF" and image.mode in ("I", "F"):  # which of their values is white?
        raise BadPicture("pixels are 32-bit numbers")
    if image.width * image.height > (_MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS):
        raise BadPicture(f"too large ({image.width} x {image.height} pixels)")


@functools.cache
def _hush_libtiff() -> None:
    """Keeps libtiff from writing of damaged pixels into the middle of other lines on stderr.

    Pillow has no setting for it. It finds the library of Pillow's Linux wheels; elsewhere it does
    nothing. What is wrong with a picture is told by Pillow's exception.
    """
    for library in Path(PIL.__file__).parent.parent.glob("pillow.libs/libtiff*.so*"):
        with contextlib.suppress(OSError, AttributeError):
            handlers = ctypes.CDLL(str(library))
            handlers.TIFFSetErrorHandler(None)
            handlers.TIFFSetWarningHandler(None)


def _formats(content: bytes) -> tuple[str, ...]:
    if content.startswith((b"II*\0", b"MM\0*")):
        _hush_libtiff()
    return (_HEIC,) if _is_heic(content) and _has_heic() else FORMATS


def _is_heic(content: bytes) -> bool:
    return content.startswith((b"ftyphe", b"ftypmif1", b"ftypmsf1"), 4)


@functools.cache
def _has_heic() -> bool:
    """Whether HEIC can be read; Pillow knows the format from now on."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def _unidentified(content: bytes) -> str:
    text = content[:300].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kind = next((k for at, start, k in _OTHER_KINDS if content.startswith(start, at)), None)
    if text.startswith((b"<svg", b"<?xml")):
        kind = "SVG or XML"
    elif text.startswith((b"<!doctype html", b"<html")):
        kind = "HTML"
    elif content.startswith(_KNOWN_SIGNATURES):
        return "damaged (its header cannot be read)"
    return f"not a {_NAMES} picture" + (f" but {kind}" if kind else "")


def _reason(error: Exception) -> str:
    text = files.one_line(" ".join(str(error).split()))
    if isinstance(error, Image.DecompressionBombError):
        return "too large (over twice Pillow's limit of pixels)"
    if isinstance(error, MemoryError):
        return "too large for the free memory"
    if "truncated" in text.lower() or "unexpected end" in text.lower():
        return "truncated"
    return f"damaged ({text[:80] or type(error).__name__})"


def _upright(image: Image.Image, in_place: bool = False) -> Image.Image:
    """The picture as its EXIF orientation says; a copy even where it says nothing, or `image`."""
    try:
        if not in_place:
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)
        return image
    except Exception:  # unreadable EXIF says nothing about the pixels, which are fine
        return image


def _in_strips(image: Image.Image, shortest: int | None) -> Image.Image:
    """RGB of a large picture, averaged by a whole factor; little more memory than the result's."""
    factor = max(1, min(image.size) // shortest) if shortest else 1
    size = (-(-image.width // factor), -(-image.height // factor))
    whole = Image.new("RGB", size)
    rows = factor * max(1, _STRIP_PIXELS // (factor * image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        whole.paste(_to_rgb(strip).reduce(factor), (0, top // factor))
    whole.info = dict(image.info)  # with the orientation
    return whole


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB of any Pillow mode: 16 bit scaled down, alpha laid over mid-grey."""
    if _is_deep(image):
        image = _eight_bit(image)
    if image.info.get("transparency") is not None or image.mode in (
        "RGBA",
        "LA",
        "PA",
        "RGBa",
        "La",
    ):
        ground = Image.new("RGBA", image.size, (MID_GREY, MID_GREY, MID_GREY, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow's own conversion clips 16 bit at 255; this keeps the whole range."""
    values, clear = np.asarray(image), image.info.get("transparency")
    grey = Image.fromarray(np.clip(np.rint(values / np.float32(257)), 0, 255).astype(np.uint8))
    if isinstance(clear, int):  # the one grey that is transparent
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey
