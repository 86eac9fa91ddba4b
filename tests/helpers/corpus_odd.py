"""Odd picture files that can be read, and what each shows."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from corpus_case import MID_GREY, Case
from picture_bytes import (
    COLOURS,
    GREYS,
    bmp,
    chunk,
    encoded,
    packed_png,
    png,
    quarters,
    scene,
    with_segment,
    zeros_png,
)
from PIL import Image

_TURNS = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> its undoing


def modes() -> Iterator[Case]:
    image = scene()
    grey = Image.fromarray(quarters(GREYS))
    greys = np.repeat(GREYS[..., None], 3, -1)
    deep = np.asarray(image).astype(np.uint16) * 257
    alpha = np.array([[0, 128], [255, 255]], np.uint8)
    mixed = np.rint((COLOURS * (a := alpha[..., None] / 255.0)) + MID_GREY * (1 - a))
    clear = np.where(alpha[..., None], COLOURS, MID_GREY)
    with_alpha = image.copy()
    with_alpha.putalpha(Image.fromarray(quarters(alpha)))
    indexed = Image.fromarray(quarters([[0, 1], [2, 3]]).astype(np.uint8), "P")
    indexed.putpalette(COLOURS.reshape(-1).tolist())
    steps = np.array([[0, 1], [2, 3]])
    cmyk = image.convert("CMYK")
    first = tuple(int(value) for value in COLOURS[0, 0])
    found = {
        "cmyk.jpg": (encoded(cmyk, "JPEG", quality=95), COLOURS),
        "grey.jpg": (encoded(grey, "JPEG", quality=95), greys),
        "chroma_444.jpg": (encoded(image, "JPEG", quality=95, subsampling=0), COLOURS),
        "chroma_422.jpg": (encoded(image, "JPEG", quality=95, subsampling=1), COLOURS),
        "restarts.jpg": (encoded(image, "JPEG", quality=95, restart_marker_blocks=2), COLOURS),
        "grey.png": (encoded(grey, "PNG"), greys),
        "grey_alpha.png": (encoded(_with_alpha(grey, alpha), "PNG"), _over_grey(greys, alpha)),
        "grey_16.png": (png(quarters(GREYS).astype(np.uint16) * 257, 0), greys),
        "grey_alpha_16.png": (
            png(np.stack([quarters(GREYS), quarters(alpha)], -1).astype(np.uint16) * 257, 4),
            _over_grey(greys, alpha),
        ),
        "grey_16_key.png": (
            png(quarters(GREYS).astype(np.uint16) * 257, 0, chunk(b"tRNS", b"\x1e\x1e")),
            [[(MID_GREY,) * 3, greys[0, 1]], greys[1]],
        ),
        "grey_key.png": (
            png(quarters(GREYS), 0, chunk(b"tRNS", b"\0\x1e")),
            [[(MID_GREY,) * 3, greys[0, 1]], greys[1]],
        ),
        "colour_16.png": (png(deep, 2), COLOURS),
        "colour_16_interlaced.png": (png(deep, 2, interlaced=True), COLOURS),
        "colour_alpha_16.png": (
            png(np.dstack([deep, quarters(alpha).astype(np.uint16) * 257]), 6), mixed,
        ),
        "colour_key.png": (
            png(np.asarray(image), 2, chunk(b"tRNS", struct.pack(">3H", *first))), clear,
        ),
        "colour_16_key.png": (
            png(deep, 2, chunk(b"tRNS", struct.pack(">3H", *(257 * v for v in first)))), clear,
        ),
        "alpha.png": (encoded(with_alpha, "PNG"), mixed),
        "alpha_interlaced.png": (png(np.asarray(with_alpha), 6, interlaced=True), mixed),
        "alpha.webp": (encoded(with_alpha, "WEBP", lossless=True, exact=True), mixed),
        "alpha_lossy.webp": (encoded(with_alpha, "WEBP", quality=95), mixed),
        "palette.png": (encoded(indexed, "PNG"), COLOURS),
        "palette_key.png": (encoded(indexed, "PNG", transparency=0), clear),
        "palette_alpha.png": (encoded(indexed, "PNG", transparency=bytes(alpha.flat)), mixed),
        "palette.bmp": (encoded(indexed, "BMP"), COLOURS),
        "bits_1.png": (packed_png(quarters(steps % 2), 1), _steps(steps % 2, 1)),
        "bits_2.png": (packed_png(quarters(steps), 2), _steps(steps, 2)),
        "bits_4.png": (packed_png(quarters(steps * 5), 4), _steps(steps * 5, 4)),
        "bilevel.bmp": (
            encoded(Image.fromarray(quarters(steps % 2 > 0)), "BMP"), _steps(steps % 2, 1),
        ),
    }  # fmt: skip
    for name, (content, colours) in (found | _gif_and_tiff(grey, cmyk, with_alpha, mixed)).items():
        yield Case(f"modes/{name}", "modes", content, "", colours)


def _gif_and_tiff(grey: Image.Image, cmyk: Image.Image, alpha: Image.Image, mixed) -> dict:
    greys = np.repeat(GREYS[..., None], 3, -1)
    indexed = scene().quantize(8)
    clear = np.where(np.array([[0], [1]])[..., None], COLOURS, MID_GREY)
    first = indexed.copy()
    first.paste(255, (0, 0, first.width, first.height // 2))
    return {
        "plain.gif": (encoded(indexed, "GIF"), COLOURS),
        "clear.gif": (encoded(first, "GIF", transparency=255), clear),
        "plain.tif": (encoded(scene(), "TIFF"), COLOURS),
        "lzw.tif": (encoded(scene(), "TIFF", compression="tiff_lzw"), COLOURS),
        "jpeg.tiff": (encoded(scene(), "TIFF", compression="jpeg", quality=95), COLOURS),
        "alpha.tif": (encoded(alpha, "TIFF"), mixed),
        "cmyk.tif": (encoded(cmyk, "TIFF"), COLOURS),
        "grey_16.tif": (
            encoded(Image.fromarray(quarters(GREYS).astype(np.uint16) * 257), "TIFF"), greys,
        ),
        "palette.tif": (encoded(indexed, "TIFF"), COLOURS),
        "grey.tif": (encoded(grey, "TIFF"), greys),
        "plain.jfif": (encoded(scene(), "JPEG", quality=95), COLOURS),
    }  # fmt: skip


def _with_alpha(grey: Image.Image, alpha: np.ndarray) -> Image.Image:
    return Image.merge("LA", (grey, Image.fromarray(quarters(alpha))))


def _over_grey(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return np.rint(colours * share + MID_GREY * (1 - share))


def _steps(values: np.ndarray, bits: int) -> np.ndarray:
    return np.repeat((values * (255 // (2**bits - 1)))[..., None], 3, -1)


def odd_bmp() -> Iterator[Case]:
    pixels = np.asarray(scene())
    swapped = pixels[..., ::-1].reshape(len(pixels), -1)
    red, green, blue = (pixels[..., i].astype(np.uint16) for i in range(3))
    packed = ((red >> 3 << 11) | (green >> 2 << 5) | blue >> 3).astype("<u2")
    masks = struct.pack("<3I", 0xF800, 0x7E0, 0x1F)
    opaque = np.dstack([pixels[..., ::-1], np.full(pixels.shape[:2], 255, np.uint8)])
    rows = opaque.reshape(len(pixels), -1)
    yield Case("modes/top_down.bmp", "modes", bmp(swapped, 24, top_down=True), "", COLOURS)
    sixteen = bmp(packed.view(np.uint8), 16, masks=masks)
    yield Case("modes/bits_565.bmp", "modes", sixteen, "", COLOURS)
    yield Case("modes/bits_32.bmp", "modes", bmp(rows, 32), "", COLOURS)
    unused = rows.copy()
    unused[:, 3::4] = 0
    yield Case("modes/bits_32_unused_0.bmp", "modes", bmp(unused, 32), "", COLOURS)


def turned() -> Iterator[Case]:
    kinds = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"))
    for kind, suffix in kinds:
        for orientation, undoing in _TURNS.items():
            image = scene() if undoing is None else scene().transpose(Image.Transpose(undoing))
            exif = Image.Exif()
            exif[0x0112] = orientation
            options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
            content = encoded(image, kind, exif=exif, **options)
            yield Case(f"turned/{orientation}.{suffix}", "turned", content, "", COLOURS)
    for value in (0, 9, 255, 65535):
        exif = Image.Exif()
        exif[0x0112] = value
        content = encoded(scene(), "JPEG", quality=95, exif=exif)
        yield Case(f"turned/no_such_{value}.jpg", "turned", content, "", COLOURS)


def metadata() -> Iterator[Case]:
    """What stands beside the pixels is garbage, the pixels are whole."""
    junk = bytes(np.random.default_rng(1).integers(0, 256, 900, np.uint8))
    jpeg, plain = encoded(scene(), "JPEG", quality=95), encoded(scene(), "PNG")
    exif = b"Exif\0\0II*\0"
    segments = {
        "exif_offset": (0xE1, exif + b"\xff\xff\xff\xff"),
        "exif_junk": (0xE1, exif + junk),
        "exif_loop": (0xE1, exif + b"\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0"),
        "exif_text": (0xE1, exif + b"\x08\0\0\0\1\0\x12\1\2\0\6\0\0\0\x20\0\0\0\0\0\0\0six\0"),
        "xmp_junk": (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + junk),
        "xmp_turn": (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='x'>"),
        "icc_junk": (0xE2, b"ICC_PROFILE\0\1\1" + junk),
        "icc_parts": (0xE2, b"ICC_PROFILE\0\7\3" + junk),
        "mpf_junk": (0xE2, b"MPF\0" + junk),
        "photoshop": (0xED, b"Photoshop 3.0\x008BIM\4\4" + junk),
        "comment": (0xFE, b"\xff" * 60_000),
        "jfif_zero": (0xE0, b"JFIF\0\1\1\1\0\0\0\0\0\0"),
    }
    for name, (marker, body) in segments.items():
        content = with_segment(jpeg, marker, body)
        yield Case(f"metadata/{name}.jpg", "metadata", content, "", COLOURS)
    yield Case("metadata/after_the_end.jpg", "metadata", jpeg + junk * 50, "", COLOURS)
    yield Case("metadata/fill.jpg", "metadata", jpeg[:2] + b"\xff" * 500 + jpeg[2:], "", COLOURS)
    chunks = {
        "icc_junk": chunk(b"iCCP", b"x\0\0" + junk),
        "text_junk": chunk(b"tEXt", junk),
        "text_packed_junk": chunk(b"zTXt", b"x\0\0" + junk),
        "exif_junk": chunk(b"eXIf", junk),
        "time_junk": chunk(b"tIME", b"\xff" * 7),
        "gamma_zero": chunk(b"gAMA", bytes(4)),
        "size_of_pixels": chunk(b"pHYs", bytes(9)),
        "unknown": chunk(b"juNk", junk),
    }
    for name, body in chunks.items():
        content = plain[:33] + body + plain[33:]
        yield Case(f"metadata/{name}.png", "metadata", content, "", COLOURS)
    yield Case("metadata/after_the_end.png", "metadata", plain + junk * 50, "", COLOURS)
    packed = b"x\0\0" + zlib.compress(bytes(80_000_000), 9)
    for kind in (b"zTXt", b"iCCP"):
        content = plain[:33] + chunk(kind, packed) + plain[33:]
        yield Case(f"bombs/{kind.decode()}.png", "bombs", content, "damaged")
    options: dict[str, bytes] = {"exif": junk, "icc_profile": junk, "xmp": junk}
    for name, value in options.items():
        content = encoded(scene(), "WEBP", lossless=True, **{name: value})
        yield Case(f"metadata/{name}_junk.webp", "metadata", content, "", COLOURS)


def animated() -> Iterator[Case]:
    frames = [Image.new("RGB", scene().size, value) for value in ("black", "white")]
    for kind, suffix in (("PNG", "png"), ("WEBP", "webp")):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(
            scene(), kind, save_all=True, append_images=frames, duration=90, **options
        )
        yield Case(f"animated/moving.{suffix}", "animated", content, "", COLOURS)
    still = encoded(
        scene(), "PNG", save_all=True, append_images=frames, duration=90, default_image=True
    )
    yield Case("animated/still_first.png", "animated", still, "", COLOURS)
    pair = encoded(scene(), "MPO", save_all=True, append_images=frames, quality=95)
    yield Case("animated/pair.jpg", "animated", pair, "", COLOURS)
    gif = encoded(scene(), "GIF", save_all=True, append_images=frames)
    for suffix in ("jpg", "png", "webp"):
        yield Case(f"animated/gif.{suffix}", "animated", gif, "", COLOURS)
    pages = encoded(
        scene(), "TIFF", save_all=True, append_images=[frame.copy() for frame in frames]
    )
    yield Case("animated/pages.tif", "animated", pages, "", COLOURS)


def sizes() -> Iterator[Case]:
    shades = {"png": (9, 90, 200), "jpg": (9, 90, 200), "webp": (9, 90, 200), "bmp": (9, 90, 200)}
    kinds = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP"}
    for suffix, colour in shades.items():
        content = encoded(Image.new("RGB", (1, 1), colour), kinds[suffix], quality=95)
        yield Case(f"sizes/one.{suffix}", "sizes", content, "", colour)
    for width, height in ((30_000, 1), (1, 30_000), (30_000, 40), (40, 30_000)):
        for suffix in ("png", "jpg"):
            name = f"sizes/{width}x{height}.{suffix}"
            image = Image.new("RGB", (width, height), shades[suffix])
            yield Case(name, "sizes", encoded(image, kinds[suffix]), "", None)
    yield Case("sizes/30000x2000.png", "sizes", zeros_png(30_000, 2_000, 1, 0), "", (0, 0, 0))
    yield Case("sizes/9000x9000.png", "sizes", zeros_png(9_000, 9_000, 1, 0), "", (0, 0, 0))
    yield Case("sizes/clear_5000.png", "sizes", zeros_png(5_000, 5_000, 8, 6), "", (MID_GREY,) * 3)


def names() -> Iterator[Case]:
    content = encoded(scene(), "PNG")
    names = [
        "new\nline", "carriage\rreturn", "tab\tbed", "'single'", '"double"', "back\\slash", "-dash",
        "--flag=1", " spaces ", "comma,semicolon;", "[glob]*?", "$HOME", "`id`", "%s%d", "%E9",
        "\x1b[31mred", "bell\x07", "\u202eright to left", "e\u0301 combining", "\U0001f697",
        "日本語", "CON", "dots...", "#hash", "<b>html&amp;", "=1+1", "a" * 251,
        "\u00e9" * 125, "caf\udce9", "caf\udce8", "\udcff\udcfe",
    ]  # fmt: skip
    for name in names:
        yield Case(f"names/{name}.png", "names", content, "", COLOURS)
    deep = "/".join(["deep"] * 40)
    yield Case(f"names/{deep}/UPPER.PNG", "names", content, "", COLOURS)
    yield Case("names/two.dots.jpeg", "names", content, "", COLOURS)
