"""Our layers give the numbers of TensorFlow Addons 0.23.0 (golden/make_tfa_golden.py).

Addons cannot be imported beside this TensorFlow (BUILD_NOTES.md), so its numbers are in a file.
"""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from places import ROOT

from ssv_tf.models import geometry, layers
from ssv_tf.training import augment

GOLDEN = ROOT / "tests" / "golden" / "tfa.npz"
KINDS = ("dense", "conv2d", "conv3d")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_golden_numbers_come_from_the_last_addons(golden):
    assert golden["made_with"].tolist() == ["tensorflow 2.15.1", "addons 0.23.0"]


# --- Instance normalisation ------------------------------------------------------------------


@pytest.mark.parametrize("rank", ["2d", "3d"])
@pytest.mark.parametrize("epsilon", ["0.001", "1e-05"])
@pytest.mark.parametrize("affine", ["plain", "affine"])
def test_group_norm_of_single_channels_is_instance_norm(golden, rank, epsilon, affine):
    case = f"instance_norm_{rank}"
    learned = affine == "affine"
    layer = keras.layers.GroupNormalization(
        groups=-1, epsilon=float(epsilon), center=learned, scale=learned
    )
    layer.build(golden[f"{case}/inputs"].shape)
    if learned:
        layer.set_weights([golden[f"{case}/gamma"], golden[f"{case}/beta"]])
    outputs = ops.convert_to_numpy(layer(golden[f"{case}/inputs"]))
    expected = golden[f"{case}/outputs_{epsilon}_{affine}"]
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("rank", ["2d", "3d"])
def test_instance_norm_of_the_networks_has_the_addons_default(golden, rank):
    case = f"instance_norm_{rank}"
    layer = layers.instance_norm()
    layer.build(golden[f"{case}/inputs"].shape)
    layer.set_weights([golden[f"{case}/gamma"], golden[f"{case}/beta"]])
    assert layer.epsilon == golden["instance_norm_default/epsilon"]
    outputs = ops.convert_to_numpy(layer(golden[f"{case}/inputs"]))
    np.testing.assert_allclose(outputs, golden[f"{case}/outputs_0.001_affine"], rtol=0, atol=2e-6)


def test_instance_norm_gradient(golden):
    tf = pytest.importorskip("tensorflow")
    layer = keras.layers.GroupNormalization(groups=-1, epsilon=1e-3, center=False, scale=False)
    inputs = tf.constant(golden["instance_norm_gradient/inputs"])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(golden["instance_norm_gradient/weights"] * layer(inputs))
    expected = golden["instance_norm_gradient/gradient"]
    np.testing.assert_allclose(tape.gradient(loss, inputs), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("rank", ["2d", "3d"])
def test_adaptive_instance_norm_is_instance_norm_with_a_style(golden, rank):
    case = f"instance_norm_{rank}"
    inputs = golden[f"{case}/inputs"]
    layer = layers.AdaptiveInstanceNorm(inputs.shape[-1], epsilon=1e-3)
    style = np.ones((len(inputs), 1), "float32")
    layer.build([inputs.shape, style.shape])
    # With no weight on the style, its affine layer's bias is (scale - 1, offset).
    bias = np.concatenate([golden[f"{case}/gamma"] - 1.0, golden[f"{case}/beta"]])
    layer.set_weights([np.zeros((1, len(bias)), "float32"), bias])
    outputs = ops.convert_to_numpy(layer([inputs, style]))
    np.testing.assert_allclose(outputs, golden[f"{case}/outputs_0.001_affine"], rtol=0, atol=5e-6)


# --- Spectral normalisation ------------------------------------------------------------------


def wrapped_layer(kind):
    return {
        "dense": lambda: keras.layers.Dense(7),
        "conv2d": lambda: keras.layers.Conv2D(4, 3),
        "conv3d": lambda: keras.layers.Conv3D(4, 3),
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iterations", [1, 3])
def test_spectral_norm_follows_addons_over_training_calls(golden, kind, iterations):
    inputs, case = golden[f"spectral_norm_{kind}/inputs"], f"spectral_norm_{kind}_{iterations}"
    layer = keras.layers.SpectralNormalization(wrapped_layer(kind), power_iterations=iterations)
    layer.build(inputs.shape)
    layer.kernel.assign(golden[f"{case}/kernel"])
    layer.vector_u.assign(golden[f"{case}/vector"])
    for outputs, kernel in zip(golden[f"{case}/outputs"], golden[f"{case}/kernels"], strict=True):
        found = ops.convert_to_numpy(layer(inputs, training=True))
        np.testing.assert_allclose(found, outputs, rtol=0, atol=5e-6)
        np.testing.assert_allclose(ops.convert_to_numpy(layer.kernel), kernel, rtol=0, atol=2e-6)
    vector = ops.convert_to_numpy(layer.vector_u)
    np.testing.assert_allclose(vector, golden[f"{case}/vector_after"], rtol=0, atol=2e-6)


# --- Exponential moving average --------------------------------------------------------------


def averaged(initial, trajectory, decay, rising=False):
    """a_0 = w_0, a_(t+1) = d a_t + (1 - d) w_(t+1), over weights [steps, n].

    The decay d is fixed, or rises as min(decay, (1 + t) / (10 + t)) from t = 0 on.
    """
    average, averages = initial, []
    for step, weights in enumerate(trajectory):
        d = min(decay, (1 + step) / (10 + step)) if rising else decay
        average = d * average + (1 - d) * weights
        averages.append(average)
    return np.stack(averages)


@pytest.mark.parametrize("decay", ["0.5", "0.9", "0.999"])
@pytest.mark.parametrize("kind", ["fixed", "rising"])
def test_average_starts_from_the_initial_weight(golden, decay, kind):
    found = averaged(golden["ema/initial"], golden["ema/weights"], float(decay), kind == "rising")
    np.testing.assert_allclose(found, golden[f"ema/averages_{kind}_{decay}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("decay", ["0.5", "0.9", "0.999"])
def test_trainer_averages_as_addons_with_a_rising_decay(golden, decay, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    from ssv_tf.training import networks
    from ssv_tf.training.step import Trainer

    monkeypatch.setattr(networks, "EMA_DECAY", float(decay))

    weight, average = (keras.Variable(golden["ema/initial"]) for _ in range(2))
    nothing = SimpleNamespace(trainable_weights=[])
    trainer = SimpleNamespace(
        strategy=tf.distribute.get_strategy(),
        analysis=nothing,
        analysis_ema=nothing,
        synthesis=SimpleNamespace(trainable_weights=[weight]),
        synthesis_ema=SimpleNamespace(trainable_weights=[average]),
    )
    expected = golden[f"ema/averages_rising_{decay}"]
    for step, (weights, wanted) in enumerate(zip(golden["ema/weights"], expected, strict=True)):
        weight.assign(weights)
        Trainer._update_average(trainer, tf.constant(step, tf.int64))
        np.testing.assert_allclose(ops.convert_to_numpy(average), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("decay", ["0.5", "0.9"])
def test_keras_own_average_starts_one_step_later(golden, decay):
    variable = keras.Variable(golden["ema/initial"])
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=float(decay))
    found = []
    for gradient in golden["ema/gradients"]:
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        found.append(ops.convert_to_numpy(optimizer._model_variables_moving_average[0]))
    weights = golden["ema/weights"]
    np.testing.assert_allclose(ops.convert_to_numpy(variable), weights[-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, averaged(weights[0], weights, float(decay)), atol=1e-6)
    assert np.abs(found - golden[f"ema/averages_fixed_{decay}"]).max() > 1e-3


# --- Turning pictures ------------------------------------------------------------------------


def test_tilt_turns_clockwise_by_bilinear_samples_as_addons_rotate(golden):
    """Each slice of a volume turned by the tilt is tfa.image.rotate (counter-clockwise) of it."""
    images, degrees = golden["warp/images"], golden["warp/rotations_deg"]
    side = images.shape[1]
    volume = np.repeat(images[:, None], side, axis=1)
    for angle, expected in zip(degrees, golden["warp/rotated"], strict=True):
        tilt = np.radians([[0.0, 0.0, -angle]]).astype("float32")
        turned = geometry.rotate_volume(volume, tilt, geometry.camera_grid(side))
        turned = ops.convert_to_numpy(turned).reshape(volume.shape)[0]
        np.testing.assert_allclose(turned, np.stack([expected] * side), rtol=0, atol=2e-5)


def test_augmentation_shifts_as_addons_translate(golden):
    images = golden["warp/images"]
    side = images.shape[1]
    draws = {
        "light": np.zeros((1, 2), "float32"),
        "noise": np.zeros(images.shape, "float32"),
    }
    pairs = zip(golden["warp/translations"], golden["warp/translated"], strict=True)
    for (x, y), expected in pairs:
        # augment draws where a pixel comes from, rows first, in parts of the largest shift.
        place = np.array([[-y, -x, 0.0]], "float32") / (augment._SHIFT * side)
        moved = augment.augment(images, {**draws, "place": place}, strength=1.0)
        np.testing.assert_allclose(ops.convert_to_numpy(moved)[0], expected, rtol=0, atol=2e-6)
