"""V with everything a caller would otherwise do around it: pixels in, calibrated degrees out."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ssv_tf import viewpoint
from ssv_tf.data import framing
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.export.names import INPUT, OUTPUT, OUTPUTS
from ssv_tf.models import decoding
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.decoding import RawPrediction
from ssv_tf.models.student import StudentNetwork

# Scope of the operations from logits to degrees, by which a quantiser can tell them.
DECODING = "viewpoint_decoding"


class FoldedViewpoint(tf.Module):
    """Picture -> calibrated viewpoint: normalisation, V, decoding and calibration in one.

    The heads for style and realness and the minibatch statistic are not part of it: only what
    `analysis.answers` touches is traced, and only the weights of that trace are kept.

        folded = FoldedViewpoint(analysis, calibration)
        folded(pictures)  # uint8 [n, r, r, 3] -> float32 degrees [n, 3]

    Args:
      analysis: an AnalysisNetwork or a StudentNetwork; its weights are shared, not copied.
      calibration: None leaves the angles as V says them.

    Attributes:
      resolution: side of the picture in pixels.
      outputs: names of the answers: "viewpoint_deg", and "confidence" and "novelty" where
        calibration and network have them.
      weights: the tf.Variables that the viewpoint needs.
    """

    def __init__(
        self, analysis: AnalysisNetwork | StudentNetwork, calibration: Calibration | None = None
    ) -> None:
        super().__init__()
        calibration = calibration or Calibration.identity()
        self.resolution = int(analysis.resolution)
        # A plain function hides the network, whose other heads a SavedModel would else keep.
        self._answers = _answers_function(analysis, calibration)
        traced = self.trace(tf.float32, batch=None)
        self.outputs = tuple(name for name in OUTPUTS if name in traced.structured_outputs)
        self.weights = list(traced.graph.variables)

    @property
    def parameters(self) -> int:
        """Numbers in `weights`."""
        return sum(int(np.prod(weight.shape)) for weight in self.weights)

    def __call__(self, picture: tf.Tensor) -> tf.Tensor:
        """Degrees of pictures.

        Args:
          picture: uint8, or float32 of the same range 0 to 255; [batch, r, r, 3], RGB.

        Returns:
          float32 [batch, 3]: azimuth, elevation, tilt in (-180, 180].
        """
        return self._answers(picture)[OUTPUT]

    def answers(self, picture: tf.Tensor) -> dict[str, tf.Tensor]:
        """`outputs` by name: viewpoint_deg [batch, 3], confidence and novelty [batch, 1]."""
        return self._answers(picture)

    def trace(self, dtype: tf.DType, batch: int | None) -> tf.types.experimental.ConcreteFunction:
        """A graph {"picture"} -> `answers` for one type and batch size (None: any)."""
        shape = (batch, self.resolution, self.resolution, 3)
        answers = self._answers

        @tf.function
        def predict(picture):
            return answers(picture)

        return predict.get_concrete_function(tf.TensorSpec(shape, dtype, name=INPUT))


def _answers_function(
    analysis: AnalysisNetwork | StudentNetwork, calibration: Calibration
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    def answers(picture):
        images = framing.normalise(tf.cast(picture, tf.float32))
        raw = RawPrediction.of(analysis, analysis.answers(images))
        with tf.name_scope(DECODING):
            views = decoding.decode(raw, calibration)
            further = {name: values[:, None] for name, values in views.further.items()}
            return {OUTPUT: views.degrees} | further  # [batch, 3], [batch, 1]

    return answers


def by_name(answers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """`FoldedViewpoint.answers` and "azimuth_deg" [batch], "elevation_deg", "tilt_deg"."""
    degrees = answers[OUTPUT]
    return answers | {f"{name}_deg": degrees[:, i] for i, name in enumerate(viewpoint.ANGLES)}
