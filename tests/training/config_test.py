"""Flags become settings, settings become JSON and come back; what is wrong is named."""

import dataclasses
import json

import pytest
from absl import flags
from places import ROOT

from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.training import config

CONFIGS = sorted((ROOT / "configs").rglob("*.flags"))


def _parse(*words):
    """Options of a command line, with flags of its own beside those of the process."""
    values = flags.FlagValues()
    config.define_flags(values)
    for name in ("overwrite", "quiet"):  # what the train command adds
        flags.DEFINE_bool(name, False, "", flag_values=values)
    values(["train", *words])
    return config.from_flags(values)


def test_flags_without_values_are_the_defaults():
    assert _parse() == config.Options.of()


def test_every_setting_has_a_flag_with_a_help():
    for field in dataclasses.fields(config.Options):
        assert field.metadata["help"].strip().endswith((".", ")")), field.name


def test_flags_to_options_to_json_and_back():
    options = _parse(
        "--run_dir=runs/x", "--batch_size=24", "--accumulate=3", "--resolution=64",
        "--elevation_min_deg=-12.5", "--projection=free", "--nomirror_data", "--xla",
        "--azimuth_range_deg=80", "--where=class_id%4!=1",
    )  # fmt: skip
    assert (options.run.batch_size, options.run.accumulate, options.framing.resolution) == (24, 3, 64)
    assert options.viewpoints.elevation_min_deg == -12.5 and options.projection == "free"
    assert options.pictures.mirror_data is False and options.xla is True
    assert options.pictures.where == "class_id%4!=1"
    assert config.from_json(options.to_json()) == options


def test_json_holds_every_setting_by_name():
    values = json.loads(config.Options.of(seed=4).to_json())
    assert set(values) == {field.name for field in dataclasses.fields(config.Options)}
    assert values["seed"] == 4


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Options.of().seed = 1


@pytest.mark.parametrize(
    "setting",
    [
        {"steps": 0},
        {"seed": -1},
        {"batch_size": 5000},
        {"resolution": 48},
        {"crop": "width"},
        {"canvas_heights": 0.5},
        {"azimuth_range_deg": 181.0},
        {"elevation_max_deg": 91.0},
        {"analysis_width": 0.001},
        {"volume_size": 12},
        {"dropout": 1.0},
        {"style_weight": -0.1},
        {"analysis_rate": 0.0},
        {"beta_1": 1.0},
        {"precision": "float16"},
        {"camera_distance": 0.5},
        {"camera_distance": 1.0},
        {"keep": 0},
        {"augment": float("nan")},
        {"pair_weight": float("inf")},
        {"steps": 2.5},
        {"steps": True},
        {"xla": 1},
        {"data": 3},
    ],
    ids=lambda setting: "{}={}".format(*next(iter(setting.items()))),
)
def test_a_wrong_value_is_refused_with_its_flag_and_itself(setting):
    (name, value), = setting.items()  # fmt: skip
    with pytest.raises(FlagError) as caught:
        config.Options.of(**setting)
    assert f"--{name}" in str(caught.value) and str(value) in str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"elevation_min_deg": 20.0, "elevation_max_deg": 10.0}, ("elevation_min_deg", "20", "10")),
        ({"batch_size": 16, "accumulate": 3}, ("batch_size", "accumulate", "16", "3")),
        ({"batch_size": 8, "accumulate": 8}, ("batch_size", "accumulate", "8")),
        ({"batch_size": 7}, ("batch_size", "7")),
        ({"train_labels": "a.csv"}, ("train_labels", "a.csv", "supervised")),
        ({"adversarial_weight": 0.0}, ("synthesis_adversarial_weight", "1.0")),
        ({"front_share": 0.7}, ("front_share", "0.7", "prior_rate")),
        (
            {"front_share": 0.7, "prior_rate": 0.1, "azimuth_range_deg": 90.0},
            ("front_share", "180"),
        ),
        (
            {"adversarial_weight": 0.0, "synthesis_adversarial_weight": 0, "prior_rate": 0.1},
            ("prior_rate", "0.1"),
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, named):
    with pytest.raises(FlagError) as caught:
        config.Options.of(**settings)
    assert all(word in str(caught.value) for word in named)


@pytest.mark.parametrize(
    "good",
    [
        {"camera_distance": 0.0},
        {"camera_distance": 1.5},
        {"steps": 1},
        {"augment": 0},
        {"elevation_min_deg": 30.0},
    ],
)
def test_values_at_the_edge_of_their_range_are_taken(good):
    options = config.Options.of(**good)
    assert config.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    "flag", ["--steps=0", "--augment=nan", "--resolution=48", "--tilt_range_deg=-1"]
)
def test_a_wrong_flag_is_refused(flag):
    with pytest.raises(FlagError, match=flag.split("=")[0]):
        _parse(flag)


@pytest.mark.parametrize("flag", ["--steps=many", "--projection=cubist", "--no_such_setting=1"])
def test_a_flag_that_cannot_be_parsed_is_a_flags_error(flag):
    with pytest.raises(flags.Error, match=flag[2:].split("=")[0]):
        _parse(flag)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "3", "[]", "[1]", '"text"', '{"steps": 0}', '{"steps": "many"}',
     '{"augment": NaN}', '{"colour": 1}'],
)  # fmt: skip
def test_a_damaged_options_file_is_refused_by_name(text):
    with pytest.raises(UserError) as caught:
        config.from_json(text, "somewhere/options.json")
    assert "somewhere/options.json" in str(caught.value)
    assert caught.value.exit_code == 1


def test_settings_of_another_version_are_named():
    with pytest.raises(UserError, match="colour, shape"):
        config.from_json('{"shape": 1, "colour": 2, "steps": 3}')


def test_a_flag_file_is_read_beside_the_flags_of_the_process(tmp_path):
    path = tmp_path / "own.flags"
    path.write_text("--steps=7\n--style_weight=0\n")
    assert config.from_flag_file(path, "--steps=9") == config.Options.of(steps=9, style_weight=0.0)
    for text, said in (("--steps=0", "own.flags: --steps must"), ("--hue=1", "own.flags.*hue")):
        path.write_text(text)
        with pytest.raises(FlagError, match=said):
            config.from_flag_file(path)
    with pytest.raises(FlagError, match="no such flag file: absent"):
        config.from_flag_file("absent")


def test_there_are_flag_files():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_flag_file_makes_options(path):
    options = _parse(f"--flagfile={path}")
    assert config.from_json(options.to_json()) == options != config.Options.of()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_flag_file_opens_with_its_command(path):
    head = path.read_text().split("\n--")[0]
    assert head.startswith("#") and "python -m ssv_tf." in head
