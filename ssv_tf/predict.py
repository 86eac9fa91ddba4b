"""Tells the viewpoint of pictures: a CSV or JSON table, and pictures with the axes drawn.

  python -m ssv_tf.predict --run=RUN photos/ extra.jpg "more/*.png" --out=angles.csv --draw_dir=DIR

Pictures that cannot be read are named on stderr, skipped and counted; --bad_pictures=stop ends at
the first, before anything is written.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf.api.model import ViewpointModel
from ssv_tf.api.results import Views, png
from ssv_tf.base import command, files
from ssv_tf.base.errors import FlagError
from ssv_tf.data import read_policy
from ssv_tf.data.folder import CONTACT_SHEET
from ssv_tf.data.inputs import Ledger, expand
from ssv_tf.evaluation import drawing
from ssv_tf.export import quick
from ssv_tf.training import run_folder

_LONGEST_STEM = 200  # bytes; a file's name has at most 255


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string("out", "", "Table to write, .csv or .json; empty: CSV on stdout.")
    flags.DEFINE_string("draw_dir", "", "Folder for the pictures with axes drawn; empty: none.")
    flags.DEFINE_bool("overwrite", False, "Replace files that exist.")
    read_policy.define_flags(rows=False)


def main(argv: Sequence[str]) -> None:
    """Predicts, writes the table and the drawings; UserError where no picture could be read."""
    values = flags.FLAGS
    if len(argv) < 2:
        raise FlagError("name at least one picture, folder or glob")
    if values.out:
        _check_table(values.out, values.overwrite)
    drawings = _drawings(argv[1:], values.draw_dir, values.overwrite)
    model = ViewpointModel(run_folder.load(values.run or None, values.preset or None))
    views = model.predict(argv[1:], bad_pictures=values.bad_pictures, on_skip=_show_skipped)
    if drawings:
        sheet = _sheet_path(Path(values.draw_dir), values.overwrite)
        _draw(model, views, drawings, sheet)
        print(f"{values.draw_dir}: {len(views)} pictures drawn, {sheet.name}", file=sys.stderr)
    _write(views, values.out)
    sys.stdout.flush()
    if views.skipped:
        counted = f"{len(views.skipped)} skipped, {len(views)} predicted"
        print(f"{counted} ({read_policy.counts(views.skipped)})", file=sys.stderr)
    if model.quick_network is None:
        quick.keep(model.run)


def _show_skipped(name: str, reason: str) -> None:
    print(f"skipped {files.one_line(name)}: {reason}", file=sys.stderr)


def _check_table(out: str, overwrite: bool) -> None:
    if Path(out).suffix.lower() not in (".csv", ".json"):
        raise FlagError(f"--out={out} must end in .csv or .json")
    files.refuse_existing(out, overwrite)


def _drawings(words: Sequence[str], draw_dir: str, overwrite: bool) -> dict[Path, Path]:
    """Where each picture's drawing goes: its name, numbered where two pictures share it."""
    drawings: dict[Path, Path] = {}
    names: set[str] = set()
    for item in expand(words, Ledger()) if draw_dir else ():
        path = Path(item.source)  # type: ignore[arg-type]
        stem = os.fsdecode(os.fsencode(path.stem)[:_LONGEST_STEM])
        name, number = f"{stem}_axes.png", 2
        while name in names:
            name, number = f"{stem}_axes_{number}.png", number + 1
        names.add(name)
        drawings[path] = files.refuse_existing(Path(draw_dir) / name, overwrite)
    return drawings


def _sheet_path(draw_dir: Path, overwrite: bool) -> Path:
    """Of the contact sheet; numbered where the folder has one that must stay."""
    sheet, number = draw_dir / CONTACT_SHEET, 2
    while sheet.exists() and not overwrite:
        sheet = draw_dir / f"{Path(CONTACT_SHEET).stem}_{number}.png"
        number += 1
    return sheet


def _draw(model: ViewpointModel, views: Views, drawings: dict[Path, Path], sheet: Path) -> None:
    """Writes each picture with its axes, and one sheet of them all by azimuth."""
    order = drawing.on_sheet(views.azimuth_deg).tolist()
    cells: dict[int, Any] = dict.fromkeys(order)
    for i, (path, angles_deg) in enumerate(zip(views.paths, views.angles_deg, strict=True)):
        assert path is not None  # the command takes files
        drawn = model.draw(path, angles_deg)
        files.write_atomically(drawings[path], png(drawn))
        if i in cells:
            cells[i] = drawn
    files.write_atomically(sheet, png(drawing.contact_sheet(cells.values())))


def _write(views: Views, out: str) -> None:
    if not out:
        sys.stdout.write(views.to_csv())
        return
    if out.lower().endswith(".json"):
        views.to_json(out)
    else:
        views.to_csv(out)
    print(out)


def run() -> None:
    """Console entry point."""
    command.run(main, define_flags)


if __name__ == "__main__":
    run()
