"""One picture, one answer: files of many kinds through each exported way, beside prediction.

Prediction reads a file by `Framing.read`. A .tflite file and `serving_default` take such squares;
`serving_jpeg` reads the file itself, and may refuse a kind that it would read otherwise.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssv_tf import viewpoint
from ssv_tf.data.framing import Framing
from ssv_tf.export import tables
from ssv_tf.export.kinds import kinds
from ssv_tf.export.names import OUTPUT

Answer = Callable[[np.ndarray], np.ndarray]
SIDE = 240  # pixels of the longest side of a file's picture
_PICTURES = 4
_DOUBT_DEG = 2.0  # median of a kind's pictures from which a reading of files is worth a word
_REFUSED = "refused"
_SERVED = "serving_jpeg"


def enlarged(square: np.ndarray, number: int) -> np.ndarray:
    """A picture to put into files, wide or high by turns: uint8 [R, R, 3] -> [H, W, 3]."""
    whole = Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    short = SIDE * 3 // 4
    sides = (0, (SIDE - short) // 2, SIDE, (SIDE + short) // 2)
    left, top, right, bottom = sides if number % 2 == 0 else (*sides[1::-1], *sides[:1:-1])
    return np.asarray(whole.crop((left, top, right, bottom)))


def compared(
    reference: Answer,
    paths: Mapping[str, Path],
    squares: np.ndarray,
    framing: Framing,
) -> dict[str, dict[str, Any]]:
    """How far each way is from prediction, kind by kind.

    Args:
      reference: uint8 [n, R, R, 3] -> calibrated degrees [n, 3], of prediction.
      paths: format -> .tflite file or SavedModel folder.
      squares: uint8 [m, R, R, 3]; the first few are put into files.
      framing: of the run.

    Returns:
      way -> kind -> {"median_deg", "max_deg"} of the angles' largest difference, or
      {"refused": reason}. A way is a format, or "FORMAT serving_jpeg".
    """
    if not paths:
        return {}
    files = [kinds(enlarged(square, i)) for i, square in enumerate(squares[:_PICTURES])]
    by_kind = {kind: [versions[kind][1] for versions in files] for kind in files[0]}
    read = {kind: _squares(contents, framing) for kind, contents in by_kind.items()}
    wanted = {kind: np.asarray(reference(given)) for kind, given in read.items()}
    ways: dict[str, dict[str, Any]] = {}
    for name, path in paths.items():
        answer, served = _ways(path)
        ways[name] = {kind: _apart(answer(read[kind]), wanted[kind]) for kind in by_kind}
        if served is not None:
            ways[f"{name} {_SERVED}"] = {
                kind: _of_contents(served, contents, wanted[kind])
                for kind, contents in by_kind.items()
            }
    return ways


def _squares(contents: list[bytes], framing: Framing) -> np.ndarray:
    return np.stack([framing.read(content) for content in contents])


def _ways(path: Path) -> tuple[Answer, Callable[[list[bytes]], np.ndarray] | None]:
    from ssv_tf.export import saved_model, tflite

    if not path.is_dir():
        return tflite.Predictor(path, threads=1), None
    predictor = saved_model.Predictor(path)
    return predictor, lambda contents: predictor.of_files(contents)[OUTPUT]


def _of_contents(
    served: Callable[[list[bytes]], np.ndarray], contents: list[bytes], wanted: np.ndarray
) -> dict[str, Any]:
    from ssv_tf.export.saved_model import Refused

    try:
        return _apart(served(contents), wanted)
    except Refused as error:
        return {_REFUSED: str(error)}


def _apart(answers: np.ndarray, wanted: np.ndarray) -> dict[str, Any]:
    largest = np.abs(viewpoint.wrap_deg(np.asarray(answers) - wanted)).max(axis=1)
    return {"median_deg": float(np.median(largest)), "max_deg": float(largest.max())}


def doubts(ways: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on kinds of files that a server reads otherwise than prediction."""
    return [
        f"{way} is {difference['median_deg']:.1f} degrees off prediction for a {kind} (median)"
        for way, by_kind in ways.items()
        if way.endswith(_SERVED)
        for kind, difference in by_kind.items()
        if difference.get("median_deg", 0.0) > _DOUBT_DEG
    ]


def to_markdown(ways: Mapping[str, Mapping[str, Any]]) -> str:
    """A table: a row a kind of file, a column a way, the largest difference in degrees."""
    rows = [["file", *ways]]
    for kind in next(iter(ways.values())):
        rows.append([kind, *(_cell(by_kind[kind]) for by_kind in ways.values())])
    return tables.markdown(rows)


def _cell(difference: Mapping[str, Any]) -> str:
    return _REFUSED if _REFUSED in difference else f"{difference['max_deg']:.2f}"
