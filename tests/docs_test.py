"""The documents: length, links, commands, targets and words; pages that are made for the site."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
TOP = [ROOT / f"{name}.md" for name in ("README", "RESULTS", "CONTRIBUTING", "CHANGELOG")]
GUIDES = sorted((ROOT / "docs").rglob("*.md"))
CARDS = sorted((ROOT / "ssv_tf/presets").glob("*/README.md"))
DOCUMENTS = [*TOP, ROOT / "BUILD_NOTES.md", *GUIDES]
LONGEST_README, LONGEST_RESULTS = 150, 250

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"python -m ((?:ssv_tf|tools)(?:\.\w+)*)")
_TARGET = re.compile(r"`?make ([a-z][a-z-]+)`?")
# A reader from the field does not know these; each has a standard term (docs/glossary.md).
_PRIVATE = re.compile(
    r"\b(taught|told(?! apart)|sure|surer|sureness|steady|handed|unsteady|unhanded)\b", re.I
)
# Plain words of English, and private ones as names.
_PRIVATE_NAMES = re.compile(r"`(own|found|bad|quiet|place)\w*`")


def named(path):
    return str(path.relative_to(ROOT))


def prose(path):
    """The text without code blocks and links' targets."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", text)


def anchors(path):
    """Anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


def problems_of_link(path, target):
    if re.match(r"[a-z]+:", target):
        return []
    name, _, anchor = target.partition("#")
    there = (path.parent / name).resolve() if name else path
    if not there.exists():
        return [f"{target}: no such file"]
    if anchor and anchor not in anchors(there):
        return [f"{target}: no such heading"]
    return []


def is_module(name):
    """Whether `python -m name` would run something: a module, or a package with `__main__`."""
    folder = ROOT.joinpath(*name.split("."))
    return folder.with_suffix(".py").is_file() or (folder / "__main__.py").is_file()


def test_readme_and_results_stay_short():
    assert len(README.read_text().splitlines()) <= LONGEST_README
    assert len((ROOT / "RESULTS.md").read_text().splitlines()) <= LONGEST_RESULTS


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_relative_link_leads_somewhere(path):
    targets = _LINK.findall(path.read_text(encoding="utf-8"))
    assert [p for target in targets for p in problems_of_link(path, target)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_command_that_is_named_exists(path):
    names = set(_COMMAND.findall(path.read_text(encoding="utf-8")))
    assert sorted(name for name in names if not is_module(name)) == []


@pytest.mark.parametrize("path", TOP, ids=named)
def test_every_make_target_that_is_named_exists(path):
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    shown = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", path.read_text(), flags=re.DOTALL))
    assert sorted(set(_TARGET.findall(shown)) - there) == []


@pytest.mark.parametrize("path", [*TOP, *GUIDES, *CARDS], ids=named)
def test_no_private_words(path):
    text = prose(path)
    assert sorted({m[0] for m in _PRIVATE.finditer(text)}) == []
    assert sorted({m[0] for m in _PRIVATE_NAMES.finditer(text)}) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_no_document_speaks_of_a_design_file(path):
    assert "DESIGN" not in path.read_text(encoding="utf-8")


def test_no_code_speaks_of_a_design_file():
    sources = [p for folder in ("ssv_tf", "export", "tools") for p in (ROOT / folder).rglob("*.py")]
    named_in = [named(p) for p in sources if "DESIGN" in p.read_text(encoding="utf-8")]
    assert sources and named_in == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [str(path.relative_to(ROOT / "docs")) for path in GUIDES]
    filled_in = ["presets/index.md"]
    assert [page for page in pages if page not in navigation and page not in filled_in] == []


def test_checks_see_what_is_wrong(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading: here\n\nBe sure. ```\nsure\n``` `bad_rows`\n")
    assert problems_of_link(page, "no_such.md") == ["no_such.md: no such file"]
    assert problems_of_link(page, "#elsewhere") == ["#elsewhere: no such heading"]
    assert problems_of_link(page, "page.md#a-heading-here") == []
    assert len(_PRIVATE.findall(prose(page))) == 1 and _PRIVATE_NAMES.search(prose(page))
    assert not is_module("ssv_tf.no_such") and is_module("ssv_tf.train")


# --- Pages that are made (tools/docs_pages.py) -----------------------------------------------


@pytest.fixture(scope="module")
def pages():
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "tools/docs_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("uri", "text", "wanted"),
    [
        ("guides/phone.md", "[r](../../RESULTS.md#speed)", "[r](../results.md#speed)"),
        ("results.md", "![t](docs/images/web.png)", "![t](images/web.png)"),
        ("presets/index.md", "[c](../../ssv_tf/presets/cars/README.md)", "[c](cars.md)"),
        ("guides/phone.md", "[c](../../configs/cars.flags)", "c"),
        ("index.md", "[paper](https://arxiv.org/abs/2004.01793)", None),
        ("guides/phone.md", "[q](../quickstart.md)", None),
    ],
)
def test_links_of_the_tree_become_links_of_the_site(pages, uri, text, wanted):
    assert pages.relinked(text, uri) == (wanted or text)


def test_every_command_is_in_the_reference(pages):
    names = pages.commands()
    assert {"ssv_tf.train", "ssv_tf.export", "ssv_tf.export.web", "tools.ablate"} <= set(names)
    assert names["ssv_tf.export"] == "ssv_tf.export.__main__"
    assert all(is_module(name) for name in names)


def test_pages_say_where_they_are_filled_in(pages):
    text = "".join(path.read_text() for path in GUIDES)
    assert all(text.count(mark) == 1 for mark in pages.FILLED_IN)


def test_flags_of_a_command_do_not_stay(pages):
    from absl import flags

    def define():
        flags.DEFINE_integer("some_number_of_a_test", 3, "What | for.")

    (flag,) = pages.flags_of(define)
    assert flag.default == 3 and "some_number_of_a_test" not in flags.FLAGS
    assert pages._flag_table([flag])[-1] == "| `--some_number_of_a_test` | `3` | What \\| for. |"
