"""Scores runs over many draws of the calibration pictures, beside what anyone could do instead.

  python -m tools.draws --runs=cars_photos,runs/mine --data_dir=stanford_cars \
      --labels=stanford_cars/labels.csv --where='class_id%4==1' --draws=12

One draw of 100 pictures differs from another by several degrees. Each row is the mean over all
draws. The rows without a network of ours: the best constant, and ridge regression from the same
labels on frozen ImageNet features (EfficientNet-Lite0), whose strength is chosen by
cross-validation.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from ssv_tf import viewpoint
from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError
from ssv_tf.data import read_policy
from ssv_tf.data.framing import Framing, to_network
from ssv_tf.evaluation import calibration, ends, labelled, metrics
from ssv_tf.models import inference
from ssv_tf.training import run_folder

BASELINE_PX = 128
Answers = tuple[np.ndarray, np.ndarray | None]  # degrees and frontness, see `over_draws`
_STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
_FOLDS = 5


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_list("runs", [], "Run folders or presets to score.")
    flags.DEFINE_string("data_dir", "", "Folder of labelled pictures.")
    flags.DEFINE_string("labels", "", "CSV of --data_dir's angles in degrees.")
    flags.DEFINE_string("where", "", "Rows of --labels to use, such as class_id%4==1; empty: all.")
    read_policy.define_flags()
    flags.DEFINE_integer("draws", 12, "Draws of the calibration pictures.", lower_bound=1)
    flags.DEFINE_integer("calibrate_on", 100, "Pictures of a draw.", lower_bound=5)
    flags.DEFINE_bool("baselines", True, "Also score the best constant and frozen features.")
    flags.DEFINE_string("json", "", "JSON file to write the rows to.")
    flags.DEFINE_bool("overwrite", False, "Replace a file that exists.")


def main(argv: Sequence[str]) -> None:
    """Scores, prints a table and writes what was asked for."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"only flags are taken, got {' '.join(argv[1:])}")
    if not (values.runs and values.data_dir and values.labels):
        raise FlagError("give --runs, --data_dir and --labels")
    if values.json:
        files.refuse_existing(values.json, values.overwrite)
    rows = {name: score_run(name, values) for name in values.runs}
    if values.baselines:
        rows |= _baselines(values)
    print(table(rows))
    if values.json:
        files.write_atomically(Path(values.json), json.dumps(rows, indent=1) + "\n")


def score_run(name: str, values: flags.FlagValues) -> dict[str, float]:
    """Mean scores of a run's calibrated predictions over the draws."""
    run = run_folder.find(name)
    pictures = labelled.folder_pictures(run.options.framing, values)
    if pictures.label_tolerance_deg:
        raise FlagError("--labels are classes; draws compares measured angles")
    raw = inference.predict(run.analysis(), pictures.images)
    kind = calibration.azimuth_kind(run.options)
    true_deg = labelled.angles_deg(pictures)

    def predicted(known: np.ndarray, others: np.ndarray) -> Answers:
        fitted = calibration.fit(raw[known], true_deg[known], kind)
        frontness = calibration.frontness(raw[others], fitted)
        return inference.decode(raw[others], fitted).degrees, frontness

    return over_draws(predicted, true_deg, values.draws, values.calibrate_on)


def over_draws(
    predicted: Callable[[np.ndarray, np.ndarray], Answers],
    true_deg: np.ndarray,
    draws: int,
    count: int,
) -> dict[str, float]:
    """Mean scores over draws.

    Args:
      predicted: (indices to calibrate on, indices to score) -> degrees [scored, 3], and how much
        each looks like a front [scored], or None: the cosine of the azimuth.
      true_deg: [n, 3], NaN where not known.
      draws: number of draws; draw d permutes the pictures with seed d.
      count: pictures to calibrate on.

    Returns:
      pictures; median_deg, within_30 and spread_within_30 (standard deviation over the draws) of
      azimuth; balanced_accuracy and auc of front against rear; elevation_deg and tilt_deg (mean
      errors). What no label tells is left out.
    """
    parts = []
    for seed in range(draws):
        known, others = labelled.draw_indices(len(true_deg), count, seed)
        parts.append(_score(*predicted(known, others), true_deg[others]))
    means = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    spread = float(np.std([part["within_30"] for part in parts]))
    return {"pictures": len(true_deg) - count} | means | {"spread_within_30": spread}


def _score(
    predicted_deg: np.ndarray, frontness: np.ndarray | None, true_deg: np.ndarray
) -> dict[str, float]:
    errors = metrics.error_deg(predicted_deg, true_deg)
    known = viewpoint.known(true_deg[:, 0])
    azimuth = errors[known, 0]
    result = {"median_deg": np.median(azimuth), "within_30": np.mean(azimuth <= 30.0)}
    fronts = None if frontness is None else frontness[known]
    front_rear = ends.score(predicted_deg[known, 0], true_deg[known, 0], fronts, resamples=1)
    if front_rear is not None:
        result |= {name: front_rear[name] for name in ("balanced_accuracy", "auc")}
    for i, name in ((1, "elevation_deg"), (2, "tilt_deg")):
        if viewpoint.known(true_deg[:, i]).any():
            result[name] = np.nanmean(errors[:, i])
    return {name: float(value) for name, value in result.items()}


def _baselines(values: flags.FlagValues) -> dict[str, dict[str, float]]:
    framing = Framing(BASELINE_PX, crop="longest", padding="constant")
    pictures = labelled.folder_pictures(framing, values)
    true_deg = labelled.angles_deg(pictures)
    features = imagenet_features(pictures.images)

    def from_features(known: np.ndarray, others: np.ndarray) -> Answers:
        return ridge(features[known], true_deg[known], features[others]), None

    def constant(known: np.ndarray, others: np.ndarray) -> Answers:
        return np.tile(best_constant(true_deg[known]), (len(others), 1)), None

    how = values.draws, values.calibrate_on
    return {
        "frozen ImageNet features": over_draws(from_features, true_deg, *how),
        "best constant": over_draws(constant, true_deg, *how),
    }


def best_constant(known_deg: np.ndarray) -> np.ndarray:
    """The answer [3] with most azimuths within 30 degrees and least mean error of the others."""
    answer = np.full(3, np.nan)
    for i, measure in enumerate(("within_30", "mean_error_deg", "mean_error_deg")):
        known = known_deg[viewpoint.known(known_deg[:, i]), i]
        if len(known):
            answer[i] = metrics.best_constants(known)[measure]
    return answer


def imagenet_features(images: np.ndarray) -> np.ndarray:
    """Means over the picture of EfficientNet-Lite0's last convolution: [n, 1280], standardised."""
    from ssv_tf.models.efficientnet import efficientnet_lite0

    network = efficientnet_lite0(images.shape[1], top=True)
    parts = [
        network.predict(to_network(images[start : start + 64]), verbose=0).mean(axis=(1, 2))
        for start in range(0, len(images), 64)
    ]
    features = np.concatenate(parts)
    return (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)


def ridge(known: np.ndarray, known_deg: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Angles [m, 3] by ridge regression: cosine and sine of azimuth, elevation and tilt plain.

    Args:
      known, others: features [n, d] and [m, d].
      known_deg: [n, 3]; an angle with a NaN anywhere is answered with NaN.
    """
    radians = np.radians(known_deg[:, 0])
    targets = np.column_stack([np.cos(radians), np.sin(radians), known_deg[:, 1:] / 90.0])
    usable = np.isfinite(targets).all(axis=0)
    targets = np.where(np.isfinite(targets), targets, 0.0)
    strength = min(_STRENGTHS, key=lambda value: _held_out_error(known, targets, value))
    answers = _ridge(known, targets, others, strength)
    answers[:, ~usable] = np.nan
    azimuth = np.degrees(np.arctan2(answers[:, 1], answers[:, 0]))
    return np.column_stack([azimuth, answers[:, 2:] * 90.0])


def _held_out_error(features: np.ndarray, targets: np.ndarray, strength: float) -> float:
    folds = np.arange(len(features)) % _FOLDS
    errors = [
        _ridge(features[folds != k], targets[folds != k], features[folds == k], strength)
        - targets[folds == k]
        for k in range(_FOLDS)
    ]
    return float(np.mean(np.concatenate(errors) ** 2))


def _ridge(features, targets, others, strength):
    mean, centre = targets.mean(axis=0), features.mean(axis=0)
    features, others = features - centre, others - centre
    kernel = features @ features.T + strength * np.eye(len(features))
    return mean + (others @ features.T) @ np.linalg.solve(kernel, targets - mean)


def table(rows: dict[str, dict[str, float]]) -> str:
    """The rows as a Markdown table."""
    columns = {
        "median_deg": ("azimuth, median", ".1f"),
        "within_30": ("within 30", ".3f"),
        "balanced_accuracy": ("front/rear balanced", ".3f"),
        "auc": ("AUC", ".3f"),
        "elevation_deg": ("elevation, mean", ".1f"),
        "tilt_deg": ("tilt, mean", ".1f"),
    }
    present = [name for name in columns if any(name in row for row in rows.values())]
    heads = ["", *(columns[name][0] for name in present)]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for label, row in rows.items():
        cells = [f"{row[name]:{columns[name][1]}}" if name in row else "" for name in present]
        lines.append(f"| {' | '.join([label, *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, define_flags)
