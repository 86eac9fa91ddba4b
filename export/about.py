"""What is known of a run, in words: for the metadata inside exported files and for their card."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf import __version__
from ssv_tf.base import markdown
from ssv_tf.base.errors import UserError
from ssv_tf.data import sources
from ssv_tf.data.framing import Framing
from ssv_tf.evaluation import cards
from ssv_tf.training import run_folder

FLAGS = ("name", "version", "author", "licence", "data", "limits", "score")
_NOT_STATED = "Not stated by whoever exported the model."
_NOT_CALIBRATED = (
    "Not calibrated: the angles are V's own; which way round they count and where they start "
    "is not known."
)


@dataclasses.dataclass(frozen=True)
class About:
    """Sentences on a model.

    Attributes:
      name: of the model.
      version: of package and weights.
      author, licence: whose it is, and under which conditions weights and data may be used.
      introduction: what it is for.
      prepared: how a picture must look.
      framing: the same for an app; None: not known.
      calibration: on what the angles were calibrated.
      data: what it was trained on.
      score: how good it is, in one line.
      score_lines: the same as a section of Markdown.
      limits: what it cannot do.
    """

    name: str = "viewpoint"
    version: str = __version__
    author: str = _NOT_STATED
    licence: str = _NOT_STATED
    introduction: str = "Predicts azimuth, elevation and tilt of a picture."
    prepared: str = "RGB, the object in the middle."
    framing: Framing | None = None
    calibration: str = _NOT_CALIBRATED
    data: str = _NOT_STATED
    score: str = "not measured on labelled pictures"
    score_lines: tuple[str, ...] = ("Not measured on labelled pictures.",)
    limits: tuple[str, ...] = ()


UNKNOWN = About()


def define_flags() -> None:
    """Registers what the exporter may say of the model."""
    flags.DEFINE_string("name", "", "Name in metadata and card; empty: the run's.")
    flags.DEFINE_string(
        "version",
        "",
        "Version in metadata and card, and of TF Serving's folder where it is a whole number; "
        "empty: this package's and a hash, and 1.",
    )
    flags.DEFINE_string("author", "", "Author, for metadata and card.")
    flags.DEFINE_string("licence", "", "Licence of weights and data: a sentence for them.")
    flags.DEFINE_string("data", "", "What the run was trained on: a sentence for them.")
    flags.DEFINE_string("limits", "", "What else a user must know: a sentence for them.")
    flags.DEFINE_string(
        "score", "", "JSON of ssv_tf.evaluate for them; empty: score.json of the run, if any."
    )


def of_run(run: run_folder.Run, values: Any = None) -> About:
    """What the run's own files tell: options, calibration, score, health, a preset's card.

    Args:
      run: the run.
      values: parsed flags of `define_flags`, which come first; None: none were given.

    Raises:
      UserError: the score is missing though asked for, or is no score.
    """
    given = {name: getattr(values, name, None) or "" for name in FLAGS}
    card = _text(run.path / "README.md") if run.preset else ""
    stated_limits = (*_bullets(markdown.section(card, "Limits")), *filter(None, [given["limits"]]))
    return About(
        name=given["name"] or run.preset or run.path.resolve().name,
        version=given["version"] or _version(run),
        author=given["author"] or ("ssv_tf" if run.preset else _NOT_STATED),
        licence=given["licence"] or markdown.section(card, "Licence") or _NOT_STATED,
        introduction=cards.introduction(run.options, run.student, run.anchors),
        prepared=cards.prepared(run.options),
        framing=run.options.framing,
        calibration=_calibration(run),
        data=_data(run, given["data"], markdown.section(card, "Training data")),
        **_scored(run, given["score"], stated_limits, bool(card)),
    )


def _scored(
    run: run_folder.Run, given: str, stated_limits: tuple[str, ...], complete: bool
) -> dict:
    """The score and what follows from it; `complete`: stated_limits has the latter already."""
    path = Path(given or run.path / "score.json")
    score = _score(path, needed=bool(given))
    health = _json(run.models_dir / "health.json") or {}
    try:
        automatic_limits = (
            [] if complete else cards.automatic_limits(run.options, score, run.tells_novelty)
        )
        limits = (*automatic_limits, *stated_limits)
        if score is None:
            return {"limits": limits}
        return {
            "limits": limits,
            "score": cards.score_sentence(score),
            "score_lines": tuple(cards.score_lines(score, health)),
        }
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path} is no score of ssv_tf.evaluate: {error!r}") from error


def _version(run: run_folder.Run) -> str:
    """The package's version and a hash that changes with the weights and the calibration."""
    digest = hashlib.sha256()
    weights = run.models_dir / "analysis.keras"
    digest.update(weights.read_bytes() if weights.is_file() else b"")
    calibration = run.calibration()
    digest.update(b"" if calibration is None else calibration.to_json().encode())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def _calibration(run: run_folder.Run) -> str:
    calibration = run.calibration()
    if calibration is None:
        return _NOT_CALIBRATED
    sentence = f"Calibrated on {calibration.pictures} labelled pictures."
    if calibration.uncalibrated:
        sentence += f" Not calibrated, the network's own: {', '.join(calibration.uncalibrated)}."
    if calibration.label_tolerance_deg:
        within = f"{calibration.label_tolerance_deg:g}"
        sentence += f" The labels of azimuth were classes, true to within {within} degrees."
    return sentence


def _data(run: run_folder.Run, given: str, of_card: str) -> str:
    """Tells no folder's name: it may be private."""
    options = run.options
    if not given and of_card:
        return of_card
    if options.pictures.data == sources.EMBEDDED:
        given = given or "Cars drawn by ssv_tf.data.turntable_cars."
    elif options.pictures.data.startswith("tfds:"):
        given = given or f"TensorFlow Datasets, {options.pictures.data.removeprefix('tfds:')}."
    return cards.training_data(
        options, given or "A collection of pictures, not named.", run.anchors
    )


def _bullets(text: str) -> list[str]:
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def _score(path: Path, needed: bool) -> dict[str, Any] | None:
    if not path.is_file() and not needed:
        return None
    score = _json(path)
    if score is None:
        raise UserError(f"{path} cannot be read as the JSON of ssv_tf.evaluate")
    return score


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_text(path))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
