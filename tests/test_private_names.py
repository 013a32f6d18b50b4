"""The tests reach a state as users do: they import, call and replace no private name of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Private names of others, and why.
FOREIGN = {
    "_repr_html_": "how notebooks ask any object for its HTML",
    "_exit": "os._exit ends a process as a kill does",
    "_dynamo": "torch._dynamo: whether the compiler was loaded, and its reset between measurements",
    "_buffers": "torch.nn.Module._buffers: how a probe lays a network's constants out in memory",
    "_reconstruct_persistent_obj": "of the module that NVIDIA's pickles name, which a test puts in its place",
}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def reached(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every private name of the package that a source of a test reaches: an import from
    the package, an attribute that its own classes do not set, a `setattr`; in programs that it holds as text too."""
    tree = ast.parse(source)
    own = {name for node in ast.walk(tree) for name in _defined(node)} | FOREIGN.keys()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("i2s_batch"):
            yield from ((node.lineno, name.name) for name in node.names if private(name.name))
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            yield from ((node.lineno, name) for name in _replaced(node) if private(name) and name not in own)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
            yield from ((node.lineno, name) for _, name in _reached_in_text(node.value))


def _defined(node: ast.AST) -> Iterator[str]:
    """Yield the private names that a node of a test's own file defines: methods and attributes of `self`."""
    if isinstance(node, ast.ClassDef):
        yield from (member.name for member in node.body if isinstance(member, ast.FunctionDef))
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
        yield node.attr


def _replaced(call: ast.Call) -> Iterator[str]:
    """Yield the names in the texts that say what a call of `setattr` replaces."""
    for argument in call.args[:2]:
        for part in ast.walk(argument):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield from part.value.split(".")


def _reached_in_text(text: str) -> Iterator[tuple[int, str]]:
    try:
        ast.parse(text)
    except SyntaxError:  # prose
        return
    yield from reached(text)


SOURCES = [path for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__)]


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(TESTS))) for path in SOURCES])
def test_a_test_reaches_no_private_name(path: Path) -> None:
    assert [f"{path.name}:{line} {name}" for line, name in reached(path.read_text())] == []


def test_every_way_to_a_private_name_is_found() -> None:
    source = """
from i2s_batch.storage.files import _write, write
class Mine:
    def __init__(self):
        self._own = 1
        self._own += self.engine._slots
def test(monkeypatch, run):
    run._begin()
    monkeypatch.setattr(run, "_clean", None)
    monkeypatch.setattr(f"i2s_batch.storage.{write}._SIZE", 1)
    os._exit(run.__dict__)
    _ = "import x; x._hidden()"
    _ = "prose: the tail._"
"""
    assert sorted(name for _, name in reached(source)) == ["_SIZE", "_begin", "_clean", "_hidden", "_slots", "_write"]
