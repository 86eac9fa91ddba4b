"""Learning rates of steps, and one compiled step for several trainings."""

import keras
import numpy as np

from ssv_tf.training import ends, rates


class _Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def _model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
    optimizer = keras.optimizers.AdamW(weight_decay=1e-2)
    optimizer.build(model.trainable_weights)
    model.compile(optimizer, "mse")
    return model


def _fit(model, rate, initial_epoch=0):
    seen = _Seen()
    x = np.arange(12.0).reshape(4, 3)
    model.fit(
        x, x[:, :1], batch_size=2, epochs=3, initial_epoch=initial_epoch, shuffle=False, verbose=0,
        callbacks=[rates.RateByStep(rate), seen],
    )  # fmt: skip
    return seen.rates


def test_every_step_has_its_rate_also_where_epochs_are_gone_on_with():
    rate = rates.warm_up_and_fall(4, 0.1, 2)
    wanted = [float(rate(step)) for step in range(6)]
    np.testing.assert_allclose(wanted[:3], [0.0, 0.05, 0.1], rtol=1e-6)
    assert wanted[3] > wanted[4] > wanted[5] > 0.0
    np.testing.assert_allclose(_fit(_model(), rate), wanted, rtol=1e-6)
    np.testing.assert_allclose(_fit(_model(), rate, initial_epoch=1), wanted[2:], rtol=1e-6)


def test_an_optimizer_that_forgot_trains_as_a_new_one():
    model, start = _model(), _model().get_weights()
    _fit(model, rates.warm_up_and_fall(3, 0.5, 1))
    model.set_weights(start)
    rates.forget(model.optimizer)
    anew = _model()
    for trained in (model, anew):
        _fit(trained, rates.warm_up_and_fall(4, 0.1, 2))
    for mine, wanted in zip(model.get_weights(), anew.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert int(model.optimizer.iterations) == 6


def test_a_round_of_ends_starts_as_from_a_new_network():
    keras.utils.set_random_seed(0)
    first, second = ends._untrained(0), ends._untrained(0)
    keras.utils.set_random_seed(0)
    network = ends._network(0)
    for variable in network.variables:
        variable.assign(keras.ops.ones_like(variable))
    ends._start_anew(network, 0)
    assert not np.array_equal(first.get_weights()[-2], second.get_weights()[-2])
    for mine, wanted in zip(network.variables, second.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(wanted))
