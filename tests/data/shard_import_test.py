"""`data.shard` on a machine with neither TensorFlow nor Keras, as a worker of Beam's is."""

import json
import subprocess
import sys

import numpy as np
from PIL import Image
from places import ROOT

BLOCKED = """
import sys
for name in ("tensorflow", "keras", "jax"):
    sys.modules[name] = None  # whatever imports it fails
sys.path.insert(0, {root!r})
"""
COMMAND = """
from ssv_tf.data import shard
sys.argv = ["shard", {photos!r}, {records!r}, "--shards=2", "--resolution=16"]
shard.run()
"""


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_it_is_imported_without_either():
    done = _python(BLOCKED.format(root=str(ROOT)) + "import ssv_tf.data.shard")
    assert done.returncode == 0, done.stderr


def test_the_command_writes_records_without_either(tmp_path):
    photos, records = tmp_path / "photos", tmp_path / "records"
    photos.mkdir()
    for number in range(3):
        pixels = np.full((64, 64, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    code = BLOCKED.format(root=str(ROOT))
    done = _python(code + COMMAND.format(photos=str(photos), records=str(records)))
    assert done.returncode == 0, done.stderr
    assert json.loads((records / "index.json").read_text())["pictures"] == 3
