"""The example of docs/guides/crop.md runs as it stands."""

import importlib
import re
import shlex

import numpy as np
from in_process import run_command
from PIL import Image
from places import ROOT

from ssv_tf.data import labels

GUIDE = ROOT / "docs" / "guides" / "crop.md"
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_block(language, text):
    if language == "python":
        exec(compile(text, str(GUIDE), "exec"), {})
        return
    for line in text.splitlines():
        python, option, module, *words = shlex.split(line)
        assert (python, option) == ("python", "-m")
        assert run_command(importlib.import_module(module), *words) == 0


def test_the_example_gives_the_crops_it_promises(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = GUIDE.read_text(encoding="utf-8")
    example = text[text.index("## An example") : text.index("## Boxes it reads")]
    for language, block in _BLOCK.findall(example):
        run_block(language, block)
    [promised] = re.findall(r"`(crops: [^`]+)`", " ".join(example.split()))
    seconds = re.compile(r"[\d.]+ s \(\d+")
    assert seconds.sub("", promised) == seconds.sub("", capsys.readouterr().out.splitlines()[-1])
    given = labels.read_labels("cars/labels.csv")
    carried = labels.read_labels("crops/labels.csv")
    for number in range(8):
        name, car = f"{number // 2}-{number % 2 + 1}.png", f"car-{number:05d}.png"
        with Image.open(f"crops/{name}") as crop, Image.open(f"cars/{car}") as whole:
            np.testing.assert_array_equal(crop, whole)
        np.testing.assert_allclose(carried[name][0], given[car][0], atol=1e-3)
