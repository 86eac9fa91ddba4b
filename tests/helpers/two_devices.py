"""Two steps on one and on two devices of a process of their own; says whether they agree.

python -m two_devices
"""

import pytest
import tensorflow as tf
import tiny

from ssv_tf import config
from ssv_tf.training import step


def results(options, devices):
    real = tf.random.stateless_normal([16, 32, 32, 3], [1, 2])
    trainer = step.Trainer(options, step.make_strategy(devices))
    batches = iter(
        trainer.strategy.experimental_distribute_dataset(
            tf.data.Dataset.from_tensors(real).repeat()
        )
    )
    for number in range(2):
        parts = trainer.step(next(batches), tf.constant(number, tf.int64), number == 0)
    return {name: float(value) for name, value in parts.items()}


if __name__ == "__main__":
    cpu, *_ = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.config.run_functions_eagerly(True)
    tiny.without_chance(pytest.MonkeyPatch())
    options = config.Options.of(
        **tiny.NETWORKS | {"batch_size": 16}, steps=4, prior_rate=0.0, image_weight=0.0,
        analysis_rate=1e-3, synthesis_rate=1e-3,
    )  # fmt: skip
    one, two = (results(options, devices) for devices in ("CPU:0", "CPU:0,CPU:1"))
    for name in one:
        if not name.endswith("gradient"):
            assert abs(one[name] - two[name]) < 2e-3 * max(1, abs(one[name])), (name, one, two)
    print("same numbers")
