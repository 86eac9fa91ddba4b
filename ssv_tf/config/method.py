"""What `--objective` chooses at once: parts of the method that are no settings of their own.

The ablations (docs/notebook/ablations.md) found each of them right, or no different from its
neighbours, or useless apart from the others. The paper's own choices stay together as one.
"""

import dataclasses

COMPOSITE, PAPER = "composite", "paper"


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
      wasserstein: WGAN-GP (the paper's), or else the non-saturating logistic loss with lazy R1.
      projection, code_size, mapping_layers, camera_distance: as SynthesisNetwork takes them.
      trunk, dropout: as AnalysisNetwork takes them.
      mapping_rate_ratio: learning rate of the mapping network over S's.
      augment: strength of shift, brightness, contrast and noise on all V sees.
      style_weight, symmetry_weight: V's style consistency, and symmetry on real pictures, which is
        left out where the collection is not mirrored.
      synthesis_style_weight, pair_weight, synthesis_symmetry_weight: S's style consistency, paired
        terms and symmetry. A volume that is its own mirror image needs no symmetry term.
    """

    wasserstein: bool
    projection: str
    trunk: str
    dropout: float
    code_size: int
    mapping_layers: int
    mapping_rate_ratio: float
    augment: float
    synthesis_symmetry_weight: float
    camera_distance: float = 4.5
    style_weight: float = 0.8
    symmetry_weight: float = 0.4
    synthesis_style_weight: float = 0.8
    pair_weight: float = 0.1


METHODS = {
    COMPOSITE: Method(
        wasserstein=False,
        projection="composite",
        trunk="strided",
        dropout=0.2,
        code_size=32,
        mapping_layers=2,
        mapping_rate_ratio=0.1,
        augment=1.0,
        synthesis_symmetry_weight=0.0,
    ),
    PAPER: Method(
        wasserstein=True,
        projection="free",
        trunk="paper",
        dropout=0.5,
        code_size=64,
        mapping_layers=8,
        mapping_rate_ratio=0.01,
        augment=0.0,
        synthesis_symmetry_weight=0.5,
    ),
}

# The same for every objective.
R1_INTERVAL = 8  # steps between two R1 penalties
DRIFT_WEIGHT = 0.001  # of squared real scores, with WGAN-GP
ADAM_BETAS = (0.0, 0.99)
DECAY_SHARE = 0.3  # of the steps, at their end, over which all rates fall to 0 as a cosine
EMA_DECAY = 0.999  # of the averaged weights of V and S, per step
