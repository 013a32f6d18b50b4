"""The progress bar of a notebook, and the notebook of the documentation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from i2s_batch import EmbedResult
from i2s_batch.api.notebook import NotebookBar, in_notebook
from tests.api.conftest import Material

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook" / "embedding.ipynb"
MOST_BYTES = 1_000_000
STEPS = 5  # of the optimizer, in place of the notebook's
VALUE = re.compile(r'<progress max="1" value="([\d.]+)"')


@dataclass
class Cell:
    """The output of a running cell: HTML by the number of its display, as it stands, and everything ever drawn."""

    shown: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """Be the kernel of a notebook, as far as IPython tells of it."""
    cell = Cell()

    class Handle:
        def __init__(self, number: int) -> None:
            self.number = number

        def update(self, content: str) -> None:
            cell.shown[self.number] = content
            cell.drawn.append(content)

    def display(content: str, display_id: bool) -> Handle:
        assert display_id, "what has no id cannot be redrawn"
        cell.shown.append(content)
        cell.drawn.append(content)
        return Handle(len(cell.shown) - 1)

    shell = type("Shell", (), {"kernel": object()})()
    ipython, displays = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython, displays.display, displays.HTML = lambda: shell, display, str
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    return cell


def test_this_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    terminal = ModuleType("IPython")
    terminal.get_ipython = object  # IPython in a terminal has no kernel
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    assert not in_notebook()


def test_a_run_in_a_notebook_draws_one_bar_that_ends_full(
    cell: Cell, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("i2s_batch.run.progress.DRAW_EVERY_S", 0.0)
    assert in_notebook()
    material.embed(tmp_path / "one", progress=None, batch_size=1)
    assert len(cell.shown) == 1 and "3/3 images done (0 failed)" in cell.shown[0]
    fractions = [float(found[1]) for text in cell.drawn if (found := VALUE.search(text))]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and any(0 < each < 1 for each in fractions)
    assert "3 images, 3 to do" in capsys.readouterr().out
    material.embed(tmp_path / "two", progress=True)
    assert len(cell.shown) == 2, "the next run has a bar of its own"


def test_what_a_bar_shows_is_text_and_no_markup(cell: Cell) -> None:
    bar = NotebookBar()
    bar.show("<b>&", None)
    assert "&lt;b&gt;&amp;" in cell.shown[0] and "value=" not in cell.shown[0]
    bar.end()
    bar.end()


KERNEL = """
import sys
from types import ModuleType, SimpleNamespace
ipython = ModuleType("IPython")
ipython.get_ipython = lambda: SimpleNamespace(config={"IPKernelApp": {}}, kernel=object())
sys.modules["IPython"], sys.modules["ipykernel"] = ipython, ModuleType("ipykernel")
import i2s_batch
print(i2s_batch.open_table(sys.argv[1]).query("SELECT count(*) AS n FROM latents").to_pylist())
"""


def test_a_notebook_without_ipywidgets_can_query(embedded: EmbedResult) -> None:
    """DuckDB looks for the notebook itself, and refuses a setting where these are missing."""
    command = [sys.executable, "-c", KERNEL, embedded.out]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout == "[{'n': 3}]\n", result.stderr


def cells(kind: str) -> list[dict]:
    return [each for each in json.loads(NOTEBOOK.read_text())["cells"] if each["cell_type"] == kind]


def test_the_notebook_was_executed_to_its_end_and_is_small() -> None:
    code = cells("code")
    assert [each["execution_count"] for each in code] == list(range(1, len(code) + 1))
    outputs = [output for each in code for output in each["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds, "pictures are shown inline"
    assert any("<progress" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    text = NOTEBOOK.read_text()
    assert len(text) < MOST_BYTES and "/work/" not in text and "/home/" not in text


def test_the_cells_of_the_notebook_run_as_a_program(tmp_path: Path) -> None:
    """In a plain Python process, where what a cell ends with is evaluated and `display` draws nothing."""
    code = "\n\n".join("".join(each["source"]) for each in cells("code"))
    program = "from types import SimpleNamespace\ndef display(*shown):\n    pass\n" + code
    env = os.environ | {"I2S_NOTEBOOK_STEPS": str(STEPS), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "i2s-notebook").is_dir()
