"""Every setting of a training run, made from absl flags or options.json at the door.

Networks, losses and steps get their own part, or plain values, and never read a flag.
"""

from ssv_tf.config.flag_values import define_flags, from_flag_file, from_flags
from ssv_tf.config.options import (
    SELF_SUPERVISED,
    SETTINGS,
    SUPERVISED,
    Options,
    anchored,
    from_json,
)
from ssv_tf.config.parts import PRECISIONS

__all__ = [
    "PRECISIONS",
    "SELF_SUPERVISED",
    "SETTINGS",
    "SUPERVISED",
    "Options",
    "anchored",
    "define_flags",
    "from_flag_file",
    "from_flags",
    "from_json",
]
