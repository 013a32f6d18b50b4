"""What README and the pages of docs promise: commands and options exist, generated parts are fresh, links lead on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from i2s_batch.schema.columns import COLUMNS
from tests.documents.commands import (
    check,
    lines_of,
    missing_module,
    named_options,
    ours,
    prose_of,
    shown_options,
    words_of,
)
from tests.documents.generated import columns, outdated, written
from tests.documents.pages import DOCS, KEYS, PAGES, README, ROOT, Block, blocks, name_of

README_LINES = 150
# Options of other programs (pytest, nox, ray, our measuring programs) that pages name.
OTHERS = frozenset({"--fuzz", "--faults", "--no-venv", "--projected-w", "--files", "--json", "--seconds", "--out"})
PACKAGE = ROOT / "i2s_batch"
_CODE = re.compile(r"`((?:\w+/)+\w+\.(?:py|safetensors)|(?:i2s_batch|tests|jobs)/[\w/]+)[`: ]")
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def shell(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "bash"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_is_one_that_the_command_line_takes(page: Path) -> None:
    for block in shell(page):
        for line in lines_of(block.text):
            for words in words_of(line):
                mine = ours(words)
                if mine is None:
                    assert missing_module(words) is None, line
                    continue
                try:
                    check(mine)
                except click.UsageError as error:
                    pytest.fail(f"{line}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_that_a_page_names_is_shown_by_some_help(page: Path) -> None:
    assert named_options(page.read_text()) - shown_options() - OTHERS == set()


def test_a_command_or_option_that_does_not_exist_is_seen() -> None:
    for wrong in ("query out", "embed a b", "embed a b --generator g --steps many", "study astrology a b", "enbed a b"):
        with pytest.raises(click.UsageError):
            check(wrong.split())
    assert {"--steps", "--all-pairs", "--dry-run"} <= shown_options()
    assert named_options("use `--no-such` (`--dry-run`)\n```bash\nx --hidden\n```\n") == {"--no-such", "--dry-run"}
    (job,) = words_of("X=1 ray job submit --working-dir . -- python jobs/embed.py a b --generator g")
    assert ours(job) == ["embed", "a", "b", "--generator", "g"]
    assert missing_module(["python", "-m", "i2s_batch.no_such"]) == "i2s_batch.no_such"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_the_first_line_of_a_block_says_is_known(page: Path) -> None:
    for block in blocks(page):
        assert block.about.keys() <= KEYS, block.about
        if "run-by" in block.about:
            assert page.name in (ROOT / block.about["run-by"]).read_text()
        for key in ("file", "line-in"):
            assert key not in block.about or (ROOT / block.about[key]).is_file()
        assert "not-run" not in block.about or len(block.about["not-run"].split("-")) > 2, "a reason is a few words"


def test_generated_parts_of_pages_are_as_the_code_is() -> None:
    assert [name_of(page) for page in outdated()] == [], "run: python -m tests.documents.generated"
    table = (DOCS / "reference/table.md").read_text()
    assert all(f"| `{column.name}` | {column.kind} | {column.meaning} |\n" in table for column in COLUMNS)
    assert written("<!-- columns -->\nold\n<!-- end -->\n") == f"<!-- columns -->\n{columns()}<!-- end -->\n"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_the_code_that_a_page_names_exists(page: Path) -> None:
    lines = [line for line in prose_of(page.read_text()).splitlines() if not line.startswith("**File**")]  # of a recipe
    named = {path for path in _CODE.findall("\n".join(lines)) if not re.search("[A-Z]{3}", path)}
    assert [path for path in sorted(named) if not any((base / path).exists() for base in (ROOT, PACKAGE))] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_image_leads_to_a_file(page: Path) -> None:
    assert [link for link in _LINK.findall(prose_of(page.read_text())) if not (page.parent / link).is_file()] == []


def test_the_readme_is_short_and_names_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= README_LINES
    assert all(f"docs/{page.relative_to(DOCS)}" in text for page in DOCS.rglob("*.md") if page.parent != DOCS), "a page"


def test_the_history_of_figures_has_a_date_a_machine_and_a_command_for_each() -> None:
    for line in (DOCS / "figures.jsonl").read_text().splitlines():
        figure = json.loads(line)
        assert {"date", "commit", "machine", "command", "what"} < figure.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", figure["date"])
