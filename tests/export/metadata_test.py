"""Exported files tell what they are, in the public schema; the card tells the run's own figures."""

import dataclasses
import json

import exported
import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as litert_schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from ssv_tf import config
from ssv_tf.base import markdown
from ssv_tf.base.errors import UserError
from ssv_tf.data.framing import Framing
from ssv_tf.evaluation import metrics
from ssv_tf.evaluation.calibration import CONVENTION, Calibration
from ssv_tf.export import about, card, litert, metadata, parity, tflite
from ssv_tf.export import metadata_schema_generated as schema
from ssv_tf.models.decoding import Viewpoints
from ssv_tf.training import run_folder

pytestmark = pytest.mark.slow

ABOUT = about.About(
    name="cars", version="1.2+abc", author="Ada", licence="Free to use.", data="Ten cars.",
    score="azimuth, median error 6.0 deg", limits=("Cars only.",), prepared="RGB, 32 x 32 px.",
    calibration="Calibrated on 100 labelled pictures.",
    framing=Framing(32, "height", 2.4, "blur"),
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """kind -> a written file."""
    folder, folded = tmp_path_factory.mktemp("written"), exported.folded()
    return {
        kind: tflite.write(
            folded, kind, folder / f"{kind}.tflite", exported.pictures(4), about=ABOUT
        )
        for kind in ("fp32", "int8")
    }


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return exported.student(tmp_path_factory.mktemp("student") / "saved")


def _buffer(content):
    """The raw metadata, found as a foreign reader finds it."""
    model = litert_schema.Model.GetRootAs(content, 0)
    entries = {model.Metadata(i).Name(): model.Metadata(i) for i in range(model.MetadataLength())}
    return model.Buffers(entries[b"TFLITE_METADATA"].Buffer()).DataAsNumpy().tobytes()


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_files_say_what_and_whose_they_are(written, kind):
    raw = _buffer(written[kind].read_bytes())
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(raw, 0)
    found = schema.ModelMetadata.GetRootAs(raw, 0)
    assert (found.Name(), found.Version()) == (f"cars, {kind}".encode(), b"1.2+abc")
    assert (found.Author(), found.License()) == (b"Ada", b"Free to use.")
    assert found.MinParserVersion() == b"1.0.0"
    for words in (CONVENTION, "Ten cars.", "median error 6.0 deg", "Cars only.", "100 labelled"):
        assert words in found.Description().decode()


def test_an_app_reads_from_the_file_how_to_frame_a_picture(written):
    content = written["fp32"].read_bytes()
    assert metadata.framing(content) == ABOUT.framing
    [graph] = metadata.read(content).subgraphMetadata
    *_, last = graph.inputTensorMetadata[0].description.decode().splitlines()
    assert json.loads(last.removeprefix("Framing: ")) == {
        "resolution": 32, "crop": "height", "canvas_heights": 2.4, "padding": "blur",
    }  # fmt: skip
    assert metadata.framing(metadata.attach(content, about.UNKNOWN, "fp32")) is None


def test_the_input_is_a_picture_that_goes_in_as_it_is(written):
    [graph] = metadata.read(written["int8"].read_bytes()).subgraphMetadata
    [picture] = graph.inputTensorMetadata
    assert picture.name == b"picture" and b"RGB, 32 x 32 px." in picture.description
    assert picture.content.contentPropertiesType == schema.ContentProperties.ImageProperties
    properties = picture.content.contentProperties
    assert properties.colorSpace == schema.ColorSpaceType.RGB
    assert (properties.defaultSize.width, properties.defaultSize.height) == (32, 32)
    [unit] = picture.processUnits
    assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
    assert list(unit.options.mean) == [0.0] and list(unit.options.std) == [1.0]
    assert (list(picture.stats.min), list(picture.stats.max)) == ([0.0], [255.0])


def test_the_output_is_described_with_the_convention_and_its_range(written):
    [graph] = metadata.read(written["fp32"].read_bytes()).subgraphMetadata
    [answer] = graph.outputTensorMetadata
    assert graph.name == b"serving_default"
    assert answer.name == b"viewpoint_deg" and CONVENTION.encode() in answer.description
    assert answer.content.contentPropertiesType == schema.ContentProperties.FeatureProperties
    assert (list(answer.stats.min), list(answer.stats.max)) == ([-180.0] * 3, [180.0] * 3)


@pytest.mark.parametrize("turned", [False, True])
def test_outputs_are_described_in_the_order_of_the_graph(student, turned):
    model = flatbuffer_utils.convert_bytearray_to_object(student)
    model.subgraphs[0].outputs = list(model.subgraphs[0].outputs)[:: -1 if turned else 1]
    reordered = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    content = metadata.attach(reordered, ABOUT, "fp32")
    [graph] = metadata.read(content).subgraphMetadata
    interpreter = Interpreter(model_content=content)
    sizes = {b"viewpoint_deg": 3, b"confidence": 1}
    given = [int(np.prod(details["shape"])) for details in interpreter.get_output_details()]
    assert [sizes[answer.name] for answer in graph.outputTensorMetadata] == given
    confidence = next(a for a in graph.outputTensorMetadata if a.name == b"confidence")
    assert (list(confidence.stats.min), list(confidence.stats.max)) == ([0.0], [1.0])
    assert graph.description.endswith(b"picture -> confidence, viewpoint_deg.")


def test_a_file_answers_as_before_and_is_not_longer_than_its_metadata(written, student):
    for content, kind in ((written["int8"].read_bytes(), "int8"), (student, "fp32")):
        once = metadata.attach(content, ABOUT, kind)
        twice = metadata.attach(once, ABOUT, kind)
        assert len(twice) == len(once) < len(content) + len(_buffer(once)) + 1000
        pictures = exported.pictures(5)
        before, after = (litert.Predictor(c).outputs(pictures) for c in (content, twice))
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_metadata_that_was_there_is_replaced_and_other_entries_stay(written):
    content = written["fp32"].read_bytes()
    changed = metadata.attach(content, dataclasses.replace(ABOUT, name="buses"), "fp32")
    assert metadata.read(changed).name == b"buses, fp32"
    names = [
        [m.Metadata(i).Name() for i in range(m.MetadataLength())]
        for m in (litert_schema.Model.GetRootAs(c, 0) for c in (content, changed))
    ]
    assert names[0] == names[1] and b"min_runtime_version" in names[0]


def test_a_model_with_unknown_outputs_gets_none(tmp_path):
    content = exported.foreign(tmp_path / "saved")
    assert metadata.read(content) is None
    with pytest.raises(litert.ExportError, match=r"image.*label"):
        metadata.attach(content, ABOUT, "fp32")


def test_confidence_of_a_student_is_passed_on(student):
    predict = litert.Predictor(student)
    assert predict.answers == ["confidence", "viewpoint_deg"]
    pictures = exported.pictures(3)
    outputs = predict.outputs(pictures)
    assert outputs["confidence"].shape == (3, 1) and outputs["viewpoint_deg"].shape == (3, 3)
    np.testing.assert_array_equal(predict(pictures), outputs["viewpoint_deg"])


@pytest.mark.parametrize("shape", [(2, 64, 64, 3), (2, 32, 32), (2, 32, 32, 1), (0, 32, 32, 3)])
def test_pictures_of_another_size_are_refused(student, shape):
    with pytest.raises(UserError, match=r"takes RGB pictures \[n, 32, 32, 3\]"):
        litert.Predictor(student)(np.zeros(shape, np.uint8))


def test_public_tools_show_the_metadata(written):
    reader = pytest.importorskip("tflite_support.metadata", exc_type=ImportError)
    shown = json.loads(
        reader.MetadataDisplayer.with_model_file(str(written["int8"])).get_metadata_json()
    )
    assert shown["name"] == "cars, int8" and shown["license"] == "Free to use."
    [graph] = shown["subgraph_metadata"]
    assert graph["input_tensor_metadata"][0]["content"]["content_properties"] == {
        "color_space": "RGB", "default_size": {"width": 32, "height": 32},
    }  # fmt: skip


def test_the_generated_reader_follows_the_schema_by_field_number():
    """By hand: table ModelMetadata has name at slot 0, version 2, author 4, license 5."""
    builder = flatbuffers.Builder(64)
    words = {slot: builder.CreateString(word) for slot, word in ((0, "n"), (2, "v"), (5, "l"))}
    builder.StartObject(8)
    for slot, word in words.items():
        builder.PrependUOffsetTRelativeSlot(slot, word, 0)
    builder.Finish(builder.EndObject(), b"M001")
    found = schema.ModelMetadataT.InitFromPackedBuf(bytes(builder.Output()), 0)
    assert (found.name, found.version, found.license) == (b"n", b"v", b"l")


# What is known of a run.


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "mine"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "analysis.keras").write_bytes(b"weights")
    Calibration((1.0, 2.0, 3.0), (180.0, 0.0, 0.0), pictures=30).save(folder / "calibration.json")
    options = config.Options.of(data="/home/somebody/secret", crop="height")
    return run_folder.Run(folder, options)


def _score():
    true = np.random.default_rng(0).uniform(-180, 180, (50, 3)) * [1, 0.05, 0.02]
    predicted = np.add(true, [[5.0, 1.0, 0.0]])
    predicted[:10, 0] += 180.0
    return {"calibrated_on": 30} | metrics.score(predicted, true, true, resamples=20)


class _Values:
    def __init__(self, **given):
        self.__dict__.update(given)


def test_a_run_tells_its_name_figures_and_nothing_private(run):
    (run.path / "score.json").write_text(json.dumps(_score()))
    found = about.of_run(run)
    assert found.name == "mine" and found.calibration == "Calibrated on 30 labelled pictures."
    median = _score()["azimuth"]["median_error_deg"]
    assert f"azimuth, median error {median:.1f} deg (best constant" in found.score
    assert any("20% of the azimuths" in limit for limit in found.limits)
    assert "No label was read in training." in found.data
    assert "2.4 of it wide" in found.prepared and found.framing == run.options.framing
    assert "repeated and blurred" in found.prepared
    assert "somebody" not in str(found) and "Not stated" in found.licence


def test_flags_come_before_what_the_run_tells(run, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps(_score()))
    found = about.of_run(run, _Values(
        name="Buses", version="3", author="Ada", licence="MIT.", data="Buses.",
        limits="Red ones.", score=str(tmp_path / "other.json"),
    ))  # fmt: skip
    assert (found.name, found.version, found.author) == ("Buses", "3", "Ada")
    assert found.licence == "MIT." and found.data.startswith("Buses. No label")
    assert found.limits[-1] == "Red ones." and "50 labelled pictures" in found.score


def test_without_score_and_calibration_it_says_so(run):
    (run.path / "calibration.json").unlink()
    found = about.of_run(run)
    assert found.score == "not measured on labelled pictures"
    assert found.calibration.startswith("Not calibrated")


def test_the_version_changes_with_weights_and_calibration(run):
    versions = [about.of_run(run).version]
    Calibration((1.0, 2.0, 3.0), (0.0, 0.0, 0.0)).save(run.path / "calibration.json")
    versions.append(about.of_run(run).version)
    (run.models_dir / "analysis.keras").write_bytes(b"other")
    versions.append(about.of_run(run).version)
    assert len(set(versions)) == 3 and about.of_run(run).version == versions[-1]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"azimuth": 3}', "{}"])
def test_a_foreign_score_is_named(run, text):
    (run.path / "score.json").write_text(text)
    with pytest.raises(UserError, match=r"score\.json"):
        about.of_run(run)


def test_a_preset_tells_what_its_card_says():
    run = run_folder.load(preset="cars")
    found, own = about.of_run(run), (run.path / "README.md").read_text()
    assert found.name == "cars" and found.author == "ssv_tf"
    assert found.licence in own and found.data in own and len(found.limits) == own.count("\n- ") - 3
    assert all(line in own for line in found.score_lines)


def test_sections_of_a_card():
    text = "# t\n\n## A\n\none\n\ntwo\n\n## B (c)\n\n- x\n"
    assert markdown.section(text, "A") == "one\n\ntwo"
    assert markdown.section(text, "B (c)") == "- x"
    assert markdown.section(text, "C") == ""


def _viewpoints(path):
    """uint8 pictures -> Viewpoints without confidence, by a file."""
    predict = litert.Predictor(path)
    return lambda pictures: Viewpoints(predict(pictures))


def test_the_card_of_an_export_tells_the_run_and_the_files(run, written):
    (run.path / "score.json").write_text(json.dumps(_score()))
    found = about.of_run(run)
    rows = parity.parity_table(_viewpoints(written["fp32"]), written, exported.pictures(3))
    text = card.markdown(found, run.options, rows, written)
    assert text.startswith("# Model card: mine\n") and found.version in text
    assert parity.to_markdown(rows) in text
    for kind, path in written.items():
        assert f"- {kind}: `{path.name}`, {path.stat().st_size:,} bytes" in text
        assert f"- {kind}: {len(litert.operations(path.read_bytes()))} operations" in text
    for line in (*found.score_lines, CONVENTION, found.data, found.licence, "- `--steps=8000`"):
        assert line in text
    assert "confidence" not in text and "SavedModel:" not in text and "somebody" not in text


def test_the_card_tells_of_confidence_where_a_file_has_it(run, student, tmp_path):
    path = tmp_path / "model_fp32.tflite"
    path.write_bytes(student)
    rows = parity.parity_table(_viewpoints(path), {"fp32": path}, exported.pictures(3))
    text = card.markdown(about.of_run(run), run.options, rows, {"fp32": path})
    assert "- Output `confidence`" in text
