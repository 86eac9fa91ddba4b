"""Scores a run on labelled pictures, beside answers that need no picture.

  python -m ssv_tf.evaluate --run=RUN --data_dir=DIR --labels=CSV --calibrate_on=100 \
      --json=score.json --report=report.html

  python -m ssv_tf.evaluate --run=RUN --protocol=aflw2000    # biwi, pascal3d/bus, ...: see --help

The calibration pictures are drawn by --seed and left out of the score. Without --data_dir a run
on the embedded cars is calibrated and scored on their own splits, which no training sees.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from ssv_tf.base import cli  # first: it says in one line why Keras does not load

# isort: split
from ssv_tf import config
from ssv_tf.api.model import ViewpointModel
from ssv_tf.api.results import Score
from ssv_tf.base import files
from ssv_tf.evaluation import labelled, protocols, report
from ssv_tf.training import run_folder


def define_flags() -> None:
    """Registers this command's flags."""
    labelled.define_flags()
    flags.DEFINE_integer(
        "calibrate_on",
        100,
        "Labelled pictures to calibrate on, left out of the score; 0: use RUN/calibration.json.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "protocol",
        None,
        list(protocols.SETS),
        "Published test whose measures are added, on its TFDS set or on --data_dir.",
    )
    flags.DEFINE_bool(
        "mirror_average", False, "Average each prediction with the mirrored picture's."
    )
    flags.DEFINE_string("json", "", "JSON file to write the score to.")
    flags.DEFINE_string("report", "", "HTML report to write.")
    flags.DEFINE_bool("overwrite", False, "Replace files that exist.")


def main(argv: Sequence[str]) -> None:
    """Scores, prints the table and writes what was asked for."""
    values = flags.FLAGS
    labelled.check_flags(argv, values)
    for path in filter(None, (values.json, values.report)):
        files.refuse_existing(path, values.overwrite)
    model = ViewpointModel(run_folder.load(values.run or None, values.preset or None))
    split, truth = _pictures(model.options, values)
    outcome = model.score(split, mirror_average=values.mirror_average, seed=values.seed)
    named = {
        "run": model.run.preset or model.run.path.name,
        "networks": model.run.networks,
        "training": model.run.training,
    }
    result = Score(named | _asked(values) | outcome.result)
    if truth is not None:
        result["protocol"] = {
            "name": values.protocol,
            **model.score_protocol(
                protocols.of_set(values.protocol), truth, split, values.mirror_average
            ),
        }
    outcome = dataclasses.replace(outcome, result=result)
    print(cli.with_flags(str(result)))
    if values.json:
        print(files.write_atomically(values.json, json.dumps(result, indent=2) + "\n"))
    if values.report:
        redraw = model.redraw if model.run.has_synthesis else None
        page = report.build(model.run.path, model.options, outcome, seed=values.seed, redraw=redraw)
        print(files.write_atomically(values.report, page))


def _pictures(
    options: config.Options, values: flags.FlagValues
) -> tuple[labelled.Split, protocols.Truth | None]:
    """The pictures the flags name and, with --protocol, their truth."""
    if values.protocol and not values.data_dir:
        pictures, truth = protocols.load_set(options, values.protocol)
        source = protocols.SETS[values.protocol]
        return labelled.split_pictures(pictures, values.calibrate_on, values.seed, source), truth
    split = labelled.load_split(options, values)
    if not values.protocol:
        return split, None
    parts = [part for part in (split.calibration, split.test) if part is not None]
    return split, protocols.truth_of_labels(protocols.of_set(values.protocol), parts)


def _asked(values: flags.FlagValues) -> dict[str, Any]:
    embedded = values.protocol or "embedded cars"
    return {"data": values.data_dir or embedded, "where": values.where, "seed": values.seed}


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
