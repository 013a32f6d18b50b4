"""The command: its page, its JSON, its exit status, what it leaves behind, and the estimates that follow from it."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import torch

from i2s_batch.cli.doctor_page import finding_lines, last_line, node_lines, section_lines
from i2s_batch.diagnosis.findings import Section, fail, ok, warn
from i2s_batch.diagnosis.node_report import NodeReport
from i2s_batch.models.loading import generator_weights
from i2s_batch.run.device import software
from i2s_batch.run.estimates import Work, estimates
from i2s_batch.run.speed_cache import Measured, load_measured, save_measured
from i2s_batch.run.terminal import duration
from tests.material import scene
from tests.program import here

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
LONG = fail(
    "cache", f"there is no folder for caches ({'; '.join(['/a/folder: Permission denied'] * 4)})", "set I2S_CACHE"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        scene(number, (40, 40)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Speeds of other tests are not known, and no cluster is joined."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("RAY_ADDRESS", "local")


@pytest.mark.parametrize("width", [80, 120])
def test_a_page_fits_its_terminal_and_names_states_in_one_column(width: int) -> None:
    section = Section("folders", "Folders", (ok("TMPDIR", "/tmp"), warn("HOME", "/root: gone", "set HOME"), LONG))
    node = NodeReport("a-machine", "10.0.0.7", "torch 2.15.0, 8 CPUs, 1 GPU by Ray, 8 cores, 20 GiB free", (section,))
    lines = [*section_lines(section, width), *node_lines(node, width)]
    assert max(map(len, lines)) <= width
    assert lines[:3] == ["Folders", "  ok    TMPDIR          /tmp", "  warn  HOME            /root: gone"]
    assert lines[3] == f"{'':24}-> set HOME"
    assert [line[:6] for line in lines if line.lstrip().startswith("FAIL")] == ["  FAIL", "  FAIL", "      "]
    assert last_line(section.findings) == "A run would fail: 1 fault, 1 warning."
    assert last_line([ok("a", "b")]) == "Nothing is wrong."


def test_what_would_move_the_cursor_is_not_printed() -> None:
    assert list(finding_lines(ok("a", "b\x1b[2Jc"), 80)) == ["  ok    a               b\\x1b[2Jc"]


def test_a_sound_machine(
    tmp_path: Path, source: Path, generator: Path, vgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is carried out, on one worker; what is left is the measured speed, from which a run is estimated."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    before = sorted(tmp_path.rglob("*"))
    words = [source, tmp_path / "out", "--vgg", vgg, "--steps", "50", "--actors", "1", "--device", "cpu"]
    result = here("doctor", *words, "--generator", generator, "--price-per-hour", "2", "--json")
    assert result.returncode == 0, result.stdout
    assert sorted(tmp_path.rglob("*")) == before
    told = json.loads(result.stdout)
    assert told["state"] in ("ok", "warn") and told["nodes"] == []
    groups = {each["name"]: each["findings"] for each in told["sections"]}
    assert list(groups) == [
        *("versions", "machine", "folders", "devices", "compiler", "cluster"),
        *("output", "source", "networks", "speed"),
    ]
    assert ("CPU", "ok", "a kernel runs") in [(f["name"], f["state"], f["found"]) for f in groups["devices"]]
    assert [each["name"] for each in groups["speed"]] == [
        *("plain step", "step of a run", "start-up", "an image", "SOURCE")
    ]
    (measured,) = load_measured(print)
    assert measured.generator == generator_weights(generator).fingerprint
    assert measured.device.startswith("cpu (") and measured.seconds > 0 and measured.start_s > 0
    (expected,) = estimates([measured], Work(measured.generator, "fp32", images=3, steps=50), 1, 2.0)
    found = groups["speed"][-1]["found"]
    assert found.startswith(f"3 images in about {duration(3600 * expected.hours)}, at ")
    assert found.endswith(f", for {expected.cost:.2f}")
    dry = here("embed", *words, "--generator", generator, "--price-per-hour", "2", "--dry-run")
    (shown,) = json.loads(dry.stdout)["expected"]
    assert shown == expected.to_json()


def test_a_fault_ends_with_status_1_and_a_page_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of the environment and of URLs are not on the page, although messages and the command hold them."""
    monkeypatch.setenv("I2S_SECRET_TOKEN", SECRET)
    for number in range(2):
        (tmp_path / f"{SECRET}-{number}.txt").write_text("a caption")
    # The slow checks are another test's.
    for name in ("devices", "speed"):
        monkeypatch.setattr(f"i2s_batch.diagnosis.{name}.check", lambda asked, known: iter([ok("nothing", "to see")]))
    url = f"https://user:{SECRET}@127.0.0.1:9/g.pkl?X-Amz-Signature={SECRET}"
    result = here("doctor", tmp_path, "--generator", url, "--vgg", "random", "--in-process")
    assert result.returncode == 1 and SECRET not in result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("i2s-batch doctor ") and "https://127.0.0.1:9/g.pkl" in lines[0]
    assert any(line.startswith("  FAIL  decoding        none of 2 sampled files is an image") for line in lines)
    assert any(line.startswith("  FAIL  generator") for line in lines)
    assert lines[-1].startswith("A run would fail: ")


def test_the_options_are_those_of_embed_and_what_is_wrong_with_them_is_said_as_there(tmp_path: Path) -> None:
    for words in (["--steps", "0"], ["--patience", "3"], ["--no-such"]):
        result = here("doctor", tmp_path, tmp_path / "out", *words)
        assert result.returncode == 2 and words[0].strip("-") in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == set()


def test_the_first_status_line_of_a_run_gives_the_estimate(
    tmp_path: Path, source: Path, generator: Path, vgg: Path
) -> None:
    """That of the same function, from the figure of the device that works; none without a figure."""
    words = ["embed", source, "--generator", generator, "--vgg", vgg, "--steps", "3", "--in-process", "--device", "cpu"]
    first = here(*words[:2], tmp_path / "one", *words[2:])
    (line,) = [line for line in first.stderr.splitlines() if "to do" in line]
    assert line == "3 images, 3 to do, 1 worker on cpu, in this process"
    fingerprint = generator_weights(generator).fingerprint
    device = f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
    measured = Measured(device, fingerprint, "fp32", 4, 0.5, "plain", software(), 2.0, 60.0)
    for one in (measured, Measured("cpu (other, 9 threads)", fingerprint, "fp32", 4, 9.0, "plain", software())):
        save_measured(one, print)
    second = here(*words[:2], tmp_path / "two", *words[2:])
    (line,) = [line for line in second.stderr.splitlines() if "to do" in line]
    (expected,) = estimates([measured], Work(fingerprint, "fp32", images=3, steps=3), 1, None)
    assert 3600 * expected.hours == pytest.approx(60 + 3 * (3 * 0.5 + 2))
    about = f"about {duration(3600 * expected.hours)} by the speed measured here"
    assert line == f"3 images, 3 to do, 1 worker on cpu, in this process, {about}"
