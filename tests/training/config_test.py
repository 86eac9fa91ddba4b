"""Flags become settings, settings become JSON and come back; what is wrong is named."""

import dataclasses
import json
import re

import pytest
from absl import flags
from places import ROOT

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError

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
    for name, setting in config.SETTINGS.items():
        assert setting.rule.help.strip().endswith((".", ")")), name


def test_every_part_holds_its_own_settings_and_no_name_occurs_twice():
    parts = {setting.part for setting in config.SETTINGS.values()}
    assert parts == {f.name for f in dataclasses.fields(config.Options)} - {"earlier"}
    options = config.Options.of(volume_width=0.5, crop="longest", prior_rate=0.1)
    assert options.synthesis.volume_width == options.flat()["volume_width"] == 0.5
    assert options.framing.crop == "longest" and options.viewpoints.prior_rate == 0.1
    count = sum(len(dataclasses.fields(getattr(options, part))) for part in parts)
    assert count == len(config.SETTINGS) == len(options.flat())


def test_flags_to_options_to_json_and_back():
    options = _parse(
        "--run_dir=runs/x", "--batch_size=24", "--accumulate=3", "--resolution=64",
        "--elevation_min_deg=-12.5", "--objective=paper", "--nomirror_data",
        "--azimuth_range_deg=80", "--where=class_id%4!=1",
    )  # fmt: skip
    assert (options.run.batch_size, options.run.accumulate, options.framing.resolution) == (
        24,
        3,
        64,
    )
    assert options.viewpoints.elevation_min_deg == -12.5 and options.losses.objective == "paper"
    assert options.pictures.mirror_data is False
    assert options.pictures.where == "class_id%4!=1"
    assert config.from_json(options.to_json()) == options


def test_json_holds_every_setting_by_name():
    values = json.loads(config.Options.of(seed=4).to_json())
    assert set(values) == set(config.SETTINGS)
    assert values["seed"] == 4


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Options().run.seed = 1


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
        {"viewpoint_weight": -0.1},
        {"analysis_rate": 0.0},
        {"precision": "float16"},
        {"objective": "cubist"},
        {"shape_ramp": float("nan")},
        {"image_weight": float("inf")},
        {"steps": 2.5},
        {"steps": True},
        {"stream": 1},
        {"data": 3},
    ],
    ids=lambda setting: "{}={}".format(*next(iter(setting.items()))),
)
def test_a_wrong_value_is_refused_with_its_flag_and_itself(setting):
    (name, value), = setting.items()  # fmt: skip
    with pytest.raises(SettingError) as caught:
        config.Options.of(**setting)
    assert f"`{name}`" in str(caught.value) and str(value) in str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"elevation_min_deg": 20.0, "elevation_max_deg": 10.0}, ("elevation_min_deg", "20", "10")),
        ({"batch_size": 16, "accumulate": 3}, ("batch_size", "accumulate", "16", "3")),
        ({"batch_size": 8, "accumulate": 8}, ("batch_size", "accumulate", "8")),
        ({"batch_size": 7}, ("batch_size", "7")),
        ({"labels": "a.csv"}, ("labels", "a.csv", "supervised")),
        ({"front_share": 0.7, "prior_rate": 0.0}, ("front_share", "0.7", "prior_rate")),
        (
            {"front_share": 0.7, "prior_rate": 0.1, "azimuth_range_deg": 90.0},
            ("front_share", "180"),
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, named):
    with pytest.raises(SettingError) as caught:
        config.Options.of(**settings)
    assert all(word in str(caught.value) for word in named)


@pytest.mark.parametrize(
    "good",
    [
        {"steps": 1},
        {"image_weight": 0},
        {"elevation_min_deg": 30.0},
    ],
)
def test_values_at_the_edge_of_their_range_are_taken(good):
    options = config.Options.of(**good)
    assert config.from_json(options.to_json()) == options


@pytest.mark.parametrize(
    "flag", ["--steps=0", "--shape_ramp=nan", "--resolution=48", "--tilt_range_deg=-1"]
)
def test_a_wrong_flag_is_refused(flag):
    with pytest.raises(SettingError, match=flag.split("=")[0].removeprefix("--")):
        _parse(flag)


@pytest.mark.parametrize("flag", ["--steps=many", "--objective=cubist", "--no_such_setting=1"])
def test_a_flag_that_cannot_be_parsed_is_a_flags_error(flag):
    with pytest.raises(flags.Error, match=flag[2:].split("=")[0]):
        _parse(flag)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "3", "[]", "[1]", '"text"', '{"steps": 0}', '{"steps": "many"}',
     '{"shape_ramp": NaN}', '{"objective": []}', '{"colour": 1}'],
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
    path.write_text("--steps=7\n--image_weight=0\n")
    assert config.from_flag_file(path, "--steps=9") == config.Options.of(steps=9, image_weight=0.0)
    for text, said in (("--steps=0", "own.flags: `steps` must"), ("--hue=1", "own.flags.*hue")):
        path.write_text(text)
        with pytest.raises(SettingError, match=said):
            config.from_flag_file(path)
    with pytest.raises(SettingError, match="no such flag file: absent"):
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
    assert head.startswith("#") and re.search(r"python -m (ssv_tf|tools)\.", head)


# --- Settings of earlier versions -------------------------------------------------------------

PRESETS = ("cars", "cars_phone", "cars_photos")


def _of_then(name):
    """What options.json of a preset held while there were 84 settings."""
    return json.loads((ROOT / "tests" / "golden" / f"options_{name}.json").read_text())


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_of_then_is_the_recipe_of_now(name):
    then = _of_then(name)
    options = config.from_json(json.dumps(then))
    assert not options.earlier
    same = set(then) & set(config.SETTINGS) - {"stream"}  # true or false then
    assert len(same) > 40 and {k: options.flat()[k] for k in same} == {k: then[k] for k in same}
    assert options.run.evaluation_interval == then["picture_interval"]
    assert config.from_json(options.to_json()) == options
    if name == "cars_phone":
        return  # a student, at another resolution
    recipe = config.from_flag_file(ROOT / "configs" / f"{name}.flags").flat()
    own = {k for k, v in options.flat().items() if v != recipe[k]}
    assert own <= {
        "run_dir", "seed", "where", "precision", "checkpoint_interval", "evaluation_interval",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changed, kept",
    [
        ({"code_size": 64}, {"code_size": 64}),
        ({"projection": "free", "adversarial": "logistic"}, ["adversarial", "code_size"]),
        ({"mirror_data": False}, ["symmetric_volume", "symmetry_weight"]),
        ({"teacher_weight": 0.5, "teacher_from": 0.0}, {"teacher_weight": 0.5}),
        ({"pseudo_label_weight": 0.5}, {"pseudo_label_weight": 0.5}),
        ({"teacher_from": 0.0, "teacher_confidence": 0.5, "keep": 9, "xla": True}, {}),
        ({"quadrant_weight": 0.2, "beta_1": 0.5}, {"quadrant_weight": 0.2, "beta_1": 0.5}),
    ],
    ids=str,
)
def test_a_setting_that_is_gone_is_kept_where_it_differed(changed, kept):
    options = config.from_json(json.dumps(_of_then("cars") | changed))
    if isinstance(kept, dict):
        assert dict(options.earlier) == kept
    assert set(kept) <= set(options.earlier)
    again = config.from_json(options.to_json())
    assert again == options and again.earlier == options.earlier


@pytest.mark.parametrize(
    "then, now",
    [
        ({"stream": False, "data_service": ""}, ""),
        ({"stream": True, "data_service": ""}, "files"),
        ({"stream": True, "data_service": "grpc://a:1"}, "grpc://a:1"),
    ],
)
def test_streams_of_then_are_one_setting(then, now):
    options = config.from_json(json.dumps({"data": "a/*.tfrecord"} | then))
    assert options.pictures.stream == now and not options.earlier


def test_the_papers_choices_of_then_are_one_objective():
    then = {
        "projection": "free", "adversarial": "wgan_gp", "analysis_trunk": "paper", "dropout": 0.5,
        "code_size": 64, "mapping_layers": 8, "mapping_rate_ratio": 0.01, "augment": 0.0,
        "synthesis_symmetry_weight": 0.5, "drift_weight": 0.001, "symmetric_volume": False,
    }  # fmt: skip
    options = config.from_json(json.dumps(then))
    assert options.losses.objective == "paper" and not options.earlier
    assert options.losses.gradient_penalty_weight == 10.0, "the default of then"
    recipe = config.from_flag_file(ROOT / "configs" / "cars_paper.flags")
    assert recipe.method.wasserstein and recipe.method.projection == "free"


@pytest.mark.parametrize(
    "then, labels",
    [
        ({"where_table": "a.csv", "where": "x==1"}, "a.csv"),
        ({"where_table": "a.csv"}, ""),
        ({"train_labels": "a.csv", "supervised": True, "data": "photos"}, "a.csv"),
    ],
)
def test_tables_of_then_are_one_of_now(then, labels):
    options = config.from_json(json.dumps(then))
    assert options.pictures.labels == labels and not options.earlier


def test_recipes_hold_only_what_is_special():
    for path in CONFIGS:
        defaults = config.Options().flat()
        for line in path.read_text().splitlines():
            name, _, value = line.removeprefix("--").partition("=")
            if not line.startswith("--") or name not in defaults or "flagfile" in path.read_text():
                continue
            assert str(defaults[name]) != value, f"{path.name}: {line} is the default"
    lines = (ROOT / "configs" / "cars.flags").read_text().splitlines()
    assert sum(line.startswith("--") for line in lines) <= 8
