"""Collections of rendered cars with exact angles, without anything on disk."""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import ssv_tf
from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.data.turntable_cars.render import draw_car_of, render_picture, stream

SPLITS = {"train": 10_000, "calibration": 200, "test": 1_000}
AZIMUTH_RANGE_DEG = (-180.0, 180.0)
ELEVATION_RANGE_DEG = (0.0, 30.0)
TILT_RANGE_DEG = (-8.0, 8.0)

_WORKER = "ssv_tf.data.turntable_cars.worker"
_ANGLE_STREAM = 0
_SMALLEST_SHARE = 64  # pictures for which a second process is worth starting


class Picture(NamedTuple):
    """One rendered car: uint8 [R, R, 3], float32 [3] degrees (azimuth, elevation, tilt), class."""

    image: np.ndarray
    angles_deg: np.ndarray
    shape: str


def picture_seed(seed: int, split: str, index: int) -> tuple[int, int, int]:
    """What decides everything about picture `index` of `split`: splits never share a car."""
    if split not in SPLITS:
        raise UserError(f"turntable_cars has no split {split!r}; it has {', '.join(SPLITS)}")
    return seed, list(SPLITS).index(split), index


def draw_angles_deg(seed_tuple: tuple[int, ...]) -> np.ndarray:
    """Viewpoint of a picture: float32 [3], uniform in the ranges at the top of this file."""
    rng = stream(seed_tuple, _ANGLE_STREAM)
    low, high = zip(AZIMUTH_RANGE_DEG, ELEVATION_RANGE_DEG, TILT_RANGE_DEG, strict=True)
    return rng.uniform(low, high).astype(np.float32)


def rotations(angles_deg: np.ndarray) -> np.ndarray:
    """Camera to object space, [..., 3, 3]; `ssv_tf.viewpoint` decides the signs."""
    return viewpoint.rotation_matrix(np.radians(np.asarray(angles_deg, np.float64)))


def render_car(
    seed_tuple: tuple[int, ...], resolution: int, angles_deg: Sequence[float] | None = None
) -> Picture:
    """Renders one car.

    Args:
      seed_tuple: whole numbers, e.g. from `picture_seed`; decides car, scene and viewpoint.
      resolution: pixels of a side.
      angles_deg: azimuth, elevation, tilt in place of the drawn viewpoint.
    """
    drawn = draw_angles_deg(seed_tuple) if angles_deg is None else angles_deg
    angles = np.asarray(drawn, np.float32)
    image, shape = render_picture(seed_tuple, resolution, rotations(angles))
    return Picture(image, angles, shape)


def render_collection(
    count: int, resolution: int, split: str, seed: int = 0, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Renders the first `count` pictures of a split.

    Args:
      count: how many; `SPLITS[split]` is the full split, more are possible.
      resolution: pixels of a side.
      split: "train", "calibration" or "test"; their cars differ.
      seed: another seed gives another collection.
      workers: processes; None for one per CPU this process may use.

    Returns:
      (images uint8 [count, R, R, 3], angles_deg float32 [count, 3], shapes: class names).

    Raises:
      UserError: unknown split, or a worker failed.
    """
    return render_range(range(count), resolution, split, seed, workers)


def render_range(
    indices: range, resolution: int, split: str, seed: int = 0, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """As `render_collection`, for these pictures of the split.

    A picture depends on seed, split and index alone, not on the others or the workers.
    """
    count = len(indices)
    seeds = [picture_seed(seed, split, index) for index in indices]
    angles = np.array([draw_angles_deg(item) for item in seeds], np.float32).reshape(count, 3)
    images = np.empty((count, resolution, resolution, 3), np.uint8)
    render_into(images, seeds, rotations(angles), _render_image, _WORKER, workers)
    return images, angles, [draw_car_of(item).shape for item in seeds]


def _render_image(seed_tuple, resolution, rotation):
    return render_picture(seed_tuple, resolution, rotation)[0]


def render_into(
    images: np.ndarray,
    seeds: Sequence[tuple[int, ...]],
    matrices: np.ndarray,
    render: Callable[[tuple, int, np.ndarray], np.ndarray],
    worker: str,
    workers: int | None = None,
) -> None:
    """Renders pictures, in processes of their own where there are many.

    Args:
      images: uint8 [count, R, R, 3], filled.
      seeds: seed tuple of each picture.
      matrices: [count, ...], rotations of each picture.
      render: (seed tuple, R, its matrices) -> uint8 [R, R, 3].
      worker: module that serves the same `render` (see `worker.serve`).
      workers: processes; None for one per CPU this process may use.

    Raises:
      UserError: a worker failed.
    """
    processes = _processes(workers, len(images))
    resolution = images.shape[1]
    if processes == 1:
        for i, (item, matrix) in enumerate(zip(seeds, matrices, strict=True)):
            images[i] = render(item, resolution, matrix)
        return
    bounds = np.linspace(0, len(seeds), processes + 1).astype(int)
    shares = [slice(*pair) for pair in itertools.pairwise(bounds)]
    jobs = [json.dumps([seeds[s], resolution, matrices[s].tolist()]) for s in shares]
    running = [_start_worker(worker) for _ in shares]
    try:
        _exchange_all(running, jobs, [images[share] for share in shares])
    finally:
        for process in running:
            process.kill()
            process.wait()


def _processes(workers, count):
    if workers is None:
        affinity = getattr(os, "sched_getaffinity", None)  # not on every system
        workers = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(workers, count // _SMALLEST_SHARE))


def _exchange_all(running, jobs, outputs):
    threads = [
        threading.Thread(target=_exchange, args=args, daemon=True)
        for args in zip(running, jobs, outputs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any([worker.wait() for worker in running]):
        raise UserError("a process that renders pictures failed; its message is above")


def _start_worker(module):
    root = str(Path(ssv_tf.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    single = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **single, "PYTHONPATH": path},
    )


def _exchange(worker, job, images):
    """Sends a worker its job and reads its pictures into `images` (contiguous)."""
    try:
        worker.stdin.write(job.encode())
        worker.stdin.close()
    except BrokenPipeError:
        return
    room = memoryview(images).cast("B")
    while room.nbytes and (count := worker.stdout.readinto(room)):
        room = room[count:]
