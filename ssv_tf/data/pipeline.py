"""Endless training batches whose content is a pure function of the step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ssv_tf import viewpoint
from ssv_tf.data import framing

# Larger arrays stay in NumPy (a memory map is read page by page) and are gathered there, as fast:
# as a tensor they would be copied twice, once more while tf.data rewrites its graph.
_TENSOR_LIMIT_BYTES = 256_000_000


def training_dataset(
    images: np.ndarray,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    mirror: bool = True,
    tensor_limit_bytes: int = _TENSOR_LIMIT_BYTES,
    angles: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Endless shuffled batches; those from step k on are the same however training got there.

    Picture number p of the run (p = step * batch_size + place in the batch) is picture
    permutation_e(p mod N) of the set in epoch e = p div N, so every epoch shows each picture once
    and resuming needs no state but the step.

    Args:
      images: uint8 [N, R, R, 3]; an array or a memory map.
      batch_size: pictures a step over all devices; a strategy splits them among its replicas.
      seed: of the permutations and of the mirroring.
      start_step: the step whose batch comes first.
      mirror: whether each picture is mirrored by the toss of a coin (a mirrored car is a car).
      tensor_limit_bytes: arrays above are gathered by NumPy rather than held as a tensor.
      angles: float32 [N, 3] of the pictures, mirrored with them (supervised training only).

    Returns:
      dataset of float32 [batch_size, R, R, 3] in [-1, 1]; with `angles`, of pairs of these and
      [batch_size, 3].

    Raises:
      ValueError: no pictures, not uint8, or a step or batch size out of range.
    """
    _check(images, batch_size, start_step)
    gather = _gatherer(images, tensor_limit_bytes)
    label = None if angles is None else _labeller(angles)
    count, shape = len(images), (batch_size, *images.shape[1:])

    def batch(step: tf.Tensor) -> Any:
        indices = _indices(step, batch_size, count, seed)
        pictures = tf.ensure_shape(gather(indices), shape)
        mirrored = _coins(step, batch_size, seed) if mirror else tf.fill([batch_size], False)
        if mirror:
            pictures = _mirrored(pictures, mirrored)
        pictures = framing.normalise(tf.cast(pictures, tf.float32))
        return (pictures, label(indices, mirrored)) if label else pictures

    steps = tf.data.Dataset.range(start_step, tf.int64.max)
    batches = steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.with_options(_options()).prefetch(tf.data.AUTOTUNE)


def _check(images: np.ndarray, batch_size: int, start_step: int) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(f"needs uint8 [N, R, R, 3], N > 0; got {images.dtype} {images.shape}")
    if batch_size < 1 or start_step < 0:
        raise ValueError(f"batch size {batch_size} or start step {start_step} is out of range")


def _gatherer(images: np.ndarray, tensor_limit_bytes: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from int64 [batch] to uint8 [batch, R, R, 3]."""
    if isinstance(images, np.memmap) or images.nbytes > tensor_limit_bytes:
        return lambda indices: tf.numpy_function(
            lambda i: images[i], [indices], tf.uint8, stateful=False
        )
    with tf.device("cpu:0"):  # a GPU's memory is for the networks
        pictures = tf.convert_to_tensor(images)
    return lambda indices: tf.gather(pictures, indices)


def _indices(step: tf.Tensor, batch_size: int, count: int, seed: int) -> tf.Tensor:
    """Which pictures a step shows: int64 [batch_size]."""
    position = step * batch_size + tf.range(batch_size, dtype=tf.int64)
    epoch = position // count
    key = tf.fill([batch_size], tf.constant(seed, tf.int64))
    # The raw op: tf.random.experimental.index_shuffle pads a matrix of seeds to a wrong shape.
    return tf.raw_ops.RandomIndexShuffle(
        index=position % count,
        seed=tf.stack([key, epoch, tf.zeros_like(epoch)], axis=-1),
        max_index=tf.constant(count - 1, tf.int64),
        rounds=4,
    )


def _labeller(angles: np.ndarray) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function from int64 [batch] and whether each is mirrored to float32 [batch, 3]."""
    both = np.stack([angles, viewpoint.mirror(angles)]).astype(np.float32)
    with tf.device("cpu:0"):
        labels = tf.convert_to_tensor(both)
    return lambda indices, mirrored: tf.gather_nd(
        labels, tf.stack([tf.cast(mirrored, tf.int64), indices], axis=-1)
    )


def _coins(step: tf.Tensor, batch_size: int, seed: int) -> tf.Tensor:
    """Whether each picture of a step is mirrored."""
    seeds = tf.stack([tf.constant(seed, tf.int64), step])
    return tf.random.stateless_uniform([batch_size], seed=seeds) < 0.5


def _mirrored(pictures: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
    # Whole pictures are chosen: six times as fast as tf.where, which spreads the coins over pixels.
    mirrored = tf.reverse(pictures, axis=[2])
    return tf.raw_ops.Select(condition=which, x=mirrored, y=pictures)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Each worker of a strategy takes its part of every global batch; there are no files to share.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return options
