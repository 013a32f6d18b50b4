"""The documentation site: it builds strictly, and a page asks nobody but its own site for anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from i2s_batch.cli import commands
from tests.documents.commands import shown_options
from tests.documents.pages import DOCS, ROOT

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class _Loaded(HTMLParser):
    """Collects the addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if tag in LOADED and about.get("rel") != "canonical":
            self.addresses.append(about.get(LOADED[tag]) or "")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="the extra `docs` is not installed")
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = sorted(site.rglob("index.html"))
    assert len(pages) == len(list(DOCS.rglob("*.md")))
    for page in pages:
        loaded = _Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses and not [where for where in loaded.addresses if re.match(r"(\w+:)?//", where)]
        assert "```" not in re.sub(r"<code>.*?</code>", "", page.read_text(), flags=re.DOTALL), page
    reference = (site / "reference" / "cli" / "index.html").read_text()
    assert all(f">i2s-batch {name}<" in reference for name in commands.commands)
    assert all(option in reference for option in shown_options())
    assert "Not run by the tests: it needs an AWS account." in (site / "tutorial/cluster/index.html").read_text()
    assert not list(site.rglob("*.py"))


def test_a_notebook_is_shown_with_what_its_cells_gave(hooks: ModuleType, tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "text": ["two\n"]},
        {"output_type": "display_data", "data": {"image/png": "aGk=\n", "text/plain": ["<Image>"]}},
        {"output_type": "execute_result", "data": {"text/html": ["<b>\n3</b>"], "text/plain": ["3"]}},
        {"output_type": "execute_result", "data": {"text/plain": ["4"]}},
        {"output_type": "display_data", "data": {"application/x": "5"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# One"]},
        {"cell_type": "code", "source": ["print('two')"], "outputs": outputs},
    ]
    (tmp_path / "book.ipynb").write_text(json.dumps({"cells": cells}))
    assert hooks.on_page_markdown(f"<!-- notebook: {tmp_path / 'book.ipynb'} -->").split("\n\n") == [
        "## One",
        "```python\nprint('two')\n```",
        "```text\ntwo\n```",
        '<img alt="output" src="data:image/png;base64,aGk=">',
        '<div class="output"><b> 3</b></div>',
        "```text\n4\n```",
    ]


def test_the_first_line_of_a_block_is_its_language_alone_on_the_site(hooks: ModuleType) -> None:
    page = "```bash not-run=it-needs-a-GPU\nx\n```\n\n```python file=a.py\ny\n```\n"
    assert hooks.on_page_markdown(page) == (
        '```bash\nx\n```\n\n<p class="not-run">Not run by the tests: it needs a GPU.</p>\n\n\n```python\ny\n```\n'
    )
