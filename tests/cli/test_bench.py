"""The bench as users start it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from i2s_batch.cli.bench import bench as command
from i2s_batch.embedding import engine
from i2s_batch.inversion.tuning import Candidate, TrialFailedError
from tests.demo.test_generator import BUNDLED
from tests.program import i2s_batch, refusal


def bench(*options: object) -> dict:
    result = i2s_batch("bench", "--resolution", 16, "--pairs", 1, *options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_bench_without_a_gpu_says_so() -> None:
    if torch.cuda.is_available():
        return
    assert "PyTorch sees no GPU" in refusal(i2s_batch("bench", "--device", "cuda"))
    assert "--pairs" in refusal(i2s_batch("bench", "--pairs", 0))


def test_bench_on_pictures_needs_a_generator(tmp_path: Path) -> None:
    assert "--images needs --generator" in refusal(i2s_batch("bench", "--images", tmp_path))


def test_bench_names_a_picture_that_cannot_be_read_before_it_measures_anything(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html></html>")
    result = i2s_batch("bench", "--generator", BUNDLED, "--images", tmp_path)
    assert "page.jpg: the file is not an image but an HTML page" in refusal(result) and result.stdout == ""


def test_bench_counts_the_work_of_one_image_and_ends_with_json() -> None:
    one, three = bench("--batch-size", 1), bench("--batch-size", 3)
    assert three["batch_size"] == 3 and three["resolution"] == 16
    work = one["flop_per_step_and_image"]
    assert three["flop_per_step_and_image"] == pytest.approx(work, rel=1e-6)
    # VGG-16 to conv4_2 at 16 x 16, forward and backward to its input: 2 * 2 FLOP a multiplication.
    sizes = ((3, 64, 16), (64, 64, 16), (64, 128, 8), (128, 128, 8), (128, 256, 4), (256, 256, 4), (256, 256, 4))
    sizes += ((256, 512, 2), (512, 512, 2))
    vgg = sum(4 * 9 * c_in * c_out * side**2 for c_in, c_out, side in sizes)
    assert work > vgg
    assert one["flop_per_s"] == pytest.approx(work / one["seconds_per_step_and_image"])
    assert one["speedup"] == pytest.approx(one["plain_seconds_per_step"] / one["seconds_per_step_and_image"])


class ScriptedTrial:
    """Measures by a table: eight images in a batch are the fastest, sixteen have too little memory."""

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self, candidate: Candidate) -> float:
        if candidate.batch_size > 8:
            raise TrialFailedError("too little memory")
        return 0.01 / candidate.batch_size


def test_bench_prints_the_ladder_and_what_it_would_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "StepTrial", ScriptedTrial)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = CliRunner().invoke(command, ["--tune", "--resolution", "8"])
    *lines, last = result.stdout.splitlines()
    found = json.loads(last)
    assert found["chosen"] == {"program": "plain", "batch_size": 8}
    assert [trial["seconds"] for trial in found["trials"]] == [0.01, 0.00125, None]
    assert " ".join(lines[1].split()) == "plain, batch 8 1.250 ms per step and image, 6.2 s an image"
    assert "not used: too little memory" in lines[2] and lines[3].startswith("chosen")


def test_options_of_the_ladder_and_of_the_loop_exclude_each_other() -> None:
    for options in (["--tune", "--pairs", "2"], ["--tune-seconds", "9"]):
        result = CliRunner().invoke(command, options)
        assert result.exit_code == 2 and "has no effect" in result.output
