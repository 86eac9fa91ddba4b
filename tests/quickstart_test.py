"""docs/quickstart.ipynb runs as it stands, cell by cell, and does what it says."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "quickstart.ipynb"


def cells(kind):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


def test_it_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and all(c["outputs"] == [] and c["execution_count"] is None for c in code)


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # what a cell writes without a folder would lie in the tree
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = {"__name__": "__main__"}
    for number, source in enumerate(cells("code")):
        exec(compile(source, f"cell {number}", "exec"), names)
    folder = names["folder"]
    assert len(names["views"]) == 100 and names["views"].skipped == []
    assert names["score"]["pictures"] == 40 and names["score"]["azimuth"]["within_30"] > 0.7
    assert (folder / "exported" / "model_int8.tflite").stat().st_size > 100_000
    assert (folder / "turntable.gif").is_file() and (folder / "angles.csv").is_file()
    assert "40 pictures scored" in capsys.readouterr().out
