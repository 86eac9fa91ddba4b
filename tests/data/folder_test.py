"""Folders of pictures: every odd file is read rightly or named, and a square never stretches."""

import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from absl import logging as absl_logging
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ssv_tf.base.errors import UserError
from ssv_tf.data import folder, reading
from ssv_tf.data.collection import PictureSet

GREY = folder.MID_GREY


def save(path, value=(200, 40, 90), size=(24, 16), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)
    return path


def reason_of(path, **options) -> str:
    with pytest.raises(folder.BadPicture) as caught:
        folder.read_picture(path, **options)
    return str(caught.value)


# Finding


def test_finds_suffixes_of_any_case_sorted_without_hidden_files(tmp_path):
    for name in ("b/2.JPG", "a.png", "b/1.webp", "c.Jpeg", "d.bmp"):
        save(tmp_path / name, format={"JPG": "JPEG"}.get(name[-3:]))
    for name in (".hidden.png", ".git/x.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = [path.relative_to(tmp_path).as_posix() for path in folder.find_pictures(tmp_path)]
    assert found == ["a.png", "b/1.webp", "b/2.JPG", "c.Jpeg", "d.bmp"]


def test_links_are_followed_once(tmp_path):
    save(tmp_path / "inside/a.png")
    save(tmp_path / "elsewhere/b.png")
    (tmp_path / "inside/up").symlink_to(tmp_path / "inside", target_is_directory=True)
    (tmp_path / "inside/side").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    names = [path.name for path in folder.find_pictures(tmp_path / "inside")]
    assert names == ["a.png", "b.png"]


def test_a_missing_folder_and_a_file_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="nowhere is missing"):
        folder.find_pictures(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a file"):
        folder.find_pictures(save(tmp_path / "a.png"))


# Reading


@pytest.mark.parametrize(
    ("name", "mode", "value", "expected"),
    [
        ("grey.png", "L", 80, (80, 80, 80)),
        ("bilevel.png", "1", 1, (255, 255, 255)),
        ("grey16.png", "I;16", 0x8080, (128, 128, 128)),
        ("white16.png", "I;16", 0xFFFF, (255, 255, 255)),
        ("clear.png", "RGBA", (255, 0, 0, 0), (GREY, GREY, GREY)),
        ("solid.webp", "RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("greyalpha.png", "LA", (255, 0), (GREY, GREY, GREY)),
        ("cmyk.jpg", "CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("plain.bmp", "RGB", (1, 2, 3), (1, 2, 3)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, name, mode, value, expected):
    options = {"lossless": True} if name.endswith("webp") else {}
    picture = folder.read_picture(save(tmp_path / name, value, mode=mode, **options))
    assert picture.shape == (16, 24, 3) and picture.dtype == np.uint8
    np.testing.assert_allclose(picture.reshape(-1, 3).mean(0), expected, atol=2)


def test_half_transparent_is_mixed_with_mid_grey(tmp_path):
    picture = folder.read_picture(save(tmp_path / "a.png", (255, 127, 0, 128), mode="RGBA"))
    np.testing.assert_allclose(picture[0, 0], (191, 127, 63), atol=2)


def test_a_transparent_palette_entry_is_mid_grey(tmp_path):
    image = Image.new("P", (4, 2), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    picture = folder.read_picture(tmp_path / "a.png")
    assert tuple(picture[0, 0]) == (GREY, GREY, GREY) and tuple(picture[0, 1]) == (0, 255, 0)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (30, 10), "black")
    image.paste("white", (0, 0, 10, 10))  # left third
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: left becomes top
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = folder.read_picture(tmp_path / "a.jpg")
    assert picture.shape == (30, 10, 3)
    assert picture[:8].min() > 200 and picture[12:].max() < 50


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_lose_the_picture(tmp_path):
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff garbage")
    assert folder.read_picture(path).shape == (16, 24, 3)


def test_a_large_jpeg_is_decoded_smaller_but_never_below_what_is_asked(tmp_path):
    path = save(tmp_path / "a.jpg", size=(1600, 800))
    assert folder.read_picture(path).shape == (800, 1600, 3)
    assert folder.read_picture(path, shortest=150).shape == (200, 400, 3)


def _png_of_size(width, height) -> bytes:
    """A PNG whose header promises a size its data does not hold."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_pictures_of_kinds_that_are_not_read_are_counted_and_named(tmp_path, monkeypatch):
    for name in ("a.jfif", "b.TIF", "c.gif", "d.heic", "e.png"):
        (tmp_path / name).touch()
    for name in ("x/one.avif", "x/two.AVIF", "y.cr2", "film.mp4", "labels.csv", ".z.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    lines = []
    monkeypatch.setattr(folder.logging, "warning", lambda text, *args: lines.append(text % args))
    found = folder.find_pictures(tmp_path)
    assert [path.name for path in found] == ["a.jfif", "b.TIF", "c.gif", "d.heic", "e.png"]
    assert lines == [
        "left out 3 pictures of kinds that are not read: 2 .avif (x/one.avif, ...), 1 .cr2 (y.cr2)"
    ]


def test_heic_is_read_where_its_reader_is_installed(monkeypatch):
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60)
    asked = []
    monkeypatch.setattr(reading, "_has_heic", lambda: False)
    with pytest.raises(folder.BadPicture, match=r"but HEIC, which pip install 'ssv-tf\[heic\]'"):
        folder.read_picture(content)
    monkeypatch.setattr(reading, "_has_heic", lambda: True)

    def opened(_, formats):
        asked.append(list(formats))
        return Image.new("RGB", (3, 2), (9, 90, 200))

    monkeypatch.setattr(reading.Image, "open", opened)
    assert folder.read_picture(content).tolist() == [[[9, 90, 200]] * 3] * 2
    assert asked == [["HEIF"]]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_have_short_reasons(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is no picture")
    whole = save(tmp_path / "whole.jpg", size=(200, 200)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    Image.new("RGB", (4, 4)).save(tmp_path / "icon.png", format="ICO")
    (tmp_path / "bomb.png").write_bytes(_png_of_size(60_000, 60_000))
    (tmp_path / "large.png").write_bytes(_png_of_size(9_500, 9_500))
    (tmp_path / "cut.png").write_bytes(_png_of_size(64, 64))
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert reason_of(tmp_path / "empty.jpg") == "empty file"
    no_picture = "not a JPEG, PNG, WebP, BMP, GIF or TIFF picture"
    assert reason_of(tmp_path / "text.jpg") == no_picture
    assert reason_of(tmp_path / "icon.png") == f"{no_picture} but ICO"
    assert reason_of(tmp_path / "half.jpg") == "truncated"
    assert reason_of(tmp_path / "bomb.png").startswith("too large")
    assert reason_of(tmp_path / "large.png") == "too large (9500 x 9500 pixels)"
    assert reason_of(tmp_path / "cut.png") == "truncated"
    assert reason_of(tmp_path / "link.png") == "link to a missing file"
    assert reason_of(tmp_path / "gone.png") == "no such file"
    assert reason_of(tmp_path) == "not a regular file but a folder"


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    reasons = []
    reader = threading.Thread(
        target=lambda: reasons.append(reason_of(tmp_path / "pipe.png")), daemon=True
    )
    reader.start()
    reader.join(5)
    assert reasons == ["not a regular file but a pipe"]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_are_read_or_refused_never_anything_else(data):
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, data.draw(st.sampled_from(folder.FORMATS)))
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = folder.read_picture(bytes(content[: data.draw(st.integers(1, len(content)))]))
    except folder.BadPicture as error:
        assert 0 < len(str(error)) < 120
    else:
        assert picture.dtype == np.uint8 and picture.ndim == 3


# Fitting into the square


def bar(height, width, rows, columns):
    """Black with a white block."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[rows[0] : rows[1], columns[0] : columns[1]] = 255
    return picture


def extent(square, threshold=128):
    """First and one past the last row and column that are brighter than `threshold`."""
    bright = square.max(axis=-1) >= threshold
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_longest_side_fills_the_square():
    square = folder.fit_square(np.full((20, 80, 3), 255, np.uint8), 40, padding="constant")
    assert extent(square, 200) == (15, 25, 0, 40)
    assert (square[:12] == GREY).all() and (square[28:] == GREY).all()  # Lanczos reaches 3 px


def test_a_square_of_the_right_size_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(folder.fit_square(picture, 32), picture)


def test_a_block_keeps_its_place_and_shape():
    square = folder.fit_square(bar(40, 80, (10, 30), (20, 40)), 40)
    # 80 wide -> 40: half size, 10 rows of padding above: rows 5..15 + 10, columns 10..20.
    assert extent(square, 200) == (15, 25, 10, 20)


def test_height_crop_scales_by_the_height_alone():
    for width in (20, 48, 300):
        square = folder.fit_square(
            np.full((40, width, 3), 255, np.uint8), 96, crop="height", canvas_heights=2.4
        )
        top, bottom, left, right = extent(square, 200)
        assert (top, bottom) == (28, 68)  # 96 / 2.4 = 40 rows in the middle
        assert right - left == min(width, 96)
        assert left + right == 96


def test_height_crop_cuts_what_sticks_out_evenly():
    picture = bar(20, 200, (0, 20), (90, 110))
    square = folder.fit_square(picture, 80, crop="height", canvas_heights=2.0)
    assert extent(square, 200) == (20, 60, 20, 60)  # the middle 20 x 20 at twice the size


@pytest.mark.parametrize("padding", folder.PADDINGS)
def test_paddings_fill_as_they_say(padding):
    picture = np.full((10, 40, 3), 30, np.uint8)
    picture[0], picture[-1], picture[2] = 250, 5, 120
    square = folder.fit_square(picture, 40, padding=padding)
    above, below = square[:14].astype(int), square[26:].astype(int)
    if padding == "constant":
        assert (above == GREY).all() and (below == GREY).all()
    elif padding == "edge":
        assert (above == 250).all() and (below == 5).all()
    elif padding == "reflect":  # row 0 of the picture is row 15; row 2 comes back at row 13
        assert abs(square[13] - 120.0).max() < 6
    else:
        assert above[0].mean() > 200 and below[-1].mean() < 30
        assert 100 < above[-1].mean() < 245, "blurred towards the inside"
    inside = square[18:24].astype(int)
    assert abs(inside - 30).max() <= 1, "padding does not touch the picture"


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    resolution=st.sampled_from([32, 64]),
    crop=st.sampled_from(folder.CROPS),
    canvas=st.floats(0.5, 4.0),
    padding=st.sampled_from(folder.PADDINGS),
)
@settings(max_examples=80, deadline=None)
def test_any_size_gives_a_square_that_mirrors(height, width, resolution, crop, canvas, padding):
    ramp = np.linspace(0, 255, height * width).reshape(height, width, 1)
    picture = np.repeat(ramp, 3, axis=2).astype(np.uint8)
    square = folder.fit_square(picture, resolution, crop, canvas, padding)
    assert square.shape == (resolution, resolution, 3) and square.dtype == np.uint8
    mirrored = folder.fit_square(picture[:, ::-1].copy(), resolution, crop, canvas, padding)
    difference = np.abs(square[:, ::-1].astype(int) - mirrored.astype(int))
    assert difference.max() <= 3, "centred: mirroring before equals mirroring after"


@given(height=st.integers(24, 200), width=st.integers(24, 200))
@settings(max_examples=40, deadline=None)
def test_one_scale_for_both_axes(height, width):
    picture = np.full((height, width, 3), 255, np.uint8)
    grey = folder.fit_square(picture, 64)[:, :, 0].astype(float) - GREY
    share = grey / (255 - GREY)  # how much of each pixel the picture covers
    longest = max(height, width)
    near = 0.35 * max(1.0, 64 / longest)  # pixels; an enlarged edge is as soft as it is enlarged
    assert share.mean(0).max() * 64 == pytest.approx(64 * height / longest, abs=near)
    assert share.mean(1).max() * 64 == pytest.approx(64 * width / longest, abs=near)


def test_huge_thin_pictures_take_little_memory():
    assert folder.fit_square(np.zeros((30_000, 1, 3), np.uint8), 32, "height").shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"crop": "tight"}, "tight"), ({"padding": "zero"}, "zero"), ({"canvas_heights": 0.0}, "0.0")],
)
def test_unknown_options_are_named(options, word):
    with pytest.raises(UserError, match=word):
        folder.fit_square(np.zeros((4, 4, 3), np.uint8), 32, **options)


# Loading


@pytest.fixture
def warnings_of(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *args: lines.append(text % args))
    return lines


def test_bad_pictures_are_named_skipped_and_counted(tmp_path, warnings_of):
    for i in range(5):
        save(tmp_path / f"good/{i}.png", (10 * i, 0, 0))
    for i in range(25):
        (tmp_path / f"bad{i:02d}.jpg").touch()
    pictures = folder.load_folder(tmp_path, 32, workers=3)
    assert pictures.names == [f"good/{i}.png" for i in range(5)]
    assert [int(image[16, 16, 0]) for image in pictures.images] == [0, 10, 20, 30, 40]
    assert len(pictures.skipped) == 25 and pictures.skipped[0] == ("bad00.jpg", "empty file")
    assert warnings_of[:25] == [f"skipped bad{i:02d}.jpg: empty file" for i in range(25)]
    assert warnings_of[25:] == ["skipped 25 of 30 pictures: 25 empty file"]
    assert pictures.angles_deg is None and "25 skipped" in pictures.summary()


def test_no_usable_picture_says_folder_count_and_first_reason(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"2 pictures of {tmp_path} .* a.jpg: empty file"):
        folder.load_folder(tmp_path, 32)
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match="no picture below"):
        folder.load_folder(tmp_path / "sub", 32)


def test_limit_draws_by_seed(tmp_path):
    for i in range(20):
        save(tmp_path / f"{i:02d}.png", (i, 0, 0))
    first = folder.load_folder(tmp_path, 8, limit=5, seed=1)
    assert first.names == sorted(first.names) and len(first) == 5
    assert first.names == folder.load_folder(tmp_path, 8, limit=5, seed=1, workers=1).names
    assert first.names != folder.load_folder(tmp_path, 8, limit=5, seed=2).names
    assert len(folder.load_folder(tmp_path, 8, limit=99)) == 20


def test_only_reads_the_chosen_ones(tmp_path):
    for i in range(4):
        save(tmp_path / f"images/{i}.png")
    (tmp_path / "images/bad.png").touch()
    pictures = folder.load_folder(tmp_path, 8, only={"1.png", "images/3.png", "absent.png"})
    assert pictures.names == ["images/1.png", "images/3.png"]
    assert pictures.skipped == [("absent.png", "in the table, but no such picture")]
    with pytest.raises(UserError, match=r"images/0\.png"):
        folder.load_folder(tmp_path, 8, only={"absent.png"})


def test_a_name_that_is_not_utf8_can_be_printed(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        with open(path, "wb") as stream:
            Image.new("RGB", (4, 4)).save(stream, "PNG")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    names = folder.load_folder(tmp_path, 8).names
    assert names == ["caf%E9.png"]


# The set


def test_labels_find_their_pictures_and_subsets_keep_order():
    names = ["images/a.png", "images/b.png", "c.png"]
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    angles = {"a.png": np.float32([1, 2, 3]), "c.png": np.float32([4, 5, 6])}
    pictures = PictureSet(names, images).with_labels(angles)
    assert pictures.has_label.tolist() == [True, False, True]
    labelled = pictures.labelled()
    assert labelled.names == ["images/a.png", "c.png"]
    np.testing.assert_array_equal(labelled.angles_deg, [[1, 2, 3], [4, 5, 6]])
    swapped = pictures.subset([2, 0])
    assert swapped.names == ["c.png", "images/a.png"] and swapped.images[0, 0, 0, 0] == 2
    assert len(pictures.subset([])) == 0
    assert "2 labelled" in pictures.summary()


def test_a_filename_that_fits_two_pictures_is_refused():
    pictures = PictureSet(["x/a.png", "y/a.png"], np.zeros((2, 2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"x/a\.png and y/a\.png"):
        pictures.with_labels({"a.png": np.zeros(3)})
    assert pictures.with_labels({"y/a.png": np.zeros(3)}).has_label.tolist() == [False, True]


def test_a_set_of_unlike_lengths_is_refused():
    with pytest.raises(ValueError, match="2 names"):
        PictureSet(["a", "b"], np.zeros((1, 2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="angles"):
        PictureSet(["a"], np.zeros((1, 2, 2, 3), np.uint8), np.zeros((2, 3), np.float32))


def test_what_a_run_wrote_is_left_out_and_a_run_itself_can_be_read(tmp_path):
    picture = Image.new("RGB", (8, 8))
    for name in (
        "a.png", "a_axes.png", "a_axes_2.png", "b_axes.png", "contact_sheet.png", "@eaDir/a.png",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    (run / "pictures").mkdir()
    picture.save(run / "pictures" / "turntable.png")
    (tmp_path / "photos" / "models").mkdir(parents=True)  # a folder of that name is no run
    picture.save(tmp_path / "photos" / "models" / "c.png")

    def names():
        return [p.relative_to(tmp_path).as_posix() for p in folder.find_pictures(tmp_path)]

    assert names() == ["a.png", "b_axes.png", "photos/models/c.png", "run/pictures/turntable.png"]
    (run / "options.json").write_text("{}")
    assert names() == ["a.png", "b_axes.png", "photos/models/c.png"]
    assert [p.name for p in folder.find_pictures(run)] == ["turntable.png"]
