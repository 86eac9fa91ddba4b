"""How far each exported file is from Keras, in degrees on real pictures, and what it costs."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.export import from_files, tables
from ssv_tf.export.names import FURTHER, NOVELTY, OUTPUT
from ssv_tf.models.decoding import Viewpoints

Predict = Callable[[np.ndarray], np.ndarray]

# Median distance in degrees from which a file is not Keras's model any more, or is worth a word.
_EXACT_FORMATS = ("fp32", "saved_model", "serving")
_EXACT_LIMIT_DEG = 0.05
_DOUBT_DEG = 5.0
_DOUBT_NOVELTY = 0.2
_FROM_FILES = (
    "From files, as prediction reads them; `serving_jpeg` reads them itself, and refuses a kind "
    "that it would read\notherwise. Largest difference of an angle from prediction, degrees:"
)
_WARM_UP = 5
_TIMED = 50


def parity_table(
    keras_fn: Callable[[np.ndarray], Viewpoints],
    files: Mapping[str, str | Path],
    pictures: np.ndarray,
) -> list[dict]:
    """Compares exported files with Keras.

    Args:
      keras_fn: uint8 [n, r, r, 3] -> calibrated viewpoints, the reference.
      files: format -> path of a .tflite file or a SavedModel folder.
      pictures: uint8 [n, r, r, 3], real ones.

    Returns:
      a row for each file: format, file, bytes, pictures, latency_ms (mean, one picture a call;
      TFLite on one thread), and for each angle median_deg, p95_deg, max_deg of the absolute
      difference from Keras, round the circle; confidence and novelty, where Keras tells them:
      median, p95, max of the same.

    Raises:
      UserError: there are no pictures, or a file cannot be run.
    """
    if not len(pictures):
        raise UserError("no pictures to compare the exported files on")
    views = keras_fn(pictures)
    return [_row(name, Path(path), views, pictures) for name, path in files.items()]


def _row(name: str, path: Path, views: Viewpoints, pictures: np.ndarray) -> dict:
    predict = _predictor(path)
    answers = predict.outputs(pictures)
    error_deg = np.abs(viewpoint.wrap_deg(answers[OUTPUT] - views.degrees))
    row = {
        "format": name,
        "file": path.name,
        "bytes": size_bytes(path),
        "pictures": len(pictures),
        "latency_ms": _latency_ms(predict, pictures),
    }
    for i, angle in enumerate(viewpoint.ANGLES):
        row[angle] = {
            "median_deg": float(np.median(error_deg[:, i])),
            "p95_deg": float(np.percentile(error_deg[:, i], 95)),
            "max_deg": float(error_deg[:, i].max()),
        }
    row |= {key: _differences(answers[key][:, 0], known) for key, known in views.further.items()}
    return row


def _differences(exported: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    off = np.abs(exported - wanted)
    return {
        "median": float(np.median(off)),
        "p95": float(np.percentile(off, 95)),
        "max": float(off.max()),
    }


def _predictor(path: Path) -> Any:
    from ssv_tf.export import saved_model, tflite

    return saved_model.Predictor(path) if path.is_dir() else tflite.Predictor(path, threads=1)


def _latency_ms(predict: Predict, pictures: np.ndarray) -> float:
    for i in range(_WARM_UP):
        predict(pictures[i % len(pictures)][None])
    start = time.perf_counter()
    for i in range(_TIMED):
        predict(pictures[i % len(pictures)][None])
    return (time.perf_counter() - start) / _TIMED * 1e3


def size_bytes(path: Path) -> int:
    """Size of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    return path.stat().st_size


def doubts(rows: list[dict]) -> list[str]:
    """Warnings on quantised files that are far from Keras.

    Raises:
      UserError: a float32 file is not the same model.
    """
    sentences = []
    for row in rows:
        worst = max(viewpoint.ANGLES, key=lambda angle: row[angle]["median_deg"])
        median = row[worst]["median_deg"]
        if row["format"] in _EXACT_FORMATS and median > _EXACT_LIMIT_DEG:
            raise UserError(
                f"{row['file']} is {median:.2f} degrees off Keras in {worst}; it is not the model"
            )
        if median > _DOUBT_DEG:
            sentences.append(f"{row['file']} is {median:.1f} degrees off Keras in {worst} (median)")
        off = row.get(NOVELTY, {"median": 0.0})["median"]
        if off > _DOUBT_NOVELTY:
            sentences.append(f"{row['file']} is {off:.2f} off Keras in novelty (median)")
    return sentences


def to_json(rows: list[dict]) -> str:
    """The rows as JSON text."""
    return json.dumps(rows, indent=1) + "\n"


def to_markdown(rows: list[dict]) -> str:
    """The rows as a table, its columns aligned; reads as plain text too."""
    head = ["format", "kB", "ms", *(f"{a} median / p95 / max" for a in viewpoint.ANGLES)]
    head += [f"{name} p95" for name in FURTHER if name in rows[0]]
    return tables.markdown([head, *(_cells(row) for row in rows)])


def page(rows: list[dict], mark: str = "", ways: Mapping[str, Any] | None = None) -> str:
    """The table with what it was measured on, and before it how the run was trained if needed.

    Args:
      rows: of `parity_table`; none where no model was written.
      mark: a line for the top.
      ways: of `from_files.compared`.
    """
    if not rows:
        return "No model was written, so none was compared.\n"
    about = f"Compared on {rows[0]['pictures']} pictures: {rows[0]['pictures_from']}."
    text = (f"{mark}\n\n" if mark else "") + f"{to_markdown(rows)}\n{about}\n"
    return text + (f"\n{_FROM_FILES}\n\n{from_files.to_markdown(ways)}" if ways else "")


def _cells(row: dict) -> list[str]:
    angles = (row[angle] for angle in viewpoint.ANGLES)
    further = [f"{row[name]['p95']:.3f}" for name in FURTHER if name in row]
    return [
        row["format"],
        f"{row['bytes'] / 1000:.0f}",
        f"{row['latency_ms']:.2f}",
        *(f"{a['median_deg']:.3f} / {a['p95_deg']:.3f} / {a['max_deg']:.2f}" for a in angles),
        *further,
    ]
