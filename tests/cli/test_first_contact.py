"""What a terminal shows at once, the question of --overwrite, and a GPU that is not there: as users start commands."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from pathlib import Path

import pytest

from i2s_batch.table.shards import read_table
from tests.material import draw_pictures, scene
from tests.program import PROGRAM, changed, here, i2s_batch, refusal

PATIENCE_S = 120
# Libraries that take seconds to load take for ever here: what appears, appears before them.
STUCK = """
import builtins, time
original = builtins.__import__
def slow(name, *arguments):
    if name.partition(".")[0] in ("torch", "pyarrow", "ray", "duckdb", "numpy"):
        time.sleep(3600)
    return original(name, *arguments)
builtins.__import__ = slow
"""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *words: object, **env: str) -> None:
        self.screen, theirs = pty.openpty()
        command = [str(PROGRAM), *map(str, words)]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"} | env
        )
        os.close(theirs)
        self.seen = ""

    def wait_for(self, text: str) -> str:
        """Return what was seen until `text` is."""
        while text not in self.seen:
            ready, _, _ = select.select([self.screen], [], [], PATIENCE_S)
            assert ready, f"waited {PATIENCE_S} s for {text!r}; seen: {self.seen}"
            try:
                self.seen += os.read(self.screen, 4096).decode()
            except OSError:  # the command has ended
                break
        assert text in self.seen, self.seen
        return self.seen

    def answer(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def end(self, number: int | None = None) -> int:
        """Return the exit status, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        while True:
            try:
                if not (read := os.read(self.screen, 4096)):
                    break
                self.seen += read.decode()
            except OSError:
                break
        status = self.process.wait(PATIENCE_S)
        os.close(self.screen)
        return status


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(2):
        scene(number, (40, 40)).save(tmp_path / "in" / f"{number}.png")
    return tmp_path / "in"


COMMANDS = [
    (("embed", "in", "out", "--generator", "g.pkl"), "looking at SOURCE and OUT"),
    (("study", "init", "in", "out", "--generator", "g.pkl"), "looking at SOURCE and OUT"),
    (("edit", "morph", "in", "out", "--chain"), "looking at the tables and OUT"),
    (("render", "in", "out"), "looking at the tables and OUT"),
    (("sample", "g.pkl", "out"), "reading the generator"),
    (("verify", "out"), "reading the table"),
    (("report", "out"), "reading the table"),
    (("neighbours", "out", "--image", "a.png"), "reading the table"),
    (("query", "out", "SELECT 1"), "reading the table"),
    (("export", "out", "a.npz"), "reading the table"),
    (("merge", "a", "b", "c"), "looking at the runs"),
    (("inspect", "g.pkl"), "reading the checkpoint"),
    (("convert", "g.pkl", "g.safetensors"), "reading the checkpoint"),
    (("status", "out"), "reading the rows"),
    (("bench",), "loading PyTorch"),
    (("demo", "out"), "starting"),
]


@pytest.mark.parametrize(("words", "text"), COMMANDS)
def test_a_terminal_shows_something_before_any_library_is_loaded(
    tmp_path: Path, words: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(*words, **changed(tmp_path / "site", STUCK))
    terminal.wait_for(text)
    terminal.end(signal.SIGKILL)


def test_the_question_of_overwrite(source: Path, tmp_path: Path, generator: Path) -> None:
    networks = ("--generator", generator, "--vgg", "random", "--in-process")
    words = ("embed", source, tmp_path / "out", *networks, "--steps")
    assert i2s_batch(*words, 1, "--overwrite", "--yes").returncode == 0, "a new OUT"
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    line = refusal(i2s_batch(*words, 2, "--overwrite", stdin=subprocess.DEVNULL))
    assert "--overwrite asks before it deletes a run, and this is no terminal; add --yes" in line
    assert "--yes has no effect without --overwrite" in refusal(here(*words, 1, "--yes"))
    assert "--overwrite to replace that run" in refusal(here(*words, 2))
    terminal = Terminal(*words, 2, "--overwrite")
    terminal.wait_for("[y/N]")
    assert f"holds a run over {source}, begun 20" in terminal.seen and "with 2 of 2 images done" in terminal.seen
    terminal.answer("n\n")
    assert terminal.end() == 2 and "nothing was deleted" in terminal.seen
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    terminal = Terminal(*words, 2, "--overwrite")
    terminal.wait_for("[y/N]")
    terminal.answer("y\n")
    assert terminal.end() == 0, terminal.seen
    assert set(read_table(str(tmp_path / "out"))["steps"].to_pylist()) == {2}
    assert i2s_batch(*words, 3, "--overwrite", "-y").returncode == 0
    assert set(read_table(str(tmp_path / "out"))["steps"].to_pylist()) == {3}


def test_the_command_that_resumes_does_not_overwrite(source: Path, tmp_path: Path, generator: Path) -> None:
    table, out = tmp_path / "out", tmp_path / "edit"
    networks = ("--generator", generator, "--vgg", "random", "--steps", 1, "--in-process")
    assert i2s_batch("embed", source, table, *networks, "--max-failed-fraction", 0.25).returncode == 0
    done = i2s_batch("render", table, out, "--in-process", "--overwrite", "-y")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text())["command"] == ["render", str(table), str(out), "--in-process"]
    (table / "latents" / "shard-00000.parquet").unlink()
    assert "--max-failed-fraction 0.25 --in-process\n" in here("status", table).stdout


def test_a_dry_run_of_overwriting_asks_nothing(source: Path, tmp_path: Path, generator: Path) -> None:
    words = ("embed", source, tmp_path / "out", "--generator", generator, "--vgg", "random", "--overwrite", "--dry-run")
    assert json.loads(i2s_batch(*words, stdin=subprocess.DEVNULL).stdout)["images_to_do"] == 2


def test_samples_and_reports_look_at_out_before_the_generator(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    for more in ((), ("--table",)):
        assert "thesis.tex" in refusal(here("sample", "nowhere.pkl", tmp_path / "out", *more))
    line = refusal(here("report", tmp_path / "nowhere", "--generator", "nowhere.pkl"))
    assert "nowhere' does not exist, so it holds no output of i2s-batch" in line


@pytest.mark.parametrize("more", [(), ("--in-process",)])
def test_a_gpu_that_is_not_there_leaves_out_as_it_is(
    source: Path, tmp_path: Path, generator: Path, more: tuple[str, ...]
) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "", "RAY_ADDRESS": "local"}
    words = ("embed", source, tmp_path / "out", "--generator", generator, "--vgg", "random", "--device", "cuda", *more)
    assert "this machine has no GPU that" in refusal(i2s_batch(*words, env=env))
    assert not (tmp_path / "out").exists()


def test_braces_in_a_source_pattern(tmp_path: Path, generator: Path) -> None:
    draw_pictures(tmp_path / "in")
    networks = ("--generator", generator, "--vgg", "random", "--dry-run")

    def images(pattern: str) -> int:
        result = i2s_batch("embed", f"{tmp_path}/in/{pattern}", tmp_path / "out", *networks)
        assert result.returncode == 0, result.stderr
        return int(json.loads(result.stdout)["images"])

    assert images("kinds/*.{jpg,gif}") == len(list((tmp_path / "in" / "kinds").glob("*.[jg][pi][gf]")))
    assert images("{a,b}/*.png") == 12 and images("{a,a*}/{0,1}.{png,PNG}") == 2


def test_columns_of_an_edit_list_that_the_edit_does_not_use(source: Path, tmp_path: Path) -> None:
    for name, text, message in (
        ("morph", "from,to,layers\n0.png,1.png,4-7\n", "gives layers, which morph does not use"),
        ("expression", "content,neutral,expressive,layers\n0.png,1.png,1.png,4\n", "layers, which expression does"),
        ("style", "content,style,strengths\n0.png,1.png,0.5\n", "gives strengths, which style does not use"),
    ):
        (tmp_path / "edits.csv").write_text(text)
        line = refusal(here("edit", name, source, tmp_path / "out", "--edit-list", tmp_path / "edits.csv"))
        assert message in line and "row 1 of the edit list" in line
