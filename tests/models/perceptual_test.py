"""Frozen features: the built-in Gabor bank, and networks of keras.applications offline."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.utils import file_utils

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data.turntable_cars.collection import picture_seed, render_car
from ssv_tf.models import perceptual

WAVELENGTH = 4.0


def grating(degrees, side=32, amplitude=1.0):
    """A grey grating [1, side, side, 3] whose brightness changes along `degrees`."""
    y, x = np.mgrid[:side, :side]
    along = x * np.cos(np.radians(degrees)) + y * np.sin(np.radians(degrees))
    wave = amplitude * np.cos(2 * np.pi * along / WAVELENGTH)
    return np.repeat(wave[None, :, :, None], 3, axis=-1).astype("float32")


def noise(seed, batch=2, side=32):
    random = np.random.default_rng(seed)
    coarse = random.uniform(-1, 1, (batch, side // 4, side // 4, 3))
    return np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2).astype("float32")


def cosine(first, second):
    first, second = np.ravel(first), np.ravel(second)
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


@pytest.fixture(scope="module")
def gabor():
    return perceptual.perceptual_features("gabor", 32)


@pytest.mark.parametrize("orientation", range(8))
def test_a_grating_excites_its_own_orientation_by_its_amplitude(gabor, orientation):
    finest = np.asarray(gabor.magnitudes(grating(orientation * 22.5, amplitude=0.5))[0])
    response = finest[0, 8:-8, 8:-8].mean(axis=(0, 1))
    assert response.argmax() == orientation
    assert response[orientation] == pytest.approx(0.5, abs=0.02)
    assert response[(orientation + 4) % 8] < 0.01  # the filter at a right angle sees nothing


def test_magnitudes_do_not_know_the_phase(gabor):
    moved = np.roll(grating(0), 1, axis=2)
    for maps, moved_maps in zip(gabor.magnitudes(grating(0)), gabor.magnitudes(moved), strict=True):
        inner = np.s_[:, 2:-2, 2:-2]
        np.testing.assert_allclose(maps[0][inner], moved_maps[0][inner], atol=0.02)
        break  # the coarser grids no longer resolve the grating


@given(grey=st.floats(-1, 1))
@settings(max_examples=20, deadline=None)
def test_a_grey_constant_picture_has_no_features(gabor, grey):
    assert np.abs(gabor(np.full((1, 32, 32, 3), grey, "float32"))).max() < 1e-4


def test_a_coloured_constant_picture_has_colour_alone(gabor):
    red = np.zeros((1, 32, 32, 3), "float32")
    red[..., 0] = 1.0
    features = np.asarray(gabor(red))[0]
    assert np.abs(features[: -8 * 8 * 3]).max() < 1e-4
    assert np.linalg.norm(features[-8 * 8 * 3 :]) == pytest.approx(1.0, abs=0.01)


def test_kernels_answer_nothing_to_a_constant():
    kernels = perceptual.gabor_kernels(8, WAVELENGTH)
    assert kernels.shape == (9, 9, 1, 16)
    np.testing.assert_allclose(kernels.sum(axis=(0, 1, 2)), 0.0, atol=1e-6)


@pytest.mark.parametrize("resolution, length", [(32, 2880), (64, 11072), (128, 43840)])
def test_length_grows_with_the_picture(resolution, length):
    pictures = noise(0, side=resolution)
    features = perceptual.perceptual_features("gabor", resolution)(pictures)
    assert features.shape == (2, length)
    # One block per scale and one of colour, each of about unit length.
    blocks = resolution.bit_length() - 3 + 1
    norms = np.linalg.norm(np.asarray(features), axis=1)
    np.testing.assert_allclose(norms, blocks**0.5, rtol=0.05)


def test_gradient_agrees_with_finite_differences(gabor):
    tf = pytest.importorskip("tensorflow")
    picture, other = noise(1, batch=1), np.asarray(gabor(noise(2, batch=1)))
    direction = np.random.default_rng(3).normal(size=picture.shape).astype("float32")
    variable = tf.constant(picture)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        score = tf.reduce_sum(gabor(variable) * other)
    slope = float(np.sum(tape.gradient(score, variable).numpy() * direction))

    step = 1e-2
    ahead, behind = (gabor(picture + sign * step * direction) for sign in (1, -1))
    difference = float(np.sum((np.asarray(ahead) - np.asarray(behind)) * other) / (2 * step))
    assert slope == pytest.approx(difference, rel=0.03)


def test_gradient_is_finite_where_nothing_is_seen(gabor):
    tf = pytest.importorskip("tensorflow")
    blank = tf.zeros((1, 32, 32, 3))
    with tf.GradientTape() as tape:
        tape.watch(blank)
        score = tf.reduce_sum(gabor(blank) * np.asarray(gabor(noise(1, batch=1))))
    assert np.isfinite(tape.gradient(score, blank).numpy()).all()


@given(seed=st.integers(0, 10_000), shift=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_a_shifted_picture_is_further_than_the_same_picture(gabor, seed, shift):
    picture = noise(seed, batch=1)
    same = cosine(gabor(picture), gabor(picture))
    moved = cosine(gabor(picture), gabor(np.roll(picture, shift, axis=2)))
    assert same == pytest.approx(1.0, abs=1e-5)
    assert moved < same - 0.02


def test_features_fall_off_as_a_car_turns(gabor):
    turns = (0, 10, 30, 60)
    scores = []
    for index in range(8):
        seed = picture_seed(0, "train", index)
        cars = [render_car(seed, 32, (20.0 + turn, 12.0, 0.0)).image for turn in turns]
        features = np.asarray(gabor(np.stack(cars).astype("float32") / 127.5 - 1))
        scores.append([cosine(features[0], f) for f in features])
    mean = np.mean(scores, axis=0)
    assert (np.diff(mean) < -0.03).all(), mean


def test_other_cars_are_nearer_in_the_same_view_than_side_against_front(gabor):
    views = [
        np.stack([render_car(picture_seed(0, "train", i), 32, (a, 12.0, 0.0)).image for i in who])
        for a, who in ((0.0, range(6)), (0.0, range(6, 12)), (90.0, range(6, 12)))
    ]
    front, other_front, other_side = (np.asarray(gabor(v / np.float32(127.5) - 1)) for v in views)
    same = np.mean([cosine(a, b) for a in front for b in other_front])
    turned = np.mean([cosine(a, b) for a in front for b in other_side])
    assert same > turned + 0.05


def test_gabor_is_frozen_and_rebuilds_from_its_config(gabor):
    assert not gabor.trainable and not gabor.weights
    again = keras.layers.deserialize(keras.layers.serialize(gabor))
    np.testing.assert_array_equal(again(noise(4)), gabor(noise(4)))
    assert again.get_config() == gabor.get_config()


def test_gabor_stays_in_float32_under_a_mixed_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        features = perceptual.perceptual_features("gabor", 32)(noise(5))
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(features.dtype) == "float32"


@pytest.mark.parametrize("resolution", [8, 48])
def test_gabor_refuses_other_resolutions(resolution):
    with pytest.raises(ValueError, match=str(resolution)):
        perceptual.GaborFeatures(resolution)


def test_unknown_names_and_weights_of_gabor_are_flag_errors():
    with pytest.raises(SettingError, match="gabor, vgg16, mobilenet_v2, got 'vgg'"):
        perceptual.perceptual_features("vgg", 32)
    with pytest.raises(SettingError, match=r"x\.h5"):
        perceptual.perceptual_features("gabor", 32, weights="x.h5")


# --- Networks of keras.applications ----------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2"])
def test_no_download_is_one_line_that_names_the_file(name, monkeypatch):
    def offline(fname, *_, **__):
        raise Exception(f"URL fetch failure on somewhere/{fname}: None -- no route\nmore")

    monkeypatch.setattr(file_utils, "get_file", offline)
    with pytest.raises(UserError) as caught:
        perceptual.perceptual_features(name, 32)
    message = str(caught.value)
    assert "\n" not in message and "~/.keras/models" in message
    # The file Keras asked for is the file the person is told to give.
    asked = message.split("somewhere/")[1].split(":")[0]
    assert message.count(asked) == 2


@pytest.fixture(scope="module")
def mobilenet_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    made = perceptual.BackboneFeatures("mobilenet_v2", 32)
    made.network.save_weights(path)
    return made, str(path)


@pytest.mark.slow
def test_a_local_file_gives_the_network_it_was_saved_from(mobilenet_weights):
    made, path = mobilenet_weights
    loaded = perceptual.perceptual_features("mobilenet_v2", 32, weights=path)
    keras.utils.set_random_seed(123)
    fresh = perceptual.BackboneFeatures("mobilenet_v2", 32)
    pictures = noise(6)
    np.testing.assert_array_equal(loaded(pictures), made(pictures))
    assert np.abs(np.asarray(fresh(pictures)) - np.asarray(made(pictures))).max() > 1e-3
    assert not loaded.trainable_variables


@pytest.mark.slow
def test_a_file_of_another_network_is_a_user_error(mobilenet_weights, tmp_path):
    with pytest.raises(UserError, match="do not fit vgg16"):
        perceptual.perceptual_features("vgg16", 32, weights=mobilenet_weights[1])
    broken = tmp_path / "broken.weights.h5"
    broken.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="do not fit mobilenet_v2"):
        perceptual.perceptual_features("mobilenet_v2", 32, weights=str(broken))
    with pytest.raises(UserError, match="no such file"):
        perceptual.perceptual_features("mobilenet_v2", 32, weights=str(tmp_path / "no.h5"))
    with pytest.raises(UserError, match="must end in"):
        perceptual.perceptual_features("mobilenet_v2", 32, weights=str(tmp_path / "x.bin"))


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2"])
def test_networks_see_pictures_in_the_range_they_were_trained_on(name):
    features = perceptual.BackboneFeatures(name, 32)
    seen = {}

    def spy(pixels, training):
        seen["pixels"] = np.asarray(pixels)
        return [pixels]

    features.maps = spy
    corners = np.array([[-1.0, 0.0, 1.0]], "float32").reshape(1, 1, 1, 3)
    features(np.broadcast_to(corners, (1, 32, 32, 3)))
    expected = {
        # RGB (0, 127.5, 255) turned to BGR, ImageNet's means taken off.
        "vgg16": (255 - 103.939, 127.5 - 116.779, 0 - 123.68),
        "mobilenet_v2": (-1.0, 0.0, 1.0),
    }[name]
    np.testing.assert_allclose(seen["pixels"][0, 0, 0], expected, atol=1e-4)


def test_a_network_lets_the_gradient_through_to_the_picture():
    tf = pytest.importorskip("tensorflow")
    features = perceptual.BackboneFeatures("mobilenet_v2", 32)
    picture = tf.constant(noise(7))
    with tf.GradientTape() as tape:
        tape.watch(picture)
        score = tf.reduce_sum(tf.square(features(picture) - 0.1))
    assert np.abs(tape.gradient(score, picture).numpy()).max() > 0
