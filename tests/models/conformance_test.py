"""Every layer and both networks through the same mill.

float32 and mixed_bfloat16, a `.keras` round trip, `tf.function`, and MirroredStrategy over two
virtual CPUs. Those need a process of their own, as a device can only be cut before TensorFlow
starts: run as a script, this file writes what it measured there as JSON.
"""

import dataclasses
import inspect
import json
import os
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from ssv_tf.models import analysis, layers, projection, synthesis

BATCH = 8  # two replicas of 4, one group of the minibatch standard deviation each
_STYLE, _VOLUME, _ANGLES = (5,), (8, 8, 8, 4), (3,)
_TINY = {"resolution": 32, "width": 0.03}


@dataclasses.dataclass(frozen=True)
class Case:
    """How to make a layer, and the shapes of its inputs without the batch."""

    make: Callable[[], keras.Layer]
    shapes: tuple

    def inputs(self):
        random = np.random.default_rng(3)
        return [random.normal(0, 0.5, (BATCH, *shape)).astype(np.float32) for shape in self.shapes]


CASES = {
    "conv_2d": Case(lambda: layers.EqualizedConv(4), ((8, 8, 3),)),
    "conv_3d": Case(lambda: layers.EqualizedConv(4, rank=3, bias_start=1.0), ((6, 6, 6, 3),)),
    "conv_valid": Case(lambda: layers.EqualizedConv(4, 4, padding="valid"), ((4, 4, 3),)),
    "dense": Case(lambda: layers.EqualizedDense(4, gain=1.5), ((7,),)),
    "instance_norm": Case(layers.instance_norm, ((8, 8, 3),)),
    "adaptive_norm_2d": Case(lambda: layers.AdaptiveInstanceNorm(3), ((8, 8, 3), _STYLE)),
    "adaptive_norm_3d": Case(lambda: layers.AdaptiveInstanceNorm(3), ((6, 6, 6, 3), _STYLE)),
    "minibatch_deviation": Case(layers.MinibatchStandardDeviation, ((4, 4, 3),)),
    "halving_block": Case(lambda: analysis._HalvingBlock(6, name="block"), ((8, 8, 3),)),
    "strided_block": Case(lambda: analysis._StridedBlock(6, name="block"), ((8, 8, 3),)),
    "angle_head": Case(lambda: analysis._AngleHead(16, 0.2, name="head"), ((7,),)),
    "mapping": Case(lambda: synthesis.MappingNetwork(9, 3), (_STYLE,)),
    "styled_conv_2d": Case(lambda: layers.StyledConv(6, 2), ((8, 8, 3), _STYLE)),
    "styled_conv_3d": Case(lambda: layers.StyledConv(6, 3), ((6, 6, 6, 3), _STYLE)),
    "styled_volume": Case(lambda: synthesis.StyledVolume(0.03, 8), (_STYLE,)),
    "free": Case(
        lambda: projection.FreeProjection(resolution=16, width=0.03, volume_size=8),
        (_VOLUME, _STYLE, _STYLE, _ANGLES),
    ),
    "composite": Case(
        lambda: projection.CompositeProjection(
            resolution=16, width=0.03, volume_size=8, features=3
        ),
        (_VOLUME, _STYLE, _STYLE, _ANGLES),
    ),
    "analysis": Case(lambda: analysis.AnalysisNetwork(**_TINY, style_size=8), ((32, 32, 3),)),
    "synthesis": Case(
        lambda: synthesis.SynthesisNetwork(**_TINY, code_size=4, mapping_layers=2, volume_size=8),
        ((4,), (4,), _ANGLES),
    ),
    "synthesis_free": Case(
        lambda: synthesis.SynthesisNetwork(
            **_TINY, code_size=4, mapping_layers=2, volume_size=8, projection="free"
        ),
        ((4,), (4,), _ANGLES),
    ),
}
NETWORKS = ("analysis", "synthesis", "synthesis_free")
POLICIES = ("float32", "mixed_bfloat16")

each_case = pytest.mark.parametrize("name", CASES)
each_policy = pytest.mark.parametrize("policy", POLICIES)


def _call(layer, inputs):
    """The layer's outputs as a flat list, whatever structure they come in."""
    return keras.tree.flatten(layer(inputs if len(inputs) > 1 else inputs[0]))


def _as_fed(layer, case, inputs):
    """Inputs as the networks feed them: features in the compute type, angles in float32."""
    if isinstance(layer, keras.Model):
        return [ops.convert_to_tensor(x) for x in inputs]
    names = ["float32" if shape == _ANGLES else layer.compute_dtype for shape in case.shapes]
    return [ops.cast(x, name) for x, name in zip(inputs, names, strict=True)]


def _numbers(outputs):
    return [ops.convert_to_numpy(ops.cast(x, "float32")) for x in outputs]


def _built(case):
    keras.utils.set_random_seed(6)
    layer = case.make()
    outputs = _call(layer, _as_fed(layer, case, case.inputs()))
    return layer, _numbers(outputs), [keras.backend.standardize_dtype(x.dtype) for x in outputs]


@pytest.fixture
def policy_of():
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def _apart(first, second):
    return max(np.abs(a - b).max() / (np.std(b) + 1e-3) for a, b in zip(first, second, strict=True))


# --- The mill --------------------------------------------------------------------------------


def test_no_layer_is_left_out():
    made = {type(case.make()) for case in CASES.values()}
    for module in (layers, analysis, projection, synthesis):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and issubclass(kind, keras.Layer):
                assert kind in made, f"{kind.__name__} has no case"


@each_case
def test_float32_gives_finite_numbers_of_its_own_type(name):
    layer, outputs, kinds = _built(CASES[name])
    assert set(kinds) == {"float32"}
    assert all(np.isfinite(x).all() and len(x) == BATCH for x in outputs)
    assert all(np.std(x) > 0 for x in outputs)
    assert all(w.dtype == "float32" for w in layer.weights)


@each_case
def test_bfloat16_is_close_with_weights_in_float32(name, policy_of):
    exact, expected, _ = _built(CASES[name])
    policy_of("mixed_bfloat16")
    layer, _, kinds = _built(CASES[name])
    layer.set_weights(exact.get_weights())
    outputs = _numbers(_call(layer, _as_fed(layer, CASES[name], CASES[name].inputs())))
    assert set(kinds) == {"float32" if name in NETWORKS else "bfloat16"}
    assert all(w.dtype == "float32" for w in layer.weights)
    for got, wanted in zip(outputs, expected, strict=True):
        error = np.sqrt(np.mean((got - wanted) ** 2))
        assert 0 < error < 0.1 * np.sqrt(np.mean(wanted**2))


@each_case
@each_policy
def test_keras_file_gives_the_same_numbers(name, policy, policy_of, tmp_path):
    policy_of(policy)
    case = CASES[name]
    layer, expected, _ = _built(case)
    inputs = _as_fed(layer, case, case.inputs())
    model = layer
    if not isinstance(layer, keras.Model):
        symbols = [keras.Input(x.shape[1:], batch_size=BATCH, dtype=x.dtype.name) for x in inputs]
        model = keras.Model(symbols, layer(symbols if len(symbols) > 1 else symbols[0]))
    model.save(tmp_path / "layer.keras")
    loaded = keras.saving.load_model(tmp_path / "layer.keras", compile=False)
    assert _apart(_numbers(_call(loaded, inputs)), expected) < 1e-5


@each_case
def test_config_makes_the_layer_again(name):
    layer = CASES[name].make()
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    for argument in inspect.signature(type(layer).__init__).parameters:
        if argument not in ("self", "kwargs") and type(layer).__module__.startswith("ssv_tf"):
            assert argument in layer.get_config()


@each_case
@each_policy
def test_compiled_function_gives_the_same_numbers(name, policy, policy_of):
    policy_of(policy)
    case = CASES[name]
    layer, expected, _ = _built(case)
    compiled = tf.function(lambda inputs: _call(layer, inputs))
    got = _numbers(compiled(_as_fed(layer, case, case.inputs())))
    assert _apart(got, expected) < (1e-3 if policy == "float32" else 0.25)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_compiled_function_serves_any_number_of_pictures(name):
    case = CASES[name]
    network, _, _ = _built(case)
    predict = network.viewpoint if name == "analysis" else network
    specs = [tf.TensorSpec((None, *shape)) for shape in case.shapes]
    compiled = tf.function(
        lambda *inputs: keras.tree.flatten(predict(inputs if len(inputs) > 1 else inputs[0])),
        input_signature=specs,
    )
    for count in (1, 3, BATCH):
        inputs = [ops.convert_to_tensor(x[:count]) for x in case.inputs()]
        expected = keras.tree.flatten(predict(inputs if len(inputs) > 1 else inputs[0]))
        assert _apart(_numbers(compiled(*inputs)), _numbers(expected)) < 1e-3


# --- Two devices -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_two_devices():
    """Case and policy -> {"outputs": .., "gradients": .., "replicas": ..}, relative errors."""
    done = forked.run("tests.models.conformance_test")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@each_case
def test_two_devices_give_one_devices_numbers(name, on_two_devices):
    measured = on_two_devices[f"{name}/float32"]
    assert measured["replicas"] == 2
    assert measured["outputs"] < 1e-3
    assert measured["gradients"] < 1e-2


@pytest.mark.slow
def test_two_devices_give_one_devices_numbers_in_bfloat16(on_two_devices):
    measured = on_two_devices["analysis/mixed_bfloat16"]
    assert measured["replicas"] == 2
    assert measured["outputs"] < 0.25


def _outputs_and_gradients(layer, inputs, weights):
    """Outputs, and gradients of a sum in which every output number counts differently."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs = _call(layer, inputs)
        total = sum(tf.reduce_sum(tf.cast(x, tf.float32) * _ramp(x)) for x in outputs)
    gradients = tape.gradient(total, weights) if weights else []
    return outputs, [tf.zeros_like(w) if g is None else g
                     for g, w in zip(gradients, weights, strict=True)]  # fmt: skip


def _ramp(x):
    return tf.reshape(tf.cos(tf.range(tf.size(x[0]), dtype=tf.float32)), x.shape[1:])


def _measure(case, strategy):
    keras.utils.set_random_seed(6)
    with strategy.scope():
        layer = case.make()
        inputs = _as_fed(layer, case, case.inputs())
        _call(layer, inputs)
    part = BATCH // strategy.num_replicas_in_sync

    def replica():
        context = tf.distribute.get_replica_context()
        start = context.replica_id_in_sync_group * part
        own = [x[start : start + part] for x in inputs]
        own = [tf.ensure_shape(x, (part, *x.shape[1:])) for x in own]
        outputs, gradients = _outputs_and_gradients(layer, own, _values(layer))
        if gradients:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        return outputs, gradients

    outputs, gradients = tf.function(lambda: strategy.run(replica))()
    outputs = [tf.concat(strategy.experimental_local_results(x), 0) for x in outputs]
    gradients = [strategy.experimental_local_results(g)[0] for g in gradients]
    expected = _outputs_and_gradients(layer, inputs, _values(layer))
    return {
        "outputs": _apart(_numbers(outputs), _numbers(expected[0])),
        "gradients": _apart(_numbers(gradients), _numbers(expected[1])) if gradients else 0.0,
        "replicas": strategy.num_replicas_in_sync,
    }


def _values(layer):
    return [w.value for w in layer.trainable_weights]


def _main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    measured = {}
    for policy, names in (("float32", CASES), ("mixed_bfloat16", ["analysis"])):
        keras.config.set_dtype_policy(policy)
        for name in names:
            measured[f"{name}/{policy}"] = _measure(CASES[name], strategy)
    print(json.dumps(measured, default=float))


if __name__ == "__main__":
    _main()
