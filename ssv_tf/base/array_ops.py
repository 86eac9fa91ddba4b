"""`keras.ops` for tensors, and the same of NumPy for arrays, so that arrays need no Keras.

    from ssv_tf.base.array_ops import ops

    ops.exp(tensor)    # of the backend, in a graph too
    ops.exp(array)     # NumPy; Keras is not imported

One tensor among the arguments makes it Keras's. Python's numbers alone become arrays of float32,
which every backend takes as a constant.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_PLAIN = (np.ndarray, np.generic, bool, int, float, str, np.dtype, type(None), type(Ellipsis))


class _Ops:
    """Looks an operation up by its name in `keras.ops`."""

    def __getattr__(self, name: str) -> Callable:
        def operation(*arguments: Any, **named: Any) -> Any:
            if all(map(_is_plain, (*arguments, *named.values()))):
                return (_NUMPY_OPERATIONS.get(name) or getattr(np, name))(*arguments, **named)
            from ssv_tf.base.backend import ops as of_backend

            return getattr(of_backend, name)(*arguments, **named)

        return operation


ops: Any = _Ops()


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _convert_to_tensor(values: Any, dtype: Any = None) -> np.ndarray:
    if dtype is None and not hasattr(values, "dtype"):
        dtype = np.float32
    return np.asarray(values, dtype)


def _where(condition: Any, first: Any, second: Any) -> np.ndarray:
    """Numbers of Python take the type of the other side, and float32 among themselves."""
    typed = [side.dtype for side in (first, second) if hasattr(side, "dtype")]
    dtype = np.result_type(*typed) if typed else np.float32
    return np.where(condition, np.asarray(first, dtype), np.asarray(second, dtype))


def _relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -values))


def _softmax(values: np.ndarray, axis: int = -1) -> np.ndarray:
    weights = np.exp(values - np.max(values, axis=axis, keepdims=True))
    return weights / np.sum(weights, axis=axis, keepdims=True)


def _cast(values: Any, dtype: Any) -> np.ndarray:
    return np.asarray(values).astype(dtype)


def _one_hot(classes: np.ndarray, count: int, dtype: Any = np.float32) -> np.ndarray:
    return np.eye(count, dtype=dtype)[classes]


# What NumPy has not, or has otherwise; all else goes by the same name.
_NUMPY_OPERATIONS: dict[str, Callable] = {
    "cast": _cast,
    "convert_to_numpy": np.asarray,
    "convert_to_tensor": _convert_to_tensor,
    "one_hot": _one_hot,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "where": _where,
}
