"""Health tells a V that explains the pictures from one that does not, without a label."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssv_tf import config
from ssv_tf.training import health

OPTIONS = config.Options.of(azimuth_range_deg=180.0)
SIZE = 32


class Features(keras.layers.Layer):
    def call(self, pictures):
        return ops.reshape(ops.average_pool(pictures, 2), (-1, SIZE * SIZE // 4 * 3))


class World(keras.layers.Layer):
    """Draws a bright spot that goes around the picture with the azimuth; `turns` 0 stands still."""

    def __init__(self, turns=1.0):
        super().__init__()
        self.turns = turns

    def call(self, inputs):
        return self.draw(self.make(*inputs[:2]), inputs[2])

    def make(self, z1, z2):
        return (z1,)

    def draw(self, made, angles):
        (z1,) = made
        azimuth = self.turns * angles[:, 0]
        line = ops.arange(SIZE, dtype="float32") - (SIZE - 1) / 2
        x = line[None, None, :] - 10 * ops.sin(azimuth)[:, None, None]
        y = line[None, :, None] - 10 * ops.cos(azimuth)[:, None, None]
        spot = 2 * ops.exp(-(x**2 + y**2) / 18.0) - 1.0
        tint = 1.0 + 0.1 * ops.tanh(z1[:, :3])
        return spot[..., None] * tint[:, None, None, :]


class Viewer(keras.layers.Layer):
    """Reads the spot's azimuth off exactly, then changes it by `answer`."""

    def __init__(self, answer=lambda azimuth: azimuth):
        super().__init__()
        self.answer = answer

    def viewpoint(self, pictures):
        line = ops.arange(SIZE, dtype="float32") - (SIZE - 1) / 2
        weight = ops.maximum(ops.mean(pictures, axis=-1), 0.0)
        x = ops.sum(weight * line[None, None, :], axis=(1, 2))
        y = ops.sum(weight * line[None, :, None], axis=(1, 2))
        azimuth = self.answer(ops.arctan2(x, y))
        return {"azimuth": azimuth}

    def angles_rad(self, prediction):
        azimuth = prediction["azimuth"]
        return ops.stack([azimuth, 0 * azimuth, 0 * azimuth], axis=-1)

    def call(self, pictures):
        return {"style": ops.zeros((ops.shape(pictures)[0], 8))}


def _drawn(world, range_deg=180.0):
    random = np.random.default_rng(1)
    angles = np.radians(random.uniform(-range_deg, range_deg, (200, 3))).astype("float32")
    drawn = world([random.normal(size=(200, 4)).astype("float32"), None, angles])
    return np.clip((ops.convert_to_numpy(drawn) + 1) * 127.5, 0, 255).astype("uint8")


@pytest.fixture(scope="module")
def pictures():
    return _drawn(World())


def _health(pictures, options=OPTIONS, augment_strength=0.0):
    return health.Health(
        viewpoints=options.viewpoints, code_size=4, augment_strength=augment_strength, seed=0,
        features=Features(), pictures=pictures,
    )  # fmt: skip


def _measured(pictures, viewer=None, world=None, options=OPTIONS):
    watched = _health(pictures, options)
    return watched.measure(viewer or Viewer(), world or World())


def test_the_truth_is_healthy(pictures):
    found = _measured(pictures)
    assert found["explained"] > 0.97 and found["front_rear"] > 0.97
    assert found["drawn_error_deg"] < 2 and found["mirror_error_deg"] < 2
    assert found["coverage"] > 0.95 and found["turning"] > 1
    assert found["health"] > 0.9 and found["handedness"] > 0.97
    assert health.verdict(found, OPTIONS) == []


def test_an_answer_that_is_always_the_same_has_collapsed(pictures):
    found = _measured(pictures, Viewer(lambda azimuth: 0 * azimuth + 0.3))
    assert found["coverage"] < 0.4 and found["health"] < health.COLLAPSED
    assert "handedness" not in found, "no view slants"
    words = " ".join(health.verdict(found, OPTIONS))
    assert "collapsed" in words and "same azimuth" in words


def test_half_a_circle_off_is_seen(pictures):
    found = _measured(pictures, Viewer(lambda azimuth: azimuth + np.pi))
    assert found["explained"] < 0.25 and found["front_rear"] < 0.25
    assert found["health"] < health.COLLAPSED


@pytest.mark.parametrize("range_deg", [180.0, 80.0])
def test_an_answer_from_the_mirrored_side_is_seen(range_deg):
    pictures = _drawn(World(), range_deg)
    options = OPTIONS.replace(azimuth_range_deg=range_deg)
    assert _measured(pictures, options=options)["handedness"] > 0.97
    found = _measured(pictures, Viewer(lambda azimuth: -azimuth), options=options)
    assert found["handedness"] < 0.03 and found["mirror_error_deg"] < 2


def test_half_a_circle_off_is_no_matter_of_sides():
    world = World(turns=2.0)  # both ends of the object look the same
    pictures = _drawn(world)
    for turned in (0.0, np.pi):
        viewer = Viewer(lambda azimuth, turned=turned: azimuth / 2 + turned)
        assert _measured(pictures, viewer, world)["handedness"] > 0.97


class Alike(World):
    """Its ends look alike: the spot goes from side to side and back."""

    def draw(self, made, angles):
        azimuth = ops.arcsin(ops.sin(angles[:, :1]))
        return super().draw(made, ops.concatenate([azimuth, angles[:, 1:]], axis=1))


def test_ends_that_are_told_apart_are_seen(pictures):
    assert _measured(pictures)["ends"] > 0.95


def test_a_viewer_that_takes_every_rear_for_a_front_tells_no_ends(pictures):
    def folded(azimuth):
        return ops.arcsin(ops.sin(azimuth))

    found = _measured(pictures, Viewer(folded))
    assert found["ends"] == 0.0

    def mostly(azimuth):  # a third of the rears are called so, the others fronts
        return ops.where(ops.abs(azimuth) > 0.83 * np.pi, azimuth, folded(azimuth))

    assert 0.1 < _measured(pictures, Viewer(mostly))["ends"] < 0.9
    random = Viewer(lambda azimuth: ops.where(ops.cos(50 * azimuth) > 0, azimuth, np.pi - azimuth))
    assert _measured(pictures, random)["ends"] < 0.2


def test_a_world_whose_ends_look_alike_tells_none():
    world = Alike()
    found = _measured(_drawn(world), Viewer(), world)
    assert found["ends"] == 0.0
    shifting = Viewer(lambda azimuth: ops.where(ops.cos(9 * azimuth) > 0, azimuth, np.pi - azimuth))
    assert _measured(_drawn(world), shifting, world)["ends"] < 0.15


def test_a_healthy_run_that_turns_the_wrong_way_is_told_so():
    (sentence,) = health.verdict({"health": 0.8, "handedness": 0.55}, OPTIONS)
    assert "wrong way" in sentence and "45 %" in sentence and "--volume_width" in sentence
    assert health.verdict({"health": 0.8, "handedness": 0.75}, OPTIONS) == []
    collapsed = {"health": 0.1, "handedness": 0.1, "turning": 1.0, "coverage": 1.0}
    verdict = health.verdict(collapsed | {"drawn_error_deg": 1.0}, OPTIONS)
    assert "wrong way" not in " ".join(verdict)


def test_answers_that_have_nothing_to_do_with_the_picture_are_chance(pictures):
    found = _measured(pictures, Viewer(lambda azimuth: 1000.0 * azimuth))
    assert found["explained"] == pytest.approx(0.5, abs=0.12)
    assert found["health"] < health.COLLAPSED
    assert "own pictures" in " ".join(health.verdict(found, OPTIONS))


def test_drawings_that_do_not_turn_are_seen(pictures):
    found = _measured(pictures, world=World(turns=0.0))
    assert found["turning"] < 0.01 and found["health"] < health.COLLAPSED
    assert "hardly turns" in " ".join(health.verdict(found, OPTIONS))


def test_a_limited_range_has_no_opposite_side(pictures):
    options = OPTIONS.replace(azimuth_range_deg=80.0)
    found = _measured(pictures, options=options)
    assert "front_rear" not in found and "ends" not in found


def test_fewer_pictures_than_the_sample_will_do(pictures):
    found = _measured(pictures[:20])
    assert found["health"] > 0.8
    json.dumps(found)  # plain numbers, for the log


def test_nothing_measured_is_no_verdict():
    assert health.verdict({}, OPTIONS) == []


def test_a_viewer_that_changes_its_mind_is_not_steady(pictures):
    watched = _health(pictures)
    assert "stability" not in watched.measure(Viewer(), World())
    half = Viewer(lambda azimuth: ops.where(azimuth > 0, azimuth, azimuth + np.pi))
    found = watched.measure(half, World())
    assert found["stability"] == pytest.approx(0.5, abs=0.1)
    assert watched.measure(half, World())["stability"] == 1.0


def test_a_healthy_run_that_still_moves_is_told_so():
    values = {"health": 0.8, "stability": 0.8}
    (sentence,) = health.verdict(values, OPTIONS)
    assert "20 %" in sentence and "front against rear" in sentence and "--steps" in sentence
    assert health.verdict(values | {"stability": 0.92}, OPTIONS) == []
    narrow = OPTIONS.replace(azimuth_range_deg=80.0)
    assert "rear" not in health.verdict(values, narrow)[0]


def test_the_same_networks_are_compiled_once(pictures):
    watched = _health(pictures, augment_strength=1.0)
    viewer, world = Viewer(), World()
    first = watched.measure(viewer, world)
    tools = dict(watched._tools)
    assert watched.measure(viewer, world) == first | {"stability": 1.0}
    assert all(watched._tools[name] is tools[name] for name in ("draw", "angles"))
    assert isinstance(tools["draw"], type(tf.function(lambda: 0)))
