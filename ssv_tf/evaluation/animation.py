"""Pictures of a turning object as one file that moves: GIF, WebP or MP4."""

import importlib.util
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ssv_tf.base.errors import UserError

SUFFIXES = (".gif", ".webp", ".mp4")
_FRAME_MS = 80
_ENLARGED_TO = 128  # pixels a small picture is shown at


def frames(pictures: np.ndarray, closed: bool = True) -> list[Image.Image]:
    """The objects side by side, a picture a view, small ones enlarged.

    Args:
      pictures: uint8 [objects, views, R, R, 3].
      closed: whether the views go all around; else they swing back instead of jumping.

    Returns:
      `views` pictures, or 2 views - 2 where they swing back.
    """
    objects, views, side = pictures.shape[:3]
    strips = pictures.transpose(1, 2, 0, 3, 4).reshape(views, side, objects * side, 3)
    if not closed:
        strips = np.concatenate([strips, strips[-2:0:-1]])
    factor = max(1, _ENLARGED_TO // side)
    size = (objects * side * factor, side * factor)
    return [Image.fromarray(strip).resize(size, Image.Resampling.BICUBIC) for strip in strips]


def writes_mp4() -> bool:
    """Whether MP4 can be written: it needs the extra `video`."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


def encode(shown: list[Image.Image], suffix: str) -> bytes:
    """The frames as the bytes of a file.

    Args:
      shown: of equal size, even in height and width.
      suffix: ".gif" or ".webp", which start anew without end, or ".mp4" (H.264).

    Raises:
      UserError: MP4 without the extra `video`.
    """
    if suffix == ".mp4":
        return _mp4(shown)
    first, *rest = shown
    kind, how = {".gif": ("GIF", {}), ".webp": ("WEBP", {"lossless": False, "quality": 85})}[suffix]
    buffer = io.BytesIO()
    first.save(buffer, kind, save_all=True, append_images=rest, duration=_FRAME_MS, loop=0, **how)
    return buffer.getvalue()


def _mp4(shown: list[Image.Image]) -> bytes:
    if not writes_mp4():
        raise UserError("MP4 needs an extra package: pip install 'ssv-tf[video]'")
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "turntable.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path), shown[0].size, fps=1000 / _FRAME_MS, macro_block_size=2, quality=8
        )
        writer.send(None)
        for picture in shown:
            writer.send(picture.tobytes())
        writer.close()
        return path.read_bytes()
