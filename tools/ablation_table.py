"""The table of `tools.ablate`: what each row changes, and what came of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssv_tf import config
from ssv_tf.evaluation import report

HEADING = "# Ablations"
CALIBRATE_ON = 100
# Title of a column, its key in the numbers of a result, its format.
_COLUMNS = (
    ("azimuth median", "azimuth_median_deg", "{:.1f}"),
    ("within 30", "azimuth_within_30", "{:.2f}"),
    ("axis within 30", "axis_within_30", "{:.2f}"),
    ("elevation mean", "elevation_mean_deg", "{:.1f}"),
    ("tilt mean", "tilt_mean_deg", "{:.1f}"),
    ("health", "health", "{:.2f}"),
    ("handedness", "handedness", "{:.2f}"),
    ("stability", "stability", "{:.2f}"),
    ("minutes", "minutes", "{:.1f}"),
)
_SIGNALS = ("health", "handedness", "stability")


def changes(options: config.Options, base: config.Options) -> dict[str, list[Any]]:
    """Settings that differ, {name: [base's, new]}; the run folder and the seed never count."""
    values, of_base = options.flat(), base.flat()
    return {
        name: [of_base[name], value]
        for name, value in values.items()
        if value != of_base[name] and name not in ("run_dir", "seed")
    }


def numbers_of(score: Mapping[str, Any], run_dir: Path) -> dict[str, float | None]:
    """What the table shows of a run.

    Returns:
      degrees; shares of all scored pictures; health, handedness and stability, None where the run
      measured none; minutes its steps took, without scores and pictures, however often it was
      interrupted.
    """
    azimuth, large = score["azimuth"], score["azimuth"]["large_errors"]
    half_circle = large["pictures"] * large["half_circle"]
    records = report.records(run_dir / "metrics.jsonl")
    return {
        "azimuth_median_deg": azimuth["median_error_deg"],
        "azimuth_within_30": azimuth["within_30"],
        "axis_within_30": azimuth["within_30"] + half_circle / score["pictures"],
        "elevation_mean_deg": score["elevation"]["mean_error_deg"],
        "tilt_mean_deg": score["tilt"]["mean_error_deg"],
        **_signals(run_dir / "models" / "health.json", records),
        "minutes": _minutes(records),
    }


def _signals(path: Path, records: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """What the run's end, or else its log, says of itself without labels."""
    signals = {name: record[name] for record in records for name in _SIGNALS if name in record}
    try:
        saved = report.renamed(json.loads(path.read_text()))
        signals |= {name: float(saved[name]) for name in _SIGNALS if name in saved}
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    return {name: float(signals[name]) if name in signals else None for name in _SIGNALS}


def _minutes(records: Iterable[Mapping[str, Any]]) -> float:
    seconds, before = 0.0, 0
    for record in records:
        if record.get("kind") == "train":
            seconds += record["seconds_per_step"] * (record["step"] - before)
            before = record["step"]
    return seconds / 60


def to_markdown(rows: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """The table: a line a row, in each cell a number a seed."""
    titles = ["row", "changed against base", *(title for title, _, _ in _COLUMNS)]
    lines = [HEADING, "", *_explained(seeds), "", _line(titles)]
    lines.append("|---|---|" + "---:|" * len(_COLUMNS))
    failures = []
    for row in rows:
        results = [row["seeds"][seed] for seed in seeds]
        cells = [_cell(results, key, shape) for _, key, shape in _COLUMNS]
        lines.append(_line([row["name"], _changed_text(row["changed"]), *cells]))
        for seed, result in zip(seeds, results, strict=True):
            if result and result["status"] == "failed":
                failures.append(f"- {row['name']}, seed {seed}: `{result['last_line']}`")
    if failures:
        lines += ["", "Failed, with the last line of each:", "", *failures]
    return "\n".join(lines) + "\n"


def _explained(seeds: Sequence[int]) -> list[str]:
    return [
        f"Seeds {', '.join(map(str, seeds))}, in this order in every cell. Errors in degrees on",
        f"the embedded cars' test split, calibrated on {CALIBRATE_ON} others; the checkpoint is",
        "chosen by health, without labels. Axis: within 30 degrees where an azimuth and its half",
        "circle, front and rear, count as one. Minutes: of the training steps alone.",
    ]


def _cell(results: Iterable[Mapping[str, Any] | None], key: str, shape: str) -> str:
    shown = []
    for result in results:
        if result and result["status"] == "failed":
            shown.append("failed")
        else:
            number = result["numbers"].get(key) if result else None
            shown.append("-" if number is None else shape.format(number))
    return " / ".join(shown)


def _changed_text(changed: Mapping[str, Sequence[Any]]) -> str:
    shown = []
    for name, (before, after) in changed.items():
        marked = name == "supervised" and after
        shown.append(config.SUPERVISED if marked else f"{name} {_plain(before)} to {_plain(after)}")
    return ", ".join(shown)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
