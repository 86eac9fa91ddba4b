"""V with everything a caller would otherwise do around it: pixels in, calibrated degrees out."""

import numpy as np
import tensorflow as tf

from ssv_tf import viewpoint
from ssv_tf.data import framing
from ssv_tf.evaluation.calibration import NO_WARP, Calibration
from ssv_tf.evaluation.confidence import LEAST_DOUBT
from ssv_tf.export.names import CONFIDENCE, INPUT, OUTPUT
from ssv_tf.models.encoding import PLAIN

# Scope of the operations from logits to degrees, by which a quantiser can tell them.
DECODING = "viewpoint_decoding"


class FoldedViewpoint(tf.Module):
    """Picture -> calibrated viewpoint: normalisation, V, decoding and calibration in one.

    The heads for style and realness and the minibatch statistic are not part of it: only what
    `analysis.viewpoint` touches is traced, and only the weights of that trace are kept.

        folded = FoldedViewpoint(analysis, calibration)
        folded(pictures)  # uint8 [n, r, r, 3] -> float32 degrees [n, 3]

    Args:
      analysis: an AnalysisNetwork or a StudentNetwork; its weights are shared, not copied.
      calibration: None leaves the angles as V says them.

    Attributes:
      resolution: side of the picture in pixels.
      outputs: names of the answers: "viewpoint_deg", and "confidence" where the calibration has it.
      weights: the tf.Variables that the viewpoint needs.
    """

    def __init__(self, analysis, calibration: Calibration | None = None):
        super().__init__()
        calibration = calibration or Calibration.identity()
        self.resolution = int(analysis.resolution)
        # A plain function hides the network, whose other heads a SavedModel would else keep.
        self._answers = _answers_function(analysis, calibration)
        self.outputs = (OUTPUT, CONFIDENCE) if calibration.confidence else (OUTPUT,)
        self.weights = list(self.trace(tf.float32, batch=None).graph.variables)

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
        """`outputs` by name: viewpoint_deg [batch, 3], confidence [batch, 1] in 0..1."""
        return self._answers(picture)

    def trace(self, dtype: tf.DType, batch: int | None) -> tf.types.experimental.ConcreteFunction:
        """A graph {"picture"} -> `answers` for one type and batch size (None: any)."""
        shape = (batch, self.resolution, self.resolution, 3)
        answers = self._answers

        @tf.function
        def predict(picture):
            return answers(picture)

        return predict.get_concrete_function(tf.TensorSpec(shape, dtype, name=INPUT))


def _answers_function(analysis, calibration: Calibration):
    scale = np.asarray(calibration.scale, np.float32) * np.float32(180.0 / np.pi)
    offset = np.asarray(calibration.offset_deg, np.float32)
    bias = np.zeros((1, 3, 4), np.float32)
    bias[0, 0] = calibration.quadrant_bias
    warp = calibration.azimuth_warp

    def answers(picture):
        images = framing.normalise(tf.cast(picture, tf.float32))
        logits = analysis.viewpoint(images)
        with tf.name_scope(DECODING):
            quadrants = logits["quadrant_logits"] + bias
            raw_rad = decode(logits["magnitude_logits"], quadrants, analysis.encoding)
            if warp != NO_WARP:
                raw_rad = warped(raw_rad, warp)
            found = {OUTPUT: wrap_deg(raw_rad * scale + offset)}  # [batch, 3]
            if calibration.confidence:
                head = logits.get("confidence_logit")
                found[CONFIDENCE] = confident(quadrants[:, 0], head, calibration.confidence)
            return found

    return answers


def confident(quadrant_logits: tf.Tensor, head: tf.Tensor | None, fitted) -> tf.Tensor:
    """`confidence.Confidence.apply` in operations that TFLite has.

    Args:
      quadrant_logits: azimuth's with their bias, [batch, 4].
      head: a student's own log odds [batch, 1], or None.
      fitted: confidence.Confidence.

    Returns:
      [batch, 1] in 0..1.
    """
    top = tf.reduce_max(tf.nn.softmax(quadrant_logits, axis=-1), axis=-1, keepdims=True)
    margin = tf.math.log(top) - tf.math.log(tf.maximum(1.0 - top, LEAST_DOUBT))
    log_odds = margin * fitted.margin_slope + fitted.offset
    if head is not None:
        log_odds += head * fitted.head_slope
    return tf.sigmoid(log_odds)


def decode(magnitude_logits: tf.Tensor, quadrant_logits: tf.Tensor, encoding=PLAIN) -> tf.Tensor:
    """`encoding.decode` in operations that TFLite has (tests hold it to the original).

    Keras's argmax looks at the bits of -0.0, for which TFLite has no operation.

    Args:
      magnitude_logits: [batch, 3, 2].
      quadrant_logits: [batch, 3, 4].
      encoding: Encoding.

    Returns:
      radians [batch, 3].
    """
    quadrant = tf.argmax(quadrant_logits, axis=-1, output_type=tf.int32)
    signs = tf.gather(tf.constant(viewpoint.QUADRANT_SIGNS), quadrant)  # [batch, 3, 2]
    vector = tf.sqrt(tf.nn.softmax(magnitude_logits, axis=-1)) * signs
    stretched = tf.atan2(vector[..., 1], vector[..., 0])
    return stretched / tf.constant(encoding.stretch) + tf.constant(encoding.centre_rad)


def warped(raw_rad: tf.Tensor, exponents: tuple[float, float]) -> tf.Tensor:
    """`calibration.warped` of the azimuths of raw_rad [batch, 3], in [-pi, pi].

    Elevation and tilt go along with exponents of 1: a quantiser would take a slice for its own.
    """
    a, b = (tf.constant([exponent, 1.0, 1.0], tf.float32) for exponent in exponents)
    angle, quarter = tf.abs(raw_rad), np.float32(np.pi / 2)
    share = tf.clip_by_value(1.0 - tf.abs(angle / quarter - 1.0), 0.0, 1.0)
    moved = quarter * (1.0 - tf.pow(1.0 - tf.pow(share, a), b))
    moved = tf.where(angle > quarter, 2.0 * quarter - moved, moved)
    return tf.where(raw_rad < 0.0, -moved, moved)


def wrap_deg(angles_deg: tf.Tensor) -> tf.Tensor:
    """Degrees wrapped to (-180, 180], as `viewpoint.wrap_deg`."""
    return 180.0 - tf.math.floormod(180.0 - angles_deg, 360.0)


def by_name(answers: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """`FoldedViewpoint.answers` and "azimuth_deg" [batch], "elevation_deg", "tilt_deg"."""
    degrees = answers[OUTPUT]
    return answers | {f"{name}_deg": degrees[:, i] for i, name in enumerate(viewpoint.ANGLES)}
