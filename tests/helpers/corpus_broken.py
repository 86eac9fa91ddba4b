"""Picture files that are broken, are something else, or lie in wait."""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from corpus_case import EITHER, Case
from picture_bytes import (
    COLOURS,
    bmp,
    chunk,
    empty_png,
    encoded,
    flipped,
    header,
    jpeg_frame,
    jpeg_of_size,
    png,
    png_of,
    scene,
    tiff,
    tiff_size,
    with_segment,
)
from PIL import Image


def _sources() -> dict[str, bytes]:
    image = scene()
    return {
        "baseline.jpg": encoded(image, "JPEG", quality=92),
        "progressive.jpg": encoded(image, "JPEG", quality=92, progressive=True),
        "plain.png": encoded(image, "PNG"),
        "interlaced.png": png(np.asarray(image), 2, interlaced=True),
        "lossy.webp": encoded(image, "WEBP", quality=90),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "plain.bmp": encoded(image, "BMP"),
        "lzw.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "plain.gif": encoded(image.quantize(8), "GIF"),
    }


def truncated() -> Iterator[Case]:
    for name, content in _sources().items():
        stem, suffix = name.split(".")
        yield Case(f"whole/{name}", "whole", content, "", COLOURS)
        for share in (0, 1, 2, 5, 10, 20, 35, 50, 65, 80, 90):
            place = f"truncated/{stem}_{share:02d}.{suffix}"
            reason = "empty file" if not share else "truncated|damaged|not a JPEG"
            yield Case(place, "truncated", content[: -(-len(content) * share // 100)], reason)
        yield Case(f"truncated/{stem}_last.{suffix}", "truncated", content[:-1], EITHER)


def wrong_suffix() -> Iterator[Case]:
    right = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}
    for suffix in right:
        for other, kind in right.items():
            if other != suffix:
                content = encoded(scene(), kind, quality=95)
                name = f"wrong_suffix/{other}_as.{suffix}"
                yield Case(name, "wrong suffix", content, "", COLOURS)
    no_pictures = {
        "pdf": (b"%PDF-1.7\n" + bytes(60), "PDF"),
        "ico": (encoded(scene(), "ICO"), "ICO"),
        "zip": (b"PK\3\4" + bytes(60), "ZIP"),
        "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60), "HEIC"),
        "avif": (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(60), "AVIF"),
        "mp4": (b"\0\0\0\x18ftypmp42\0\0\0\0" + bytes(60), "video"),
        "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "JPEG 2000"),
        "jxl": (b"\xff\n" + bytes(60), "JPEG XL"),
        "psd": (b"8BPS\0\1" + bytes(60), "Photoshop"),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        "xml": (b"\xef\xbb\xbf\n<?xml version='1.0'?><svg/>", "SVG"),
        "html": (b"<!DOCTYPE html><title>404</title>", "HTML"),
        "text": (b"this is no picture\n", ""),
        "elf": (b"\x7fELF" + bytes(60), ""),
        "zeros": (bytes(5000), ""),
        "ones": (b"\xff" * 5000, ""),
        "noise": (bytes(np.random.default_rng(2).integers(0, 256, 5000, np.uint8)), ""),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ""),
    }
    for name, (content, kind) in no_pictures.items():
        suffix = sorted(right)[len(name) % 4]
        reason = "not a JPEG" + (f".* but {kind}" if kind else "")
        yield Case(f"wrong_suffix/{name}_as.{suffix}", "wrong suffix", content, reason)


def damaged_tiff_and_gif() -> Iterator[Case]:
    size = tiff_size(1, 1)
    whole = [(60_000 + i, 1, 100_000, 0) for i in range(400)]  # each is the whole file
    tiles = ((322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8))
    head = encoded(Image.new("P", (4, 4)), "GIF")
    start = 13 + 3 * 2 ** (head[10] % 8 + 1)
    found = {
        "entries.tif": (tiff(*size, *[(60_000, 3, 1, 0)] * 600), "too many entries"),
        "whole_file.tif": (tiff(*size, *whole, data=bytes(100_000)), "larger than the file"),
        "tiles.tif": (tiff(*size, *tiles), "too large tiles"),
        "thumbnail.tif": (tiff(*size, (254, 4, 1, 1)), "a camera's raw file"),
        "raw.tif": (tiff(*size, (0xC612, 1, 4, 1)), "a camera's raw file"),
        "pixels.tif": (tiff(*tiff_size(60_000, 60_000)), "too large|larger than"),
        "no_entries.tif": (tiff(), "damaged"),
        "big.tif": (b"II+\0\x08\0\0\0" + bytes(60), "not a TIFF of the common kind|not a JPEG"),
        "float.tif": (encoded(Image.new("F", (4, 4)), "TIFF"), "pixels are 32-bit numbers"),
        "blocks.gif": (head[:start] + b"!\xfe\1x\0" * 60_000 + head[start:], "too many blocks"),
        "screen.gif": (head[:6] + b"\xff" * 4 + head[10:], "too large"),
    }
    for name, (content, reason) in found.items():
        yield Case(f"damaged/{name}", "damaged", content, reason)


def damaged_png() -> Iterator[Case]:
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(scene()))
    head, end = header(96, 64, 8, 2), chunk(b"IEND")
    data, refused = chunk(b"IDAT", zlib.compress(rows)), "truncated|damaged|not a JPEG"
    palette = chunk(b"PLTE", bytes(COLOURS))
    found = {
        "no_data": (png_of(head, end), refused),
        "no_header": (png_of(data, end), refused),
        "signature_only": (png_of(), refused),
        "no_end": (png_of(head, data), EITHER),
        "header_twice": (png_of(head, head, data, end), EITHER),
        "header_check_sum": (png_of(chunk(b"IHDR", head[8:21], crc=1), data, end), refused),
        "data_check_sum": (png_of(head, chunk(b"IDAT", zlib.compress(rows), crc=1), end), EITHER),
        "width_0": (png_of(header(0, 64, 8, 2), data, end), refused),
        "height_0": (png_of(header(96, 0, 8, 2), data, end), refused),
        "depth_3": (png_of(header(96, 64, 3, 2), data, end), refused),
        "colour_5": (png_of(header(96, 64, 8, 5), data, end), refused),
        "interlace_7": (png_of(header(96, 64, 8, 2, 7), data, end), EITHER),
        "no_palette": (png_of(header(96, 64, 8, 3), data, end), EITHER),
        "odd_palette": (png_of(header(96, 64, 8, 3), palette[:-5], data, end), EITHER),
        "past_palette": (png_of(header(96, 64, 8, 3), palette, data, end), EITHER),
        "filter_9": (png_of(head, chunk(b"IDAT", zlib.compress(b"\x09" + rows[1:])), end), EITHER),
        "data_junk": (png_of(head, chunk(b"IDAT", b"junk" * 90), end), refused),
        "data_short": (png_of(head, chunk(b"IDAT", zlib.compress(rows[:900])), end), refused),
        "data_long": (png_of(head, chunk(b"IDAT", zlib.compress(rows * 50)), end), EITHER),
        "split": (
            png_of(head, *(chunk(b"IDAT", bytes([b])) for b in zlib.compress(rows)), end),
            "",
        ),
        "length": (png_of(head) + b"\xff\xff\xff\xffIDAT" + data, refused),
        "many_chunks": (png_of(head, chunk(b"juNk") * 100_001, data, end), "too many chunks"),
    }
    for name, (content, reason) in found.items():
        colours = None if reason else COLOURS
        yield Case(f"damaged/{name}.png", "damaged", content, reason, colours)


def damaged_jpeg() -> Iterator[Case]:
    whole = encoded(scene(), "JPEG", quality=95)
    progressive = encoded(scene(), "JPEG", quality=95, progressive=True)
    frame = jpeg_frame(whole)
    scan = whole.index(b"\xff\xda")
    refused = "truncated|damaged|not a JPEG"
    found = {
        "start_only": (b"\xff\xd8", refused),
        "start_and_end": (b"\xff\xd8\xff\xd9", refused),
        "no_start": (whole[2:], refused),
        "no_tables": (whole[:2] + whole[frame:], refused),
        "no_frame": (whole[:frame] + whole[scan:], refused),
        "no_scan": (whole[:scan] + b"\xff\xd9", refused),
        "scan_cut_clean": (whole[: scan + 400] + b"\xff\xd9", EITHER),
        "zeros_in_scan": (whole[: scan + 200] + bytes(500) + whole[scan + 700 :], EITHER),
        "size_0": (jpeg_of_size(whole, 0, 0), refused),
        "size_larger": (jpeg_of_size(whole, 960, 640), EITHER),
        "depth_12": (_patched(whole, frame + 4, 12), refused),
        "components_9": (_patched(whole, frame + 9, 9), refused),
        "sampling_0": (_patched(whole, frame + 11, 0), refused),
        "arithmetic": (_patched(whole, frame + 1, 0xC9), EITHER),
        "arithmetic_progressive": (_patched(whole, frame + 1, 0xCA), EITHER),
        "lossless": (_patched(whole, frame + 1, 0xC3), refused),
        "junk_before_scan": (whole[:scan] + b"junk" * 20 + whole[scan:], EITHER),
        "adobe_short": (with_segment(whole, 0xEE, b"Adobe"), EITHER),
        "jfif_short": (with_segment(whole, 0xE0, b"JFIF"), EITHER),
        "many_segments": (whole[:2] + b"\xff\xfe\0\2" * 10_001 + whole[2:], "too many segments"),
        "long_junk": (whole[:2] + bytes(1_100_000) + whole[2:], "too many segments"),
        "many_scans": (progressive + b"\xff\xda\0\2" * 300, "too many scans"),
    }
    for name, (content, reason) in found.items():
        yield Case(f"damaged/{name}.jpg", "damaged", content, reason)


def _patched(content: bytes, place: int, value: int) -> bytes:
    return content[:place] + bytes([value]) + content[place + 1 :]


def damaged_bmp() -> Iterator[Case]:
    whole = encoded(scene(), "BMP")
    for place, value in ((14, 0), (14, 9999), (18, 0), (18, 2**31 - 1), (22, 0), (28, 7), (30, 9)):
        damaged = whole[:place] + struct.pack("<I", value) + whole[place + 4 :]
        yield Case(f"damaged/{place}_{value}.bmp", "damaged", damaged, EITHER)


def flipped_bytes() -> Iterator[Case]:
    for name, content in _sources().items():
        stem, suffix = name.split(".")
        for seed in range(5):
            damaged = flipped(content, 1 + seed * seed, seed)
            yield Case(f"flipped/{stem}_{seed}.{suffix}", "flipped", damaged, EITHER)


def bombs() -> Iterator[Case]:
    small, large = encoded(scene(), "JPEG"), "too large"
    progressive = encoded(scene(), "JPEG", progressive=True)
    bitmap = bmp(np.zeros((4, 12), np.uint8), 24)
    deep = bitmap[:18] + struct.pack("<ii", 2**31 - 1, -(2**31)) + bitmap[26:]
    wide = struct.pack("<I", 16_383 - 1)[:3] * 2
    canvas = b"RIFF\x1e\0\0\0WEBPVP8X\n\0\0\0\x10\0\0\0" + wide + bytes(40)
    found = {
        "60000.png": (empty_png(60_000, 60_000), large),
        "2_31.png": (empty_png(2**31 - 1, 2**31 - 1), "too large|damaged|not a JPEG"),
        "13000.png": (empty_png(13_000, 13_000, 1, 0), large),
        "9500.png": (empty_png(9_500, 9_500), large),
        "65500.jpg": (jpeg_of_size(small, 65_500, 65_500), large),
        "12000_progressive.jpg": (jpeg_of_size(progressive, 12_000, 12_000), large),
        "12000.jpg": (jpeg_of_size(small, 12_000, 12_000), EITHER),
        "9400_progressive.jpg": (jpeg_of_size(progressive, 9_400, 9_400), EITHER),
        "wide.bmp": (bitmap[:18] + struct.pack("<ii", 60_000, 60_000) + bitmap[26:], large),
        "deep.bmp": (deep, f"{large}|damaged|not a JPEG"),
        "16383.webp": (canvas, f"{large}|damaged"),
    }  # fmt: skip
    for name, (content, reason) in found.items():
        yield Case(f"bombs/{name}", "bombs", content, reason)
    for suffix in ("jpg", "png", "webp", "bmp"):
        yield Case(f"bombs/sparse.{suffix}", "bombs", _sparse, "file larger than 400 MB")


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 5_000_000_000)


def not_files() -> Iterator[Case]:
    content = encoded(scene(), "PNG")
    link = "link that leads to itself"
    yield Case("places/folder.jpg/inside.png", "places", content, "", COLOURS)
    yield Case("places/dangling.png", "places", _link("nowhere.png"), "link to a missing file")
    yield Case("places/two\nlines\x1b[31m.png", "places", b"", "empty file")
    yield Case("places/self.png", "places", _link("self.png"), link)
    yield Case("places/loop_a.png", "places", _link("loop_b.png"), link)
    yield Case("places/loop_b.png", "places", _link("loop_a.png"), link)
    yield Case("places/good_link.png", "places", _link("folder.jpg/inside.png"), "", COLOURS)
    yield Case("places/pipe.png", "places", os.mkfifo, "but a pipe")
    yield Case("places/socket.png", "places", _socket, "but a socket")
    yield Case("places/zero.png", "places", _link("/dev/zero"), "but a device")
    yield Case("places/null.jpg", "places", _link("/dev/null"), "but a device")
    yield Case("places/memory.png", "places", _link("/proc/self/mem"), "cannot be read")
    yield Case("places/pipe_link.png", "places", _link("pipe.png"), "but a pipe")
    yield Case("places/through_file.png", "places", _link("good_link.png/x.png"), "missing file")
    yield Case("places/locked.png", "places", _locked, EITHER if os.geteuid() == 0 else "denied")


def _link(target: str):
    return lambda path: path.symlink_to(target)


def _socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def _locked(path: Path) -> None:
    path.write_bytes(encoded(scene(), "PNG"))
    path.chmod(0)
