"""embed() from Python: results, resuming, options, progress, being stopped, threads."""

from __future__ import annotations

import io
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import i2s_batch
from i2s_batch import ConfigError, EmbedResult, RunStoppedError, read_latents
from i2s_batch.api import sessions
from i2s_batch.config import TERMS, EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRunRequest
from i2s_batch.run.pools import InProcessCluster
from tests import runs
from tests.api.conftest import STEPS, Material
from tests.material import scene
from tests.program import status_of


def test_the_result_says_what_became_of_the_images(embedded: EmbedResult) -> None:
    assert (embedded.images, embedded.statuses, embedded.failed, embedded.acceptable) == (3, {"ok": 3}, 0, True)
    assert Path(embedded.report).is_file() and embedded.seconds > 0
    assert repr(embedded).startswith(f"EmbedResult(out={embedded.out!r}, images=3, statuses={{'ok': 3}}, seconds=")
    assert "<td" in embedded._repr_html_() and embedded.table.ids == ["a.png", "b.png", "c.png"]


def test_it_is_the_run_of_the_package(material: Material, tmp_path: Path) -> None:
    result = material.embed(tmp_path / "out", precision="fp64", init="random", seed=3)
    config = EmbedRunConfig(embed=EmbedConfig(steps=STEPS, init="random", seed=3), precision="fp64")
    networks = (str(material.generator), str(material.vgg))
    runs.embed(EmbedRunRequest(str(material.source), str(tmp_path / "other"), *networks, config))
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("out", "other")]
    assert records[0]["settings"] == records[1]["settings"]
    np.testing.assert_allclose(result.table.latents(), read_latents(str(tmp_path / "other")).latents, atol=1e-6)


def test_a_call_resumes_what_a_command_began(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    networks = ["--generator", material.generator, "--vgg", material.vgg]
    assert status_of("embed", material.source, "out", *networks, "--steps", STEPS, "--in-process") == 0
    written = runs.rows_written(monkeypatch)
    result = material.embed(Path("out"))
    assert written == [] and result.statuses == {"ok": 3}
    with pytest.raises(
        i2s_batch.I2SError,
        match=r"--steps is 4 there, 5 was asked; use another OUT, or --overwrite to replace that run",
    ):
        material.embed(Path("out"), steps=5)


def test_update_embeds_what_is_new(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in"
    source.mkdir()
    scene(0, (24, 24)).save(source / "a.png")
    mine = Material(source, material.generator, material.vgg)
    mine.embed(tmp_path / "out")
    (source / "text.png").write_text("no image")
    written = runs.rows_written(monkeypatch)
    result = mine.embed(tmp_path / "out", update=True, max_failed_fraction=0.2)
    assert written == ["text.png"] and result.statuses == {"ok": 1, "unreadable": 1}
    assert result.failed == 1 and not result.acceptable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 5}, r"embed\(\) has no option 'step'; did you mean 'steps'\?"),
        ({"grow": True}, r"embed\(\) has no option 'grow'; did you mean 'update'\?"),
        ({"stop_plateau": 1.0}, "did you mean 'early_stopping'"),
        ({"unheard_of": 1}, r"no option 'unheard_of'; it has actors, align, batch_size, beta1, beta2, "),
        ({"steps": "5"}, r"steps is '5' \(str\); it must be a whole number"),
        ({"steps": True}, r"steps is True \(bool\); it must be a whole number"),
        ({"steps": 2.5}, r"steps is 2.5 \(float\)"),
        ({"steps": 0}, "steps is 0; it must be between 1 and 1000000"),
        ({"in_process": 1}, "in_process is 1 .int.; it must be True or False"),
        ({"actors": "many"}, "actors is 'many' .str.; it must be a whole number or 'auto'"),
        ({"early_stopping": "1"}, "early_stopping is '1' .str.; it must be a number or None"),
        ({"learning_rate": 0}, "learning rate is 0.0; it must be finite and above 0"),
        ({"loss_weights": {"pixels": 1}}, "loss_weights names 'pixels'; the loss terms are pixel, conv1_1, "),
        ({"loss_weights": {"pixel": "1"}}, "it must be a mapping of names to numbers or None"),
        ({"patience": 10}, "patience has no effect without early_stopping; leave it out"),
        ({"space": "x"}, r"space is 'x'; it must be one of w\+, w, z"),
        ({"progress": "bar"}, "progress is 'bar'; give True, False, or a function"),
        ({"vgg": 3}, "vgg is 3 .int.; give a path or a URL"),
    ],
)
def test_bad_options_are_one_clear_line(
    material: Material, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        material.embed(tmp_path / "out", **options)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_options_may_be_numpy_numbers_and_auto(material: Material, tmp_path: Path) -> None:
    options = {"steps": np.int64(STEPS), "early_stopping": np.float32(50), "patience": np.int32(2)}
    options |= {"loss_weights": {"pixel": np.float32(0.5)}}
    result = material.embed(tmp_path / "out", batch_size="auto", actors="auto", **options)
    steps = {row["steps"] for row in result.table.to_arrow(["steps"]).to_pylist()}
    assert steps <= {2, STEPS}
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert settings["stop_plateau"] == 50.0
    assert settings["loss_weights"] == dict.fromkeys(TERMS, 1.0) | {"pixel": 0.5}


def test_progress_goes_where_it_is_told(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2s_batch.run.progress.LINE_EVERY_S", 0.0)
    lines: list[str] = []
    material.embed(tmp_path / "told", progress=lines.append)
    assert any("3 images, 3 to do" in line for line in lines)
    assert any("images done (0 failed)" in line and "in flight" in line for line in lines)
    assert capsys.readouterr() == ("", "")
    material.embed(tmp_path / "silent")
    assert capsys.readouterr() == ("", "")
    material.embed(tmp_path / "log", progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "3 images, 3 to do" in err


def test_a_terminal_gets_one_live_line(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", screen)
    material.embed(tmp_path / "out", progress=None)
    assert "\r3/3 images done (0 failed), " in screen.getvalue() and screen.getvalue().endswith("\n")


def test_ctrl_c_raises_one_clear_exception_and_the_same_call_resumes(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2s_batch.run.progress.LINE_EVERY_S", 0.0)
    handler = signal.getsignal(signal.SIGINT)

    def stop(line: str) -> None:
        if " 3 in flight" in line:
            signal.raise_signal(signal.SIGINT)

    steps = 30_000  # many more than are made before the signal
    with pytest.raises(RunStoppedError, match="stopped by SIGINT; 3 images in flight were saved, nothing is lost") as e:
        material.embed(tmp_path / "out", steps=steps, progress=stop)
    assert (e.value.signal, e.value.saved) == (signal.SIGINT, 3)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(list((tmp_path / "out" / "work" / "checkpoints").iterdir())) == 3
    lines: list[str] = []

    def stop_again(line: str) -> None:
        lines.append(line)
        stop(line)

    with pytest.raises(RunStoppedError):
        material.embed(tmp_path / "out", steps=steps, progress=stop_again)
    assert any("3 to do (3 from a checkpoint)" in line for line in lines)


@pytest.mark.usefixtures("heard_sigint")
def test_ctrl_c_before_the_first_image_is_the_same_exception(material: Material, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(RunStoppedError, match="the run was stopped by SIGINT; nothing is lost: call the same again"):
        material.embed(tmp_path / "out", progress=stop)
    assert material.embed(tmp_path / "out").statuses == {"ok": 3}


@pytest.fixture
def heard_sigint() -> Iterator[None]:
    """SIGINT as a foreground process has it: one that a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_run_in_another_thread_leaves_signals_alone(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2s_batch.run.progress.LINE_EVERY_S", 0.0)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    seen: list[bool] = []
    results: list[EmbedResult] = []

    def look(line: str) -> None:
        seen.append(all(signal.getsignal(number) is handler for number, handler in before.items()))

    thread = threading.Thread(target=lambda: results.append(material.embed(tmp_path / "out", progress=look)))
    thread.start()
    thread.join()
    assert results[0].statuses == {"ok": 3} and len(seen) > 1 and all(seen)


def test_without_in_process_the_work_is_done_by_ray(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cluster does is tested with a real one, in tests/cluster."""
    asked: list[bool] = []

    def cluster() -> InProcessCluster:
        asked.append(True)
        return InProcessCluster()

    monkeypatch.setattr(sessions, "ray_cluster", cluster)
    assert material.embed(tmp_path / "out", in_process=False).images == 3 and asked == [True]
