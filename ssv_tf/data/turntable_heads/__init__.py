"""Rendered heads whose gaze is free of the head's pose, with exact angles of both."""

from ssv_tf.data.turntable_heads.collection import (
    GAZES,
    SPLITS,
    Pose,
    draw_pose,
    picture_seed,
    render_head,
    render_poses,
    render_range,
)

__all__ = [
    "GAZES",
    "SPLITS",
    "Pose",
    "draw_pose",
    "picture_seed",
    "render_head",
    "render_poses",
    "render_range",
]
