"""The folder for TF Serving: NAME/VERSION/ with warm-up requests, configurations, compose file.

serving/
  NAME/1/saved_model.pb variables/ assets.extra/tf_serving_warmup_requests
  models.config  batching.config  monitoring.config  docker-compose.yml
"""

from pathlib import Path

import numpy as np

from ssv_tf.data.framing import Framing
from ssv_tf.export import saved_model
from ssv_tf.export.fold import FoldedViewpoint
from ssv_tf.export.serving import batched, configs, warmup
from ssv_tf.export.serving.model import ServedModel
from ssv_tf.export.serving.names import DEFAULT_MODEL


def write(
    folded: FoldedViewpoint,
    folder: Path,
    pictures: np.ndarray,
    framing: Framing | None = None,
    name: str = DEFAULT_MODEL,
    version: int = 1,
    batching: batched.Batching | None = None,
) -> Path:
    """Writes everything and tries it: the model is read back, its warm-up requests replayed.

    Args:
      folded: the model.
      folder: replaced if it exists; unchanged after an error.
      pictures: uint8 [m, r, r, 3], real ones, for the warm-up.
      framing: how serving_jpeg fits a picture into the square; None: by its longest side.
      name: what clients call the model.
      version: its number.
      batching: how pictures of concurrent requests are put together.

    Returns:
      the folder of the version.

    Raises:
      UserError: it cannot be written, or what was written answers otherwise.
    """
    batching = batching or batched.Batching()
    with saved_model.staged_folder(folder) as stage:
        version_folder = stage / name / str(version)
        answers = batched.in_batches(saved_model.answers_of(folded), folded.resolution, batching)
        saved_model.write(folded, version_folder, framing, answers)
        warmup.write(version_folder, name, pictures, batching.sizes)
        warmup.replay(version_folder, ServedModel(version_folder, name))
        configs.write(stage, name, batching)
    return folder / name / str(version)
