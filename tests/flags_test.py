"""Every flag there is, so that none slips in: add one here only with a reason to have it."""

import ast
import importlib
import re

import pytest
from absl import flags
from places import ROOT

from ssv_tf import config

SETTINGS = """
accumulate analysis_rate analysis_width azimuth_range_deg bad_pictures bad_rows batch_size
canvas_heights checkpoint_interval crop data deterministic devices elevation_max_deg
elevation_min_deg evaluation_interval front_share gradient_penalty_weight image_weight init_from
labels limit log_interval mirror_data objective padding perceptual picture_reach precision
prior_rate resolution run_dir score_data score_labels seed shape_ramp steps
stream supervised synthesis_rate synthesis_viewpoint_weight synthesis_width tilt_range_deg
viewpoint_weight volume_height volume_size volume_width where
"""
OTHERS = """
anchors author azimuth backbone backgrounds batch beam_options boxes boxes_kind calibrate_on classes
columns concurrency convention count data_dir deadline_s draw_dir formats frames gaze host input
json keep_truncated label_tolerance_deg licence light limits max_overlap min_side mirror_average
model name out
overwrite preset protocol quiet recipe report run samples scenes score serving_name shards split
surroundings threads version width workers
"""
TOOLS = """
against against_interval against_recipe bad_share baselines clients configs distill draws eager
grpc grpc_port interval kill_seed kills only pictures profile repeats requests rest_port rounds runs
seeds serving table targets train
"""
_COMMAND = re.compile(r"^\s*(?:cli|command)\.run\(", re.MULTILINE)


def _flags_of(module):
    command = importlib.import_module(module)  # some libraries define flags of their own
    before = set(flags.FLAGS)
    command.define_flags()
    names = set(flags.FLAGS) - before
    found = {name: flags.FLAGS[name].default for name in names}
    for name in names:
        delattr(flags.FLAGS, name)
    return found


def _commands(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        if _COMMAND.search(path.read_text()):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.fixture(scope="module")
def commands():
    """The flags of every command, {module: {name: default}}."""
    package = [*_commands("ssv_tf"), *(f"ssv_tf.{name}" for name in _commands("export"))]
    return {name: _flags_of(name) for name in (*package, *_commands("tools"))}


def test_these_are_the_settings_of_training():
    assert sorted(config.SETTINGS) == SETTINGS.split()


def test_these_are_the_flags_of_all_commands(commands):
    package = {f for name, own in commands.items() if not name.startswith("tools") for f in own}
    assert sorted(package - set(config.SETTINGS)) == OTHERS.split()
    everything = {name for own in commands.values() for name in own}
    assert sorted(everything - package) == TOOLS.split()


def test_training_has_its_settings_and_two_flags_more(commands):
    assert set(commands["ssv_tf.train"]) == {*SETTINGS.split(), "overwrite", "quiet"}


def test_records_are_framed_as_training_frames_pictures(commands):
    shard, train = commands["ssv_tf.data.shard"], commands["ssv_tf.train"]
    same = "resolution", "crop", "canvas_heights", "padding"
    assert {name: shard[name] for name in same} == {name: train[name] for name in same}
    crops = commands["ssv_tf.data.crop"]
    assert all(crops[name] == train[name] for name in ("crop", "canvas_heights"))


def test_commands_load_their_door_before_keras():
    """`base.cli` says in one line why Keras does not load; who comes before it, in many."""
    heavy = ("ssv_tf.api", "ssv_tf.models", "ssv_tf.training", "ssv_tf.evaluation", "keras")
    for name in [*_commands("ssv_tf"), *_commands("export"), *_commands("tools")]:
        tree = ast.parse((ROOT / f"{name.replace('.', '/')}.py").read_text())
        found = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        modules = [f"{node.module}.{alias.name}" for node in found for alias in node.names]
        if "ssv_tf.base.cli" in modules:
            before = modules[: modules.index("ssv_tf.base.cli")]
            assert not [module for module in before if module.startswith(heavy)], name
