"""What comments, docstrings and pages cite lies in the repository: documents by name, sections by title."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("i2s_batch", "tests", "jobs", "docs", ".")
    for pattern in ("*.py", "*.md", "*.jinja")
    for path in ((ROOT / folder).glob(pattern) if folder == "." else (ROOT / folder).rglob(pattern))
    if path != Path(__file__)
)
WRITTEN = {"study.md", "notes.md"}  # by a run under its OUT, and by a test
_DOCUMENT = re.compile(r"(?<![\w/.*{}-])((?:[\w-]+/)*[\w-]+\.(?:md|rst))\b")
# "PAPER section 5", "(PAPER, table 1)": a document by its name in capitals, without an ending.
_NUMBERED = re.compile(r"\b([A-Z]{4,})(?:\.md)?,? (?:section|table|page|chapter) \d")
_TITLED = re.compile(r"\bREADME, ([A-Z][a-z]+)")


def text_of(path: Path) -> str:
    """The text of a file, with the ends of its lines and the marks of comments as spaces."""
    return re.sub(r"\s*\n\s*#?\s*", " ", path.read_text())


def missing_documents(text: str, beside: Path) -> list[str]:
    cited = {match[1] for match in _DOCUMENT.finditer(text)}
    cited = {name for name in cited if Path(name).name not in WRITTEN}
    return sorted(
        name for name in cited if not any((folder / name).is_file() for folder in (ROOT, ROOT / "docs", beside))
    )


def missing_sections(text: str) -> list[str]:
    """References such as "PAPER section 5" without a document, or "README, Speed" without a section."""
    lost = [match[0] for match in _NUMBERED.finditer(text) if not (ROOT / f"{match[1]}.md").is_file()]
    titles = (ROOT / "README.md").read_text()
    return lost + [m[0] for m in _TITLED.finditer(text) if not re.search(rf"^#+ {m[1]}", titles, re.MULTILINE)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_cited_is_there(path: Path) -> None:
    text = text_of(path)
    assert missing_documents(text, path.parent) == [] and missing_sections(text) == []


def test_what_points_nowhere_is_seen() -> None:
    assert missing_documents("as in docs/nowhere.md (docs/speed.md)", ROOT) == ["docs/nowhere.md"]
    for lost in ("eq. (1); PAPER section 1.", "(PAPER, table 1)", "(README, Nowhere)", "DESIGN.md section 2"):
        assert missing_sections(lost), lost
    assert missing_sections("calls (README, Python); a table of JSON values, in UTF8 Text") == []
