"""The JAX engine: the two halves of a step as pure, compiled functions of all state.

Keras's variables are mapped to traced arrays by a StatelessScope. State goes in and out donated;
it is put back into the variables when somebody asks for a network. Several devices share a
batch by its first axis, each with all weights, and give one device's numbers.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssv_tf import config
from ssv_tf.base.errors import SettingError
from ssv_tf.base.types import Tensor
from ssv_tf.data.batches import training_batches
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import augment, networks, prior

_Values = dict[str, Any]  # all state: lists of arrays by the name of what they belong to
_KINDS: dict[str, Callable] = {
    "normal": jax.random.normal,
    "uniform": functools.partial(jax.random.uniform, minval=-1.0, maxval=1.0),
}


def make_trainer(options: config.Options) -> "Trainer":
    """A Trainer on the devices that the options name."""
    if options.run.deterministic:  # CPUs are; a GPU has to be told before it is first used
        before = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{before} --xla_gpu_deterministic_ops=true".strip()
    return Trainer(options, find_devices(options.run.devices))


def find_devices(names: str = "") -> list[jax.Device]:
    """JAX's devices of `names` (GPU:0,GPU:1), or all accelerators, or all it sees of the CPU.

    Raises:
      SettingError: a device that is not there.
    """
    requested = [name.strip().lstrip("/").removeprefix("device:") for name in names.split(",")]
    requested = [name for name in requested if name]
    if not requested:
        return jax.local_devices()
    known = {f"{d.platform.upper()}:{d.id}": d for d in _all_devices()}
    for name in requested:
        if name not in known:
            raise SettingError(f"`devices`: no device {name}; there are {', '.join(known)}")
    return [known[name] for name in requested]


def _all_devices() -> list[jax.Device]:
    devices = list(jax.local_devices())
    if devices[0].platform != "cpu":
        devices += jax.local_devices(backend="cpu")
    return devices


class Trainer:
    """The networks and `step`, which trains them; the interface of `training.step.Trainer`.

    A network, or `state()`, holds good until the next step, which takes its arrays.

    Args:
      options: config.Options.
      devices: JAX devices.
    """

    def __init__(self, options: config.Options, devices: list[jax.Device]) -> None:
        self.options = options
        networks.check_slices(options.run, len(devices))
        mesh = Mesh(np.array(devices), ("batch",))
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._by_row = NamedSharding(mesh, PartitionSpec("batch"))
        self._networks = networks.Networks(options, _input_gradient)
        self.objective = self._networks.objective
        fixed = [v.value for v in self.objective.features.variables]
        self._fixed = jax.device_put(fixed, self._everywhere)
        self._values: dict[str, Any] = {}
        self._take_state()
        compiled = functools.partial(jax.jit, donate_argnums=0, out_shardings=self._everywhere)
        self._halves = {
            "analysis": compiled(self.train_analysis, static_argnums=(4,)),
            "synthesis": compiled(self.train_synthesis),
        }

    # --- What the loop asks for --------------------------------------------------------------

    def batches(self, images: np.ndarray, first: int) -> Iterator[np.ndarray]:
        """Endless batches for `step`, from step `first` on; images uint8 [n, r, r, 3]."""
        run, mirror = self.options.run, self.options.pictures.mirror_data
        return training_batches(images, run.batch_size, run.seed, first, mirror)

    def step(self, real: Tensor, number: Tensor, penalise: bool) -> dict[str, Tensor]:
        """One training step, as the TensorFlow engine's: dict of scalars."""
        number = np.uint32(number)
        real = jax.device_put(real, self._by_row)
        parts = self._train("analysis", real, number, penalise)
        change = parts.pop("prior_change", None)
        return parts | self._train("synthesis", number, change)

    def _train(self, half: str, *args: Any) -> dict[str, Tensor]:
        self._stale = True
        self._values, parts = self._halves[half](self._values, self._fixed, *args)
        return parts

    def halves(self, real: Tensor) -> dict[str, Callable[[], Any]]:
        """Functions of nothing that run the step and each half of it on one batch, to be timed."""
        real, number = jax.device_put(real, self._by_row), np.uint32(1)
        return {
            "step": lambda: self.step(real, number, False),
            "analysis": lambda: self._train("analysis", real, number, False),
            "synthesis": lambda: self._train("synthesis", number, None),
        }

    @property
    def analysis(self) -> AnalysisNetwork:
        return self._settled().analysis

    @property
    def synthesis(self) -> SynthesisNetwork:
        return self._settled().synthesis

    @property
    def analysis_ema(self) -> AnalysisNetwork:
        return self._settled().analysis_ema

    @property
    def synthesis_ema(self) -> SynthesisNetwork:
        return self._settled().synthesis_ema

    def state(self) -> dict[str, keras.Variable]:
        """As `Networks.state`."""
        return self._settled().state()

    def restore(self, values: Mapping[str, np.ndarray]) -> None:
        """As `Networks.restore`."""
        self._settled().restore(values)
        self._take_state()

    def _settled(self) -> networks.Networks:
        """The networks, with the values of the last step."""
        if self._stale:
            jax.tree.map(lambda v, value: v.assign(value), self._variables(), self._values)
            self._stale = False
        return self._networks

    def _take_state(self) -> None:
        values = jax.tree.map(lambda variable: variable.value, self._variables())
        self._values, self._stale = jax.device_put(values, self._everywhere), False

    def _variables(self) -> dict[str, Any]:
        """Keras's variables behind the values that a step takes and gives."""
        n = self._networks
        averages = networks.split_synthesis(n.synthesis_ema)
        return {
            "analysis": n.analysis.trainable_variables,
            "dropout": n.analysis.non_trainable_variables,
            "drawing": n.drawing_weights,
            "mapping": n.mapping_weights,
            "analysis_average": n.analysis_ema.trainable_variables,
            "synthesis_average": [*averages[0], *averages[1]],
            "optimizers": [optimizer.variables for optimizer in n.optimizers],
            "prior": n.log_prior,
        }

    # --- The pure step: values in, values out ------------------------------------------------

    def train_analysis(
        self,
        values: _Values,
        fixed: list[Tensor],
        real: Tensor,
        number: Tensor,
        penalise: bool,
    ) -> tuple[_Values, dict[str, Tensor]]:
        """V's half of a step: (values, parts)."""
        draws = self._draws(self.objective.analysis_draws(self.options.run.batch_size), number, 0)

        def micro(dropout: list[Tensor], rows: tuple[Tensor, dict[str, Tensor]]) -> tuple:
            micro_values = values | {"dropout": dropout}
            gradients, parts, dropout = self.analysis_gradients(
                micro_values, fixed, rows[0], rows[1], penalise
            )
            return dropout, (gradients, parts)

        dropout, (gradients, parts) = _averaged(
            micro, values["dropout"], (real, draws), self.options.run.accumulate
        )
        parts["v_gradient"] = _norm(gradients)
        values = self._applied(values | {"dropout": dropout}, 0, "analysis", gradients)
        return values, parts

    def train_synthesis(
        self, values: _Values, fixed: list[Tensor], number: Tensor, prior_change: Tensor = None
    ) -> tuple[_Values, dict[str, Tensor]]:
        """S's half of a step, then averages and prior: (values, parts)."""
        draws = self._draws(self.objective.synthesis_draws(self.options.run.batch_size), number, 1)

        def micro(nothing: None, rows: dict[str, Tensor]) -> tuple:
            return nothing, self.synthesis_gradients(values, fixed, rows)

        _, (gradients, parts) = _averaged(micro, None, draws, self.options.run.accumulate)
        parts["s_gradient"] = _norm(gradients)
        drawing, mapping = gradients
        values = self._applied(values, 1, "drawing", drawing)
        values = self._applied(values, 2, "mapping", mapping)
        if prior_change is not None:
            moved = prior.moved(values["prior"], prior_change, self.options.viewpoints.prior_rate)
            values = values | {"prior": moved}
        return self._averages_moved(values, number), parts

    def _averages_moved(self, values: _Values, number: Tensor) -> _Values:
        rate = networks.averaging_rate(number)
        weights = {
            "analysis_average": values["analysis"],
            "synthesis_average": values["drawing"] + values["mapping"],
        }
        return values | {
            name: [a + rate * (w - a) for a, w in zip(values[name], network_weights, strict=True)]
            for name, network_weights in weights.items()
        }

    def analysis_gradients(
        self,
        values: _Values,
        fixed: list[Tensor],
        real: Tensor,
        draws: dict[str, Tensor],
        penalise: bool,
    ) -> tuple[list[Tensor], dict[str, Tensor], list[Tensor]]:
        """Gradients of V's loss for V's weights, its parts, and the dropout's next seeds."""
        draws = self._with_prior(draws, values)

        def loss_of(weights: list[Tensor]) -> tuple:
            with self._scope(values | {"analysis": weights}, fixed) as scope:
                fake = self.objective.draw_fakes(draws)
                loss, parts = self.objective.analysis_loss(real, fake, draws, penalise)
                seeds = self._variables()["dropout"]
                return loss, (parts, [scope.get_current_value(seed) for seed in seeds])

        gradients, (parts, seeds) = jax.grad(loss_of, has_aux=True)(values["analysis"])
        return gradients, parts, seeds

    def synthesis_gradients(
        self, values: _Values, fixed: list[Tensor], draws: dict[str, Tensor]
    ) -> tuple[tuple[list[Tensor], list[Tensor]], dict[str, Tensor]]:
        """Gradients of S's loss for (drawing, mapping) weights, and its parts."""
        draws = self._with_prior(draws, values)

        def loss_of(
            drawing: list[Tensor], mapping: list[Tensor]
        ) -> tuple[Tensor, dict[str, Tensor]]:
            with self._scope(values | {"drawing": drawing, "mapping": mapping}, fixed):
                return self.objective.synthesis_loss(draws)

        differentiated = jax.grad(loss_of, argnums=(0, 1), has_aux=True)
        return differentiated(values["drawing"], values["mapping"])

    def _scope(self, values: _Values, fixed: list[Tensor]) -> keras.StatelessScope:
        """Keras computes with `values` inside."""
        variables = self._variables()
        pairs = list(zip(self.objective.features.variables, fixed, strict=True))
        for name in ("analysis", "dropout", "drawing", "mapping"):
            pairs += zip(variables[name], values[name], strict=True)
        return keras.StatelessScope(state_mapping=pairs)

    def _applied(self, values: _Values, index: int, name: str, gradients: list[Tensor]) -> _Values:
        """The values after optimizer `index` has moved the weights `name`."""
        optimizers = list(values["optimizers"])
        weights, optimizers[index] = self._networks.optimizers[index].stateless_apply(
            optimizers[index], gradients, values[name]
        )
        return values | {name: weights, "optimizers": optimizers}

    def _draws(self, shapes: augment.DrawShapes, number: Tensor, salt: int) -> dict[str, Tensor]:
        """Random numbers for the whole batch, by name; rows spread over the devices."""
        key = jax.random.fold_in(jax.random.key(self.options.run.seed), number)
        key, draws = jax.random.fold_in(key, salt), {}
        ramp_steps, code_size = (
            networks.ramp_steps(self.options),
            self._networks.synthesis.code_size,
        )
        for index, (kind, draw) in enumerate(_KINDS.items()):
            of_kind = {
                name: shape for name, (shape_kind, shape) in shapes.items() if shape_kind == kind
            }
            ends = np.cumsum([math.prod(shape) for shape in of_kind.values()])
            # Drawn at once: every call of the generator is half a second of compilation.
            numbers = jnp.split(draw(jax.random.fold_in(key, index), (ends[-1],)), ends[:-1])
            for (name, shape), row_numbers in zip(of_kind.items(), numbers, strict=True):
                rows = jnp.reshape(row_numbers, shape)
                if ramp_steps and name.startswith("style"):
                    rows *= networks.style_width(ramp_steps, code_size, number)
                draws[name] = jax.lax.with_sharding_constraint(rows, self._by_row)
        return draws

    def _with_prior(self, draws: dict[str, Tensor], values: _Values) -> dict[str, Tensor]:
        return draws | {"prior": values["prior"]} if self.options.viewpoints.prior_rate else draws


def _averaged(function: Callable, carry: Any, rows: Any, count: int) -> tuple[Any, Any]:
    """Means over `count` micro-batches of what `function` gives.

    Args:
      function: (carry, rows) -> (carry, results).
      carry: goes from one micro-batch to the next.
      rows: tree of arrays [batch, ...].

    Returns:
      (carry, results).
    """
    if count == 1:
        return function(carry, rows)
    split = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), rows)
    first = jax.tree.map(lambda x: x[0], split)
    shapes = jax.eval_shape(function, carry, first)[1]
    zeros = jax.tree.map(lambda result: jnp.zeros(result.shape, result.dtype), shapes)

    def one_more(state: tuple, part: Any) -> tuple:
        carry, total = state
        carry, results = function(carry, part)
        return (carry, jax.tree.map(jnp.add, total, results)), None

    (carry, total), _ = jax.lax.scan(one_more, (carry, zeros), split)
    return carry, jax.tree.map(lambda x: x / count, total)


def _input_gradient(function: Callable, pictures: Tensor) -> Tensor:
    return jax.grad(lambda x: jnp.sum(function(x)))(pictures)


def _norm(gradients: Any) -> Tensor:
    return jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradients)))
