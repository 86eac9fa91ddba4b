"""Cuts objects out of pictures: boxes as people have them in, crops to train from out.

  python -m ssv_tf.data.crop PICTURES OUT --boxes=instances.json --classes=car

Boxes are a COCO file, YOLO or Pascal VOC files, a CSV table (file,x,y,width,height or
file,left,top,right,bottom, with class and angles where known), a folder of masks with the
pictures' names, or the pictures' own transparency. OUT/crops.csv says where each crop is from,
OUT/labels.csv holds the angles, OUT/left_out.csv each box that gave no crop and why. The same
command goes on where it was stopped.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

from absl import flags

from ssv_tf.base import files
from ssv_tf.base.errors import FlagError
from ssv_tf.data import cropping
from ssv_tf.data.boxes import kinds
from ssv_tf.data.boxes.choosing import Rules
from ssv_tf.data.framing import CROPS, Framing

_NAMED = 20  # pictures that cannot be read


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("boxes", "", "File or folder of boxes or masks; empty: PICTURES holds it.")
    flags.DEFINE_enum("boxes_kind", kinds.AUTO, kinds.KINDS, "auto: by what is there.")
    flags.DEFINE_list("classes", [], "Classes to keep; empty: all.")
    flags.DEFINE_integer("min_side", Rules.min_side, "Least pixels of a box's shorter side.")
    flags.DEFINE_float(
        "max_overlap", Rules.max_overlap, "Share of a box that another may cover; 1: all of it."
    )
    flags.DEFINE_bool("keep_truncated", False, "Keep objects that the picture's border cuts off.")
    flags.DEFINE_string(
        "backgrounds", "keep", "keep; with masks also black, mean, or a folder of pictures."
    )
    flags.DEFINE_bool("surroundings", False, "Fill the framing's square from the picture.")
    flags.DEFINE_enum("crop", "height", CROPS, "As in training; for --surroundings.")
    flags.DEFINE_float(
        "canvas_heights", Framing.canvas_heights, "As in training; for --surroundings."
    )
    flags.DEFINE_integer("workers", 0, "Threads; 0: one a core.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Cuts, and says how many and why the others were left out."""
    if len(argv) != 3:
        raise FlagError("name two folders: PICTURES, and OUT for the crops")
    given = flags.FLAGS
    names = ("boxes_kind", "classes", "min_side", "max_overlap", "keep_truncated", "backgrounds",
             "surroundings", "crop", "canvas_heights", "workers")  # fmt: skip
    settings: dict[str, Any] = {name: given[name].value for name in names}
    began = time.monotonic()
    done = cropping.crop(argv[1], argv[2], given.boxes or None, **settings)
    _report(done, time.monotonic() - began)


def _report(done: cropping.Crops, seconds: float) -> None:
    bad = [left for left in done.left_out if left.is_picture]
    for left in bad[:_NAMED]:
        print(f"skipped {files.one_line(left.filename)}: {left.reason}", file=sys.stderr)
    if len(bad) > _NAMED:
        print(f"skipped {len(bad) - _NAMED} more pictures", file=sys.stderr)
    for reason, count in done.counts().items():
        print(f"left out: {count} {files.one_line(reason)}", file=sys.stderr)
    if done.earlier:
        print(
            f"{len(done.earlier)} pictures in {done.folder} are not among these crops, such as "
            f"{files.one_line(done.earlier[0])}",
            file=sys.stderr,
        )
    rate = f" ({done.written / max(seconds, 1e-9):.0f} crops/s)" if done.written else ""
    print(
        f"{done.folder}: {len(done.names)} crops, {done.written} written in {seconds:.1f} s{rate}, "
        f"{len(done.left_out)} left out ({cropping.LEFT_OUT_TABLE})"
        + (f", angles in {cropping.LABELS_TABLE}" if done.labels else "")
    )


def run() -> None:
    """Console entry point."""
    from ssv_tf.base import cli

    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
