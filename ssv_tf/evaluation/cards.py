"""The model card of a trained run: data, licence, score, limits; Markdown from its own figures.

Sections follow Mitchell et al., Model Cards for Model Reporting (2019).
"""

from typing import Any

from ssv_tf import config, viewpoint
from ssv_tf.base import presets
from ssv_tf.evaluation import confidence, ends, metrics
from ssv_tf.evaluation.calibration import CONVENTION

_SCORES = (
    ("azimuth, median error", "azimuth", "median_error_deg", "{:.1f} deg"),
    ("azimuth, within 30 degrees", "azimuth", "within_30", "{:.2f}"),
    ("elevation, mean error", "elevation", "mean_error_deg", "{:.1f} deg"),
    ("tilt, mean error", "tilt", "mean_error_deg", "{:.1f} deg"),
)
# What `metrics.large_errors` counts, in words.
_MISTAKES = {
    "half_circle": "half a circle off",
    "mirrored_front_back": "front for rear",
    "mirrored_left_right": "left for right",
}
_EMBEDDED = "embedded cars"  # their splits share no car
_NOVELTY = (
    "It answers for a picture of anything. One that looks unlike those it was calibrated on has a "
    "novelty above 1, where the confidence falls to 0: plain areas and patterns do, most pictures "
    "of a very different kind do, those of a similar object often do not."
)
_NO_NOVELTY = "It answers for a picture of anything; it does not say that there is no object."
# A mean error this close to the best constant's has learnt nothing that is worth having.
_NOT_LEARNT = 0.95


def markdown(
    name: str,
    options: config.Options,
    score: dict[str, Any],
    health: dict[str, float],
    data: str,
    licence: str,
    limits: str = "",
    teacher: str | None = None,
    tells_novelty: bool = False,
    anchors: int = 0,
) -> str:
    """The card.

    Args:
      name: of the model.
      options: what it was trained with.
      score: what `evaluate --json` wrote.
      health: what the run's health.json holds, or nothing.
      data: what it was trained on, a sentence.
      licence: under which the weights may be used, and that of the data, sentences.
      limits: what else a user must know.
      teacher: of a student, the run it learnt from.
      tells_novelty: whether its calibration tells pictures of something else.
      anchors: how many labelled pictures trained it.
    """
    lines = [
        f"# Model card: {name}",
        "",
        introduction(options, teacher, anchors),
        "",
        "## Model",
        "",
        f"- Input: {prepared(options)}",
        f"- Output: {CONVENTION}.",
        _files(teacher),
        "",
        "## Training data",
        "",
        training_data(options, data, anchors),
        "",
        "## Licence",
        "",
        licence,
        "",
        "## Score",
        "",
        *score_lines(score, health),
        "",
        "## Limits",
        "",
        *(f"- {line}" for line in automatic_limits(options, score, tells_novelty)),
        *([f"- {limits}"] if limits else []),
    ]
    return "\n".join(lines) + "\n"


def introduction(options: config.Options, teacher: str | None = None, anchors: int = 0) -> str:
    """What the model is for and where it comes from; `anchors` labelled pictures trained it."""
    training = config.anchored(options.training, anchors)
    origin = f"; a small student of {teacher}" if teacher else ""
    if teacher and not anchors:
        origin += ", trained without labels"
    return (
        f"Predicts azimuth, elevation and tilt of a picture; {training}{origin}. Made with "
        "ssv_tf (SSV, Mustikovela et al., CVPR 2020)."
    )


def _files(teacher: str | None) -> str:
    rest = (
        "`calibration.json` turns its angles into the convention and gives its confidence; "
        "`options.json` holds every setting"
    )
    if teacher:
        return f"- `analysis.keras` is the student; {rest}, `distill.json` those of its making."
    networks = "`analysis.keras` is V, `synthesis.keras` S, both with averaged weights"
    return f"- {networks}; {rest}."


def prepared(options: config.Options) -> str:
    """How a picture must look for the model."""
    return options.framing.words()


def training_data(options: config.Options, data: str, anchors: int = 0) -> str:
    """The sentence `data`, whose networks training began from, and which labels were read."""
    sentences = [data]
    if options.run.init_from:
        known = options.run.init_from in presets.names()
        origin = f"the preset {options.run.init_from}" if known else "another run"
        sentences.append(f"V and S began as those of {origin}.")
    if anchors:
        sentences.append(
            f"The labels of {anchors} pictures (anchors) trained it too, and no other."
        )
    elif not options.pictures.supervised:
        sentences.append("No label was read in training.")
    return " ".join(sentences)


def score_lines(score: dict[str, Any], health: dict[str, float]) -> list[str]:
    """The section on the score, from what `evaluate --json` wrote and the run's health.json."""
    rows = [
        f"| {title} | {shape.format(score[angle][key])} "
        f"| {shape.format(score[angle]['baseline'][key])} |"
        for title, angle, key, shape in _measured(score)
    ]
    return [
        f"{score['pictures']:,} {_seen(score)}"
        + (f" ({score['where']})" if score.get("where") else "")
        + f", calibrated on {score['calibrated_on']} labelled ones:",
        "",
        "| | this model | best constant |",
        "|---|---|---|",
        *rows,
        *_end_rows(score["azimuth"]),
        "",
        " ".join(_remarks(score, health)),
        *_confidence_lines(score.get("confidence")),
    ]


def _measured(score: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The rows of `_SCORES` whose angle has labels."""
    return [row for row in _SCORES if row[2] in score[row[1]]]


def _end_rows(azimuth: dict[str, Any]) -> list[str]:
    if "front_rear" not in azimuth:
        return []
    front_rear, commoner = azimuth["front_rear"], azimuth["commoner_end"]
    low, high = front_rear["interval_95"]["balanced_accuracy"]
    return [
        f"| front/rear, balanced accuracy | {front_rear['balanced_accuracy']:.2f} ({low:.2f} to "
        f"{high:.2f}) | {ends.COIN:.2f} |",
        f"| front/rear, AUC | {front_rear['auc']:.2f} | {ends.COIN:.2f} |",
        f"| azimuth, within 30 degrees, always called {commoner['end']} "
        f"| {commoner['within_30']:.2f} | |",
    ]


def _remarks(score: dict[str, Any], health: dict[str, float]) -> list[str]:
    remarks = []
    if "interval_95" in score["azimuth"]:
        low, high = score["azimuth"]["interval_95"]["median_error_deg"]
        interval = f"{low:.1f} to {high:.1f} degrees"
        remarks.append(f"The median azimuth error's 95 % bootstrap interval: {interval}.")
    unknown = [name for name in viewpoint.ANGLES if name not in metrics.scored(score)]
    remarks += [f"Of the azimuths {text}." for text in metrics.tolerance_sentence(score)]
    if unknown:
        remarks.append(f"Not scored, for want of labels: {', '.join(unknown)}.")
    if "health" in health:
        remarks.append(f"Health {health['health']:.2f} (label-free, 0 to 1).")
    return remarks


def _confidence_lines(scored: dict[str, Any] | None) -> list[str]:
    if not scored:
        return []
    half = next(row for row in scored["risk_coverage"] if row["coverage"] == 0.5)
    return [
        "",
        "Confidence is the probability that the azimuth is within "
        f"{scored['within_deg']:.0f} degrees{confidence.beyond(scored)}, fitted on the "
        "calibration pictures; expected calibration error "
        f"{scored['expected_calibration_error']:.3f}{confidence.of_even(scored)}. The more "
        f"confident half is right in {half['right']:.0%} of cases, median error "
        f"{half['median_error_deg']:.1f} degrees.",
    ]


def score_sentence(score: dict[str, Any]) -> str:
    """The score in one line, each figure beside the best constant's."""
    parts = (
        f"{title} {shape.format(score[angle][key])} "
        f"(best constant {shape.format(score[angle]['baseline'][key])})"
        for title, angle, key, shape in _measured(score)
    )
    tolerance_text = "".join(
        f"; of the azimuths {text}" for text in metrics.tolerance_sentence(score)
    )
    return f"{'; '.join(parts)}; on {score['pictures']:,} {_seen(score)}{tolerance_text}"


def _seen(score: dict[str, Any]) -> str:
    """What is known of whether training or calibration saw the scored pictures."""
    used = score.get("overlap", {})
    trained = used.get("training", 0 if score.get("data") == _EMBEDDED else None)
    if trained == 0:
        words = "pictures that training never saw"
    elif trained is None:
        words = "labelled pictures (not known whether training saw them)"
    else:
        words = f"labelled pictures, {trained:,} of which trained the model"
    if used.get("calibration"):
        words += f"; {used['calibration']:,} of them calibrated it"
    return words


def automatic_limits(
    options: config.Options, score: dict[str, Any] | None, tells_novelty: bool = False
) -> list[str]:
    """Sentences on what the model cannot do; those on mistakes need a score.

    Args:
      options: what it was trained with.
      score: what `evaluate --json` wrote.
      tells_novelty: whether its calibration tells pictures of something else.
    """
    sentences = _mistakes(score) if score else []
    known = options.viewpoints
    sentences.append(
        f"It knows viewpoints of azimuth +-{known.azimuth_range_deg:g}, elevation "
        f"{known.elevation_min_deg:g} to {known.elevation_max_deg:g} and tilt "
        f"+-{known.tilt_range_deg:g} degrees; others are answered wrongly, without a warning."
    )
    sentences.append(_NOVELTY + _share_above(score) if tells_novelty else _NO_NOVELTY)
    return sentences


def _share_above(score: dict[str, Any] | None) -> str:
    share = ((score or {}).get("novelty") or {}).get("above_1")
    return "" if share is None else f" Of the scored pictures {share:.1%} lie above 1."


def _mistakes(score: dict[str, Any]) -> list[str]:
    sentences = []
    large = score["azimuth"].get("large_errors", {"pictures": 0})
    if large["pictures"]:
        share = large["pictures"] / score["azimuth"].get("pictures", score["pictures"])
        worst = max(_MISTAKES, key=large.__getitem__)
        sentences.append(
            f"{share:.0%} of the azimuths are more than 30 degrees off; commonest: "
            f"{_MISTAKES[worst]} ({large[worst]:.0%} of them)."
        )
    if "front_rear" in score["azimuth"]:
        doubts = ends.verdict(score["azimuth"]["front_rear"])
        sentences += [f"{doubt.capitalize()}." for doubt in doubts]
    sentences += [
        f"{angle.capitalize()} is not calibrated; it is the network's own answer."
        for angle in score.get("uncalibrated", [])
    ]
    for angle in metrics.scored(score):
        scores, constant = score[angle], score[angle]["baseline"]
        if scores["mean_error_deg"] > _NOT_LEARNT * constant["mean_error_deg"]:
            sentences.append(f"{angle.capitalize()} is hardly better than a constant answer.")
    return sentences
