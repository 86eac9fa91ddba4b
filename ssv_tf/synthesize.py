"""Draws pictures with a trained S: a turning object, an azimuth x elevation grid, styles mixed.

python -m ssv_tf.synthesize --run=RUN --out=DIR
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ssv_tf.base import cli  # first: it says in one line why Keras does not load

# isort: split
from ssv_tf.api.model import ViewpointModel
from ssv_tf.api.results import png
from ssv_tf.base import files
from ssv_tf.base.errors import FlagError
from ssv_tf.evaluation import animation
from ssv_tf.training import run_folder

_SHEET_VIEWS = 12


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string("out", "", "Folder to write; empty: RUN/pictures.")
    flags.DEFINE_integer("count", 4, "Random objects drawn.", lower_bound=1, upper_bound=64)
    flags.DEFINE_integer("frames", 36, "Views of the turntable.", lower_bound=2, upper_bound=720)
    flags.DEFINE_integer("seed", 0, "Seed of the styles.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace pictures that exist.")


def main(argv: Sequence[str]) -> None:
    """Writes the turntable, grid.png and styles.png; prints their paths."""
    if len(argv) > 1:
        raise FlagError(f"synthesize takes flags only, got {' '.join(argv[1:])}")
    values = flags.FLAGS
    model = ViewpointModel(run_folder.load(values.run or None, values.preset or None))
    out = Path(values.out) if values.out else model.run.path / "pictures"
    written = draw_all(model, out, values.count, values.frames, values.seed, values.overwrite)
    for path in written:
        print(path)


def draw_all(
    model: ViewpointModel,
    out: Path,
    objects: int = 4,
    frames: int = 36,
    seed: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Draws every kind of picture of a run into `out`.

    The turntable is written as GIF, WebP and PNG, and as MP4 where the extra `video` is installed.

    Raises:
      UserError: a picture exists and `overwrite` is false, or the run has no synthesis network.
    """
    moving = [s for s in animation.SUFFIXES if s != ".mp4" or animation.writes_mp4()]
    names = [f"turntable{suffix}" for suffix in (*moving, ".png")] + ["grid.png", "styles.png"]
    paths = [files.refuse_existing(out / name, overwrite) for name in names]
    shown = model.turntable(objects, frames, seed=seed).frames()
    pictures = (
        *(animation.encode(shown, suffix) for suffix in moving),
        png(model.turntable(objects, _SHEET_VIEWS, seed=seed).sheet()),
        png(model.viewpoint_grid(seed=seed)),
        png(model.style_grid(objects, seed=seed)),
    )
    return [files.write_atomically(p, data) for p, data in zip(paths, pictures, strict=True)]


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
