"""The pictures an export is measured on: a collection where one is at hand, else drawn ones."""

import dataclasses
import os

import numpy as np

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import read_policy, sources
from ssv_tf.training import run_folder

_DRAWN_AT_ONCE = 50


@dataclasses.dataclass(frozen=True)
class Sample:
    """Pictures for an export.

    Attributes:
      representative: uint8 [n, R, R, 3], set the ranges of int8.
      compared: uint8 [m, R, R, 3], none of the others; each file is compared with Keras on them.
      source: in words, where they are from.
    """

    representative: np.ndarray
    compared: np.ndarray
    source: str

    @classmethod
    def divided(
        cls, images: np.ndarray, counts: tuple[int, int], seed: int, source: str
    ) -> "Sample":
        """Both kinds out of one collection, in the proportion of `counts`, drawn by `seed`.

        Raises:
          UserError: fewer than two pictures.
        """
        if len(images) < 2:
            raise UserError(f"{source} has {len(images)} pictures; export needs at least two")
        shuffled = images[np.random.default_rng(seed).permutation(len(images))]
        first, wanted = counts[0], sum(counts)
        shuffled = shuffled[:wanted]
        count = max(1, min(first, len(shuffled) * first // wanted))
        return cls(shuffled[:count], shuffled[count:], source)


def of_run(run: run_folder.Run, counts: tuple[int, int], seed: int, bad_pictures: str) -> Sample:
    """What the run was trained on or, where that is not at hand, what its S draws.

    A student has no S: it gets rendered cars, whatever it was trained on.

    Args:
      run: the run.
      counts: of representative and of compared pictures, at most.
      seed: of what is chosen or drawn.
      bad_pictures: "skip" or "stop".

    Raises:
      UserError: the collection is there and cannot be used.
    """
    if _at_hand(run):
        return of_collection(run, run.options.pictures.data, counts, seed, bad_pictures)
    if run.student or run.options.pictures.supervised:
        cars = _collection(run, sources.EMBEDDED, sum(counts), seed, bad_pictures)
        return Sample.divided(cars, counts, seed, "rendered cars (its own pictures are not here)")
    drawn = _drawn(run, sum(counts), seed)
    return Sample.divided(
        drawn, counts, seed, "drawn by its synthesis network (its own pictures are not here)"
    )


def drawn(run: run_folder.Run, count: int, seed: int) -> np.ndarray:
    """Pictures that are nobody's photos, uint8 [count, R, R, 3]: by the run's S, else cars."""
    if run.student or run.options.pictures.supervised:
        return _collection(run, sources.EMBEDDED, count, seed, read_policy.SKIP)
    return _drawn(run, count, seed)


def of_collection(
    run: run_folder.Run, spec: str, counts: tuple[int, int], seed: int, bad_pictures: str
) -> Sample:
    """Pictures of a collection, a folder or the like, as the run's training pictures were read.

    Raises:
      UserError: none can be used.
    """
    images = _collection(run, spec, sum(counts), seed, bad_pictures)
    # Names no folder: it may be private, and the words go into what is shipped.
    collection = (
        "its training collection" if spec == run.options.pictures.data else "another collection"
    )
    source = "rendered cars" if spec == sources.EMBEDDED else collection
    return Sample.divided(images, counts, seed, source)


def _at_hand(run: run_folder.Run) -> bool:
    """Whether what the run was trained on is here; a preset names only what everybody has."""
    data = run.options.pictures.data
    if data == sources.EMBEDDED or data.startswith(sources.TFDS_PREFIX):
        return True
    return run.preset is None and (os.path.exists(data) or data.endswith(".tfrecord"))


def _collection(
    run: run_folder.Run, spec: str, limit: int, seed: int, bad_pictures: str
) -> np.ndarray:
    options = run.options
    try:
        return sources.load_collection(
            spec,
            split="test" if spec == sources.EMBEDDED else "train",
            **options.framing.to_dict(),
            limit=limit,
            seed=seed,
            bad_pictures=bad_pictures,
        ).images
    except SettingError:
        raise
    except UserError as error:
        hint = "; `data_dir=FOLDER` gives other pictures" if spec == options.pictures.data else ""
        raise UserError(f"{error}{hint}") from error


def _drawn(run: run_folder.Run, count: int, seed: int) -> np.ndarray:
    """Random objects at random viewpoints of the training's range, by the run's S."""
    from keras import ops

    from ssv_tf.data import framing
    from ssv_tf.training.objective import viewpoint_range_rad

    synthesis = run.synthesis()
    low, high = (ops.convert_to_numpy(side) for side in viewpoint_range_rad(run.options.viewpoints))
    random = np.random.default_rng(seed)
    parts = []
    for start in range(0, count, _DRAWN_AT_ONCE):
        number = min(_DRAWN_AT_ONCE, count - start)
        z1, z2 = random.normal(size=(2, number, synthesis.code_size)).astype(np.float32)
        angles = random.uniform(low, high, (number, 3)).astype(np.float32)
        parts.append(framing.to_uint8(ops.convert_to_numpy(synthesis([z1, z2, angles]))))
    return np.concatenate(parts)
