"""Types that annotations share; imports neither TensorFlow nor Keras."""

from typing import Any

Tensor = Any
"""A tensor of the Keras backend: of TensorFlow, a JAX array, or a symbolic KerasTensor."""

Shape = tuple[Any, ...]
"""A tensor's shape as Keras gives it to `build`; None where a side is not known."""
