"""`--config`: the options of a command in a file, and the settings of a run given back to another."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from i2s_batch.output.run_record import RunRecord
from tests.material import scene
from tests.program import status_of

SETTINGS = {
    "steps": 3,
    "init": "random",
    "seed": 7,
    "early-stopping": 0.25,
    "patience": 40,
    "learning_rate": 0.025,
    "beta1": 0.85,
    "beta2": 0.99,
    "epsilon": 1e-7,
    "loss_weights": {"pixel": 0.5, "conv3_2": 2},
    "precision": "fp64",
    "shard_size": 10,
}
RECORDED = {
    **{name: value for name, value in SETTINGS.items() if name not in ("early-stopping", "patience")},
    "stop_plateau": 0.25,
    "plateau_steps": 40,
    "loss_weights": {"pixel": 0.5, "conv1_1": 1.0, "conv1_2": 1.0, "conv3_2": 2.0, "conv4_2": 1.0},
    "space": "w+",
    "fit": "crop",
}


class Program:
    """The command `embed` on one drawn image."""

    def __init__(self, folder: Path, generator: Path, vgg: Path) -> None:
        self.folder = folder
        (folder / "in").mkdir()
        scene(0, (24, 24)).save(folder / "in" / "a.png")
        self.networks = ("--generator", str(generator), "--vgg", str(vgg))

    def embed(self, out: str, *options: object) -> int:
        return status_of("embed", self.folder / "in", self.folder / out, *self.networks, "--in-process", *options)

    def settings(self, out: str) -> dict[str, object]:
        return json.loads((self.folder / out / "run.json").read_text())["settings"]

    def record(self, out: str) -> RunRecord:
        return RunRecord.decode((self.folder / out / "run.json").read_bytes(), "run.json")


@pytest.fixture
def program(tmp_path: Path, generator: Path, vgg: Path) -> Program:
    return Program(tmp_path, generator, vgg)


def test_settings_go_from_a_file_into_a_run_and_from_its_record_into_another(program: Program) -> None:
    file = program.folder / "settings.json"
    file.write_text(json.dumps(SETTINGS))
    assert program.embed("first", "--config", file) == 0
    assert program.settings("first") == RECORDED
    assert program.embed("second", "--config", program.folder / "first" / "run.json") == 0
    assert program.settings("second") == RECORDED
    assert program.embed("third", "--config", program.folder / "first" / "run.json", "--seed", 8) == 0
    assert program.settings("third") == RECORDED | {"seed": 8}


def test_the_command_that_resumes_such_a_run_has_all_of_its_settings(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    file = program.folder / "settings.json"
    file.write_text(json.dumps(SETTINGS))
    assert program.embed("out", "--config", file) == 0
    command = program.record("out").resume_command(str(program.folder / "out"))
    assert command is not None and "--loss-weights pixel=0.5,conv1_1=1," in command
    capsys.readouterr()
    assert status_of(*shlex.split(command)[1:]) == 0
    assert "1 image" in capsys.readouterr().out


def test_toml_and_repeated_options(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    file = program.folder / "settings.toml"
    file.write_text('steps = 3\nearly-stopping = 0.5\ninclude = ["*.jpg", "A.PNG"]\nprecision = "fp64"\n')
    assert program.embed("out", "--config", file, "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1


def test_a_study_takes_the_settings_of_a_run_but_what_it_varies(
    program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    file = program.folder / "settings.json"
    file.write_text(json.dumps({"settings": RECORDED | {"study": "init", "sample": 1, "classes": None}}))
    words = ("study", "init", program.folder / "in", program.folder / "out", *program.networks, "--config", file)
    assert status_of(*words, "--in-process") == 0
    settings = program.settings("out")
    assert settings["study"] == "init" and settings["learning_rate"] == 0.025 and settings["sample"] == 1
    capsys.readouterr()
    assert program.embed("other", "--config", program.folder / "out" / "run.json") == 2
    assert "holds 'study'; i2s-batch embed has no such option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"step": 3}', "holds 'step'; i2s-batch embed has no such option; did you mean 'steps'?"),
        ("a.json", '{"steps": 2.5}', "'2.5' is not a valid integer"),
        ("a.json", '{"steps": "many"}', "'many' is not a valid integer"),
        ("a.json", '{"steps": [3]}', "holds 'steps' = [3], which is neither a text nor a number"),
        ("a.json", '{"steps": 0}', "steps is 0; it must be between 1 and 1000000"),
        ("a.json", '{"patience": 9}', "--patience has no effect without --early-stopping"),
        ("a.json", '{"patience": 9, "plateau_steps": 9}', "holds both 'patience' and 'plateau_steps'"),
        ("a.json", '{"dry_run": true}', "holds 'dry_run'; give --dry-run on the command line"),
        ("a.json", '{"config": "b.json"}', "holds 'config'; give --config on the command line"),
        ("a.json", '{"loss_weights": {"pixels": 1}}', "'pixels' is no loss term; the terms are pixel, conv1_1"),
        ("a.json", '{"loss_weights": {"pixel": "x"}}', "the weight of pixel is 'x'; it must be a number"),
        ("a.json", '{"loss_weights": {"pixel": -1}}', "loss weight pixel is -1.0; it must be finite and >= 0"),
        ("a.json", '{"loss_weights": "pixel"}', "'pixel' is no TERM=WEIGHT"),
        ("a.json", '{"loss_weights": "pixel=1, pixel=2"}', "'pixel' is given twice"),
        ("a.json", '{"learning_rate": Infinity}', "learning rate is inf; it must be finite and above 0"),
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"steps": 3, "steps": 9}', "is not JSON: it has 'steps' twice"),
        ("a.json", '{"overwrite": true}', "holds 'overwrite'; give --overwrite on the command line"),
        ("a.json", '{"source": "x"}', "holds 'source'; i2s-batch embed has no such option; leave it out"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", "[1]", "does not hold names and values"),
        ("a.toml", "steps = ", "is not TOML"),
        ("a.toml", "when = 2026-01-01", "holds 'when'"),
        ("a.toml", "seed = 2026-01-01", "holds 'seed' = datetime.date(2026, 1, 1), which is neither"),
        ("b.json", None, "cannot be read: No such file or directory; give a JSON or TOML file"),
    ],
)
def test_a_file_that_is_wrong_is_one_clear_line(
    program: Program, name: str, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = program.folder / name
    if content is not None:
        file.write_text(content)
    assert program.embed("out", "--config", file) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and line.startswith("i2s-batch: ")
    assert not (program.folder / "out").exists()


def test_weights_that_are_all_zero(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    weights = "pixel=0,conv1_1=0,conv1_2=0,conv3_2=0,conv4_2=0"
    assert program.embed("out", "--loss-weights", weights) == 2
    assert "all loss weights are 0; at least one must be above 0" in capsys.readouterr().err
