"""The batches of `data.pipeline` in plain NumPy, for engines other than TensorFlow.

Both give the same pictures in the same order, so that either engine goes on where the other
stopped. The order is that of TensorFlow's RandomIndexShuffle: a few rounds of the block cipher
Simon (Beaulieu et al. 2013) walked until it lands in the set. The coins for mirroring are those of
its stateless uniform numbers: Philox 4x32-10 (Salmon et al. 2011).
"""

import functools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ssv_tf.data import framing

_ROUNDS = 4
_LEAST_BLOCK_BITS = 16
_SMALL = 4096  # pictures; of more, a walk is short
_PHILOX_FACTORS = (0xD2511F53, 0xCD9E8D57)
_PHILOX_STEPS = (0x9E3779B9, 0xBB67AE85)
_PHILOX_ROUNDS = 10
_SEEDING_KEY = (0x3EC8F720, 0x02461E29)
_WORD = 0xFFFFFFFF


def training_batches(
    images: np.ndarray, batch_size: int, seed: int, start_step: int = 0, mirror: bool = True
) -> Iterator[np.ndarray]:
    """Endless shuffled batches, as `pipeline.training_dataset` gives them.

    Args:
      images: uint8 [N, R, R, 3]; an array or a memory map.
      batch_size: pictures a step.
      seed: of the permutations and of the mirroring.
      start_step: the step whose batch comes first.
      mirror: whether each picture is mirrored by the toss of a coin.

    Yields:
      float32 [batch_size, R, R, 3] in [-1, 1]; the next is made while one is used.
    """

    def batch(step):
        pictures = images[shuffled_indices(step, batch_size, len(images), seed)]
        if mirror:
            coins = uniform_numbers(seed, step, batch_size) < 0.5
            pictures[coins] = pictures[coins, :, ::-1]
        return framing.to_network(pictures)

    with ThreadPoolExecutor(1, "batches") as worker:
        upcoming = worker.submit(batch, start_step)
        while True:
            ready, start_step = upcoming.result(), start_step + 1
            upcoming = worker.submit(batch, start_step)
            yield ready


def shuffled_indices(step: int, batch_size: int, count: int, seed: int) -> np.ndarray:
    """Which pictures of `count` a step shows: int64 [batch_size]."""
    places = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.uint64)
    if count == 1:
        return np.zeros(batch_size, np.int64)
    epochs, places = places // count, places % count
    if count <= _SMALL:
        order = [_permutation(int(epoch), count, seed) for epoch in epochs]
        return np.array([one[place] for one, place in zip(order, places, strict=True)])
    half = _half_block(count)
    keys = _round_keys(seed, epochs, half)
    indices = _encrypted(places, keys, half)
    while (outside := indices >= count).any():
        indices[outside] = _encrypted(indices[outside], keys[:, outside], half)
    return indices.astype(np.int64)


@functools.lru_cache(maxsize=64)
def _permutation(epoch: int, count: int, seed: int) -> np.ndarray:
    """The order of a small set in an epoch, int64 [count].

    Walking into it picture by picture takes as many rounds as the cipher's block is larger. Here
    every block walks twice as far each time, those within the set stay.
    """
    half = _half_block(count)
    blocks = np.arange(1 << 2 * half, dtype=np.uint64)
    following = _encrypted(blocks, _round_keys(seed, np.array([epoch], np.uint64), half), half)
    arrived, first = np.where(blocks < count, blocks, following), following[:count]
    while (arrived[first] >= count).any():
        arrived = arrived[arrived]
    return arrived[first].astype(np.int64)


def _half_block(count: int) -> int:
    """Bits of half a block of the cipher."""
    bits = math.ceil(math.log2(count - 1))
    return max(bits + bits % 2, _LEAST_BLOCK_BITS) // 2


def _round_keys(seed, epochs, bits):
    """Keys of the rounds, `bits` bits each: uint64 [_ROUNDS, batch]."""
    mask = (1 << bits) - 1
    first = (seed & _WORD & mask) ^ (0xFFFFFFFC & mask) ^ 1  # the third word of the key is 0
    return np.stack([
        np.full_like(epochs, seed & _WORD & mask),
        epochs & (_WORD & mask),
        np.zeros_like(epochs),
        np.full_like(epochs, first),
    ])  # fmt: skip


def _encrypted(blocks, keys, bits):
    """Blocks of twice `bits` bits after the rounds of a Feistel network, uint64 [batch]."""
    left, right = blocks >> bits, blocks & ((1 << bits) - 1)
    for key in keys:
        mixed = _turned(right, 1, bits) & _turned(right, 8, bits) ^ _turned(right, 2, bits)
        left, right = right, left ^ mixed ^ key
    return left << bits | right


def _turned(words, by, bits):
    """Words of `bits` bits rotated left."""
    return (words << by | words >> (bits - by)) & ((1 << bits) - 1)


def uniform_numbers(seed: int, step: int, count: int) -> np.ndarray:
    """Numbers in [0, 1) that are a function of (seed, step): float32 [count]."""
    seeding = [np.array([seed & _WORD]), np.array([seed >> 32])]
    seeding += [np.array([step & _WORD]), np.array([step >> 32])]
    mixed = _philox([words.astype(np.uint64) for words in seeding], _SEEDING_KEY)
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    high = [np.full_like(blocks, word[0]) for word in mixed[2:]]
    numbers = _philox([blocks, np.zeros_like(blocks), *high], [int(w[0]) for w in mixed[:2]])
    bits = np.stack(numbers, axis=-1).reshape(-1)[:count].astype(np.uint32)
    return (bits & 0x7FFFFF | 0x3F800000).view(np.float32) - np.float32(1.0)


def _philox(counter, key):
    """Four random words of 32 bits for every counter, lists of uint64 [n] each."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_PHILOX_ROUNDS):
        low, high = _PHILOX_FACTORS[0] * c0, _PHILOX_FACTORS[1] * c2
        c0, c1, c2, c3 = high >> 32 ^ c1 ^ k0, high & _WORD, low >> 32 ^ c3 ^ k1, low & _WORD
        k0, k1 = k0 + _PHILOX_STEPS[0] & _WORD, k1 + _PHILOX_STEPS[1] & _WORD
    return [c0, c1, c2, c3]
