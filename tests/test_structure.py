"""The figures of tests/structure.py: a small package whose calls are known, and the tables of this one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import structure
from tests.calls.graph import reach
from tests.calls.names import Package

FILES = {
    "__init__.py": "from house.work import begin",
    "start.py": """
from house import begin
from house.stores import Store, open_store

def main(where: str) -> None:
    store = open_store(where)
    store.put("a")
    begin(store)
    try:
        pass
    except Missing:
        pass
""",
    "stores.py": """
from typing import Protocol

class Store(Protocol):
    def put(self, key: str) -> None: ...

class Local:
    def put(self, key: str) -> None:
        from house.files import write
        write(key)

class Remote:
    def put(self, key: str) -> None:
        from house.network import send
        send(key)

def open_store(where: str) -> Store:
    return Local()
""",
    "work.py": """
from house import report
from house.stores import Store

def begin(store: Store) -> None:
    for step in STEPS.values():
        step(store)
    report.write(store)

def copy(store: Store) -> None:
    store.put("b")

STEPS = {"copy": copy, "later": "house.later:tidy"}
""",
    "files.py": "def write(key: str) -> None: ...",
    "network.py": "def send(key: str) -> None: ...",
    "later.py": "from house.stores import Store\ndef tidy(store: Store) -> None: ...",
    "report.py": "def write(store: object) -> None: ...",
}


@pytest.fixture
def house(tmp_path: Path) -> Package:
    for name, text in FILES.items():
        path = tmp_path / "house" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return Package(tmp_path, "house")


def test_what_is_called_is_reached_and_what_no_run_constructs_is_not(house: Package) -> None:
    reached = reach(house, ["start.py:main"], ("report.py",))
    # Remote is constructed nowhere, report.py is a stop; later.py is named only in a table, as a text.
    assert {path.name for path in reached.files} == {"start.py", "stores.py", "work.py", "files.py", "later.py"}
    # start: open_store, put, begin; stores: write; work: put. `step(store)` calls what no reader of names can tell.
    assert sorted(path.name for path, _, _ in reached.calls) == ["start.py"] * 3 + ["stores.py", "work.py"]


def test_a_stop_lets_the_rest_be_reached(house: Package) -> None:
    assert len(reach(house, ["start.py:main"], ("files.py", "report.py")).files) == 4
    assert len(reach(house, ["start.py:main"], ()).files) == 6


def test_an_entry_point_that_has_moved_is_named(house: Package) -> None:
    with pytest.raises(LookupError, match=r"'start\.py:gone'"):
        reach(house, ["start.py:gone"], ())


def test_the_tables_of_this_package_name_what_exists() -> None:
    package = Package(structure.ROOT, structure.NAME)
    for entries, stops in structure.WAYS.values():
        assert all(package.entry(entry) for entry in entries)
        missing = [stop for stop in stops if not (structure.ROOT / structure.NAME / stop).exists()]
        assert not missing, f"WAYS in tests/structure.py names {missing}, which have moved"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("def f(x: dict[str, Any]) -> Mapping[str, object]: ...", 2),
        ("def f(x: dict[str, int | Any], y: dict[str, Row]): ...", 1),
        ("def f(x: dict) -> dict | None: ...", 2),
        ("JSON = dict[str, Any]\ndef f(x: JSON): ...", 2),
        ("made = dict(a=1)\nx = {'a': 1}", 0),
    ],
)
def test_dictionaries_of_anything_are_counted_under_whatever_name(code: str, count: int) -> None:
    assert sum(structure.dictionaries_of_anything({"a.py": ast.parse(code)}).values()) == count


def test_another_name_counts_where_it_is_defined_or_imported_and_its_namesakes_do_not() -> None:
    codes = {
        "house/rows.py": "Item = dict[str, Any]\ndef rows() -> list[Item]: ...",
        "house/__init__.py": "from house.rows import Item as Row",
        "house/pages.py": "def page() -> None:\n    from house import Row\n    shown: Row = {}",
        "house/sources.py": "Item = tuple[str, str]\ndef items() -> Iterator[Item]: ...",
        "house/ahead.py": "Item = TypeVar('Item')\ndef first(items: list[Item]) -> Item: ...",
    }
    found = structure.dictionaries_of_anything({path: ast.parse(code) for path, code in codes.items()})
    assert found == {"house/rows.py": 2, "house/pages.py": 1}


def test_the_dictionaries_of_anything_that_stay_are_few() -> None:
    trees = {str(path): ast.parse(path.read_text()) for path in (structure.ROOT / structure.NAME).rglob("*.py")}
    counts = structure.dictionaries_of_anything(trees)
    assert sum(counts.values()) <= 20, counts


def test_broad_excepts_are_counted() -> None:
    code = "try: ...\nexcept ValueError: ...\nexcept (OSError, Exception): ...\ntry: ...\nexcept: ..."
    assert list(structure.broad_excepts(ast.parse(code))) == [3, 5]
