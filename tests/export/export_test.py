"""Exported files answer like Keras, need nothing foreign, and are written whole or not at all."""

import dataclasses
import io
import json

import forked
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssv_tf import config, viewpoint
from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import folder
from ssv_tf.data.framing import Framing, to_network
from ssv_tf.evaluation import novelty
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.evaluation.confidence import Confidence
from ssv_tf.export import (
    exporter,
    fold,
    graph_decoding,
    graph_framing,
    metadata,
    parity,
    sample,
    saved_model,
    tflite,
)
from ssv_tf.export.formats import Settings
from ssv_tf.models import inference
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.decoding import Viewpoints
from ssv_tf.models.encoding import PLAIN
from ssv_tf.models.student import StudentNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import run_folder as runs

SIZE = 32
CALIBRATION = Calibration(
    (-1.0, 1.2, 0.9), (150.0, 3.0, -2.0),
    quadrant_bias=(0.03, -0.03, 0.02, -0.01), azimuth_warp=(1.3, 0.8),
)  # fmt: skip


def _pictures(count, side=SIZE, seed=0):
    """Smooth coloured patterns, so that resizing them is well defined."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(p).resize((side, side), Image.BICUBIC)) for p in small]
    return np.stack(large)


def _apart(first, second):
    return np.abs(viewpoint.wrap_deg(np.asarray(first) - np.asarray(second)))


def _encoded(picture, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, quality=95)
    return stream.getvalue()


@pytest.fixture(scope="module")
def analysis():
    import keras

    keras.utils.set_random_seed(3)
    stretched = {"centre_rad": (0.0, 0.2, 0.0), "stretch": (1.0, 4.0, 8.0)}
    network = AnalysisNetwork(resolution=SIZE, width=0.1, style_size=8, **stretched)
    network.build()
    return network


@pytest.fixture(scope="module")
def folded(analysis):
    return fold.FoldedViewpoint(analysis, CALIBRATION)


@pytest.fixture(scope="module")
def reference(analysis):
    return lambda pictures: (
        inference.decode(inference.predict(analysis, pictures), CALIBRATION).degrees
    )


@pytest.fixture(scope="module")
def exported(folded, tmp_path_factory):
    """Every kind and the SavedModel, written once."""
    out = tmp_path_factory.mktemp("exported")
    representative = _pictures(20, seed=1)
    paths = {
        kind: tflite.write(folded, kind, out / f"{kind}.tflite", representative)
        for kind in tflite.KINDS
    }
    return paths | {"saved_model": saved_model.write(folded, out / "saved_model")}


def test_folded_model_is_network_then_calibration(folded, reference):
    pictures = _pictures(30)
    answers = folded(tf.constant(pictures)).numpy()
    assert answers.shape == (30, 3)
    assert _apart(answers, reference(pictures)).max() < 0.01
    assert np.array_equal(answers, folded(tf.constant(pictures, tf.float32)).numpy())


def test_without_calibration_the_angles_are_those_of_the_network(analysis):
    pictures = _pictures(5)
    raw = inference.decode(inference.predict(analysis, pictures)).degrees
    assert _apart(fold.FoldedViewpoint(analysis)(tf.constant(pictures)), raw).max() < 0.01


@pytest.mark.slow
def test_a_picture_alone_is_answered_as_in_a_batch(exported, folded):
    pictures = _pictures(6)
    together = folded(tf.constant(pictures)).numpy()
    alone = np.concatenate([folded(tf.constant(p[None])).numpy() for p in pictures])
    assert _apart(alone, together).max() < 1e-3
    served = saved_model.Predictor(exported["saved_model"])
    alone = np.concatenate([served(p[None]) for p in pictures])
    assert _apart(alone, served(pictures)).max() < 1e-3


def test_style_and_realness_weights_are_left_out(exported, folded, analysis):
    left_out = ("style", "realness", "realness_top")
    unused = sum(
        v.value.shape.num_elements()
        for v in analysis.variables
        if "seed" not in v.path and any(f"/{name}/" in f"/{v.path}" for name in left_out)
    )
    total = sum(v.value.shape.num_elements() for v in analysis.variables if "seed" not in v.path)
    assert unused > 1000
    assert folded.parameters == total - unused
    saved = tf.train.list_variables(str(exported["saved_model"] / "variables" / "variables"))
    stored = sum(int(np.prod(shape)) for name, shape in saved if "VARIABLE_VALUE" in name)
    assert stored == folded.parameters


@pytest.mark.parametrize(
    ("kind", "median_deg", "bytes_per_weight"),
    [("fp32", 0.01, 4), ("fp16", 0.5, 2), ("dynamic", 6, 1), ("int8", 6, 1), ("int8_full", 12, 1)],
)
def test_tflite_files_answer_like_keras(
    exported, folded, reference, kind, median_deg, bytes_per_weight
):
    pictures = _pictures(40, seed=2)
    answers = tflite.Predictor(exported[kind])(pictures)
    assert np.median(_apart(answers, reference(pictures)), axis=0).max() < median_deg
    content = exported[kind].read_bytes()
    assert tflite.custom_operations(content) == []
    assert "CONV_2D" in tflite.operations(content)
    weights = folded.parameters * bytes_per_weight
    assert weights * 0.95 < len(content) < weights * 1.5 + 150_000


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_tflite_files_take_one_uint8_picture_and_name_their_ends(exported, kind):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported[kind]))
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["picture"], "outputs": ["viewpoint_deg"]}
    }
    [given], [answered] = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], list(given["shape"])) == (np.uint8, [1, SIZE, SIZE, 3])
    assert (answered["dtype"], list(answered["shape"])) == (np.float32, [1, 3])


def test_int8_computes_convolutions_in_int8_and_decodes_in_float(exported):
    from ai_edge_litert.interpreter import Interpreter

    for kind in tflite.CALIBRATED_KINDS:
        interpreter = Interpreter(
            str(exported[kind]), experimental_preserve_all_tensors=True, num_threads=1
        )
        types = {d["index"]: d["dtype"] for d in interpreter.get_tensor_details()}
        outputs = {
            name: {
                types[o["outputs"][0]]
                for o in interpreter._get_ops_details()
                if o["op_name"] == name
            }
            for name in ("CONV_2D", "SOFTMAX", "ATAN2", "RSQRT")
        }
        assert outputs["CONV_2D"] == {np.int8}, kind
        assert outputs["SOFTMAX"] == outputs["ATAN2"] == {np.float32}, kind
        assert (np.float32 in outputs["RSQRT"]) == (kind == "int8")


@pytest.mark.parametrize("kind", tflite.KINDS)
def test_the_gpu_delegate_takes_every_file(exported, kind, capsys):
    content = exported[kind].read_bytes()
    tf.lite.experimental.Analyzer.analyze(model_content=content, gpu_compatibility=True)
    said = capsys.readouterr().out
    assert "Your model looks compatible with GPU delegate" in said, said[-2000:]


def test_float_input_and_open_batch(folded, reference):
    from ai_edge_litert.interpreter import Interpreter

    pictures = _pictures(3)
    content = tflite.convert(folded, "fp32", input_type="float", batch=None)
    interpreter = Interpreter(model_content=content)
    given = interpreter.get_input_details()[0]
    assert given["dtype"] == np.float32
    interpreter.resize_tensor_input(given["index"], pictures.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], pictures.astype(np.float32))
    interpreter.invoke()
    answers = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert _apart(answers, reference(pictures)).max() < 0.05


def test_a_file_without_weights_is_refused(exported, folded):
    class Larger:
        parameters, resolution = folded.parameters * 100, SIZE

    with pytest.raises(tflite.ExportError, match="weights are missing"):
        tflite.check(exported["fp32"].read_bytes(), "fp32", Larger())


def test_foreign_operations_are_found():
    @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.int32)])
    def bits(x):
        return tf.bitwise.bitwise_and(x, 1) + tf.cast(
            tf.raw_ops.Bincount(arr=x[0], size=4, weights=tf.constant([], tf.int32)), tf.int32
        )

    converter = tf.lite.TFLiteConverter.from_concrete_functions([bits.get_concrete_function()])
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]  # fmt: skip
    assert any(name.startswith("Flex") for name in tflite.custom_operations(converter.convert()))


def test_an_operation_tflite_lacks_gives_one_line_and_no_file(analysis, tmp_path):
    class Foreign:
        resolution, encoding = SIZE, PLAIN

        def answers(self, images):
            logits = analysis.viewpoint(images)
            bits = tf.bitcast(logits["quadrant_logits"], tf.int32)
            odd = tf.cast(tf.bitwise.bitwise_and(bits, 1), tf.float32)
            return logits | {"quadrant_logits": logits["quadrant_logits"] + odd}

    with pytest.raises(tflite.ExportError, match="BitwiseAnd") as caught:
        tflite.write(fold.FoldedViewpoint(Foreign()), "fp32", tmp_path / "model.tflite")
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["int8", "int8_full"])
def test_a_quantiser_leaves_the_decoding_alone(exported, kind):
    """Rounding a softmax to steps of 1/256 before a square root costs up to 20 degrees."""
    run = tflite.operations(exported[kind].read_bytes())
    after = run[max(i for i, name in enumerate(run) if name == "FULLY_CONNECTED") :]
    assert "FULLY_CONNECTED" in after and "ATAN2" in after
    assert "QUANTIZE" not in after


def test_int8_without_pictures_is_refused(folded):
    with pytest.raises(tflite.ExportError, match="representative"):
        tflite.convert(folded, "int8")


def test_saved_model_signatures(exported, reference):
    loaded = tf.saved_model.load(str(exported["saved_model"]))
    pictures = _pictures(4)
    answer = loaded.signatures["serving_default"](picture=tf.constant(pictures, tf.float32))
    assert _apart(answer["viewpoint_deg"], reference(pictures)).max() < 0.01
    for i, name in enumerate(viewpoint.ANGLES):
        assert np.array_equal(answer[f"{name}_deg"], answer["viewpoint_deg"][:, i])
    given = loaded.signatures["serving_default"].structured_input_signature[1]
    assert given["picture"].shape.as_list() == [None, SIZE, SIZE, 3]
    contents = tf.constant([_encoded(p) for p in pictures])  # already square: no fitting
    served = loaded.signatures["serving_jpeg"](jpeg_bytes=contents)
    assert _apart(served["viewpoint_deg"], answer["viewpoint_deg"]).max() < 0.01


@pytest.mark.parametrize(
    "shape", [(200, 90), (37, 210), (33, 32), (20, 11), (1, 50), (900, 700), (50, 900)]
)
@pytest.mark.parametrize(
    ("crop", "padding"),
    [
        ("longest", "constant"),
        ("height", "constant"),
        ("longest", "edge"),
        ("height", "reflect"),
        ("longest", "blur"),
        ("height", "blur"),
    ],
)
def test_fitting_in_the_graph_is_that_of_folders(shape, crop, padding):
    side = max(shape)
    noise = np.random.default_rng(1).integers(-40, 40, (*shape, 3))
    smooth = _pictures(1, side)[0, : shape[0], : shape[1]]
    picture = np.clip(smooth + noise, 0, 255).astype(np.uint8)
    framing = Framing(SIZE, crop, 2.4, padding)
    ours = graph_framing.fit_square(tf.constant(picture, tf.float32), framing).numpy()
    wanted = framing.fit(picture).astype(np.float32)
    difference = np.abs(ours - wanted)
    # Pillow rounds between its two passes: one grey level here and there.
    assert difference.mean() < 0.5 and np.percentile(difference, 99) <= 2, difference.max()


def test_jpegs_of_odd_sizes_are_answered_in_one_batch(exported, reference):
    shapes = [(61, 143), (97, 40), (32, 32), (300, 451)]
    pictures = [_pictures(1, max(s), seed=i)[0, : s[0], : s[1]] for i, s in enumerate(shapes)]
    contents = [_encoded(np.ascontiguousarray(p), "JPEG") for p in pictures]
    loaded = tf.saved_model.load(str(exported["saved_model"]))
    answers = loaded.signatures["serving_jpeg"](jpeg_bytes=tf.constant(contents))["viewpoint_deg"]
    fitted = np.stack([folder.fit_square(folder.read_picture(c), SIZE) for c in contents])
    assert np.median(_apart(answers, reference(fitted)), axis=0).max() < 0.5


@pytest.mark.slow
def test_a_blurred_padding_is_served_as_it_is_predicted(folded, reference, tmp_path):
    framing = Framing(SIZE, "height", 2.4, "blur")
    loaded = tf.saved_model.load(str(saved_model.write(folded, tmp_path / "model", framing)))
    pictures = [_pictures(1, side, seed=side)[0, : side // 2] for side in (60, 90, 150, 400)]
    contents = [_encoded(np.ascontiguousarray(p)) for p in pictures]
    answers = loaded.signatures["serving_jpeg"](jpeg_bytes=tf.constant(contents))["viewpoint_deg"]
    squares = np.stack([framing.read(content) for content in contents])
    apart = _apart(answers, reference(squares))
    edge = np.stack([Framing(SIZE, "height", 2.4, "edge").read(c) for c in contents])
    assert np.median(apart, axis=0).max() < 0.5, apart
    assert np.abs(edge.astype(int) - squares).mean() > 5, "the two paddings differ"


def test_jpegs_are_decoded_to_the_very_pixels_of_folders():
    content = _encoded(_pictures(1, 80)[0], "JPEG")
    ours = graph_decoding.decode_picture(tf.constant(content)).numpy()
    assert np.array_equal(ours, folder.read_picture(content))


def test_grey_and_transparent_pictures_are_decoded_as_in_folders():
    colours = _pictures(1, 40)[0]
    alpha = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (40, 1))[..., None]
    for picture in (colours[..., 0], np.concatenate([colours, alpha], -1)):
        content = _encoded(picture)
        ours = graph_decoding.decode_picture(tf.constant(content)).numpy()
        assert np.abs(ours - folder.read_picture(content)).max() <= 1.5


def test_a_failing_saved_model_leaves_the_old_one(folded, tmp_path, monkeypatch):
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "old").write_text("kept")

    def fail(*_):
        raise UserError("read back wrong")

    monkeypatch.setattr(saved_model, "_check", fail)
    with pytest.raises(UserError, match="read back wrong"):
        saved_model.write(folded, path)
    assert [p.name for p in tmp_path.iterdir()] == ["saved_model"]
    assert [p.name for p in path.iterdir()] == ["old"]


def test_parity_goes_round_the_circle_and_counts_bytes(exported):
    pictures = _pictures(10)
    truth = tflite.Predictor(exported["fp32"])(pictures)
    shifted = viewpoint.wrap_deg(truth + np.array([359.0, 2.0, 0.0]))
    views = Viewpoints(shifted)
    [row] = parity.parity_table(lambda _: views, {"fp32": exported["fp32"]}, pictures)
    assert row["azimuth"]["median_deg"] == pytest.approx(1.0, abs=1e-3)
    assert row["elevation"]["max_deg"] == pytest.approx(2.0, abs=1e-3)
    assert row["bytes"] == exported["fp32"].stat().st_size
    assert row["latency_ms"] > 0
    with pytest.raises(UserError, match="not the model"):
        parity.doubts([row])
    assert parity.doubts([row | {"format": "int8"}]) == []
    far = row | {"format": "int8", "tilt": {"median_deg": 9.0}}
    assert "9.0 degrees off Keras in tilt" in parity.doubts([far])[0]
    unlike = row | {"format": "int8", "novelty": {"median": 0.31}}
    assert parity.doubts([unlike])[0].endswith("is 0.31 off Keras in novelty (median)")


def test_parity_tables_are_aligned(exported, reference):
    rows = parity.parity_table(lambda p: Viewpoints(reference(p)), exported, _pictures(8))
    assert json.loads(parity.to_json(rows)) == rows
    lines = parity.to_markdown(rows).splitlines()
    assert len(lines) == len(exported) + 2
    assert len({len(line) for line in lines}) == 1
    with pytest.raises(UserError, match="no pictures"):
        parity.parity_table(reference, exported, _pictures(8)[:0])


@pytest.fixture(scope="module")
def run_folder(analysis, tmp_path_factory):
    """A run whose data is a folder of 12 pictures."""
    place = tmp_path_factory.mktemp("run")
    pictures = place / "pictures"
    pictures.mkdir()
    for i, picture in enumerate(_pictures(12, 48)):
        Image.fromarray(picture).save(pictures / f"{i}.png")
    options = config.Options.of(data=str(pictures), resolution=SIZE)
    files.write_atomically(place / "options.json", options.to_json())
    (place / "models").mkdir()
    analysis.save(place / "models" / "analysis.keras")
    return place


def _command(*arguments):
    return forked.run("ssv_tf.export", *arguments)


@pytest.mark.slow
def test_the_command_writes_everything_once(run_folder, tmp_path):
    out = tmp_path / "deep" / "out"
    flags = [f"--run={run_folder}", f"--out={out}", "--formats=fp32,int8,saved_model"]
    done = _command(*flags)
    assert done.returncode == 0, done.stderr
    names = {"model_fp32.tflite", "model_int8.tflite", "saved_model", "parity.json", "parity.md"}
    names.add("model_card.md")
    assert {p.name for p in out.iterdir()} == names
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert "warning: the run has no calibration.json" in done.stderr
    assert len(done.stderr.splitlines()) == 4, done.stderr  # three files, one warning
    table, files_table = (out / "parity.md").read_text().split("\n\n", 1)
    assert table in done.stdout and "TIFF" in files_table
    rows = json.loads((out / "parity.json").read_text())
    assert [row["format"] for row in rows] == ["fp32", "int8", "saved_model"]
    again = _command(*flags)
    assert again.returncode == 2 and "--overwrite" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--out=OUT"], 2, "--run"),
        (["--run=RUN"], 2, "--out"),
        (["--run=RUN", "--out=OUT", "--formats=fp32,onnx"], 2, "onnx"),
        (["--run=RUN", "--out=OUT", "--parity_pictures=9"], 2, "parity_pictures"),
        (["--run=RUN", "--out=RUN/options.json"], 2, "is a file"),
        (["--run=RUN", "--out=OUT", "stray"], 2, "stray"),
        (["--run=MISSING", "--out=OUT"], 1, "MISSING"),
    ],
)
def test_mistakes_give_one_line_and_an_exit_code(run_folder, tmp_path, arguments, code, words):
    places = {"OUT": str(tmp_path / "out"), "RUN": str(run_folder)}
    for name, place in places.items():
        arguments = [a.replace(name, place) for a in arguments]
    done = _command(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_student_answers_degrees_confidence_and_novelty_in_every_file(tmp_path):
    import keras

    keras.utils.set_random_seed(5)
    student = StudentNetwork(resolution=SIZE, width=0.25, stretch=(1.0, 4.0, 8.0))
    student.build()
    for layer in student.backbone.layers:  # one batch for the statistics; else no signal gets far
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    student.viewpoint(to_network(_pictures(16, seed=2)), training=True)
    pictures, representative = _pictures(12), _pictures(40, seed=1)
    pictures[-1] = 127
    looks = novelty.fit(inference.predict(student, representative).channel_statistics)
    sure = dataclasses.replace(CALIBRATION, confidence=Confidence(0.6, 0.8, -0.2), novelty=looks)
    folded = fold.FoldedViewpoint(student, sure)
    assert folded.outputs == ("viewpoint_deg", "confidence", "novelty")
    views = inference.decode(inference.predict(student, pictures), sure)
    assert np.ptp(views.confidence) > 0.1
    assert views.novelty[-1] > 2.0 and views.confidence[-1] < 1e-3
    assert np.median(views.novelty) < 1.0
    kinds = ("fp32", 0.05, 1e-3), ("int8", 8.0, 0.15), ("int8_full", 20.0, 0.3)
    for kind, degrees, probability in kinds:
        path = tflite.write(folded, kind, tmp_path / f"{kind}.tflite", representative)
        answers = tflite.Predictor(path).outputs(pictures)
        assert np.median(_apart(answers["viewpoint_deg"], views.degrees)) < degrees
        wanted = views.confidence
        assert np.median(np.abs(answers["confidence"][:, 0] - wanted)) < probability
        assert np.median(np.abs(answers["novelty"][:, 0] - views.novelty)) < probability
        assert answers["novelty"][-1, 0] > 2.0 and answers["confidence"][-1, 0] < 1e-3
    served = saved_model.Predictor(saved_model.write(folded, tmp_path / "saved_model"))
    np.testing.assert_allclose(served.outputs(pictures)["confidence"][:, 0], wanted, atol=1e-3)
    found = served.outputs(pictures)["novelty"][:, 0]
    np.testing.assert_allclose(found, views.novelty, rtol=1e-3)


@pytest.mark.slow
def test_a_failure_half_way_leaves_an_earlier_export_untouched(run_folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model_fp32.tflite").write_text("earlier")
    run = runs.load(run_folder)
    both = Settings.of(["fp32", "int8"], representative=6, parity_pictures=6)

    def fail(*_, **__):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr(tflite, "_quantise", fail)
        with pytest.raises(UserError, match="conversion to int8 failed: out of luck"):
            exporter.export(run, out, both, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert [p.name for p in out.iterdir()] == ["model_fp32.tflite"]
    assert (out / "model_fp32.tflite").read_text() == "earlier"
    one = Settings.of("tflite_fp32", representative=6, parity_pictures=6)
    exported = exporter.export(run, out, one, overwrite=True)
    assert exported.files["fp32"].stat().st_size > 100_000
    with pytest.raises(SettingError, match=r"model_fp32\.tflite exists"):
        exporter.export(run, out, one)


@pytest.mark.slow
def test_novelty_reaches_the_table_the_card_and_the_metadata(run_folder, tmp_path):
    network = AnalysisNetwork(resolution=SIZE, width=0.1, style_size=8, trunk="strided")
    network.build()
    raw = inference.predict(network, _pictures(40, seed=1))
    looks = novelty.fit(np.asarray(raw.channel_statistics, np.float64))
    sure = dataclasses.replace(CALIBRATION, confidence=Confidence(1.0, 0.0, 0.0), novelty=looks)
    run = dataclasses.replace(runs.load(run_folder), path=tmp_path / "run", fitted=sure)
    network.save(files.write_atomically(run.models_dir / "analysis.keras", b""))
    settings = Settings.of(["fp32"], representative=6, parity_pictures=6)
    exported = exporter.export(run, tmp_path / "out", settings, images=_pictures(12))
    [row] = exported.parity
    assert row["novelty"]["max"] < 1e-3 and "novelty p95" in str(exported)
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "- Output `novelty`: how little" in card and "novelty above 1" in card
    described = metadata.read(exported.files["fp32"].read_bytes())
    outputs = described.subgraphMetadata[0].outputTensorMetadata
    assert {bytes(o.name) for o in outputs} == {b"viewpoint_deg", b"confidence", b"novelty"}
    grey = np.full((1, SIZE, SIZE, 3), 127, np.uint8)
    answers = tflite.Predictor(exported.files["fp32"]).outputs(grey)
    assert answers["novelty"][0, 0] > 1.5 and answers["confidence"][0, 0] < 0.01


def test_pictures_for_ranges_and_for_comparison_are_different_ones(run_folder):
    found = sample.of_run(runs.load(run_folder), (200, 200), 0, "skip")
    first, second = found.representative, found.compared
    assert len(first) == len(second) == 6 and found.source == "its training collection"
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 12


def test_a_run_whose_pictures_are_gone_is_measured_on_its_own_drawings(analysis, tmp_path):
    options = config.Options.of(data="/no/such/folder", resolution=SIZE)
    files.write_atomically(tmp_path / "options.json", options.to_json())
    synthesis = SynthesisNetwork(
        resolution=SIZE, width=0.03, code_size=4, mapping_layers=1, volume_size=8
    )
    synthesis.build()
    runs.save_models(tmp_path / "models", analysis, synthesis)
    found = sample.of_run(runs.load(tmp_path), (3, 4), 0, "skip")
    assert found.representative.shape == (3, SIZE, SIZE, 3) and len(found.compared) == 4
    assert found.source.startswith("drawn by its synthesis network")
    files.write_atomically(tmp_path / "distill.json", '{"teacher": "gone"}')
    cars = sample.of_run(runs.load(tmp_path), (3, 4), 0, "skip")
    assert len(cars.compared) == 4 and cars.source.startswith("rendered cars")


def test_pictures_that_were_named_must_be_there(run_folder):
    with pytest.raises(UserError, match="is no folder"):
        sample.of_collection(runs.load(run_folder), "/no/such/folder", (3, 4), 0, "skip")


def test_settings_of_an_export_are_checked_and_formats_have_two_names():
    chosen = Settings.of(["saved_model", "tflite_int8", "fp32"])
    assert chosen.formats == ("fp32", "int8", "saved_model")
    for wrong in ({"formats": ["onnx"]}, {"formats": []}, {"input": "int7"}, {"batch": -1},
                  {"parity_pictures": 0}, {"seeds": 1}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Settings.of(**wrong)
