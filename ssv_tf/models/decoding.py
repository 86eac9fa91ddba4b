"""From a network's answers to calibrated degrees, confidence and novelty: the one decoder.

Prediction runs it on arrays, which need NumPy alone (`base.array_ops`); `ssv_tf.export.fold` traces
it into the exported files, so every operation here is one that TFLite has. What is fitted on
labelled pictures comes as `Parameters` (`evaluation.calibration.Calibration` has them).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

from ssv_tf.base.array_ops import ops
from ssv_tf.base.types import Tensor
from ssv_tf.models import encoding
from ssv_tf.models.encoding import PLAIN, Encoding

NO_BIAS = (0.0, 0.0, 0.0, 0.0)
NO_WARP = (1.0, 1.0)
# Of the probability left to the other quadrants: a surer network is not taken at its word.
LEAST_DOUBT = 1e-6
# `familiarity` is 0.5 this many deviations above the threshold, and falls so steeply there.
_HALF_FAMILIAR, _FAMILIARITY_SLOPE = 0.45, 4.0


@dataclasses.dataclass(frozen=True)
class RawPrediction:
    """What V says of n pictures, not yet decoded; arrays or tensors.

    Attributes:
      magnitude_logits: [n, 3, 2]; softmax gives (cos^2, sin^2) of azimuth, elevation, tilt.
      quadrant_logits: [n, 3, 4]; classes of `viewpoint.QUADRANT_SIGNS`.
      confidence_logit: [n, 1], a student's own log odds that its azimuth is right; None of a
        network without that head.
      encoding: of the network's angles.
      channel_statistics: [n, 2 channels] of an early block (`layers.channel_statistics`), which
        tell pictures of something else; None of a network that has none.
    """

    magnitude_logits: Tensor
    quadrant_logits: Tensor
    confidence_logit: Tensor = None
    encoding: Encoding = PLAIN
    channel_statistics: Tensor = None

    @classmethod
    def of(cls, network: Any, answers: Mapping[str, Tensor]) -> "RawPrediction":
        """What a network's `answers` are."""
        return cls(
            answers["magnitude_logits"],
            answers["quadrant_logits"],
            answers.get("confidence_logit"),
            network.encoding,
            answers.get("channel_statistics"),
        )

    def __len__(self) -> int:
        return len(self.quadrant_logits)

    def __getitem__(self, index: Any) -> "RawPrediction":
        """Some of the pictures: a slice, indices or booleans, as arrays take them."""
        head, statistics = self.confidence_logit, self.channel_statistics
        return dataclasses.replace(
            self,
            magnitude_logits=self.magnitude_logits[index],
            quadrant_logits=self.quadrant_logits[index],
            confidence_logit=None if head is None else head[index],
            channel_statistics=None if statistics is None else statistics[index],
        )


FURTHER = ("confidence", "novelty")  # what an answer may tell beside its angles


def known_of(answer: Any) -> dict[str, Any]:
    """Those of `FURTHER` that an answer with such attributes knows, by name."""
    further = {name: getattr(answer, name) for name in FURTHER}
    return {name: values for name, values in further.items() if values is not None}


@dataclasses.dataclass(frozen=True)
class Viewpoints:
    """Decoded answers of n pictures; arrays or tensors.

    Attributes:
      degrees: [n, 3]: azimuth, elevation, tilt in (-180, 180].
      confidence: [n], probability that the azimuth is right; None where nothing can tell it.
      novelty: [n], how far a picture is from those that calibrated, above 1: it does not look
        like them; None where nothing can tell it.
    """

    degrees: Tensor
    confidence: Tensor = None
    novelty: Tensor = None

    def __len__(self) -> int:
        return len(self.degrees)

    @property
    def further(self) -> dict[str, Tensor]:
        """What is known beside the angles, [n] each: "confidence", "novelty"."""
        return known_of(self)

    @property
    def azimuth_deg(self) -> Tensor:
        """[n]."""
        return self.degrees[:, 0]

    @property
    def elevation_deg(self) -> Tensor:
        """[n]."""
        return self.degrees[:, 1]

    @property
    def tilt_deg(self) -> Tensor:
        """[n]."""
        return self.degrees[:, 2]


class ConfidenceParameters(Protocol):
    """Log odds that an azimuth is right: margin * margin_slope + head * head_slope + offset."""

    @property
    def margin_slope(self) -> float: ...

    @property
    def head_slope(self) -> float: ...

    @property
    def offset(self) -> float: ...


class NoveltyParameters(Protocol):
    """Novelty: root mean square of matrix @ (statistics - mean), over a threshold.

    Attributes:
      mean: [k].
      matrix: [k, k].
      threshold: above 0.
      spread: deviation of the logarithm of the collection's novelties.
    """

    @property
    def mean(self) -> tuple[float, ...]: ...

    @property
    def matrix(self) -> Any: ...

    @property
    def threshold(self) -> float: ...

    @property
    def spread(self) -> float: ...


class Parameters(Protocol):
    """What was fitted on labelled pictures, in the order in which it is applied.

    Attributes:
      quadrant_bias: added to the logits of azimuth's quadrant.
      azimuth_warp: exponents of `warped_share`; (1, 1) changes nothing.
      scale, offset_deg: degrees = scale * own degrees + offset, per angle, then wrapped.
      confidence, novelty: None where there is none.
    """

    @property
    def quadrant_bias(self) -> tuple[float, float, float, float]: ...

    @property
    def azimuth_warp(self) -> tuple[float, float]: ...

    @property
    def scale(self) -> tuple[float, float, float]: ...

    @property
    def offset_deg(self) -> tuple[float, float, float]: ...

    @property
    def confidence(self) -> ConfidenceParameters | None: ...

    @property
    def novelty(self) -> NoveltyParameters | None: ...


@dataclasses.dataclass(frozen=True)
class _Uncalibrated:
    quadrant_bias: tuple[float, float, float, float] = NO_BIAS
    azimuth_warp: tuple[float, float] = NO_WARP
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    confidence: None = None
    novelty: None = None


UNCALIBRATED: Parameters = _Uncalibrated()


def decode(raw: RawPrediction, parameters: Parameters = UNCALIBRATED) -> Viewpoints:
    """Viewpoints of a prediction, in tensors of the backend.

    The quadrant of azimuth is decided here, once, with its bias; then come the warp, the line or
    the turn of the circle, and the confidence, which is low for a picture of something else.
    """
    bias = ops.convert_to_tensor([[parameters.quadrant_bias, NO_BIAS, NO_BIAS]], dtype="float32")
    quadrant_logits = ops.convert_to_tensor(raw.quadrant_logits, dtype="float32") + bias
    magnitude_logits = ops.convert_to_tensor(raw.magnitude_logits, dtype="float32")
    angles_rad = encoding.decode(magnitude_logits, quadrant_logits, raw.encoding)
    confidence = None
    if parameters.confidence is not None:
        confidence = _confidence(quadrant_logits[:, 0], raw.confidence_logit, parameters.confidence)
    novelty = None
    if parameters.novelty is not None and _fits(parameters.novelty, raw):
        novelty = _novelty(raw.channel_statistics, parameters.novelty)
        if confidence is not None:
            confidence = confidence * familiarity(novelty, parameters.novelty.spread)
    return Viewpoints(calibrated_deg(angles_rad, parameters), confidence, novelty)


def _fits(fitted: NoveltyParameters, raw: RawPrediction) -> bool:
    """Whether it can be of this network's statistics."""
    statistics = raw.channel_statistics
    return statistics is not None and statistics.shape[-1] == len(fitted.mean)


def familiarity(novelty: Tensor, spread: float) -> Tensor:
    """Probability that a picture shows such an object, falling smoothly from 1 to 0 beyond 1.

    The law is chosen, not fitted, as nobody has pictures of everything else: it is about what
    follows where left-out novelties are log-normal and a quarter of the pictures are of anything.

    Args:
      novelty: [n], an array or tensor.
      spread: of the fit (`NoveltyParameters`).
    """
    deviations = ops.log(ops.maximum(novelty, 1e-3)) / spread  # beyond the threshold
    return ops.sigmoid(_FAMILIARITY_SLOPE * (_HALF_FAMILIAR - deviations))


def calibrated_deg(angles_rad: Tensor, parameters: Parameters) -> Tensor:
    """V's own angles [..., 3] in radians, in [-pi, pi] -> calibrated degrees in (-180, 180]."""
    if tuple(parameters.azimuth_warp) != NO_WARP:
        angles_rad = _warped(angles_rad, parameters.azimuth_warp)
    degrees = [factor * math.degrees(1.0) for factor in parameters.scale]
    scale, offset = (
        ops.convert_to_tensor(values, dtype=angles_rad.dtype)
        for values in (degrees, parameters.offset_deg)
    )
    return _wrapped(angles_rad * scale + offset)


def warped_share(share: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """1 - (1 - u^a)^b of shares in 0..1: the distribution function of Kumaraswamy (1980).

    Of arrays or tensors; u is the way that an azimuth has gone from the mirror plane (0 or 180) to
    side-on (90 or -90).
    """
    return 1.0 - (1.0 - share**first) ** second


def _warped(angles_rad: Tensor, exponents: tuple[float, float]) -> Tensor:
    """Azimuths moved along their quarter of the circle; 0, +-90 and 180 stay.

    Elevation and tilt go along with exponents of 1: a quantiser would take a slice for its own.
    """
    first, second = (
        ops.convert_to_tensor([exponent, 1.0, 1.0], dtype=angles_rad.dtype)
        for exponent in exponents
    )
    quarter = math.pi / 2
    angle = ops.abs(angles_rad)
    share = ops.clip(1.0 - ops.abs(angle / quarter - 1.0), 0.0, 1.0)
    moved = quarter * warped_share(share, first, second)
    moved = ops.where(angle > quarter, 2.0 * quarter - moved, moved)
    return ops.where(angles_rad < 0.0, -moved, moved)


def _wrapped(degrees: Tensor) -> Tensor:
    """In (-180, 180], as `viewpoint.wrap_deg`."""
    wrapped = 180.0 - ops.mod(180.0 - degrees, 360.0)
    return ops.where(wrapped <= -180.0, 180.0, wrapped)  # just above 180, mod rounds to 360


def _confidence(quadrant_logits: Tensor, head: Tensor, fitted: ConfidenceParameters) -> Tensor:
    """[n], of azimuth's biased logits [n, 4] and a student's own log odds [n, 1], or None."""
    log_odds = quadrant_margin(quadrant_logits) * fitted.margin_slope + fitted.offset
    if head is not None:
        head = ops.convert_to_tensor(head, dtype="float32")
        log_odds = log_odds + head[:, 0] * fitted.head_slope
    return ops.sigmoid(log_odds)


def _novelty(statistics: Tensor, fitted: NoveltyParameters) -> Tensor:
    """[n], Mahalanobis distance of statistics [n, k] over the threshold."""
    statistics = ops.convert_to_tensor(statistics, dtype="float32")
    mean, matrix = (
        ops.convert_to_tensor(values, dtype="float32")
        for values in (fitted.mean, fitted.matrix / fitted.threshold)
    )
    # No matrix product: int8 files would have it in 8 bits, as a dense layer.
    whitened = ops.sum((statistics - mean)[:, None, :] * matrix, axis=-1)  # [n, k]
    return ops.sqrt(ops.mean(ops.square(whitened), axis=-1))


def quadrant_margin(logits: Tensor) -> Tensor:
    """Log odds of the likeliest quadrant, [n, 4] -> [n].

    The others are summed without the likeliest one: one minus its share would be rounding alone.
    """
    first, second, third, fourth = (logits[:, i] for i in range(4))
    upper, lower = encoding.larger(first, second), encoding.larger(third, fourth)
    top = encoding.larger(upper, lower)
    # In each pair, and of the two winners, the one that is not larger.
    lesser = (first + second - upper, third + fourth - lower, upper + lower - top)
    others = sum(ops.exp(logit - top) for logit in lesser)
    share = 1.0 / (1.0 + others)
    return ops.log(share) - ops.log(encoding.larger(others * share, LEAST_DOUBT))
