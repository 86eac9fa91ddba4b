"""Raw predictions of V for pictures in memory."""

import weakref

import keras
import numpy as np
from keras import ops

from ssv_tf import viewpoint

_FUNCTIONS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def to_network(pictures):
    """uint8 [n, r, r, 3] -> float32 in [-1, 1], as every network wants its pictures."""
    return np.asarray(pictures, np.float32) / 127.5 - 1.0


def to_uint8(pictures):
    """The networks' [-1, 1] back to uint8 pictures."""
    return np.clip(np.round((np.asarray(pictures) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def predict_deg(analysis, pictures, batch_size=64):
    """Uncalibrated viewpoints.

    Args:
      analysis: an AnalysisNetwork.
      pictures: uint8 [n, r, r, 3] at the network's resolution.
      batch_size: pictures at once; changes nothing but speed.

    Returns:
      float32 degrees [n, 3] in (-180, 180].
    """
    predict = viewpoint_function(analysis)
    parts = []
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        padded = np.zeros((batch_size, *pictures.shape[1:]), np.uint8)  # one shape, one trace
        padded[: len(batch)] = batch
        parts.append(ops.convert_to_numpy(predict(to_network(padded)))[: len(batch)])
    angles = np.concatenate(parts) if parts else np.zeros((0, 3))
    return viewpoint.wrap_deg(np.degrees(angles)).astype(np.float32)


def viewpoint_function(analysis):
    """A compiled function: float pictures [n, r, r, 3] -> radians [n, 3]; one for a network."""
    return compiled_for(
        analysis, lambda network: lambda x: network.angles_rad(network.viewpoint(x))
    )


def compiled_for(network, make):
    """The function `make(network)`, compiled as the backend does it; made once."""
    if network not in _FUNCTIONS:
        function = make(weakref.proxy(network))  # the dictionary must not keep its own key alive
        _FUNCTIONS[network] = compiled(function, network.variables)
    return _FUNCTIONS[network]


def compiled(function, variables):
    """A function of arrays compiled as the backend does it; `variables` is all that it reads."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if backend != "jax":
        return function
    import jax

    @jax.jit
    def pure(values, *args):  # values as arguments: what it closes over, jit takes for constant
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*args)

    return lambda *args: pure([variable.value for variable in variables], *args)
