"""Writes tfa.npz: inputs and outputs of TensorFlow Addons 0.23.0, its last release.

Addons cannot be imported beside the TensorFlow this project uses, so this script runs in a
virtual environment of its own, on Python 3.11:

    python3.11 -m venv /tmp/tfa-venv
    /tmp/tfa-venv/bin/pip install tensorflow==2.15.1 tensorflow-addons==0.23.0 "numpy<2"
    /tmp/tfa-venv/bin/python tests/golden/make_tfa_golden.py tests/golden/tfa.npz

It imports nothing of ssv_tf. The keys are `CASE/ARRAY`; tests/tfa_parity_test.py reads them.
"""

import itertools
import sys

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

SEED = 20200613
INSTANCE_NORM_SHAPES = {"2d": (3, 5, 6, 4), "3d": (2, 3, 4, 5, 6)}
INSTANCE_NORM_EPSILONS = (1e-3, 1e-5)
POWER_ITERATIONS = (1, 3)
SPECTRAL_STEPS = 4
EMA_DECAYS = (0.5, 0.9, 0.999)
EMA_STEPS = 12
TRANSLATIONS = ((0.0, 0.0), (1.0, 0.0), (-1.5, 0.25), (2.3, -3.6))
ROTATIONS_DEG = (0.0, 90.0, 30.0, -12.5)


def instance_normalization(random: np.random.RandomState) -> dict:
    """InstanceNormalization on pictures and volumes; the affine weights are drawn, too."""
    arrays = {}
    for rank, shape in INSTANCE_NORM_SHAPES.items():
        inputs = random.normal(1.5, 2.0, shape).astype(np.float32)
        inputs[0, ..., 0] = 0.7  # a constant channel: variance 0, where epsilon alone decides
        gamma = random.uniform(0.5, 1.5, shape[-1]).astype(np.float32)
        beta = random.normal(size=shape[-1]).astype(np.float32)
        arrays |= {
            f"instance_norm_{rank}/inputs": inputs,
            f"instance_norm_{rank}/gamma": gamma,
            f"instance_norm_{rank}/beta": beta,
        }
        for epsilon in INSTANCE_NORM_EPSILONS:
            for affine in (False, True):
                layer = tfa.layers.InstanceNormalization(
                    epsilon=epsilon, center=affine, scale=affine
                )
                layer.build(shape)
                if affine:
                    layer.set_weights([gamma, beta])
                key = f"instance_norm_{rank}/outputs_{epsilon:g}_{'affine' if affine else 'plain'}"
                arrays[key] = layer(inputs).numpy()
    layer = tfa.layers.InstanceNormalization()
    arrays["instance_norm_default/epsilon"] = np.float64(layer.epsilon)
    return arrays


def instance_normalization_gradient(random: np.random.RandomState) -> dict:
    """The gradient of sum(weights * InstanceNormalization(x)) in x."""
    inputs = tf.constant(random.normal(size=(2, 4, 4, 3)).astype(np.float32))
    weights = random.normal(size=inputs.shape).astype(np.float32)
    layer = tfa.layers.InstanceNormalization(epsilon=1e-3, center=False, scale=False)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(weights * layer(inputs))
    return {
        "instance_norm_gradient/inputs": inputs.numpy(),
        "instance_norm_gradient/weights": weights,
        "instance_norm_gradient/gradient": tape.gradient(loss, inputs).numpy(),
    }


def spectral_normalization(random: np.random.RandomState) -> dict:
    """A few training calls of SpectralNormalization on dense and convolution kernels."""
    arrays = {}
    kinds = {
        "dense": (lambda: tf.keras.layers.Dense(7), (3, 5)),
        "conv2d": (lambda: tf.keras.layers.Conv2D(4, 3), (2, 6, 6, 3)),
        "conv3d": (lambda: tf.keras.layers.Conv3D(4, 3), (2, 4, 4, 4, 2)),
    }
    for kind, (make, shape) in kinds.items():
        inputs = random.normal(size=shape).astype(np.float32)
        arrays[f"spectral_norm_{kind}/inputs"] = inputs
        for iterations in POWER_ITERATIONS:
            layer = tfa.layers.SpectralNormalization(make(), power_iterations=iterations)
            layer.build(shape)
            kernel = random.normal(size=layer.w.shape).astype(np.float32)
            vector = random.normal(size=layer.u.shape).astype(np.float32)
            layer.w.assign(kernel)
            layer.u.assign(vector)
            case = f"spectral_norm_{kind}_{iterations}"
            arrays |= {f"{case}/kernel": kernel, f"{case}/vector": vector}
            outputs, kernels = [], []
            for _ in range(SPECTRAL_STEPS):
                outputs.append(layer(inputs, training=True).numpy())
                kernels.append(layer.w.numpy())
            arrays |= {
                f"{case}/outputs": np.stack(outputs),
                f"{case}/kernels": np.stack(kernels),
                f"{case}/vector_after": layer.u.numpy(),
            }
    return arrays


def moving_average(random: np.random.RandomState) -> dict:
    """Weights and their averages under MovingAverage(SGD).

    The average starts from the initial weight. The decay is fixed, or rises with the step t as
    min(decay, (1 + t) / (10 + t)).
    """
    arrays = {}
    initial = random.normal(size=5).astype(np.float32)
    gradients = random.normal(size=(EMA_STEPS, 5)).astype(np.float32)
    arrays |= {"ema/initial": initial, "ema/gradients": gradients}
    for decay, rising in itertools.product(EMA_DECAYS, (False, True)):
        variable = tf.Variable(initial)
        optimizer = tfa.optimizers.MovingAverage(
            tf.keras.optimizers.legacy.SGD(0.1), average_decay=decay, dynamic_decay=rising
        )
        weights, averages = [], []
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant(gradient), variable)])
            weights.append(variable.numpy())
            averages.append(optimizer.get_slot(variable, "average").numpy())
        case = f"{'rising' if rising else 'fixed'}_{decay:g}"
        arrays |= {"ema/weights": np.stack(weights), f"ema/averages_{case}": np.stack(averages)}
    return arrays


def image_warps(random: np.random.RandomState) -> dict:
    """Bilinear tfa.image.rotate (zero outside) and translate (edges repeated) of a picture."""
    images = random.uniform(-1.0, 1.0, (1, 9, 9, 3)).astype(np.float32)
    moved = [
        tfa.image.translate(images, list(xy), interpolation="bilinear", fill_mode="nearest")
        for xy in TRANSLATIONS
    ]
    turned = [
        tfa.image.rotate(images, np.deg2rad(angle), interpolation="bilinear")
        for angle in ROTATIONS_DEG
    ]
    return {
        "warp/images": images,
        "warp/translations": np.float32(TRANSLATIONS),  # (x, y) that the content moves by
        "warp/translated": np.concatenate(moved),
        "warp/rotations_deg": np.float32(ROTATIONS_DEG),  # counter-clockwise
        "warp/rotated": np.concatenate(turned),
    }


def main(path: str) -> None:
    """Writes every case to `path`."""
    random = np.random.RandomState(SEED)
    arrays = {"made_with": np.array([f"tensorflow {tf.__version__}", f"addons {tfa.__version__}"])}
    for case in (
        instance_normalization,
        instance_normalization_gradient,
        spectral_normalization,
        moving_average,
        image_warps,
    ):
        arrays |= case(random)
    np.savez_compressed(path, **arrays)
    print(f"{path}: {len(arrays)} arrays made with {arrays['made_with'].tolist()}")


if __name__ == "__main__":
    main(sys.argv[1])
