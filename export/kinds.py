"""One picture as files of many kinds, for comparing whatever reads files.

Each is drawn from an array by code, so that a kind is known to be what its name says.
"""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112
# EXIF orientation -> the transposition that it undoes.
_TURNS = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 92}


def kinds(picture: np.ndarray) -> dict[str, tuple[str, bytes]]:
    """A picture in files of many kinds.

    Args:
      picture: uint8 [H, W, 3], RGB.

    Returns:
      what is special about it -> (suffix, the file's bytes).
    """
    image = Image.fromarray(picture)
    grey, palette = image.convert("L"), image.quantize(64)
    clear = Image.merge("RGBA", (*image.split(), Image.linear_gradient("L").resize(image.size)))
    colour = image.getpixel((0, 0))
    lossless: dict[str, Any] = {"format": "WEBP", "lossless": True}
    return {
        "JPEG": (".jpg", _file(image, **_JPEG)),
        "JPEG, progressive": (".jpg", _file(image, **_JPEG, progressive=True)),
        "JPEG, grey": (".jpg", _file(grey, **_JPEG)),
        "JPEG, CMYK": (".jpg", _file(image.convert("CMYK"), **_JPEG)),
        **{f"JPEG, turned {o}": (".jpg", _turned(image, o, **_JPEG)) for o in _TURNS},
        "PNG": (".png", _file(image, format="PNG")),
        "PNG, grey": (".png", _file(grey, format="PNG")),
        "PNG, grey of 16 bits": (".png", _file(_sixteen_bits(grey), format="PNG")),
        "PNG, palette": (".png", _file(palette, format="PNG")),
        "PNG, alpha": (".png", _file(clear, format="PNG")),
        "PNG, one colour transparent": (".png", _file(image, format="PNG", transparency=colour)),
        "PNG, turned 6": (".png", _turned(image, 6, format="PNG")),
        "PNG, bytes after its end": (".png", _file(image, format="PNG") + bytes(99)),
        "WebP": (".webp", _file(image, format="WEBP", quality=90)),
        "WebP, alpha": (".webp", _file(clear, **lossless, exact=True)),
        "WebP, turned 6": (".webp", _turned(image, 6, **lossless)),
        "BMP": (".bmp", _file(image, format="BMP")),
        "BMP, palette": (".bmp", _file(palette, format="BMP")),
        "BMP, 32 bits, the fourth byte 0": (".bmp", _bmp_32(picture)),
        "GIF": (".gif", _file(palette, format="GIF")),
        "TIFF": (".tif", _file(image, format="TIFF", compression="tiff_lzw")),
    }


def _file(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def _turned(image: Image.Image, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return _file(image.transpose(_TURNS[orientation]), exif=exif.tobytes(), **options)


def _sixteen_bits(grey: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)


def _bmp_32(picture: np.ndarray) -> bytes:
    """Rows from below, blue, green, red and a byte that means nothing."""
    height, width = picture.shape[:2]
    data = np.dstack([picture[::-1, :, ::-1], np.zeros((height, width), np.uint8)]).tobytes()
    size = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 32, 0, len(data), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54) + size + data
