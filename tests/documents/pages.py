"""The pages of the documentation and their blocks of code.

The line that opens a block may say more than its language, as `key=value`:

    ```bash                              run by tests/cluster/test_documents.py, as it stands there
    ```bash not-run=needs-a-GPU          not run, for this reason; its commands are parsed
    ```python run-by=tests/a/test_b.py   run by another test
    ```python file=tests/extension/a.py  the text of that file (`tests.documents.generated` writes it)
    ```python line-in=i2s_batch/a.py     a line for the registry in that file, ahead of the entry `before=NAME` if it is
                                         given (tests/extension/test_recipes.py)

Blocks of other languages (`text`, `sql`, ...) are only shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *ROOT.glob("CONTRIBUTING.md"), *sorted(DOCS.rglob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)(?: +([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEYS = frozenset({"not-run", "run-by", "file", "line-in", "before"})


@dataclass(frozen=True)
class Block:
    """Holds a block of code: the page that shows it, its language, what the opening line says beside it, its text."""

    page: Path
    language: str
    about: dict[str, str]
    text: str

    @property
    def is_run(self) -> bool:
        """Return whether tests/cluster/test_documents.py runs the block."""
        return self.language in ("bash", "python") and not self.about


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in its order."""
    found = []
    for language, words, text in _BLOCK.findall(page.read_text()):
        about = dict(word.split("=", 1) for word in words.split())
        found.append(Block(page, language, about, text))
    return found


def name_of(page: Path) -> str:
    """Return the path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()
