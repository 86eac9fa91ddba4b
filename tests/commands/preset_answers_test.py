"""The presets say what they always said, to the printed digit (`golden/make_presets.py`)."""

import sys
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
import make_presets  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "presets.npz")


@pytest.mark.parametrize("preset", make_presets.PRESETS)
def test_a_preset_answers_as_before(golden, preset):
    images = [golden[key] for key in sorted(k for k in golden if k.startswith("picture_"))]
    assert len(images) == 9
    answers = make_presets.answers(preset, images)
    for key, found in answers.items():
        wanted = golden[f"{preset}/{key}"]
        # Two decimals of degrees are printed, three of confidence; processors round differently.
        apart = np.abs(np.asarray(found, float) - wanted)
        assert apart.max() < (5e-4 if "confidence" in key else 5e-3), key
    grey = images[-1]
    assert np.ptp(grey) == 0 and answers["novelty"][-1] > 1.0 and answers["confidence"][-1] < 0.1
