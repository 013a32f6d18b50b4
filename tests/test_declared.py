"""What is imported is declared in pyproject.toml: a package that only another one brings along may go with it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")

ROOT = Path(__file__).parents[1]
OWN = {"i2s_batch", "jobs", "tests"}
# torch brings it for CUDA, in the version that it was built with, and only there; the files run on GPUs alone.
COMES_WITH_TORCH = {"triton"}
# lpips imports it, and takes any version; only the one that belongs to torch works.
IMPORTED_BY_LPIPS = {"torchvision"}


def normalised(name: str) -> str:
    """Return the name of a distribution as package indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(requirements: list[str]) -> set[str]:
    """Return the names in a list of requirements, without extras and versions."""
    return {normalised(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]) for requirement in requirements}


def imported(source: str) -> Iterator[str]:
    """Yield the top-level name of every absolute import in a source, those within functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def third_party(*places: str) -> dict[str, Path]:
    """Return the third-party modules that the Python files under some places import, each with one of its files."""
    found: dict[str, Path] = {}
    for place in places:
        root = ROOT / place
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            for module in imported(path.read_text()):
                if module not in sys.stdlib_module_names and module not in OWN:
                    found.setdefault(module, path.relative_to(ROOT))
    return found


def undeclared(modules: dict[str, Path], declared: set[str]) -> dict[str, str]:
    """Return the modules that no declared distribution holds, each with a file that imports it."""
    known = packages_distributions()
    return {
        module: str(path)
        for module, path in modules.items()
        if not declared & {normalised(name) for name in known.get(module, [module])}
    }


@pytest.fixture(scope="module")
def project() -> dict[str, list[str]]:
    """The requirements of the package and of its extra for tests."""
    facts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {"package": facts["dependencies"], "test": facts["optional-dependencies"]["test"]}


def test_the_package_declares_what_it_imports(project: dict[str, list[str]]) -> None:
    modules = third_party("i2s_batch", "jobs")
    assert {"numpy", "torch", "pyarrow", "PIL"} <= modules.keys(), "the walk finds imports at all"
    assert undeclared(modules, distributions(project["package"])) == {}


def test_the_tests_declare_what_they_import(project: dict[str, list[str]]) -> None:
    modules = third_party("tests", "noxfile.py")
    assert {"pytest", "requests", "yaml", "nox"} <= modules.keys(), "the walk finds imports at all"
    for module in COMES_WITH_TORCH:
        assert modules.pop(module).parts[:2] == ("tests", "gpu")
    assert undeclared(modules, distributions(project["package"] + project["test"])) == {}


def test_every_requirement_of_the_package_is_imported(project: dict[str, list[str]]) -> None:
    """A requirement that nothing imports costs everybody an installation."""
    known = packages_distributions()
    used = {normalised(name) for module in third_party("i2s_batch") for name in known.get(module, [])}
    assert "lpips" in used
    assert distributions(project["package"]) - used - IMPORTED_BY_LPIPS == set()


def test_an_import_that_is_not_declared_is_found() -> None:
    source = "import os\ndef f():\n    from yaml.nodes import Node\nfrom . import sibling\nimport numpy.linalg as la\n"
    assert sorted(imported(source)) == ["numpy", "os", "yaml"]
    modules = {"yaml": Path("a.py"), "numpy": Path("b.py"), "no_such_module": Path("c.py")}
    assert undeclared(modules, {"numpy"}) == {"yaml": "a.py", "no_such_module": "c.py"}
    assert distributions(["ray[default]>=2.50", "PyYAML>=6", "pytest_xdist ; python_version > '3'"]) == {
        "ray",
        "pyyaml",
        "pytest-xdist",
    }
