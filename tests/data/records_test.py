"""Sharded records: what is written is read back, streamed in order, shared by machines."""

import csv
import dataclasses
import io
import json

import in_process
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import records, shard, sources
from ssv_tf.data.framing import Framing

SIDE = 32
FRAMING = Framing(SIDE, "height", 2.4, "blur")


@pytest.fixture
def pictures(tmp_path):
    """40 pictures, each of one grey, and three files that are none."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for number in range(40):
        picture = np.full((SIDE, SIDE, 3), 5 * number, np.uint8)
        Image.fromarray(picture).save(folder / ("below" if number % 2 else ".") / f"{number}.png")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "text.png").write_text("no picture")
    (folder / "empty.webp").write_bytes(b"")
    return folder


@pytest.fixture
def written(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    words = [pictures, out, "--shards=20", f"--resolution={SIDE}"]
    assert in_process.run_command(shard, *words) == 0
    said = capsys.readouterr()
    assert "40 pictures in" in said.out and "3 skipped" in said.out
    assert said.err.count("skipped ") == 3
    return out


def greys(images):
    return np.rint(np.asarray(images, np.float64)[:, 1, 1, 0] / 5).astype(int).tolist()


def test_checksums_are_castagnolis():
    assert records._crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_an_example_is_tensorflows(size, tmp_path):
    content = records.example(bytes(size), "näme/1.png")
    parsed = tf.train.Example.FromString(content).features.feature
    assert parsed["image"].bytes_list.value[0] == bytes(size)
    assert parsed["name"].bytes_list.value[0].decode() == "näme/1.png"
    (tmp_path / "x.tfrecord").write_bytes(b"".join(records.framed([content, b""])))
    read = tf.data.TFRecordDataset(str(tmp_path / "x.tfrecord")).as_numpy_iterator()
    assert list(read) == [content, b""]


def test_all_good_pictures_are_read_back_and_bad_ones_named(written):
    loaded = sources.load_collection(f"{written}/*.tfrecord", **FRAMING.to_dict())
    assert sorted(greys(loaded.images)) == list(range(40))
    for name, grey in zip(loaded.names, greys(loaded.images), strict=True):
        assert name == (f"below/{grey}.png" if grey % 2 else f"{grey}.png")
    index = json.loads((written / "index.json").read_text())
    assert index["pictures"] == 40 == sum(index["files"].values()) and index["skipped"] == 3
    table = list(csv.DictReader(io.StringIO((written / "skipped.csv").read_text())))
    assert [row["filename"] for row in table] == ["cut.jpg", "empty.webp", "text.png"]
    assert table[1]["reason"] == "empty file"


def stream_of(written, first=0, count=30, batch=4, **changes):
    stream = records.open_stream(f"{written}/*.tfrecord", FRAMING)
    part = stream.part(*changes.pop("part", (0, 1)))
    dataset = records.stream_dataset(part, batch, 3, first, mirror=False)
    batches = [((b + 1) * 127.5) for b in dataset.take(count).as_numpy_iterator()]
    return [greys(b) for b in batches]


def test_a_stream_shows_every_picture_once_an_epoch_in_another_order(written):
    shown = np.concatenate(stream_of(written))
    epochs = [shown[i * 40 : (i + 1) * 40].tolist() for i in range(3)]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_stream_goes_on_anywhere_as_if_unbroken(written):
    whole = stream_of(written, batch=3)
    for first in (1, 7, 13, 14, 29):
        assert stream_of(written, first, 30 - first, batch=3) == whole[first:]


def test_machines_share_the_files(written):
    count = len(list(written.glob("*.tfrecord")))
    stream = records.open_stream(f"{written}/*.tfrecord", FRAMING)
    parts = [stream.part(index, 3) for index in range(3)]
    assert sorted(f for part in parts for f in part.files) == list(stream.files)
    assert sum(map(len, parts)) == 40
    own = np.concatenate(stream_of(written, count=len(parts[1]), batch=1, part=(1, 3))).tolist()
    assert sorted(own) == sorted(greys(records._read(parts[1].files, SIDE, None)[1]))
    with pytest.raises(UserError, match=rf"{count} files of records cannot be shared by 99"):
        stream.part(0, 99)


def test_a_data_service_gives_the_same_batches(written):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.split("://")[1]
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    stream = records.open_stream(f"{written}/*.tfrecord", FRAMING, dispatcher.target)
    served = records.stream_dataset(stream, 4, 3, 5, mirror=False).take(12)
    assert [greys((b + 1) * 127.5) for b in served.as_numpy_iterator()] == stream_of(written, 5, 12)
    del worker, dispatcher


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda out: (out / "index.json").unlink(), "index.json, which ssv_tf.data.shard writes"),
        (lambda out: (out / "index.json").write_text("{"), "cannot be read"),
        (lambda out: (out / "other.tfrecord").write_bytes(b""), "does not count .*other.tfrecord"),
    ],
)
def test_records_without_their_index_are_refused(written, harm, said):
    harm(written)
    with pytest.raises(UserError, match=said):
        records.open_stream(f"{written}/*.tfrecord", FRAMING)


def test_damage_size_and_absence_are_one_line(written):
    with pytest.raises(SettingError, match=r"`resolution=64`, but the records of .* resolution=32"):
        records.open_stream(f"{written}/*.tfrecord", dataclasses.replace(FRAMING, resolution=64))
    with pytest.raises(UserError, match="no file matches"):
        records.open_stream(f"{written}/none-*.tfrecord", FRAMING)
    first = min(written.glob("*.tfrecord"))
    first.write_bytes(first.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        records.load_records(f"{written}/*.tfrecord", FRAMING)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"crop": "longest"}, "`crop=longest`, but the records of .* crop=height"),
        ({"padding": "edge"}, "`padding=edge`, but .* padding=blur"),
        ({"canvas_heights": 2.0}, r"`canvas_heights=2.0`, but .* canvas_heights=2\.4"),
    ],
)
def test_records_that_were_framed_otherwise_are_refused(written, asked, said):
    other = dataclasses.replace(FRAMING, **asked)
    with pytest.raises(SettingError, match=said):
        sources.load_collection(f"{written}/*.tfrecord", **other.to_dict())
    with pytest.raises(SettingError, match=said):
        records.open_stream(f"{written}/*.tfrecord", other)


def test_heights_of_the_canvas_say_nothing_of_squares_by_the_longest_side(written):
    index = json.loads((written / "index.json").read_text())
    (written / "index.json").write_text(json.dumps(index | {"crop": "longest"}))
    wanted = Framing(SIDE, "longest", 7.0, "blur")
    assert len(records.load_records(f"{written}/*.tfrecord", wanted)) == 40


def test_a_stream_that_cannot_be_read_is_told_from_a_lost_worker(written):
    first = min(written.glob("*.tfrecord"))
    first.write_bytes(first.read_bytes()[:-20])
    with pytest.raises(tf.errors.OpError) as raised:
        stream_of(written)
    assert "truncated record" in records.damage(raised.value, 2)
    gone = tf.errors.UnavailableError(None, None, "gone")
    assert records.damage(gone, 2) == "" and records.damage(gone, 1) == "gone"
    assert records.damage(ValueError("other")) == ""


def test_a_folder_with_something_in_it_is_not_written_to(written, pictures, capsys):
    assert in_process.run_command(shard, pictures, written) == 2
    assert "give a new folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"stream": "files"}, "`stream` reads TFRecord files, not `data=turntable_cars`"),
        ({"stream": "files", "data": "a/*.tfrecord", "limit": 5}, "no `limit`"),
        ({"stream": "yes", "data": "a/*.tfrecord"}, "give files or grpc://HOST:PORT"),
    ],
)
def test_flags_that_do_not_go_together(changes, said):
    with pytest.raises(SettingError, match=said):
        config.Options.of(**changes)


@pytest.mark.slow
def test_beam_writes_the_same_bytes(written, pictures, tmp_path):
    pytest.importorskip("apache_beam")
    out = tmp_path / "beam"
    words = [
        pictures,
        out,
        "--shards=20",
        f"--resolution={SIDE}",
        "--beam_options=--runner=DirectRunner",
    ]
    assert in_process.run_command(shard, *words) == 0
    names = sorted(path.name for path in written.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert all((out / name).read_bytes() == (written / name).read_bytes() for name in names)
