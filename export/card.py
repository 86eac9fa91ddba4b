"""The model card of an export: what the files are, from the run's own figures and their parity.

Sections follow Mitchell et al., Model Cards for Model Reporting (2019), as
`ssv_tf.evaluation.cards`.
"""

import collections
import json
from collections.abc import Mapping
from pathlib import Path

from ssv_tf import config
from ssv_tf.evaluation.calibration import CONVENTION
from ssv_tf.export import litert, parity
from ssv_tf.export.about import About
from ssv_tf.export.names import CONFIDENCE, INPUT, NOVELTY, OUTPUT, SIGNATURE

_COMMONEST = 5
_FURTHER = {
    CONFIDENCE: "probability that the azimuth is right, 0 to 1.",
    NOVELTY: "how little the picture looks like those of the calibration; above 1 it may well "
    "show something else, and the confidence falls to 0.",
}
# Settings that tell a reader how the run was trained.
_SETTINGS = (
    "resolution", "steps", "batch_size", "seed", "crop", "padding", "objective",
    "analysis_width", "synthesis_width", "precision",
)  # fmt: skip


def markdown(
    about: About, options: config.Options, rows: list[dict], paths: Mapping[str, Path]
) -> str:
    """The card.

    Args:
      about: what is known of the run.
      options: what it was trained with.
      rows: of `parity.parity_table`.
      paths: format -> file or folder, as given to it.
    """
    tflite = {name: Path(path) for name, path in paths.items() if Path(path).is_file()}
    sections = {
        "Files": _files(rows) if rows else [],
        "Inputs and outputs": _ends(about, tflite, saved_model=len(tflite) < len(paths)),
        "Operations": _operations(tflite),
        "Training data": [about.data],
        "Training": [f"- `--{name}={options.flat()[name]}`" for name in _SETTINGS],
        "Licence": [about.licence, "", f"Author: {about.author}"],
        "Score": [
            *about.score_lines, "",
            "Of the network before conversion; the table above adds what conversion cost.",
        ],
        "Limits": [f"- {limit}" for limit in about.limits],
    }  # fmt: skip
    lines = [f"# Model card: {about.name}", "", about.introduction, "", f"Version {about.version}."]
    for title, body in sections.items():
        if body:
            lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def _files(rows: list[dict]) -> list[str]:
    return [
        f"Degrees between each file and the network, on {rows[0]['pictures']} pictures; ms a "
        "picture, on one thread of the machine that exported them:",
        "",
        parity.to_markdown(rows).rstrip("\n"),
        "",
        *(f"- {row['format']}: `{row['file']}`, {row['bytes']:,} bytes" for row in rows),
    ]


def _ends(about: About, tflite: Mapping[str, Path], saved_model: bool) -> list[str]:
    lines = [
        f"- Input `{INPUT}`: {about.prepared} Values 0 to 255, not normalised.",
        *([f"- Framing: `{json.dumps(about.framing.to_dict())}`"] if about.framing else []),
        f"- Output `{OUTPUT}`: {CONVENTION}. {about.calibration}",
    ]
    answers = {name for path in tflite.values() for name in litert.Predictor(path).answers}
    lines += [f"- Output `{name}`: {_FURTHER[name]}" for name in _FURTHER if name in answers]
    if tflite:
        lines.append(
            f"- TFLite: signature `{SIGNATURE}`, one picture a call unless exported otherwise; "
            "metadata after the TFLite Metadata schema is inside."
        )
    if saved_model:
        lines.append("- SavedModel: any number of pictures a call.")
    return lines


def _operations(tflite: Mapping[str, Path]) -> list[str]:
    lines = []
    for name, path in tflite.items():
        counts = collections.Counter(litert.operations(path.read_bytes()))
        common = ", ".join(f"{count} {kind}" for kind, count in counts.most_common(_COMMONEST))
        lines.append(f"- {name}: {counts.total()} operations, most of them {common}")
    return lines
