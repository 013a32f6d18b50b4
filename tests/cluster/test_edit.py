"""Edits on a real Ray cluster: the commands as users type them, and kill -9 in the middle."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from i2s_batch.cli import main
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.table.shards import read_table
from tests.cluster.conftest import RayHead
from tests.cluster.test_ray import wait_until
from tests.material import scene
from tests.program import PROGRAM, i2s_batch
from tests.runs import embed

FRAMES = 801


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory, generator: Path, vgg: Path) -> Path:
    """Four codes."""
    folder = tmp_path_factory.mktemp("latents")
    (folder / "in").mkdir()
    for number in range(4):
        scene(number, (40, 40)).save(folder / "in" / f"{number}.png")
    config = EmbedRunConfig(embed=EmbedConfig(steps=5), batch_size=4)
    job = EmbedRunRequest(str(folder / "in"), str(folder / "out"), str(generator), str(vgg), config)
    embed(job)
    return folder / "out"


def test_each_edit_in_one_command(ray_head: RayHead, latents: Path, tmp_path: Path) -> None:
    (tmp_path / "edits.csv").write_text("content,style\n0.png,1.png\n0.png,missing.png\n")
    commands = {
        "morph": ("edit", "morph", "--chain", "--frames", 5, "--animation", "webp"),
        "style": ("edit", "style", "--edit-list", tmp_path / "edits.csv", "--max-failed-fraction", 0.5),
        "expression": ("edit", "expression", "--neutral", "0.png", "--expressive", "1.png", "--threshold", 0),
        "reenact": ("edit", "reenact", "--target", "3.png", "--threshold", 0),
        "render": ("render", "--where", "psnr > 0", "--format", "jpeg"),
    }
    made = {}
    for name, (*command, option, value) in commands.items():
        head, rest = (command[:2], command[2:]) if command[0] == "edit" else (command[:1], command[1:])
        result = i2s_batch(*head, latents, tmp_path / name, *rest, option, value, env=ray_head.env)
        assert result.returncode == 0, result.stderr
        assert "Images: " in result.stdout and "Report: " in result.stdout
        workers = set(read_table(str(tmp_path / name), ["image_id", "worker"])["worker"].drop_null().to_pylist())
        assert workers and all(worker.startswith("actor-") for worker in workers), "small as it is: a cluster is given"
        made[name] = len(list((tmp_path / name / "pictures").rglob("*.*")))
        assert (tmp_path / name / "contact-sheet.png").stat().st_size and (tmp_path / name / "report.html").is_file()
    assert made == {"morph": 13, "style": 1, "expression": 4, "reenact": 4, "render": 4}
    assert len(list((tmp_path / "morph/animations").rglob("*.*"))) == 1


def test_kill_9_of_an_actor_and_of_the_driver_and_every_job_is_done_once(
    ray_head: RayHead, latents: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--all-pairs", "--frames", FRAMES, "--actors", 2, "--shard-size", 500]
    command = ["edit", "morph", latents, out, *options]

    def rows() -> set[Path]:
        return set(out.glob("work/rows/*/*.arrow")) | set(out.glob("latents/shard-*"))

    driver = subprocess.Popen(
        [str(PROGRAM), *map(str, command)], env=ray_head.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(rows()) >= 10 or driver.poll() is not None, "rows of both actors")
    os.kill(ray_head.actors()[0], signal.SIGKILL)
    wait_until(lambda: len(list(out.glob("latents/shard-*"))) >= 3 or driver.poll() is not None, "shards")
    driver.kill()
    output, errors = driver.communicate()
    assert driver.returncode == -signal.SIGKILL, f"the run was over before it was killed: {output}{errors}"
    assert "died" in errors
    wait_until(lambda: not ray_head.actors(), "the end of the orphaned actors")
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("latents/shard-*")}
    again = i2s_batch(*command, env=ray_head.env)
    assert again.returncode == 0, again.stderr
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("latents/shard-*")}
    assert before and before.items() <= after.items(), "a published shard is not made again"

    table = read_table(str(out))
    assert table.num_rows == len(set(table["image_id"].to_pylist())) == 6 * FRAMES
    assert set(table["status"].to_pylist()) == {"ok"} and 2 in table["attempts"].to_pylist()
    jobs = set(zip(map(tuple, table["parents"].to_pylist()), table["strength"].to_pylist(), strict=True))
    assert len(jobs) == 6 * FRAMES, "every job exactly once"
    named, sha256 = (table[name].to_pylist() for name in ("image_file", "sha256"))
    digests = dict(zip(named, sha256, strict=True))
    files = {path.relative_to(out).as_posix(): path for path in (out / "pictures").rglob("*.png")}
    assert files.keys() == digests.keys()
    for name in np.random.default_rng(0).choice(sorted(files), 200, replace=False):
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digests[name]
    assert not list(out.glob("work/**/*")), "the work folder is empty"


def test_bad_usage_of_edits_is_one_line(latents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process: what is refused before any worker starts."""
    out = tmp_path / "out"
    for words, message in (
        (["edit", "morph", latents, "--chain"], "at least one table and OUT"),
        (["edit", "morph", latents, out], "exactly one of --all-pairs, --chain, --to, --edit-list"),
        (["edit", "morph", latents, out, "--chain", "--all-pairs"], "given: --all-pairs and --chain"),
        (["edit", "morph", latents, out, "--chain", "--strengths", "half"], "'half' is no list of numbers"),
        (["edit", "style", latents, out, "--to", "0.png", "--layers", "3-99"], "the layers are 0 to 5"),
        (["edit", "expression", latents, out, "--neutral", "0.png"], "either the neutral and the expressive"),
        (["edit", "reenact", latents, out], "--target"),
        (["edit", "reenact", latents, out, "--target", "0.png", "--frames", "a", "--where", "true"], "give one"),
        (["render", latents, out, "--where", "psnr ="], "is not a condition in SQL"),
        (["render", latents, out, "--ids", tmp_path / "none.txt"], "cannot be read"),
        (["render", tmp_path, out], "holds no output of i2s-batch; give the OUT of an embed run"),
        (["render", tmp_path / "nothing", out, "--generator", "nowhere.pkl"], "nothing' does not exist"),
        (["render", latents, out, "--format", "bmp"], "'bmp' is not one of"),
    ):
        with pytest.raises(SystemExit) as left:
            main(list(map(str, words)))
        output = capsys.readouterr()
        (line,) = output.err.splitlines()
        assert left.value.code == 2 and message in line and not output.out, words
    assert not out.exists()
