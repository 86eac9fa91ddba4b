"""Settings of the smallest networks that still have every part."""

import dataclasses

from ssv_tf.config import method

NETWORKS = {
    "batch_size": 8,
    "analysis_width": 0.03,
    "synthesis_width": 0.03,
    "volume_size": 8,
    "precision": "float32",  # the same numbers on any processor, in processes of their own too
}


def without_chance(monkeypatch, **changes):
    """Trains with no dropout, so that another seed or engine gives the same numbers.

    Every step carries the R1 penalty, so that one graph is traced and compiled and not two.

    Args:
      monkeypatch: undoes it.
      changes: of the Method beside that.
    """
    from ssv_tf.training import networks

    monkeypatch.setattr(networks, "R1_INTERVAL", 1)
    for name, own in method.METHODS.items():
        changed = dataclasses.replace(own, **{"dropout": 0.0, **changes})
        monkeypatch.setitem(method.METHODS, name, changed)


def with_short_looks(monkeypatch):
    """Health from 16 pictures and few turns, and a small turntable: no test of a run's files,
    steps or weights looks at more, and both take longer than the steps.
    """
    from ssv_tf.evaluation import animation
    from ssv_tf.training import health

    monkeypatch.setattr(health, "SAMPLE", 16)
    monkeypatch.setattr(health, "_BATCH", 16)
    monkeypatch.setattr(health, "_AROUND", 4)
    monkeypatch.setattr(animation, "_ENLARGED_TO", 32)
