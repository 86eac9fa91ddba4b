"""Two real processes on this machine train one run: the same weights, stopped, lost, resumed."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import forked
import numpy as np
import pytest
from PIL import Image
from places import ROOT

from ssv_tf.base.errors import SettingError
from ssv_tf.training import cluster, engines

# --- TF_CONFIG -------------------------------------------------------------------------------


def tf_config(index, kind="worker", **cluster):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    "text, index, count",
    [
        ("", 0, 1),
        ("{}", 0, 1),
        (tf_config(0, worker=["a:1"]), 0, 1),
        (tf_config(1, worker=["a:1", "b:1"]), 1, 2),
        (tf_config(0, "chief", chief=["a:1"], worker=["b:1", "c:1"]), 0, 3),
        (tf_config(1, chief=["a:1"], worker=["b:1", "c:1"]), 2, 3),
    ],
)
def test_a_role_in_the_cluster(text, index, count):
    assert cluster.current_role(text) == cluster.Role(index, count)


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "no JSON of a cluster"),
        ("[]", "no JSON of a cluster"),
        (tf_config("x", worker=["a:1"]), "no JSON of a cluster"),
        (tf_config(2, worker=["a:1", "b:1"]), "worker 2 is none of 0 chief and 2 workers"),
        (tf_config(0, "ps", worker=["a:1"], ps=["b:1"]), "ps 0 is none of"),
        (tf_config(0, "ps", ps=["b:1"]), "lists ps; training needs"),
        (tf_config(0, chief=["a:1", "b:1"], worker=["c:1"]), "lists 2 chiefs"),
    ],
)
def test_a_wrong_cluster_is_one_line(text, said):
    with pytest.raises(SettingError, match=said):
        cluster.current_role(text)


def test_one_engine_alone_trains_on_many_machines(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(0, worker=["a:1", "b:1"]))
    monkeypatch.setattr(engines.keras.backend, "backend", lambda: "jax")
    with pytest.raises(SettingError, match="TensorFlow alone; KERAS_BACKEND is jax"):
        engines.join_cluster()


class Threads(cluster.Together):
    """Workers that are threads of one process: all but the collective itself is real."""

    rows: ClassVar[dict] = {}
    meet = threading.Barrier(3)

    def __init__(self, index):
        self.role = cluster.Role(index, 3)

    def _total(self, words):
        self.rows[self.role.index] = words
        self.meet.wait(30)
        total = sum(self.rows[index] for index in range(3))
        self.meet.wait(30)
        return total


def together(function):
    """What `function(worker)` gives for each of three workers; its errors as results."""

    def safe(worker):
        try:
            return function(worker)
        except Exception as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(safe, map(Threads, range(3))))


@pytest.mark.parametrize("caught, agreed", [
    ([0, 0, 0], 0),
    ([0, 0, signal.SIGTERM], signal.SIGTERM),
    ([signal.SIGINT, 0, 0], signal.SIGINT),
    ([signal.SIGINT, signal.SIGTERM, signal.SIGINT], signal.SIGTERM),
])  # fmt: skip
def test_all_stop_on_one_workers_signal(caught, agreed):
    assert together(lambda w: w.agreed_stop(caught[w.role.index])) == [agreed] * 3


def test_the_chiefs_values_reach_all_bit_for_bit():
    own = {"a": np.array([-0.0, 1e-45, np.nan], np.float32), "b": np.uint8(7), "c": np.arange(3.0)}
    other = {name: np.zeros_like(value) for name, value in own.items()}
    for shared in together(lambda w: w.share(own if w.role.is_chief else other)):
        for name, value in own.items():
            assert shared[name].dtype == value.dtype and shared[name].shape == value.shape
            assert shared[name].tobytes() == value.tobytes()


def test_workers_that_were_started_differently_are_told_so():
    assert together(lambda w: w.check_same("a", "b")) == [None] * 3
    errors = together(lambda w: w.check_same("a", f"b{w.role.index == 2}"))
    assert all(isinstance(error, SettingError) for error in errors)
    assert str(errors[2]).startswith("this worker has other settings or pictures than the chief")
    assert str(errors[0]).startswith("1 of the workers has other settings")


# --- Two processes ---------------------------------------------------------------------------


def free_ports(count):
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in taken]
    for server in taken:
        server.close()
    return ports


def start(module, *words, count=2):
    """Starts `count` processes of one cluster, or one alone."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    configs = [tf_config(index, worker=addresses) if count > 1 else "" for index in range(count)]
    return [forked.start(module, *words, environment={"TF_CONFIG": one}) for one in configs]


def end_of(worker):
    done = worker.end(600)
    return done.returncode, done.stdout + done.stderr


def all_end(workers, code=0):
    for worker in workers:
        given, said = end_of(worker)
        assert given == code, said[-3000:]


def weights(folder, step):
    with np.load(folder / "checkpoints" / f"step-{step}.npz", allow_pickle=False) as archive:
        about = {"best_health", "answers_deg", "settings"}  # only the chief measures health
        return {name: archive[name].tobytes() for name in archive.files if name not in about}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_end_with_one_processs_weights_bit_for_bit(tmp_path):
    both, one = tmp_path / "both", tmp_path / "one"
    all_end(start("two_workers", both, 1))
    # Two micro-batches are the workers' halves of the batch.
    all_end(start("two_workers", one, 2, count=1))
    chiefs = weights(both, 3)
    assert len(chiefs) > 100
    assert chiefs == weights(both / "workers" / "1", 3)
    assert chiefs == weights(one, 3)
    assert chiefs != weights(one, 2)
    assert {path.name for path in (both / "workers" / "1").iterdir()} <= {
        "checkpoints", "metrics.jsonl", "tensorboard",
    }  # fmt: skip


def labelled_pictures(place):
    random, rows = np.random.default_rng(0), ["filename,azimuth_deg,elevation_deg,tilt_deg"]
    (place / "in").mkdir()
    for number in range(24):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / "in" / f"{number}.png")
        rows.append(f"{number}.png,{number},0,0")
    (place / "labels.csv").write_text("\n".join(rows) + "\n")


def wait_for(path, worker):
    while not path.exists():
        assert worker.process.exitcode is None, worker.said()[-3000:]
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stopped_and_a_lost_worker_end_the_run_cleanly_and_it_resumes(tmp_path):
    labelled_pictures(tmp_path)
    folder, one = tmp_path / "both", tmp_path / "one"
    # The rates must not fall before the last step that is reached: the total is part of them.
    words = ["train_without_chance", f"--flagfile={ROOT}/configs/chaos.flags", "--batch_size=16"]
    words += [f"--data={tmp_path / 'in'}", f"--labels={tmp_path / 'labels.csv'}"]
    words += ["--supervised", "--prior_rate=0", "--quiet", "--precision=float32"]
    words += ["--checkpoint_interval=10"]

    # SIGTERM at one of the workers: both save the same step and leave.
    workers = start(*words, f"--run_dir={folder}", "--steps=100000")
    wait_for(folder / "checkpoints" / "step-10.npz", workers[0])
    os.kill(workers[1].process.pid, signal.SIGTERM)
    for worker in workers:
        code, said = end_of(worker)
        assert code == 128 + signal.SIGTERM, said[-3000:]
        assert "everything is saved" in said
    stopped = max(int(p.stem[5:]) for p in (folder / "checkpoints").glob("step-*.npz"))
    assert weights(folder, stopped) == weights(folder / "workers" / "1", stopped)

    # SIGKILL at the other: the chief says so in one line, and what was saved remains.
    workers = start(*words, f"--run_dir={folder}", "--steps=100000")
    later = -(-(stopped + 1) // 10) * 10
    wait_for(folder / "checkpoints" / f"step-{later}.npz", workers[0])
    workers[1].process.kill()
    code, said = end_of(workers[0])
    last = said.strip().splitlines()[-1]
    assert code == 1 and last.startswith("error: a worker of the cluster is gone"), said[-3000:]
    assert "Traceback" not in said and "remains. Start all workers again" in last
    reached = max(int(p.stem[5:]) for p in (folder / "checkpoints").glob("step-*.npz"))

    # The run goes on, on both workers, to what one process would have reached.
    total = 10 * reached // 7 + 3
    steps = f"--steps={total}"
    all_end(start(*words, f"--run_dir={folder}", steps))
    all_end(start(*words, f"--run_dir={one}", steps, "--accumulate=2", count=1))
    assert weights(folder, total) == weights(one, total)
