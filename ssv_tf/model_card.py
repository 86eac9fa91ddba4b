"""The model card of a trained run: data, licence, score, limits; Markdown from its own figures.

Sections follow Mitchell et al., Model Cards for Model Reporting (2019).
"""

from typing import Any

from ssv_tf import config, viewpoint
from ssv_tf.calibration import CONVENTION

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
    """
    azimuth = score["azimuth"]
    low, high = azimuth["interval_95"]["median_error_deg"]
    rows = [
        f"| {title} | {shape.format(score[angle][key])} "
        f"| {shape.format(score[angle]['baseline'][key])} |"
        for title, angle, key, shape in _SCORES
    ]
    lines = [
        f"# Model card: {name}",
        "",
        f"Tells azimuth, elevation and tilt of a picture; {options.training}. Made with ssv_tf "
        "(SSV, Mustikovela et al., CVPR 2020).",
        "",
        "## Model",
        "",
        f"- Input: RGB, {options.resolution} x {options.resolution} px"
        + ", the object in the middle, scaled by "
        + ("its box's height." if options.crop == "height" else "the longest side."),
        f"- Output: {CONVENTION}.",
        "- `analysis.keras` is V, `synthesis.keras` S, both with averaged weights; "
        "`calibration.json` turns V's angles into the convention; `options.json` holds every "
        "setting.",
        "",
        "## Training data",
        "",
        data if options.supervised else f"{data} No label was read in training.",
        "",
        "## Licence",
        "",
        licence,
        "",
        "## Score",
        "",
        f"{score['pictures']:,} pictures that training never saw"
        + (f" ({score['where']})" if score.get("where") else "")
        + f", calibrated on {score['calibrated_on']} labelled ones:",
        "",
        "| | this model | best constant |",
        "|---|---|---|",
        *rows,
        "",
        f"The median azimuth error's 95 % bootstrap interval: {low:.1f} to {high:.1f} degrees."
        + (f" Health {health['health']:.2f} (label-free, 0 to 1)." if "health" in health else ""),
        "",
        "## Limits",
        "",
        *(f"- {line}" for line in _limits(options, score)),
        *([f"- {limits}"] if limits else []),
    ]
    return "\n".join(lines) + "\n"


def _limits(options: config.Options, score: dict[str, Any]) -> list[str]:
    found = []
    large = score["azimuth"]["large_errors"]
    share = large["pictures"] / score["pictures"]
    if large["pictures"]:
        worst = max(_MISTAKES, key=large.__getitem__)
        found.append(
            f"{share:.0%} of the azimuths are more than 30 degrees off; commonest: "
            f"{_MISTAKES[worst]} ({large[worst]:.0%} of them)."
        )
    for angle in viewpoint.ANGLES:
        own, constant = score[angle], score[angle]["baseline"]
        if own["mean_error_deg"] > _NOT_LEARNT * constant["mean_error_deg"]:
            found.append(f"{angle.capitalize()} is hardly better than a constant answer.")
    found.append(
        f"It knows viewpoints of azimuth +-{options.azimuth_range_deg:g}, elevation "
        f"{options.elevation_min_deg:g} to {options.elevation_max_deg:g} and tilt "
        f"+-{options.tilt_range_deg:g} degrees; others are answered wrongly, without a warning."
    )
    found.append("It answers for a picture of anything; it does not say that there is no object.")
    return found
