"""The command that a run records, to be resumed from any folder: only the words that are paths are made absolute."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from i2s_batch.cli import commands
from i2s_batch.cli.edit import render
from i2s_batch.cli.run_command import command_words
from i2s_batch.config import EmbedConfig, EmbedRunConfig
from tests.program import status_of
from tests.runs import embed, job_over


@pytest.fixture
def folder(
    tmp_path: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """The current folder of the commands, with a table named as a command is, and links to the networks."""
    config = EmbedRunConfig(embed=EmbedConfig(steps=1))
    embed(job_over(tmp_path, ["01.png", "02.png"], generator, vgg, config))
    (tmp_path / "out").rename(tmp_path / "edit")
    (tmp_path / "init").symlink_to(generator)
    (tmp_path / "random").symlink_to(vgg)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resumed(folder: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the recorded command of `out` in another folder, where it must find the same run finished; its words."""
    before = (folder / out / "run.json").read_bytes()
    words = json.loads(before)["command"]
    (elsewhere := folder / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    assert status_of(*words) == 0
    assert (folder / out / "run.json").read_bytes() == before and not list(elsewhere.iterdir())
    return words


def test_a_path_with_the_name_of_a_word_of_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status_of("render", "edit", "render", "--in-process", "--generator", "init") == 0
    expected = ["render", f"{folder}/edit", f"{folder}/render", "--in-process", "--generator", f"{folder}/init"]
    assert resumed(folder, "render", monkeypatch) == expected


def test_values_after_an_equals_sign_and_lists_are_paths_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "morph.csv").write_text("from,to,strengths\n01.png,02.png,0.5\n")
    words = ["edit", "morph", "--edit-list=morph.csv", "edit", "--animation", "none", "--in-process", "--", "morph"]
    assert status_of(*words) == 0
    expected = [
        *["edit", "morph", f"--edit-list={folder}/morph.csv", f"{folder}/edit"],
        *["--animation", "none", "--in-process", "--", f"{folder}/morph"],
    ]
    assert resumed(folder, "morph", monkeypatch) == expected


def test_a_study_in_a_folder_with_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The VGG "random" is a name; the folder of this name beside it changes nothing.
    words = ["study", "init", "in", "study", "--generator", "init", "--vgg", "random", "--steps", "1", "--in-process"]
    assert status_of(*words) == 0
    expected = ["study", "init", f"{folder}/in", f"{folder}/study", "--generator", f"{folder}/init", *words[6:]]
    assert resumed(folder, "study", monkeypatch) == expected


def test_a_command_that_holds_a_secret_is_not_recorded() -> None:
    for secret in (["--generator=https://user:word@host/g.pkl"], ["--generator", "https://user:word@host/g.pkl"]):
        words = ["render", "latents", "out", *secret]
        program = click.Context(commands, info_name="i2s-batch", obj=tuple(words))
        with render.make_context("render", words[1:], parent=program):
            assert command_words() is None
