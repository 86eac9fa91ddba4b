"""Packs a run for others: models, options, calibration, score, model card; no pictures, no paths.

  python -m ssv_tf.bundle --run=RUN --score=score.json --out=ssv_tf/presets/cars \
      --data="10,000 drawn cars." --licence="Apache-2.0."

The folder is a run as every command takes it (`--run=DIR`); below ssv_tf/presets its name is a
preset (`--preset=cars`). Checkpoints and logs stay behind, so training cannot go on from it.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf import config
from ssv_tf.base import cli, presets
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.data import sources
from ssv_tf.evaluation import cards
from ssv_tf.export import quick
from ssv_tf.training import run_folder

# Settings that name folders and files of whoever trained.
_PRIVATE = ("run_dir", "labels", "score_data", "score_labels")
_DATA_PLACEHOLDER = "photos"


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("run", "", "Folder of a trained, calibrated run.")
    flags.DEFINE_string("score", "", "The JSON that `ssv_tf.evaluate --json` wrote for it.")
    flags.DEFINE_string("out", "", "New folder; its last part names the model.")
    flags.DEFINE_string("data", "", "What it was trained on: a sentence for the card.")
    flags.DEFINE_string("licence", "", "Licence of weights and data: a sentence for the card.")
    flags.DEFINE_string("limits", "", "What else a user must know: a sentence for the card.")
    flags.DEFINE_bool("overwrite", False, "Replace --out if it exists.")


def main(argv: Sequence[str]) -> None:
    """Packs and names the folder."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"bundle takes flags only, got {' '.join(argv[1:])}")
    for name in ("run", "score", "out", "data", "licence"):
        if not values[name].value:
            raise FlagError(f"--{name} is missing")
    out = Path(values.out)
    run = run_folder.load(values.run)
    if out.exists() and not values.overwrite:
        raise FlagError(f"{out} exists; give --overwrite to replace it, or another name")
    if out.exists() and not (out / "options.json").is_file():
        raise FlagError(f"{out} exists and is no run; give another --out")
    pack(run, _score(values.score), out, values.data, values.licence, values.limits)
    quick.keep(run_folder.load(out))
    print(out)


def pack(
    run: run_folder.Run, score: dict[str, Any], out: Path, data: str, licence: str, limits: str = ""
) -> Path:
    """Writes the folder `out` beside itself under another name, then renames it.

    Args:
      run: trained and calibrated.
      score: what `evaluate --json` wrote.
      out: replaced where it exists.
      data, licence, limits: as `cards.markdown`.

    Raises:
      UserError: models, calibration or score are missing or cannot be read, or `out` not written.
    """
    if run.calibration() is None:
        raise UserError(f"{run.path} is not calibrated; run ssv_tf.calibrate first")
    run.analysis()  # whoever unpacks it must be able to read it
    if score.get("networks", run.networks) != run.networks:
        raise UserError(
            f"`score` is of other networks than those of {run.path}, of the run "
            f"{score.get('run')}; score this run (ssv_tf.evaluate --json)"
        )
    health = _json(run.models_dir / "health.json")
    score = score | {"run": out.name, "data": os.path.basename(str(score.get("data", "")))}
    card = _card(out.name, run, score, health, data, licence, limits)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        try:
            _fill(made, run, score, card)
            made.chmod(0o755)
            if out.exists():
                shutil.rmtree(out)
            os.replace(made, out)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    return out


def _fill(folder: Path, run: run_folder.Run, score: dict[str, Any], card: str) -> None:
    (folder / "models").mkdir()
    for name in ("analysis.keras", "synthesis.keras", "health.json"):
        if (run.models_dir / name).is_file():
            shutil.copyfile(run.models_dir / name, folder / "models" / name)
    for name in ("calibration.json", "distill.json"):
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    (folder / "options.json").write_text(public_options(run.options).to_json())
    (folder / "score.json").write_text(json.dumps(score, indent=1) + "\n")
    (folder / "README.md").write_text(card)


def public_options(options: config.Options) -> config.Options:
    """The settings without the names of folders and files."""
    hidden = {name: config.SETTINGS[name].rule.default for name in _PRIVATE}
    if options.pictures.data != sources.EMBEDDED:
        hidden["data"] = _DATA_PLACEHOLDER
    if options.run.init_from not in presets.names():
        hidden["init_from"] = ""
    return options.replace(**hidden)


def _card(
    name: str,
    run: run_folder.Run,
    score: dict[str, Any],
    health: dict[str, float],
    data: str,
    licence: str,
    limits: str,
) -> str:
    tells_novelty = run.tells_novelty
    try:
        return cards.markdown(
            name,
            run.options,
            score,
            health,
            data,
            licence,
            limits,
            run.student,
            tells_novelty,
            run.anchors,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--score is no score that ssv_tf.evaluate wrote: {error!r}") from error


def _score(path: str) -> dict[str, Any]:
    score = _json(Path(path))
    if not score:
        raise UserError(f"{path} cannot be read as the JSON of ssv_tf.evaluate")
    return score


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
