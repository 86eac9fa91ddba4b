"""Picture files put together byte by byte, where no encoder writes what a test needs."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

# Upper left, upper right, lower left, lower right.
COLOURS = np.array([[(220, 40, 40), (40, 200, 60)], [(50, 60, 210), (230, 220, 60)]], np.uint8)
GREYS = np.array([[30, 90], [160, 240]], np.uint8)
SIZE = (96, 64)
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), 
    (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip


def quarters(values) -> np.ndarray:
    """[2, 2, ...] -> [64, 96, ...]: a picture of four rectangles."""
    return np.repeat(np.repeat(np.asarray(values), SIZE[1] // 2, 0), SIZE[0] // 2, 1)


def scene() -> Image.Image:
    """The picture that every readable file of the corpus shows."""
    return Image.fromarray(quarters(COLOURS))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """A picture as a file's bytes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes = b"", crc: int | None = None) -> bytes:
    """A PNG chunk; its check sum may be given wrongly."""
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def header(width: int, height: int, depth: int, colour: int, interlace: int = 0) -> bytes:
    """The IHDR chunk of a PNG."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png_of(*chunks: bytes) -> bytes:
    """A PNG of these chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png(values: np.ndarray, colour: int, extra: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG of integers [H, W] or [H, W, channels], 8 or 16 bit as they are."""
    values = values.reshape(*values.shape[:2], -1)
    height, width = values.shape[:2]
    depth = 8 * values.itemsize
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        b"\0" + row.astype(f">u{values.itemsize}").tobytes()
        for left, top, across, down in passes
        for row in values[top::down, left::across]
    )
    return png_of(
        header(width, height, depth, colour, int(interlaced)),
        extra, chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND"),
    )  # fmt: skip


def packed_png(values: np.ndarray, depth: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits of whole numbers [H, W]."""
    bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
    rows = np.packbits(bits.reshape(len(values), -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return png_of(
        header(values.shape[1], len(values), depth, 0),
        chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND"),
    )  # fmt: skip


def zeros_png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A whole black (or clear) PNG of any size, a thousandth of its pixels long."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + -(-width * depth * channels // 8))
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return png_of(header(width, height, depth, colour), chunk(b"IDAT", data), chunk(b"IEND"))


def empty_png(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG whose header promises pixels that are not there."""
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    return png_of(header(width, height, depth, colour), data, chunk(b"IEND"))


def jpeg_frame(content: bytes) -> int:
    """Where the frame header (SOF) of a JPEG begins."""
    place = 2
    while content[place + 1] not in (0xC0, 0xC2):
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return place


def jpeg_of_size(content: bytes, width: int, height: int) -> bytes:
    """The same JPEG with another size in its frame header."""
    place = jpeg_frame(content) + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def with_segment(content: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment at its beginning."""
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + content[2:]


def flipped(content: bytes, count: int, seed: int) -> bytes:
    """The bytes with `count` of them replaced at random."""
    random = np.random.default_rng(seed)
    changed = bytearray(content)
    for place in random.integers(0, len(content), count):
        changed[place] = random.integers(256)
    return bytes(changed)


def bmp(values: np.ndarray, bits: int, top_down: bool = False, masks: bytes = b"") -> bytes:
    """A BMP without a palette of row bytes [H, bytes]; rows are padded to four bytes."""
    rows = np.pad(values, ((0, 0), (0, -values.shape[1] % 4)))
    height, width = len(rows), values.shape[1] * 8 // bits
    data = (rows if top_down else rows[::-1]).tobytes()
    size = (width, -height if top_down else height)
    information = struct.pack(
        "<IiiHHIIiiII", 40, *size, 1, bits, 3 if masks else 0, len(data), 0, 0, 0, 0
    )
    start = 14 + len(information) + len(masks)
    return (
        struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + information + masks + data
    )


def tiff(*entries: tuple[int, int, int, int], data: bytes = bytes(3)) -> bytes:
    """A TIFF of (tag, type, count, value) entries, whose pixels begin at byte 8."""
    directory = 8 + len(data) + len(data) % 2
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        struct.pack("<2sHI", b"II", 42, directory)
        + data.ljust(directory - 8, b"\0")
        + struct.pack("<H", len(entries)) + packed + bytes(4)
    )  # fmt: skip


def tiff_size(width: int, height: int) -> tuple[tuple[int, int, int, int], ...]:
    """Entries of an RGB picture of this size, not packed, in one strip."""
    return (
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height),
        (279, 4, 1, min(3 * width * height, 2**32 - 1)),
    )  # fmt: skip
