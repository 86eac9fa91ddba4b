"""Parts of an encoded picture that cost time or memory before a pixel is decoded: counted here.

Pillow looks at each part in Python and keeps most: millions of empty ones take long, and entries of
a TIFF may each point at the whole file.
"""

import struct
from collections.abc import Iterator

import numpy as np

_MAX_SEGMENTS = 10_000  # of a JPEG, before its first scan
_MAX_CHUNKS = 100_000  # of a PNG
_MAX_SCANS = 200  # of a progressive JPEG; encoders write about ten
_MAX_BLOCKS = 100_000  # of a GIF, before its first frame
_MAX_ENTRIES = 500  # of a TIFF
_MAX_STRIPS = 100_000  # of a TIFF, or its tiles
_MAX_TILE_PIXELS = 16_000_000
_AT_ONCE = 1 << 16  # bytes searched for scans, few enough for the processor's cache
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# All that Pillow takes for one; only the first two are looked into.
_TIFF_PREFIXES = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_SUBFILE, _STRIP_OFFSETS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS = 254, 273, 322, 323, 324
_DNG_VERSION = 0xC612


def trouble(content: bytes) -> str:
    """Why the parts of a picture are not to be read, a short reason; empty: they are."""
    if content.startswith(b"\xff\xd8"):
        if _scans(content) > _MAX_SCANS:
            return f"too many scans (more than {_MAX_SCANS})"
        return _too_many(_jpeg_segments(content), _MAX_SEGMENTS, "segments")
    if content.startswith(b"\x89PNG"):
        return _too_many(_png_chunks(content), _MAX_CHUNKS, "chunks")
    if content.startswith(b"GIF8"):
        return _too_many(_gif_blocks(content), _MAX_BLOCKS, "blocks")
    if content.startswith(_TIFF_PREFIXES):
        return _tiff_trouble(content)
    return ""


def _scans(content: bytes) -> int:
    """How often a JPEG's bytes say that a scan begins; `bytes.count` takes five times as long."""
    values = np.frombuffer(content, np.uint8)
    count = 0
    for start in range(0, len(values) - 1, _AT_ONCE):
        part = values[start : start + _AT_ONCE + 1]
        count += int(np.count_nonzero((part[:-1] == 0xFF) & (part[1:] == 0xDA)))
    return count


def _too_many(parts: Iterator[int], most: int, kind: str) -> str:
    many = any(number >= most for number, _ in enumerate(parts))
    return f"too many {kind} (more than {most})" if many else ""


def _jpeg_segments(content: bytes) -> Iterator[int]:
    """Where each segment before the first scan begins, and every hundredth byte between them."""
    offset = 2
    while offset < len(content) - 3 and content[offset : offset + 2] != b"\xff\xda":
        yield offset
        if content[offset] != 0xFF:
            following = content.find(b"\xff", offset, offset + 100)
            offset = following if following >= 0 else offset + 100
        elif content[offset + 1] == 0xFF:  # fill
            offset += 1
        elif content[offset + 1] <= 0x01 or 0xD0 <= content[offset + 1] <= 0xD9:  # has no length
            offset += 2
        else:
            offset += 2 + int.from_bytes(content[offset + 2 : offset + 4])


def _png_chunks(content: bytes) -> Iterator[int]:
    offset = 8
    while offset + 12 <= len(content):
        yield offset
        offset += 12 + int.from_bytes(content[offset : offset + 4])


def _gif_blocks(content: bytes) -> Iterator[int]:
    """Where each block before the first frame begins; foreign bytes between them count too."""
    flags = content[10] if len(content) > 10 else 0
    offset = 13 + (3 * 2 ** (flags % 8 + 1) if flags & 0x80 else 0)
    while offset < len(content) and content[offset] not in b",;":
        yield offset
        if content[offset] != ord("!"):
            offset += 1
            continue
        offset += 2
        while offset < len(content) and content[offset]:
            yield offset
            offset += 1 + content[offset]
        offset += 1


def _tiff_trouble(content: bytes) -> str:
    """Of the first directory of a classic TIFF; BigTIFF is refused."""
    order = "<" if content.startswith(b"II") else ">"
    if content[2:4] != struct.pack(f"{order}H", 42):
        return "not a TIFF of the common kind"
    if len(content) < 8:
        return "truncated"
    directory = struct.unpack_from(f"{order}I", content, 4)[0]
    if directory + 2 > len(content):
        return "truncated"
    count = struct.unpack_from(f"{order}H", content, directory)[0]
    if count > _MAX_ENTRIES:
        return f"too many entries (more than {_MAX_ENTRIES})"
    if directory + 2 + 12 * count > len(content):
        return "truncated"
    offsets = range(directory + 2, directory + 2 + 12 * count, 12)
    entries = {tag: rest for tag, *rest in (_entry(content, offset, order) for offset in offsets)}
    if content[8:10] == b"CR" or _DNG_VERSION in entries or _first(entries, _SUBFILE) & 1:
        return "a camera's raw file (its first picture is a thumbnail)"
    if sum(size * number for size, number, _ in entries.values()) > len(content):
        return "damaged (its entries are larger than the file)"
    if any(entries.get(tag, (0, 0))[1] > _MAX_STRIPS for tag in (_STRIP_OFFSETS, _TILE_OFFSETS)):
        return f"too many strips (more than {_MAX_STRIPS})"
    tile = _first(entries, _TILE_WIDTH) * _first(entries, _TILE_HEIGHT)
    return f"too large tiles ({tile} pixels)" if tile > _MAX_TILE_PIXELS else ""


def _entry(content: bytes, offset: int, order: str) -> tuple[int, int, int, int]:
    """(tag, bytes of a value, number of values, the first value where it stands in the entry)."""
    tag, kind, number = struct.unpack_from(f"{order}HHI", content, offset)
    shape = "H" if kind == 3 else "I"
    return tag, _TIFF_SIZES.get(kind, 8), number, struct.unpack_from(order + shape, content,
                                                                     offset + 8)[0]  # fmt: skip


def _first(entries: dict[int, list[int]], tag: int) -> int:
    return entries[tag][2] if tag in entries else 0
