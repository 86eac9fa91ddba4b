"""Pictures of plain boxes cut out on black, as files."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_cutouts(folder: Path) -> Path:
    """Makes the folder and writes 0.png to 11.png into it, 60 x 40 pixels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[8:32, 6:54] = rng.integers(60, 255, 3)
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder
