"""The corpus of broken and odd files through the reader: read rightly or named, within bounds."""

import collections
import io
import json
import re
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import bad_corpus
import numpy as np
import pytest
from absl import logging as absl_logging
from bad_corpus import EITHER
from picture_bytes import COLOURS, encoded, png, scene, zeros_png
from PIL import Image

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import folder, patterns, picture_parts, read_policy, reading, sources

# Pillow's warnings are silenced by the reader; pytest shows what the commands do not.
pytestmark = pytest.mark.filterwarnings("ignore")
_SIDE = 64
_LARGEST_RSS_MB = 800  # 540 measured, on two threads


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(folder, cases); links lead back up from inside."""
    place = tmp_path_factory.mktemp("corpus")
    cases = bad_corpus.write(place, bad_corpus.pictures())
    bad_corpus.links_between_folders(place)
    return place, cases


@pytest.fixture(scope="module")
def loaded(corpus):
    """(the PictureSet, what was logged)."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(absl_logging, "warning", lambda text, *args: lines.append(text % args))
        return folder.load_folder(corpus[0], _SIDE), lines


def test_the_corpus_is_large_and_of_many_kinds(corpus):
    kinds = collections.Counter(case.kind for case in corpus[1])
    assert len(corpus[1]) > 350 and len({case.name for case in corpus[1]}) == len(corpus[1])
    assert set(kinds) == {
        "whole", "truncated", "modes", "turned", "metadata", "animated", "wrong suffix", "damaged",
        "flipped", "sizes", "bombs", "names", "places",
    }  # fmt: skip


def test_every_file_is_either_read_or_named_once(corpus, loaded):
    pictures, lines = loaded
    expected = {files.printable(case.name) for case in corpus[1]}
    skipped = [name for name, _ in pictures.skipped]
    assert sorted([*pictures.names, *skipped]) == sorted(expected)
    assert len(lines) == len(skipped) + 1
    for name, reason in pictures.skipped:
        assert lines.count(f"skipped {files.one_line(name)}: {reason}") == 1
        assert len(reason) < 150 and reason.isprintable()
    assert lines[-1].startswith(f"skipped {len(skipped)} of {len(expected)} pictures: ")
    counted = map(int, re.findall(r"(\d+) [a-z]", lines[-1].split(": ", 1)[1]))
    assert sum(counted) == len(skipped)


def test_bad_files_have_the_right_reason(corpus, loaded):
    reasons = dict(loaded[0].skipped)
    for case in corpus[1]:
        if case.reason and case.reason != EITHER:
            assert re.search(case.reason, reasons[files.printable(case.name)]), case.name


def test_odd_but_valid_files_show_the_right_pixels(corpus, loaded):
    images = dict(zip(loaded[0].names, loaded[0].images, strict=True))
    checked = 0
    for case in corpus[1]:
        if case.reason:
            continue
        image = images[files.printable(case.name)].astype(float)
        if case.colours is None:
            continue
        wanted = np.asarray(case.colours, float)
        # The scene is 3 : 2 in the middle of the square; these are the middles of its quarters.
        rows, columns = np.ix_((21, 43), (16, 48))
        found = image[32, 32] if wanted.ndim == 1 else image[rows, columns]
        assert np.abs(found - wanted).max() <= 8, (case.name, found, wanted)
        checked += 1
    assert checked > 150


def test_the_whole_range_of_16_bits_is_kept(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)

    for colour, values in ((0, ramp), (2, np.dstack([ramp] * 3))):
        picture = folder.read_picture(png(values, colour))
        assert np.abs(picture[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_stop_ends_at_the_first_bad_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(scene(), "PNG"))
    (tmp_path / "b.png").touch()
    (tmp_path / "c.png").touch()
    with pytest.raises(UserError, match=r"b\.png: empty file; `bad_pictures=skip` goes on"):
        sources.load_collection(tmp_path, resolution=8, bad_pictures=read_policy.STOP)
    with pytest.raises(UserError, match=r"z\.png: in the table, but no such picture"):
        folder.load_folder(tmp_path, 8, only={"a.png", "z.png"}, bad_pictures=read_policy.STOP)
    with pytest.raises(ValueError, match="perhaps"):
        folder.load_folder(tmp_path, 8, bad_pictures="perhaps")


# Bounds

_MEASURE = r"""
import json, re, sys
from ssv_tf.data import folder
reasons = []
for place in sys.argv[1:]:
    reasons += folder.load_folder(place, 32, workers=2).skipped
# Not ru_maxrss, which begins with that of the process that started this one.
peak_kb = int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps({"mb": peak_kb / 1024, "names": [name for name, _ in reasons]}))
"""


@pytest.mark.slow
def test_memory_is_bounded_with_bombs_and_huge_pictures(corpus, tmp_path):
    for name, colour in (("clear.png", 6), ("deep.png", 2), ("other.png", 2)):
        (tmp_path / name).write_bytes(zeros_png(9_400, 9_400, 8, colour))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(corpus[0]), str(tmp_path)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["mb"] < _LARGEST_RSS_MB
    assert not {"clear.png", "deep.png", "other.png"} & set(answer["names"]), (
        "88 megapixels are read"
    )


def test_a_large_picture_is_averaged_as_a_small_one_is_read(monkeypatch):
    alpha = np.random.default_rng(0).integers(0, 256, (300, 410, 4), np.uint8)

    content = png(alpha, 6)
    whole = folder.read_picture(content)
    monkeypatch.setattr(reading, "_LARGE_PIXELS", 1000)
    monkeypatch.setattr(reading, "_STRIP_PIXELS", 5000)
    np.testing.assert_array_equal(folder.read_picture(content), whole)
    small = folder.read_picture(content, shortest=100)
    assert small.shape == (100, 137, 3)
    mean = whole[:, :408].reshape(100, 3, 136, 3, 3).mean((1, 3))
    assert np.abs(small[:, :136] - mean).max() <= 1


@pytest.mark.parametrize(
    ("size", "shortest", "scale"),
    [
        ((1000, 1000), 192, 4),
        ((1000, 767), 192, 2),
        ((448, 448), 96, 4),
        ((448, 450), 96, 2),  # a quarter of 450 is 112.5 and would count as 113
        ((449, 449), 96, 2),
        ((255, 300), 96, 1),
        ((1536, 1536), 192, 8),
        ((1537, 1600), 192, 4),
        ((191, 191), 192, 1),
    ],
)
def test_a_jpeg_is_divided_as_long_as_it_is_hardly_stretched(size, shortest, scale):
    assert reading.draft_scale(size, shortest) == scale
    assert reading.draft_scale(size[::-1], shortest) == scale
    content = io.BytesIO()
    Image.new("RGB", size).save(content, "JPEG")
    read = reading.read_picture(content.getvalue(), shortest=shortest)
    assert read.shape == (-(-size[1] // scale), -(-size[0] // scale), 3)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_large_picture_is_turned_too(monkeypatch, orientation, corpus):
    monkeypatch.setattr(reading, "_LARGE_PIXELS", 1000)
    picture = folder.read_picture(corpus[0] / f"turned/{orientation}.png", shortest=16)
    found = picture[[4, -4]][:, [6, -6]].astype(int)
    assert np.abs(found - COLOURS).max() <= 8 and picture.shape[1] > picture.shape[0]


def test_what_sticks_out_far_is_cut_before_it_costs_memory():
    wide = np.zeros((10, 20_000, 3), np.uint8)
    wide[:, 9_000:11_000] = np.random.default_rng(0).integers(0, 256, (10, 2_000, 3))
    square = folder.fit_square(wide, 32, crop="height")
    near = folder.fit_square(wide[:, 9_000:11_000], 32, crop="height")
    np.testing.assert_array_equal(square, near)
    wide = np.zeros((1, 5_000_000, 3), np.uint8)
    tracemalloc.start()
    try:
        folder.fit_square(wide, 32, crop="height")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_regular_file_that_turns_into_a_pipe_does_not_block(tmp_path, monkeypatch):
    import os

    plain, pipe = tmp_path / "a.png", tmp_path / "b.png"
    plain.write_bytes(b"x")
    os.mkfifo(pipe)
    status = os.stat(plain)
    monkeypatch.setattr(files.os, "stat", lambda path: status)  # as it was a moment ago
    with pytest.raises(files.Unreadable, match="but a pipe"):
        files.read_regular(pipe, 10)


def test_a_file_as_large_as_allowed_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read_regular(tmp_path / "a", 5) == b"12345"
    with pytest.raises(files.Unreadable, match="larger than 0 MB"):
        files.read_regular(tmp_path / "a", 4)


# Globs


def test_globs_through_links_that_lead_upwards_end(corpus):
    place, cases = corpus
    started = time.process_time()
    found = patterns.find_matches(f"{place}/**/*.bmp")
    assert time.process_time() - started < 20
    below = sorted(path.relative_to(place).as_posix() for path in found)
    assert below == sorted(case.name for case in cases if case.name.endswith(".bmp"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "s/b.png", "s/t/c.png"]),
        ("s/**", ["s/b.png", "s/t/c.png", "s/t/d.jpg"]),
        ("s/**/t/*.jpg", ["s/t/d.jpg"]),
        ("**/t/**/?.[jp]*g", ["s/t/c.png", "s/t/d.jpg"]),
        ("**/**/**/b.png", ["s/b.png"]),
        ("?/t/c.png", ["s/t/c.png"]),
        ("**/none", []),
        ("none/**", []),
        ("[", []),
        ("a\0b", []),
    ],
)
def test_globs_find_what_a_shell_would(tmp_path, monkeypatch, pattern, expected):
    for name in ("a.png", "s/b.png", "s/t/c.png", "s/t/d.jpg", "s/.hidden.png", ".h/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert patterns.find_matches(pattern) == [Path(name) for name in expected]
    absolute = patterns.find_matches(f"{tmp_path}/{pattern}")
    assert absolute == [tmp_path / name for name in expected]


def test_many_stars_do_not_take_long():
    assert not patterns._fits(["a"] * 40, ["**", "*"] * 18 + ["b"])


def test_damaged_pixels_of_a_tiff_write_nothing_to_stderr_themselves(capfd):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "TIFF", compression="tiff_lzw")
    refused = 0
    for seed in range(40):
        rng, content = np.random.default_rng(seed), bytearray(stream.getvalue())
        for place in rng.integers(200, len(content) - 300, 8):
            content[place] ^= 1 << int(rng.integers(8))
        try:
            reading.read_picture(bytes(content))
        except reading.BadPicture:
            refused += 1
    assert refused and capfd.readouterr().err == ""


@pytest.mark.parametrize("length", [0, 1, 2, 3, 65_535, 65_536, 65_537, 65_538, 200_000])
def test_scans_are_counted_as_bytes_count_does(length):
    dense = np.random.default_rng(length).choice([0xFF, 0xDA, 0], length).astype(np.uint8)
    assert picture_parts._scans(dense.tobytes()) == dense.tobytes().count(b"\xff\xda")
    only = np.tile(np.array([0xFF, 0xDA], np.uint8), length)[:length].tobytes()
    assert picture_parts._scans(only) == picture_parts._scans(b"\0" + only) == length // 2
