"""The demo as users start it."""

from __future__ import annotations

import subprocess
import sys

import duckdb
from PIL import Image

from i2s_batch.demo.run import EDITS
from tests.conftest import DemoRun


def test_the_demo_from_pictures_to_contact_sheet_in_its_own_process(demo_run: DemoRun) -> None:
    result, tmp_path = demo_run.result, demo_run.folder.parent
    assert result.returncode == 0, result.stderr
    assert "7 ok, 1 unreadable" in result.stdout
    assert result.stderr.count("1 worker on cpu, in this process") == 1 + len(EDITS), result.stderr
    rows = duckdb.sql(f"select status, psnr, lpips from '{tmp_path}/my demo/embedded/latents/*.parquet'").fetchall()
    assert len(rows) == 8
    assert all(psnr > 15 and lpips is None for status, psnr, lpips in rows if status == "ok")
    sheet = Image.open(tmp_path / "my demo" / "contact-sheet.png")
    assert sheet.width > 1000 and len(sheet.getcolors(1_000_000)) > 1000

    report = (tmp_path / "my demo" / "embedded" / "report.html").read_text()
    assert "my demo/embedded/report.html" in result.stdout and report.count("<img ") == 3 * 7

    made = {name: len(list((tmp_path / "my demo" / name / "pictures").rglob("*.png"))) for name in EDITS}
    assert made == {"morphs": 5 * 8 + 1, "styles": 30, "smiles": 12}
    (film,) = (tmp_path / "my demo" / "morphs" / "animations").rglob("*.*")
    with Image.open(film) as frames:
        assert frames.n_frames == 41
    for name in EDITS:
        assert f"my demo/{name}" in result.stdout and (tmp_path / "my demo" / name / "contact-sheet.png").is_file()

    # What it prints can be pasted.
    (pasted,) = (line for line in result.stdout.splitlines() if line.lstrip().startswith("python -c"))
    pasted = pasted.replace("python", sys.executable, 1)
    answer = subprocess.run(pasted, shell=True, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "unreadable" in answer.stdout and answer.stdout.count("ok") >= 7
