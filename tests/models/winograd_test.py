"""The convolution of an upsampled volume beside upsampling and convolving."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssv_tf.models import layers, winograd
from ssv_tf.models.synthesis import SynthesisNetwork

RANDOM = np.random.default_rng(5)


def _normal(*shape):
    return tf.constant(RANDOM.normal(size=shape).astype(np.float32))


def _plain(x, kernel):
    return ops.conv(layers.upsample(x), kernel, 1, padding="same")


def _by_winograd(x, kernel):
    return winograd.upsampled_conv3d(x, kernel, layers._doubling_matrix(x.shape[1]))


@pytest.mark.parametrize("batch, size, inputs, outputs", [(2, 4, 3, 5), (1, 1, 2, 1), (3, 5, 4, 2)])
def test_it_is_the_convolution_of_the_upsampled_volume(batch, size, inputs, outputs):
    x = _normal(batch, size, size, size, inputs)
    kernel = _normal(3, 3, 3, inputs, outputs)

    got = _by_winograd(x, kernel)

    assert got.shape == (batch, 2 * size, 2 * size, 2 * size, outputs)
    np.testing.assert_allclose(got, _plain(x, kernel), atol=2e-5)


def test_its_gradients_are_those_of_the_convolution():
    x, kernel, seed = _normal(2, 3, 3, 3, 4), _normal(3, 3, 3, 4, 2), _normal(2, 6, 6, 6, 2)

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            answer = tf.reduce_sum(seed * function(x, kernel))
        return tape.gradient(answer, [x, kernel])

    pairs = zip(gradients(_by_winograd), gradients(_plain), strict=True)
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_tap_beside_the_middle_moves_the_upsampled_volume(axis):
    x = _normal(1, 3, 3, 3, 1)
    kernel = np.zeros((3, 3, 3, 1, 1), np.float32)
    place = [1, 1, 1, 0, 0]
    place[axis] = 2  # each output takes the point that follows along the axis
    kernel[tuple(place)] = 1.0

    got = _by_winograd(x, tf.constant(kernel))

    doubled = np.asarray(layers.upsample(x))
    expected = np.zeros_like(doubled)
    along = axis + 1
    before, after = ([slice(None)] * 5 for _ in range(2))
    before[along], after[along] = slice(None, -1), slice(1, None)
    expected[tuple(before)] = doubled[tuple(after)]
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(
    "shape, faster",
    [
        ((3, 3, 3, 512, 512), True),
        ((3, 3, 3, 256, 128), True),
        ((3, 3, 3, 128, 64), False),
        ((1, 1, 1, 512, 512), False),
        ((3, 3, 512, 512), False),
    ],
)
def test_wide_kernels_of_volumes_alone_are_faster(shape, faster):
    assert winograd.is_faster(shape) is faster


def test_narrow_networks_keep_their_numbers_to_the_bit():
    keras.utils.set_random_seed(0)
    conv = layers.EqualizedConv(4, rank=3, doubles=True)
    x = _normal(2, 4, 4, 4, 3)

    got = conv(x)

    np.testing.assert_array_equal(got, ops.conv(layers.upsample(x), conv.kernel * conv.scale, 1,
                                                padding="same") + conv.bias)  # fmt: skip


def test_a_wide_network_draws_what_it_draws_without(monkeypatch):
    keras.utils.set_random_seed(0)
    network = SynthesisNetwork(resolution=16, width=0.5, volume_size=8, mapping_layers=2)
    network.build()
    wide = [winograd.is_faster(block.conv.kernel.shape) for block in network.volume.blocks]
    scene = [_normal(2, 64), _normal(2, 64), _normal(2, 3)]

    got = network(scene)
    monkeypatch.setattr(winograd, "is_faster", lambda shape: False)
    expected = network(scene)

    assert wide == [True]
    assert np.abs(np.asarray(expected)).max() > 0.1
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert not np.array_equal(got, expected)  # they were worked out in two ways
