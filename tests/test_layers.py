"""The arrows between the layers: a module imports only what stands to its right or below (no cycles)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "i2s_batch"

BASE = {"config", "records", "errors", "checksums", "files"}
MAY_IMPORT = {
    "config": {"errors"},
    "records": set(),
    "errors": set(),
    "checksums": {"errors"},
    "files": {"errors"},
    "models": BASE,
    "inversion": BASE,
    "storage": BASE,
    "editing": BASE,
    "studies": BASE,
    "runtime": BASE | {"models", "inversion", "editing", "storage", "studies"},
    "bench": BASE | {"models", "inversion", "storage", "runtime", "table", "demo"},
    "report": BASE | {"models", "inversion", "storage", "studies", "runtime"},
    "table": BASE | {"models", "inversion", "storage", "studies", "runtime", "report"},
    "demo": BASE | {"models", "inversion", "storage", "editing", "runtime", "report"},
    "cli": BASE | {"models", "inversion", "editing", "storage", "runtime", "report", "table", "demo", "bench"},
    "jobs": {"cli"},
    "": {"config", "inversion", "runtime", "storage", "table"},  # i2s_batch/__init__.py: what users import
}
# Within two layers there are rooms; what lies beside them in the layer's own folder is named here by its file.
ROOMS = {
    "storage": {
        "layout": set(),
        "ahead": set(),
        "objects": set(),
        "pictures": set(),
        "tables": {"layout", "ahead", "objects"},
        "sources": {"objects", "tables"},
    },
    "runtime": {
        "weights": set(),
        "state": {"weights"},
        "stopping": set(),
        "watching": {"state"},
        "workers": {"state", "stopping"},
        "driver": {"state", "workers", "watching"},
        "run": {"state", "workers", "watching", "driver", "stopping"},
        "embed": {"state", "workers", "weights", "run"},
        "edit": {"state", "workers", "run"},
        "study": {"state", "workers", "embed"},
    },
}
RAY = ("ray_node.py", "ray_pool.py")
FOREIGN = {
    "torch": {"models", "inversion", "runtime", "report", "table", "demo", "bench"},
    "lpips": {"inversion"},
    "torchvision": {"runtime"},
    "pyarrow": {"storage", "runtime", "report", "table", "bench"},
    "duckdb": {"storage"},
    "jinja2": {"report"},
    "boto3": {"storage"},
    "botocore": {"storage"},
    "PIL": {"inversion", "storage", "studies", "report", "demo"},
    "click": {"cli"},
    "pickle": set(),
    "numpy": {"models", "inversion", "storage", "studies", "runtime", "report", "table", "demo", "bench"},
}


def modules() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "jobs").glob("*.py")])


def layer_of(path: Path) -> str:
    if path.is_relative_to(PACKAGE):
        first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        return "" if first == "__init__" else first
    return "jobs"


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[1].removesuffix(".py")


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


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    layer = layer_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "i2s_batch" and len(parts) > 1:
            other = parts[1]
            if other in MAY_IMPORT and other != layer:
                assert other in MAY_IMPORT[layer], f"{layer} imports {name}"
            if other == layer and layer in ROOMS and len(parts) > 2:
                room = room_of(path)
                assert parts[2] in ROOMS[layer][room] | {room}, f"{layer}/{room} imports {name}"
        if parts[0] == "ray":
            assert path.name in RAY, f"{path.name} imports Ray; only {RAY} may"
        if parts[0] in FOREIGN:
            assert layer in FOREIGN[parts[0]], f"{layer or '__init__'} imports {name}"


def test_there_is_no_cycle_between_modules() -> None:
    names = {
        path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in modules()
    }
    graph = {name: imports(path) & set(names.values()) - {name} for path, name in names.items()}
    # A package's __init__ re-exports its modules; its modules do not import it back.
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return result.stdout.strip()


@pytest.mark.parametrize("what", ["import i2s_batch", "import i2s_batch.cli"])
def test_importing_the_package_loads_nothing_heavy(what: str) -> None:
    heavy = "{'torch', 'ray', 'pyarrow', 'duckdb', 'boto3', 'numpy', 'lpips', 'PIL'}"
    assert run(f"import sys; {what}; print(sorted(set(sys.modules) & {heavy}))") == "[]"


def test_the_engine_needs_no_ray_boto3_or_pyarrow() -> None:
    absent = "('ray', 'boto3', 'botocore', 'pyarrow', 'duckdb', 'lpips', 'click')"
    block = f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
    code = block + "from i2s_batch import EmbedConfig, Embedder, load_generator, load_vgg\nprint('ok')"
    assert run(code) == "ok"
