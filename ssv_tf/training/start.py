"""Starts training from the networks of another run: refinement on a new collection, unlabelled.

The paper's SSV-Refined: what was learnt on one collection goes on learning on the target's own
pictures (SSV section 4). Optimizers, prior and step begin anew.
"""

import numpy as np

from ssv_tf import runs
from ssv_tf.errors import UserError


def take_over(trainer, name: str) -> None:
    """Gives V and S, and their averages, the weights of another run.

    Args:
      trainer: an engine's Trainer.
      name: a run folder, or else a preset.

    Raises:
      UserError: no such run, one that was trained from labels, or networks of other shapes.
    """
    run = runs.find(name)
    if run.options.supervised:
        raise UserError(f"--init_from={name} was trained from labels, which train no other run")
    values = {key: np.asarray(v.numpy()) for key, v in trainer.state().items()}
    for owner, network in (("analysis", run.analysis()), ("synthesis", run.synthesis())):
        own = {key: value for key, value in values.items() if key.startswith(f"{owner}/")}
        weights = [np.asarray(variable.numpy()) for variable in network.variables]
        _check(name, owner, list(own.values()), weights, network, trainer)
        for key, weight in zip(own, weights, strict=True):
            values[key] = weight
            values[key.replace(owner, f"{owner}_average", 1)] = weight
    trainer.restore(values)


def _check(name, owner, own, weights, network, trainer):
    if [a.shape for a in own] == [b.shape for b in weights]:
        return
    wanted, found = getattr(trainer, owner).get_config(), network.get_config()
    differing = [
        f"{key} {found.get(key)} there, {value} here"
        for key, value in wanted.items()
        if key != "name" and found.get(key) != value
    ]
    raise UserError(
        f"--init_from={name}: its {owner} network has other shapes ({'; '.join(differing)}); train "
        "with its settings, those in its options.json, or begin anew with --init_from="
    )
