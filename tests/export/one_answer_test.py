"""One picture, one answer: files of every kind through every exported way; and test vectors."""

import json

import bad_corpus
import corpus_odd
import exported
import numpy as np
import pytest
import tensorflow as tf
from picture_bytes import COLOURS, encoded, scene, with_segment
from PIL import Image

from ssv_tf import config, viewpoint
from ssv_tf.base import files
from ssv_tf.data import reading
from ssv_tf.data.framing import Framing
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.export import client, exporter, from_files, graph_decoding, graph_framing, kinds
from ssv_tf.export.formats import Settings
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import run_folder as runs

pytestmark = pytest.mark.filterwarnings("ignore")
FRAMING = Framing(64, "height", 2.4, "blur")
FEW = {"representative": 2, "parity_pictures": 4}
REFUSED = {
    "PNG, one colour transparent", "WebP", "WebP, alpha", "WebP, turned 6", "BMP, palette", "TIFF",
}  # fmt: skip


def squares_of(framing):
    """Bytes -> the square that the server's graph makes of them."""
    return tf.function(
        lambda content: graph_framing.read_square(content, framing),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )


@pytest.fixture(scope="module")
def served():
    """Bytes -> the square that the server's graph makes of them; None where it refuses."""
    squares = squares_of(FRAMING)

    def square(content):
        try:
            return squares(tf.constant(content)).numpy()
        except tf.errors.InvalidArgumentError:
            return None

    return square


def readable():
    """Corpus files that prediction reads, less those for size and names alone."""
    parts = corpus_odd.modes, corpus_odd.odd_bmp, corpus_odd.turned, corpus_odd.metadata
    for part in (*parts, corpus_odd.animated):
        yield from (case for case in part() if not case.reason)


def test_the_server_reads_a_file_as_prediction_does_or_refuses_it(served):
    refused = set()
    for case in readable():
        square = served(case.content)
        if square is None:
            refused.add(case.name)
        else:
            assert np.abs(square - FRAMING.read(case.content)).max() <= 3, case.name
    kinds_refused = {name.split("/")[0] for name in refused}
    assert kinds_refused == {"modes", "turned", "metadata", "animated"}
    assert not [n for n in refused if n.startswith("turned/") and n.endswith(("jpg", "png"))]
    assert {n for n in refused if n.endswith("bmp")} == {
        "modes/palette.bmp", "modes/bilevel.bmp", "modes/bits_565.bmp"
    }  # fmt: skip
    unread = (".webp", ".tif", ".tiff", ".bmp", "_key.png", "clear.gif")
    assert all(name.endswith(unread) or name == "animated/gif.webp" for name in refused), refused


@pytest.mark.parametrize("crop", ["longest", "height"])
@pytest.mark.parametrize("padding", ["constant", "edge", "reflect", "blur"])
def test_the_server_frames_as_prediction_does(crop, padding):
    framing = Framing(32, crop, 2.4, padding)
    squares = squares_of(framing)
    random = np.random.default_rng(0)
    for width, height in ((32, 32), (90, 20), (1, 5), (37, 200), (300, 3), (400, 300)):
        small = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        picture = small.resize((width, height), Image.Resampling.BICUBIC)
        content = encoded(picture, "PNG")
        apart = np.abs(squares(tf.constant(content)).numpy() - framing.read(content))
        assert apart.max() <= 2 and apart.mean() < 0.1, (width, height)


@pytest.mark.parametrize(
    "size, ratio",
    [
        ((1100, 1060), 8),
        ((900, 520), 4),
        ((380, 300), 2),
        ((1025, 1060), 4),
        ((259, 258), 2),
        ((300, 255), 1),
    ],
)
def test_the_server_scales_a_large_jpeg_as_prediction_does(size, ratio):
    content = encoded(scene().resize(size), "JPEG")
    decoded = graph_decoding.decode_picture(tf.constant(content), shortest=128).numpy()
    wanted = np.asarray(reading.read_rgb(content, shortest=128))
    assert decoded.shape == wanted.shape == (-(-size[1] // ratio), -(-size[0] // ratio), 3)
    assert np.abs(decoded.astype(int) - wanted).mean() < 1


def test_a_turn_that_stands_in_words_alone_is_refused(served):
    head = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta "
    turned = with_segment(encoded(scene(), "JPEG"), 0xE1, head + b'tiff:Orientation="6" />')
    upright = with_segment(encoded(scene(), "JPEG"), 0xE1, head + b'tiff:Orientation="1" />')
    assert served(turned) is None and served(upright) is not None
    assert reading.read_picture(turned).shape[:2] == scene().size  # prediction turns it


def test_the_client_sends_what_the_server_reads(served, tmp_path):
    cases = list(readable())
    bad_corpus.write(tmp_path, cases)
    for case in cases:
        square = served(client.sendable(tmp_path / case.name))
        assert square is not None, case.name
        assert np.abs(square - FRAMING.read(case.content)).max() <= 3, case.name


def test_the_client_averages_what_is_too_large_for_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MAX_PIXELS", 2000)
    monkeypatch.setattr(client, "_SHORTEST", 32)
    (tmp_path / "large.png").write_bytes(encoded(scene(), "PNG"))
    monkeypatch.setattr(reading, "_LARGE_PIXELS", 2000)
    sent = reading.read_picture(client.sendable(tmp_path / "large.png"))
    assert sent.shape == (32, 48, 3)
    assert np.abs(sent[[2, -2]][:, [2, -2]].astype(int) - COLOURS).max() <= 1


def test_kinds_of_files_all_show_the_picture():
    picture = np.asarray(scene())
    for kind, (suffix, content) in kinds.kinds(picture).items():
        read = reading.read_picture(content)
        assert read.shape == picture.shape and suffix.startswith("."), kind
        wanted = picture
        if "grey" in kind:
            wanted = np.asarray(scene().convert("L").convert("RGB"))
        if "alpha" in kind or "transparent" in kind:
            continue  # other colours, the same for every reader
        corners = np.ix_((9, -9), (9, -9))
        assert np.abs(read[corners].astype(int) - wanted[corners]).max() <= 9, kind


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run and its export: a float .tflite, a SavedModel and vectors."""
    place = tmp_path_factory.mktemp("run")
    options = config.Options.of(data="/no/such/folder", resolution=exported.SIZE)
    files.write_atomically(place / "options.json", options.to_json())
    synthesis = SynthesisNetwork(
        resolution=exported.SIZE, width=0.03, code_size=4, mapping_layers=1, volume_size=8
    )
    synthesis.build()
    runs.save_models(place / "models", exported.analysis(), synthesis)
    Calibration((-1.0, 1.2, 0.9), (150.0, 3.0, -2.0)).save(place / "calibration.json")
    run = runs.load(place)
    settings = Settings.of(["vectors", "fp32", "saved_model"], **FEW)
    return run, exporter.export(run, place / "out", settings)


@pytest.mark.slow
def test_the_parity_table_begins_with_files(written):
    rows = json.loads((written[1].folder / "parity.json").read_text())
    found = {row["format"]: row["from_files"] for row in rows}
    assert set(found["fp32"]) == {"squares"} and set(found) == {"fp32", "saved_model"}
    assert set(found["saved_model"]) == {"squares", "serving_jpeg"}
    everything = set(kinds.kinds(np.asarray(scene())))
    for way in (*found["fp32"].values(), found["saved_model"]["squares"]):
        assert set(way) == everything
        assert max(kind["max_deg"] for kind in way.values()) < 0.05
    served = found["saved_model"]["serving_jpeg"]
    assert {kind for kind, row in served.items() if "refused" in row} == REFUSED
    assert served["BMP, palette"]["refused"].startswith("a BMP with a palette")
    page = (written[1].folder / "parity.md").read_text()
    assert "| saved_model serving_jpeg |" in page and "refused |" in page
    wrong = {"saved_model serving_jpeg": {"GIF": {"median_deg": 9.0, "max_deg": 9.0}}}
    assert from_files.doubts(wrong) == [
        "saved_model serving_jpeg is 9.0 degrees off prediction for a GIF (median)"
    ]


@pytest.mark.slow
def test_vectors_are_what_the_written_model_answers(written):
    from ssv_tf.export import tflite

    run, made = written
    folder = made.files["vectors"]
    table = json.loads((folder / "vectors.json").read_text())
    assert Framing.from_dict(table["framing"]) == run.options.framing
    assert "round the circle" in (folder / "README.txt").read_text()
    predict = tflite.Predictor(made.files["fp32"], threads=1)
    shape = tuple(table["square"]["shape"])
    for row in table["pictures"]:
        raw = (folder / row["square"]).read_bytes()[table["square"]["npy_header"] :]
        square = np.frombuffer(raw, np.uint8).reshape(shape)
        assert np.array_equal(square, run.options.framing.read(folder / row["file"])), row["kind"]
        wanted = [row[f"{angle}_deg"] for angle in viewpoint.ANGLES]
        apart = np.abs(viewpoint.wrap_deg(predict(square[None])[0] - np.array(wanted)))
        assert apart.max() < table["tolerance"]["angle_deg"], row["file"]
    assert len(table["pictures"]) == 3 * len(kinds.kinds(np.asarray(scene())))


@pytest.mark.slow
def test_vectors_alone_need_no_model(written, tmp_path):
    made = exporter.export(written[0], tmp_path / "out", Settings.of(["vectors"], **FEW))
    assert list(made.files) == ["vectors"] and made.parity == []
    assert "No model was written" in str(made)
    first = next((tmp_path / "out" / "vectors" / "pictures").iterdir())
    with Image.open(first) as image:
        assert max(image.size) == from_files.SIDE
