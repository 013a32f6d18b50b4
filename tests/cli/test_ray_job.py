"""Paths in a Ray job, whose folder is a copy that Ray removes. The job itself is in tests/cluster/test_ray.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from i2s_batch import Render, edit, embed, merge, sample, study
from i2s_batch.errors import ConfigError
from tests.program import i2s_batch, refusal

JOB = {"RAY_JOB_CONFIG_JSON_ENV_VAR": '{"metadata": {"job_submission_id": "raysubmit_1"}}'}
NETWORKS = {"generator": "g.pkl", "vgg": "random"}


@pytest.mark.parametrize("out", ["latents", "./latents", "PACKAGE/latents"])
def test_an_output_that_ray_would_remove_is_refused_before_anything_is_read(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    out = out.replace("PACKAGE", str(folder))
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    calls = [
        lambda: embed("photos", out, **NETWORKS),
        lambda: study("photos", out, "init", **NETWORKS),
        lambda: edit("table", out, Render()),
        lambda: sample("g.pkl", out, seeds=[1]),
        lambda: merge(["one", "two"], out),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match=r"lies in the folder of this Ray job.*give s3:// or an absolute path"):
            call()
    assert list(folder.iterdir()) == []


def test_outside_of_a_job_and_beyond_its_folder_outputs_are_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    for environment, out in (({}, "latents"), (JOB, str(tmp_path / "latents")), (JOB, "s3://bucket/latents")):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(Exception, match=r"g\.pkl|credentials") as refused:
                embed("photos", out, **NETWORKS)
            assert "Ray job" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "photos", "/out", "--generator", "g.pkl", "--vgg", "random"],
        ["convert", "nets/g.pkl", "/tmp/converted.safetensors"],
        ["status", "latents"],
        ["report", "latents"],
    ],
)
def test_a_relative_input_that_the_job_does_not_hold_says_why(words: list[str], tmp_path: Path) -> None:
    line = refusal(i2s_batch(*words, env=JOB, cwd=tmp_path))
    assert "is looked up in the job's folder, a copy of its --working-dir" in line
    assert "Ray job" not in refusal(i2s_batch(*words, cwd=tmp_path)), "elsewhere there is no such folder"


def test_an_output_that_is_refused_is_not_explained_as_an_input(tmp_path: Path) -> None:
    words = ["embed", "photos", "latents", "--generator", "g.pkl", "--vgg", "random"]
    assert refusal(i2s_batch(*words, env=JOB, cwd=tmp_path)).count("give s3://") == 1
