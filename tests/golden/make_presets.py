"""Writes presets.npz: rendered cars and what the presets that come with the package say of them.

    python tests/golden/make_presets.py tests/golden/presets.npz

Keys: picture_0 ... uint8 [h, w, 3] of several shapes, the last of them grey; PRESET/degrees [n, 3],
PRESET/confidence and PRESET/novelty [n] of prediction; PRESET/tflite_degrees and so on of the fp32
file. The degrees of the cars in the tree were written before prediction and export shared one
decoder, confidence and novelty when the calibrations got their novelty. Make it anew only with
presets whose weights or calibration have changed.
"""

import sys

import numpy as np

PRESETS = (
    "buses", "cars", "cars_cutouts", "cars_phone", "cars_photos", "cars_photos_phone", "faces",
    "faces_phone",
)  # fmt: skip
_SHAPES = ((96, 96), (64, 96), (96, 56), (48, 90), (72, 72), (96, 96), (60, 88), (96, 96))


def pictures() -> list[np.ndarray]:
    """Cars of the test split, cut to `_SHAPES`, and plain grey."""
    from ssv_tf.data import sources

    cars = sources.load_collection("turntable_cars", resolution=96, split="test", limit=60).images
    cut = []
    for car, (height, width) in zip(cars[::7], _SHAPES, strict=False):
        top, left = (96 - height) // 2, (96 - width) // 2
        cut.append(car[top : top + height, left : left + width])
    return [*cut, np.full((64, 64, 3), 127, np.uint8)]


def answers(preset: str, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What a preset says of the pictures, by prediction and by its fp32 file."""
    from ssv_tf.export import fold, litert, tflite
    from ssv_tf.models import inference
    from ssv_tf.training import run_folder

    run = run_folder.load(None, preset=preset)
    network, calibration = run.analysis(), run.calibration()
    squares = np.stack([run.options.framing.fit(image) for image in images])
    views = inference.decode(inference.predict(network, squares), calibration)
    content = tflite.convert(fold.FoldedViewpoint(network, calibration), "fp32")
    exported = litert.Predictor(content).outputs(squares)
    return {
        "degrees": views.degrees,
        "confidence": views.confidence,
        "novelty": views.novelty,
        "tflite_degrees": exported["viewpoint_deg"],
        "tflite_confidence": exported["confidence"][:, 0],
        "tflite_novelty": exported["novelty"][:, 0],
    }


if __name__ == "__main__":
    images = pictures()
    found = {f"picture_{i}": image for i, image in enumerate(images)}
    for name in PRESETS:
        found |= {f"{name}/{key}": value for key, value in answers(name, images).items()}
    np.savez_compressed(sys.argv[1], **found)
