"""Pseudo-labels and the batches that a student with ImageNet features learns from."""

import numpy as np
import pytest

from ssv_tf import viewpoint
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.training import self_training
from ssv_tf.training.self_training import PseudoLabels


def _labels(azimuth_deg):
    azimuth = np.radians(np.asarray(azimuth_deg, float))
    angles = np.stack([azimuth, np.full_like(azimuth, 0.2), np.full_like(azimuth, -0.1)], axis=1)
    magnitudes = np.stack([np.cos(angles) ** 2, np.sin(angles) ** 2], axis=-1)
    signs = np.stack([np.cos(angles) >= 0, np.sin(angles) >= 0], axis=-1) * 2 - 1
    table = np.array(viewpoint.QUADRANT_SIGNS)
    quadrants = (signs[:, :, None] == table).all(-1).astype(float)
    return PseudoLabels(magnitudes, quadrants)


def test_slant_front_and_azimuth_of_known_angles():
    labels = _labels([0, 40, 90, 135, 180, -120])
    np.testing.assert_allclose(labels.slant_deg, [0, 40, 90, 45, 0, 60], atol=1e-4)
    np.testing.assert_array_equal(labels.front, [1, 1, 1, 0, 0, 0])
    expected = [0, 40, 90, 135, 180, -120]
    np.testing.assert_allclose(np.degrees(labels.azimuth_rad()), expected, atol=1e-4)


def test_mirroring_negates_azimuth_and_tilt():
    mirrored = _labels([30, 150]).mirrored()
    np.testing.assert_allclose(np.degrees(mirrored.azimuth_rad()), [-30, -150], atol=1e-4)
    np.testing.assert_array_equal(mirrored.quadrants[:, 1], _labels([30, 150]).quadrants[:, 1])
    assert mirrored.quadrants[0, 2].argmax() == 0  # tilt above 0 now


def test_another_end_turns_the_azimuth_by_half_a_circle():
    turned = _labels([10, 170, -20, 60]).with_front(np.array([0.0, 1.0, 0.1, 0.9]))
    np.testing.assert_allclose(np.degrees(turned.azimuth_rad()), [-170, -10, 160, 60], atol=1e-4)
    np.testing.assert_allclose(turned.quadrants.sum(axis=-1), 1.0)
    np.testing.assert_allclose(turned.front, [0.0, 1.0, 0.1, 0.9])


def test_views_from_the_side_keep_left_and_right_whatever_their_end():
    labels = _labels([88, -91, 269, 100])
    turned = labels.with_front(np.array([0.0, 1.0, 1.0, 0.5]))
    np.testing.assert_array_equal(turned.quadrants, labels.quadrants)


def test_another_direction_turns_the_azimuth_by_half_a_circle():
    where = np.array([True, True, True, False])
    turned = _labels([60, -120, 88, 60]).with_left(np.array([0.0, 0.0, 0.1, 0.0]), where)
    np.testing.assert_allclose(np.degrees(turned.azimuth_rad()), [-120, -120, -92, 60], atol=1e-4)
    np.testing.assert_allclose(turned.left, [0.0, 0.0, 0.1, 1.0], atol=1e-6)
    np.testing.assert_allclose(turned.quadrants.sum(axis=-1), 1.0)


def test_pseudo_labels_of_a_picture_and_its_mirror_image_agree():
    network = AnalysisNetwork(resolution=32, width=0.05, style_size=8)
    network.build()
    pictures = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    labels = self_training.pseudo_labels(network, pictures)
    other = self_training.pseudo_labels(network, pictures[:, :, ::-1]).mirrored()
    np.testing.assert_allclose(labels.quadrants, other.quadrants, atol=1e-5)
    np.testing.assert_allclose(labels.magnitudes, other.magnitudes, atol=1e-5)
    alone = self_training.pseudo_labels(network, pictures, mirror=False)
    assert np.abs(alone.quadrants - labels.quadrants).max() > 1e-4


def _batches(mirror, step=0, seed=3):
    layers = np.zeros((6, 48, 48, 4), np.uint8)
    layers[:, 12:36, 8:40] = (200, 90, 40, 255)
    layers[:, 12:36, 8:16, :3] = 255  # the left is bright
    behind = np.full((2, 48, 48, 3), 60, np.uint8)
    labels = _labels([40] * 6)
    return self_training.batches(layers, labels, behind, 32, 8, mirror, seed, step)


def test_batches_mirror_pictures_together_with_their_labels():
    (batch,) = next(_batches(mirror=True))
    pictures, azimuth = batch["pictures"], np.degrees(batch["azimuth_rad"])
    assert pictures.shape == (8, 32, 32, 3) and np.abs(pictures).max() <= 1.0
    bright_left = pictures[:, 10:22, 4:11].mean((1, 2, 3)) > pictures[:, 10:22, 21:28].mean(
        (1, 2, 3)
    )
    np.testing.assert_array_equal(bright_left, azimuth > 0)
    assert 0 < bright_left.sum() < 8
    (straight,) = next(_batches(mirror=False))
    assert (straight["azimuth_rad"] > 0).all()


def test_a_batch_is_a_function_of_seed_and_step():
    feed = _batches(mirror=True)
    next(feed)
    (second,), (again,) = next(feed), next(_batches(mirror=True, step=1))
    (other,) = next(_batches(mirror=True, step=1, seed=4))
    for name, values in second.items():
        np.testing.assert_array_equal(values, again[name])
    assert np.abs(second["pictures"] - other["pictures"]).max() > 0.1


def test_means_of_weights_leave_whole_numbers_as_they_are_last():
    first = [np.array([1.0, 2.0], np.float32), np.array([3, 4], np.uint32)]
    last = [np.array([3.0, -2.0], np.float32), np.array([3, 9], np.uint32)]
    weights, seed = self_training.mean_weights([first, last])
    np.testing.assert_array_equal(weights, [2.0, 0.0])
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(seed, [3, 9])


def test_pictures_that_are_moved_little_keep_their_place_and_size():
    layers = np.zeros((1, 96, 96, 4), np.uint8)
    layers[:, 28:68, 28:68] = 255  # on black, so that background and object never look alike
    behind = np.zeros((1, 96, 96, 3), np.uint8)

    def squares(little):
        (batch,) = next(self_training.batches(
            layers, _labels([40]), behind, 64, 200, False, 0, little=little
        ))  # fmt: skip
        bright = batch["pictures"].mean(axis=3) > 0.4
        columns = bright.sum(axis=1) > 8  # [200, 64]; noise alone is not so often bright
        first, last = columns.argmax(axis=1), 63 - columns[:, ::-1].argmax(axis=1)
        return (first + last) / 2.0, last - first

    (middle, size), (far_middle, far_size) = squares(True), squares(False)
    assert np.ptp(middle) < 64 * 0.05 < np.ptp(far_middle)
    spread, far_spread = (np.ptp(np.percentile(s, [5, 95])) for s in (size, far_size))
    assert spread < 64 * 0.1 < far_spread


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_student_learns_pseudo_labels():
    """Bright pictures are fronts, dark ones rears: learnt in a few steps."""
    import keras

    from ssv_tf.models.student import StudentNetwork

    is_front = np.arange(40) % 2 == 0
    labels = _labels(np.where(is_front, 40.0, 140.0))
    layers = np.full((40, 64, 64, 4), 255, np.uint8)
    layers[~is_front, ..., :3] = 20
    keras.utils.set_random_seed(0)
    student = StudentNetwork(
        resolution=32, backbone="efficientnet_lite0", weights="imagenet", dropout=0.0
    )
    student.build()
    model = self_training.SelfTraining(student, within_deg=30.0)
    model.build()
    optimizer = keras.optimizers.AdamW(2e-3)
    optimizer.build(model.trainable_weights)
    model.compile(optimizer)
    feed = self_training.batches(layers, labels, layers[:4, ..., :3], 32, 16, False, 0)
    history = model.fit(feed, epochs=9, steps_per_epoch=15, shuffle=False, verbose=0).history
    assert history["viewpoint"][-1] < 0.5 * history["viewpoint"][0]
    assert history["within"][-1] > 0.9
