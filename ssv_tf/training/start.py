"""Starts training from the networks of another run: refinement on a new collection, unlabelled.

The paper's SSV-Refined: what was learnt on one collection goes on learning on the target's own
pictures (SSV section 4). Optimizers, prior and step begin anew.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.training import networks, run_folder

if TYPE_CHECKING:
    import keras

    from ssv_tf.training.engines import Trainer

_NETWORKS = ("analysis", "synthesis")


def check(options: config.Options) -> None:
    """That `take_over` will find what it needs, before anything is removed or written.

    Args:
      options: with `init_from`.

    Raises:
      UserError: as `take_over`.
      SettingError: the run to start from is the one to be written.
    """
    run = _self_supervised_run(options.run.init_from)
    if run.path.resolve() == Path(options.run.run_dir).resolve():
        raise SettingError(f"`init_from={options.run.init_from}` is `run_dir` itself; give another")
    for owner, network in zip(_NETWORKS, networks.build_networks(options), strict=True):
        _check_shapes(options.run.init_from, owner, network, getattr(run, owner)())


def take_over(trainer: "Trainer", name: str) -> None:
    """Gives V and S, and their averages, the weights of another run.

    Args:
      trainer: an engine's Trainer.
      name: a run folder, or else a preset.

    Raises:
      UserError: no such run, one that was trained from labels, or networks of other shapes.
    """
    run = _self_supervised_run(name)
    values = {key: np.asarray(v.numpy()) for key, v in trainer.state().items()}
    for owner in _NETWORKS:
        given = getattr(run, owner)()
        _check_shapes(name, owner, getattr(trainer, owner), given)
        keys = [key for key in values if key.startswith(f"{owner}/")]
        for key, variable in zip(keys, given.variables, strict=True):
            values[key] = np.asarray(variable.numpy())
            values[key.replace(owner, f"{owner}_average", 1)] = values[key]
    trainer.restore(values)


def _self_supervised_run(name: str) -> run_folder.Run:
    run = run_folder.find(name)
    if run.options.pictures.supervised:
        raise UserError(f"`init_from={name}` was trained from labels, which train no other run")
    return run


def _check_shapes(name: str, owner: str, network: "keras.Model", other: "keras.Model") -> None:
    if [v.shape for v in network.variables] == [v.shape for v in other.variables]:
        return
    here, there = network.get_config(), other.get_config()
    differing = [
        f"{key} {there.get(key)} there, {value} here"
        for key, value in here.items()
        if key != "name" and there.get(key) != value
    ]
    raise UserError(
        f"`init_from={name}`: its {owner} network has other shapes ({'; '.join(differing)}); train "
        "with its settings, those in its options.json, or begin anew with `init_from=`"
    )
