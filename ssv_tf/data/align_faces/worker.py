"""One picture to one aligned face, here or in processes of their own."""

import dataclasses
import io
import itertools
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import folder
from ssv_tf.data.align_faces import detector, geometry

_DECODED_SIDE_PX = 2048  # a JPEG far larger than this is decoded at a part of its size
_WAITING = 4  # pictures for each worker that are handed out at a time
_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".webp": "WEBP",
    ".bmp": "BMP",
}  # others are written as PNG, whatever their names: pictures are read by what they hold
_QUALITY: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture.

    Attributes:
      name: its path below the folder, as the tables say it.
      source, target: the picture, and the aligned face to write.
    """

    name: str
    source: Path
    target: Path


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the crops depend on.

    Attributes:
      size: side of the aligned faces in pixels.
      min_confidence: faces the detector is less sure of are none.
    """

    size: int
    min_confidence: float = 0.9


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a picture: an alignment and confidence, or the reason there is none."""

    name: str
    alignment: geometry.Alignment | None = None
    confidence: float = 0.0
    faces: int = 0
    reason: str = ""


def align_picture(job: Job, settings: Settings, detect: detector.Detector) -> Done:
    """Reads, finds the largest face, aligns, crops, writes.

    Raises:
      UserError: the aligned face cannot be written.
    """
    try:
        with warnings.catch_warnings():  # a large picture is judged by folder.MAX_PIXELS
            warnings.simplefilter("ignore")
            picture = folder.read_picture(job.source, shortest=_DECODED_SIDE_PX)
        faces = detect(picture)
        face = _chosen(faces, settings.min_confidence)
        alignment = geometry.align(face.landmarks_px)
    except (folder.BadPicture, ValueError) as error:
        return Done(job.name, reason=str(error))
    aligned = geometry.crop(picture, alignment, settings.size)
    files.write_atomically(job.target, _encoded(aligned, job.target.suffix))
    return Done(job.name, alignment, face.confidence, len(faces))


def align_all(
    jobs: Iterable[Job],
    settings: Settings,
    workers: int,
    load: Callable[..., detector.Detector] = detector.load,
) -> Iterator[Done]:
    """Aligns every picture, in the order in which they are done.

    Args:
      jobs: the pictures.
      settings: what the crops depend on.
      workers: processes; 1: this one.
      load: makes the detector, in every worker; a function of a module.

    Raises:
      UserError: no detector, a face cannot be written, or a worker died.
    """
    if workers == 1:
        detect = load()
        for job in jobs:
            yield align_picture(job, settings, detect)
        return
    executor = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker, (settings, load)
    )
    try:
        yield from _in_processes(executor, iter(jobs), workers * _WAITING)
    except BrokenProcessPool:
        raise UserError(
            "a process that finds faces died, perhaps for want of memory; "
            "run the command again to go on, with fewer --workers"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _in_processes(executor: Executor, jobs: Iterator[Job], at_once: int) -> Iterator[Done]:
    running = {executor.submit(_work, job) for job in itertools.islice(jobs, at_once)}
    while running:
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        more = itertools.islice(jobs, len(finished))
        running |= {executor.submit(_work, job) for job in more}
        for future in finished:
            yield future.result()


_STATE: dict[str, Any] = {}  # of a worker: its settings and detector


def _start_worker(settings: Settings, load: Callable[..., detector.Detector]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # many processes would each take the GPU's memory
    _STATE.update(settings=settings, detect=load(threads=1))


def _end_with_parent() -> None:
    """A parent that is killed tells nobody; its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job) -> Done:
    return align_picture(job, _STATE["settings"], _STATE["detect"])


def _chosen(faces: list[detector.Face], min_confidence: float) -> detector.Face:
    confident = [face for face in faces if face.confidence >= min_confidence]
    if confident:
        return max(confident, key=lambda face: face.area_px)
    if faces:
        best = max(face.confidence for face in faces)
        raise ValueError(f"no face surer than {best:.2f}")
    raise ValueError("no face")


def _encoded(picture: np.ndarray, suffix: str) -> bytes:
    kind = _FORMATS.get(suffix.lower(), "PNG")
    options = _QUALITY.get(kind, {})
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()
