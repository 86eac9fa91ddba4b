"""`array_ops` does in NumPy what `keras.ops` does of the same numbers, and Keras's of tensors."""

import keras
import numpy as np
import pytest

from ssv_tf.base.array_ops import ops

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 20, (5, 3, 4)).astype(np.float32)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("softmax", (LOGITS,)),
        ("sigmoid", (np.array([-200, -1, 0, 3, 200], np.float32),)),
        ("relu", (LOGITS,)),
        ("where", (LOGITS > 0, 1.0, -1.0)),
        ("where", (LOGITS > 0, LOGITS, 0.5)),
        ("clip", (LOGITS, -1.0, 1.0)),
        ("mod", (LOGITS, 7.0)),
        ("arctan2", (LOGITS[..., 0], LOGITS[..., 1])),
        ("cast", (LOGITS > 0, "int32")),
        ("one_hot", (np.array([2, 0]), 4)),
        ("stack", ([LOGITS, LOGITS],)),
    ],
)
def test_arrays_are_done_as_tensors_are(name, arguments):
    found = getattr(ops, name)(*arguments)
    wanted = keras.ops.convert_to_numpy(getattr(keras.ops, name)(*arguments))
    assert type(found) is np.ndarray and found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_one_tensor_makes_it_keras():
    tensor = keras.ops.convert_to_tensor([1.0, -2.0])
    assert keras.ops.is_tensor(ops.abs(tensor))
    assert keras.ops.is_tensor(ops.stack([tensor, np.zeros(2, np.float32)]))
    assert ops.convert_to_tensor((1, 2), dtype="float32").dtype == np.float32
