"""What trains, whatever the engine: V, S, their averages, optimizers, rates and the prior."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from ssv_tf import config
from ssv_tf.base import stderr
from ssv_tf.base.errors import SettingError
from ssv_tf.base.types import Tensor
from ssv_tf.config import parts
from ssv_tf.config.method import (
    ADAM_BETAS,
    DECAY_SHARE,
    EMA_DECAY,
    R1_INTERVAL,
)
from ssv_tf.models import perceptual
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import precision, prior
from ssv_tf.training.objective import Objective, angle_encoding


def build_networks(options: config.Options) -> tuple[AnalysisNetwork, SynthesisNetwork]:
    """V and S as the options say, built, with weights from `keras.utils.set_random_seed`."""
    return build_analysis(options), build_synthesis(options)


def build_analysis(options: config.Options) -> AnalysisNetwork:
    """V as the options say, built."""
    encoding = angle_encoding(options.viewpoints)
    analysis = AnalysisNetwork(
        resolution=options.framing.resolution,
        width=options.analysis.analysis_width,
        style_size=2 * options.method.code_size,
        dropout=options.method.dropout,
        trunk=options.method.trunk,
        centre_rad=encoding.centre_rad,
        stretch=encoding.stretch,
        name="analysis",
    )
    analysis.build()
    return analysis


def build_synthesis(options: config.Options) -> SynthesisNetwork:
    """S as the options say, built."""
    settings, method = options.synthesis, options.method
    synthesis = SynthesisNetwork(
        resolution=options.framing.resolution,
        width=settings.synthesis_width,
        code_size=method.code_size,
        mapping_layers=method.mapping_layers,
        volume_size=settings.volume_size,
        projection=method.projection,
        symmetric_volume=options.pictures.mirror_data,
        camera_distance=method.camera_distance,
        volume_width=settings.volume_width,
        picture_reach=settings.picture_reach,
        volume_height=settings.volume_height,
        name="synthesis",
    )
    synthesis.build()
    return synthesis


class Networks:
    """Both networks, their averages and optimizers; an engine makes the step that moves them.

    Args:
      options: config.Options.
      realness_gradient: as Objective wants it.

    Attributes:
      analysis, synthesis: the networks that train.
      analysis_ema, synthesis_ema: their averaged weights, which are what a run leaves.
      optimizers: V's, S's without the mapping network, the mapping network's.
      drawing_weights, mapping_weights: what the last two optimizers move.
      log_prior: log densities of the drawn viewpoints, as `prior.start`.
    """

    def __init__(self, options: config.Options, realness_gradient: Callable) -> None:
        self.options = options
        with stderr.captured():  # it imports TensorFlow beside any backend
            keras.utils.set_random_seed(options.run.seed)
        keras.config.set_dtype_policy(precision.settle(options).run.precision)
        try:
            self._build(realness_gradient)
        finally:
            keras.config.set_dtype_policy("float32")

    def _build(self, realness_gradient: Callable) -> None:
        o = self.options
        self.analysis, self.synthesis = build_networks(o)
        self.analysis_ema, self.synthesis_ema = build_analysis(o), build_synthesis(o)
        self.analysis_ema.set_weights(self.analysis.get_weights())
        self.synthesis_ema.set_weights(self.synthesis.get_weights())
        features = perceptual.perceptual_features(o.losses.perceptual, o.framing.resolution)
        self.objective = Objective(
            analysis=self.analysis,
            synthesis=self.synthesis,
            features=features,
            realness_gradient=realness_gradient,
            losses=o.losses,
            viewpoints=o.viewpoints,
            method=o.method,
            mirror_data=o.pictures.mirror_data,
        )
        self.log_prior = keras.Variable(
            prior.start(o.viewpoints.front_share),
            trainable=False,
            aggregation="mean",
            name="log_prior",
        )
        self.drawing_weights, self.mapping_weights = split_synthesis(self.synthesis)
        self.optimizers = make_optimizers(o)
        owned = (self.analysis.trainable_weights, self.drawing_weights, self.mapping_weights)
        for optimizer, weights in zip(self.optimizers, owned, strict=True):
            optimizer.build(weights)

    def state(self) -> dict[str, keras.Variable]:
        """All that a resumed run needs, by a name that no engine changes."""
        owners = {
            "analysis": self.analysis.variables,
            "synthesis": self.synthesis.variables,
            "analysis_average": self.analysis_ema.variables,
            "synthesis_average": self.synthesis_ema.variables,
            "prior": [self.log_prior],
        }
        for index, optimizer in enumerate(self.optimizers):
            owners[f"optimizer_{index}"] = optimizer.variables
        return {
            f"{owner}/{index:04d}": variable
            for owner, variables in owners.items()
            for index, variable in enumerate(variables)
        }

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """Gives every variable of `state` its value, a NumPy array, from `values` by name."""
        for name, variable in self.state().items():
            variable.assign(values[name])


def split_synthesis(
    synthesis: SynthesisNetwork,
) -> tuple[list[keras.Variable], list[keras.Variable]]:
    """S's weights as two lists: those that draw, and the mapping network's."""
    mapping = synthesis.mapping.trainable_weights
    known = {id(weight) for weight in mapping}
    return [w for w in synthesis.trainable_weights if id(w) not in known], mapping


def style_width(ramp_steps: float, code_size: int, step: Tensor) -> Tensor:
    """How wide the codes of a style (z1, z2) are drawn in a step, [2 code_size].

    z2 always has its full width 1. With --shape_ramp z1 grows to it from 0, so that S learns one
    shape, with one front, before it learns that shapes differ.

    Args:
      ramp_steps: after which z1 has its full width, above 0.
      code_size: length of z1, and of z2.
      step: 0 for the first; any integer scalar.
    """
    share = ops.cast(step, "float32") / ramp_steps
    width = ops.clip(share, 0.0, 1.0) * ops.ones(code_size)
    return ops.concatenate([width, ops.ones(code_size)])


def penalty_interval(options: config.Options) -> int:
    """Steps between two gradient penalties; 0: there are none."""
    if options.method.wasserstein:
        return 1
    return R1_INTERVAL if options.losses.gradient_penalty_weight else 0


def ramp_steps(options: config.Options) -> float:
    """Steps over which S's shapes come to differ (--shape_ramp)."""
    return options.synthesis.shape_ramp * options.run.steps


def check_slices(run: parts.Run, devices: int) -> int:
    """How many slices a batch is cut into: devices times micro-batches.

    Raises:
      SettingError: they do not divide the batch.
    """
    slices = devices * run.accumulate
    if slices > 1 and run.batch_size % (8 * slices):
        raise SettingError(  # S sees half as many pairs, the minibatch deviation groups of four
            f"`batch_size={run.batch_size}` must be a multiple of 8 x "
            f"{devices} devices x {run.accumulate} micro-batches"
        )
    return slices


def make_optimizers(options: config.Options) -> list[keras.optimizers.Optimizer]:
    """Adam for V, for S without its mapping network and for the mapping network."""
    settings = options.optimizer
    mapping_rate = settings.synthesis_rate * options.method.mapping_rate_ratio
    beta_1, beta_2 = ADAM_BETAS
    return [
        keras.optimizers.Adam(_schedule(rate, options.run.steps), beta_1=beta_1, beta_2=beta_2)
        for rate in (settings.analysis_rate, settings.synthesis_rate, mapping_rate)
    ]


def averaging_rate(step: Tensor) -> Tensor:
    """1 - d of the averaged weights: ema <- ema + (1 - d)(w - ema), d = min(0.999, (1+t) / (10+t)).

    The rising decay forgets the initial weights, as TensorFlow's ExponentialMovingAverage does
    when it is given the step.

    Args:
      step: t, 0 for the first; any integer scalar.
    """
    return ops.maximum(1.0 - EMA_DECAY, 9.0 / (10.0 + ops.cast(step, "float32")))


@keras.saving.register_keras_serializable("ssv_tf")
class CosineFall(keras.optimizers.schedules.LearningRateSchedule):
    """A constant rate that falls to 0 as half a cosine from step `first` to step `last`."""

    def __init__(self, rate: float, first: int, last: int) -> None:
        self.rate, self.first, self.last = rate, first, last

    def __call__(self, step: Tensor) -> Tensor:
        done = ops.cast(step, "float32") - self.first
        share = ops.clip(done / max(self.last - self.first, 1), 0.0, 1.0)
        return self.rate * 0.5 * (1.0 + ops.cos(math.pi * share))

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "first": self.first, "last": self.last}


def _schedule(rate: float, steps: int) -> CosineFall:
    return CosineFall(rate, round(steps * (1.0 - DECAY_SHARE)), steps)
