"""Training batches: a pure function of the step, each picture once an epoch, and fast."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from ssv_tf.data.pipeline import training_dataset

RESOLUTION = 4


def numbered(count, resolution=RESOLUTION):
    """Picture i has i in all but its left column, which holds 255."""
    images = np.zeros((count, resolution, resolution, 3), np.uint8)
    images += np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    images[:, :, 0] = 255
    return images


def take(dataset, count):
    return np.stack(list(itertools.islice(dataset.as_numpy_iterator(), count)))


def numbers(batches):
    """Which picture each is: [steps, batch]."""
    middle = batches[:, :, 1, 1, 0]
    return np.rint((middle + 1) * 127.5).astype(int)


@pytest.mark.parametrize("tensor_limit", [10**9, 0], ids=["tensor", "numpy"])
@pytest.mark.parametrize(("count", "batch_size"), [(1, 4), (3, 8), (17, 5), (16, 4), (200, 7)])
def test_every_picture_once_an_epoch(count, batch_size, tensor_limit):
    dataset = training_dataset(numbered(count), batch_size, seed=5, tensor_limit_bytes=tensor_limit)
    shown = numbers(take(dataset, -(-3 * count // batch_size))).ravel()
    epochs = [shown[i * count : (i + 1) * count] for i in range(3)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count >= 16:
        assert all(epoch.tolist() != list(range(count)) for epoch in epochs), "shuffled"
        assert epochs[0].tolist() != epochs[1].tolist() != epochs[2].tolist()


def test_resuming_at_a_step_equals_having_run_to_it():
    images = numbered(23)
    whole = take(training_dataset(images, 6, seed=1), 30)
    for start in (1, 4, 17):  # 4: across the end of an epoch
        resumed = take(training_dataset(images, 6, seed=1, start_step=start), 30 - start)
        np.testing.assert_array_equal(resumed, whole[start:])


def test_seed_decides_and_the_ways_of_gathering_agree(tmp_path):
    images = numbered(40)
    first = take(training_dataset(images, 8, seed=1), 20)
    np.testing.assert_array_equal(first, take(training_dataset(images, 8, seed=1), 20))
    assert (first != take(training_dataset(images, 8, seed=2), 20)).any()
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(first, take(training_dataset(mapped, 8, seed=1), 20))


def test_far_steps_do_not_overflow():
    start = 10**12
    batch = take(training_dataset(numbered(9), 9, seed=0, start_step=start), 1)
    assert sorted(numbers(batch)[0]) == list(range(9))


def test_values_are_scaled_to_minus_one_to_one():
    images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    images[0, 0, 0] = 0, 255, 51
    batch = take(training_dataset(images, 2, seed=0, mirror=False), 1)[0]
    assert batch.dtype == np.float32 and batch.shape == (2, 4, 4, 3)
    np.testing.assert_allclose(batch[0], images[0] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(batch[0, 0, 0], [-1, 1, -0.6], atol=1e-6)


def test_half_of_the_pictures_are_mirrored_by_coin():
    images = numbered(100)
    batches = take(training_dataset(images, 10, seed=3), 40)
    left, right = batches[:, :, :, 0] == 1.0, batches[:, :, :, -1] == 1.0
    mirrored = right.all(axis=(2, 3))
    assert (mirrored != left.all(axis=(2, 3))).all(), "each is either itself or its mirror image"
    assert 150 < mirrored.sum() < 250
    assert 0 < mirrored[0].sum() < 10 or 0 < mirrored[1].sum() < 10, "within one batch too"
    shown = numbers(batches)
    flips = [mirrored[shown == i].tolist() for i in range(100)]
    assert len({tuple(f) for f in flips}) > 8, "another coin in every epoch"
    plain = take(training_dataset(images, 10, seed=3, mirror=False), 40)
    np.testing.assert_array_equal(numbers(plain), shown)
    assert (plain[:, :, :, 0] == 1.0).all()


@pytest.mark.parametrize(
    ("images", "batch_size", "start"),
    [
        (np.zeros((0, 4, 4, 3), np.uint8), 2, 0),
        (np.zeros((3, 4, 4, 3), np.float32), 2, 0),
        (np.zeros((3, 4, 4), np.uint8), 2, 0),
        (np.zeros((3, 4, 4, 3), np.uint8), 0, 0),
        (np.zeros((3, 4, 4, 3), np.uint8), 2, -1),
    ],
)
def test_wrong_arguments_are_refused(images, batch_size, start):
    with pytest.raises(ValueError):
        training_dataset(images, batch_size, seed=0, start_step=start)


def test_a_strategy_gets_the_global_batch_in_parts():
    strategy = tf.distribute.MirroredStrategy(["cpu:0"])
    images = numbered(12)
    distributed = iter(
        strategy.experimental_distribute_dataset(training_dataset(images, 4, seed=2))
    )
    plain = take(training_dataset(images, 4, seed=2), 5)
    for step in range(5):
        parts = strategy.experimental_local_results(next(distributed))
        np.testing.assert_array_equal(np.concatenate([p.numpy() for p in parts]), plain[step])


def test_pictures_are_not_written_into_the_graph():
    images = np.random.default_rng(0).integers(0, 256, (500, 32, 32, 3), np.uint8)
    dataset = training_dataset(images, 4, seed=0)
    functions = [f for d in _chain(dataset) for f in getattr(d, "_functions", lambda: [])()]
    sizes = [f.function.graph.as_graph_def().ByteSize() for f in functions]
    assert sizes and max(sizes) < 100_000 < images.nbytes


def _chain(dataset):
    yield dataset
    for parent in dataset._inputs():
        yield from _chain(parent)
