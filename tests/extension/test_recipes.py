"""docs/extending.md, followed to the letter in a copy of the package: file, line, use."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.documents.pages import DOCS, ROOT, Block, blocks
from tests.hashes.materials import TABLE, network
from tests.material import scene

PAGE = DOCS / "extending.md"
_TARGET = re.compile(r'f?"([\w.{}]+):(\w+)"')
_HERE = {"{_HERE}": "i2s_batch.models.checkpoints"}


@dataclass(frozen=True)
class Recipe:
    """Holds a recipe: the file, and the line for a registry of the package."""

    file: Block
    line: Block

    @property
    def target(self) -> tuple[str, str]:
        """Return the module and the object that the line declares."""
        found = _TARGET.search(self.line.text)
        assert found is not None
        module = found[1]
        for short, whole in _HERE.items():
            module = module.replace(short, whole)
        return module, found[2]

    @property
    def name(self) -> str:
        """Return the name that the line declares: its first text."""
        return re.findall(r'"(\w+)"', self.line.text)[0]


def recipes() -> list[Recipe]:
    """Return the recipes of the page: each file and the line that follows it."""
    shown = [block for block in blocks(PAGE) if {"file", "line-in"} & block.about.keys()]
    assert [("file" in block.about) for block in shown] == [True, False] * (len(shown) // 2)
    return [Recipe(file, line) for file, line in zip(shown[::2], shown[1::2], strict=True)]


def registry_of(recipe: Recipe) -> tuple[str, str]:
    """Return the module and the name of the registry that the table on top of the page names for this recipe."""
    path = recipe.line.about["line-in"].removeprefix("i2s_batch/")
    (file,) = {recipe.file.about["file"]}
    title = re.findall(r"^## (.*)$", PAGE.read_text().partition(f"file={file}\n")[0], re.MULTILINE)[-1]
    anchor = title.lower().replace(" ", "-")
    (name,) = re.findall(rf"\(#{anchor}\).*`{re.escape(path)}: (\w+)`", PAGE.read_text())
    return recipe.line.about["line-in"].removesuffix(".py").replace("/", "."), name


def with_line(source: str, registry: str, line: str, before: str | None) -> str:
    """Return the source of a module with one more entry in the list of a registry: the last, or before another."""
    (call,) = (
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target) == registry
    )
    entries, lines = call.args[1], source.splitlines(keepends=True)
    assert isinstance(entries, ast.List | ast.Tuple) and entries.end_lineno is not None
    later = [entry.lineno for entry in entries.elts if before is not None and f"'{before}'" in ast.unparse(entry)]
    assert len(later) == (before is not None)
    lines.insert((later[0] if later else entries.end_lineno) - 1, f"{line.rstrip()},\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in which every recipe of the page was followed."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "i2s_batch", root / "i2s_batch", ignore=shutil.ignore_patterns("__pycache__"))
    for recipe in recipes():
        (root / f"{recipe.target[0].replace('.', '/')}.py").write_text(recipe.file.text)
        module = root / recipe.line.about["line-in"]
        text = with_line(module.read_text(), registry_of(recipe)[1], recipe.line.text, recipe.line.about.get("before"))
        module.write_text(text)
    return root


def run(copy: Path, *command: str, cwd: Path | None = None) -> str:
    env = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=cwd or copy, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_file_of_the_page_is_an_entry_of_its_registry_then(copy: Path) -> None:
    asked = [(*registry_of(recipe), recipe.name) for recipe in recipes()]
    code = (
        "import importlib, json, i2s_batch\n"
        f"assert i2s_batch.__file__.startswith({str(copy)!r})\n"
        f"for module, registry, name in {asked!r}:\n"
        "    found = getattr(importlib.import_module(module), registry)\n"
        "    entry = found.get(name)\n"
        "    print(json.dumps([entry.target, entry.resolve() is not None, found.names]))"
    )
    for recipe, line in zip(recipes(), run(copy, "-c", code).splitlines(), strict=True):
        target, is_resolved, names = json.loads(line)
        assert is_resolved and target == ":".join(recipe.target)
        before = recipe.line.about.get("before")
        assert names.index(recipe.name) == (len(names) - 1 if before is None else names.index(before) - 1)


def test_there_is_a_recipe_for_every_registry_of_the_package() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "i2s_batch").rglob("*.py"))
    declared = set(re.findall(r"^(\w+)(?:: [^=\n]+)? = Registry[\[(]", source, re.MULTILINE))
    assert {registry_of(recipe)[1] for recipe in recipes()} == declared


MAIN = "import sys; from i2s_batch.cli import main; main(sys.argv[1:])"


def test_an_edit_of_the_page_is_a_command(copy: Path, tmp_path: Path) -> None:
    options = (
        "--to",
        "in/dogs/2.png",
        "--strengths",
        "0.5,1",
        "--in-process",
        "--generator",
        str(network("stylegan1")),
    )
    said = run(copy, "-c", MAIN, "edit", "blend", str(TABLE), str(tmp_path / "out"), *options)
    made = len(list((tmp_path / "out" / "pictures").rglob("*.png")))
    assert made > 2 and made % 2 == 0 and f"{made} ok" in said
    assert "blend" in run(copy, "-c", MAIN, "edit", "--help")


def test_a_study_of_the_page_is_a_command(copy: Path, tmp_path: Path, generator: Path, vgg: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        scene(number, (16, 16)).save(tmp_path / "photos" / f"{number}.png")
    options = ("--generator", str(generator), "--vgg", str(vgg), "--steps", "3", "--in-process")
    run(copy, "-c", MAIN, "study", "mirrored", "photos", "out", *options, cwd=tmp_path)
    assert (tmp_path / "out" / "study.md").read_text().startswith("# Study: mirrored\n")


def test_an_export_of_the_page_is_a_format(copy: Path, tmp_path: Path) -> None:
    run(copy, "-c", MAIN, "export", str(TABLE), str(tmp_path / "latents.txt"))
    assert (tmp_path / "latents.txt").read_text().count("\n") > 2
