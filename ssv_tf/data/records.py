"""Sharded TFRecord files of pictures: written by `data.shard`, read into memory or as a stream.

A record is a tf.train.Example with `image` (PNG, R x R) and `name`. index.json beside the files
counts the pictures of each, so that a stream finds the place of any step without reading up to it.
"""

import dataclasses
import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import framing, read_policy
from ssv_tf.data.collection import PictureSet
from ssv_tf.data.folder import BadPicture, read_picture

if TYPE_CHECKING:
    import tensorflow as tf

SUFFIX = ".tfrecord"
INDEX = "index.json"
_SAMPLE = 1024  # pictures in which a run's health is looked for
_BLOCK = 8  # files whose pictures are shuffled together


# --- Writing: plain bytes, for machines without TensorFlow --------------------------------------


def example(image: bytes, name: str) -> bytes:
    """A serialised tf.train.Example of two byte strings."""
    entries = b""
    for key, value in ((b"image", image), (b"name", name.encode("utf-8", "replace"))):
        feature = _field(1, _field(1, value))  # Feature.bytes_list.value
        entries += _field(1, _field(1, key) + _field(2, feature))  # Features.feature[key]
    return _field(1, entries)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    length, size = b"", len(content)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def framed(contents: Iterable[bytes]) -> Iterator[bytes]:
    """Records as a TFRecord file holds them: length, its checksum, content, its checksum."""
    for content in contents:
        length = struct.pack("<Q", len(content))
        yield length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    try:
        from google_crc32c import value
    except ImportError:
        value = _crc32c
    crc = value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _crc32c(content: bytes) -> int:
    """CRC-32C (Castagnoli); slow, where google-crc32c is not installed."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _crc_table():
    table = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (0x82F63B78 if entry & 1 else 0)
        table.append(entry)
    return table


_CRC_TABLE = _crc_table()


# --- Reading ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stream:
    """Records that are read while training.

    Attributes:
      files: paths of the TFRecord files, sorted.
      counts: pictures of each.
      resolution: side R of the pictures in pixels.
      service: address of a tf.data service that decodes them; empty: this process does.
    """

    files: tuple[str, ...]
    counts: tuple[int, ...]
    resolution: int
    service: str = ""

    # What the loop asks of a PictureSet.
    angles_deg = None

    @property
    def images(self) -> "Stream":
        return self

    @property
    def names(self) -> list[str]:
        return [f"{Path(f).name}:{n}" for f, n in zip(self.files, self.counts, strict=True)]

    def __len__(self) -> int:
        return sum(self.counts)

    def sample(self, count: int = _SAMPLE) -> np.ndarray:
        """The first pictures, uint8 [n, R, R, 3]."""
        return _read(self.files, self.resolution, count)[1]

    def part(self, index: int, count: int) -> "Stream":
        """Every `count`-th file, for one of `count` machines.

        Raises:
          UserError: fewer files than machines.
        """
        if len(self.files) < count:
            raise UserError(
                f"{len(self.files)} files of records cannot be shared by {count} workers; write "
                f"at least {count} with `shards`"
            )
        selected = slice(index, None, count)
        return dataclasses.replace(self, files=self.files[selected], counts=self.counts[selected])


def is_records(spec: str) -> bool:
    """Whether --data means TFRecord files: a path or glob that ends in .tfrecord."""
    return spec.endswith(SUFFIX)


def open_stream(spec: str, wanted: framing.Framing, service: str = "") -> Stream:
    """The files of a glob with their counts from index.json.

    Args:
      spec: glob of files written by `data.shard`.
      wanted: how the pictures must have been framed.
      service: address of a tf.data service; empty: this process decodes.

    Raises:
      UserError: no such file, no index, or pictures that were framed otherwise.
    """
    files, index = _files_and_index(spec, wanted)
    counts = tuple(int(index["files"][Path(path).name]) for path in files)
    return Stream(tuple(files), counts, wanted.resolution, service)


def load_records(
    spec: str,
    wanted: framing.Framing,
    limit: int | None = None,
    bad_pictures: str = read_policy.SKIP,
) -> PictureSet:
    """All pictures of a glob of TFRecord files, in memory.

    Args:
      spec: glob of files written by `data.shard`.
      wanted: how the pictures must have been framed.
      limit: the first so many; None: all.
      bad_pictures: "skip", or "stop" where there is one.

    Raises:
      UserError: as `open_stream`, or nothing usable.
    """
    files, _ = _files_and_index(spec, wanted)
    names, images, skipped = _read(files, wanted.resolution, limit)
    if skipped and bad_pictures == read_policy.STOP:
        read_policy.stop_at(*skipped[0])
    read_policy.report_skipped(skipped, spec, len(names))
    return PictureSet(names, images, None, skipped)


def _files_and_index(spec, wanted):
    tf = _tensorflow()
    files = sorted(tf.io.gfile.glob(spec))
    if not files:
        raise UserError(f"no file matches {spec}")
    path = f"{files[0].rpartition('/')[0] or '.'}/{INDEX}"
    try:
        with tf.io.gfile.GFile(path) as stream:
            index = json.loads(stream.read())
        missing = [f for f in files if Path(f).name not in index["files"]]
        written = framing.Framing.from_dict(index)
    except (tf.errors.OpError, UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}, which ssv_tf.data.shard writes, cannot be read") from error
    if missing:
        raise UserError(f"{path} does not count {missing[0]}; was it written together with it?")
    _check_framing(spec, wanted, written)
    return files, index


def _check_framing(spec: str, asked: framing.Framing, written: framing.Framing) -> None:
    """Raises SettingError where records are cropped or padded otherwise than they are asked for."""
    one, other = asked.to_dict(), written.to_dict()
    for name in one:
        if name == "canvas_heights" and asked.crop == written.crop != "height":
            continue  # then it decides nothing
        if one[name] != other[name]:
            raise SettingError(
                f"`{name}={one[name]}`, but the records of {spec} were written with "
                f"{name}={other[name]}; give that, or write them anew"
            )


def _tensorflow():
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError("records are read by TensorFlow, which is not installed") from error
    return tf


def _read(files, resolution, limit):
    """(names, images, skipped) of the first `limit` pictures."""
    tf = _tensorflow()
    names, images, skipped = [], [], []
    try:
        for content in tf.data.TFRecordDataset(list(files)).take(limit or -1).as_numpy_iterator():
            parsed = tf.train.Example.FromString(content).features.feature
            name = parsed["name"].bytes_list.value[0].decode()
            try:
                picture = read_picture(parsed["image"].bytes_list.value[0])
                if picture.shape != (resolution, resolution, 3):
                    raise BadPicture(f"has {picture.shape[1]} x {picture.shape[0]} px")
            except BadPicture as error:
                skipped.append((name, str(error)))
                continue
            names.append(name)
            images.append(picture)
    except tf.errors.OpError as error:
        raise UserError(f"{files[0]} and its like cannot be read: {error.message[:200]}") from error
    empty = np.zeros((0, resolution, resolution, 3), np.uint8)
    return names, np.stack(images) if images else empty, skipped


def damage(error: BaseException, machines: int = 1) -> str:
    """Why a stream could not be read, in words; empty for an error of another kind.

    Args:
      error: what training raised.
      machines: how many train; of several, one may be gone, which is no damage.
    """
    errors = _tensorflow().errors
    kinds = errors.DataLossError, errors.InvalidArgumentError, errors.NotFoundError
    elsewhere = machines == 1 and not isinstance(error, errors.ResourceExhaustedError)
    if isinstance(error, kinds) or (elsewhere and isinstance(error, errors.OpError)):
        return " ".join(str(error.message).split())[:300]
    return ""


def stream_dataset(
    stream: Stream, batch_size: int, seed: int, first: int, mirror: bool
) -> "tf.data.Dataset":
    """Endless batches of a stream, those from step `first` on the same however it got there.

    Each epoch takes the files in another order, in blocks whose pictures are shuffled together.

    Args:
      stream: what to read.
      batch_size: pictures a step, of this machine.
      seed: of the orders and of the mirroring.
      first: the step whose batch comes first.
      mirror: whether each picture is mirrored by the toss of a coin.

    Returns:
      dataset of float32 [batch_size, R, R, 3] in [-1, 1].
    """
    tf = _tensorflow()
    from ssv_tf.data import pipeline

    side = stream.resolution
    block, skipped = _block_of(stream, first * batch_size, seed)

    def pictures_of(number):
        contents = tf.data.TFRecordDataset(_block_files(tf, stream, number, seed))
        whole = contents.batch(max(len(stream), 1))
        key = tf.stack([tf.constant(seed, tf.int64), number])
        shuffled = whole.map(lambda x: tf.random.experimental.stateless_shuffle(x, seed=key))
        return shuffled.unbatch()

    def decode(content):
        parsed = tf.io.parse_single_example(
            content, {"image": tf.io.FixedLenFeature([], tf.string)}
        )
        return tf.ensure_shape(tf.io.decode_png(parsed["image"], 3), [side, side, 3])

    def finish(step, pictures):
        if mirror:
            pictures = pipeline._mirrored(pictures, pipeline._coins(step, batch_size, seed))
        return framing.normalise(tf.cast(pictures, tf.float32))

    contents = tf.data.Dataset.range(block, tf.int64.max).flat_map(pictures_of).skip(skipped)
    pictures = contents.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = pictures.batch(batch_size, drop_remainder=True)
    if stream.service:
        batches = batches.apply(
            tf.data.experimental.service.distribute("parallel_epochs", stream.service)
        )
    options = tf.data.Options()
    options.deterministic = True
    policy = tf.data.experimental.AutoShardPolicy
    options.experimental_distribute.auto_shard_policy = policy.OFF
    steps = tf.data.Dataset.range(first, tf.int64.max)
    finished = tf.data.Dataset.zip(steps, batches).map(finish)
    return finished.with_options(options).prefetch(tf.data.AUTOTUNE)


def _blocks(stream: Stream) -> int:
    return -(-len(stream.files) // _BLOCK)


def _block_files(tf, stream, number, seed):
    """The files of block `number` of the run; may be given as a tensor."""
    blocks, count = _blocks(stream), len(stream.files)
    epoch, block = number // blocks, number % blocks
    positions = tf.range(block * _BLOCK, tf.minimum((block + 1) * _BLOCK, count), dtype=tf.int64)
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64), tf.zeros([], tf.int64)])
    shuffled = tf.map_fn(
        lambda p: tf.raw_ops.RandomIndexShuffle(
            index=p, seed=key, max_index=tf.constant(count - 1, tf.int64), rounds=4
        ),
        positions,
    )
    return tf.gather(tf.constant(list(stream.files)), shuffled)


def _block_of(stream: Stream, position: int, seed: int) -> tuple[int, int]:
    """The block of the run that holds picture number `position`, and how many come before in it."""
    tf = _tensorflow()
    epoch, rest = divmod(position, len(stream))
    sizes = dict(zip(stream.files, stream.counts, strict=True))
    number = epoch * _blocks(stream)
    while True:
        block = tf.constant(number, tf.int64)
        files = _block_files(tf, stream, block, seed).numpy()
        size = sum(sizes[path.decode()] for path in files)
        if rest < size:
            return number, rest
        number, rest = number + 1, rest - size
