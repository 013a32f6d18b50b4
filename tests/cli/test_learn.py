"""`learn`, `--preset` and `--learned` on the command line: the same as in Python, resumed, and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import i2s_batch
from i2s_batch.encoders.kept_batches import KeptBatches
from i2s_batch.inversion.learned_loading import load_learned
from i2s_batch.models import random_generator, write_safetensors
from i2s_batch.output.run_record import RunRecord
from tests.material import scene
from tests.program import status_of

SMALL = ("--samples", 64, "--latents", 8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(2):
        scene(number, (24, 24)).save(tmp_path / "in" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which a command is refused."""
    capsys.readouterr()
    assert status_of(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_command_writes_what_python_does_and_says_what_comes_next(
    folder: Path, generator: Path, vgg: Path, learned_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("learn", generator, "a.safetensors", "--vgg", vgg, *SMALL, "--held-out", 2) == 0
    written, tried, following = capsys.readouterr().out.splitlines()
    assert (folder / "a.safetensors").read_bytes() == learned_file.read_bytes(), "the same by both, and each time"
    assert load_learned("a.safetensors").fingerprint in written and not (folder / "a.safetensors.work").exists()
    assert tried.startswith("On 2 samples that nothing was learned from: the start misses ")
    words = shlex.split(following.removeprefix("Next: i2s-batch "))
    words[words.index("SOURCE")], words[words.index("OUT")] = "in", "out"
    assert status_of(*words, "--in-process", "--steps", 3) == 0
    record = RunRecord.decode((folder / "out/run.json").read_bytes(), "")
    assert record.preset == "fast" and record.settings.steps == 3 and record.settings.optimizer == "lbfgs-learned"
    command = record.resume_command(str(folder / "out"))
    assert command is not None and f"--learned {folder / 'a.safetensors'}" in command
    assert status_of(*shlex.split(command)[1:], "--in-process") == 0, "the command that resumes it is accepted"


def test_what_was_kept_is_not_computed_again(
    folder: Path,
    generator: Path,
    vgg: Path,
    learned_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("learn", generator, "a.safetensors", "--vgg", vgg, *SMALL, "--held-out", 0)
    original, computed = KeptBatches.get, []

    def interrupted(self: KeptBatches, name: str, compute: object) -> dict:
        if name.startswith("curvature"):
            raise KeyboardInterrupt
        return original(self, name, compute)

    monkeypatch.setattr(KeptBatches, "get", interrupted)
    assert status_of(*words) == 130
    assert f"run the same command again to resume:\n  i2s-batch learn {generator}" in capsys.readouterr().err
    assert {path.name for path in (folder / "a.safetensors.work").iterdir()} == {
        "settings.json",
        "samples-00000.safetensors",
    }

    def counted(self: KeptBatches, name: str, compute: object) -> dict:
        reused = self.reused
        found = original(self, name, compute)
        computed.extend([name] if self.reused == reused else [])
        return found

    monkeypatch.setattr(KeptBatches, "get", counted)
    other = refused(capsys, *words, "--seed", 1)
    assert "a.safetensors.work holds unfinished results of other settings or networks" in other and not computed
    assert status_of(*words) == 0
    assert computed == ["curvature-00000"]
    assert (folder / "a.safetensors").read_bytes() == learned_file.read_bytes()


def test_known_latents_of_a_table_and_of_images(
    folder: Path, generator: Path, vgg: Path, learned_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = ("--generator", generator, "--vgg", vgg)
    assert status_of("embed", "in", "out", *networks, "--in-process", "--steps", 2) == 0
    words = ("learn", generator, "--vgg", vgg, *SMALL, "--held-out", 0)
    assert status_of(*words, "t.safetensors", "--from-table", "out", "--where", "image_id = '1.png'") == 0
    assert "and 1 known latents" in load_learned("t.safetensors").origin
    (folder / "in/broken.png").write_bytes(b"no image")
    capsys.readouterr()
    assert status_of(*words, "i.safetensors", "--images", "in") == 0
    assert "'broken.png' is left out" in capsys.readouterr().err
    images = load_learned("i.safetensors")
    assert "and 2 known latents" in images.origin
    plain = load_learned(learned_file)
    assert (images.coefficients == plain.coefficients).all() and not (images.blocks == plain.blocks).all()
    other = folder / "other.safetensors"
    write_safetensors(random_generator("stylegan1", 16, seed=4, width=16, channel_base=256), other)
    line = refused(capsys, "learn", other, "x.safetensors", "--vgg", vgg, *SMALL, "--from-table", "out")
    assert "belong to the generator" in line and "give a table of this one" in line
    line = refused(capsys, *words, "x.safetensors", "--from-table", "out", "--where", "psnr > 1e9")
    assert "none with a latent is left" in line
    assert not list(folder.glob("x.*"))


def test_files_that_may_not_be_written(
    folder: Path, generator: Path, vgg: Path, learned_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("learn", generator, "--vgg", vgg, *SMALL, "--held-out", 0)
    (folder / "mine.safetensors").write_bytes(b"mine")
    assert "exists, and learn did not write it" in refused(capsys, *words, "mine.safetensors")
    assert (folder / "mine.safetensors").read_bytes() == b"mine"
    (folder / "old.safetensors").write_bytes(learned_file.read_bytes())
    assert "is a learned file already" in refused(capsys, *words, "old.safetensors")
    assert "ends in .safetensors" in refused(capsys, *words, "old.bin")
    assert "there is no folder 'none'" in refused(capsys, *words, "none/a.safetensors")
    assert "are the same file" in refused(capsys, *words, generator, "--overwrite")
    assert "samples is 1; it must be between 2 and 20000" in refused(capsys, *words, "a.safetensors", "--samples", 1)
    assert "--where has no effect without --from-table" in refused(capsys, *words, "a.safetensors", "--where", "true")
    assert status_of(*words, "mine.safetensors", "--overwrite") == 0
    assert (folder / "mine.safetensors").read_bytes() == learned_file.read_bytes()


def test_presets_need_a_learned_file_and_say_how_to_make_one(
    folder: Path, generator: Path, vgg: Path, learned_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed = ("embed", "in", "out", "--generator", generator, "--vgg", vgg)
    line = refused(capsys, *embed, "--preset", "fast")
    assert f"make one with `i2s-batch learn {generator} learned.safetensors --vgg {vgg}`" in line
    assert "where one image of the preset paper takes 5000: it pays from 1 image on" in line
    assert "--learned has no effect with these settings" in refused(capsys, *embed, "--learned", learned_file)
    assert "init learned needs a learned file" in refused(capsys, *embed, "--init", "learned")
    line = refused(capsys, *embed, "--preset", "fast", "--learned", generator)
    assert "this safetensors file is not a file that `i2s-batch learn` wrote" in line
    line = refused(capsys, "embed", "in", "out", "--generator", learned_file, "--vgg", vgg)
    assert line.endswith("this is a learned file, not a network; give it as --learned")
    assert "give it as --learned" in refused(
        capsys, "embed", "in", "out", "--generator", generator, "--vgg", learned_file
    )
    assert not (folder / "out").exists()
    assert status_of("inspect", learned_file) == 0
    facts = capsys.readouterr().out
    assert "learned file of i2s-batch" in facts and load_learned(learned_file).fingerprint in facts


def test_options_win_over_the_file_of_config_which_wins_over_the_preset(
    folder: Path, generator: Path, vgg: Path, learned_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "s.json").write_text(json.dumps({"prior": 0.5, "steps": 7, "learned": str(learned_file)}))
    embed = ("embed", "in", "out", "--generator", generator, "--vgg", vgg, "--dry-run")

    def settings(*words: object) -> dict:
        capsys.readouterr()
        assert status_of(*embed, *words) == 0
        return json.loads(capsys.readouterr().out)["settings"]

    for words in (("--preset", "fast", "--config", "s.json"), ("--config", "s.json", "--preset", "fast")):
        found = settings(*words, "--steps", 9)
        assert (found["steps"], found["prior"], found["init"]) == (9, 0.5, "learned")
        assert (found["stop_plateau"], found["plateau_steps"]) == (4.0, 20)
    (folder / "p.toml").write_text(f'preset = "edit"\nlearned = "{learned_file}"\n')
    found = settings("--config", "p.toml")
    assert (found["steps"], found["prior"]) == (40, 0.2) and "stop_plateau" not in found


def test_a_study_leaves_out_the_noise_stage_of_a_recipe_and_two_recipes_are_refused(
    folder: Path, generator: Path, vgg: Path, learned_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = ("--generator", generator, "--vgg", vgg, "--in-process")
    best = ("--preset", "best", "--learned", learned_file)
    assert status_of("study", "init", "in", "study", *networks, *best, "--steps", 2) == 0
    assert "noise_steps" not in json.loads((folder / "study/run.json").read_text())["settings"]
    steps = ("--steps", 2, "--noise-steps", 2)
    assert status_of("embed", "in", "out", *networks, *best, *steps) == 0
    record = folder / "out/run.json"
    assert json.loads(record.read_text())["settings"]["noise_steps"] == 2
    assert status_of("study", "init", "in", "again", *networks, "--config", record) == 0
    for words in (("--preset", "fast", "--config", record), ("--config", record, "--preset", "fast")):
        assert "are whole recipes; leave one of them out" in refused(capsys, "embed", "in", "new", *networks, *words)


def test_python_and_the_command_line_make_the_same_run_and_its_record_makes_another(
    folder: Path, generator: Path, vgg: Path, learned_file: Path
) -> None:
    words = ("--generator", generator, "--vgg", vgg, "--in-process", "--batch-size", 1)
    preset = ("--preset", "best", "--steps", 4, "--learned", learned_file)
    assert status_of("embed", "in", "cli", *words, *preset) == 0
    assert status_of("embed", "in", "again", *words, "--config", "cli/run.json") == 0
    options = {"generator": generator, "vgg": vgg, "in_process": True, "batch_size": 1, "progress": False}
    i2s_batch.embed("in", "python", preset="best", steps=4, learned=learned_file, **options)
    records = [RunRecord.decode((folder / out / "run.json").read_bytes(), "") for out in ("cli", "python", "again")]
    assert records[0].identity == records[1].identity == records[2].identity
    assert [record.preset for record in records] == ["best", "best", None]
    tables = [i2s_batch.read_latents(str(folder / out)).latents for out in ("cli", "python", "again")]
    assert (tables[0] == tables[1]).all() and (tables[0] == tables[2]).all()
