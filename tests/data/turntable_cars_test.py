"""The rendered cars: angle convention, exact labels, independence of workers, the TFDS builder."""

import dataclasses
import itertools
import pathlib
import subprocess
import sys
from typing import ClassVar
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.data import turntable_cars
from ssv_tf.data.turntable_cars import collection, mesh, raster, render, sheet
from ssv_tf.data.turntable_cars.scene import draw_scene, studio
from ssv_tf.data.turntable_cars.shapes import SHAPES

pytestmark = pytest.mark.slow

_DARK = np.full(3, 0.02)
_NIGHT = dataclasses.replace(studio(), kind="plain", backdrop=np.zeros((64, 64, 3), np.uint8))


def _night(angles_deg, size=128, index=0, **changes):
    """A dark car with shining lights, no plates, at night: linear light [size, size, 3]."""
    car, look, _ = render.draw((5, index))
    look = dataclasses.replace(
        look,
        **{"paint": _DARK, "roof": _DARK, "plate": _DARK, "chrome": False, "rim": 0.05}
        | {"headlight_glow": 3.0, "tail_glow": 3.0}
        | changes,
    )
    return render.render_linear(car, look, _NIGHT, size, collection.rotations(angles_deg))


def _white(picture):
    return picture.min(axis=-1) > 0.8


def _red(picture):
    return (picture[..., 0] > 0.4) & (picture[..., 1] < 0.15)


def _centroid(mask):
    """(x right, y up) in pixels from the centre of the picture."""
    rows, columns = np.nonzero(mask)
    return columns.mean() + 0.5 - mask.shape[1] / 2, mask.shape[0] / 2 - rows.mean() - 0.5


@pytest.mark.parametrize("index", range(4))
def test_azimuth_0_shows_headlights_and_180_tail_lights(index):
    front, rear = _night((0, 5, 0), index=index), _night((180, 5, 0), index=index)
    assert _white(front).sum() > 20 and _red(front).sum() == 0
    assert _red(rear).sum() > 20 and _white(rear).sum() == 0
    assert abs(_centroid(_white(front))[0]) < 1 and abs(_centroid(_red(rear))[0]) < 1


@pytest.mark.parametrize("index", range(4))
def test_nose_points_left_at_azimuth_90(index):
    left, right = _night((90, 5, 0), index=index), _night((-90, 5, 0), index=index)
    assert _centroid(_white(left))[0] < -30 and _centroid(_red(left))[0] > 30
    assert _centroid(_white(right))[0] > 30 and _centroid(_red(right))[0] < -30


def test_azimuth_grows_to_the_left_between():
    places = [_centroid(_white(_night((azimuth, 5, 0))))[0] for azimuth in (-60, -30, 0, 30, 60)]
    assert np.all(np.diff(places) < -3)


def test_roof_shows_from_above():
    green = np.array([0.0, 0.9, 0.0])
    counts = []
    for elevation in (0, 10, 20, 30):
        picture = _night((30, elevation, 0), roof=green, sunroof=False)
        counts.append(np.sum(picture[..., 1] > 3 * picture[..., 0] + 0.1))
    assert counts == sorted(counts) and counts[-1] > 3 * counts[0] + 100


@pytest.mark.parametrize("tilt", [-8, 8])
def test_tilt_turns_clockwise_by_its_angle(tilt):
    def direction(angles):
        picture = _night(angles)
        (nose_x, nose_y), (tail_x, tail_y) = _centroid(_white(picture)), _centroid(_red(picture))
        return np.degrees(np.arctan2(tail_y - nose_y, tail_x - nose_x))

    # Clockwise lowers the right end, where the tail is: the direction turns by minus the tilt.
    turned = direction((90, 5, tilt)) - direction((90, 5, 0))
    assert turned == pytest.approx(-tilt, abs=0.5)


@pytest.mark.parametrize("index", range(6))
def test_mirrored_picture_is_the_mirrored_viewpoint(index):
    car, look, scene = render.draw((11, index))
    rng = np.random.default_rng(index)
    angles = rng.uniform([-180, 0, -8], [180, 30, 8])
    noise = (np.random.default_rng(0), np.random.default_rng(0))
    picture = render.photograph(car, look, scene, 64, collection.rotations(angles), noise[0])
    mirrored_angles = collection.rotations(viewpoint.mirror(angles))
    other = render.photograph(car, look, scene.mirror(), 64, mirrored_angles, noise[1])
    difference = np.abs(picture[:, ::-1].astype(int) - other)
    # A few subpixels lie so exactly on an edge or a seam that rounding decides.
    assert np.mean(difference.max(axis=-1) > 2) < 0.001
    wrong = render.photograph(
        car, look, scene.mirror(), 64, collection.rotations(angles), np.random.default_rng(0)
    )
    assert np.mean(np.abs(picture[:, ::-1].astype(int) - wrong).max(axis=-1) > 2) > 0.02


@pytest.mark.parametrize("azimuth", [90, -90])
def test_length_fills_the_share_of_the_width_side_on(azimuth):
    white = np.ones(3)
    for index in range(4):
        car, look, scene = render.draw((5, index))
        assert 0.55 < scene.fill < 0.95
        black = dataclasses.replace(_NIGHT, fill=scene.fill, distance=50.0)
        look = dataclasses.replace(look, paint=white, roof=white)
        picture = render.render_linear(car, look, black, 128, collection.rotations((azimuth, 0, 0)))
        columns = np.flatnonzero((picture > 0.02).any(axis=(0, 2)))
        assert (np.ptp(columns) + 1) / 128 == pytest.approx(scene.fill, abs=0.03)


def test_scale_does_not_depend_on_azimuth():
    _, _, scene = render.draw((5, 0))
    heights = []
    for azimuth in range(0, 360, 30):
        matrix = collection.rotations((azimuth, 0, 0))
        upright = np.array([[0.0, 0.7, 0.0], [0.0, -0.7, 0.0]]) @ matrix
        points, _ = render._project(upright, 12.0, 100.0, scene.shift, 64)
        heights.append(points[1, 1] - points[0, 1])
    assert np.allclose(heights, 1.4 * 100 / 12)


def test_meshes_face_outward_and_are_symmetric():
    for index in range(30):
        car = render.draw_car_of((2, index))
        body = mesh.build_mesh(car)
        a, b, c = np.moveaxis(body.vertices[body.triangles], 1, 0)
        flat = np.cross(b - a, c - a)
        solid = np.linalg.norm(flat, axis=-1) > 1e-4
        facing = np.einsum("ij,ikj->ik", flat, body.normals)
        assert (facing[solid] > 0).all(), (car.shape, body.parts[solid][facing[solid].min(1) <= 0])
        rounded = {tuple(point) for point in np.round(body.vertices, 6) + 0.0}
        assert rounded == {(-x + 0.0, y, z) for x, y, z in rounded}


def test_z_buffer_against_every_pixel_by_hand():
    rng = np.random.default_rng(4)
    size, count = 12, 24
    points = rng.uniform(-3, size + 3, (3 * count, 2))
    depths = rng.uniform(1, 5, 3 * count)
    triangles = np.arange(3 * count).reshape(count, 3)
    seen = raster.rasterise(points, depths, triangles, size)
    found = dict(zip(seen.pixels, seen.triangles, strict=True))
    for row, column in itertools.product(range(size), repeat=2):
        nearest = _nearest_by_hand(points, depths, triangles, (column + 0.5, row + 0.5))
        assert found.get(row * size + column) == nearest
    assert len(set(found.values())) > 3


def _nearest_by_hand(points, depths, triangles, place):
    best, nearest = 0.0, None
    for number, triangle in enumerate(triangles):
        system = np.vstack([points[triangle].T, np.ones(3)])
        weights = np.linalg.solve(system, [*place, 1.0])
        counter_clockwise = np.linalg.det(system) < 0  # y runs down
        nearness = weights @ (1 / depths[triangle])
        if counter_clockwise and (weights >= 0).all() and nearness > best:
            best, nearest = nearness, number
    return nearest


def test_perspective_weights_find_the_point_seen():
    vertices = np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, -2.0], [0.0, 1.5, 1.0]])
    points, depths = render._project(vertices, 6.0, 40.0, np.zeros(2), 32)
    seen = raster.rasterise(points, depths, np.array([[0, 1, 2]]), 32)
    places = seen.weights @ vertices
    again, _ = render._project(places, 6.0, 40.0, np.zeros(2), 32)
    rows, columns = np.divmod(seen.pixels, 32)
    assert len(rows) > 20
    assert np.allclose(again, np.stack([columns + 0.5, rows + 0.5], -1))


def test_pictures_do_not_depend_on_workers_or_count():
    images, angles, shapes = turntable_cars.render_collection(130, 32, "test", workers=2)
    alone, alone_angles, alone_shapes = turntable_cars.render_collection(7, 32, "test", workers=1)
    assert images.shape == (130, 32, 32, 3) and images.dtype == np.uint8
    assert angles.shape == (130, 3) and angles.dtype == np.float32
    assert np.array_equal(images[:7], alone) and np.array_equal(angles[:7], alone_angles)
    assert shapes[:7] == alone_shapes
    last = collection.render_range(range(129, 130), 32, "test")
    assert np.array_equal(images[129:], last[0]) and shapes[129:] == last[2]
    one = turntable_cars.render_car(turntable_cars.picture_seed(0, "test", 129), 32)
    assert np.array_equal(images[129], one.image) and np.array_equal(angles[129], one.angles_deg)
    assert len({image.tobytes() for image in images}) == 130


def test_seed_and_angles_decide():
    seed = turntable_cars.picture_seed(0, "train", 3)
    drawn = turntable_cars.render_car(seed, 32)
    given = turntable_cars.render_car(seed, 32, drawn.angles_deg)
    other = turntable_cars.render_car(seed, 32, (10.0, 20.0, 0.0))
    assert np.array_equal(drawn.image, given.image)
    assert not np.array_equal(drawn.image, other.image)
    another_seed = turntable_cars.render_car(turntable_cars.picture_seed(1, "train", 3), 32)
    assert not np.array_equal(drawn.image, another_seed.image)


def test_resolutions_show_the_same_car():
    seed = turntable_cars.picture_seed(0, "train", 8)
    small, large = (turntable_cars.render_car(seed, size) for size in (32, 128))
    assert np.array_equal(small.angles_deg, large.angles_deg)
    shrunk = large.image.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small.image).mean() < 6


def test_splits_hold_different_cars():
    cars = [
        render.draw_car_of(turntable_cars.picture_seed(seed, split, index))
        for seed, split, index in itertools.product((0, 1), turntable_cars.SPLITS, range(100))
    ]
    assert len(set(cars)) == len(cars)
    counts = [sum(car.shape == shape for car in cars) for shape in SHAPES]
    assert min(counts) > 60


def test_angles_are_uniform_in_their_ranges():
    seeds = [turntable_cars.picture_seed(0, "train", index) for index in range(4000)]
    angles = np.array([collection.draw_angles_deg(seed) for seed in seeds])
    for column, (low, high) in enumerate([(-180, 180), (0, 30), (-8, 8)]):
        counts, _ = np.histogram(angles[:, column], bins=8, range=(low, high))
        assert counts.sum() == 4000 and np.abs(counts - 500).max() < 100  # 4.8 deviations
    assert np.abs(np.corrcoef(angles.T) - np.eye(3)).max() < 0.08


def test_scenes_agree_with_their_ranges():
    car = render.draw_car_of((0,))
    scenes = [draw_scene(np.random.default_rng(seed), car) for seed in range(200)]
    assert {scene.kind for scene in scenes} == {"ground", "texture", "plain"}
    assert all(abs(np.linalg.norm(scene.sun) - 1) < 1e-9 and scene.sun[1] > 0.3 for scene in scenes)
    fills = np.array([scene.fill for scene in scenes])
    assert fills.max() / fills.min() == pytest.approx(1.12 / 0.88, abs=0.02)


def test_wrong_split_and_failing_worker_are_user_errors():
    with pytest.raises(UserError, match="no split 'dev'"):
        turntable_cars.render_collection(1, 32, "dev")
    with (
        mock.patch.object(sys, "executable", "/bin/false"),
        pytest.raises(UserError, match="process"),
    ):
        turntable_cars.render_collection(200, 32, "train", workers=2)


def test_workers_import_neither_tensorflow_nor_keras():
    program = (
        "import ssv_tf.data.turntable_cars.worker, sys;"
        "print({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.strip() == "set()", run.stderr


def test_contact_sheet_has_every_row():
    with mock.patch.object(sheet, "_SCALE", 1):
        picture = np.asarray(sheet.contact_sheet())
    assert picture.shape == ((3 + 1 + len(SHAPES)) * (64 + 15), 84 + 8 * 64, 3)
    assert picture[-40, -40:].std() > 0  # the last cell is drawn


def test_registered_under_its_name():
    builder = tfds.builder("turntable_cars/128", data_dir="/nonexistent")
    assert builder.builder_config.resolution == 128
    assert builder.info.features["image"].shape == (128, 128, 3)
    assert tuple(builder.info.features["shape"].names) == SHAPES


class TurntableCarsTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = turntable_cars.TurntableCars
    BUILDER_CONFIG_NAMES_TO_TEST = ("32", "64")
    EXAMPLE_DIR = str(
        pathlib.Path(__file__).parent
    )  # nothing is read from it, as nothing is downloaded
    SPLITS: ClassVar[dict[str, int]] = {"train": 6, "calibration": 2, "test": 3}

    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.dict(collection.SPLITS, self.SPLITS))

    def _assertAsDataset(self, builder):
        super()._assertAsDataset(builder)
        size = builder.builder_config.resolution
        rendered = turntable_cars.render_collection(6, size, "train")
        examples = builder.as_dataset(split="train")
        for index, example in enumerate(examples.as_numpy_iterator()):
            angles = [example[f"{name}_deg"] for name in viewpoint.ANGLES]
            assert np.array_equal(example["image"], rendered[0][index])
            assert np.array_equal(angles, rendered[1][index])
            assert SHAPES[example["shape"]] == rendered[2][index]
            assert example["car_id"] == f"train-0-{index:05d}".encode()
