"""Pages of the documentation that are made when it is built: a hook of MkDocs (mkdocs.yml).

* RESULTS.md, CHANGELOG.md, CONTRIBUTING.md and BUILD_NOTES.md, which stand at the top of the tree.
* The model cards of the presets, and a page of docstrings for each package.
* Where a page says `<!-- commands -->`, `<!-- settings -->` or `<!-- public names -->`: every
  command with its flags, every setting of training, every name of the Python API.

Links that are right in the tree (`../RESULTS.md`, `../configs/cars.flags`) are turned into links
of the site, or into plain text where the site has no such page.
"""

import ast
import importlib
import os
import posixpath
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {
    "RESULTS.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "BUILD_NOTES.md": "build_notes.md",
}
PACKAGES = ("models", "training", "data", "evaluation", "export")
_GENERATED_CODE = "metadata_schema_generated"
_COMMAND = re.compile(r"^\s*(?:cli|command)\.run\(", flags=re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the presets and the packages that are there into the navigation."""
    presets = ["presets/index.md", *(f"presets/{name}.md" for name in presets_there())]
    library = [f"reference/library/{name}.md" for name in packages_there()]
    config.nav = _filled(config.nav, {"presets": presets, "library": library})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made."""
    for name, uri in TOP_LEVEL.items():
        if (ROOT / name).exists():
            files.append(File.generated(config, uri, content=_read(ROOT / name)))
    for uri, content in _made_pages():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with what is filled in, and with links that hold in the site."""
    for mark, make in FILLED_IN.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return relinked(markdown, page.file.src_uri)


def relinked(markdown: str, uri: str) -> str:
    """Markdown whose links into the tree are links of the site, or plain text.

    Args:
      markdown: a page as it stands in the tree.
      uri: where the page stands in the site; its place in the tree follows from that.
    """
    folder = _tree_path(uri).parent

    def link(match: re.Match) -> str:
        picture, text, target, anchor = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        wanted = posixpath.normpath(os.path.relpath(folder / target, ROOT))
        site = _site_uri(wanted)
        if site is None:
            return match[0] if picture else text
        there = posixpath.relpath(site, posixpath.dirname(uri) or ".")
        return f"{picture}[{text}]({there}{anchor or ''})"

    return _LINK.sub(link, markdown)


def _tree_path(uri: str) -> Path:
    """The file in the tree that a page of the site is made from."""
    for name, made in TOP_LEVEL.items():
        if made == uri:
            return ROOT / name
    return ROOT / "docs" / uri


def _site_uri(path: str) -> str | None:
    """Where a file of the tree is in the site; None where it is in none of its pages."""
    if path in TOP_LEVEL:
        return TOP_LEVEL[path]
    card = re.fullmatch(r"ssv_tf/presets/(\w+)/README\.md", path)
    if card:
        return f"presets/{card[1]}.md"
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else None


def _made_pages() -> Iterator[tuple[str, str]]:
    for name in presets_there():
        yield f"presets/{name}.md", _read(ROOT / "ssv_tf/presets" / name / "README.md")
    for name in packages_there():
        yield f"reference/library/{name}.md", _package_page(name)


# --- Presets -------------------------------------------------------------------------------------


def presets_there() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(card.parent.name for card in (ROOT / "ssv_tf/presets").glob("*/README.md"))


# --- Commands and settings -----------------------------------------------------------------------


def commands() -> dict[str, str]:
    """What `python -m` runs: its name, and its module (a package's is its `__main__`)."""
    modules = {}
    for folder, package in (("ssv_tf", "ssv_tf"), ("export", "ssv_tf.export"), ("tools", "tools")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.is_relative_to(ROOT / "ssv_tf/export") or not _COMMAND.search(_read(path)):
                continue
            module = ".".join((package, *path.relative_to(ROOT / folder).with_suffix("").parts))
            modules[module.removesuffix(".__main__")] = module
    return dict(sorted(modules.items(), key=lambda c: (c[0].startswith("tools"), *_depth(c[0]))))


def _depth(name: str) -> tuple[int, str]:
    return name.count("."), name


def flags_of(define: Callable[[], None]) -> list[flags.Flag]:
    """The flags that `define` registers, in its order; none of them stays registered."""
    before = set(flags.FLAGS)
    define()
    names = [name for name in flags.FLAGS._flags() if name not in before]
    made = [flags.FLAGS[name] for name in names]
    for name in names:
        delattr(flags.FLAGS, name)
    return made


def commands_text() -> str:
    """Every command: what it does, how it is called, its flags."""
    settings, lines = _settings(), []
    for name, path in commands().items():
        module = importlib.import_module(path)
        lines += [f"## {name}", "", _docstring(module.__doc__ or ""), ""]
        rows = flags_of(module.define_flags)
        if {flag.name for flag in settings} <= {flag.name for flag in rows}:
            lines += ["All [settings of a training run](settings.md), and:", ""]
            rows = [row for row in rows if row.name not in {flag.name for flag in settings}]
        lines += [*_flag_table(rows), ""]
    return "\n".join(lines)


def settings_text() -> str:
    """Every setting of a training run, as flags, by the part that owns it."""
    config = importlib.import_module("ssv_tf.config")
    by_name, lines = {flag.name: flag for flag in _settings()}, []
    for part in dict.fromkeys(setting.part for setting in config.SETTINGS.values()):
        part_flags = [by_name[name] for name, s in config.SETTINGS.items() if s.part == part]
        purpose = (type(getattr(config.Options(), part)).__doc__ or "").splitlines()[0]
        lines += [f"## {part.capitalize()}", "", purpose, "", *_flag_table(part_flags), ""]
    return "\n".join(lines)


def public_names_text() -> str:
    """The docstring of each name that the package offers, functions first.

    `ssv_tf.train` is a function and the module of a command too, so it is asked for at home.
    """
    package, lines = importlib.import_module("ssv_tf"), []
    for name in sorted(getattr(package, "__all__", ()), key=lambda n: (n[0].isupper(), n)):
        path, home = f"ssv_tf.{name}", getattr(package, name)
        if (ROOT / "ssv_tf" / f"{name}.py").exists():
            path = f"{home.__module__}.{home.__qualname__}"
        lines += [f"::: {path}", "    options:"]
        lines += [f"      {key}: ssv_tf.{name}" for key in ("heading", "toc_label")] + [""]
    return "\n".join(lines)


FILLED_IN = {
    "<!-- commands -->": commands_text,
    "<!-- settings -->": settings_text,
    "<!-- public names -->": public_names_text,
}


def _settings() -> list[flags.Flag]:
    config = importlib.import_module("ssv_tf.config")
    return flags_of(config.define_flags)


def _flag_table(rows: list[flags.Flag]) -> list[str]:
    if not rows:
        return ["No flags."]
    table = ["| flag | default | what |", "|---|---|---|"]
    for flag in rows:
        default = "" if flag.default in (None, "", []) else f"`{_shown(flag.default)}`"
        table.append(f"| `--{flag.name}` | {default} | {_cell(flag.help or '')} |")
    return table


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, list) else str(default)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _docstring(text: str) -> str:
    """A module's docstring as Markdown: lines set in by two are commands."""
    first, _, rest = text.partition("\n")
    return "\n".join([first, *_blocks(textwrap.dedent(rest))])


def _blocks(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.startswith("  "):
            yield f"\n```bash\n{textwrap.dedent(paragraph)}\n```"
        elif paragraph.strip():
            yield f"\n{paragraph}"


# --- Library -------------------------------------------------------------------------------------


def packages_there() -> list[str]:
    """Packages with library code."""
    return [name for name in PACKAGES if _package_folder(name).is_dir()]


def _package_folder(name: str) -> Path:
    return ROOT / name if name == "export" else ROOT / "ssv_tf" / name


def _package_page(name: str) -> str:
    folder, lines = _package_folder(name), [f"# ssv_tf.{name}", ""]
    commands_there = set(commands().values())
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        module = ".".join(("ssv_tf", name, *(p for p in parts if p != "__init__")))
        if path.stem == _GENERATED_CODE or module in commands_there or not _public(path):
            continue
        lines += [f"::: {module}", ""]
    return "\n".join(lines)


def _public(path: Path) -> bool:
    """Whether a module has a class or a function for others."""
    body = ast.parse(_read(path)).body
    return any(
        isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
        for node in body
    )


def _filled(nav: list | None, lists: dict[str, list[str]]) -> list:
    filled: list = []
    for item in nav or []:
        if isinstance(item, dict):
            ((title, value),) = item.items()
            if isinstance(value, list):
                value = _filled(value, lists)
            filled.append({title: lists.get(value, value) if isinstance(value, str) else value})
        else:
            filled.append(item)
    return filled


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
