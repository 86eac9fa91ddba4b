"""The learnt prior: samples follow the histogram, and the histogram follows the realness."""

import numpy as np
import pytest
from keras import ops

from ssv_tf.training import prior

RANDOM = np.random.default_rng(5)


def _log(density):
    """Log densities for azimuth; elevation and tilt stay uniform."""
    log_density = np.zeros((3, prior.BINS), "float32")
    log_density[0] = np.log(density / np.mean(density))
    return log_density


@pytest.mark.parametrize("share", [0.2, 0.35, 0.65, 0.8])
def test_it_may_start_with_the_front_more_often(share):
    log_density = ops.convert_to_numpy(prior.start(share))
    assert not log_density[1:].any()
    drawn = prior.sample(RANDOM.uniform(size=(40_000, 3)).astype("float32"), log_density)
    azimuth = 360 * ops.convert_to_numpy(drawn)[:, 0] - 180
    assert np.mean(np.abs(azimuth) < 90) == pytest.approx(share, abs=0.01)
    assert np.mean(azimuth < 0) == pytest.approx(0.5, abs=0.01)
    middle = 2 * np.mean(np.abs(azimuth) < 45)
    assert (middle > 0.5) == (share > 0.5), "most of all at the very front, or the very rear"
    assert np.abs(log_density).max() < 1.5
    np.testing.assert_allclose(np.exp(log_density).mean(axis=-1), 1, rtol=1e-5)


def test_a_uniform_prior_changes_nothing():
    share = RANDOM.random((200, 3)).astype("float32")
    np.testing.assert_allclose(prior.sample(share, prior.start()), share, atol=1e-5)


def test_samples_follow_the_histogram():
    density = np.where(np.arange(prior.BINS) < 8, 3.0, 0.5)
    share = RANDOM.random((40_000, 3)).astype("float32")
    sampled = ops.convert_to_numpy(prior.sample(share, _log(density)))
    assert sampled.min() >= 0 and sampled.max() <= 1
    counts, _ = np.histogram(sampled[:, 0], bins=prior.BINS, range=(0, 1))
    np.testing.assert_allclose(counts / 40_000, density / density.sum(), atol=0.006)
    np.testing.assert_allclose(sampled[:, 1:], share[:, 1:], atol=1e-4)


def test_order_is_kept_so_that_the_inverse_is_of_a_cumulative_sum():
    share = np.sort(RANDOM.random((500, 3)), axis=0).astype("float32")
    sampled = ops.convert_to_numpy(prior.sample(share, _log(RANDOM.uniform(0.3, 3, prior.BINS))))
    assert (np.diff(sampled, axis=0) >= -1e-6).all()


def test_what_looks_too_real_is_drawn_more_and_even_where_mirrored():
    share = RANDOM.random((512, 3)).astype("float32")
    realness = (share[:, :1] > 0.75).astype("float32")  # one side of the circle only
    found = ops.convert_to_numpy(prior.change(share, realness, prior.start(), mirrored=False))
    assert found[0, -5:].min() > 0 > found[0, :12].max()
    even = ops.convert_to_numpy(prior.change(share, realness, prior.start(), mirrored=True))
    np.testing.assert_allclose(even[0], even[0, ::-1], atol=1e-6)
    np.testing.assert_allclose(even[2], even[2, ::-1], atol=1e-6)
    assert even[0, :5].min() > 0 and even[0, -5:].min() > 0


@pytest.mark.slow
def test_it_settles_at_the_collections_density():
    """With realness = log(real density / drawn density) mirror ascent ends at the real density."""
    real = np.where(np.arange(prior.BINS) < 12, 1.5, 0.5)
    log_density = prior.start()
    for _ in range(3000):
        share = RANDOM.random((16, 3)).astype("float32")
        sampled = ops.convert_to_numpy(prior.sample(share, log_density))
        bins = np.clip((sampled[:, 0] * prior.BINS).astype(int), 0, prior.BINS - 1)
        drawn = np.exp(ops.convert_to_numpy(log_density)[0])
        realness = np.log(real[bins] / drawn[bins])[:, None].astype("float32")
        change = prior.change(sampled, realness, log_density, mirrored=False)
        log_density = prior.moved(log_density, change, 0.01)
    np.testing.assert_allclose(np.exp(ops.convert_to_numpy(log_density)[0]), real, rtol=0.2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_bin_runs_away(sign):
    log_density = prior.start()
    push = np.zeros((3, prior.BINS), "float32")
    push[0, 3] = sign
    for _ in range(100):
        log_density = prior.moved(log_density, push, 1.0)
    found = np.exp(ops.convert_to_numpy(log_density))
    assert 0.249 < found.min() and found.max() < 4.001
