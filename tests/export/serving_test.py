"""The folder for TF Serving: what lies in it, what it answers, and what it refuses."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import served
import tensorflow as tf
from in_process import run_command
from PIL import Image
from served import SIZE, encoded, pictures

from ssv_tf import config, viewpoint
from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import folder
from ssv_tf.evaluation.confidence import Confidence

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from ssv_tf.export import __main__ as command
from ssv_tf.export import graph_decoding, saved_model
from ssv_tf.export.serving import batched, configs, layout, warmup
from ssv_tf.export.serving.model import RequestError, ServedModel, latest_version
from tools import stress

VERSION = "viewpoint/1"


def _apart(first, second):
    return np.abs(viewpoint.wrap_deg(np.asarray(first) - np.asarray(second))).max()


def _ask_jpeg(contents, **options):
    inputs = {"jpeg_bytes": np.array(contents, object)}
    return served.model().predict(inputs, "serving_jpeg", **options)


def test_the_folder_holds_what_the_server_reads():
    place = served.exported()
    names = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert {
        f"{VERSION}/saved_model.pb",
        f"{VERSION}/assets.extra/tf_serving_warmup_requests",
        "models.config",
        "batching.config",
        "monitoring.config",
        "docker-compose.yml",
    } <= names
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in place.rglob("*"))


def test_signatures_have_their_names_and_types():
    signatures = served.model().signatures
    assert set(signatures) == {"serving_default", "serving_jpeg"}
    outputs = {"viewpoint_deg": (None, 3)} | {f"{a}_deg": (None,) for a in viewpoint.ANGLES}
    for found in signatures.values():
        assert {name: shape for name, (_, _, shape) in found.outputs.items()} == outputs
    assert signatures["serving_default"].inputs["picture"][1:] == (
        np.float32,
        (None, SIZE, SIZE, 3),
    )
    assert signatures["serving_jpeg"].inputs["jpeg_bytes"][1:] == (object, (None,))


def test_configurations_parse_as_the_servers_messages():
    place = served.exported()
    [model] = configs.read(place / "models.config").model_config_list.config
    assert (model.name, model.base_path) == ("viewpoint", "/models/viewpoint")
    assert model.model_platform == "tensorflow"
    batching = configs.read(place / "batching.config")
    assert list(batching.allowed_batch_sizes) == sorted(batching.allowed_batch_sizes)
    assert batching.allowed_batch_sizes[-1] == batching.max_batch_size.value == 32
    assert batching.num_batch_threads.value >= 1
    monitoring = configs.read(place / "monitoring.config").prometheus_config
    assert monitoring.enable and monitoring.path == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize("name", ["models.config", "batching.config", "monitoring.config"])
def test_a_damaged_configuration_is_refused(tmp_path, name):
    (tmp_path / name).write_text("max_batch_sizes { value: 8 }\n")
    with pytest.raises(UserError, match=name):
        configs.read(tmp_path / name)


def test_the_compose_file_starts_the_official_server_on_this_machine_only():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    place = served.exported()
    compose = yaml.safe_load((place / "docker-compose.yml").read_text())
    assert compose["name"] == "viewpoint"
    for name, service in compose["services"].items():
        assert service["image"].startswith("tensorflow/serving:")
        assert service["volumes"] == [".:/models:ro"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        flags = dict(flag.removeprefix("--").split("=", 1) for flag in service["command"])
        for flag, value in flags.items():
            if flag.endswith("_file"):
                assert (place / value.removeprefix("/models/")).is_file(), flag
        # Merged before decoding, a broken JPEG would spoil its neighbours.
        assert (flags.get("enable_batching") == "true") == (name == "tensors")
        assert flags["tensorflow_intra_op_parallelism"] == "1"


def test_warm_up_requests_parse_and_replay():
    version = served.exported() / VERSION
    found = warmup.records(version)
    kinds = [
        (log.predict_log.request.model_spec.signature_name,
         next(iter(log.predict_log.request.inputs.values())).tensor_shape.dim[0].size)
        for log in found
    ]  # fmt: skip
    sizes = batched.Batching().sizes
    assert kinds == [("serving_default", 1), *(("serving_jpeg", size) for size in sizes)]
    assert {log.predict_log.request.model_spec.name for log in found} == {"viewpoint"}
    assert warmup.replay(version, served.model()) == len(found)


def test_a_warm_up_answer_of_another_model_is_noticed():
    class Other:
        def predict(self, inputs, signature):
            answers = served.model().predict(inputs, signature)
            return answers | {"azimuth_deg": answers["azimuth_deg"] * np.nan}

    with pytest.raises(UserError, match="azimuth_deg"):
        warmup.replay(served.exported() / VERSION, Other())


def test_answers_are_those_of_keras():
    images = pictures(5)
    wanted = served.keras_degrees(images)
    answers = served.model().predict({"picture": images.astype(np.float32)})
    assert _apart(answers["viewpoint_deg"], wanted) < 0.01
    shapes = [(61, 143), (97, 40), (32, 32), (300, 451)]
    contents = [encoded(pictures(1, *s, seed=i)[0], "JPEG") for i, s in enumerate(shapes)]
    fitted = np.stack([folder.fit_square(folder.read_picture(c), SIZE) for c in contents])
    apart = _apart(_ask_jpeg(contents)["viewpoint_deg"], served.keras_degrees(fitted))
    assert apart < 1.0


def test_requests_larger_than_a_batch_are_split_and_larger_ones_refused():
    images = pictures(70).astype(np.float32)
    answers = served.model().predict({"picture": images})["viewpoint_deg"]
    assert _apart(answers, served.keras_degrees(images.astype(np.uint8))) < 0.01
    with pytest.raises(RequestError, match="larger than maximum") as caught:
        served.model().predict({"picture": np.zeros((257, SIZE, SIZE, 3), np.float32)})
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("inputs", "signature", "words"),
    [
        ({"picture": np.zeros((1, 16, 16, 3), np.float32)}, "", "not compatible"),
        ({"picture": np.zeros((SIZE, SIZE, 3), np.float32)}, "", "not compatible"),
        ({"picture": np.zeros((0, SIZE, SIZE, 3), np.float32)}, "", "not compatible"),
        ({"picture": np.zeros((1, SIZE, SIZE, 3), np.float64)}, "", "expect float"),
        ({"pictures": np.zeros((1, SIZE, SIZE, 3), np.float32)}, "", "picture"),
        ({"jpeg_bytes": np.array(b"scalar", object)}, "serving_jpeg", "vector|bounds"),
    ],
)
def test_inputs_that_do_not_fit_are_invalid_arguments(inputs, signature, words):
    with pytest.raises(RequestError, match=words) as caught:
        served.model().predict(inputs, signature)
    assert caught.value.code == 3 and "\n" not in caught.value.message


@pytest.mark.slow
def test_the_plain_saved_model_refuses_larger_pictures_too(tmp_path):
    saved_model.write(served.folded(), tmp_path / "1")
    plain = ServedModel(tmp_path / "1", "plain")
    images = pictures(2)
    answers = plain.predict({"picture": images.astype(np.float32)})["viewpoint_deg"]
    assert _apart(answers, served.keras_degrees(images)) < 0.01
    with pytest.raises(RequestError, match="not compatible") as caught:
        plain.predict({"picture": np.zeros((1, 2 * SIZE, 2 * SIZE, 3), np.float32)})
    assert caught.value.code == 3


@pytest.mark.parametrize("index", range(8))
def test_broken_pictures_are_invalid_arguments(index):
    good = encoded(pictures(1, 60, 80)[0], "JPEG")
    broken = stress.broken_pictures(good)
    assert len(broken) == 8
    with pytest.raises(RequestError) as caught:
        _ask_jpeg([broken[index]])
    assert caught.value.code == 3
    with pytest.raises(RequestError):  # one request, one answer
        _ask_jpeg([good, broken[index]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_picture_is_measured_before_it_is_decoded(kind, monkeypatch):
    content = tf.constant(encoded(pictures(1, 30, 50)[0], kind))
    assert graph_decoding.decode_picture(content).shape == (30, 50, 3)
    monkeypatch.setattr(graph_decoding, "MAX_PIXELS", 30 * 50 - 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)too large.*1500"):
        graph_decoding.decode_picture(content)


def _sizes_seen():
    """A model in batches that tells the size of the batch each picture was in; 8 fill one."""

    def answers(picture):
        values = tf.reduce_mean(picture, axis=(1, 2, 3))
        return {"mean": values, "size": tf.fill(tf.shape(values), tf.shape(picture)[0])}

    batching = batched.Batching(sizes=(8,), timeout_us=60_000_000, threads=1, request_pictures=8)
    spec = tf.TensorSpec((None, None, None, None), tf.float32)
    ask = tf.function(batched.in_batches(answers, SIZE, batching), autograph=False)
    return ask.get_concrete_function(spec)


def test_pictures_of_concurrent_requests_share_a_batch_and_keep_their_answers():
    ask = _sizes_seen()
    images = np.stack([np.full((SIZE, SIZE, 3), i, np.float32) for i in range(8)])
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda image: ask(tf.constant(image[None])), images))
    np.testing.assert_array_equal([float(a["mean"][0]) for a in answers], range(8))
    assert {int(a["size"][0]) for a in answers} == {8}


def test_a_neighbour_of_another_size_does_not_spoil_a_batch():
    ask = _sizes_seen()

    def client(side):
        try:
            return float(ask(tf.ones((1, side, SIZE, 3)))["mean"][0])
        except tf.errors.InvalidArgumentError:
            return None

    sides = [SIZE // 2, SIZE, SIZE] * 4
    with ThreadPoolExecutor(12) as clients:
        assert list(clients.map(client, sides)) == [None, 1.0, 1.0] * 4


def test_confidence_is_passed_on():
    folded = served.folded(Confidence(0.5, 0.0, 0.25))
    answers = batched.in_batches(saved_model.answers_of(folded), SIZE)
    some = tf.constant(pictures(3), tf.float32)
    found = tf.function(answers)(some)
    assert set(found) == {f"{a}_deg" for a in ("viewpoint", *viewpoint.ANGLES)} | {"confidence"}
    np.testing.assert_allclose(found["confidence"], folded.answers(some)["confidence"], atol=1e-5)


def test_the_newest_version_is_served(tmp_path):
    for name in ("2", "10", "draft"):
        (tmp_path / "cars" / name).mkdir(parents=True)
    assert latest_version(tmp_path / "cars").name == "10"
    with pytest.raises(UserError, match="no version folder"):
        latest_version(tmp_path / "cars" / "2")
    with pytest.raises(UserError, match="no SavedModel"):
        ServedModel(tmp_path / "cars" / "10", "cars")


def test_a_failure_leaves_nothing_and_keeps_what_was_there(tmp_path, monkeypatch):
    place = tmp_path / "serving"
    place.mkdir()
    (place / "old").write_text("kept")

    def fail(_, version, *__):
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_text("half")
        raise UserError("the SavedModel read back is 9 degrees off")

    monkeypatch.setattr(saved_model, "write", fail)
    with pytest.raises(UserError, match="9 degrees off"):
        layout.write(served.folded(), place, pictures(2))
    assert [p.name for p in tmp_path.iterdir()] == ["serving"]
    assert [p.name for p in place.iterdir()] == ["old"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    (place / "pictures").mkdir()
    for i, picture in enumerate(pictures(8, 48, 48)):
        Image.fromarray(picture).save(place / "pictures" / f"{i}.png")
    options = config.Options.of(data=str(place / "pictures"), resolution=SIZE)
    files.write_atomically(place / "options.json", options.to_json())
    (place / "models").mkdir()
    served.analysis().save(place / "models" / "analysis.keras")
    return place


@pytest.mark.slow
def test_the_command_writes_the_folder(run_folder, tmp_path, capsys):
    flags = [f"--run={run_folder}", f"--out={tmp_path / 'out'}", "--formats=serving"]
    flags += ["--serving_name=cars", "--version=3"]
    assert run_command(command, *flags) == 0
    assert str(tmp_path / "out" / "serving" / "cars" / "3") in capsys.readouterr().out
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"serving", "parity.json", "parity.md", "model_card.md"}
    [row] = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert (row["format"], row["file"]) == ("serving", "serving/cars/3")
    assert row["azimuth"]["max_deg"] < 0.1
    assert configs.served_names(tmp_path / "out" / "serving") == ["cars"]
    assert run_command(command, *flags) == 2  # it exists


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--run=/no/such/run"], 1, "no such run"),
        (["--run=RUN/pictures"], 1, "is not a run"),
        (["--run=RUN", "--serving_name=No Name"], 2, "--serving_name"),
        (["--run=RUN", "--out=/proc/out"], 1, "cannot write"),
    ],
)
def test_mistakes_give_one_line_and_nothing_is_written(
    run_folder, tmp_path, capsys, arguments, code, words
):
    out = [] if any("--out" in a for a in arguments) else [f"--out={tmp_path / 'out'}"]
    arguments = [a.replace("RUN", str(run_folder)) for a in arguments]
    assert run_command(command, "--formats=serving", *arguments, *out) == code
    [line] = [s for s in capsys.readouterr().err.splitlines() if s.startswith("error")]
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_without_the_servers_messages_the_command_says_what_to_install(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.config", None)
    flags = ["--preset=cars", f"--out={tmp_path / 'out'}", "--formats=serving"]
    assert run_command(command, *flags) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("pip install 'ssv-tf[serving]'")
    assert list(tmp_path.iterdir()) == []
