"""Which engine trains: the one of Keras's backend (environment variable KERAS_BACKEND)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import keras
import numpy as np

from ssv_tf import config
from ssv_tf.base.errors import SettingError
from ssv_tf.base.types import Tensor
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import cluster
from ssv_tf.training.objective import Objective


class Trainer(Protocol):
    """What the loop asks of an engine's trainer: `training.step.Trainer` tells the details."""

    @property
    def options(self) -> config.Options: ...

    @property
    def objective(self) -> Objective: ...

    @property
    def analysis(self) -> AnalysisNetwork: ...

    @property
    def synthesis(self) -> SynthesisNetwork: ...

    @property
    def analysis_ema(self) -> AnalysisNetwork: ...

    @property
    def synthesis_ema(self) -> SynthesisNetwork: ...

    @property
    def step(self) -> Callable[..., dict[str, Tensor]]: ...

    def batches(self, images: Any, first: int) -> Iterator[Tensor]: ...

    def halves(self, real: Tensor) -> dict[str, Callable[[], Any]]: ...

    def state(self) -> dict[str, keras.Variable]: ...

    def restore(self, values: Mapping[str, np.ndarray]) -> None: ...


def join_cluster() -> None:
    """Meets the other machines of TF_CONFIG, where it names some; before anything is computed.

    Raises:
      SettingError: TF_CONFIG is wrong, or the backend trains on one machine alone.
    """
    if cluster.current_role().count == 1:
        return
    if keras.backend.backend() != "tensorflow":
        raise SettingError(
            f"TF_CONFIG: several machines train on TensorFlow alone; KERAS_BACKEND is "
            f"{keras.backend.backend()}"
        )
    from ssv_tf.training import step

    step.join_cluster()


def make_trainer(options: config.Options, angles_deg: np.ndarray | None = None) -> Trainer:
    """What trains: the engine's Trainer, or with --supervised one that is given the labels.

    Args:
      options: config.Options.
      angles_deg: labels of the training pictures, float32 [n, 3]; for --supervised alone.

    Raises:
      SettingError: the backend has no engine, or not the one these options need.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise SettingError(f"KERAS_BACKEND={backend} has no training; give tensorflow or jax")
    if options.pictures.supervised:
        if backend != "tensorflow":
            raise SettingError(
                f"`supervised` trains on TensorFlow alone; KERAS_BACKEND is {backend}"
            )
        from ssv_tf.training import supervised

        assert angles_deg is not None
        return supervised.make_trainer(options, angles_deg)
    if backend == "jax":
        from ssv_tf.training import jax_step

        return jax_step.make_trainer(options)
    from ssv_tf.training import step

    return step.make_trainer(options)
