"""What `import i2s_batch` offers: names, version, `python -m`, merge, verify and report."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import FunctionType

import pytest

import i2s_batch
from i2s_batch import ConfigError, EmbedResult, MergeResult
from tests.api.conftest import Material
from tests.material import scene

PACKAGE = Path(i2s_batch.__file__).parent


def test_dir_lists_what_is_public_and_all_of_it_is_there() -> None:
    assert dir(i2s_batch) == sorted(i2s_batch.__all__) and len(set(i2s_batch.__all__)) == len(i2s_batch.__all__)
    for name in dir(i2s_batch):
        assert getattr(i2s_batch, name) is not None
    assert {"embed", "edit", "study", "merge", "verify", "report", "open_table", "Morph", "EmbedConfig"} <= set(
        dir(i2s_batch)
    )
    assert i2s_batch.__version__ == version("i2s_batch")
    with pytest.raises(AttributeError, match="module 'i2s_batch' has no attribute 'Nothing'"):
        i2s_batch.Nothing  # noqa: B018


def test_no_module_hides_a_function() -> None:
    """A module that is imported takes the place of whatever has its name in its package."""
    modules = {path.stem for path in PACKAGE.iterdir()} | {path.stem for path in (PACKAGE / "api").iterdir()}
    assert modules & set(i2s_batch.__all__) == set()
    assert all(isinstance(getattr(i2s_batch, name), FunctionType) for name in ("report", "merge", "verify"))


def test_python_m_is_the_command_line() -> None:
    def said(*words: str) -> str:
        command = [sys.executable, "-m", "i2s_batch", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert said("--version").strip() == f"i2s-batch, version {i2s_batch.__version__}"
    assert said("--help").startswith("Usage: i2s-batch [OPTIONS] ")


def test_asking_for_names_loads_nothing_that_they_do_not_need() -> None:
    code = "import sys, i2s_batch; dir(i2s_batch); i2s_batch.__version__; i2s_batch.Morph; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_merge_verify_and_report(material: Material, embedded: EmbedResult, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scene(5, (24, 24)).save(tmp_path / "in" / "z.png")
    second = Material(tmp_path / "in", material.generator, material.vgg).embed(tmp_path / "second")
    result = i2s_batch.merge([embedded.table, second.out], tmp_path / "both", progress=False)
    assert isinstance(result, MergeResult) and result.statuses == {"ok": 4}
    assert result.table.ids == ["a.png", "b.png", "c.png", "z.png"]
    assert i2s_batch.verify(result.table, sample=1).sound
    page = i2s_batch.report(tmp_path / "both")
    assert page == str(tmp_path / "both" / "report.html") and Path(page).is_file()
    with pytest.raises(ConfigError, match="give at least two outputs of embed"):
        i2s_batch.merge([embedded.out], tmp_path / "one")
    with pytest.raises(ConfigError, match="give at least two outputs of embed"):
        i2s_batch.merge(embedded.out, tmp_path / "one")
