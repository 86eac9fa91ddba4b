"""A student goes on with about a hundred labelled pictures among its unlabelled ones: anchors.

The anchors calibrate the student, which settles what its answers to the unlabelled pictures say of
the end; else these answers stay, and are the pictures' labels. An anchor's is the student's own
answer, moved by as much as it lies from the true angle once calibrated. So the student keeps its
own angles and learns no more than where it is wrong. A quarter of each batch are anchors, moved,
relit and on changed backgrounds, the rest hold what it knows. With so small a share, and no anchor
ever seen twice alike, a hundred pictures cannot be learnt by heart. Then it answers anew. In the
end its weights are the means of those before and after (Wortsman et al. 2022, section 3): what
the anchors teach stays, and what they made it forget comes back.

Labels train here. A run that was made so says it wherever it is described (`Run.training`).
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.data import cutouts, sources
from ssv_tf.data.framing import Framing
from ssv_tf.evaluation import calibration, labelled, overlap
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models import encoding, inference
from ssv_tf.models.decoding import RawPrediction
from ssv_tf.training import self_training
from ssv_tf.training.self_training import PseudoLabels

SHARE = 0.25  # of a batch
_DOUBT = "its pictures are anchors, which trained the network: calibrate on others for a confidence"
_PROBABILITY = 0.97  # of the quadrant that an angle lies in
_LEAST_PROBABILITY = 1e-7
_WITHIN = 0.99  # of the widest angle that the code can hold


@dataclasses.dataclass(frozen=True)
class Anchors:
    """Labelled pictures that train.

    Attributes:
      layers: uint8 [n, S, S, 4], of `data.cutouts.layer`.
      squares: uint8 [n, R, R, 3], as the student's framing shows them.
      angles_deg: [n, 3]; NaN: not known.
      tolerance_deg: a true azimuth may be this far from its label.
    """

    layers: np.ndarray
    squares: np.ndarray
    angles_deg: np.ndarray
    tolerance_deg: float

    def __len__(self) -> int:
        return len(self.layers)


def read(table: str, framing: Framing) -> Anchors:
    """The pictures that a CSV of angles names; they lie in its folder, or below it.

    Args:
      table: path of the CSV (`labels.read_table`).
      framing: the student's.

    Raises:
      UserError: a table that cannot be read, names none of the pictures or fewer than five.
    """
    folder = Path(table).parent
    known = sources.load_collection(
        folder, labels=table, labelled_only=True, **framing.to_dict()
    ).labelled()
    angles_deg = labelled.angles_deg(known)
    if viewpoint.known(angles_deg).sum(axis=0).max() < calibration.FEWEST:
        raise UserError(
            f"{table} tells no angle of {calibration.FEWEST} pictures; give more anchors, about 100"
        )
    layers = [cutouts.layer(folder / name, 2 * framing.resolution) for name in known.names]
    return Anchors(np.stack(layers), known.images, angles_deg, known.label_tolerance_deg)


def fit(network: Any, anchors: Anchors, kind: str, label_shift: bool = True) -> Calibration:
    """The network's calibration on the anchors, of an azimuth of this kind; errors as its fit's."""
    raw = inference.predict(network, anchors.squares)
    known = anchors.angles_deg, kind, anchors.tolerance_deg
    return calibration.fit(raw, *known, label_shift=label_shift)


def final_calibration(network: Any, anchors: Anchors, kind: str) -> Calibration:
    """What a student that learnt from the anchors is calibrated with: no confidence, and a doubt.

    How often it is right cannot be judged on pictures that trained it, nor which end it prefers:
    it has learnt to answer nearly all of them right.
    """
    fitted = fit(network, anchors, kind, label_shift=False)
    hashes = overlap.hashes(anchors.squares)
    doubts = (*fitted.doubts, _DOUBT)
    return dataclasses.replace(fitted, confidence=None, doubts=doubts, fitted_on=hashes)


def answers(network: Any, squares: np.ndarray, mirror: bool, fitted: Calibration) -> PseudoLabels:
    """The network's answers to pictures as labels, the ends as its calibration has them.

    Args:
      network: StudentNetwork.
      squares: uint8 [n, R, R, 3].
      mirror: average each with the mirrored picture's.
      fitted: its calibration.
    """
    own = self_training.pseudo_labels(network, squares, mirror)
    log_odds = calibration.frontness(_raw(own, network.encoding), fitted)
    if log_odds is None:
        return own
    own_log_odds = -log_odds if _is_turned(fitted) else log_odds
    return own.with_front(1.0 / (1.0 + np.exp(-own_log_odds)))


def targets(network: Any, anchors: Anchors, mirror: bool, fitted: Calibration) -> PseudoLabels:
    """What the network is to answer to anchors, in its own angles.

    Its own answers, moved by as much as they lie from the true angles once calibrated.

    Args:
      network, mirror, fitted: as `answers` takes them.
      anchors: the labelled pictures.
    """
    own = self_training.pseudo_labels(network, anchors.squares, mirror)
    answered_deg = inference.decode(_raw(own, network.encoding), fitted).degrees
    way_round = np.where(np.array(fitted.scale) < 0.0, -1.0, 1.0)  # 0 where it says nothing yet
    wrong_deg = way_round * (targets_deg(anchors, answered_deg) - answered_deg)
    return of_angles(own.angles_deg(network.encoding) + wrong_deg, network.encoding)


def _raw(labels: PseudoLabels, code: encoding.Encoding) -> RawPrediction:
    """Labels as a network's answers, to be decoded with a calibration."""
    parts = labels.magnitudes, labels.quadrants
    magnitudes, quadrants = (np.log(np.maximum(part, _LEAST_PROBABILITY)) for part in parts)
    return RawPrediction(magnitudes, quadrants, encoding=code)


def _is_turned(fitted: Calibration) -> bool:
    """Whether a student of mirrored pictures calls the rear 0."""
    return fitted.kinds[0] == calibration.SYMMETRIC and fitted.offset_deg[0] != 0.0


def of_angles(degrees: np.ndarray, code: encoding.Encoding) -> PseudoLabels:
    """Labels for angles [n, 3]; stretched ones no further than the code can hold."""
    stretch, centre = np.asarray(code.stretch), np.degrees(code.centre_rad)
    limit = np.where(stretch > 1.0, _WITHIN * 90.0 / stretch, np.inf)  # unstretched: the circle
    held = np.clip(degrees, centre - limit, centre + limit)
    magnitudes, quadrants = map(np.asarray, encoding.encode(np.radians(held), code))
    rest = (1.0 - _PROBABILITY) / 3.0
    return PseudoLabels(magnitudes, rest + (_PROBABILITY - rest) * quadrants)


def targets_deg(anchors: Anchors, answered_deg: np.ndarray) -> np.ndarray:
    """What calibrated answers [n, 3] to anchors are to become: the label where it is known.

    Within the tolerance of a class the answer stands, as the label does not know better.
    """
    apart = viewpoint.wrap_deg(answered_deg - anchors.angles_deg)
    tolerance = np.array([anchors.tolerance_deg, 0.0, 0.0])
    nearest = anchors.angles_deg + np.clip(apart, -tolerance, tolerance)
    return np.where(np.isnan(anchors.angles_deg), answered_deg, nearest)
