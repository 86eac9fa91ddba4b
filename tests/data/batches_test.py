"""NumPy's batches are tf.data's, picture by picture and bit for bit."""

import itertools

import numpy as np
import pytest

from ssv_tf.data import batches
from ssv_tf.data.batches import shuffled_indices, training_batches, uniform_numbers
from ssv_tf.data.pipeline import training_dataset


@pytest.mark.parametrize(
    "count, batch_size, seed, start",
    [
        (1, 3, 0, 0),
        (2, 4, 1, 5),
        (17, 5, 2, 3),
        (40, 8, 2**31 - 1, 10**9),
        (4000, 16, 7, 1000),
        (70_000, 32, 3, 10**6),  # more than 16 bits
    ],
)
def test_both_engines_see_the_same_pictures(count, batch_size, seed, start):
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    dataset = training_dataset(images, batch_size, seed, start).as_numpy_iterator()
    ours = training_batches(images, batch_size, seed, start)
    for wanted, given in itertools.islice(zip(dataset, ours, strict=False), 12):
        assert given.dtype == np.float32
        np.testing.assert_array_equal(given, wanted)


def test_unmirrored_pictures_stay_as_they_are():
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    batch = next(training_batches(images, 2, seed=0, mirror=False))
    np.testing.assert_allclose(batch[1], images[0] / 127.5 - 1, atol=1e-6)


def test_every_picture_once_an_epoch():
    shown = np.concatenate([shuffled_indices(step, 7, 30, seed=4) for step in range(30)])
    for epoch in shown.reshape(7, 30):
        assert sorted(epoch) == list(range(30))


def test_uniform_numbers_are_uniform():
    numbers = np.stack([uniform_numbers(5, step, 16) for step in range(500)])
    assert 0 <= numbers.min() and numbers.max() < 1
    np.testing.assert_allclose(np.histogram(numbers, 10, (0, 1))[0] / numbers.size, 0.1, atol=0.015)
    assert len(np.unique(numbers[:, 0])) > 490


@pytest.mark.parametrize("count", [2, 7, 72, 4000])
def test_a_small_set_is_shuffled_once_an_epoch(monkeypatch, count):
    rounds = []
    encrypted = batches._encrypted
    monkeypatch.setattr(batches, "_encrypted", lambda *given: rounds.append(1) or encrypted(*given))
    batches._permutation.cache_clear()
    for step in range(10):
        batches.shuffled_indices(step, 16, count, seed=3)
    assert len(rounds) == -(-160 // count)
