"""EfficientNet-Lite0 against the features that PyTorch computed from the published weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from places import ROOT

from ssv_tf.models.efficientnet import WEIGHTS, DepthwiseConv2D, efficientnet_lite0
from ssv_tf.models.student import EFFICIENTNET, EFFICIENTNET_SMALL, StudentNetwork


def test_features_are_those_of_the_published_weights():
    """The golden file: the top's features in float32, of pictures drawn from seed 0."""
    with np.load(ROOT / "tests/golden/efficientnet_lite0.npz", allow_pickle=False) as golden:
        wanted = golden["features"]
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    features = efficientnet_lite0(64, top=True).predict(pictures, verbose=0)
    assert features.shape == (2, 2, 2, 1280)
    # The weights lie on disk in half precision.
    assert np.abs(features - wanted).max() < 0.06
    assert np.abs(features - wanted).mean() < 0.01 * np.abs(wanted).mean()


@pytest.mark.parametrize(
    ("side", "kernel", "stride"),
    [(8, 3, 2), (4, 5, 1), (4, 5, 2), (2, 5, 1), (2, 3, 1), (3, 5, 2), (1, 3, 1)],
)
def test_depthwise_convolution_trains_as_the_layer_does(side, kernel, stride):
    layer = DepthwiseConv2D(kernel, stride, "same", use_bias=False)
    x = tf.Variable(np.random.default_rng(0).normal(size=(3, side, side, 7)).astype(np.float32))
    layer.build(x.shape)
    results = []
    for training in (False, True):
        with tf.GradientTape() as tape:
            y = layer(x, training=training)
            loss = tf.reduce_sum(y**3)
        results.append([y, *tape.gradient(loss, [x, layer.kernel.value])])
    for own, dense in zip(*results, strict=True):
        np.testing.assert_allclose(dense, own, rtol=1e-4, atol=1e-4)


def test_frozen_depthwise_convolution_answers_in_training_as_otherwise():
    layer = DepthwiseConv2D(3, 1, "same", use_bias=False, trainable=False)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(layer(x, training=True), layer(x))


def test_weights_are_small_and_without_pickles():
    assert WEIGHTS.stat().st_size < 7_000_000
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        assert all(np.isfinite(stored[name]).all() for name in stored.files)


def test_without_weights_it_starts_anew():
    one, other = efficientnet_lite0(32, weights=None), efficientnet_lite0(32)
    kernels = [model.get_layer("stem_conv").get_weights()[0] for model in (one, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
    assert one.output_shape == (None, 1, 1, 320)
    assert efficientnet_lite0(96).output_shape == (None, 3, 3, 320)


def test_its_first_blocks_alone_give_what_they_give_in_the_whole():
    pictures = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    whole, first = efficientnet_lite0(64), efficientnet_lite0(64, blocks=8)
    inside = keras.Model(whole.input, whole.get_layer("block_7_add").output)
    np.testing.assert_allclose(first(pictures), inside(pictures), atol=1e-5)
    assert first.layers[-1].name == "block_7_add" and first.output_shape == (None, 4, 4, 80)


@pytest.mark.parametrize(
    "wrong",
    [dict(resolution=48), dict(resolution=0), dict(weights="mine"), dict(blocks=0),
     dict(blocks=17), dict(blocks=8, top=True)],
)  # fmt: skip
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        efficientnet_lite0(**{"resolution": 32} | wrong)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [EFFICIENTNET, EFFICIENTNET_SMALL])
def test_student_with_it_is_saved_and_loaded(tmp_path, backbone):
    student = StudentNetwork(resolution=32, backbone=backbone, weights="imagenet")
    student.build()
    student.save(tmp_path / "student.keras")
    again = keras.saving.load_model(tmp_path / "student.keras", compile=False)
    pictures = np.random.default_rng(1).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    for name, answer in student(pictures).items():
        np.testing.assert_allclose(again(pictures)[name], answer, atol=1e-6)
    stem = student.backbone.get_layer("stem_conv").get_weights()[0]
    np.testing.assert_array_equal(
        stem, efficientnet_lite0(32).get_layer("stem_conv").get_weights()[0]
    )


@pytest.mark.parametrize(
    "wrong", [dict(backbone="resnet"), dict(backbone=EFFICIENTNET, width=0.5), dict(weights="mine")]
)
def test_student_refuses_wrong_backbones(wrong):
    with pytest.raises(ValueError, match=str(next(reversed(wrong.values())))):
        StudentNetwork(resolution=32, **wrong)
