"""Which engine trains: the one of Keras's backend (environment variable KERAS_BACKEND)."""

import keras

from ssv_tf.base.errors import SettingError
from ssv_tf.training import cluster


def join_cluster():
    """Meets the other machines of TF_CONFIG, where it names some; before anything is computed.

    Raises:
      SettingError: TF_CONFIG is wrong, or the backend trains on one machine alone.
    """
    if cluster.place().count == 1:
        return
    if keras.backend.backend() != "tensorflow":
        raise SettingError(
            f"TF_CONFIG: several machines train on TensorFlow alone; KERAS_BACKEND is "
            f"{keras.backend.backend()}"
        )
    from ssv_tf.training import step

    step.join_cluster()


def make_trainer(options, angles_deg=None):
    """What trains: the engine's Trainer, or with --supervised one that is given the labels.

    Args:
      options: config.Options.
      angles_deg: labels of the training pictures, float32 [n, 3]; for --supervised alone.

    Raises:
      SettingError: the backend has no engine, or not the one these options need.
    """
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise SettingError(f"KERAS_BACKEND={backend} has no training; give tensorflow or jax")
    if options.pictures.supervised:
        if backend != "tensorflow":
            raise SettingError(
                f"`supervised` trains on TensorFlow alone; KERAS_BACKEND is {backend}"
            )
        from ssv_tf.training import supervised

        return supervised.make_trainer(options, angles_deg)
    if backend == "jax":
        from ssv_tf.training import jax_step

        return jax_step.make_trainer(options)
    from ssv_tf.training import step

    return step.make_trainer(options)
