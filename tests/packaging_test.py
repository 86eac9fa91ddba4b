"""What is installed, what the lock file pins, and what the commands are called."""

import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from absl import flags

import ssv_tf
from ssv_tf import synthesize

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (
    "train", "calibrate", "evaluate", "predict", "synthesize", "bundle", "distill",
    "export",
)  # fmt: skip


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_versions():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    return {normal(pin.split("==")[0]): pin for pin in pins}


def test_version_is_the_one_of_the_source():
    assert importlib.metadata.version("ssv-tf") == ssv_tf.__version__


@pytest.mark.parametrize("command", COMMANDS)
def test_console_command_leads_to_a_run_function(command):
    scripts = importlib.metadata.entry_points(group="console_scripts", name=f"ssv-{command}")
    assert len(scripts) == 1
    assert callable(next(iter(scripts)).load())


@pytest.mark.parametrize("folder", [ROOT, ROOT.parent])
def test_export_is_a_part_of_ssv_tf_wherever_one_stands(folder):
    code = "import ssv_tf.export; print(ssv_tf.export.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(ROOT / "ssv_tf" / "export" / "__init__.py")


def test_lock_pins_every_requirement_with_a_hash_and_names_no_host():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|index-url|find-links|trusted-host", text)
    pins = locked_versions()
    blocks = re.split(r"\n(?! )", text.strip())
    assert len(blocks) >= len(pins) and all("--hash=sha256:" in block for block in blocks)
    for requirement in importlib.metadata.requires("ssv-tf"):
        if "extra ==" not in requirement or 'extra == "test"' in requirement:
            name = re.match(r"[A-Za-z0-9_.-]+", requirement).group()
            assert normal(name) in pins, requirement


def test_what_runs_here_is_what_the_lock_pins():
    for name in ("tensorflow", "keras", "ai-edge-litert", "tensorflow-datasets"):
        assert f"=={importlib.metadata.version(name)}" in locked_versions()[name].replace(" ", "")


def test_metadata_is_in_setup_py_alone():
    assert "project" not in tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_addons_is_no_dependency():
    assert not any("addons" in line for line in importlib.metadata.requires("ssv-tf"))
    assert "tensorflow-addons" not in locked_versions()


@pytest.mark.slow
def test_wheel_holds_the_packages_and_their_data(tmp_path):
    source = tmp_path / "source"
    junk = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("ssv_tf", "export", "configs", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=junk, symlinks=True)
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    preset = source / "ssv_tf" / "presets" / "some" / "weights.bin"
    preset.parent.mkdir(parents=True)
    preset.write_bytes(b"weights")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", tmp_path, source], check=True, stdin=subprocess.DEVNULL)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    modules = {p.relative_to(source) for p in (source / "ssv_tf").rglob("*.py")}
    modules |= {Path("ssv_tf", p.relative_to(source)) for p in (source / "export").rglob("*.py")}
    assert {str(module) for module in modules} <= names
    assert "ssv_tf/presets/some/weights.bin" in names
    recipes = {f"ssv_tf/configs/{path.name}" for path in (ROOT / "configs").glob("*.flags")}
    assert recipes and recipes <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "export/", "tools/")) for name in names)


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_an_installed_command_says_what_it_does_and_lists_its_flags(
    word, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ssv-synthesize", word])
    before = set(flags.FLAGS)
    try:
        with pytest.raises(SystemExit) as end:
            synthesize.run()
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
    text = capsys.readouterr().out
    assert end.value.code == 0 and text.startswith("Draws pictures with a trained S")
    assert "  --frames=36\n      Views of the turntable." in text
    assert "  --[no]overwrite\n" in text and "--flagfile=FILE" in text and "logtostderr" not in text
