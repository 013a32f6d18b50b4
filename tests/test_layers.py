"""The arrows between the packages: each imports only from the rows below its own in docs/architecture.md; no cycles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "i2s_batch"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
RAY = "i2s_batch.run.ray"
# Libraries that only these packages may import.
FOREIGN = {
    "torch": {
        "models",
        "inversion",
        "run",
        "table",
        "maintenance",
        "embedding",
        "editing",
        "encoders",
        "diagnosis",
        "demo",
        "bench",
    },
    "lpips": {"inversion"},
    "torchvision": {"models", "diagnosis"},
    "pyarrow": {"parquet", "schema", "output", "sources", "table", "run", "reporting", "maintenance"}
    | {"embedding", "editing", "studies", "bench"},
    "duckdb": {"table"},
    "jinja2": {"reporting"},
    "boto3": {"storage"},
    "pooch": {"storage"},
    "botocore": {"storage"},
    "PIL": {"images", "reporting", "editing", "studies", "demo"},
    "click": {"cli"},
    "msgspec": {"schema", "output", "embedding"},
    "pickle": set(),
}


def rows() -> list[list[str]]:
    """The rows of the table in docs/architecture.md, from the top, each with its packages."""
    table = ARCHITECTURE.read_text().partition("\n## ")[0]
    lines = re.findall(r"^\| ((?:`\w+` ?)+)\|", table, re.MULTILINE)
    return [re.findall(r"\w+", line) for line in lines]


RANK = {package: rank for rank, row in enumerate(rows()) for package in row}


def modules() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "jobs").glob("*.py")])


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(name: str) -> str:
    """The package of a dotted name: '' for i2s_batch itself, `jobs` for what lies beside it."""
    top, _, rest = name.partition(".")
    return rest.partition(".")[0] if top == "i2s_batch" else top


def imports(path: Path) -> set[str]:
    """Every dotted name that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def wrong_arrows(path: Path) -> list[str]:
    """What a file imports from its own row or from above."""
    here = package_of(module_name(path))
    if here in ("", "__main__", "jobs"):  # what users import; commands under another name
        return []
    there = {name: package_of(name) for name in imports(path) if name.startswith("i2s_batch.")}
    return [f"{here} imports {name}" for name, other in there.items() if other != here and RANK[other] <= RANK[here]]


def test_every_package_has_its_row() -> None:
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__main__", "__pycache__", "py.typed"} == RANK.keys() and len(rows()) > 10


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    assert wrong_arrows(path) == []
    name = module_name(path)
    for other in imports(path):
        library = other.split(".")[0]
        assert library != "ray" or name.startswith(RAY), f"{name} imports Ray; only {RAY} may"
        assert library not in FOREIGN or package_of(name) in FOREIGN[library], f"{name} imports {other}"


def import_cycles() -> list[list[str]]:
    """Cycles between modules; a package's __init__ re-exports its modules, which do not import it back."""
    names = {path: module_name(path) for path in modules()}
    graph = {name: imports(path) & set(names.values()) - {name} for path, name in names.items()}
    done: set[str] = set()
    cycles: list[list[str]] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycles.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    return cycles


def test_there_is_no_cycle_between_modules() -> None:
    assert import_cycles() == []


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return result.stdout.strip()


@pytest.mark.parametrize("what", ["import i2s_batch", "import i2s_batch.cli"])
def test_importing_the_package_loads_nothing_heavy(what: str) -> None:
    heavy = "{'torch', 'ray', 'pyarrow', 'duckdb', 'boto3', 'numpy', 'lpips', 'PIL'}"
    assert run(f"import sys; {what}; print(sorted(set(sys.modules) & {heavy}))") == "[]"


def test_the_engine_needs_no_ray_boto3_or_pyarrow() -> None:
    absent = "('ray', 'boto3', 'botocore', 'pyarrow', 'duckdb', 'lpips', 'click', 'msgspec')"
    block = f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
    code = block + "from i2s_batch import EmbedConfig, Embedder, load_generator, load_vgg\nprint('ok')"
    assert run(code) == "ok"
