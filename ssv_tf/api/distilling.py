"""Which student `ViewpointModel.distill` trains, and on what."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssv_tf.api.reader import PictureReader
from ssv_tf.data.inputs import Pictures
from ssv_tf.models.student import BACKBONES, FROM_IMAGENET
from ssv_tf.training import imagenet_student, run_folder, student_run
from ssv_tf.training.student_run import Source


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for besides settings; see `ViewpointModel.distill`."""

    backbone: str
    backgrounds: str = ""
    scenes: str = ""
    anchors: str = ""
    overwrite: bool = False
    quiet: bool = False


def distill(
    run: run_folder.Run,
    out: Path,
    pictures: Pictures | Source | None,
    request: Request,
    settings: Mapping[str, Any],
    reader: PictureReader,
) -> None:
    """Trains the student that is asked for and writes its run folder; errors as `distill`'s."""
    if request.backbone not in BACKBONES:
        raise ValueError(f"backbone is one of {', '.join(BACKBONES)}, not {request.backbone!r}")
    from_imagenet = request.backbone in FROM_IMAGENET
    for name in ("backgrounds", "scenes", "anchors"):
        if getattr(request, name) and not from_imagenet:
            raise ValueError(f"{name} are for backbone={' or '.join(FROM_IMAGENET)}")
    source, in_memory = split(pictures)
    if from_imagenet:
        if in_memory is not None:
            raise ValueError(f"backbone={request.backbone!r} reads a folder of pictures")
        chosen = imagenet_student.Settings(
            backbone=request.backbone, **known(settings, imagenet_student.Settings)
        )
        imagenet_student.distill(
            run, out, chosen, source, request.backgrounds, request.scenes, request.anchors,
            request.overwrite, request.quiet,
        )  # fmt: skip
        return
    phone = student_run.Settings(**known(settings, student_run.Settings))
    images = None if in_memory is None else reader.at(phone.resolution).squares(in_memory)
    student_run.distill(run, out, phone, source, request.overwrite, request.quiet, images=images)


def split(pictures: Pictures | Source | None) -> tuple[Source, Pictures | None]:
    """(the folder, None), or (no folder, pictures that are to be read into memory)."""
    if pictures is None:
        return Source(), None
    if isinstance(pictures, Source):
        return pictures, None
    if isinstance(pictures, (str, os.PathLike)) and os.path.isdir(pictures):
        return Source(os.fspath(pictures)), None
    return Source(), pictures


def known(settings: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """The settings, all of which the dataclass has; ValueError where it has one not."""
    names = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(settings) - set(names))
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; there are {', '.join(names)}")
    return dict(settings)
