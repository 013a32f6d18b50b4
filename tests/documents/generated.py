"""The parts of pages that are written from the code: `python -m tests.documents.generated` writes them again.

    <!-- columns --> ... <!-- end -->     the columns of the table, from i2s_batch/schema/columns.py
    ```python file=PATH                   the text of that file

`python -m tests.documents.generated` after a change of either; a test fails where a page lags behind.
"""

from __future__ import annotations

import re
from pathlib import Path

from i2s_batch.schema.columns import COLUMNS
from tests.documents.pages import PAGES, ROOT, name_of

_COLUMNS = re.compile(r"(?<=<!-- columns -->\n).*?(?=<!-- end -->)", re.DOTALL)
_FILE = re.compile(r"(^```python file=(\S+)\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def columns() -> str:
    """Return the columns as a table in Markdown."""
    lines = [f"| `{column.name}` | {column.kind} | {column.meaning} |" for column in COLUMNS]
    return "\n".join(["| column | type | meaning |", "|---|---|---|", *lines, ""])


def written(text: str) -> str:
    """Return the text of a page with its generated parts as they are in the code today."""
    text = _COLUMNS.sub(lambda _: columns(), text)
    return _FILE.sub(lambda match: match[1] + (ROOT / match[2]).read_text(), text)


def outdated() -> list[Path]:
    """Return the pages that lag behind the code."""
    return [page for page in PAGES if written(page.read_text()) != page.read_text()]


if __name__ == "__main__":
    for outdated_page in outdated():
        outdated_page.write_text(written(outdated_page.read_text()))
        print(f"{name_of(outdated_page)}: written again")
