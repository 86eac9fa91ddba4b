"""What trains, whatever the engine: V, S, their averages, optimizers, rates and the prior."""

import math

import keras
from keras import ops

from ssv_tf.base import stderr
from ssv_tf.base.errors import FlagError
from ssv_tf.models import perceptual
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import prior
from ssv_tf.training.objective import Objective, angle_encoding


def build_networks(options):
    """V and S as the options say, built, with weights from `keras.utils.set_random_seed`."""
    return build_analysis(options), build_synthesis(options)


def build_analysis(options):
    """V as the options say, built."""
    encoding = angle_encoding(options)
    analysis = AnalysisNetwork(
        options.resolution,
        options.analysis_width,
        2 * options.code_size,
        options.dropout,
        options.analysis_trunk,
        encoding.centre_rad,
        encoding.stretch,
        name="analysis",
    )
    analysis.build()
    return analysis


def build_synthesis(options):
    """S as the options say, built."""
    synthesis = SynthesisNetwork(
        options.resolution,
        options.synthesis_width,
        options.code_size,
        options.mapping_layers,
        options.volume_size,
        options.projection,
        options.volume_features,
        options.symmetric_volume,
        options.camera_distance,
        options.volume_width,
        options.picture_reach,
        options.volume_height,
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

    def __init__(self, options, realness_gradient):
        self.options = options
        with stderr.captured():  # it imports TensorFlow beside any backend
            keras.utils.set_random_seed(options.seed)
        keras.config.set_dtype_policy(options.precision)
        try:
            self._build(realness_gradient)
        finally:
            keras.config.set_dtype_policy("float32")

    def _build(self, realness_gradient):
        o = self.options
        self.analysis, self.synthesis = build_networks(o)
        self.analysis_ema, self.synthesis_ema = build_analysis(o), build_synthesis(o)
        self.analysis_ema.set_weights(self.analysis.get_weights())
        self.synthesis_ema.set_weights(self.synthesis.get_weights())
        features = perceptual.perceptual_features(
            o.perceptual, o.resolution, o.perceptual_weights or None
        )
        self.objective = Objective(
            o, self.analysis, self.synthesis, features, realness_gradient, self.analysis_ema
        )
        self.log_prior = keras.Variable(
            prior.start(o.front_share), trainable=False, aggregation="mean", name="log_prior"
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

    def restore(self, values) -> None:
        """Gives every variable of `state` its value, a NumPy array, from `values` by name."""
        for name, variable in self.state().items():
            variable.assign(values[name])


def split_synthesis(synthesis):
    """S's weights as two lists: those that draw, and the mapping network's."""
    mapping = synthesis.mapping.trainable_weights
    known = {id(weight) for weight in mapping}
    return [w for w in synthesis.trainable_weights if id(w) not in known], mapping


def is_taught(options, step: int) -> bool:
    """Whether V's average teaches in a step: before it knows front from rear it must not."""
    return options.teacher_weight > 0 and step >= options.teacher_from * options.steps


def style_width(options, step):
    """How wide the codes of a style (z1, z2) are drawn in a step, [2 code_size].

    z2 always has its full width 1. With --shape_ramp z1 grows to it from 0, so that S learns one
    shape, with one front, before it learns that shapes differ.

    Args:
      options: config.Options, with shape_ramp above 0.
      step: 0 for the first; any integer scalar.
    """
    share = ops.cast(step, "float32") / (options.shape_ramp * options.steps)
    width = ops.clip(share, 0.0, 1.0) * ops.ones(options.code_size)
    return ops.concatenate([width, ops.ones(options.code_size)])


def check_slices(options, devices: int) -> int:
    """How many slices a batch is cut into: devices times micro-batches.

    Raises:
      FlagError: they do not divide the batch.
    """
    slices = devices * options.accumulate
    if slices > 1 and options.batch_size % (8 * slices):
        raise FlagError(  # S sees half as many pairs, the minibatch deviation groups of four
            f"--batch_size={options.batch_size} must be a multiple of 8 x "
            f"{devices} devices x {options.accumulate} micro-batches"
        )
    return slices


def make_optimizers(o):
    """Adam for V, for S without its mapping network and for the mapping network."""
    rates = (o.analysis_rate, o.synthesis_rate, o.synthesis_rate * o.mapping_rate_ratio)
    return [
        keras.optimizers.Adam(_schedule(rate, o), beta_1=o.beta_1, beta_2=o.beta_2)
        for rate in rates
    ]


def averaging_rate(decay, step):
    """1 - d of the averaged weights: ema <- ema + (1 - d)(w - ema), d = min(decay, (1+t) / (10+t)).

    The rising decay forgets the initial weights, as TensorFlow's ExponentialMovingAverage does
    when it is given the step.

    Args:
      decay: Options.ema_decay.
      step: t, 0 for the first; any integer scalar.
    """
    return ops.maximum(1.0 - decay, 9.0 / (10.0 + ops.cast(step, "float32")))


@keras.saving.register_keras_serializable("ssv_tf")
class CosineFall(keras.optimizers.schedules.LearningRateSchedule):
    """A constant rate that falls to 0 as half a cosine from step `first` to step `last`."""

    def __init__(self, rate, first, last):
        self.rate, self.first, self.last = rate, first, last

    def __call__(self, step):
        done = ops.cast(step, "float32") - self.first
        share = ops.clip(done / max(self.last - self.first, 1), 0.0, 1.0)
        return self.rate * 0.5 * (1.0 + ops.cos(math.pi * share))

    def get_config(self):
        return {"rate": self.rate, "first": self.first, "last": self.last}


def _schedule(rate, o):
    if not o.decay_share:
        return rate
    return CosineFall(rate, round(o.steps * (1.0 - o.decay_share)), o.steps)
