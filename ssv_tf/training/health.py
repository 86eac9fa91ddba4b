"""Is a run healthy? Measured without a label, from V, S and a sample of the collection.

A low viewpoint loss proves nothing: V and S may have agreed on a code that no real picture holds.
What cannot be agreed on is whether a *real* picture looks more like S's drawing from the azimuth V
gives it than like the drawings from elsewhere on the circle.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from ssv_tf import config, viewpoint
from ssv_tf.base.types import Tensor
from ssv_tf.config import parts
from ssv_tf.data.framing import to_network
from ssv_tf.models import inference
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import augment, losses
from ssv_tf.training.objective import viewpoint_range_rad

SAMPLE = 128  # real pictures looked at, and pictures drawn
_AROUND = 12  # azimuths tried for each real picture, the predicted one first
_BATCH = 32
# Runs spoilt on purpose end at 0.00 to 0.36, good ones at 0.55 to 0.92 (docs/notebook/health.md).
HEALTHY, COLLAPSED = 0.45, 0.4
_COVERAGE_ENOUGH = 0.8  # few collections show all sides equally often; photos of cars have 0.85
_TURNING, _COVERAGE, _DRAWN_ERROR_DEG = 0.25, 0.5, 35.0
_END_ON, _FEWEST_OF_AN_END = 0.5, 5  # cosine of 60 degrees; pictures
_MOVED_DEG = 30.0  # an azimuth that moves by more has changed its mind
_ENOUGH_STABILITY = 0.9  # below it mostly less than three quarters were right
_ENOUGH_HANDEDNESS = 0.7  # below it S turned the wrong way or lay across its mirror plane


class Health:
    """Measures a run's health, always on the same sample and the same random numbers.

    Args:
      viewpoints: what S draws.
      code_size: length of each style code.
      augment_strength: of what V sees of S's pictures.
      seed: of the sample and of all random numbers.
      features: frozen perceptual features, [b, r, r, 3] -> [b, n].
      pictures: uint8 [n, r, r, 3] of the collection.

    Attributes:
      answers_deg: azimuths that the last measurement saw in the real pictures and in their mirror
        images [2 n], empty before the first; a resumed run sets them.
    """

    def __init__(
        self,
        *,
        viewpoints: parts.ViewpointRange,
        code_size: int,
        augment_strength: float,
        seed: int,
        features: Any,
        pictures: np.ndarray,
    ) -> None:
        self.augment_strength, self.features = augment_strength, features
        rng = np.random.default_rng([seed, 7])
        indices = rng.permutation(len(pictures))[:SAMPLE]
        self.real = to_network(pictures[indices])
        low, high = (ops.convert_to_numpy(side) for side in viewpoint_range_rad(viewpoints))
        self.low, self.high = low, high
        self.full_circle = viewpoints.full_circle
        self.angles = (low + (high - low) * rng.random((SAMPLE, 3))).astype("float32")
        self.styles = rng.normal(size=(SAMPLE, 2 * code_size)).astype("float32")
        self.answers_deg = np.zeros(0, "float32")
        self._tools: dict = {}
        self.draws = {
            name: _numbers(rng, kind, shape)
            for name, (kind, shape) in augment.draw_shapes(SAMPLE, pictures.shape[1]).items()
        }

    def measure(self, analysis: AnalysisNetwork, synthesis: SynthesisNetwork) -> dict[str, float]:
        """The signals of one moment.

        Returns:
          drawn_error_deg: median azimuth error of V on S's augmented pictures.
          turning: how far the drawing from another azimuth is from the drawing of another style,
            1 - cosine over 1 - cosine; near 0 where S does not turn what it draws.
          coverage: entropy of the azimuths V gives real pictures, 1 where they go all around.
          mirror_error_deg: median |V(mirror(x)) - mirror(V(x))| of real pictures' azimuths.
          explained: share of other azimuths whose drawing is less like the real picture than the
            drawing from the azimuth V gives it; 0.5 is chance.
          front_rear: the same against the half circle alone.
          ends: 0 to 1, of a full circle, see `_ends`; 0 where V calls all pictures one end, too.
          handedness: the same of slanting views against their mirrored azimuth, front and rear of
            each counting as one; absent where V sees no view slant. Low where S turns its object
            the wrong way round, which V then follows, or has it lie across its mirror plane.
          stability: share of the real pictures whose azimuth has moved by less than 30 degrees
            since the measurement before; absent from the first. What S draws can explain a picture
            from its front and from its rear alike, but then V keeps changing its mind.
          health: 0 to 1, see `health_of`.
        """
        tools = self._compiled(analysis, synthesis)
        drawn = _batched(tools["draw"], self.styles, self.angles)
        augmented = ops.convert_to_numpy(augment.augment(drawn, self.draws, self.augment_strength))
        seen_deg = np.degrees(_batched(tools["angles"], augmented)[:, 0])
        error = np.abs(viewpoint.wrap_deg(seen_deg - np.degrees(self.angles[:, 0])))
        real_rad, style, features = (
            _batched(tools[name], self.real) for name in ("angles", "style", "features")
        )
        of_mirrored = _batched(tools["angles"], self.real[:, :, ::-1])[:, 0]
        mirrored = viewpoint.mirror(real_rad)[:, 0]
        alike, alike_mirrored, turned = self._around(tools, real_rad, mirrored, style, features)
        answers_deg = np.degrees(np.concatenate([real_rad[:, 0], mirrored]))
        values = {
            "drawn_error_deg": float(np.median(error)),
            "turning": turned,
            "coverage": self._coverage(answers_deg),
            "mirror_error_deg": float(
                np.median(np.abs(viewpoint.wrap_deg(np.degrees(of_mirrored - mirrored))))
            ),
            "explained": float(np.mean(_beaten(alike[:, :1], alike[:, 1:]))),
        }
        same_side = alike[:, :1]
        if self.full_circle:
            same_side = alike[:, :: _AROUND // 2]
            values["front_rear"] = float(np.mean(_beaten(*same_side.T)))
            # The mirrored azimuth's opposite, 180 - azimuth, has the same outline.
            values["ends"] = _ends(real_rad[:, 0], alike[:, 0], alike_mirrored[:, 1])
        slanting = self._slanting(real_rad[:, 0])
        if slanting.any():
            beaten = _beaten(same_side.max(axis=1), alike_mirrored.max(axis=1))
            values["handedness"] = float(np.mean(beaten[slanting]))
        if len(self.answers_deg) == len(answers_deg):
            moved = np.abs(viewpoint.wrap_deg(answers_deg - self.answers_deg))
            values["stability"] = float(np.mean(moved < _MOVED_DEG))
        self.answers_deg = answers_deg
        return values | {"health": health_of(values)}

    def _compiled(self, analysis: AnalysisNetwork, synthesis: SynthesisNetwork) -> dict[str, Any]:
        """Compiled functions of these networks; made once, as a run always brings the same."""
        if self._tools.get("of") != (id(analysis), id(synthesis)):
            functions = {
                "draw": lambda style, angles: synthesis([*ops.split(style, 2, axis=-1), angles]),
                "angles": lambda pictures: analysis.angles_rad(analysis.viewpoint(pictures)),
                "style": lambda pictures: analysis(pictures)["style"],
                "features": self.features,
                "make": lambda style: synthesis.make(*ops.split(style, 2, axis=-1)),
                "drawn_features": lambda *made_and_angles: self.features(
                    synthesis.draw(made_and_angles[:-1], made_and_angles[-1])
                ),
            }
            networks = (analysis, synthesis, self.features)
            variables = [variable for network in networks for variable in network.variables]
            self._tools = {
                name: inference.compiled(function, variables)
                for name, function in functions.items()
            }
            self._tools["of"] = (id(analysis), id(synthesis))
        return self._tools

    def _around(
        self,
        tools: dict[str, Any],
        real_rad: np.ndarray,
        mirrored_rad: np.ndarray,
        style: np.ndarray,
        real_features: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Likeness of each real picture to S's drawings.

        Returns:
          all around [n, 12], the predicted azimuth first; from the mirrored azimuth and, of a full
          circle, its opposite [n, 1 or 2]; and `turning`.
        """

        def from_all(style: Tensor, angles: Tensor) -> Tensor:
            made = tools["make"](style)
            features = [
                tools["drawn_features"](*made, each) for each in ops.unstack(angles, axis=1)
            ]
            return ops.stack(features, axis=1)

        around = self._turned(real_rad[:, :1], np.arange(_AROUND) / _AROUND)
        halves = np.array([0.0, 0.5] if self.full_circle else [0.0])
        mirrored = self._turned(mirrored_rad[:, None], halves)
        azimuths = np.concatenate([around, mirrored], axis=1)
        angles = np.repeat(real_rad[:, None], azimuths.shape[1], axis=1)
        angles[..., 0] = azimuths
        drawings = np.moveaxis(_batched(from_all, style, angles), 1, 0)  # [turns, n, features]
        columns = [ops.convert_to_numpy(losses.likeness(real_features, f)) for f in drawings]
        quarter, other = drawings[_AROUND // 4], np.roll(drawings[0], 1, axis=0)
        by_view = 1.0 - ops.convert_to_numpy(losses.likeness(drawings[0], quarter))
        by_style = 1.0 - ops.convert_to_numpy(losses.likeness(drawings[0], other))
        alike = np.stack(columns, axis=1)
        turned = float(by_view.mean() / max(by_style.mean(), 1e-6))
        return alike[:, :_AROUND], alike[:, _AROUND:], turned

    def _slanting(self, azimuth_rad: np.ndarray) -> np.ndarray:
        """Whether an azimuth is far from its mirror image, on the full circle modulo a half."""
        if self.full_circle:
            return np.abs(np.sin(2.0 * azimuth_rad)) >= math.sin(math.radians(45.0))
        return np.abs(azimuth_rad) >= 0.5 * self.high[0]

    def _turned(self, azimuth: np.ndarray, share: np.ndarray) -> np.ndarray:
        low, wide = self.low[0], self.high[0] - self.low[0]
        return (low + np.mod(azimuth - low + share * wide, wide)).astype("float32")

    def _coverage(self, azimuths_deg: np.ndarray) -> float:
        low, high = math.degrees(self.low[0]), math.degrees(self.high[0])
        counts, _ = np.histogram(azimuths_deg, bins=_AROUND, range=(low, high + 1e-3))
        share = counts / max(counts.sum(), 1)
        entropy = -np.sum(share * np.log(np.maximum(share, 1e-12)))
        return float(entropy / math.log(_AROUND))


def health_of(values: dict[str, float]) -> float:
    """One number from 0 (collapsed) to 1 out of the signals of `measure`."""
    explained = np.clip(2.0 * values["explained"] - 1.0, 0.0, 1.0)
    return float(explained * np.clip(values["coverage"] / _COVERAGE_ENOUGH, 0.0, 1.0))


def verdict(values: dict[str, float], options: config.Options) -> list[str]:
    """What a finished run has to be told, a sentence each; empty where it is healthy.

    Args:
      values: what `Health.measure` gave last, or nothing.
      options: config.Options of the run.
    """
    if not values:
        return []
    if values["health"] >= HEALTHY:
        return _handedness_warning(values) + _stability_warning(values, options)
    sentences = [
        f"warning: this run has {'collapsed' if values['health'] < COLLAPSED else 'not settled'} "
        f"(health {values['health']:.2f}, healthy is {HEALTHY} or more): do not use its angles "
        "before you have looked at pictures/"
    ]
    if values["turning"] < _TURNING:
        sentences.append(
            "S hardly turns what it draws: try --objective=composite and a lower "
            "--synthesis_viewpoint_weight"
        )
    if values["coverage"] < _COVERAGE:
        sentences.append(
            "V gives most pictures the same azimuth: try more --steps, or lower rates "
            f"(--analysis_rate={options.optimizer.analysis_rate / 2:g} "
            f"--synthesis_rate={options.optimizer.synthesis_rate / 2:g})"
        )
    if values["drawn_error_deg"] > _DRAWN_ERROR_DEG:
        sentences.append(
            "V does not find the azimuth even in S's own pictures: try more --steps or a higher "
            "--viewpoint_weight"
        )
    if len(sentences) == 1:
        sentences.append(
            "S's drawings do not resemble the pictures they answer: try more --steps, a lower "
            "--gradient_penalty_weight, a --volume_width that fits the object, or another seed"
        )
    return sentences


def _handedness_warning(values: dict[str, float]) -> list[str]:
    """What a healthy run has to be told whose S may turn the wrong way."""
    if values.get("handedness", 1.0) >= _ENOUGH_HANDEDNESS:
        return []
    mirrored = 100 * (1 - values["handedness"])
    return [
        "warning: S may turn its object the wrong way round, or have it lie across: seen from the "
        f"mirrored side it resembles {mirrored:.0f} % of the slanting pictures "
        "more; look at pictures/turntable*, and try another seed or a --volume_width that fits "
        "the object"
    ]


def _stability_warning(values: dict[str, float], options: config.Options) -> list[str]:
    """What a healthy run has to be told whose V still changes its mind."""
    if values.get("stability", 1.0) >= _ENOUGH_STABILITY:
        return []
    front = " (often front against rear)" if options.viewpoints.full_circle else ""
    moved = 100 * (1 - values["stability"])
    return [
        f"warning: this run has not settled: {moved:.0f} % of the azimuths "
        f"moved by more than {_MOVED_DEG:.0f} degrees since the measurement before{front}; try "
        f"more --steps than {options.run.steps}"
    ]


def _beaten(likeness: np.ndarray, other_likeness: np.ndarray) -> np.ndarray:
    return (likeness > other_likeness) + 0.5 * (likeness == other_likeness)


def _ends(azimuth_rad: np.ndarray, likeness: np.ndarray, other_end_likeness: np.ndarray) -> float:
    """Whether S explains end-on pictures from the end that V calls, and from the other one worse.

    Both drawings have the same outline, so only what tells front from rear can decide. Each end
    weighs the same, so that calling everything front is worth nothing: 2 x (mean share of the two
    ends) - 1, at least 0; and 0 where V calls fewer than 5 pictures one of them.

    Args:
      azimuth_rad: V's [n].
      likeness, other_end_likeness: of the real pictures to the drawings from there and from
        180 degrees - azimuth [n].
    """
    cosine, beaten = np.cos(azimuth_rad), _beaten(likeness, other_end_likeness)
    shares = [beaten[side] for side in (cosine > _END_ON, cosine < -_END_ON)]
    if min(map(len, shares)) < _FEWEST_OF_AN_END:
        return 0.0
    return float(np.clip(sum(share.mean() for share in shares) - 1.0, 0.0, 1.0))


def _numbers(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = rng.normal(size=shape) if kind == "normal" else rng.uniform(-1.0, 1.0, shape)
    return numbers.astype("float32")


def _batched(function: Callable, *arrays: np.ndarray) -> np.ndarray:
    """The function's answers for rows of the arrays, in batches of one shape."""
    parts, count = [], len(arrays[0])
    for start in range(0, count, _BATCH):
        rows = np.minimum(np.arange(start, start + _BATCH), count - 1)
        parts.append(ops.convert_to_numpy(function(*(np.asarray(a)[rows] for a in arrays))))
    return np.concatenate(parts)[:count]
