"""Flag files: found where one stands, else in the package; files in files; one clear line."""

import pytest

from ssv_tf.base import recipes
from ssv_tf.base.errors import FlagError


def test_a_file_that_is_there_comes_before_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packaged = recipes.FOLDER / "cars.flags"
    for name in ("configs/cars.flags", "cars.flags", "cars"):
        assert recipes.find(name) == packaged
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "cars.flags").write_text("--steps=1\n")
    assert list(recipes.expanded(["--flagfile=configs/cars.flags"])) == ["--steps=1"]
    assert recipes.find("cars") == packaged
    wrong = ("elsewhere/cars.flags", "cars.txt", "no_such", "configs", "", "configs/", "x" * 5000)
    for name in wrong:
        with pytest.raises(FlagError, match="no such file"):
            recipes.find(name)


def test_files_in_files_stand_where_they_are_named(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("# a comment\n\n--seed=1\n// another\n  --steps=2  \n")
    outer.write_text(f"--limit=3\n--flagfile={inner}\n--steps=4\n")
    words = ["--a=0", f"--flagfile={outer}", "last", "--", f"--flagfile={inner}"]
    wanted = ["--a=0", "--limit=3", "--seed=1", "--steps=2", "--steps=4", "last", "--"]
    assert list(recipes.expanded(words)) == [*wanted, f"--flagfile={inner}"]


def test_what_is_no_flag_file_is_named(tmp_path):
    loop, nul = tmp_path / "loop.flags", tmp_path / "nul.flags"
    loop.write_text(f"--flagfile={loop}\n")
    nul.write_bytes(b"--a=\0\n")
    (tmp_path / "latin.flags").write_bytes(b"--a=\xe9\n")
    for path, said in ((loop, "name each other"), (nul, "a NUL byte"),
                       (tmp_path / "latin.flags", "utf-8"), (tmp_path / "gone", "no such file"),
                       (tmp_path, "no such file")):  # fmt: skip
        with pytest.raises(FlagError, match=said):
            list(recipes.expanded([f"--flagfile={path}"]))


def test_every_recipe_of_the_package_says_what_it_is_for():
    assert {"cars", "cars_photos", "faces", "object"} <= set(recipes.names())
    assert "chaos" not in recipes.names()
    for name in recipes.names():
        assert 5 < len(recipes.description(name)) < 150 and "--" not in recipes.description(name)
