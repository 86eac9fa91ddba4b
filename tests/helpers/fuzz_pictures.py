r"""Feeds the picture reader what atheris makes of the corpus, led by the coverage of Pillow's code.

  pip install atheris==3.0.0
  python tests/helpers/fuzz_pictures.py CORPUS_FOLDER \
      -max_total_time=600 -timeout=20 -rss_limit_mb=2000

CORPUS_FOLDER, made if need be, keeps what reached new code; the other words are libFuzzer's.
Whatever is neither a picture nor a BadPicture with a short reason ends the run and is kept.
"""

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
with atheris.instrument_imports(include=["PIL", "ssv_tf.data.reading", "ssv_tf.data.folder"]):
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        MpoImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    from ssv_tf.data import folder, reading

import bad_corpus  # noqa: E402

_PLUGINS = (
    BmpImagePlugin, GifImagePlugin, JpegImagePlugin, MpoImagePlugin, PngImagePlugin,
    TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip
_LARGEST_SEED = 20_000  # bytes
# Small limits, so that both ways of reading are tried and none takes long.
reading.MAX_PIXELS, reading._LARGE_PIXELS, reading._STRIP_PIXELS = 2_000_000, 5_000, 500


def read(content: bytes) -> None:
    """Reads and fits; the length chooses how, so that the bytes are a file and nothing else."""
    try:
        picture = folder.read_picture(content, shortest=(None, 16, 128)[len(content) % 3])
    except folder.BadPicture as error:
        assert 0 < len(str(error)) < 150 and str(error).isprintable(), repr(error)
        return
    assert picture.ndim == 3 and picture.shape[2] == 3 and picture.size, picture.shape
    crop, padding = folder.CROPS[len(content) % 2], folder.PADDINGS[len(content) % 4]
    assert folder.fit_square(picture, 32, crop, 2.4, padding).shape == (32, 32, 3)


def write_seeds(place: Path) -> None:
    """The small files of the corpus, numbered."""
    place.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(bad_corpus.pictures()):
        if isinstance(case.content, bytes) and len(case.content) <= _LARGEST_SEED:
            (place / f"seed_{number:03d}").write_bytes(case.content)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
