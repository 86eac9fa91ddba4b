"""Draws pictures with a trained S: a turntable GIF, an azimuth x elevation grid, style mixing.

python -m ssv_tf.synthesize --run=RUN --out=DIR
"""

import io
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError
from ssv_tf.training import run_folder

_ENLARGED_TO = 128  # pixels a small picture is shown at
_FRAME_MS = 80


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string("out", "", "Folder to write; empty: RUN/pictures.")
    flags.DEFINE_integer("objects", 4, "Random objects drawn.", lower_bound=1, upper_bound=64)
    flags.DEFINE_integer("frames", 36, "Views of the turntable.", lower_bound=2, upper_bound=720)
    flags.DEFINE_integer("seed", 0, "Seed of the styles.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace pictures that exist.")


def main(argv) -> None:
    """Writes turntable.gif, turntable.png, grid.png and styles.png; prints their paths."""
    if len(argv) > 1:
        raise FlagError(f"synthesize takes flags only, got {' '.join(argv[1:])}")
    values = flags.FLAGS
    run = run_folder.load(values.run or None, values.preset or None)
    out = Path(values.out) if values.out else run.path / "pictures"
    written = draw_all(run, out, values.objects, values.frames, values.seed, values.overwrite)
    for path in written:
        print(path)


def draw_all(run, out: Path, objects=4, frames=36, seed=0, overwrite=False) -> list[Path]:
    """Draws every kind of picture of a run into `out`.

    Raises:
      FlagError: a picture exists and `overwrite` is false.
    """
    names = ("turntable.gif", "turntable.png", "grid.png", "styles.png")
    paths = [files.refuse_existing(out / name, overwrite) for name in names]
    synthesis = run.synthesis()
    pictures = (
        turntable_gif(synthesis, run.options.viewpoints, objects, frames, seed),
        _png(turntable_sheet(synthesis, run.options.viewpoints, objects, seed)),
        _png(viewpoint_grid(synthesis, run.options.viewpoints, seed)),
        _png(style_grid(synthesis, run.options.viewpoints, objects, seed)),
    )
    return [files.write_atomically(p, data) for p, data in zip(paths, pictures, strict=True)]


def turntable_gif(synthesis, viewpoints, objects, frames, seed=0) -> bytes:
    """An animated GIF in which `objects` random objects turn side by side."""
    from ssv_tf.training.turntable import turntable

    views = turntable(synthesis, viewpoints, objects, frames, seed)  # [objects, frames, r, r, 3]
    strips = views.transpose(1, 2, 0, 3, 4).reshape(frames, views.shape[2], -1, 3)
    if not viewpoints.full_circle:  # back and forth instead of a jump
        strips = np.concatenate([strips, strips[-2:0:-1]])
    images = [_enlarged(strip, synthesis.resolution) for strip in strips]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=_FRAME_MS, loop=0
    )
    return buffer.getvalue()


def turntable_sheet(synthesis, viewpoints, objects, seed=0) -> np.ndarray:
    """Rows of objects, twelve azimuths each."""
    from ssv_tf.training.turntable import tile, turntable

    return tile(turntable(synthesis, viewpoints, objects, 12, seed))


def viewpoint_grid(synthesis, viewpoints, seed=0) -> np.ndarray:
    """One object, azimuth across and elevation down, from the highest to the lowest."""
    from ssv_tf.training.turntable import tile, turntable

    heights = np.linspace(viewpoints.elevation_max_deg, viewpoints.elevation_min_deg, 5)
    rows = [turntable(synthesis, viewpoints, 1, 12, seed, float(height)) for height in heights]
    return tile(np.concatenate(rows))


def style_grid(synthesis, viewpoints, objects, seed=0) -> np.ndarray:
    """Style mixing: z1 of each row's object with z2 of each column's, at one viewpoint."""
    from ssv_tf.training.turntable import tile, turntable

    styles = np.random.default_rng(seed).normal(size=(objects, 2 * synthesis.code_size))
    size = synthesis.code_size
    rows = []
    for row in styles:
        mixed = styles.copy()
        mixed[:, :size] = row[:size]
        views = turntable(synthesis, viewpoints, mixed, 8)
        rows.append(views[:, 1 if viewpoints.full_circle else 4])
    return tile(np.stack(rows))


def _enlarged(picture, resolution) -> Image.Image:
    factor = max(1, _ENLARGED_TO // resolution)
    image = Image.fromarray(picture)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
