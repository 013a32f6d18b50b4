"""`i2s-batch status` as users start it, and Ctrl-C on a real terminal."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from i2s_batch.config import EmbedConfig, EmbedRunConfig
from i2s_batch.embedding.embed_run import EmbedRun, EmbedRunRequest
from i2s_batch.run.pools import InProcessCluster
from tests.material import draw_pictures, scene
from tests.program import here, i2s_batch, refusal

CONFIG = EmbedRunConfig(embed=EmbedConfig(steps=5), max_failed_fraction=0.2)


@pytest.fixture
def run(tmp_path: Path, generator: Path, vgg: Path) -> EmbedRun:
    draw_pictures(tmp_path / "in")
    (tmp_path / "in" / "bad" / "empty.png").rename(tmp_path / "in" / "bad" / "\x1b[2Jempty.png")
    job = EmbedRunRequest(str(tmp_path / "in"), str(tmp_path / "out"), str(generator), str(vgg), CONFIG)
    return EmbedRun(job, report=lambda line: None)


def test_no_such_output(tmp_path: Path) -> None:
    assert "holds no run of i2s-batch" in refusal(here("status", tmp_path / "nowhere"))
    assert "Missing argument 'OUT'" in refusal(here("status"))
    assert "cannot be opened" in refusal(here("status", "ftp://host/out"))


def test_what_is_said_of_a_run_that_was_planned_and_then_finished(run: EmbedRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run.begin()
    planned = here("status", out)
    assert planned.returncode == 0 and planned.stderr == ""
    assert planned.stdout.startswith(f"{out}: stopped\n")
    assert "0/26 done (0 failed), 26 to go" in planned.stdout
    assert f"No driver is running. To resume, run:\n  i2s-batch embed {tmp_path}/in {out} --gen" in planned.stdout

    run.execute(InProcessCluster())
    finished = i2s_batch("status", out)
    assert finished.returncode == 0 and finished.stderr == ""
    lines = finished.stdout.splitlines()
    assert lines[0] == f"{out}: finished" and "  statuses    23 ok, 3 unreadable" in lines
    assert "26/26 done (3 failed), 0 to go" in lines[1] and lines[-1].endswith(" --retry-failed")
    assert any("bad/page.jpg" in line and "unreadable, PictureError" in line for line in lines)
    assert "\x1b" not in finished.stdout and "bad/\\x1b[2Jempty.png" in finished.stdout

    facts = json.loads(here("status", out, "--json").stdout)
    assert (facts["state"], facts["done"], facts["failed"], facts["remaining"]) == ("finished", 26, 3, 0)
    assert len(facts["slowest"]) == 5 and facts["live"] is None and facts["statuses"] == {"ok": 23, "unreadable": 3}


# `i2s-batch` with this process as the cluster, on the terminal that is its standard error.
_ON_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
import i2s_batch.run.ray.pool as ray_pool
from i2s_batch.run.pools import InProcessCluster
ray_pool.RayCluster = InProcessCluster
from i2s_batch.cli import main
main(sys.argv[1:])
"""


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, generator: Path, vgg: Path) -> None:
    source, out = tmp_path / "my pictures", tmp_path / "out"
    source.mkdir()
    for number in range(3):
        scene(number, (40, 40)).save(source / f"{number}.png")
    arguments = ["embed", str(source), str(out), "--generator", str(generator), "--vgg", str(vgg)]
    arguments += ["--steps", "1000000", "--batch-size", "2"]
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    command = [sys.executable, "-c", _ON_A_TERMINAL, *arguments]
    with subprocess.Popen(
        command,
        stdin=slave,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        start_new_session=True,
        env=os.environ | {"TERM": "xterm"},
    ) as process:
        os.close(slave)
        seen = read_until(master, "2 in flight, ")
        seen += read_until(master, " left")
        os.write(master, b"\x03")
        seen += read_until(master, None)
    os.close(master)
    assert process.returncode == 130, seen
    drawn = [line for line in seen.replace("\n", "\r").split("\r") if "images done" in line]
    # The terminal echoes ^C behind the line that is there.
    assert drawn and all(len(line.partition("\x1b[K")[0]) < 60 for line in drawn)
    assert "Traceback" not in seen and "2 images in flight were saved" in seen
    assert seen.endswith(f"\r\n  i2s-batch embed '{source}' {' '.join(arguments[2:])}\r\n")
    assert len(list((out / "work/checkpoints").iterdir())) == 2 and not (out / "work/lease.json").exists()
    status = i2s_batch("status", out)
    assert "To resume (2 images from a checkpoint), run:" in status.stdout
    assert f"  i2s-batch embed '{source}' {out} --generator {generator} --vgg {vgg} --steps 1000000" in status.stdout


def read_until(master: int, text: str | None) -> str:
    """What comes out of a terminal until `text` has come, or until its other side is closed."""
    seen = b""
    while text is None or text.encode() not in seen:
        try:
            seen += os.read(master, 4096)
        except OSError:  # how Linux tells that nobody has the other side open any more
            assert text is None, f"it ended before {text!r}: {seen.decode()}"
            break
    return seen.decode()
