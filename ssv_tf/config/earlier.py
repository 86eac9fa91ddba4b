"""Options files of earlier versions: settings that have another name now, or are none any more.

What is gone was a constant in every recipe, or made no difference in the ablations. Where a run
had another value than the one this version always uses, the value is kept beside the settings
(`Options.earlier`): the run's networks, which know their own shapes, answer as before, and training
goes on from it with the version that began it alone.
"""

from collections.abc import Mapping
from typing import Any

from ssv_tf.config import method

_RENAMED = {"picture_interval": "evaluation_interval"}
# How often or how much was written, and where a file lay: nothing a network learnt from.
_FORGOTTEN = {
    "score_interval", "score_count", "score_where", "keep", "perceptual_weights", "xla",
    "teacher_from", "teacher_confidence",  # of pseudo-labels, which no run has now
}  # fmt: skip
_OF_METHOD = {
    "analysis_trunk": "trunk",
    "dropout": "dropout",
    "code_size": "code_size",
    "mapping_layers": "mapping_layers",
    "mapping_rate_ratio": "mapping_rate_ratio",
    "augment": "augment",
    "style_weight": "style_weight",
    "synthesis_style_weight": "synthesis_style_weight",
    "pair_weight": "pair_weight",
    "synthesis_symmetry_weight": "synthesis_symmetry_weight",
}
_CONSTANT = {
    "adversarial_weight": 1.0,
    "synthesis_adversarial_weight": 1.0,
    "quadrant_weight": 0.0,
    "teacher_weight": 0.0,
    "pseudo_label_weight": 0.0,
    "beta_1": method.ADAM_BETAS[0],
    "beta_2": method.ADAM_BETAS[1],
    "ema_decay": method.EMA_DECAY,
    "decay_share": method.DECAY_SHARE,
    "stretch": True,
}
_CONDITIONAL = {
    "adversarial", "projection", "r1_interval", "drift_weight", "volume_features",
    "symmetric_volume", "camera_distance", "symmetry_weight",
}  # fmt: skip
_TABLES = ("where_table", "train_labels")
# What the settings' defaults were while options.json had the settings above.
_DEFAULTS_THEN = {
    "run_dir": "runs/cars", "steps": 12000, "crop": "longest", "padding": "constant",
    "prior_rate": 0.0, "synthesis_width": 0.125, "gradient_penalty_weight": 10.0,
    "analysis_rate": 1e-3, "synthesis_rate": 1e-3,
}  # fmt: skip


def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings as this version names them.

    Args:
      values: of an options.json of any version.

    Returns:
      (settings, unknown ones among them; what is gone and differed, by its earlier name).
    """
    values = _one_stream(values)
    earlier = [name for name in values if name in _ALL]
    if not earlier:
        return dict(values), {}
    settings = {name: value for name, value in values.items() if name not in _ALL}
    if "adversarial" in values or "projection" in values:
        settings.setdefault("objective", _objective(values))
        settings = _DEFAULTS_THEN | settings
    for name, now in _RENAMED.items():
        if name in values:
            settings.setdefault(now, values[name])
    tables = dict.fromkeys(values[name] for name in _TABLES if values.get(name))
    if tables and (values.get("where") or values.get("supervised")):
        settings.setdefault("labels", next(iter(tables)))
    always = _always(settings)
    gone = {n: values[n] for n in earlier if n in always and values[n] != always[n]}
    if len(tables) > 1:
        gone |= {name: values[name] for name in _TABLES}
    return settings, gone


def _one_stream(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tf.data service was a setting of its own beside a true or false `stream`."""
    values = dict(values)
    service = values.pop("data_service", "")
    if isinstance(values.get("stream"), bool):
        values["stream"] = (service or "files") if values["stream"] else ""
    return values


def _objective(values: Mapping[str, Any]) -> str:
    paper = values.get("projection") == "free" or values.get("adversarial") == "wgan_gp"
    return method.PAPER if paper else method.COMPOSITE


def _always(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run with these settings now always has, by the earlier name."""
    objective = method.METHODS.get(settings.get("objective", ""), method.METHODS[method.COMPOSITE])
    mirrored = settings.get("mirror_data", True)
    always = _CONSTANT | {
        name: getattr(objective, attribute) for name, attribute in _OF_METHOD.items()
    }
    always |= {
        "adversarial": "wgan_gp" if objective.wasserstein else "logistic",
        "projection": objective.projection,
        "symmetry_weight": objective.symmetry_weight if mirrored else 0.0,
    }
    if objective.wasserstein:
        always["drift_weight"] = method.DRIFT_WEIGHT
    else:
        always["r1_interval"] = method.R1_INTERVAL
    if objective.projection == "composite":
        always |= {
            "volume_features": 5,
            "symmetric_volume": mirrored,
            "camera_distance": objective.camera_distance,
        }
    return always


_ALL = {*_RENAMED, *_FORGOTTEN, *_OF_METHOD, *_CONSTANT, *_CONDITIONAL, *_TABLES}
