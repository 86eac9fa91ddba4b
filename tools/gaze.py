"""Tells whether gaze misleads a run's azimuth: heads that move their eyes and nothing else.

  python -m tools.gaze --run=RUN --pictures=200 --json=gaze.json

Each unseen head is rendered in one pose with several gaze yaws. The slope of the predicted azimuth
over the gaze yaw is 0 where gaze does not matter and 1 where the network tells the gaze for the
head's pose. Beside it stands the answer that is always azimuth 0. Where the run has no calibration,
one is fitted on heads of the calibration split with free gaze.
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from ssv_tf import viewpoint
from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError
from ssv_tf.data.turntable_heads.collection import (
    Pose,
    draw_pose,
    picture_seed,
    render_poses,
    render_range,
)
from ssv_tf.evaluation import calibration, labelled, metrics
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models import inference
from ssv_tf.training import run_folder

GAZE_YAWS_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)

_CALIBRATE_ON = 100
_RESAMPLES = 1000


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_integer(
        "pictures", 200, f"Heads, each rendered {len(GAZE_YAWS_DEG)} times.", lower_bound=2
    )
    flags.DEFINE_integer(
        "resolution",
        64,
        "Side in pixels of the rendered heads, as of the run's training pictures.",
        lower_bound=16,
        upper_bound=1024,
    )
    flags.DEFINE_integer("seed", 0, "Seed of the heads and the bootstrap.", lower_bound=0)
    flags.DEFINE_string("json", "", "JSON file to write the result to.")
    flags.DEFINE_bool("overwrite", False, "Replace a file that exists.")


def main(argv: Sequence[str]) -> None:
    """Measures, prints the table and writes what was asked for."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"only flags are taken, got {' '.join(argv[1:])}")
    if values.json:
        files.refuse_existing(values.json, values.overwrite)
    run = run_folder.load(values.run or None, values.preset or None)
    run_folder.say_if_supervised(run.options)
    predict, side = _fitted_predictor(run), values.resolution
    stored = run.calibration() or _calibrated(predict, run, side, values.seed)
    asked = {
        "run": run.preset or run.path.name,
        "training": run.options.training,
        "calibrated_on": stored.pictures,
        "seed": values.seed,
    }
    result = asked | measure(
        lambda images: inference.decode(predict(images), stored).azimuth_deg,
        values.pictures,
        side,
        values.seed,
    )
    print(table(result))
    if values.json:
        print(files.write_atomically(values.json, json.dumps(result, indent=2) + "\n"))


def render_probes(
    heads: int, resolution: int, seed: int = 0, gaze_yaws_deg: Sequence[float] = GAZE_YAWS_DEG
) -> tuple[np.ndarray, Pose]:
    """Heads of the test split, each in one pose and with every gaze yaw.

    Args:
      heads: how many.
      resolution: pixels of a side.
      seed: of the collection.
      gaze_yaws_deg: relative to the head; the gaze pitch of a head stays as it is drawn.

    Returns:
      (uint8 [heads * yaws, R, R, 3], a head's pictures one after the other; their Pose).
    """
    seeds = [picture_seed(seed, "test", index) for index in range(heads)]
    drawn = [draw_pose(item) for item in seeds]
    many = len(gaze_yaws_deg)
    angles = np.repeat(np.stack([pose.angles_deg for pose in drawn]), many, axis=0)
    gaze = np.repeat(np.stack([pose.gaze_deg for pose in drawn]), many, axis=0)
    gaze[:, 0] = np.tile(gaze_yaws_deg, heads)
    pose = Pose(angles, gaze)
    repeated = [item for item in seeds for _ in range(many)]
    return render_poses(repeated, resolution, pose), pose


def measure(
    azimuth_of: Callable[[np.ndarray], np.ndarray], heads: int, resolution: int, seed: int = 0
) -> dict[str, Any]:
    """Renders heads, predicts and judges.

    Args:
      azimuth_of: uint8 pictures [n, R, R, 3] -> calibrated azimuths [n], degrees.
      heads: how many, each rendered with every gaze yaw of `GAZE_YAWS_DEG`.
      resolution: pixels of a side of the renders.
      seed: of the heads and the bootstrap.

    Returns:
      "heads", "gaze_yaws_deg", and what `judge` says: "network", and "always_0" for the answer
      azimuth 0.
    """
    images, pose = render_probes(heads, resolution, seed)
    shape = (heads, len(GAZE_YAWS_DEG))
    true_deg = pose.angles_deg[:, 0].reshape(shape)
    predicted_deg = np.asarray(azimuth_of(images), np.float64).reshape(shape)
    return {
        "heads": heads,
        "gaze_yaws_deg": list(GAZE_YAWS_DEG),
        "network": judge(predicted_deg, true_deg, GAZE_YAWS_DEG, seed),
        "always_0": judge(np.zeros(shape), true_deg, GAZE_YAWS_DEG, seed),
    }


def judge(
    predicted_deg: np.ndarray, true_deg: np.ndarray, gaze_yaws_deg: Sequence[float], seed: int = 0
) -> dict[str, Any]:
    """Error of azimuths, and how far they follow the gaze.

    Args:
      predicted_deg, true_deg: azimuths [heads, yaws]. The truth is the same all along a head.
      gaze_yaws_deg: [yaws], those of every head.
      seed: of the bootstrap, which draws heads.

    Returns:
      {"median_error_deg", "median_error_deg_interval_95", "median_error_deg_by_gaze" [yaws],
      "slope": least-squares degrees of azimuth per degree of gaze yaw, each head with an offset of
      its own, "slope_interval_95"}.
    """
    errors = metrics.error_deg(predicted_deg, true_deg)
    slopes = slope_per_head(predicted_deg, gaze_yaws_deg)
    random = np.random.default_rng(seed)
    drawn = random.integers(len(slopes), size=(_RESAMPLES, len(slopes)))
    medians = [np.median(errors[heads]) for heads in drawn]
    return {
        "median_error_deg": float(np.median(errors)),
        "median_error_deg_interval_95": _interval(medians),
        "median_error_deg_by_gaze": np.median(errors, axis=0).tolist(),
        "slope": float(slopes.mean()),
        "slope_interval_95": _interval(slopes[drawn].mean(axis=1)),
    }


def slope_per_head(predicted_deg: np.ndarray, gaze_yaws_deg: Sequence[float]) -> np.ndarray:
    """Least-squares slope [heads] of azimuths [heads, yaws] over the gaze yaws [yaws].

    As all heads have the same yaws, their mean is the slope of all pictures together with an
    offset for each head. Azimuths are taken around their circular mean, so that a head may lie
    across +-180.
    """
    radians = np.radians(predicted_deg)
    middle = np.arctan2(np.sin(radians).sum(axis=1), np.cos(radians).sum(axis=1))
    around = viewpoint.wrap_deg(predicted_deg - np.degrees(middle)[:, None])
    yaws = np.asarray(gaze_yaws_deg) - np.mean(gaze_yaws_deg)
    return around @ yaws / (yaws @ yaws)


def _interval(values: Sequence[float] | np.ndarray) -> list[float]:
    return np.quantile(values, (0.025, 0.975)).tolist()


def table(result: dict[str, Any]) -> str:
    """The result as aligned lines."""
    yaws = "".join(f"{yaw:>8.0f}" for yaw in result["gaze_yaws_deg"])
    lines = [
        f"{result['heads']} heads, calibrated on {result['calibrated_on']}",
        f"{'':<10}{'median azimuth error, degrees':>30}{'degrees per degree of gaze':>30}",
    ]
    for name in ("network", "always_0"):
        scores = result[name]
        error = _with_interval(scores, "median_error_deg", ".1f")
        lines.append(f"{name:<10}{error:>30}{_with_interval(scores, 'slope', '.3f'):>30}")
    lines.append(f"{'gaze yaw':<10}{yaws}")
    for name in ("network", "always_0"):
        errors = "".join(f"{e:>8.1f}" for e in result[name]["median_error_deg_by_gaze"])
        lines.append(f"{name:<10}{errors}")
    return "\n".join(lines)


def _with_interval(numbers, key, form):
    low, high = numbers[f"{key}_interval_95"]
    return f"{numbers[key]:{form}} ({low:{form}} to {high:{form}})"


def _fitted_predictor(run: run_folder.Run) -> labelled.Predict:
    """What V says of square pictures of any size, fitted as its training pictures were."""
    framing, predict = run.options.framing, labelled.predictor(run.analysis())

    def fitted(images):
        return predict(np.stack([framing.fit(image) for image in images]))

    return fitted


def _calibrated(
    predict: labelled.Predict, run: run_folder.Run, resolution: int, seed: int
) -> Calibration:
    images, pose = render_range(range(_CALIBRATE_ON), resolution, "calibration", "free", seed)
    raw = predict(images)
    fitted = calibration.fit(raw, pose.angles_deg, calibration.azimuth_kind(run.options))
    for doubt in fitted.doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    return fitted


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
