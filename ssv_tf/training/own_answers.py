"""The student goes on with its own answers to the pictures it learnt from (self-training).

It tells ends and directions better than the labels that it learnt, whose mistakes agree little with
each other. So its answers become the labels. Each is averaged with the mirror image's, and which
way the object points is weighed against what a picture and its mirror image do not share
(`training.directions`). How far the object is turned from its mirror plane, elevation and tilt it
answers no better than the first labels, but with other mistakes: those of both are averaged.
A network that is uncertain answers near the middle of the slants; they are spread anew as those of
the first labels.
"""

import numpy as np

from ssv_tf.training import directions
from ssv_tf.training.self_training import PseudoLabels


def even_slants(count: int) -> np.ndarray:
    """Slants in degrees, [count], of azimuths all of which are as frequent."""
    return (np.arange(count) + 0.5) * 90.0 / count


def spread(labels: PseudoLabels, slants_deg: np.ndarray) -> PseudoLabels:
    """The labels, whose slants keep their order and are as frequent as `slants_deg`, [n]."""
    order = np.argsort(labels.slant_deg, kind="stable")
    spread_deg = np.empty(len(order))
    spread_deg[order] = np.sort(slants_deg)
    return labels.with_slant(spread_deg)


def settled(answers: PseudoLabels, first: PseudoLabels, differences: np.ndarray) -> PseudoLabels:
    """What the student learns next.

    Args:
      answers: the student's to the pictures that it learns from, each averaged with the mirror
        image's.
      first: the labels that it learnt first.
      differences: of the same pictures, [n, k], as `directions.differences` gives them.
    """
    return directions.with_directions(
        differences,
        averaged(answers, first),
        "the student",
        trusted=directions.TRUSTED_STUDENT,
        combine=PseudoLabels.weighed_with_left,
    )


def averaged(answers: PseudoLabels, first: PseudoLabels) -> PseudoLabels:
    """The answers' quadrants of azimuth; slants, elevations and tilts between those of both."""
    slants_deg = (spread(answers, first.slant_deg).slant_deg + first.slant_deg) / 2.0
    quadrants = (answers.quadrants + first.quadrants) / 2.0
    quadrants[:, 0] = answers.quadrants[:, 0]
    both = PseudoLabels((answers.magnitudes + first.magnitudes) / 2.0, quadrants)
    return spread(both.with_slant(slants_deg), first.slant_deg)
