"""One name for every source of pictures: the embedded cars and their cache, TFDS, folders."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import logging as absl_logging
from PIL import Image

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import framing, sources, turntable_cars


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SSV_TF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def renders(monkeypatch):
    """Replaces the renderer by one that records its calls."""
    calls = []

    def render_collection(count, resolution, split, seed=0, workers=None):
        calls.append((count, resolution, split, seed, workers))
        images = np.full((count, resolution, resolution, 3), len(calls), np.uint8)
        return images, np.tile(np.float32([1, 2, 3]), (count, 1)), ["suv"] * count

    monkeypatch.setattr(turntable_cars, "render_collection", render_collection)
    return calls


# The embedded cars


def test_embedded_cars_are_rendered_once_and_kept(renders, cache):
    first = sources.load_collection("turntable_cars", resolution=8, limit=3, seed=7, workers=1)
    again = sources.load_collection("turntable_cars", resolution=8, limit=3, seed=7)
    assert renders == [(3, 8, "train", 7, 1)]
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(again.angles_deg, [[1, 2, 3]] * 3)
    assert again.names == ["train/00000-suv", "train/00001-suv", "train/00002-suv"]
    assert len(list(cache.iterdir())) == 1, "no temporary file is left"


def test_every_part_of_the_key_counts(renders, monkeypatch):
    base = {"resolution": 8, "limit": 3, "seed": 0, "split": "train"}
    for change in ({}, {"resolution": 9}, {"limit": 2}, {"seed": 1}, {"split": "test"}):
        sources.load_collection("turntable_cars", **{**base, **change})
    assert len(renders) == 5
    monkeypatch.setattr(turntable_cars, "VERSION", "another", raising=False)
    sources.load_collection("turntable_cars", **base)
    assert len(renders) == 6, "another renderer, another set"


def test_full_splits_without_a_limit(renders):
    for split, count in (("train", 10_000), ("calibration", 200), ("test", 1_000)):
        assert len(sources.load_collection("turntable_cars", resolution=1, split=split)) == count
    with pytest.raises(UserError, match="'validation'"):
        sources.load_collection("turntable_cars", resolution=1, split="validation")
    assert sources.EMBEDDED_COUNTS == turntable_cars.SPLITS


@pytest.mark.parametrize("damage", ["garbage", "cut", "other"])
def test_a_damaged_cache_is_made_anew(renders, cache, damage, monkeypatch):
    lines = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *args: lines.append(text % args))
    sources.load_collection("turntable_cars", resolution=8, limit=3)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    if damage == "other":
        np.savez(path, images=np.zeros((1, 8, 8, 3), np.uint8), angles_deg=[[0]], shapes=["x"])
    else:
        path.write_bytes(b"garbage" if damage == "garbage" else content[: len(content) // 2])
    pictures = sources.load_collection("turntable_cars", resolution=8, limit=3)
    assert len(renders) == 2 and (pictures.images == 2).all() and "made anew" in lines[0]
    sources.load_collection("turntable_cars", resolution=8, limit=3)
    assert len(renders) == 2, "and kept again"


def test_a_cache_that_cannot_be_written_is_no_error(renders, cache, monkeypatch):
    lines = []
    monkeypatch.setattr(absl_logging, "warning", lambda text, *args: lines.append(text % args))
    cache.write_text("a file where the folder should be")
    assert len(sources.load_collection("turntable_cars", resolution=8, limit=3)) == 3
    assert "cannot keep" in lines[0]


def test_the_real_renderer_fits_the_interface():
    pictures = sources.load_collection("turntable_cars", resolution=16, limit=4, split="test")
    assert pictures.images.shape == (4, 16, 16, 3) and pictures.has_label.all()
    assert pictures.images.std() > 5, "there is something to see"


# Folders


@pytest.fixture
def photos(tmp_path):
    """Six pictures below images/, a table beside it that labels four and names a seventh."""
    (tmp_path / "photos/images").mkdir(parents=True)
    rows = ["filename,azimuth_deg,elevation_deg,tilt_deg,class_id,suspect"]
    for i in range(6):
        Image.new("RGB", (20, 10), (10 * i, 0, 0)).save(tmp_path / f"photos/images/{i}.png")
        rows.append(f"{i}.png,{i},0,0,{i},{int(i == 5)}" if i != 2 else "2.png,,,,2,0")
    rows.append("gone.png,1,1,1,1,0")
    (tmp_path / "photos/labels.csv").write_text("\n".join(rows))
    return tmp_path / "photos"


def test_folder_without_labels(photos):
    pictures = sources.load_collection(photos, resolution=8)
    assert len(pictures) == 6 and pictures.angles_deg is None


def test_folder_with_labels_keeps_the_unlabelled(photos):
    pictures = sources.load_collection(str(photos), resolution=8, labels=photos / "labels.csv")
    assert pictures.has_label.tolist() == [True, True, False, True, True, False]
    np.testing.assert_array_equal(pictures.labelled().angles_deg[:, 0], [0, 1, 3, 4])


def test_labelled_only_reads_no_other(photos):
    (photos / "images/2.png").write_bytes(b"damaged, but without a label")
    pictures = sources.load_collection(
        photos, resolution=8, labels=photos / "labels.csv", labelled_only=True
    )
    assert len(pictures) == 4 and pictures.has_label.all()
    assert [name for name, _ in pictures.skipped] == ["gone.png"]


def test_where_splits_a_folder_without_reading_a_label(photos):
    table = photos / "labels.csv"
    table.write_text(table.read_text().replace("0.png,0,0,0,0,0", "0.png,not an angle,0,0,0,0"))
    train = sources.load_collection(photos, resolution=8, where="class_id%4!=1")
    assert train.names == ["images/0.png", "images/2.png", "images/3.png", "images/4.png"]
    assert train.angles_deg is None
    test = sources.load_collection(photos, resolution=8, where="class_id%4==1")
    assert test.names == ["images/1.png", "images/5.png"]
    moved = table.rename(photos.parent / "table.csv")
    again = sources.load_collection(
        photos / "images", resolution=8, where="class_id%4!=1", where_table=moved
    )
    assert again.names == ["0.png", "2.png", "3.png", "4.png"]


def test_where_with_labels(photos):
    scored = sources.load_collection(
        photos, resolution=8, labels=photos / "labels.csv", where="class_id%4==1"
    )
    assert scored.names == ["images/1.png", "images/5.png"]
    assert scored.has_label.tolist() == [True, False], "5 is suspect"


def test_crop_options_reach_the_picture(photos):
    tight, wide = (
        sources.load_collection(photos, resolution=20, crop="height", canvas_heights=c, limit=1)
        for c in (1.0, 2.0)
    )
    assert (tight.images[0, 0] == tight.images[0, 10]).all()
    assert (wide.images[0, 0] == 127).all()


def test_user_mistakes(photos, tmp_path):
    load, table = sources.load_collection, photos / "labels.csv"
    with pytest.raises(UserError, match="nowhere is no folder"):
        load("nowhere", resolution=8)
    with pytest.raises(UserError, match=r"cannot read the labels .*absent\.csv"):
        load(photos, resolution=8, labels=tmp_path / "absent.csv")
    with pytest.raises(UserError, match="chooses no row"):
        load(photos, resolution=8, where="class_id==77")
    with pytest.raises(SettingError, match="limit"):
        load(photos, resolution=8, limit=0)
    with pytest.raises(SettingError, match="brings its own angles"):
        load("turntable_cars", resolution=8, labels=table)
    with pytest.raises(SettingError, match="needs labels"):
        load(photos, resolution=8, labelled_only=True)
    table.write_text("filename,azimuth_deg,elevation_deg,tilt_deg\nz.png,0,0,0\n")
    with pytest.raises(UserError, match=r"the table has z\.png; the folder has images/0\.png"):
        load(photos, resolution=8, labels=table)
    table.write_text("filename,azimuth_deg,elevation_deg,tilt_deg\n0.png,,,\n")
    with pytest.raises(UserError, match="no row with angles"):
        load(photos, resolution=8, labels=table)


# TFDS


class TinyPoses(tfds.core.GeneratorBasedBuilder):
    """Six pictures of unlike sizes with angles."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        scalar = tfds.features.Scalar(np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Scalar(np.int64),
                    "photo": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "azimuth_deg": scalar,
                    "elevation_deg": scalar,
                    "tilt_deg": scalar,
                    "filename": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for i in range(6):
            yield (
                i,
                {
                    "id": i,
                    "photo": np.full((10, 10 + i, 3), 40 * i, np.uint8),
                    "azimuth_deg": 10.0 * i,
                    "elevation_deg": 1.0,
                    "tilt_deg": -1.0,
                    "filename": f"car{i}.png",
                },
            )


class TinyGreys(tfds.core.GeneratorBasedBuilder):
    """Grey digits without names or angles."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(6, 6, 1), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            yield i, {"image": np.full((6, 6, 1), 50 * i, np.uint8)}


class TinyWords(TinyGreys):
    """No picture at all."""

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"word": tfds.features.Text()})
        )

    def _generate_examples(self):
        yield 0, {"word": "car"}


class TinyRemote(TinyGreys):
    """Stands for a set whose download fails."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host\nand a long story")


@pytest.fixture
def tfds_home(tmp_path, monkeypatch):
    """TFDS writes below tmp_path rather than into the home folder."""
    from tensorflow_datasets.core import constants

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path / "tfds"))


def test_tfds_pictures_with_angles(tfds_home):
    pictures = sources.load_collection(
        "tfds:tiny_poses", resolution=8, split="test", padding="edge"
    )
    assert sorted(pictures.names) == [f"car{i}.png" for i in range(6)]
    for name, image, angles in zip(
        pictures.names, pictures.images, pictures.angles_deg, strict=True
    ):
        i = int(name[3])
        assert (image == 40 * i).all()
        np.testing.assert_allclose(angles, [10 * i, 1, -1])
    few = sources.load_collection("tfds:tiny_poses", resolution=8, limit=2, seed=3)
    assert len(few) == 2
    assert (
        few.names == sources.load_collection("tfds:tiny_poses", resolution=8, limit=2, seed=3).names
    )


def test_tfds_pictures_without_angles(tfds_home):
    pictures = sources.load_collection("tfds:tiny_greys", resolution=8)
    assert pictures.angles_deg is None and pictures.images.shape == (3, 8, 8, 3)
    assert pictures.names == ["train/00000", "train/00001", "train/00002"]
    assert sorted(pictures.images[:, 4, 4, 2].tolist()) == [0, 50, 100]


def test_tfds_mistakes_are_one_line(tfds_home):
    load = sources.load_collection
    with pytest.raises(UserError, match="tfds:no_such_set cannot be found"):
        load("tfds:no_such_set", resolution=8)
    with pytest.raises(UserError, match="has the splits train, not 'test'"):
        load("tfds:tiny_greys", resolution=8, split="test")
    with pytest.raises(UserError, match="no image feature; it has word"):
        load("tfds:tiny_words", resolution=8)
    with pytest.raises(UserError, match=r"no route to host; prepare it") as caught:
        load("tfds:tiny_remote", resolution=8)
    assert "long story" not in str(caught.value)


def test_tfds_pictures_that_cannot_be_read_are_skipped_or_stop(tfds_home, monkeypatch):
    sources.load_collection("tfds:tiny_greys", resolution=8)
    calls = []

    def read(content, shortest):
        calls.append(len(content))
        if len(calls) == 2:
            raise sources.BadPicture("broken")
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(framing, "read_rgb", read)
    pictures = sources.load_collection("tfds:tiny_greys", resolution=8)
    assert pictures.skipped == [("train/00001", "broken")] and len(pictures) == 2
    calls.clear()
    with pytest.raises(UserError, match="train/00001: broken; `bad_pictures=skip` goes on"):
        sources.load_collection("tfds:tiny_greys", resolution=8, bad_pictures="stop")
