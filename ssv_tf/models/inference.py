"""Raw predictions of V for pictures in memory."""

import weakref

import keras
import numpy as np
from keras import ops

from ssv_tf import viewpoint
from ssv_tf.data.framing import to_network

_FUNCTIONS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def predict(analysis, pictures, batch_size=64):
    """Uncalibrated viewpoints and azimuth's quadrant logits, as `Calibration.apply` takes them.

    Args:
      analysis: an AnalysisNetwork.
      pictures: uint8 [n, r, r, 3] at the network's resolution.
      batch_size: pictures at once; changes nothing but speed.

    Returns:
      float32 [n, 7]: azimuth, elevation, tilt in degrees in (-180, 180], four logits; [n, 8] of a
      student, with the log odds that its azimuth is right.
    """
    function = viewpoint_function(analysis)
    parts = []
    for start in range(0, len(pictures), batch_size):
        batch = pictures[start : start + batch_size]
        padded = np.zeros((batch_size, *pictures.shape[1:]), np.uint8)  # one shape, one trace
        padded[: len(batch)] = batch
        parts.append(ops.convert_to_numpy(function(to_network(padded)))[: len(batch)])
    raw = np.concatenate(parts) if parts else np.zeros((0, 7))
    degrees = viewpoint.wrap_deg(np.degrees(raw[:, :3]))
    return np.concatenate([degrees, raw[:, 3:]], axis=1).astype(np.float32)


def viewpoint_function(analysis):
    """A compiled function: float pictures [n, r, r, 3] -> radians, then logits as `predict`."""
    return compiled_for(analysis, _raw_function)


def _raw_function(network):
    def raw(pictures):
        prediction = network.viewpoint(pictures)
        parts = [network.angles_rad(prediction), prediction["quadrant_logits"][:, 0]]
        if "confidence_logit" in prediction:
            parts.append(prediction["confidence_logit"])
        return ops.concatenate(parts, axis=-1)

    return raw


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
