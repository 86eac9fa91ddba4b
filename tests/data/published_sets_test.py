"""The builders of published sets, on tiny folders with known angles, by TFDS's own test case."""

import atexit
import csv
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

import dummy_sets
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ssv_tf.data import folder, published, sources
from ssv_tf.data.aflw2000_3d import Aflw2000
from ssv_tf.data.biwi_kinect_head_pose import BiwiKinectHeadPose
from ssv_tf.data.biwi_kinect_head_pose import biwi_kinect_head_pose_dataset_builder as biwi
from ssv_tf.data.comp_cars import CompCars
from ssv_tf.data.comp_cars import comp_cars_dataset_builder as comp_cars
from ssv_tf.data.open_images_crops import OpenImagesCrops
from ssv_tf.data.open_images_crops import open_images_crops_dataset_builder as open_images
from ssv_tf.data.pascal3d_plus import Pascal3dPlus
from ssv_tf.data.the300w_lp_viewpoint import The300wLpViewpoint

pytestmark = pytest.mark.slow

ANGLES = ("azimuth_deg", "elevation_deg", "tilt_deg")


def _written(write):
    """Folder of a set, for the run of the tests: the cases below want it when they are defined."""
    root = Path(tempfile.mkdtemp(prefix="ssv_tf_dummy_"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write(root)
    return str(root)


def _examples(builder, split):
    rows = tfds.as_numpy(builder.as_dataset(split=split))
    return {row["filename"].decode(): row for row in rows}


def _angles(example, names=ANGLES):
    return [float(example[name]) for name in names]


def _is_white(image):
    """The white spot lies in the middle of the picture."""
    middle = np.array(image.shape[:2]) // 2
    return image[middle[0], middle[1]].min() > 240 and image[2, 2].max() < 200


class Aflw2000Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Aflw2000
    EXAMPLE_DIR = _written(dummy_sets.aflw2000)
    SPLITS: ClassVar[dict[str, int]] = {"test": 3}

    def _assertAsDataset(self, builder):
        super()._assertAsDataset(builder)
        rows = _examples(builder, "test")
        assert set(rows) == {f"image0000{n}.jpg" for n in (2, 4, 6)}
        own = ("pitch_deg", "yaw_deg", "roll_deg")
        np.testing.assert_allclose(_angles(rows["image00002.jpg"]), [30, 0, 0], atol=1e-4)
        np.testing.assert_allclose(_angles(rows["image00006.jpg"], own), [5, 120, 0], atol=1e-4)
        turned = rows["image00004.jpg"]
        np.testing.assert_allclose(_angles(turned, own), [0, 0, 20], atol=1e-4)
        if builder.builder_config.aligned:
            np.testing.assert_allclose(_angles(turned), [0, 0, 0], atol=1e-3)
            assert turned["rotation_deg"] == pytest.approx(-20, abs=1e-3)
            assert turned["image"].shape == (256, 256, 3)
        else:
            np.testing.assert_allclose(_angles(turned), [0, 0, 20], atol=1e-4)
            assert turned["rotation_deg"] == 0
            assert rows["image00002.jpg"]["image"].shape == (112, 112, 3)  # 1.4 x 80 px
            assert _is_white(rows["image00002.jpg"]["image"])


class The300wLpViewpointTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = The300wLpViewpoint
    EXAMPLE_DIR = _written(dummy_sets.the300w_lp)
    SPLITS: ClassVar[dict[str, int]] = {"train": 2}

    def _assertAsDataset(self, builder):
        super()._assertAsDataset(builder)
        rows = _examples(builder, "train")
        np.testing.assert_allclose(_angles(rows["AFW_1_1.jpg"]), [-45, 0, 0], atol=1e-3)
        np.testing.assert_allclose(_angles(rows["HELEN_2_0.jpg"]), [0, -10, 0], atol=1e-3)


class BiwiKinectHeadPoseTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = BiwiKinectHeadPose
    EXAMPLE_DIR = _written(dummy_sets.biwi)
    SPLITS: ClassVar[dict[str, int]] = {"test": 2}

    def _assertAsDataset(self, builder):
        super()._assertAsDataset(builder)
        rows = _examples(builder, "test")
        front, beside = rows["01/frame_00003_rgb.png"], rows["01/frame_00004_rgb.png"]
        np.testing.assert_allclose(_angles(front), [0, 0, 0], atol=1e-4)
        # 100 mm to the right at 1 m: the line of sight is 5.7 degrees off the axis.
        np.testing.assert_allclose(_angles(beside), [30 - 5.711, 0, 0], atol=1e-2)
        for protocol in ("fsanet", "axis_angle"):
            names = [f"{protocol}_{angle}_deg" for angle in ("pitch", "yaw", "roll")]
            np.testing.assert_allclose(_angles(beside, names), [0, 30, 0], atol=1e-3)
        for row in (front, beside):  # 280 mm at 1 m and 500 px focal length, around the head
            assert row["image"].shape == (140, 140, 3) and _is_white(row["image"])
            assert row["sequence"] == b"01"


class Pascal3dPlusTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = Pascal3dPlus
    BUILDER_CONFIG_NAMES_TO_TEST = ("car",)
    EXAMPLE_DIR = _written(dummy_sets.pascal3d)
    SPLITS: ClassVar[dict[str, int]] = {"train": 2, "validation": 1, "test": 1}

    def _assertAsDataset(self, builder):
        super()._assertAsDataset(builder)
        (test,) = _examples(builder, "test").values()
        np.testing.assert_allclose(_angles(test), [-90, 5, 0])
        assert test["filename"] == b"pascal/2008_000002.jpg#0"
        assert test["image"].shape == (60, 100, 3)
        train = _examples(builder, "train")
        azimuths = {name: float(row["azimuth_deg"]) for name, row in train.items()}
        assert azimuths == {
            "pascal/2008_000001.jpg#0": 120.0,
            "imagenet/n02814533_1.JPEG#0": 10.0,  # truncated ones are good enough to train on
        }


class CompCarsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = CompCars
    BUILDER_CONFIG_NAMES_TO_TEST = ("full",)
    EXAMPLE_DIR = _written(dummy_sets.comp_cars)
    SPLITS: ClassVar[dict[str, int]] = {"train": 3}

    def _assertAsDataset(self, builder):
        super()._assertAsDataset(builder)
        rows = _examples(builder, "train")
        front, rear_side = rows["1/10/2010/aaa.jpg"], rows["1/10/2011/bbb.jpg"]
        names = builder.info.features["view"].names
        assert names[front["view"]] == "front" and front["azimuth_size_deg"] == 0
        assert names[rear_side["view"]] == "rear-side" and rear_side["azimuth_size_deg"] == 135
        assert np.isnan(rows["2/20/2012/ccc.jpg"]["azimuth_size_deg"])
        assert front["image"].shape == (60, 100, 3) and front["model_id"] == b"10"


class CompCarsSplitTest(CompCarsTest):
    BUILDER_CONFIG_NAMES_TO_TEST = ("classification",)
    SPLITS: ClassVar[dict[str, int]] = {"train": 1, "test": 1}

    def _assertAsDataset(self, builder):
        tfds.testing.DatasetBuilderTestCase._assertAsDataset(self, builder)
        assert set(_examples(builder, "test")) == {"1/10/2011/bbb.jpg"}


class OpenImagesCropsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = OpenImagesCrops
    BUILDER_CONFIG_NAMES_TO_TEST = ("bus",)
    EXAMPLE_DIR = _written(dummy_sets.open_images)
    SPLITS: ClassVar[dict[str, int]] = {"train": 1, "validation": 1, "test": 1}

    def _assertAsDataset(self, builder):
        super()._assertAsDataset(builder)
        (row,) = _examples(builder, "validation").values()
        assert row["filename"] == b"validation/aaa.jpg#0"
        assert row["image"].shape == (120, 150, 3)


def test_boxes_are_chosen_by_class_and_flags(tmp_path):
    dummy_sets.open_images(tmp_path)
    with (tmp_path / "open_images" / "test-annotations-bbox.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert open_images.chosen_boxes(rows, "/m/07jdr") == {"aaa": [(0, 0, 1, 1)]}
    buses = open_images.chosen_boxes(rows, "/m/01bjv")
    assert buses == {"aaa": [(0.1, 0.2, 0.6, 0.8), (0, 0, 0.1, 0.1)], "zzz": [(0, 0, 1, 1)]}


@pytest.mark.parametrize("name", sources.PUBLISHED)
def test_every_set_says_its_licence_source_and_what_to_download(name, tmp_path):
    builder = sources.find_builder(name, data_dir=str(tmp_path))
    assert builder.info.redistribution_info.license
    assert "@" in builder.info.citation and builder.info.description
    assert builder.info.homepage.startswith("http")
    assert "manual folder" in " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())


def test_a_missing_folder_is_one_error_that_says_what_to_get(tmp_path):
    builder = sources.find_builder("biwi_kinect_head_pose", data_dir=str(tmp_path))
    dummy_sets.text(tmp_path / "manual" / "other.txt", "of another set")
    settings = tfds.download.DownloadConfig(manual_dir=tmp_path / "manual")
    with pytest.raises(FileNotFoundError, match="on request"):
        builder.download_and_prepare(download_config=settings)


def test_other_calibrations_and_labels_are_refused():
    with pytest.raises(ValueError, match="27"):
        biwi.ColourCamera.parse("1 2 3")
    with pytest.raises(folder.BadPicture, match="cannot be read"):
        comp_cars.parse_label("1\n1\n")


def test_crops_repeat_the_border_and_keep_the_place():
    picture = np.arange(100, dtype=np.uint8).reshape(10, 10, 1).repeat(3, axis=2)
    inside = published.crop_square(picture, (5, 5), 4, 100)
    np.testing.assert_array_equal(inside, picture[3:7, 3:7])
    beyond = published.crop_square(picture, (0, 5), 4, 100)
    np.testing.assert_array_equal(beyond[:, 0], beyond[:, 2])
    np.testing.assert_array_equal(beyond[:, 2:], picture[3:7, :2])
    assert published.crop_square(picture, (5, 5), 10, 5).shape == (5, 5, 3)
    with pytest.raises(folder.BadPicture, match="outside"):
        published.crop_square(picture, (50, 5), 4, 100)
    with pytest.raises(folder.BadPicture, match="no pixel"):
        published.crop_box(picture, (20, 20, 30, 30))
