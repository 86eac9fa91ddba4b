"""Predictions of a network for pictures in memory."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf.base.array_ops import ops
from ssv_tf.base.types import Tensor
from ssv_tf.data.framing import to_network
from ssv_tf.models import decoding
from ssv_tf.models.decoding import UNCALIBRATED, Parameters, RawPrediction, Viewpoints

if TYPE_CHECKING:
    import keras

_FUNCTIONS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def predict(network: Any, pictures: np.ndarray, batch_size: int = 64) -> RawPrediction:
    """What a network says of pictures, uncalibrated and not yet decoded.

    Args:
      network: an AnalysisNetwork or a StudentNetwork.
      pictures: uint8 [n, r, r, 3] at the network's resolution.
      batch_size: pictures at once; changes nothing but speed.

    Returns:
      a RawPrediction of n pictures, float32 arrays.
    """
    function = viewpoint_function(network)
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, max(len(pictures), 1), batch_size):  # of none, the shapes at least
        batch = pictures[start : start + batch_size]
        padded = np.zeros((batch_size, *pictures.shape[1:]), np.uint8)  # one shape, one trace
        padded[: len(batch)] = batch
        answers = function(to_network(padded))
        parts.append({k: ops.convert_to_numpy(v)[: len(batch)] for k, v in answers.items()})
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return RawPrediction.of(network, joined)


def decode(raw: RawPrediction, parameters: Parameters = UNCALIBRATED) -> Viewpoints:
    """`decoding.decode` of arrays: float64 degrees [n, 3], confidence and novelty [n] where known.

    Args:
      raw: what `predict` returned.
      parameters: a Calibration; without one the angles are the network's own.
    """
    views = decoding.decode(raw, parameters)
    parts = (views.degrees, views.confidence, views.novelty)
    return Viewpoints(*(None if part is None else _float64(part) for part in parts))


def _float64(values: Tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values), np.float64)


def viewpoint_function(network: Any) -> Callable:
    """A compiled function: float pictures [n, r, r, 3] -> the network's `answers`."""
    return compiled_for(network, _answers_of)


def _answers_of(known: Any) -> Callable:
    return lambda pictures: known.answers(pictures)  # a bound method would keep the network alive


def compiled_for(network: Any, make: Callable[[Any], Callable]) -> Callable:
    """The function `make(network)`, compiled as the backend does it; made once."""
    if network not in _FUNCTIONS:
        function = make(weakref.proxy(network))  # the dictionary must not keep its own key alive
        _FUNCTIONS[network] = compiled(function, network.variables)
    return _FUNCTIONS[network]


def compiled(function: Callable, variables: Iterable["keras.Variable"]) -> Callable:
    """A function of arrays compiled as the backend does it; `variables` is all that it reads."""
    from ssv_tf.base.backend import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if backend != "jax":
        return function
    import jax

    @jax.jit
    def pure(
        values: Sequence[Tensor], *args: Tensor
    ) -> Tensor:  # values as arguments: what it closes over, jit takes for constant
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*args)

    return lambda *args: pure([variable.value for variable in variables], *args)
