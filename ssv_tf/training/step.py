"""The TensorFlow engine: gradients and the compiled step, under a mirrored strategy.

One step trains V with S frozen, then S with V frozen, each under a GradientTape of its own.
Every random number is a pure function of (seed, step), drawn for the global batch and cut into
slices, so that a resumed run goes on as if unbroken and two devices give one device's numbers.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.base.types import Tensor
from ssv_tf.data import records
from ssv_tf.data.pipeline import training_dataset
from ssv_tf.training import augment, cluster, networks, prior


def make_strategy(devices: str = "") -> tf.distribute.Strategy:
    """MirroredStrategy over `devices` (comma-separated), all GPUs, or the CPU.

    Raises:
      SettingError: a device that is not there.
    """
    known = [
        device.name.split("physical_device:")[-1] for device in tf.config.list_physical_devices()
    ]
    requested = [name.strip().lstrip("/") for name in devices.split(",") if name.strip()]
    logical = [device.name.split("device:")[-1] for device in tf.config.list_logical_devices()]
    for name in requested:
        if name.split("device:")[-1] not in logical + known:
            raise SettingError(f"`devices`: no device {name}; there are {', '.join(logical)}")
    if not requested:
        requested = [name for name in logical if name.startswith("GPU")] or ["CPU:0"]
    os.environ.pop("TF_CONFIG", None)  # of one machine, or empty: the strategy would read it
    return tf.distribute.MirroredStrategy(requested)


@functools.cache
def join_cluster() -> tf.distribute.Strategy:
    """MultiWorkerMirroredStrategy over the machines of TF_CONFIG, all GPUs or the CPU of each.

    TensorFlow wants it made before it computes anything, so the loop asks for it first of all; it
    waits for the others.

    Raises:
      UserError: they cannot be met.
    """
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"cannot join the cluster of TF_CONFIG: {reason}") from error


def make_trainer(
    options: config.Options, kind: Callable[..., "Trainer"] | None = None
) -> "Trainer":
    """A Trainer, or another `kind` of it, on the devices that the options name.

    Raises:
      SettingError: a device that is not there, or devices and TF_CONFIG at once.
    """
    if options.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    many = cluster.current_role().count > 1
    if many and options.run.devices:
        raise SettingError(
            f"`devices={options.run.devices}` is for one machine; with TF_CONFIG each worker takes "
            "the GPUs that CUDA_VISIBLE_DEVICES leaves it"
        )
    return (kind or Trainer)(
        options, join_cluster() if many else make_strategy(options.run.devices)
    )


class Trainer(networks.Networks):
    """The networks and `step`, which trains them.

    Args:
      options: config.Options.
      strategy: a tf.distribute strategy; everything is built under its scope.
    """

    angles_rad: np.ndarray | None = None  # of the pictures, where a kind of trainer is given labels

    def __init__(self, options: config.Options, strategy: tf.distribute.Strategy) -> None:
        self.strategy = strategy
        self.slices = networks.check_slices(options.run, strategy.num_replicas_in_sync)
        with strategy.scope():
            super().__init__(options, _input_gradient)
        self.step = tf.function(self._step, autograph=False)

    def batches(self, images: np.ndarray | records.Stream, first: int) -> Iterator[Tensor]:
        """Endless batches for `step`, from step `first` on; images uint8 [n, r, r, 3]."""
        run, mirror = self.options.run, self.options.pictures.mirror_data
        if isinstance(images, records.Stream):
            return iter(
                self.strategy.distribute_datasets_from_function(self._streamed(images, first))
            )
        dataset = training_dataset(
            images, run.batch_size, run.seed, first, mirror, angles=self.angles_rad
        )
        return iter(self.strategy.experimental_distribute_dataset(dataset))

    def _streamed(
        self, stream: records.Stream, first: int
    ) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
        """A function that gives each machine batches of its own files."""
        run, mirror = self.options.run, self.options.pictures.mirror_data

        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            share_of_files = stream.part(context.input_pipeline_id, context.num_input_pipelines)
            share = run.batch_size // context.num_input_pipelines
            batches = records.stream_dataset(share_of_files, share, run.seed, first, mirror)
            replicas = context.num_replicas_in_sync // context.num_input_pipelines
            if replicas == 1:
                return batches
            return batches.unbatch().batch(share // replicas, drop_remainder=True)

        return dataset

    def halves(self, real: Tensor) -> dict[str, Callable[[], Any]]:
        """Functions of nothing that run the step and each half of it on one batch, to be timed."""
        real, number = tf.convert_to_tensor(real), tf.constant(1, tf.int64)
        functions = {
            "step": lambda: self.step(real, number, False),
            "analysis": lambda: self.strategy.run(self.train_analysis, (real, number, False)),
            "synthesis": lambda: self.strategy.run(self.train_synthesis, (number,)),
        }
        return {name: tf.function(f, autograph=False) for name, f in functions.items()}

    def _step(self, real: Tensor, step: Tensor, penalise: bool) -> dict[str, Tensor]:
        """One training step.

        Args:
          real: [b, r, r, 3] in [-1, 1], this replica's part.
          step: int64 scalar, 0 for the first.
          penalise: Python bool, whether V's lazy R1 penalty is due.

        Returns:
          dict of scalars: each loss unweighted, averaged over devices and micro-batches, and the
          two gradient norms.
        """
        parts = self.strategy.run(self._replica_step, args=(real, step, penalise))
        if rate := self.options.viewpoints.prior_rate:
            change = parts.pop("prior_change")
            change = self.strategy.reduce(tf.distribute.ReduceOp.MEAN, change, axis=None)
            self.log_prior.assign(prior.moved(self.log_prior, change, rate))
        self._update_average(step)
        return {
            name: self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in parts.items()
        }

    def _replica_step(self, real: Tensor, step: Tensor, penalise: bool) -> dict[str, Tensor]:
        parts = self.train_analysis(real, step, penalise)
        return parts | self.train_synthesis(step)

    def train_analysis(self, real: Tensor, step: Tensor, penalise: bool) -> dict[str, Tensor]:
        """V's half of a step, in replica context."""
        micro = tf.split(real, self.options.run.accumulate)
        draws = self._draws(self.objective.analysis_draws(self.options.run.batch_size), step, 0)
        pairs = [
            self._analysis_gradients(x, draw, penalise)
            for x, draw in zip(micro, draws, strict=True)
        ]
        gradients, parts = _averaged(pairs)
        parts["v_gradient"] = tf.linalg.global_norm(gradients)
        self._apply(self.optimizers[0], gradients, self.analysis.trainable_weights)
        return parts

    def train_synthesis(self, step: Tensor) -> dict[str, Tensor]:
        """S's half of a step, in replica context."""
        draws = self._draws(self.objective.synthesis_draws(self.options.run.batch_size), step, 1)
        gradients, parts = _averaged([self._synthesis_gradients(draw) for draw in draws])
        parts["s_gradient"] = tf.linalg.global_norm(gradients)
        count = len(self.drawing_weights)
        self._apply(self.optimizers[1], gradients[:count], self.drawing_weights)
        self._apply(self.optimizers[2], gradients[count:], self.mapping_weights)
        return parts

    def _analysis_gradients(
        self, real: Tensor, draws: dict[str, Tensor], penalise: bool
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        fake = self.objective.draw_fakes(draws)
        weights = self.analysis.trainable_weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([w.value for w in weights])
            loss, parts = self.objective.analysis_loss(real, fake, draws, penalise)
        return _gradients(tape, loss, weights), parts

    def _synthesis_gradients(
        self, draws: dict[str, Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        weights = self.drawing_weights + self.mapping_weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([w.value for w in weights])
            loss, parts = self.objective.synthesis_loss(draws)
        return _gradients(tape, loss, weights), parts

    def _apply(
        self,
        optimizer: keras.optimizers.Optimizer,
        gradients: list[Tensor],
        weights: list[keras.Variable],
    ) -> None:
        # Keras sums over replicas; the mean is wanted.
        replicas = self.strategy.num_replicas_in_sync
        optimizer.apply([g / replicas for g in gradients], weights)

    def _draws(
        self, shapes: augment.DrawShapes, step: Tensor, salt: int
    ) -> list[dict[str, Tensor]]:
        """This replica's random numbers, one dict for each micro-batch.

        Drawn for the global batch; slice r of a name with 1/slices of the rows is replica r's.
        """
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        accumulate, ramp_steps = self.options.run.accumulate, networks.ramp_steps(self.options)
        draws: list[dict] = [{} for _ in range(accumulate)]
        for index, (name, (kind, shape)) in enumerate(shapes.items()):
            seed = tf.stack([self.options.run.seed, 1000 * salt + index])
            seed = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int64), step)
            rows = shape[0] // self.slices
            numbers = _random(kind, shape, seed)
            if ramp_steps and name.startswith("style"):
                numbers *= networks.style_width(ramp_steps, self.synthesis.code_size, step)
            for i in range(accumulate):
                start = (replica * accumulate + i) * rows
                part = tf.slice(numbers, [start, *[0] * (len(shape) - 1)], [rows, *shape[1:]])
                draws[i][name] = tf.ensure_shape(part, (rows, *shape[1:]))
        if self.options.viewpoints.prior_rate:
            draws = [draw | {"prior": tf.convert_to_tensor(self.log_prior)} for draw in draws]
        return draws

    def _update_average(self, step: Tensor) -> None:
        rate = networks.averaging_rate(step)

        def update(average: tf.Variable, weight: tf.Variable) -> None:
            average.assign_add(tf.cast(rate, weight.dtype) * (weight - average))

        averaged = (self.analysis_ema, self.analysis), (self.synthesis_ema, self.synthesis)
        for average, network in averaged:
            pairs = zip(average.trainable_weights, network.trainable_weights, strict=True)
            for mean, weight in pairs:
                self.strategy.extended.update(mean.value, update, args=(weight.value,))


def _input_gradient(function: Callable, pictures: Tensor) -> Tensor:
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(pictures)
        total = tf.reduce_sum(function(pictures))
    return tape.gradient(total, pictures)


def _gradients(tape: tf.GradientTape, loss: Tensor, weights: list[keras.Variable]) -> list[Tensor]:
    gradients = tape.gradient(loss, [w.value for w in weights])
    return [
        tf.zeros_like(w.value) if g is None else tf.convert_to_tensor(g)
        for g, w in zip(gradients, weights, strict=True)
    ]


def _averaged(
    pairs: list[tuple[list[Tensor], dict[str, Tensor]]],
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Means of (gradients, parts) over micro-batches."""
    gradients, parts = zip(*pairs, strict=True)
    count = len(pairs)
    mean = [tf.add_n(list(column)) / count for column in zip(*gradients, strict=True)]
    return mean, {k: tf.add_n([part[k] for part in parts]) / count for k in parts[0]}


def _random(kind: str, shape: tuple[int, ...], seed: Tensor) -> Tensor:
    if kind == "normal":
        return tf.random.stateless_normal(shape, seed)
    return tf.random.stateless_uniform(shape, seed, -1.0, 1.0)
