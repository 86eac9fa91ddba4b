r"""Makes a student of a run: a run folder of its own, for every other command.

  python -m ssv_tf.distill --run=RUN --out=runs/phone
  python -m ssv_tf.distill --run=RUN --out=runs/mine --backbone=efficientnet_lite0 \
      --data_dir=FOLDER --backgrounds=FOLDER --scenes=FOLDER --front_share=0.75
  python -m ssv_tf.distill --preset=cars_photos --out=runs/mine --backbone=efficientnet_lite0 \
      --data_dir=FOLDER --anchors=LABELLED/labels.csv
  python -m ssv_tf.calibrate --run=runs/phone --overwrite ...   # also makes it tell how sure it is
  python -m ssv_tf.export --run=runs/phone --out=exported

No label is read but that of --anchors: V teaches on unlabelled pictures, and S draws more with
known viewpoints. With --backbone=efficientnet_lite0, or efficientnet_lite0_small for phones, the
student starts from ImageNet features, learns front and rear of end-on views anew and sees every
picture on changed backgrounds, so that it fits other photos too. Then it goes on with its own
answers, or with --scenes. With --anchors about a hundred labelled pictures train it as well, and
--run may be such a student already, which goes on. Without them a student teaches as V does, also
on pictures of another kind that it half knows. The run's calibration is copied, as a student
answers in V's own angles; what does not hold for it any more is left out. Ctrl-C loses nothing but
the last hundred steps: the same command goes on.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf.base import cli  # first: it says in one line why Keras does not load

# isort: split
from ssv_tf import viewpoint
from ssv_tf.api.model import ViewpointModel
from ssv_tf.base.errors import FlagError
from ssv_tf.models.student import (
    BACKBONES,
    EFFICIENTNET,
    EFFICIENTNET_SMALL,
    FROM_IMAGENET,
    MOBILENET,
)
from ssv_tf.training import imagenet_student, run_folder, student_run


def define_flags() -> None:
    """Registers this command's flags."""
    default = student_run.Settings()
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string("out", "", "Run folder of the student.")
    flags.DEFINE_string(
        "data_dir", "", "Unlabelled pictures to learn on; empty: what the run was trained on."
    )
    flags.DEFINE_string("where", "", "Pictures of --data_dir to learn on, as in training.")
    flags.DEFINE_integer("limit", 0, "Use at most this many pictures; 0: all.", lower_bound=0)
    flags.DEFINE_enum(
        "resolution",
        str(default.resolution),
        sorted(
            {*map(str, student_run.RESOLUTIONS), *map(str, imagenet_student.RESOLUTIONS)}, key=int
        ),
        "Picture side in pixels.",
    )
    flags.DEFINE_enum(
        "backbone", MOBILENET, BACKBONES,
        f"Network: {MOBILENET} for phones; {EFFICIENTNET} from ImageNet features; "
        f"{EFFICIENTNET_SMALL}, its first blocks, from ImageNet features and for phones.",
    )  # fmt: skip
    flags.DEFINE_string(
        "backgrounds", "", "Folder of any pictures to put behind objects cut out on black; empty: "
        "the collection's own. For a --backbone from ImageNet features.",
    )  # fmt: skip
    flags.DEFINE_string(
        "scenes", "", "Folder of more unlabelled photos of such objects, in their surroundings, "
        "which the student goes on with. For a --backbone from ImageNet features.",
    )  # fmt: skip
    flags.DEFINE_string(
        "anchors", "", "CSV of the angles of about 100 pictures in its folder, which train too; "
        "empty: no label trains. For a --backbone from ImageNet features.",
    )  # fmt: skip
    flags.DEFINE_float(
        "front_share", None, "Share of --scenes that show the front half of the object; without "
        f"them, of a student's pictures that it teaches; {imagenet_student.Settings.front_share}.",
        lower_bound=0.2, upper_bound=0.8,
    )  # fmt: skip
    flags.DEFINE_float(
        "width", None, f"Times MobileNetV3-small's channels; {default.width}.", lower_bound=0.1,
        upper_bound=4.0,
    )  # fmt: skip
    flags.DEFINE_integer(
        "steps", None, "Training steps, above a hundred rounded up to whole hundreds; "
        f"{default.steps}, or {imagenet_student.Settings.steps} from ImageNet features, where "
        "rounds on front and rear take a third of them each, and its own answers a half.",
        lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_integer("batch_size", default.batch_size, "Real pictures a step.", lower_bound=2)
    flags.DEFINE_integer("seed", default.seed, "Seed of everything random.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Remove what --out holds and start anew.")
    flags.DEFINE_bool("quiet", False, "No progress bar.")


def main(argv: Sequence[str]) -> None:
    """Distils and says how near the student came."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"distill takes flags only, got {' '.join(argv[1:])}")
    if not values.out:
        raise FlagError("--out=FOLDER is missing")
    if values.where and not values.data_dir:
        raise FlagError("--where needs --data_dir")
    model = ViewpointModel(run_folder.load(values.run or None, values.preset or None))
    source = student_run.Source(values.data_dir, values.where, values.limit)
    out = Path(values.out)
    model.distill(
        source,
        out,
        backbone=values.backbone,
        backgrounds=values.backgrounds,
        scenes=values.scenes,
        anchors=values.anchors,
        overwrite=values.overwrite,
        quiet=values.quiet,
        **_settings(values),
    )
    print(table(student_run.read_record(out)))
    print(f"run folder: {out}")


def _settings(values: Any) -> dict[str, Any]:
    """What was asked for, or has a flag's default; FlagError for what the network has not."""
    from_imagenet = values.backbone in FROM_IMAGENET
    for name in ("backgrounds", "scenes", "anchors"):
        if values[name].value and not from_imagenet:
            raise FlagError(f"--{name} is for --backbone={' or '.join(FROM_IMAGENET)}")
    kind = imagenet_student.Settings if from_imagenet else student_run.Settings
    names = {field.name for field in dataclasses.fields(kind)}
    asked: dict[str, Any] = {"resolution": int(values.resolution)}
    for name in ("steps", "batch_size", "seed", "width", "front_share"):
        value = values[name].value
        if value is None:
            continue
        if name not in names:
            raise FlagError(f"--{name} is not for --backbone={values.backbone}")
        asked[name] = value
    return asked


def table(record: dict) -> str:
    """The student beside its teacher, as aligned text."""
    distance = record["teacher_distance"]
    lines = [
        f"student of {record['teacher']}: {record['resolution']} px, "
        f"{record['parameters']:,} parameters, trained on {_pictures(record)}",
        f"distance from the teacher, degrees, {distance['pictures']} other pictures",
        f"{'':<12}{'median':>8}{'95 %':>8}",
    ]
    lines += [
        f"{name:<12}{distance[name]['median_deg']:>8.2f}{distance[name]['p95_deg']:>8.2f}"
        for name in viewpoint.ANGLES
    ]
    return "\n".join(lines)


def _pictures(record: dict) -> str:
    anchors = record.get("anchored_on", 0)
    labelled = f" and {anchors:,} labelled ones" if anchors else ""
    return f"{record['pictures']:,} unlabelled pictures{labelled}"


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
