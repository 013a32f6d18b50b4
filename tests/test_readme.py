"""The README says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from i2s_batch.schema.columns import COLUMNS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_column_of_the_table_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \| (.+) \|$", README, re.MULTILINE)
    assert described == [(column.name, column.meaning) for column in COLUMNS]


def test_the_test_command_is_what_ci_runs() -> None:
    assert ".venv/bin/pip install -e '.[test]' && .venv/bin/nox --no-venv -s tests\n" in README
    ci = (ROOT / ".ci" / "run").read_text()
    assert "--editable '.[test,docs]'" in ci and '/bin/python" -m nox --no-venv -s lint types docs tests\n' in ci


def test_every_place_in_the_tree_exists() -> None:
    tree = README.rpartition("## The files")[2].split("```")[1]
    lines = re.findall(r"^  ((?:\w+/ +)+)", tree, re.MULTILINE)
    folders = [folder for line in lines for folder in re.findall(r"\w+", line)]
    there = {path.parent.name for path in (ROOT / "i2s_batch").glob("*/__init__.py")}
    assert sorted(folders) == sorted(there)
