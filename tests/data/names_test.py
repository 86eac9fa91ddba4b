"""Filenames of a table find their pictures however they are written, and never two."""

import unicodedata

import pytest
from absl import logging as absl_logging
from PIL import Image

from ssv_tf.base.errors import UserError
from ssv_tf.data import names, sources

UMLAUT = unicodedata.normalize("NFC", "M\u00fcller.jpg")


@pytest.mark.parametrize(
    ("picture", "key"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "A.JPG"),
        ("a.JPG", "a.jpg"),
        ("sub/my car.jpg", "my car.jpg"),
        ("sub/a.jpg", "Sub\\a.jpg"),
        (UMLAUT, unicodedata.normalize("NFD", UMLAUT)),
        (unicodedata.normalize("NFD", UMLAUT), UMLAUT),
        ("a.jpg", "cars/a.jpg"),
        ("a.jpg", "./cars/a.jpg"),
        ("sub/a.jpg", "/data/cars/sub/a.jpg"),
        ("sub/a.jpg", "C:\\data\\cars\\sub\\A.jpg"),
        # by the file's name alone
        ("a.jpg", "/home/me/elsewhere/a.jpg"),
        ("a.jpg", "D:\\Pictures\\A.JPG"),
        ("x/a.jpg", "other/a.jpg"),
    ],
)
def test_a_filename_finds_its_picture(picture, key):
    left = []
    others = ["b.jpg", "sub/c.jpg"]
    matched = names.match_names([picture, *others], [key, "gone.jpg"], left, "/data/cars")
    assert matched == {picture: key}
    assert left == [("gone.jpg", "in the table, but no such picture")]


def test_a_picture_that_nothing_but_the_name_fits_is_left_where_other_paths_fit():
    left = []
    pictures = ["x/a.jpg", "y/a.jpg", "x/b.jpg"]
    matched = names.match_names(pictures, ["x/a.jpg", "z/b.jpg"], left)
    assert matched == {"x/a.jpg": "x/a.jpg"} and [key for key, _ in left] == ["z/b.jpg"]


def test_letter_by_letter_comes_before_another_case():
    left = []
    assert names.match_names(["x/a.png"], ["A.png", "a.png"], left) == {"x/a.png": "a.png"}
    assert left == [("A.png", "the same picture as a.png in the table")]


def test_the_longer_agreement_decides_and_ties_are_refused():
    keys = ["train/1.jpg", "test/1.jpg"]
    assert names.match_names(["1.jpg"], keys, [], "/data/test") == {"1.jpg": "test/1.jpg"}
    # no path fits: /mnt/x/test/1.jpg shares two parts with the picture, /mnt/x/train/1.jpg one
    keys = ["/mnt/x/train/1.jpg", "/mnt/x/test/1.jpg"]
    assert names.match_names(["1.jpg"], keys, [], "/data/test") == {"1.jpg": keys[1]}
    with pytest.raises(UserError, match=r"train/1\.jpg and of .*test/1\.jpg is that of 1\.jpg"):
        names.match_names(["1.jpg"], keys, [], "/data/all")
    with pytest.raises(UserError, match=r"fits x/1\.jpg and y/1\.jpg"):
        names.match_names(["x/1.jpg", "y/1.jpg"], ["z/1.jpg"])
    with pytest.raises(UserError, match=r"a\.JPG and a\.jpg"):
        names.match_names(["a.JPG", "a.jpg"], ["A.jpg"])
    assert names.match_names(["a.JPG", "a.jpg"], ["a.jpg"]) == {"a.jpg": "a.jpg"}


def test_a_folder_of_a_mac_and_a_windows_machine_is_matched_and_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *args: told.append(text % args))
    folder = tmp_path / "cars"
    folder.mkdir()
    for name in ("one.JPG", "two.jpg", "three.jpg", "four.jpg", "._two.jpg"):
        Image.new("RGB", (9, 9)).save(folder / name, "JPEG")
    (folder / "Thumbs.db").write_bytes(b"no picture")
    table = tmp_path / "labels.csv"
    table.write_text("filename,azimuth_deg\nC:\\me\\one.jpg,1\nC:\\me\\TWO.jpg,2\nThumbs.db,3\n")
    pictures = sources.load_collection(folder, resolution=8, labels=table, labelled_only=True)
    assert pictures.names == ["one.JPG", "two.jpg"] and pictures.angles_deg[:, 0].tolist() == [1, 2]
    assert sum("matched 2 by the file's name alone" in line for line in told) == 1
    assert [name for name, _ in pictures.skipped] == ["Thumbs.db"]
    table.write_text("filename,azimuth_deg\n" + "".join(f"{n}.png,1\n" for n in range(5)))
    said = (
        r"table has 0\.png, 1\.png, 2\.png, \.\.\.; the folder has "
        r"four\.jpg, one\.JPG, three\.jpg, \.\.\."
    )
    for only in (True, False):
        with pytest.raises(UserError, match=said):
            sources.load_collection(folder, resolution=8, labels=table, labelled_only=only)
