"""Test vectors: pictures, what prediction makes of them, and its answers, for tests of an app.

vectors/
  README.txt  vectors.json
  pictures/NN_KIND.SUFFIX   files of many kinds, drawn, no photos
  squares/NN_KIND.npy       uint8 [R, R, 3], what the network is given
"""

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf import viewpoint
from ssv_tf.base import files
from ssv_tf.data.framing import Framing
from ssv_tf.export import kinds
from ssv_tf.export.from_files import enlarged
from ssv_tf.models.decoding import Viewpoints

FOLDER = "vectors"
TABLE = "vectors.json"
PICTURES = 3
# What a float model on the same square may differ, and how far another decoder or resampler may
# lead: JPEG decoders disagree by a level or two, and a network of few pixels feels it.
TOLERANCE = {"square_levels": 2, "angle_deg": 1.0, "confidence": 0.02, "novelty": 0.05}
_NPY_HEADER = 128  # bytes before the values
_README = """Test vectors of {name}

Test an app with them in two steps.

1. Pre-processing: read each file of pictures/, make the square, compare it with squares/ (NumPy's
   .npy: the values begin at byte {header}, uint8, {side} x {side} x 3, row by row, RGB). No value
   should be more than {square_levels} levels off. {words}
   EXIF turns are applied; transparent parts lie over mid-grey, 127.
2. Inference: give the network the square (as uint8, or as float32 with the values 0 to 255) and
   compare the angles with {table}, round the circle: 179 and -179 degrees are 2 apart. A float32
   model should be within {angle_deg} degrees, {confidence} of the confidence and {novelty} of the
   novelty, where it has them; how far a quantised file is from them is in parity.md beside this
   folder.

An app need not read every kind. One that it does not read it should refuse, not answer wrongly.
The pictures are drawn by code and may be passed on.
"""

Answer = Callable[[np.ndarray], Viewpoints]  # of uint8 [n, R, R, 3]


def write(
    folder: str | os.PathLike, answer: Answer, squares: np.ndarray, framing: Framing, name: str
) -> Path:
    """Writes the folder.

    Args:
      folder: new or empty.
      answer: of prediction.
      squares: uint8 [n, R, R, 3], drawn ones; the first few are put into files.
      framing: of the run.
      name: of the model.

    Raises:
      UserError: it cannot be written.
    """
    folder = Path(folder)
    rows = [
        row
        for number, square in enumerate(squares[:PICTURES])
        for row in _pictures(folder, enlarged(square, number), number, framing)
    ]
    given = np.stack([row.pop("pixels") for row in rows])
    views = answer(given)
    for i, row in enumerate(rows):
        row |= {
            f"{angle}_deg": round(float(views.degrees[i, axis]), 3)
            for axis, angle in enumerate(viewpoint.ANGLES)
        }
        row |= {k: round(float(known[i]), 4) for k, known in views.further.items()}
    table = {
        "model": name,
        "framing": framing.to_dict(),
        "square": {"type": "uint8", "shape": list(framing.shape), "npy_header": _NPY_HEADER},
        "tolerance": TOLERANCE,
        "pictures": rows,
    }
    files.write_atomically(folder / TABLE, json.dumps(table, indent=1) + "\n")
    files.write_atomically(folder / "README.txt", _readme(framing, name))
    return folder


def _pictures(
    folder: Path, picture: np.ndarray, number: int, framing: Framing
) -> list[dict[str, Any]]:
    """Files of one picture, in every kind, with their squares."""
    rows = []
    for kind, (suffix, content) in kinds.kinds(picture).items():
        stem = f"{number:02d}_{re.sub('[^a-z0-9]+', '_', kind.lower())}"
        square = framing.read(content)
        row = {"file": f"pictures/{stem}{suffix}", "kind": kind, "square": f"squares/{stem}.npy"}
        files.write_atomically(folder / row["file"], content)
        files.write_atomically(folder / row["square"], _npy(square))
        rows.append(row | {"pixels": square})
    return rows


def _npy(square: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, square)
    return stream.getvalue()


def _readme(framing: Framing, name: str) -> str:
    return _README.format(
        name=name,
        header=_NPY_HEADER,
        side=framing.resolution,
        words=framing.words(),
        table=TABLE,
        **TOLERANCE,
    )
